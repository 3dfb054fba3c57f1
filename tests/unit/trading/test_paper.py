import math
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.fakes.models import bar_events, random_bars, small_bundle
from tests.fakes.trading import (
    SERIES,
    STEP_MS,
    Models,
    assert_equal_to_backtest,
    backtested,
    newest,
    projection,
    promotion,
    stored,
)

from kalibre.core.bars import Bars
from kalibre.core.events import Automation, Event, Kill, Tick, new_event
from kalibre.core.settings import RiskSettings
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.log import open_log
from kalibre.log.runner import Runner, refold
from kalibre.models.bundle import ModelBundle
from kalibre.trading.paper import PaperProjection

COLUMNS = ("roc_10", "realised_volatility_20", "range_relative", "roc_3")


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return small_bundle(columns=COLUMNS, entry_threshold=0.6, exit_threshold=0.5)


@pytest.fixture(scope="module")
def rival() -> ModelBundle:
    return small_bundle(seed=2, columns=COLUMNS, entry_threshold=0.55, exit_threshold=0.4)


@pytest.fixture(scope="module")
def bars() -> Bars:
    return random_bars(400, seed=9)


def play(paper: PaperProjection, events: list[Event]) -> list[Event]:
    return [emitted for event in events for emitted in paper.apply(event)]


def fresh(*bundles: ModelBundle, **changes: object) -> PaperProjection:
    models = Models()
    for each in bundles:
        models.add(each)
    return projection(models, FeatureSpec("15m", columns=COLUMNS), **changes)


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_live_equals_backtest(
    bundle: ModelBundle, rival: ModelBundle, bars: Bars, tmp_path: Path, batch_size: int
) -> None:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        log.append([promotion(bundle), promotion(rival, "challenger")], writer="registry")
        log.append(bar_events(bars), writer="ingest")
        runner = Runner(log, fresh(bundle, rival), snapshots_dir=tmp_path / "snapshots", batch_size=batch_size)
        runner.recover()
        runner.catch_up()
        events = stored(log)
        assert refold(log, fresh(bundle, rival)).equal
    run = backtested(bundle, bars)
    assert len(run.fills) > 20
    assert_equal_to_backtest(events, bars, run)
    assert_equal_to_backtest(events, bars, backtested(rival, bars), role="challenger")


def test_live_engine_is_compared_bit_by_bit(bundle: ModelBundle, bars: Bars) -> None:
    """Plant: a fill one tick away is seen."""
    events = play(fresh(bundle), [promotion(bundle), *bar_events(bars)])
    run = backtested(bundle, bars)
    run.fills.price[3] = np.nextafter(run.fills.price[3], np.inf)
    with pytest.raises(AssertionError):
        assert_equal_to_backtest(events, bars, run)


def test_goes_on_from_a_snapshot(bundle: ModelBundle, rival: ModelBundle, bars: Bars) -> None:
    inputs = [promotion(bundle), promotion(rival, "challenger"), *bar_events(bars)]
    whole = play(fresh(bundle, rival), inputs)
    for cut in (1, 3, 60, 250):
        first = fresh(bundle, rival)
        head = play(first, inputs[:cut])
        second = fresh(bundle, rival)
        second.restore({name: np.array(v) if isinstance(v, np.ndarray) else v for name, v in first.state().items()})
        assert head + play(second, inputs[cut:]) == whole


def test_memory_is_bounded(bundle: ModelBundle) -> None:
    paper = fresh(bundle, history_bars=50)
    events = bar_events(random_bars(6_000, seed=3))
    play(paper, [promotion(bundle), *events[:3_000]])
    assert len(paper.state()[f"{SERIES}/now.book.champion.positions"]) == 64
    size = sum(v.nbytes if isinstance(v, np.ndarray) else len(str(v)) for v in paper.state().values())
    play(paper, events[3_000:])
    later = sum(v.nbytes if isinstance(v, np.ndarray) else len(str(v)) for v in paper.state().values())
    assert abs(later - size) < 400


