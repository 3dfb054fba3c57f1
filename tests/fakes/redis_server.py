"""A real redis-server of our own: private folder, private port on loopback, nothing on the disk; it can be killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_START_S = 30.0


def binary_or_skip() -> str:
    """Return the server's binary; without it skip, but under CI fail: there the tests must run."""
    found = shutil.which("redis-server")
    if found is None:
        words = "no redis-server found: apt-get install redis-server, or put one on the PATH"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(words)
        pytest.skip(words)
    return found


class RedisServer:
    """A server on a port of its own, begun by `start` and ended by `stop` or `kill`; each start begins empty."""

    def __init__(self, binary: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kalibre-redis-"))
        self._binary = binary
        self._server: subprocess.Popen[bytes] | None = None
        self.port = _free_port()

    @property
    def url(self) -> str:
        """Return its address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *options: str) -> None:
        """Start it and wait until it answers."""
        import redis

        command = [self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--save", "", "--appendonly", "no", "--daemonize", "no", *options]
        deadline = time.monotonic() + _START_S
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        while True:
            try:
                with contextlib.closing(redis.Redis(port=self.port, socket_timeout=1)) as client:
                    client.ping()
            except redis.RedisError as error:
                if time.monotonic() > deadline or self._server.poll() is not None:
                    words = (self.folder / "log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"redis-server does not start: {error}\n{words}") from error
                time.sleep(0.01)
            else:
                return

    def kill(self) -> None:
        """Kill it with SIGKILL and wait for its end."""
        assert self._server is not None
        self._server.send_signal(signal.SIGKILL)
        self._server.wait()

    def stop(self) -> None:
        """End it and remove its folder."""
        if self._server is not None and self._server.poll() is None:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def running() -> Iterator[RedisServer]:
    """Run a server for a while."""
    server = RedisServer(binary_or_skip())
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
