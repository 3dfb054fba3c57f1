"""Each trouble planted in a hub that runs: timed until the page shows it, an alert arrives, and it is mended.

`benchmarks.supervision` times the supervisor itself, with less patience than it is delivered with. Here everything is
as delivered: `kalibre hub up` on a replay, its page in a real Chromium, an alert by webhook. Times run from the
planting; *mended* is the page showing the worker online again (what a person has to do meanwhile is done at once: the
command that the alert names, or giving port and disk back, from which *mended* is counted).

The clock's jump needs a clock that can be moved and is timed by `benchmarks.supervision`.

    python -m benchmarks.supervision_seen [--only kill ...]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import psutil
from benchmarks._hub_runs import Hub, kalibre, running
from tests.fakes.alert_receivers import Answer, Receiver, http_receiver
from tests.fakes.browser import launched

from kalibre.hub.worker_process import read_beat

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_STEP_MS = 60_000
_SILENCE_S = 30.0
"""Silence that a worker is allowed, as delivered."""
_SHOWN_S, _TOLD_S, _MENDED_S = 2.0, 5.0, 15.0
_LIMIT_MB, _DISK_MB = 200, 120
_NOTES = """
// Notes each change of what the page says of a worker.
window.noted = [];
const known = {};
setInterval(() => {
  for (const row of document.querySelectorAll("#workers-body tr[data-key]")) {
    const state = row.querySelector(".chip")?.className.replace("chip", "").trim();
    if (known[row.dataset.key] !== state) window.noted.push([Date.now() / 1000, row.dataset.key, state]);
    known[row.dataset.key] = state;
  }
}, 10);
"""


@dataclass(frozen=True)
class Seen:
    """Seconds from the planting until the page showed it and an alert arrived, and until it was mended."""

    trouble: str
    shown_s: float
    told_s: float
    mended_s: float
    silence_s: float
    words: str

    @property
    def passed(self) -> bool:
        """Whether a person would have known soon enough."""
        return (
            self.shown_s <= self.silence_s + _SHOWN_S
            and self.told_s <= self.silence_s + _TOLD_S
            and self.mended_s <= self.silence_s + _MENDED_S
        )


@dataclass
class Stage:
    """A hub that runs, the page that shows it, and who is alerted."""

    hub: Hub
    page: Page
    receiver: Receiver
    home: Path

    def pid(self, worker: str) -> int:
        """Return the process id of a worker."""
        beat = read_beat(self.home / "run" / f"{worker}.beat")
        assert beat is not None
        return beat.pid

    def shown(self, worker: str, *states: str, after: float, patience_s: float = 120.0) -> float:
        """Wait until the page says one of these of a worker; return when it did."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            for at, name, state in self.page.evaluate("window.noted"):
                if name == worker and state in states and at >= after:
                    return float(at)
            self.page.wait_for_timeout(20)
        raise TimeoutError(f"the page did not show {worker} {' or '.join(states)} within {patience_s:g} s")

    def told(self, title: str, *, after: float, patience_s: float = 120.0) -> tuple[float, str]:
        """Wait for an alert; return when it arrived, and its words."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            for at, words in _ALERTS:
                if title in words and at >= after:
                    return at, words
            time.sleep(0.02)
        raise TimeoutError(f"no alert with {title!r} within {patience_s:g} s; {len(_ALERTS)} came")


_ALERTS: list[tuple[float, str]] = []
"""When each alert arrived, and what it said."""


def _bars(path: Path, n: int) -> None:
    """Write a random walk of minutes."""
    random = np.random.default_rng(3)
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, 5e-4, n)))
    open_ = np.concatenate([[100.0], close[:-1]])
    pl.DataFrame(
        {
            "open_time": 1_700_000_040_000 // _STEP_MS * _STEP_MS + np.arange(n) * _STEP_MS,
            "open": open_,
            "high": np.maximum(open_, close) * 1.0002,
            "low": np.minimum(open_, close) * 0.9998,
            "close": close,
            "volume": random.gamma(2.0, 10.0, n),
        }
    ).write_parquet(path)


def _free_port() -> int:
    # A port of its own each time would not be the one that the open page asks.
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _take_alert(request: Any) -> Answer:
    _ALERTS.append((time.time(), json.dumps(json.loads(request.body), ensure_ascii=False)))
    return Answer()


@contextlib.contextmanager
def stage(browser: Browser, *, home: Path, speed: str = "600x", n_bars: int = 30_000, **more: str) -> Iterator[Stage]:
    """Run a hub and its page, once all its workers are online."""
    home.mkdir(parents=True, exist_ok=True)
    path = home.parent / "WALK_1m.parquet"
    _bars(path, n_bars)
    _ALERTS.clear()
    with http_receiver(answer=_take_alert) as receiver:
        alerts = {
            "KALIBRE_ALERTS__URLS": json.dumps([f"json://127.0.0.1:{receiver.port}/told"]),
            "KALIBRE_ALERTS__ALLOW_PRIVATE": "true",
            "KALIBRE_ALERTS__PER_HOUR": "1000",
            "KALIBRE_ALERTS__REPEAT_AFTER_MINUTES": "1",
        }
        with running(path, ["WALK"], "1m", home=home, speed=speed, port=_free_port(), **alerts, **more) as hub:
            page = browser.new_page()
            page.add_init_script(_NOTES)
            page.goto(hub.address)
            page.wait_for_selector("body[data-ready]", timeout=60_000)
            on = Stage(hub, page, receiver, home)
            for worker in ("ingest", "learners", "judges", "jobs", "outbox"):
                on.shown(worker, "online", after=0.0)
            yield on


# --- troubles ---------------------------------------------------------------------------------------------------------


def _planted(on: Stage, trouble: str, worker: str, plant: Callable[[], float], silence_s: float = 0.0) -> Seen:
    began = plant()
    # Where it is tried again at once, the page has gone on to `starting` before it is drawn.
    shown = on.shown(worker, "restarting", "starting", "error", after=began)
    mended = on.shown(worker, "online", after=shown)
    told, words = on.told(f"worker {worker}: ", after=began)
    return Seen(trouble, shown - began, told - began, mended - began, silence_s, words)


def _signal(on: Stage, worker: str, number: signal.Signals) -> float:
    began = time.time()
    os.kill(on.pid(worker), number)
    return began


def kill(browser: Browser, folder: Path) -> Seen:
    """Kill the learners with -9."""
    with stage(browser, home=folder / "kill") as on:
        return _planted(on, "kill -9", "learners", lambda: _signal(on, "learners", signal.SIGKILL))


def freeze(browser: Browser, folder: Path) -> Seen:
    """Stop the learners with SIGSTOP: 30 s of silence are allowed."""
    with stage(browser, home=folder / "freeze") as on:
        stopped = lambda: _signal(on, "learners", signal.SIGSTOP)  # noqa: E731
        return _planted(on, "hang (30 s allowed)", "learners", stopped, _SILENCE_S)


def hog(browser: Browser, folder: Path) -> Seen:
    """Answer an alert with 400 MB where 200 are allowed: who delivers it takes them in. Timed from the 200th on."""
    limit = {"KALIBRE_HUB__MEMORY_LIMIT_MB": str(_LIMIT_MB)}
    with stage(browser, home=folder / "hog", **limit) as on:
        usual = on.receiver.answer

        def plant() -> float:
            def flood(request: Any) -> Answer:
                on.receiver.answer = usual
                return Answer(body=b"\0" * (2 * _LIMIT_MB * 1_048_576))

            on.receiver.answer = flood
            outbox = psutil.Process(on.pid("outbox"))
            _signal(on, "learners", signal.SIGKILL)
            deadline = time.monotonic() + 60
            while outbox.memory_info().rss < _LIMIT_MB * 1_048_576:
                if time.monotonic() > deadline:
                    raise TimeoutError("the outbox did not take so much in within 60 s")
                time.sleep(0.002)
            return time.time()

        return _planted(on, "memory hog (200 MB allowed)", "outbox", plant)


def crash_loop(browser: Browser, folder: Path) -> Seen:
    """Kill the learners whenever they are there; then restart them, as the alert says."""
    with stage(browser, home=folder / "crash") as on:
        began, last = time.time(), 0
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            noted = on.page.evaluate("window.noted")
            if any(name == "learners" and state == "error" for _, name, state in noted):
                break
            with contextlib.suppress(OSError, AssertionError):
                pid = on.pid("learners")
                if pid != last:
                    os.kill(pid, signal.SIGKILL)
                    last = pid
                    failed = time.time()
            on.page.wait_for_timeout(20)
        shown = on.shown("learners", "error", after=began)
        told, words = on.told("worker learners: error", after=began)
        asked = time.time()
        done = kalibre("hub", "restart", "learners", home=on.home)
        assert done.returncode == 0, done.stderr
        mended = on.shown("learners", "online", after=asked)
        return Seen("crash loop (from the last crash)", shown - failed, told - failed, mended - asked, 0.0, words)


def port_taken(browser: Browser, folder: Path) -> Seen:
    """Take the server's port while it is down; the page that is open cannot be served, and shows it once it can."""
    with stage(browser, home=folder / "port") as on, socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        began = time.time()
        os.kill(on.pid("api"), signal.SIGKILL)
        while True:
            try:
                taken.bind(("127.0.0.1", on.hub.port))
                break
            except OSError:
                time.sleep(0.001)
        taken.listen()
        told, words = on.told("worker api: error", after=began)
        taken.close()
        freed = time.time()
        mended = on.shown("api", "online", after=freed)
        shown = min(at for at, name, state in on.page.evaluate("window.noted") if name == "api" and at > began)
        return Seen("port taken, then freed", shown - began, told - began, mended - freed, 0.0, words)