def test_corrected_newest_bar_is_decided_again(bundle: ModelBundle, bars: Bars) -> None:
    inputs: list[Event] = [promotion(bundle)]
    for number, event in enumerate(bar_events(bars)):
        if number % 3 == 0:
            wrong = msgspec.structs.replace(
                event.payload, high=event.payload.high * 1.02, close=event.payload.high * 1.01
            )
            inputs += [msgspec.structs.replace(event, payload=wrong), msgspec.structs.replace(event, revision=1)]
        else:
            inputs.append(event)
    events = play(fresh(bundle), inputs)
    run = backtested(bundle, bars)
    assert_equal_to_backtest(events, bars, run)
    # An order that the correction took back is cancelled, one that stands is not.
    ordered = {event.event_time for event in newest(events, "order")}
    cancelled = {event.event_time for event in newest(events, "order_cancelled")}
    assert ordered - cancelled == set(bars.close_time[run.action != 0].tolist())
    assert cancelled


def test_same_bar_twice_is_one_bar(bundle: ModelBundle, bars: Bars) -> None:
    events = bar_events(bars)
    twice = [each for event in events for each in (event, event)]
    assert play(fresh(bundle), [promotion(bundle), *twice]) == play(fresh(bundle), [promotion(bundle), *events])


def test_says_once_that_there_is_no_model(bundle: ModelBundle, bars: Bars) -> None:
    paper, events = fresh(bundle), bar_events(bars)
    vacant = "no model is promoted for BTCUSDT|15m: nothing has qualified, so the policy holds"
    said = play(paper, events[:30])
    (signal,) = [event for event in said if event.kind != "forecast"]  # one, and no account: nothing was ever traded
    silent = [event for event in said if event.kind == "forecast"]  # who weighs the champion's word waits for it
    assert [event.event_time for event in silent] == bars.close_time[:30].tolist()
    assert {(event.payload.p_up, event.payload.abstained) for event in silent} == {(None, vacant)}
    assert (signal.kind, signal.key, signal.event_time) == ("signal", f"{SERIES}|champion", bars.close_time[0])
    assert (signal.payload.action, signal.payload.reasons) == ("HOLD", (vacant,))
    with_model = play(paper, [promotion(bundle), *events[30:250]])
    assert [event.event_time for event in newest(with_model, "signal")] == bars.close_time[30:250].tolist()
    assert [event.event_time for event in newest(with_model, "account")] == bars.close_time[30:250].tolist()
    # Without a model again: said once more, and the account goes on, as it has traded.
    after = play(paper, [promotion(None, time=1), *events[250:]])
    assert [event.payload.reasons for event in newest(after, "signal")] == [(vacant,)]
    assert [event.event_time for event in newest(after, "account")] == bars.close_time[250:].tolist()


def test_a_limit_still_sells_what_a_model_left_behind(bundle: ModelBundle, bars: Bars) -> None:
    paper, events = fresh(bundle, risk=RiskSettings(daily_loss=0.001)), bar_events(bars)
    run = backtested(bundle, bars, risk=RiskSettings(daily_loss=0.001))
    cut = int(np.flatnonzero(run.quantity > 0)[10]) + 1
    play(paper, [promotion(bundle), *events[:cut], promotion(None, time=1)])
    after = play(paper, events[cut:])
    (order,) = newest(after, "order")
    last = newest(after, "signal")[-1]
    assert (last.event_time, last.payload.action) == (order.event_time, "EXIT")
    assert "equity is more than 0.1% below" in last.payload.reasons[0]
    assert newest(after, "fill")[0].payload.side == "sell"


def test_holds_with_a_model_that_is_missing(bundle: ModelBundle, bars: Bars) -> None:
    events = play(fresh(), [promotion(bundle), *bar_events(bars[:30])])
    reasons = {signal.payload.reasons for signal in newest(events, "signal")}
    assert len(reasons) == 1
    assert f"model {bundle.model_id} cannot act: model" in next(iter(reasons))[0]
    assert not newest(events, "order")


def test_holds_with_other_features(bundle: ModelBundle, bars: Bars) -> None:
    other = replace(bundle, feature_fingerprint="0" * 64)
    events = play(fresh(other), [promotion(other), *bar_events(bars[:5])])
    assert "train and promote again" in newest(events, "signal")[0].payload.reasons[0]


def test_says_how_many_bars_are_missing(bundle: ModelBundle, bars: Bars) -> None:
    events = play(fresh(bundle), [promotion(bundle), *bar_events(bars[:60])])
    forecasts = newest(events, "forecast")
    assert forecasts[0].payload.abstained is not None
    assert "have come" in forecasts[0].payload.abstained
    assert forecasts[-1].payload.abstained is None
    assert forecasts[-1].payload.p_up is not None


