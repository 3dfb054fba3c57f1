"""The paper engine itself under `make fault`: `kalibre paper --follow`, killed with -9, started again, and compared.

The command runs as a user runs it: a fresh interpreter, settings from `KALIBRE_*`, models from the models folder, real
features, a champion and a challenger that trade, and `kalibre kill --flatten` and its release on the way. Between two
kills the engine gets some bars more. Before a kill it is stopped, and the log is asked whether the engine holds its
lock: that is how the share of kills inside a transaction is known of a process that does not tell.

*Interruption* compares with `kalibre paper` over a log into which the same inputs were put at once.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks._fault_kills import PATIENCE_S, Caught, Rig, Tally, compare, contents, in_child
from tests.fakes.models import STEP_MS, random_bars, small_bundle
from tests.fakes.trading import SERIES, promotion, unquiet

from kalibre.core.errors import LogLockedError
from kalibre.core.events import BarClosed, Event, Tick, new_event
from kalibre.core.protocols import Projection
from kalibre.core.settings import Settings
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.models.bundle import load_bundle
from kalibre.trading.paper import paper_projection

ROOT = Path(__file__).resolve().parents[1]
WARMUP_BARS = 1_015  # of the default columns: before that many the champion abstains
_FEW = ("roc_10", "realised_volatility_20", "range_relative", "roc_3")
_OTHERS = ("roc_3", "realised_volatility_20", "range_relative")
_SETTINGS: dict[str, dict[str, Any]] = {
    "market": {"source": "simulated", "symbols": ["BTCUSDT"], "timeframe": "15m"},
    "features": {"higher_timeframes": []},
    "log": {"batch_size": 4, "snapshot_every_events": 150},
}


@dataclass(frozen=True)
class Models:
    """Where the trained bundles lie, and which there are: on all default columns, on a few, on others."""

    folder: Path
    every: str
    few: str
    others: str


def train(folder: Path) -> Models:
    """Train three small bundles and save them, in a child: LightGBM's threads do not outlive a later fork."""

    def work() -> list[str]:
        bundles = [
            small_bundle(seed=seed, columns=columns, entry_threshold=0.59, exit_threshold=0.585)
            for seed, columns in ((1, None), (2, _FEW), (3, _OTHERS))
        ]
        for bundle in bundles:
            bundle.save(folder)
        return [bundle.model_id for bundle in bundles]

    return Models(folder, *in_child(work, folder.with_name("errors")))


def paper_inputs(models: Models, n_bars: int, *, champion: str, challenger: str) -> list[Event]:
    """Return promotions, an unquiet market, the clock between its bars, corrections, and one change of champion."""
    bundles = {name: load_bundle(models.folder, name) for name in (champion, challenger)}
    dice = random.Random(9)
    events = [promotion(bundles[champion]), promotion(bundles[challenger], "challenger")]
    market, newest_ms, n_next = unquiet(random_bars(n_bars, seed=9)), 0, 0
    for event in market:
        now = event.event_time + STEP_MS
        bar = event.payload
        if not isinstance(bar, BarClosed) or event.event_time < newest_ms:
            events.append(event)  # an action, a rate, or a bar of a hole that was filled late
            continue
        newest_ms, n_next = event.event_time, n_next + 1
        events += [new_event("clock", now, Tick(now_ms=now)), event]
        if dice.random() < 0.02:
            close = (bar.high + bar.low) / 2
            corrected = BarClosed(
                open_time=bar.open_time, open=bar.open, high=bar.high, low=bar.low, close=close, volume=bar.volume
            )
            events.append(new_event(event.key, event.event_time, corrected))
        if n_next == n_bars * 4 // 5:
            events.append(promotion(bundles[challenger], time=now))
    return events


def settings_of(home: Path, url: str) -> Settings:
    """Return the settings that the command gets by `environment_of`."""
    return Settings(home=home, **{**_SETTINGS, "log": {**_SETTINGS["log"], "url": url}})  # type: ignore[arg-type]


