"""The paper engine, killed with -9 at any instant, leaves the events of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from tests.fakes.ensemble_led import delayed, led_version, words_of
from tests.fakes.kill_hammer import COLUMNS, ROOT
from tests.fakes.models import random_bars, small_bundle
from tests.fakes.trading import SERIES, projection, promotion, stored, unquiet

from kalibre.core.events import Event, Kill, Tick, encode_payload, new_event
from kalibre.features.engine import FeatureSpec
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.log.runner import Runner, refold
from kalibre.models.acting import load_acting
from kalibre.models.ensemble_version import store_ensemble

N_BARS, KILLS = 1_500, 4


def inputs() -> list[Event]:
    """Return an unquiet market with ticks between its bars, and a kill and its release on the way."""
    events: list[Event] = []
    for number, event in enumerate(unquiet(random_bars(N_BARS, seed=9))):
        now = event.event_time + 900_000
        if event.kind == "bar":
            events.append(new_event("clock", now, Tick(now_ms=now)))
        events.append(event)
        if number in (500, 600):
            events.append(new_event("kill", now, Kill(engaged=number == 500, by="test", flatten=True)))
    return events


def content(log: EventLog) -> list[tuple[tuple[str, str, int, int], bytes]]:
    return sorted((event.identity, encode_payload(event.payload)) for event in stored(log))


def run_whole(url: str, home: Path, folder: Path) -> list[tuple[tuple[str, str, int, int], bytes]]:
    with open_log(url) as log:
        engine = projection(partial(load_acting, home / "models"), FeatureSpec("15m", columns=COLUMNS))
        runner = Runner(log, engine, snapshots_dir=folder, batch_size=16)
        runner.recover()
        runner.catch_up()
        fresh = projection(partial(load_acting, home / "models"), FeatureSpec("15m", columns=COLUMNS))
        assert refold(log, fresh).equal
        return content(log)


@pytest.mark.fault
@pytest.mark.slow
@pytest.mark.parametrize("led", [False, True], ids=["model", "ensemble"])
def test_killed_at_any_instant(tmp_path: Path, led: bool) -> None:
    """Led by a model, and by the ensemble, for whose word some bars wait at any instant."""
    bundle = small_bundle(columns=COLUMNS, entry_threshold=0.59, exit_threshold=0.585)
    bundle.save(tmp_path / "models")
    version = led_version(entry_threshold=0.59, exit_threshold=0.585)
    store_ensemble(tmp_path / "models", version)
    market, acting = inputs(), version if led else bundle
    if led:
        market = delayed(market, words_of(market), lambda: 25)
    urls = [f"sqlite:///{tmp_path / name}.sqlite" for name in ("whole", "broken")]
    for url in urls:
        with open_log(url) as log:
            log.append([promotion(acting), *market], writer="ingest")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    command = [sys.executable, "-m", "tests.fakes.kill_hammer", "paper", urls[1], str(tmp_path)]
    interrupted = 0
    with open_log(urls[1]) as log:
        for _ in range(KILLS):
            before = log.head()
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            limit = time.monotonic() + 120
            # Each kill comes after progress.
            while log.head() < before + 300 and process.poll() is None and time.monotonic() < limit:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)
            latest = log.latest("account", key=f"{SERIES}|champion")
            assert latest is not None
            interrupted += latest.event_time < market[-1].event_time
    assert interrupted > 0
    assert run_whole(urls[1], tmp_path, tmp_path / "snapshots") == run_whole(urls[0], tmp_path, tmp_path / "other")
