"""The short form of the hub's part of `make fault`: every part killed, every named place, every planted bug."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from benchmarks._fault_hub_compare import compare_hub
from benchmarks._fault_hub_session import HubSession
from benchmarks._fault_kills import Caught
from tests.fakes.postgres import Postgres, binaries_or_skip

from kalibre.learners.base import learner_names

pytestmark = [pytest.mark.fault, pytest.mark.slow]

BARS = 50


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
    return HubSession(tmp_path_factory.mktemp("fault") / "hub", random.Random(7), None, bars=BARS, probe_bars=BARS)


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


def test_every_named_place_is_come_by_and_outlived(hub: HubSession) -> None:
    words = hub.places(together=True)
    assert words.endswith("left to the long form: retrain.promoted, retrain.trained"), words


def test_every_planted_bug_is_caught_by_its_net(small: HubSession) -> None:
    found = {name: (right, words) for name, right, words in small.planted(30)}
    assert len(found) == 8
    assert [(name, words) for name, (right, words) in found.items() if not right] == []


def test_the_workers_own_ingest_outlives_kills(hub: HubSession) -> None:
    tally = hub.market(10)
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