def disk_full(browser: Browser, folder: Path) -> Seen:
    """Fill the disk under the log, which then cannot take the news, and make room once the alert is there."""
    home = folder / "disk"
    home.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_MB}m", "none", str(home)]
    if subprocess.run(mounted, check=False, capture_output=True).returncode:
        raise TimeoutError("a small disk cannot be mounted here: that takes root")
    try:
        with stage(browser, home=home) as on:
            filler = home / "filler"
            began = time.time()
            with contextlib.suppress(OSError), filler.open("wb") as stream:
                while True:
                    stream.write(b"\0" * 65_536)
                    stream.flush()
            shown = on.shown("ingest", "restarting", "error", "offline", after=began)
            told, words = on.told("nothing can be recorded", after=began)
            filler.unlink()
            room = time.time()
            mended = on.shown("ingest", "online", after=room)
            return Seen("disk full, then room", shown - began, told - began, mended - room, 0.0, words)
    finally:
        subprocess.run(["umount", "-l", str(home)], check=False)


TROUBLES = {
    "kill": kill,
    "freeze": freeze,
    "hog": hog,
    "crash": crash_loop,
    "port": port_taken,
    "disk": disk_full,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=sorted(TROUBLES), default=list(TROUBLES))
    chosen = parser.parse_args()
    print(f"{'seconds':<38}{'shown':>8}{'alerted':>9}{'mended':>8}")
    good, words = True, []
    with launched() as browser:
        for name in chosen.only:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    seen = TROUBLES[name](browser, Path(folder))
                except TimeoutError as error:
                    print(f"{name:<38}  {error}", flush=True)
                    good = False
                    continue
            good &= seen.passed
            print(
                f"{seen.trouble:<38}{seen.shown_s:>8.2f}{seen.told_s:>9.2f}{seen.mended_s:>8.2f}"
                f"  {'holds' if seen.passed else 'MISSED'}",
                flush=True,
            )
            words.append((seen.trouble, seen.words))
    print(f"\nbars: shown {_SHOWN_S:g}, alerted {_TOLD_S:g}, mended {_MENDED_S:g}, each after the silence allowed")
    for trouble, told in words:
        print(f"  {trouble}: {told[:400]}")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