def test_outcomes_match_the_closes(bundle: ModelBundle, bars: Bars) -> None:
    events = play(fresh(bundle), [promotion(bundle), *bar_events(bars)])
    outcomes = {event.event_time: event.payload for event in newest(events, "outcome")}
    forecasts = {event.event_time: event.payload for event in newest(events, "forecast")}
    for row, time in enumerate(bars.close_time.tolist()):
        if row + 4 >= len(bars) or forecasts[time].p_up is None:
            assert time not in outcomes
            continue
        assert outcomes[time].p_up == forecasts[time].p_up
        assert outcomes[time].went_up == (bars.close[row + 4] > bars.close[row])
        assert outcomes[time].log_return == math.log(bars.close[row + 4] / bars.close[row])


def test_no_outcome_across_a_hole(bundle: ModelBundle, bars: Bars) -> None:
    from kalibre.bars.calendars import get_calendar

    keep = np.ones(len(bars), dtype=bool)
    keep[200:210] = False
    events = play(fresh(bundle, calendar=get_calendar("24/7")), [promotion(bundle), *bar_events(bars[keep])])
    known = {event.event_time for event in newest(events, "outcome")}
    assert not known & set(bars.close_time[196:200].tolist())
    assert bars.close_time[195] in known
    assert bars.close_time[210] in known


def test_stale_bars_order_nothing(bundle: ModelBundle, bars: Bars) -> None:
    inputs: list[Event] = [promotion(bundle)]
    for number, event in enumerate(bar_events(bars)):
        late = 3 if 100 <= number < 200 else 1
        now = event.event_time + STEP_MS + late * STEP_MS
        inputs += [new_event("clock", now, Tick(now_ms=now)), event]
    events = play(fresh(bundle), inputs)
    late_closes = set(bars.close_time[100:200].tolist())
    ordered = {event.event_time for event in newest(events, "order")}
    assert ordered
    assert not ordered & late_closes
    signal = next(event for event in newest(events, "signal") if event.event_time == bars.close_time[150])
    assert signal.payload.action == "HOLD"
    assert signal.payload.reasons[0].startswith("stale: the bar is 3.0 bars old")


def test_stopped_automation_orders_nothing(bundle: ModelBundle, bars: Bars) -> None:
    events = bar_events(bars)
    stop = new_event("automation", 1, Automation(running=False, by="ayse"))
    start = new_event("automation", 2, Automation(running=True, by="ayse"))
    emitted = play(fresh(bundle), [promotion(bundle), *events[:100], stop, *events[100:300], start, *events[300:]])
    ordered = {event.event_time for event in newest(emitted, "order")}
    assert not ordered & set(bars.close_time[100:300].tolist())
    assert ordered & set(bars.close_time[300:].tolist())
    assert newest(emitted, "signal")[150].payload.reasons[0] == "paper trading was stopped by ayse"


def _after_order(bundle: ModelBundle, bars: Bars, side: str) -> int:
    """Return how many bars to play so that an order of this side is pending."""
    run = backtested(bundle, bars)
    return int(np.flatnonzero(run.action == (1 if side == "buy" else 2))[1]) + 1


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_kill_cancels_what_is_pending(bundle: ModelBundle, bars: Bars, side: str) -> None:
    events, cut = bar_events(bars), _after_order(bundle, bars, side)
    paper = fresh(bundle)
    before = play(paper, [promotion(bundle), *events[:cut]])
    order = newest(before, "order")[-1]
    assert order.event_time == bars.close_time[cut - 1]
    cancelled = play(paper, [new_event("kill", 5, Kill(engaged=True, by="ali", reason="drill"))])
    assert [(event.kind, event.event_time) for event in cancelled] == [("order_cancelled", order.event_time)]
    after = play(paper, events[cut:])
    assert not [event for event in after if event.kind in ("order", "fill", "order_cancelled")]
    assert newest(after, "signal")[0].payload.reasons[0] == "the kill switch is engaged by ali: drill"
    held = newest(before, "account")[-1].payload.quantity
    assert {event.payload.quantity for event in newest(after, "account")} == {held}


def test_flatten_sells_at_the_next_open_without_an_order(bundle: ModelBundle, bars: Bars) -> None:
    events, run = bar_events(bars), backtested(bundle, bars)
    cut = int(np.flatnonzero(run.quantity > 0)[3]) + 1
    paper = fresh(bundle)
    before = play(paper, [promotion(bundle), *events[:cut]])
    held = newest(before, "account")[-1].payload.quantity
    assert held > 0
    play(paper, [new_event("kill", 77, Kill(engaged=True, by="ali", flatten=True))])
    after = play(paper, events[cut:])
    assert not newest(after, "order")
    (fill,) = newest(after, "fill")
    assert (fill.payload.side, fill.payload.quantity, fill.payload.order_time) == ("sell", held, 77)
    assert fill.event_time == bars.open_time[cut]
    assert newest(after, "account")[0].payload.quantity == 0


