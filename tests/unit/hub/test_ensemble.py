"""The ensemble: who is worth more weighs more, nobody knows more than was told, a newcomer changes no past."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.fakes import learners, trading
from tests.fakes.hub_streams import (
    HORIZON,
    SERIES,
    START_MS,
    STEP_MS,
    Market,
    bench,
    close_of,
    ensemble_of,
    in_turn,
    judged,
    scorer_of,
)

from kalibre.core.errors import DeterminismError
from kalibre.core.events import Event, new_event
from kalibre.core.hub_events import Benched, EnsembleForecast
from kalibre.hub.ensemble import EnsembleProjection, Weights
from kalibre.hub.scorer import ScorerProjection
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.log.replay import copy_state
from kalibre.log.runner import Runner, refold


def say(streams: Mapping[str, Sequence[Event]], others: Sequence[Event] = ()) -> list[EnsembleForecast]:
    """Return what an ensemble says of these streams, in step."""
    ensemble = ensemble_of(list(streams))
    emitted = [said for event in [*others, *in_turn(list(streams.values()))] for said in ensemble.apply(event)]
    return [said.payload for said in emitted if isinstance(said.payload, EnsembleForecast)]


def benched(day: int, *names: str) -> Event:
    payload = Benched(names=names, changes={})
    return new_event(SERIES, START_MS + day * 86_400_000, payload)


def day_of(bar: int) -> int:
    """Return in which day of the market, counted from 1, a bar closes."""
    return -(-(close_of(bar) - START_MS) // 86_400_000)


NOBODY = [benched(day) for day in range(1, 60)]


def loss(said: Sequence[float | None], up: Any) -> float:
    pairs = [(p, went) for p, went in zip(said, up, strict=True) if p is not None]
    return float(-np.mean([math.log(p if went else 1 - p) for p, went in pairs]))


# --- weights ----------------------------------------------------------------------------------------------------------


def test_who_knows_gets_the_weight_and_who_shuffles_loses_it() -> None:
    market = Market(1_200, edge=1.2)
    said = say(
        {"good": market.stream("good", market.knowing()), "noise": market.stream("noise", market.shuffled(3))}, NOBODY
    )
    assert len(said) == market.n
    for one in said:
        assert set(one.weights) == {"good", "noise", "base rate"}
        assert math.fsum(one.weights.values()) == pytest.approx(1.0, abs=1e-12)
    assert said[0].weights == pytest.approx(dict.fromkeys(("good", "noise", "base rate"), 1 / 3))
    assert said[-1].weights["good"] > 0.95
    late = slice(600, None)
    scores, calibrated = [one.score for one in said][late], [one.p_up for one in said][late]
    knowing, noise = ([voice(bar) for bar in range(market.n)][late] for voice in (market.knowing(), market.shuffled(3)))
    assert loss(scores, market.up[late]) < loss(noise, market.up[late]) - 0.1
    assert loss(calibrated, market.up[late]) < loss(knowing, market.up[late]) + 0.01


def test_where_nobody_knows_it_says_the_base_rate() -> None:
    market = Market(1_200, edge=0.0)
    market.up[:] = np.random.default_rng(4).random(market.n) < 0.6
    said = say({"a": market.stream("a", market.shuffled(1)), "b": market.stream("b", lambda bar: 0.3)}, NOBODY)
    assert said[-1].weights["base rate"] > 0.5
    assert said[-1].p_up == pytest.approx(0.6, abs=0.04)


def test_weights_follow_who_becomes_the_best() -> None:
    market = Market(1_600, edge=1.2)
    streams = {
        "first": market.stream("first", lambda bar: market.knowing(1.0 if bar < 800 else -1.0)(bar)),
        "then": market.stream("then", market.wrong(until=800)),
    }
    said = say(streams, NOBODY)
    assert said[790].weights["first"] > 0.9
    assert said[-1].weights["then"] > 0.9


def test_who_sleeps_keeps_its_weight() -> None:
    weights = Weights(horizon_bars=1, logs={"a": 0.4, "b": -0.2, "c": 0.1})
    weights.learn({"a": 0.9, "b": 0.2}, went_up=True)
    assert weights.logs["c"] == 0.1
    assert sum(math.exp(weights.logs[name]) for name in "ab") == pytest.approx(math.exp(0.4) + math.exp(-0.2))
    weights.learn({"a": 1.0, "b": 0.0}, went_up=False)  # certain, and wrong: nobody is lost for ever
    assert all(math.isfinite(one) for one in weights.logs.values())


# --- what it may know -------------------------------------------------------------------------------------------------


def test_it_learns_nothing_before_it_was_told() -> None:
    """An outcome alters no weight before the bar at which it was told."""
    market, other = Market(60), Market(60)
    other.up[30:] = ~other.up[30:]
    said = [
        say({"a": one.stream("a", lambda bar: 0.8), "b": one.stream("b", lambda bar: 0.3)}) for one in (market, other)
    ]
    known = 30 + HORIZON
    assert said[0][:known] == said[1][:known]
    assert said[0][known:] != said[1][known:]


def test_outcomes_across_nights_and_weekends_are_learnt_too() -> None:
    """A session of 32 bars of 15 minutes, then sixteen hours; after five of them a weekend."""

    def close(bar: int) -> int:
        session, place = divmod(bar, 32)
        week, day = divmod(session, 5)
        return START_MS + ((week * 7 + day) * 96 + place + 1) * STEP_MS

    market = Market(640, closes=close)
    ensemble = ensemble_of(["a"])
    for event in [*(benched(day) for day in range(60)), *in_turn([market.stream("a", market.knowing())])]:
        ensemble.apply(event)
    (series,) = ensemble._series.values()
    assert series._calibration.n_matured == market.n - HORIZON
    assert series._base[1] == 2 + market.n - HORIZON


def test_an_outcome_that_nobody_tells_is_not_waited_for_for_ever() -> None:
    market = Market(700)
    ensemble = ensemble_of(["a", "b"])
    streams = [market.stream(name, market.knowing(), tells=False) for name in "ab"]
    sizes = []
    for event in [*NOBODY, *in_turn(streams)]:
        ensemble.apply(event)
        sizes.append(sum(len(str(value)) for value in ensemble.state().values()))
    assert max(sizes[700:]) < 1.1 * max(sizes[200:700])
    (series,) = ensemble._series.values()
    assert len(series._waiting) == 8 * (HORIZON + 1) + 1


def test_who_foresees_something_else_is_silent_and_its_outcomes_are_no_truth() -> None:
    market = Market(500)
    contrary = Market(500)
    contrary.up[:] = ~market.up
    # `alien` comes before `good` by name, and tells of another horizon what is the contrary here.
    streams = {
        "alien": contrary.stream("alien", market.knowing(), label="triple_barrier"),
        "good": market.stream("good", market.knowing()),
    }
    said = say(streams, NOBODY)
    alone = say({"good": streams["good"]}, NOBODY)
    assert {one.silent["alien"] for one in said} == {
        "it foresees triple_barrier over 4 bars, not direction over 4",
    }
    assert [(one.score, one.p_up, one.weights) for one in said] == [(one.score, one.p_up, one.weights) for one in alone]


def test_corrections_of_forecasts_and_outcomes_alter_nothing() -> None:
    market = Market(300)
    stream = market.stream("a", market.knowing())
    revised = []
    for event in stream:
        payload: Any = event.payload
        revised += [event, msgspec.structs.replace(event, payload=_contrary(payload), revision=1)]
    assert say({"a": stream}, NOBODY) == say({"a": revised}, NOBODY)


def _contrary(payload: Any) -> Any:
    if hasattr(payload, "went_up"):
        return msgspec.structs.replace(payload, went_up=not payload.went_up)
    return msgspec.structs.replace(payload, p_up=1.0 - payload.p_up)


def test_who_says_nothing_is_named_with_the_reason() -> None:
    market = Market(8)
    said = say(
        {"a": market.stream("a", lambda bar: None), "b": market.stream("b", lambda bar: 0.6 if bar > 3 else None)}
    )
    assert said[0].abstained == "no forecaster says anything"
    assert said[0].score is None
    assert said[0].silent == {"a": "it sleeps", "b": "it sleeps"}
    assert said[5].silent == {"a": "it sleeps"}
    assert said[5].abstained == "not calibrated yet: 200 more of its forecasts have to mature"


# --- who is waited for ------------------------------------------------------------------------------------------------


def test_nobody_waits_for_who_was_released_until_it_is_back() -> None:
    market = Market(40)
    whole = market.stream("b", market.knowing())
    stopped = [event for event in whole if event.event_time < close_of(10) and event.kind == "forecast"]
    back = market.stream("b", market.knowing(), bars=range(20, 40))
    streams = [
        market.stream("a", market.knowing()),
        [*stopped, bench("b", close_of(10)), bench("b", close_of(20), benched=False), *back],
    ]
    ensemble = ensemble_of(["a", "b"])
    said = [one.payload for event in in_turn(streams) for one in ensemble.apply(event)]
    assert len(said) == 40
    names = [set(one.weights) for one in said]  # type: ignore[attr-defined]
    assert names[9] == names[20] == {"a", "b", "base rate"}
    assert all(one == {"a", "base rate"} for one in names[10:20])
    assert said[15].silent == {"b": "nobody waits for it: its worker has stopped"}  # type: ignore[attr-defined]
    assert ensemble.missing() == {}


def test_it_waits_for_the_word_on_the_day_before_the_last_one() -> None:
    market = Market(300)
    ensemble = ensemble_of(["a"])
    said = [one for event in market.stream("a", market.knowing()) for one in ensemble.apply(event)]
    days = [day_of(bar) for bar in range(300)]
    assert len(said) == days.index(3)  # of the third day's bars nothing is said: the first day is not judged yet
    said += ensemble.apply(benched(2))  # not the one that is waited for
    assert len(said) == days.index(3)
    said += ensemble.apply(benched(1, "a"))
    assert len(said) == 300
    assert said[days.index(3)].payload.silent == {"a": "benched: it does worse than the base rate"}  # type: ignore[attr-defined]
    assert said[days.index(3) - 1].payload.silent == {}  # type: ignore[attr-defined]
    assert said[days.index(4)].payload.silent == {}  # type: ignore[attr-defined]


def test_who_is_benched_is_not_counted_and_comes_back() -> None:
    market = Market(500)
    days = [benched(day, *(("a",) if day == 2 else ())) for day in range(1, 10)]
    said = say({"a": market.stream("a", market.knowing()), "b": market.stream("b", market.knowing())}, days)
    for bar, one in enumerate(said):
        assert ("a" in one.weights) == (day_of(bar) != 4), bar


# --- on a real log ----------------------------------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


def runners(log: EventLog, folder: Path, names: Sequence[str], **changes: Any) -> list[Runner]:
    made = [ensemble_of(names), scorer_of(names)]
    return [Runner(log, one, snapshots_dir=folder / "snapshots", **changes) for one in made]


def read_all(these: Sequence[Runner]) -> None:
    while sum(one.catch_up() for one in these):
        continue


@pytest.mark.parametrize("batch_size", [1, 50])
def test_both_readers_of_one_log_tell_it_again(log: EventLog, tmp_path: Path, batch_size: int) -> None:
    market = Market(400)
    streams = {"a": market.stream("a", market.knowing()), "b": market.stream("b", market.shuffled(2))}
    these = runners(log, tmp_path, list(streams), batch_size=batch_size, snapshot_every_events=300)
    events = in_turn(list(streams.values()))
    for start in range(0, len(events), 400):
        for event in events[start : start + 400]:
            log.append([event], writer=event.key.rpartition("|")[2])
        read_all(these)
    assert len(log.read(kinds={"ensemble"})) == market.n
    ensemble, scorer = (refold(log, make(list(streams))) for make in (ensemble_of, scorer_of))
    assert ensemble.equal, ensemble.differences
    assert scorer.equal, scorer.differences
    assert [ensemble.state_digest, scorer.state_digest] == [one.state_digest() for one in these]
    straight = judged(streams)
    said = [(*event.identity, event.payload) for event in log.read(writer="ensemble")]
    assert said == [(*event.identity, event.payload) for event in straight.said["ensemble"]]


def test_a_forecaster_that_is_added_alters_no_past_and_stops_nobody(log: EventLog, tmp_path: Path) -> None:
    """It catches up behind everything that is recorded, so the rebuilt join speaks of old bars only then."""
    market = Market(400)
    first = {"a": market.stream("a", market.knowing()), "b": market.stream("b", market.shuffled(2))}
    recent = close_of(300)
    old, new = (
        [event for event in in_turn(list(first.values())) if (event.event_time < recent) is before]
        for before in (True, False)
    )
    log.append(old, writer="forecasters")
    read_all(runners(log, tmp_path, ["a", "b"]))
    before = log.read(kinds={"ensemble", "league", "benched"})
    assert len([event for event in before if event.kind == "ensemble"]) == 300
    added = market.stream("c", market.knowing(0.5))
    these = runners(log, tmp_path, ["a", "b", "c"])
    read_all(these)  # a rebuild that finds nobody of whom it could say something
    log.append([event for event in added if event.event_time < recent], writer="c")
    read_all(these)
    log.append(in_turn([new, [event for event in added if event.event_time >= recent]]), writer="forecasters")
    read_all(these)
    said = log.read(kinds={"ensemble"})
    assert [event for event in log.read(kinds={"ensemble", "league", "benched"}) if event in before] == before
    newest: dict[int, Event] = {event.event_time: event for event in said}
    assert len(newest) == market.n
    assert all("c" in event.payload.weights for event in newest.values())  # type: ignore[attr-defined]
    rebuilt = [event for event in said if event.revision]
    assert {event.provenance for event in rebuilt} == {"rebuild"}
    assert len(rebuilt) == 300
    for make in (ensemble_of, scorer_of):
        report = refold(log, make(["a", "b", "c"]))
        assert report.equal, report.differences
    again = runners(log, tmp_path, ["a", "b", "c"])
    for one, other in zip(again, these, strict=True):
        one.recover()
        assert one.state_digest() == other.state_digest()


def test_the_same_code_may_still_not_contradict_itself(log: EventLog, tmp_path: Path) -> None:
    """Plant: a projection says of a bar something else than it has recorded, without another version."""
    market = Market(50)
    log.append(market.stream("a", market.knowing()), writer="a")
    one, _ = runners(log, tmp_path, ["a"])
    one.catch_up()
    with log.transaction() as transaction:
        progress = transaction.progress("ensemble")
        assert progress is not None
        transaction.set_progress("ensemble", msgspec.structs.replace(progress, seq=0, rebuilt=0))
    other = ensemble_of(["a"])
    other._series[SERIES]._base = (5.0, 6.0)
    with pytest.raises(DeterminismError):
        Runner(log, other, snapshots_dir=None).catch_up()


def test_versions_follow_who_is_waited_for() -> None:
    versions = {ensemble_of(names, horizon).version for names, horizon in ((["a"], 4), (["a", "b"], 4), (["a"], 5))}
    assert len(versions) == 3
    assert ensemble_of(["a", "b"]).version == ensemble_of(["b", "a"]).version


def test_learner_champion_ensemble_and_scorer_on_one_log_of_a_hard_life(log: EventLog, tmp_path: Path) -> None:
    """Holes, late bars, corrections, splits in doubt, two champions, a pause: no bar is waited for in vain."""
    series = learners.SERIES
    events = learners.hard_life("honest")
    newest, closes = 0, list[int]()
    for event in events:
        if event.kind == "bar" and event.event_time > newest:
            newest = event.event_time
            closes.append(newest + STEP_MS)
    names = ["champion", "honest"]

    def makers() -> list[Any]:
        paper = trading.projection(lambda model, digest: learners.models()[model], learners.short_spec())
        judged_by = [(learners.SERIES.partition("|")[0], "15m")]
        return [
            learners.host(learners.Honest, load_checkpoint=lambda name, digest: known),
            paper,
            EnsembleProjection(judged_by, names, horizon_bars=learners.HORIZON),
            ScorerProjection(judged_by, names, horizon_bars=learners.HORIZON, fee=0.0005),
        ]

    known: dict[str, Any] = {}
    one = learners.host(learners.Honest)
    learners.play(one, events[:900])
    known |= copy_state(one.state())
    these = [Runner(log, made, snapshots_dir=tmp_path, batch_size=50) for made in makers()]
    for start in range(0, len(events), 130):
        for event in events[start : start + 130]:
            log.append([event], writer="source", conflict="refuse")
        read_all(these)
    said = [event.event_time for event in log.read(kinds={"ensemble"}, key=f"{series}|ensemble")]
    spoken = [event.event_time for event in log.read(kinds={"forecast"}, key=f"{series}|honest")]
    assert said == spoken == closes
    silent: set[str] = set()
    for event in log.read(kinds={"ensemble"}):
        silent |= set(event.payload.silent.values())  # type: ignore[attr-defined]
    assert "paused by a test" in silent
    assert any(why.startswith("frozen: ") for why in silent)
    assert any(set(event.payload.weights) == {*names, "base rate"} for event in log.read(kinds={"ensemble"}))  # type: ignore[attr-defined]
    for made, runner in zip(makers(), these, strict=True):
        report = refold(log, made)
        assert report.equal, report.differences
        assert report.state_digest == runner.state_digest()
