"""The short form of `make fault`: about a hundred kills, and every planted bug caught by its net."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks._fault_entry import kill_entry
from benchmarks._fault_kills import Caught, Rig, Tally, compare, make_inputs, undisturbed
from benchmarks._fault_model import OnlineModel
from benchmarks._fault_planted import catch, planted
from benchmarks._fault_postgres import server_round
from benchmarks._fault_rounds import kill_round, lose_tail, note_synced
from tests.fakes.postgres import Postgres, binaries_or_skip

pytestmark = pytest.mark.fault

INPUTS = make_inputs(120)
MakeRig = Callable[..., Rig]


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    postgres = Postgres(binaries_or_skip(), fsync=True)
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.stop()


@pytest.fixture
def make_rig(tmp_path: Path) -> MakeRig:
    numbers = iter(range(100))

    def make(url: str = "", **more: Any) -> Rig:
        folder = tmp_path / f"{next(numbers)}"
        folder.mkdir()
        return Rig(
            url=url or f"sqlite:///{folder / 'log.sqlite'}",
            folder=folder,
            make_projection=OnlineModel,
            inputs=INPUTS,
            **more,
        )

    return make


def test_sqlite_outlives_kills_power_cuts_and_torn_snapshots(make_rig: MakeRig) -> None:
    dice, tally = random.Random(7), Tally()
    reference = undisturbed(make_rig())
    kill_round(make_rig(), reference, dice, tally, kills=25)
    for lying in (False, True):
        rig = make_rig(on_commit=note_synced)
        kill_round(rig, reference, dice, tally, kills=15, lose=lose_tail(dice, tally, lying=lying))
    kill_round(make_rig(), reference, dice, tally, kills=15, switch=True)
    assert tally.kills >= 50
    assert tally.inside > 0
    assert tally.tails_lost > 0
    assert (tally.rounds, tally.refolded, tally.compared) == (4, 4, 3)


def test_postgres_outlives_kills_of_its_clients_and_of_itself(make_rig: MakeRig, server: Postgres) -> None:
    dice, tally = random.Random(7), Tally()
    reference = undisturbed(make_rig(server.new_database()))
    kill_round(make_rig(server.new_database()), reference, dice, tally, kills=15)
    server_round(make_rig(server.new_database(drop_others=True)), reference, dice, tally, server, kills=1)
    assert tally.kills >= 12
    assert tally.compared == 2


def test_every_planted_bug_is_caught_by_its_net(make_rig: MakeRig) -> None:
    dice = random.Random(7)
    for name, (make_planted, word) in planted(make_rig).items():
        right, words = catch(name, make_planted, word, dice, kills=30)
        assert right, f"{name}: {words}"


def test_a_command_that_fails_by_itself_is_told(make_rig: MakeRig) -> None:
    import sys

    with pytest.raises(Caught, match="ended with 5 before it got on: alas"):
        kill_entry(
            [sys.executable, "-c", "import sys; print('alas', file=sys.stderr); sys.exit(5)"],
            probe=lambda: 0,
            kills=1,
            dice=random.Random(7),
        )


def test_the_comparison_sees_one_event_too_many(make_rig: MakeRig) -> None:
    rig = make_rig()
    reference = undisturbed(rig)
    compare(rig, reference)
    with pytest.raises(Caught, match=r"interruption: 1 events differ"):
        compare(rig, {**reference, "rows": reference["rows"][1:]})
    with pytest.raises(Caught, match="state"):
        compare(rig, {**reference, "state": "0" * 64})
