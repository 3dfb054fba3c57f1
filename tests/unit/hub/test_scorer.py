"""The scorer: who is better than knowing nothing is shown so, who is worse is benched and may return."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, precision_score, recall_score
from tests.fakes.hub_streams import (
    HORIZON,
    SERIES,
    START_MS,
    STEP_MS,
    TIMEFRAME,
    Market,
    Readers,
    close_of,
    ensemble_of,
    in_turn,
    judged,
    scorer_of,
    told,
)

from kalibre.bars.calendars import get_calendar
from kalibre.core.hub_events import Score, Standing
from kalibre.core.settings import Settings
from kalibre.hub._dummies import Dummies
from kalibre.hub.scorer import scorer_projection

HOUR_MS, DAY_MS = 3_600_000, 86_400_000


def standings(readers: Readers, which: int = -1) -> dict[str, Standing]:
    league: Any = readers.by_kind("league")[which].payload
    return {row.name: row for row in league.rows}


def scores(readers: Readers, name: str) -> list[tuple[int, Score]]:
    found: list[Any] = [event for event in readers.by_kind("score") if event.key == f"{SERIES}|{name}"]
    return [(event.event_time, event.payload) for event in found]


# --- periods ----------------------------------------------------------------------------------------------------------


def test_every_hour_is_told_once_when_a_bar_of_the_next_one_is_complete() -> None:
    market = Market(200)
    readers = judged({"a": market.stream("a", market.knowing())})
    for kind in ("league", "score"):
        times = sorted({event.event_time for event in readers.by_kind(kind)})
        assert times == [START_MS + hour * HOUR_MS for hour in range(1, 50)]
    assert {event.key for event in readers.by_kind("league")} == {SERIES}
    assert {event.key for event in readers.by_kind("score")} == {f"{SERIES}|a", f"{SERIES}|ensemble"}
    days = [event.event_time for event in readers.by_kind("benched")]
    assert days == [START_MS + DAY_MS, START_MS + 2 * DAY_MS]
    last = readers.said["scorer"][-1]
    assert last.kind == "league"
    assert readers.log[-1] is last or readers.log[-1].event_time >= last.event_time


def test_nights_make_no_periods() -> None:
    def close(bar: int) -> int:
        session, place = divmod(bar, 32)
        return START_MS + (session * 96 + place + 1) * STEP_MS

    market = Market(320, closes=close)
    readers = judged({"a": market.stream("a", market.knowing())})
    assert len(readers.by_kind("league")) == 10 * 8 - 1
    assert len(readers.by_kind("benched")) == 9
    assert len(readers.by_kind("ensemble")) == 320
    found = scores(readers, "a")
    # Outcomes across a night are judged too: all but those of the last bars.
    assert found[-1][1].n == 320 - HORIZON - 4


# --- figures ----------------------------------------------------------------------------------------------------------


def test_a_score_is_what_scikit_learn_says() -> None:
    market = Market(900, edge=0.6)
    readers = judged({"a": market.stream("a", market.knowing()), "b": market.stream("b", lambda bar: 0.5)})
    end_ms, score = scores(readers, "a")[-1]
    n = (end_ms - START_MS) // STEP_MS - HORIZON
    p, up = np.array([market.knowing()(bar) for bar in range(n)]), market.up[:n]
    assert score.n == n
    assert score.n_new == 4
    assert score.base_rate == pytest.approx(up.mean())
    assert score.accuracy == pytest.approx(((p > 0.5) == up).mean())
    assert score.precision == pytest.approx(precision_score(up, p > 0.5))
    assert score.recall == pytest.approx(recall_score(up, p > 0.5))
    assert score.brier == pytest.approx(brier_score_loss(up, p))
    assert score.log_loss == pytest.approx(log_loss(up, p))
    earned = np.where(p > 0.5, market.log_return[:n] - 0.001, 0.0)
    assert score.win_rate == pytest.approx((earned > 0).sum() / (p > 0.5).sum())
    year = 365 * DAY_MS / STEP_MS / HORIZON
    assert score.sharpe == pytest.approx(earned.mean() / earned.std() * math.sqrt(year))
    assert score.ece is not None
    assert score.ece < 0.06  # it is calibrated
    assert scores(readers, "b")[-1][1].precision is None  # it never says up


def test_a_years_sharpe_goes_by_the_bars_of_the_markets_year() -> None:
    """Borsa Istanbul trades 32 quarters of an hour on some 250 days; a market that never closes, four times as many."""

    def close(bar: int) -> int:
        session, place = divmod(bar, 32)
        return START_MS + (session * 96 + place + 1) * STEP_MS

    market = Market(640, edge=0.6, closes=close)
    streams = {"a": market.stream("a", market.knowing())}
    sharpe: dict[str, Any] = {}
    for name in ("24/7", "XIST"):
        calendar = get_calendar(name)
        readers = judged(streams, calendar=calendar)
        score = scores(readers, "a")[-1][1]
        n = score.n
        p, up = np.array([market.knowing()(bar) for bar in range(n)]), market.log_return[:n]
        earned = np.where(p > 0.5, up - 0.001, 0.0)
        horizons = calendar.bars_per_year(TIMEFRAME) / HORIZON
        assert score.sharpe == pytest.approx(earned.mean() / earned.std() * math.sqrt(horizons))
        sharpe[name] = score.sharpe
    assert sharpe["24/7"] / sharpe["XIST"] == pytest.approx(math.sqrt(35_040 / (250 * 32)), rel=0.03)


def test_another_calendar_is_another_version_of_the_scorer(tmp_path: Path) -> None:
    def settings(calendar: str) -> Settings:
        return Settings(home=tmp_path, market={"calendar": calendar})  # type: ignore[arg-type]

    versions = {scorer_projection(settings(name)).version for name in ("24/7", "XIST", "XNYS", "XIST")}
    assert len(versions) == 3


def test_a_figure_waits_for_fifty_matured_forecasts() -> None:
    market = Market(80)
    readers = judged({"a": market.stream("a", market.knowing())})
    by_n = {score.n: score for _, score in scores(readers, "a")}
    assert by_n[48].log_loss is None
    assert by_n[52].log_loss is not None
    assert standings(readers, 0)["a"].edge is None


def test_abstentions_are_counted_by_the_hour() -> None:
    market = Market(100)
    readers = judged({"a": market.stream("a", lambda bar: None if bar % 4 == 0 else 0.6)})
    assert {score.n_abstained for _, score in scores(readers, "a")} == {1}
    assert standings(readers)["a"].n_abstained == 1
    assert standings(readers)["a"].n == 69  # of the 92 that have matured by the end of the last hour


def test_the_window_is_the_newest() -> None:
    market = Market(700)
    readers = judged({"a": market.stream("a", market.wrong(until=400))}, window=200)
    row = standings(readers)["a"]
    assert row.n == 200
    assert row.log_loss is not None
    up, p = market.up[492:692], [market.knowing()(bar) for bar in range(492, 692)]
    assert row.log_loss == pytest.approx(log_loss(up, p))


# --- the league -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def league() -> Readers:
    market = Market(1_500, edge=1.0)
    return judged(
        {
            "good": market.stream("good", market.knowing()),
            "fair": market.stream("fair", market.knowing(0.4)),
            "noise": market.stream("noise", market.shuffled(8)),
            "sleepy": market.stream("sleepy", lambda bar: market.knowing()(bar) if bar % 5 == 0 else None),
        }
    )


def test_who_knows_is_above_the_base_rate_and_who_shuffles_below(league: Readers) -> None:
    rows = standings(league)
    assert set(rows) == {"good", "fair", "noise", "sleepy", "ensemble", "base rate", "persistence", "random"}
    assert {name for name, row in rows.items() if row.dummy} == {"base rate", "persistence", "random"}
    for name in ("good", "fair", "sleepy", "ensemble"):
        assert (rows[name].edge_low or 0.0) > 0.0, name
    assert (rows["noise"].edge_high or 0.0) < 0.0
    assert (rows["random"].edge_high or 0.0) < 0.0
    assert rows["base rate"].edge is None
    assert rows["good"].marginal is not None
    assert rows["good"].marginal > max(rows["fair"].marginal or 0.0, 0.0) > -0.01
    assert rows["base rate"].marginal is None


def test_a_margin_is_what_the_ensemble_loses_without_it(league: Readers) -> None:
    """Brute force: every pool again without each of them, from the weights that it told."""
    market = Market(1_500, edge=1.0)
    voices = {
        "good": market.knowing(),
        "fair": market.knowing(0.4),
        "noise": market.shuffled(8),
        "sleepy": lambda bar: market.knowing()(bar) if bar % 5 == 0 else None,
    }
    weights = {event.event_time: event.payload for event in league.by_kind("ensemble")}
    ends = league.by_kind("league")[-1].event_time
    n = (ends - START_MS) // STEP_MS - HORIZON
    ups, whole = 0.0, 2.0
    margins: dict[str, list[float]] = {name: [] for name in voices}
    for bar in range(n):
        if bar >= HORIZON:  # the base rate knows what was told by this bar
            ups, whole = ups + market.up[bar - HORIZON], whole + 1.0
        by: Any = weights[close_of(bar)]
        said = {name: voice(bar) for name, voice in voices.items() if name in by.weights} | {
            "base rate": (1.0 + ups) / whole
        }
        assert set(said) == set(by.weights)
        together = sum(by.weights[name] * p for name, p in said.items())
        assert together == pytest.approx(by.score, rel=1e-12)
        for name in set(said) - {"base rate"}:
            rest = {other: weight for other, weight in by.weights.items() if other != name}
            alone = sum(weight * said[other] for other, weight in rest.items()) / sum(rest.values())
            loss = [-math.log(p if market.up[bar] else 1.0 - p) for p in (alone, together)]
            margins[name].append(loss[0] - loss[1])
    for name, row in standings(league).items():
        if name in voices:
            assert row.marginal == pytest.approx(np.mean(margins[name]), rel=1e-9, abs=1e-12), name


def test_no_guess_beats_the_base_rate_more_often_than_chance() -> None:
    """Forty who shuffle, twenty who guess: none is above knowing nothing with 95 %; at the limit it would be 1.5."""
    beaten = 0
    for seed in range(10):
        market = Market(400, seed=seed, edge=0.5)
        voices = {f"s{k}": market.shuffled(100 * seed + k) for k in range(4)}
        rows = standings(judged({name: market.stream(name, voice) for name, voice in voices.items()}))
        beaten += sum((rows[name].edge_low or 0.0) > 0.0 for name in (*voices, "random"))
    assert beaten <= 1


# --- the bench --------------------------------------------------------------------------------------------------------


def test_who_does_worse_is_benched_and_comes_back_when_it_earns_it() -> None:
    market = Market(2_400, edge=0.8)
    readers = judged(
        {
            "good": market.stream("good", market.knowing()),
            "poor": market.stream("poor", market.wrong(0.5, until=700)),
        },
        window=600,
    )
    days: list[Any] = readers.by_kind("benched")
    changes = {event.event_time: event.payload.changes for event in days if event.payload.changes}
    (first, why), (then, whence) = changes.items()
    assert why["poor"].startswith("benched: its log-loss is +")
    assert "certainly worse" in why["poor"]
    assert whence["poor"].startswith("back: ")
    assert (first - START_MS) / DAY_MS == pytest.approx(6, abs=1)  # with the first 500
    assert 700 * STEP_MS < then - START_MS < 1_600 * STEP_MS
    assert {event.payload.names for event in days if first <= event.event_time < then} == {("poor",)}
    assert {event.payload.names for event in days if not first <= event.event_time < then} == {()}
    said = {event.event_time: event.payload for event in readers.by_kind("ensemble")}
    for close_ms, one in said.items():
        counted = "poor" in one.weights  # type: ignore[attr-defined]
        day = -(-(close_ms - START_MS) // DAY_MS)
        is_benched = (first - START_MS) / DAY_MS + 2 <= day < (then - START_MS) / DAY_MS + 2
        assert counted != is_benched
    leagues = [event for event in readers.by_kind("league") if event.event_time > first]
    assert any(row.benched for row in leagues[0].payload.rows)  # type: ignore[attr-defined]


def test_who_knows_nothing_and_says_so_is_not_benched() -> None:
    market = Market(2_000, edge=0.0)
    readers = judged({"a": market.stream("a", lambda bar: 0.5), "b": market.stream("b", lambda bar: 0.51)})
    days: list[Any] = readers.by_kind("benched")
    assert sum(bool(event.payload.names) for event in days) <= 2


# --- what is in no table ----------------------------------------------------------------------------------------------


def test_bars_that_were_filled_in_late_are_in_no_table() -> None:
    """They teach the dummies; nobody is judged by them, the dummies no more than the others."""
    market = Market(400)
    on_time = judged({"a": market.stream("a", market.knowing())})
    late = judged({"a": market.stream("a", market.knowing(), late=lambda bar: 250 <= bar < 350)})
    assert standings(on_time)["a"].n - standings(late)["a"].n == 100
    for name in ("base rate", "random", "persistence"):
        assert standings(on_time)[name].n - standings(late)[name].n == 100, name
    assert standings(on_time)["ensemble"].n - standings(late)["ensemble"].n == 100
    one, other = (readers._readers[1] for readers in (on_time, late))
    assert one._series[SERIES]._dummies.state() == other._series[SERIES]._dummies.state()  # type: ignore[attr-defined]


def test_corrections_alter_no_table() -> None:
    market = Market(300)
    stream = market.stream("a", market.knowing())
    revised = [
        one
        for event in stream
        for one in (event, msgspec.structs.replace(event, payload=_contrary(event.payload), revision=2))
    ]
    assert told(judged({"a": stream}).said["scorer"]) == told(judged({"a": revised}).said["scorer"])


def _contrary(payload: Any) -> Any:
    if hasattr(payload, "went_up"):
        return msgspec.structs.replace(payload, went_up=not payload.went_up)
    return msgspec.structs.replace(payload, p_up=1.0 - payload.p_up)


def test_a_champion_of_another_horizon_is_silent_and_matures_nothing() -> None:
    market = Market(400)
    good = market.stream("good", market.knowing())
    alien = market.stream("champion", market.knowing(), horizon=12)
    readers = judged({"good": good, "champion": alien})
    row = standings(readers)["champion"]
    assert row.n == 0
    assert row.log_loss is None
    alone = standings(judged({"good": good}))
    assert standings(readers)["good"] == alone["good"]


# --- drift ------------------------------------------------------------------------------------------------------------


def test_a_planted_drift_is_told_once_with_its_cause_in_the_order_of_names() -> None:
    """Two forecasters turn wrong at once, just after the regime has changed; who stays right is silent."""
    market = Market(1_900, edge=2.5)
    turned = 1_500
    streams = {
        name: market.stream(name, lambda bar: market.knowing(1.0 if bar < turned else -1.0)(bar))
        for name in ("zeta", "alpha")
    }
    streams["steady"] = market.stream("steady", market.knowing())
    names = list(streams)
    regimes = market.regimes(lambda bar: "calm" if bar < turned - 20 else "storm")
    readers = Readers(ensemble_of(names), scorer_of(names, context=("regime",)))
    for event in in_turn([*streams.values(), regimes]):
        readers.write(event)
        readers.read_all()
    found = readers.by_kind("drift")
    assert {event.key.split("|")[2] for event in found} <= {"alpha", "zeta", "ensemble"}
    assert {event.payload.cause for event in found} == {"regime switch"}  # type: ignore[attr-defined]
    assert {event.payload.action for event in found} == {"it goes on learning"}  # type: ignore[attr-defined]
    times = [event.event_time for event in found]
    assert times == sorted(times)
    assert close_of(turned + HORIZON) < times[0] < close_of(turned + 150)
    assert [event.key for event in found if event.event_time == times[0]] == [
        f"{SERIES}|alpha|page_hinkley",
        f"{SERIES}|zeta|page_hinkley",
    ]
    assert len({event.identity for event in found}) == len(found)


def test_without_its_annotator_the_scorer_waits() -> None:
    market = Market(20)
    readers = Readers(ensemble_of(["a"]), scorer_of(["a"], context=("regime",)))
    for event in market.stream("a", market.knowing()):
        readers.write(event)
    readers.read_all()
    assert len(readers.by_kind("ensemble")) == 20
    assert readers.said["scorer"] == []
    for event in market.regimes(lambda bar: "calm"):
        readers.write(event)
    readers.read_all()
    assert len(readers.by_kind("league")) == 4


# --- dummies ----------------------------------------------------------------------------------------------------------


def test_dummies_are_what_they_say() -> None:
    dummies = Dummies("X|1h")
    assert dummies.said(1)["base rate"] == dummies.said(1)["persistence"] == 0.5
    ups = np.random.default_rng(1).random(500) < 0.7
    for up in ups:
        dummies.learn(went_up=bool(up))
    said = dummies.said(5)
    assert said["base rate"] == pytest.approx((1 + ups.sum()) / 502)
    after = ups[1:][ups[:-1] == ups[-1]]
    assert said["persistence"] == pytest.approx((1 + after.sum()) / (2 + len(after)))
    again = Dummies("X|1h")
    again.restore(dummies.state())
    assert again.said(5) == said
    assert {0.3 <= dummies.said(k)["random"] <= 0.7 for k in range(200)} == {True}
    assert dummies.said(6)["random"] != said["random"] != Dummies("Y|1h").said(5)["random"]
    for _ in range(8_000):  # what lies long back fades
        dummies.learn(went_up=False)
    assert dummies.said(5)["base rate"] < 0.02


def test_memory_is_bounded() -> None:
    market = Market(1_500)
    names = ["a", "b"]
    readers = Readers(ensemble_of(names), scorer_of(names, window=300))
    sizes = []
    for k, event in enumerate(in_turn([market.stream(name, market.knowing()) for name in names])):
        readers.write(event)
        readers.read_all()
        if k in (2_400, 5_900):
            one: Any = readers._readers[1]
            sizes.append(sum(getattr(v, "nbytes", len(str(v))) for v in one.state().values()))
    assert sizes[1] < 1.02 * sizes[0] + 500


def test_versions_follow_what_is_judged() -> None:
    makes = [scorer_of(["a"]), scorer_of(["a", "b"]), scorer_of(["a"], window=5), scorer_of(["a"], context=("regime",))]
    assert len({one.version for one in makes}) == 4


def test_events_of_strangers_are_passed_over() -> None:
    scorer = scorer_of(["a"])
    market = Market(5)
    foreign = [msgspec.structs.replace(event, key="Y|15m|a") for event in market.stream("a", market.knowing())]
    assert [said for event in foreign for said in scorer.apply(event)] == []
    assert [said for event in market.stream("b", market.knowing()) for said in scorer.apply(event)] == []