def environment_of(home: Path, url: str) -> dict[str, str]:
    """Return the environment in which the command finds the home, the log and its settings."""
    names = {name: value for name, value in os.environ.items() if not name.startswith("KALIBRE_")}
    names |= {"KALIBRE_HOME": str(home), "KALIBRE_LOG__URL": url, "PYTHONPATH": str(ROOT / "src")}
    for section, values in _SETTINGS.items():
        for name, value in values.items():
            text = value if isinstance(value, str) else json.dumps(value)
            names[f"KALIBRE_{section}__{name}".upper()] = text
    return names


def paper_rig(folder: Path, url: str, models: Models, inputs: list[Event]) -> Rig:
    """Return a rig whose folder is a home with the models."""
    shutil.copytree(models.folder, folder / "models", dirs_exist_ok=True)

    def make() -> Projection:
        return paper_projection(settings_of(folder, url))

    return Rig(url=url, folder=folder, make_projection=make, inputs=inputs)


def warm(rig: Rig) -> None:
    """Let this process compile and load once what each forked child would have to."""
    projection = rig.make_projection()
    for event in rig.inputs[:200]:
        projection.apply(event)


# --- the entry point --------------------------------------------------------------------------------------------------


def entry_round(
    rig: Rig,
    reference: Rig,
    dice: random.Random,
    tally: Tally,
    *,
    kills: int,
    head: int,
    after_kill: Callable[[EventLog], None] | None = None,
) -> None:
    """Kill `kalibre paper --follow` so many times, throw the switch on the way, and check both equalities.

    Parameters
    ----------
    reference
        A rig over another, empty log: there the command runs undisturbed.
    head
        How many inputs are there at the first start; the rest comes in equal shares before each start.
    after_kill
        What is done to the log while nothing runs: a way to plant damage.
    """
    torture = _Entry(rig, dice, tally, after_kill)
    try:
        torture.run(kills, head)
        inputs = torture.check_inputs()
    finally:
        torture.close()
    _note_trades(rig, tally)
    with open_log(reference.url) as log:
        log.append(inputs, writer="source")
    _command(reference, "paper")
    compare(rig, in_child(lambda: contents(reference), reference.folder / "errors"))
    tally.rounds += 1
    tally.refolded += 1
    tally.compared += 1