def test_release_lets_the_policy_decide_again(bundle: ModelBundle, bars: Bars) -> None:
    events = bar_events(bars)
    kill, release = Kill(engaged=True, by="ali"), Kill(engaged=False, by="ali")
    emitted = play(
        fresh(bundle),
        [promotion(bundle), new_event("kill", 1, kill), *events[:200], new_event("kill", 2, release), *events[200:]],
    )
    ordered = {event.event_time for event in newest(emitted, "order")}
    assert not ordered & set(bars.close_time[:200].tolist())
    assert ordered


def test_a_new_challenger_starts_from_the_initial_cash(bundle: ModelBundle, rival: ModelBundle, bars: Bars) -> None:
    events = bar_events(bars)
    inputs = [promotion(bundle, "challenger"), *events[:200], promotion(rival, "challenger"), *events[200:]]
    emitted = play(fresh(bundle, rival), inputs)
    accounts = {event.event_time: event.payload for event in newest(emitted, "account", "challenger")}
    assert accounts[int(bars.close_time[199])].equity != 10_000.0
    assert accounts[int(bars.close_time[200])].equity == 10_000.0


def test_a_new_champion_takes_over_the_position(bundle: ModelBundle, rival: ModelBundle, bars: Bars) -> None:
    events, run = bar_events(bars), backtested(bundle, bars)
    cut = int(np.flatnonzero(run.quantity > 0)[40]) + 1
    paper = fresh(bundle, rival)
    before = play(paper, [promotion(bundle), *events[:cut], promotion(rival)])
    after = play(paper, events[cut : cut + 1])
    assert newest(after, "signal")[0].payload.model == rival.model_id
    assert newest(before, "account")[-1].payload.quantity > 0


def test_a_model_of_other_features_is_fed_with_the_bars_kept(bars: Bars) -> None:
    other = small_bundle(seed=4, columns=(*COLUMNS, "parkinson_20"))
    events = bar_events(bars)
    emitted = play(fresh(other), [*events[:200], promotion(other), *events[200:]])
    p_up = [event.payload.p_up for event in newest(emitted, "forecast")]
    assert p_up == other.predict(FeatureEngine(other.spec).batch(bars))[200:].tolist()


def test_other_series_are_left_alone(bundle: ModelBundle) -> None:
    paper = fresh(bundle)
    stranger = [msgspec.structs.replace(event, key="ETHUSDT|15m") for event in bar_events(random_bars(3))]
    assert play(paper, stranger) == []
    assert play(paper, [msgspec.structs.replace(promotion(bundle), key="ETHUSDT|15m|champion")]) == []


def test_version_follows_settings(bundle: ModelBundle) -> None:
    from kalibre.core.settings import CostSettings

    assert fresh(bundle).version == fresh(bundle).version
    assert fresh(bundle).version != fresh(bundle, costs=CostSettings(fee_bps=5)).version
    assert SERIES in "".join(fresh(bundle).state())


def test_every_cancellation_belongs_to_the_order_that_it_cancels(
    bundle: ModelBundle, bars: Bars, tmp_path: Path
) -> None:
    row, events = int(np.flatnonzero(backtested(bundle, bars).action == 1)[0]), bar_events(bars)
    corrected = msgspec.structs.replace(
        events[row], payload=msgspec.structs.replace(events[row].payload, volume=1.0), revision=1
    )
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        runner = Runner(log, fresh(bundle), snapshots_dir=None)
        for one in (
            [promotion(bundle), *events[: row + 1]],
            [new_event("kill", 1, Kill(engaged=True, by="ayşe"))],
            [new_event("kill", 2, Kill(engaged=False, by="ayşe"))],
            [corrected],  # the same order again
            [new_event("kill", 3, Kill(engaged=True, by="burak"))],
        ):
            log.append(one, writer="test")
            runner.catch_up()
        cancelled = log.read(kinds={"order_cancelled"})
        assert [(one.event_time, one.revision, one.payload.reason[-5:]) for one in cancelled] == [
            (bars.close_time[row], 0, " ayşe"),
            (bars.close_time[row], 1, "burak"),
        ]
        assert refold(log, fresh(bundle)).equal
