"""Killing `kalibre hub up --replay FILE --speed max` as a user runs it: a worker, or the supervisor and so all of them.

Each worker is killed by the process id in its heartbeat, at most four times in a supervisor's life (the fifth failure
would put it into `error`, and then it is not waited for: a decision, not a fault). The supervisor is killed alone; the
kernel and the keeper beside it have to kill the rest. In every fourth life each learner and judge has a process of its
own. When the kills are done a last start plays the rest and ends by itself, and the log is compared with the log of a
hub that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks._fault_hub_compare import row_of
from benchmarks._fault_hub_inputs import SYMBOLS, TIMEFRAME, Trained, furnish, promotions
from benchmarks._fault_kills import Caught, in_child
from tests.fakes.models import random_bars

from kalibre.core.bars import Bar
from kalibre.core.hub_events import OPERATIONAL
from kalibre.core.settings import Settings
from kalibre.hub.rebuild import rebuild
from kalibre.hub.up import behind, readers
from kalibre.hub.worker_process import ONLINE, Beat, read_beat
from kalibre.log import open_log

ROOT = Path(__file__).resolve().parents[1]
_MOST_A_LIFE = {"api": 1, "jobs": 1, "outbox": 1}
_OFTEN = 4
_PATIENCE_S = 300.0
_SETTINGS = {"LOG__BATCH_SIZE": "16", "LOG__SNAPSHOT_EVERY_EVENTS": "400", "HUB__MEMORY_LIMIT_MB": "4000"}


@dataclass
class EntryTally:
    """What was done to hubs that were started as a command."""

    kills: int = 0
    of: Counter[str] = field(default_factory=Counter)
    lives: int = 0
    logs: int = 0
    states: int = 0
    events: int = 0

    def words(self) -> str:
        """Return it in words."""
        parts = ", ".join(f"{name} {count}" for name, count in sorted(self.of.items()))
        return (
            f"{self.kills} kills ({parts}) in {self.lives} starts, {self.logs} logs of {self.events} events in all "
            f"equal to the undisturbed hub's, {self.states} stored states equal to the refolded ones"
        )


def write_market(folder: Path, n_bars: int) -> None:
    """Write the history that is played, a file for each symbol."""
    folder.mkdir()
    for seed, symbol in enumerate(SYMBOLS):
        write_bars(folder / f"{symbol}.csv", random_bars(n_bars, seed=seed + 8, symbol=symbol))


def write_bars(path: Path, bars: Iterable[Bar]) -> None:
    """Write bars into a file that the source `files` reads."""
    names = ("open_time", "open", "high", "low", "close", "volume")
    with path.open("w") as stream:
        writer = csv.writer(stream)
        writer.writerow(names)
        writer.writerows([repr(getattr(bar, name)) for name in names] for bar in bars)


class HubHome:
    """A home in which the command is run again and again."""

    def __init__(self, home: Path, market: Path, trained: Trained) -> None:
        self.home, self._market = home, market
        home.mkdir()
        furnish(home, trained)
        self.settings = Settings(
            home=home,
            market={"symbols": list(SYMBOLS), "timeframe": TIMEFRAME, "source": "simulated"},  # type: ignore[arg-type]
        )
        with open_log(self.settings.log_url) as log:
            log.append(promotions(trained), writer="fault")
        self._told = (home / "told").open("wb")

    def start(self, *, apart: bool, once: bool = False) -> subprocess.Popen[bytes]:
        """Start the command."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KALIBRE_")}
        environment |= {f"KALIBRE_{name}": value for name, value in _SETTINGS.items()}
        environment |= {"KALIBRE_HOME": str(self.home), "KALIBRE_HUB__GROUPING": "apart" if apart else "grouped"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        words = [
            "hub",
            "up",
            "--replay",
            str(self._market),
            "--speed",
            "max",
            "--folder",
            str(self.home),
            "--port",
            "0",
        ]
        words += [word for symbol in SYMBOLS for word in ("--symbol", symbol)]
        return subprocess.Popen(
            [sys.executable, "-m", "kalibre", *words, "--timeframe", TIMEFRAME, *(["--once"] if once else [])],
            env=environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=self._told,
            stderr=self._told,
        )

    def finish(self) -> None:
        """Start it once more, undisturbed, and wait for its end."""
        process = self.start(apart=False, once=True)
        try:
            if process.wait(_PATIENCE_S):
                raise Caught(f"kalibre hub up ended with {process.returncode}: {self.words()}")
        finally:
            end(process)

    def beats(self) -> dict[str, Beat]:
        """Return the newest beat of every worker that has one."""
        found = {path.stem: read_beat(path) for path in (self.home / "run").glob("*.beat")}
        return {name: beat for name, beat in found.items() if beat is not None}

    def words(self) -> str:
        """Return the last words of the command."""
        return (self.home / "told").read_bytes()[-2_000:].decode(errors="replace")

    def played(self) -> bool:
        """Say whether the history was played to its end and everybody has read everything."""
        beat = self.beats().get("ingest")
        if beat is None or beat.phase != "played":
            return False
        with open_log(self.settings.log_url) as log:
            return not behind(log, readers(self.settings))

    def contents(self) -> dict[str, Any]:
        """Return what both equalities are judged by."""
        with open_log(self.settings.log_url) as log:
            names = readers(self.settings)
            rebuilt = {name: rebuild(log, self.settings, name) for name in names}
            events = log.read()
            return {
                "check": log.check(),
                "unread": behind(log, names),
                "refold": [words for one in rebuilt.values() for words in one.differences],
                "states": {name: one.digest for name, one in rebuilt.items()},
                "stored": sum(one.states for one in rebuilt.values()),
                "rows": sorted(row_of(event) for event in events if event.kind not in OPERATIONAL),
            }


def end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that a hub is gone."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
    if process.poll() is None:
        process.kill()
        process.wait()


class _Life:
    """One start of the command, until its supervisor is killed."""

    def __init__(self, hub: HubHome, dice: random.Random, tally: EntryTally, *, apart: bool) -> None:
        self._hub, self._dice, self._tally = hub, dice, tally
        self._killed = Counter[str]()
        self._seen: dict[str, tuple[int, int]] = {}
        self._due: dict[str, float] = {}
        tally.lives += 1
        self.process = hub.start(apart=apart)

    def run(self, kills: int) -> bool:
        """Kill workers at most so often, then the supervisor; say whether all has been played by then."""
        deadline, looked = time.monotonic() + _PATIENCE_S, 0.0
        done, played = 0, False
        try:
            while done < kills - 1 and not played:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise Caught(f"kalibre hub up ended with {self.process.poll()} by itself: {self._hub.words()}")
                for name, beat in self._hub.beats().items():
                    if done < kills - 1 and self._is_due(name, beat):
                        done += self._kill(name, beat.pid)
                if time.monotonic() - looked > 1.0:
                    looked, played = time.monotonic(), self._hub.played()
                if self._killed and not any(self._may(name) for name in self._hub.beats()):
                    break
                time.sleep(0.005)
            self._kill_supervisor()
        finally:
            end(self.process)
        return played

    def _may(self, name: str) -> bool:
        return self._killed[name] < _MOST_A_LIFE.get(name, _OFTEN)

    def _is_due(self, name: str, beat: Beat) -> bool:
        """Say whether a worker is to be killed now: a moment after it has got on, or as it begins."""
        if not self._may(name) or not alive(beat.pid):
            return False
        pid, position = self._seen.get(name, (0, 0))
        if pid != beat.pid:  # a new process
            self._seen[name] = (beat.pid, beat.position)
            early = self._dice.random() < 0.25
            self._due[name] = time.monotonic() + self._dice.random() * 2.0 if early else float("inf")
        elif self._due[name] == float("inf") and beat.phase in (ONLINE, "played") and beat.position >= position:
            self._due[name] = time.monotonic() + self._dice.random() * self._dice.choice((0.02, 0.2, 0.5))
        return time.monotonic() >= self._due[name]

    def _kill(self, name: str, pid: int) -> bool:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self._killed[name] += 1
            self._tally.kills += 1
            self._tally.of[name] += 1
            return True
        return False

    def _kill_supervisor(self) -> None:
        """Kill it alone, and see that nobody outlives it."""
        pids = [beat.pid for beat in self._hub.beats().values() if alive(beat.pid)]
        self.process.kill()
        self.process.wait()
        self._tally.kills += 1
        self._tally.of["supervisor"] += 1
        deadline = time.monotonic() + 30
        while left := [pid for pid in pids if alive(pid)]:
            if time.monotonic() > deadline:
                raise Caught(f"the supervisor was killed, and these processes live on: {left}")
            time.sleep(0.01)


def alive(pid: int) -> bool:
    """Say whether a process runs; one that is dead and not buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def entry_rounds(
    folder: Path, trained: Trained, dice: random.Random, tally: EntryTally, *, kills: int, n_bars: int
) -> None:
    """Kill the command so many times over as many logs as that takes, and compare each with the undisturbed one."""
    folder.mkdir()
    market = folder / "market"
    write_market(market, n_bars)
    undisturbed = HubHome(folder / "undisturbed", market, trained)
    undisturbed.finish()
    reference = in_child(undisturbed.contents, folder / "errors")
    _judge(reference, reference)
    for number in _numbers():
        hub, played = HubHome(folder / f"{number}", market, trained), False
        while not played and tally.kills < kills:
            most = min(kills - tally.kills, dice.randint(6, 20))
            played = _Life(hub, dice, tally, apart=tally.lives % 4 == 3).run(most)
        hub.finish()
        found = in_child(hub.contents, folder / "errors")
        _judge(found, reference)
        tally.logs += 1
        tally.events += len(found["rows"])
        tally.states += found["stored"]
        if tally.kills >= kills:
            return


def _numbers() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        yield number


def _judge(found: dict[str, Any], reference: dict[str, Any]) -> None:
    benched = [row for row in found["rows"] if row[0] == "bench"]
    if benched:
        raise Caught(f"a worker was given up and not waited for any more: {benched[:2]}")
    if found["check"] or found["unread"]:
        raise Caught(f"log check: {found['check'] or found['unread']}")
    if found["refold"]:
        raise Caught(f"refold: {found['refold'][0]}")
    if found["rows"] != reference["rows"]:
        ours, theirs = ({tuple(row) for row in side["rows"]} for side in (found, reference))
        first = min(ours - theirs, default=None), min(theirs - ours, default=None)
        raise Caught(
            f"interruption: {len(ours - theirs)} events differ from the undisturbed hub's, {len(theirs - ours)} are "
            f"missing; first {json.dumps(first)[:1_500]}"
        )
    for name, digest in reference["states"].items():
        if found["states"][name] != digest:
            raise Caught(f"interruption: what {name} knows at the end is not what it knows undisturbed")
