"""`kalibre paper --follow` as a user runs it, killed with -9: the short form of its part of `make fault`."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks._fault_kills import Caught, Rig, Tally
from benchmarks._fault_paper import Models, entry_round, paper_inputs, paper_rig, train

from kalibre.log.protocol import EventLog

pytestmark = [pytest.mark.fault, pytest.mark.slow]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return train(tmp_path_factory.mktemp("trained") / "models")


@pytest.fixture
def make_rig(tmp_path: Path, models: Models) -> Callable[[str, str], Rig]:
    def make(name: str, challenger: str) -> Rig:
        inputs = paper_inputs(models, 240, champion=models.few, challenger=challenger)
        folder = tmp_path / name
        folder.mkdir()
        return paper_rig(folder, f"sqlite:///{folder / 'log.sqlite'}", models, inputs)

    return make


def test_it_outlives_kills_and_obeys_the_switch(make_rig: Callable[[str, str], Rig], models: Models) -> None:
    tally = Tally()
    rig, reference = (make_rig(name, models.others) for name in ("killed", "undisturbed"))
    entry_round(rig, reference, random.Random(7), tally, kills=2, head=120)
    assert (tally.kills, tally.switched, tally.compared, tally.refolded) == (2, 2, 1, 1)
    assert len(tally.notes) == 2


def test_an_offset_that_ran_ahead_of_the_events_is_caught(make_rig: Callable[[str, str], Rig], models: Models) -> None:
    def skip(log: EventLog) -> None:
        with log.transaction() as transaction:
            transaction.set_offset("paper", log.last_position({"bar"}))

    rig, reference = (make_rig(name, models.others) for name in ("killed", "undisturbed"))
    with pytest.raises(Caught, match=r"before it got on: .*'paper' emits .* again"):
        entry_round(rig, reference, random.Random(7), Tally(), kills=2, head=300, after_kill=skip)


def test_a_round_in_which_nobody_trades_proves_nothing(make_rig: Callable[[str, str], Rig], models: Models) -> None:
    rig, reference = (make_rig(name, models.every) for name in ("killed", "undisturbed"))  # it abstains for the warm-up
    with pytest.raises(Caught, match="the challenger did not trade: 0 orders"):
        entry_round(rig, reference, random.Random(7), Tally(), kills=1, head=120)
