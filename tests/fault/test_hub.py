"""The short form of the hub's part of `make fault`: every part killed, every named place, every planted bug."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import pytest
from benchmarks._fault_hub_compare import compare_hub
from benchmarks._fault_hub_market import MarketTally
from benchmarks._fault_hub_session import HubSession
from benchmarks._fault_kills import Caught
from tests.fakes.postgres import Postgres, binaries_or_skip

from kalibre.learners.base import learner_names

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(900)]  # a busy machine takes its time

BARS = 50
Found = TypeVar("Found")


def apart(work: Callable[[Path], Found], folder: Path) -> Found:
    """Do it in a fresh process: what forks must not have used polars, whose threads no forked process has."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(work, folder).result()


def session(folder: Path) -> HubSession:
    return HubSession(folder, random.Random(7), None, bars=BARS, probe_bars=BARS)


def named_places(folder: Path) -> str:
    return session(folder).places(together=True)


def market_kills(folder: Path) -> MarketTally:
    return session(folder).market(10)


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    postgres = Postgres(binaries_or_skip(), fsync=True)
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.stop()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> HubSession:
    """Return a hub of three learners, which costs less."""
    folder, learners = tmp_path_factory.mktemp("fault") / "hub", ("agents", "explain", "reinforcement")
    return HubSession(folder, random.Random(7), None, bars=BARS, probe_bars=BARS, learners=learners)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> HubSession:
    return session(tmp_path_factory.mktemp("fault") / "hub")


def test_every_part_outlives_kills_in_any_grouping(hub: HubSession) -> None:
    tally = hub.forks(60, "sqlite")
    assert tally.kills >= 60
    assert tally.inside > 0
    assert tally.rounds == 1
    assert len(tally.groupings) > 1
    assert set(learner_names()) <= set(tally.of), "a learner that is there is killed, without being named anywhere"
    assert {"paper", "ensemble", "scorer", "alarms"} <= set(tally.of)
    assert tally.states > 0
    assert tally.attempts > tally.jobs > 0
    assert tally.letters > 0


def test_every_named_place_is_come_by_and_outlived(tmp_path: Path) -> None:
    words = apart(named_places, tmp_path / "hub")
    assert words.endswith("left to the long form: retrain.promoted, retrain.trained"), words


def test_every_planted_bug_is_caught_by_its_net(small: HubSession) -> None:
    found = {name: (right, words) for name, right, words in small.planted(30)}
    assert len(found) == 8
    assert [(name, words) for name, (right, words) in found.items() if not right] == []


def test_the_workers_own_ingest_outlives_kills(tmp_path: Path) -> None:
    tally = apart(market_kills, tmp_path / "hub")
    assert tally.kills >= 10
    assert tally.logs >= 1


def test_the_hub_outlives_postgres(small: HubSession, server: Postgres) -> None:
    small.server = server
    assert small.forks(10, "postgres").rounds == 1
    assert small.server_kills(1).endswith("of them again)")


def test_the_comparison_sees_one_event_too_many_and_one_job_too_few(small: HubSession) -> None:
    rig, reference = small.undisturbed()
    compare_hub(rig, reference)
    with pytest.raises(Caught, match=r"interruption: 1 events differ"):
        compare_hub(rig, {**reference, "rows": reference["rows"][1:]})
    with pytest.raises(Caught, match=r"interruption: .* of scorer is at the end"):
        compare_hub(rig, {**reference, "states": {**reference["states"], "scorer": {}}})
    done = reference["jobs"]["done"]
    with pytest.raises(Caught, match="jobs: done are"):
        compare_hub(rig, {**reference, "jobs": {"done": done[1:]}})
    with rig.letters.open("a") as stream:
        stream.write("9999999\tnone\n0\tneither\n")
    with pytest.raises(Caught, match=r"outbox: 0 of \d+ events were lost, \d were none"):
        compare_hub(rig, reference)