class _Entry:
    """One log and the command that follows it."""

    def __init__(
        self, rig: Rig, dice: random.Random, tally: Tally, after_kill: Callable[[EventLog], None] | None
    ) -> None:
        self._rig, self._dice, self._tally, self._after_kill = rig, dice, tally, after_kill
        projection = rig.make_projection()
        self._name, self._reads = projection.name, projection.reads
        self._log = open_log(rig.url, patience_s=30.0)
        self._asking = open_log(rig.url, patience_s=0.01)

    def close(self) -> None:
        self._log.close()
        self._asking.close()

    def run(self, kills: int, head: int) -> None:
        """Feed, start, kill; the last start is ended by SIGTERM when all is read."""
        runs, inputs = kills + 1, self._rig.inputs
        cuts = [0, *(head + (len(inputs) - head) * (number + 1) // runs for number in range(runs))]
        engage_at = runs // 3
        commands = {engage_at: ("kill", "drill", "--flatten"), max(engage_at + 1, runs * 2 // 3): ("kill", "--release")}
        for number in range(runs):
            self._log.append(inputs[cuts[number] : cuts[number + 1]], writer="source")
            with tempfile.TemporaryFile() as told:
                process = subprocess.Popen(
                    [sys.executable, "-m", "kalibre", "paper", "--follow"],
                    env=environment_of(self._rig.folder, self._rig.url),
                    cwd=self._rig.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=told,
                )
                try:
                    self._one(process, told, commands.get(number), last=number == kills)
                finally:
                    if process.poll() is None:
                        process.kill()
                    process.wait()

    def _one(
        self, process: subprocess.Popen[bytes], told: IO[bytes], command: tuple[str, ...] | None, *, last: bool
    ) -> None:
        before = self._position()
        if command is not None:
            # Only where everything is read a command takes effect at a place that does not hang on the speed of a run.
            self._await(process, told, self._caught_up)
            _command(self._rig, *command)
            self._tally.switched += 1
        if command is not None or last:
            self._await(process, told, self._caught_up)
        else:
            self._await(process, told, lambda: self._position() > before)
        if last:
            process.terminate()
            if process.wait(PATIENCE_S):
                raise Caught(f"kalibre paper ended with {process.returncode} on SIGTERM: {_words(told)}")
            return
        inside = self._stop(process, told)
        process.kill()
        process.wait()
        self._tally.kills += 1
        self._tally.inside += inside
        if self._after_kill is not None:
            self._after_kill(self._log)

    def _stop(self, process: subprocess.Popen[bytes], told: IO[bytes]) -> bool:
        """Stop the process after a moment, two of three times inside a transaction; say whether it is inside one."""
        aimed = self._dice.random() < 2 / 3
        moment_s = 0.02
        while True:
            until = time.perf_counter() + self._dice.random() * moment_s
            while time.perf_counter() < until:
                pass
            process.send_signal(signal.SIGSTOP)
            # The signal takes a moment to arrive; what the log says counts only once nothing moves any more.
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if process.poll() is not None:
                raise Caught(f"kalibre paper ended with {process.returncode} by itself: {_words(told)}")
            inside = _is_locked(self._asking)
            if inside or not aimed or self._caught_up():
                return inside
            process.send_signal(signal.SIGCONT)
            moment_s = 0.002

    def _await(self, process: subprocess.Popen[bytes], told: IO[bytes], reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not reached():
            if process.poll() is not None or time.monotonic() > deadline:
                raise Caught(f"kalibre paper ended with {process.poll()} before it got on: {_words(told)}")
            time.sleep(0.002)

    def _position(self) -> int:
        progress = self._log.progress(self._name)
        return progress.seq if progress else 0

    def _caught_up(self) -> bool:
        return self._position() >= self._log.last_position(self._reads)

    def check_inputs(self) -> list[Event]:
        """Return what the engine was given, in the log's order: what was fed, and the commands."""
        found = self._log.read(kinds=self._reads)
        given = [(event.key, event.event_time, event.payload) for event in found if event.kind != "kill"]
        if given != [(event.key, event.event_time, event.payload) for event in self._rig.inputs]:
            raise Caught(f"inputs: {len(given)} are stored, {len(self._rig.inputs)} were delivered, or others")
        return [new_event(event.key, event.event_time, event.payload) for event in found]


def _is_locked(log: EventLog) -> bool:
    """Say whether another process holds the write lock."""
    try:
        with log.transaction():
            return False
    except LogLockedError:
        return True


def _command(rig: Rig, *words: str) -> None:
    """Run a command of kalibre to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "kalibre", *words],
        env=environment_of(rig.folder, rig.url),
        cwd=rig.folder,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_S * 2,
        check=False,
    )
    if done.returncode:
        words_said = done.stderr.decode(errors="replace")[-2000:]
        raise Caught(f"kalibre {' '.join(words)} ended with {done.returncode}: {words_said}")


def _words(told: IO[bytes]) -> str:
    told.seek(0)
    return told.read().decode(errors="replace")[-2000:]


def _note_trades(rig: Rig, tally: Tally) -> None:
    """Count orders and fills; a round in which a role did not trade proves nothing."""

    def count() -> list[list[int]]:
        with open_log(rig.url) as log:
            return [
                [len(log.read(kinds={kind}, key=f"{SERIES}|{role}")) for kind in ("order", "fill")]
                for role in ("champion", "challenger")
            ]

    counts, storage = in_child(count, rig.folder / "errors"), rig.url.partition(":")[0]
    for role, (orders, fills) in zip(("champion", "challenger"), counts, strict=True):
        if not orders or not fills:
            raise Caught(f"the {role} did not trade: {orders} orders, {fills} fills")
        tally.notes.append(f"{storage} {role} {orders} orders, {fills} fills")
