"""`make fault`: kill -9 by the thousand, torn files, a dying server; nothing lost, nothing doubled, nothing changed.

After each round two equalities are checked. *Refold*: the log, read again, gives the same emissions and state, bit for
bit. *Interruption*: the log holds the same events by (kind, key, event time, revision, content) as the log of a run
that nobody disturbed. Planted bugs show that both nets catch what they are for. The paper engine is tortured as well,
forked and as `kalibre paper --follow`, with models that trade; and the whole hub: every part in any grouping, its
ingest, `kalibre hub up` itself, and a kill at every named place of the code (`--only hub` runs just that).
`--factory module:name` tortures another projection, `--inputs module:name` feeds it (a callable that takes a number of
bars), `--entry-argv` kills another command.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks._fault_entry import kill_entry, load_factory
from benchmarks._fault_hub_session import HubSession, NotReachedError
from benchmarks._fault_kills import Caught, Rig, Tally, compare, in_child, undisturbed
from benchmarks._fault_paper import WARMUP_BARS, Models, entry_round, paper_inputs, paper_rig, train, warm
from benchmarks._fault_planted import catch, planted
from benchmarks._fault_postgres import rewind, server_round
from benchmarks._fault_rounds import kill_round, lose_tail, note_synced
from benchmarks._fault_snapshots import damage_snapshots
from tests.fakes.postgres import Postgres, find_binaries

from kalibre.log import open_log

KILLS_A_ROUND = 50


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=2000, help="forked kills over SQLite, and as many over PostgreSQL")
    parser.add_argument("--pg-kills", type=int, default=10, help="kills of the PostgreSQL server itself")
    parser.add_argument("--entry-kills", type=int, default=50, help="kills of the entry point, a process of its own")
    parser.add_argument("--paper-kills", type=int, default=50, help="kills of `kalibre paper --follow`")
    parser.add_argument("--paper-forks", type=int, default=300, help="forked kills of the paper engine over SQLite")
    parser.add_argument("--hub-kills", type=int, default=10_000, help="forked kills of the hub's parts over SQLite")
    parser.add_argument("--hub-pg-kills", type=int, default=300, help="and over PostgreSQL")
    parser.add_argument("--hub-server-kills", type=int, default=20, help="kills of PostgreSQL under the whole hub")
    parser.add_argument("--hub-market-kills", type=int, default=300, help="forked kills of the hub's ingest")
    parser.add_argument("--hub-entry-kills", type=int, default=200, help="kills of `kalibre hub up` and its workers")
    parser.add_argument("--hub-bars", type=int, default=240, help="bars of each symbol in one of its logs")
    parser.add_argument("--hub-entry-bars", type=int, default=4_000, help="bars of each symbol that are played")
    parser.add_argument("--hub-learners", default="", help="comma separated; default: every file of learners/")
    parser.add_argument("--only", choices=("spine", "hub"), default="", help="leave the other half out")
    parser.add_argument("--flips", type=int, default=10_000, help="sampled flips in a snapshot outside its manifest")
    parser.add_argument("--bars", type=int, default=400, help="bars of each series in one round")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--factory", default="benchmarks._fault_model:OnlineModel", help="makes the projection")
    parser.add_argument("--inputs", default="benchmarks._fault_kills:make_inputs", help="makes the events, from --bars")
    parser.add_argument("--entry-argv", default="", help="JSON list; {url}, {folder} and {factory} are filled in")
    parser.add_argument("--skip-postgres", action="store_true")
    parser.add_argument("--quick", action="store_true", help="about a twentieth of everything")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.kills, chosen.pg_kills, chosen.entry_kills, chosen.flips = 100, 2, 3, 500
        chosen.paper_kills, chosen.paper_forks = 3, 15
        chosen.hub_kills, chosen.hub_pg_kills, chosen.hub_server_kills, chosen.hub_market_kills = 150, 25, 2, 15
        chosen.hub_entry_kills, chosen.hub_bars, chosen.hub_entry_bars = 10, 90, 400
    return chosen


class Session:
    """One run of the command: what it tortures, and what it found."""

    def __init__(self, chosen: argparse.Namespace, folder: Path, server: Postgres | None) -> None:
        self._chosen = chosen
        self._folder = folder
        self._server = server
        self._dice = random.Random(chosen.seed)
        self._factory = load_factory(chosen.factory)
        self._inputs = load_factory(chosen.inputs)(chosen.bars)  # type: ignore[call-arg]
        self._rigs = 0
        self._models: Models | None = None
        self.lines: list[dict[str, Any]] = []

    def spine(self) -> None:
        """Torture log, runner, snapshots and the paper engine."""
        chosen = self._chosen
        self.snapshots()
        self.plant()
        self.run("kills over SQLite", lambda tally: self.kills(tally, chosen.kills, "sqlite"))
        if self._server is not None:
            self.run("kills over PostgreSQL", lambda tally: self.kills(tally, chosen.kills, "postgres"))
            self.run("kills of PostgreSQL itself", self.server_kills)
        self.run("kills of the paper engine", self.paper_forks)
        self.run("kills of the entry point", self.entry_kills)
        self.run("kalibre paper", self.paper_kills)

    def _place(self, storage: str, *, drop_others: bool = True) -> tuple[Path, str]:
        """Make a folder and an empty log; return both."""
        self._rigs += 1
        folder = self._folder / f"{self._rigs}"
        folder.mkdir()
        if storage == "postgres":
            assert self._server is not None
            return folder, self._server.new_database(drop_others=drop_others)
        return folder, f"sqlite:///{folder / 'log.sqlite'}"

    def rig(self, storage: str, **more: Any) -> Rig:
        """Return a rig over an empty log."""
        folder, url = self._place(storage)
        return Rig(url=url, folder=folder, make_projection=self._factory, inputs=self._inputs, **more)

    def note(self, claim: str, passed: bool, words: str) -> None:
        """Keep and print one line."""
        self.lines.append({"claim": claim, "pass": passed, "words": words})
        if not self._chosen.json:
            print(f"{'PASS' if passed else 'FAIL'} {claim}: {words}", flush=True)

    def run(self, claim: str, work: Callable[[Tally], None]) -> None:
        """Do one claim's work and say what became of it."""
        tally, begun = Tally(), time.monotonic()
        try:
            work(tally)
        except Caught as caught:
            self.note(claim, False, str(caught))
            return
        inside = f"{tally.inside / max(tally.kills, 1):.0%} of them inside a transaction"
        words = f"{tally.kills} kills, {inside if tally.inside >= 0 else 'inside or not is unknown'}"
        for count, what in (
            (tally.rounds, "logs"),
            (tally.refolded, "refolds equal"),
            (tally.compared, "equal to the undisturbed run"),
            (tally.tails_lost, "tails lost"),
            (tally.snapshots_torn, "snapshots torn"),
            (tally.switched, "kill switch thrown"),
        ):
            words += f", {count} {what}" if count else ""
        words += "".join(f"; {note}" for note in tally.notes)
        self.note(claim, True, f"{words}; {time.monotonic() - begun:.0f} s")

    def kills(self, tally: Tally, total: int, storage: str, make_rig: Callable[[], Rig] | None = None) -> None:
        """Rounds of kills, some with a power cut, some with the kill switch thrown."""
        make = make_rig or (lambda: self.rig(storage))
        reference = undisturbed(make())
        while tally.kills < total:
            kind = tally.rounds % 5
            more: dict[str, Any] = {}
            rig = make()
            if kind in (1, 2) and storage == "sqlite":
                rig.on_commit = note_synced
                more["lose"] = lose_tail(self._dice, tally, lying=kind == 2)
            elif kind == 2 and self._server is not None:
                more["lose"] = rewind(self._server, self._dice, tally)
            elif kind == 3:
                more["switch"] = True
            kills = min(KILLS_A_ROUND, max(5, total - tally.kills))
            kill_round(rig, reference, self._dice, tally, kills=kills, **more)

    def server_kills(self, tally: Tally) -> None:
        """Kill PostgreSQL itself."""
        assert self._server is not None
        reference = undisturbed(self.rig("postgres"))
        server_round(self.rig("postgres"), reference, self._dice, tally, self._server, kills=self._chosen.pg_kills)

    def entry_kills(self, tally: Tally) -> None:
        """Kill the entry point, a process of its own that starts cold."""
        reference = undisturbed(self.rig("sqlite"))
        rig = self.rig("sqlite")
        default = [sys.executable, "-m", "benchmarks._fault_entry", "{url}", "{folder}/snapshots", "{factory}"]
        names = {"url": rig.url, "folder": str(rig.folder), "factory": self._chosen.factory}
        argv = [word.format(**names) for word in (json.loads(self._chosen.entry_argv or "null") or default)]
        projection = self._factory()
        kills, share = self._chosen.entry_kills, len(rig.inputs) // (self._chosen.entry_kills + 1)

        def feed(number: int) -> None:
            stop = len(rig.inputs) if number == kills else (number + 1) * share

            def append() -> None:
                with open_log(rig.url) as log:
                    log.append(rig.inputs[number * share : stop], writer="source")

            in_child(append, rig.folder / "errors")

        def asked(question: str) -> int:
            with open_log(rig.url) as log:
                progress = log.progress(projection.name)
                position = progress.seq if progress else 0
                return position if question == "position" else position - log.last_position(projection.reads)

        tally.kills = kill_entry(
            argv,
            probe=lambda: asked("position"),
            kills=kills,
            dice=self._dice,
            feed=feed,
            caught_up=lambda: asked("behind") >= 0,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        )
        compare(rig, reference)
        tally.inside, tally.rounds, tally.refolded, tally.compared = -1, 1, 1, 1

    def _trained(self) -> Models:
        """Return the models that the paper engine trades with."""
        self._models = self._models or train(self._folder / "paper" / "models")
        return self._models

    def paper_forks(self, tally: Tally) -> None:
        """Rounds of kills with the paper engine as the projection; both models speak after a few bars."""
        models = self._trained()
        inputs = paper_inputs(models, 500, champion=models.few, challenger=models.others)

        def rig() -> Rig:
            return paper_rig(*self._place("sqlite"), models, inputs)

        warm(rig())
        self.kills(tally, self._chosen.paper_forks, "sqlite", rig)

    def paper_kills(self, tally: Tally) -> None:
        """Kill `kalibre paper --follow`, every fifth time over PostgreSQL."""
        models = self._trained()
        inputs = paper_inputs(models, WARMUP_BARS + 1_000, champion=models.every, challenger=models.few)
        head = len(inputs) * WARMUP_BARS // (WARMUP_BARS + 1_000)
        shares = {"sqlite": self._chosen.paper_kills}
        if self._server is not None:
            shares["postgres"] = (self._chosen.paper_kills + 4) // 5
            shares["sqlite"] -= shares["postgres"]
        for storage, kills in shares.items():
            if kills > 0:
                rig, reference = (paper_rig(*self._place(storage, drop_others=False), models, inputs) for _ in range(2))
                entry_round(rig, reference, self._dice, tally, kills=kills, head=head)

    def hub(self) -> None:
        """Torture the whole hub."""
        chosen = self._chosen
        learners = tuple(filter(None, chosen.hub_learners.split(",")))
        hub = HubSession(
            self._folder / "hub",
            self._dice,
            self._server,
            bars=chosen.hub_bars,
            probe_bars=50 if chosen.quick else 80,
            learners=learners,
        )
        for name, right, words in hub.planted(30 if chosen.quick else 60):
            self.note(f"planted in the hub: {name}", right, words[:230])
        claims: list[tuple[str, Callable[[], str]]] = [
            ("a kill at every named place", lambda: hub.places(together=chosen.quick)),
            ("kills of every part of the hub over SQLite", lambda: hub.forks(chosen.hub_kills, "sqlite").words()),
            ("kills of the hub's ingest", lambda: hub.market(chosen.hub_market_kills).words()),
        ]
        if self._server is not None:
            claims += [
                ("kills of the hub over PostgreSQL", lambda: hub.forks(chosen.hub_pg_kills, "postgres").words()),
                ("kills of PostgreSQL under the hub", lambda: hub.server_kills(chosen.hub_server_kills)),
            ]
        claims.append(("kalibre hub up", lambda: hub.entry(chosen.hub_entry_kills, chosen.hub_entry_bars)))
        for claim, work in claims:
            begun = time.monotonic()
            try:
                words, passed = work(), True
            except (Caught, NotReachedError) as caught:
                words, passed = str(caught), False
            self.note(claim, passed, f"{words}; {time.monotonic() - begun:.0f} s")

    def plant(self) -> None:
        """Let the nets catch the planted bugs."""
        for name, (make_rig, word) in planted(lambda: self.rig("sqlite")).items():
            right, words = catch(name, make_rig, word, self._dice, kills=30)
            self.note(f"planted: {name}", right, words[:230])

    def snapshots(self) -> None:
        """Damage snapshots."""
        found = damage_snapshots(self._folder / "snapshots", self._dice, flips=self._chosen.flips)
        words = ", ".join(f"{name} {cases - wrong}/{cases}" for name, (cases, wrong) in found.items())
        self.note("snapshots", not any(wrong for _, wrong in found.values()), f"detected and passed over: {words}")


def main() -> int:
    chosen = arguments()
    binaries = None if chosen.skip_postgres else find_binaries()
    server = Postgres(binaries, fsync=True) if binaries else None
    with tempfile.TemporaryDirectory(prefix="kalibre-fault-") as folder:
        try:
            if server is not None:
                server.start()
            session = Session(chosen, Path(folder), server)
            if server is None and not chosen.skip_postgres:
                session.note("PostgreSQL", False, "no binaries found: pip install pgserver")
            if chosen.only != "hub":
                session.spine()
            if chosen.only != "spine":
                session.hub()
        finally:
            if server is not None:
                server.stop()
    failed = [line["claim"] for line in session.lines if not line["pass"]]
    if chosen.json:
        print(json.dumps({"lines": session.lines, "pass": not failed}, indent=1))
    else:
        print(f"{'FAIL: ' + ', '.join(failed) if failed else 'PASS'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
