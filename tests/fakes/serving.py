"""A real `kalibre serve` in a process of its own, on a free port of loopback, for tests that speak HTTP to it."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.fakes.models import STEP_MS

from kalibre.core.events import Promotion, new_event
from kalibre.core.settings import Settings
from kalibre.log.protocol import EventLog
from kalibre.models.bundle import ModelBundle

KEYS = {
    "read-key-000000000000": "read",
    "predict-key-000000000": "predict",
    "operate-key-000000000": "operate,read",
    "kill-key-000000000000": "kill",
    "admin-key-00000000000": "admin",
}


class Server:
    """A running server and a way to ask it."""

    def __init__(self, process: subprocess.Popen[bytes], address: str, log: Path) -> None:
        self.process = process
        self.address = address
        self.log = log

    def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = "read-key-000000000000", **headers: str
    ) -> tuple[int, Any]:
        """Return status and decoded body; `body` may be bytes as they are."""
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data=content, method=method)
        if content is not None:
            request.add_header("Content-Type", "application/json")
        if key is not None:
            request.add_header("X-API-Key", key)
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                status, raw = response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                status, raw = error.code, error.read()
        return status, (json.loads(raw) if raw[:1] in b"{[" and raw else raw.decode())

    def get(self, path: str, **named: Any) -> Any:
        """Return the body of a GET that has to succeed."""
        status, body = self.ask("GET", path, **named)
        assert status == 200, (path, status, body)
        return body

    def wait_until(self, path: str, holds: Any, *, timeout_s: float = 60.0, **named: Any) -> Any:
        """Ask until the answer is as wanted."""
        deadline = time.monotonic() + timeout_s
        while True:
            _, body = self.ask("GET", path, **named)
            if holds(body):
                return body
            assert time.monotonic() < deadline, body
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.02)


@contextlib.contextmanager
def running_server(
    home: Path, *, keys: dict[str, str] | None = None, python: tuple[str, ...] = (), extra: str = ""
) -> Iterator[Server]:
    """Start `kalibre serve` on a home folder; kill it at the end if it is still there."""
    config = home / "kalibre.toml"
    home.mkdir(parents=True, exist_ok=True)
    lines = [f'home = "{home}"', extra, "[api]", "port = 0", "[api.keys]"]
    lines += [f'"{key}" = "{scopes}"' for key, scopes in (KEYS if keys is None else keys).items()]
    config.write_text("\n".join(lines) + "\n")
    output = home / "server.log"
    command = [sys.executable, *python, "-m", "kalibre", "serve", "--config", str(config)]
    with output.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while (found := re.search(r"listening on (http://\S+)", output.read_text(errors="replace"))) is None:
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.02)
        yield Server(process, found.group(1), output)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(30)


def appoint(
    log: EventLog, settings: Settings, bundle: ModelBundle, alias: Any = "champion", *, at_ms: int = STEP_MS
) -> int:
    """Store a bundle and give it an alias by the log alone; returns the position."""
    bundle.save(settings.models_dir)
    promotion = Promotion(model=bundle.model_id, digest=bundle.digest, alias=alias, previous=None, by="test")
    return log.append([new_event(f"{bundle.symbol}|15m|{alias}", at_ms, promotion)], writer="test")[0].seq
