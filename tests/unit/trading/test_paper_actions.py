"""Corporate actions on paper: known ahead, undecided, late, and decided otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from tests.fakes.models import START_MS, STEP_MS, bar_events, random_bars, small_bundle
from tests.fakes.trading import (
    COSTS,
    RISK,
    Models,
    action,
    assert_equal_to_backtest,
    backtested,
    funding,
    newest,
    projection,
    promotion,
    split,
)

from kalibre.bars.corporate_actions import DatedAction, adjust
from kalibre.bars.funding import funding_by_bar
from kalibre.bars.timeline import Timeline
from kalibre.core.bars import Bars
from kalibre.core.clock import to_text
from kalibre.core.events import CorporateAction, Event, Kill, new_event
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.models.bundle import ModelBundle
from kalibre.trading.book import Book
from kalibre.trading.engine import CASH, EQUITY, NOTHING, PENDING, QUANTITY, new_ledger, step, terms
from kalibre.trading.paper import PaperProjection
from kalibre.trading.policy import Policy
from kalibre.trading.series import sizing_volatility

COLUMNS = ("roc_10", "realised_volatility_20", "range_relative", "roc_3")
ROW = 150


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return small_bundle(columns=COLUMNS, entry_threshold=0.6, exit_threshold=0.5)


@pytest.fixture(scope="module")
def holder() -> ModelBundle:
    """Return a model that gets in once and stays."""
    return small_bundle(columns=COLUMNS, entry_threshold=0.6, exit_threshold=0.01)


@pytest.fixture(scope="module")
def traded() -> Bars:
    """Return bars as traded: before row 150 one share was what three are after it."""
    return split(random_bars(400, seed=9), ROW)


def fresh(bundle: ModelBundle) -> PaperProjection:
    models = Models()
    models.add(bundle)
    return projection(models, FeatureSpec("15m", columns=COLUMNS))


def play(paper: PaperProjection, events: list[Event]) -> list[Event]:
    return [emitted for event in events for emitted in paper.apply(event)]


def forward(bars: Bars, row: int = ROW, factor: float = 3.0) -> tuple[Bars, np.ndarray]:  # type: ignore[type-arg]
    """Return the series in the scale of its first prices, and that scale."""
    dated = DatedAction(int(bars.open_time[row]), CorporateAction(factor=factor, status="confirmed"))
    return adjust(bars, [dated], forward=True), np.where(np.arange(len(bars)) >= row, factor, 1.0)


def with_split(traded: Bars) -> list[Event]:
    events = bar_events(traded)
    return [*events[:ROW], action(int(traded.open_time[ROW])), *events[ROW:]]


def test_a_split_known_ahead_is_the_backtest_of_the_adjusted_series(bundle: ModelBundle, traded: Bars) -> None:
    bars, scale = forward(traded)
    run = backtested(bundle, bars)
    assert run.quantity[ROW - 1] > 0, "a position goes over the split"
    emitted = play(fresh(bundle), [promotion(bundle), *with_split(traded)])
    assert_equal_to_backtest(emitted, bars, run, scale=scale)
    before, after = (newest(emitted, "account")[row].payload for row in (ROW - 1, ROW))
    assert after.quantity == 3 * before.quantity  # type: ignore[attr-defined]
    assert abs(after.equity / before.equity - 1) < 0.05  # type: ignore[attr-defined]


def test_a_paper_that_forgets_to_scale_is_seen(
    bundle: ModelBundle, traded: Bars, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plant: prices after the split are taken as they come."""
    bars, scale = forward(traded)
    monkeypatch.setattr(Timeline, "scale", lambda self, open_time: 1.0)
    emitted = play(fresh(bundle), [promotion(bundle), *with_split(traded)])
    with pytest.raises(AssertionError):
        assert_equal_to_backtest(emitted, bars, backtested(bundle, bars), scale=scale)


# --- undecided --------------------------------------------------------------------------------------------------------

DECIDED = 170


def undecided(traded: Bars, row: int, decided: str, *, until: int = DECIDED) -> list[Event]:
    events, time = bar_events(traded), int(traded.open_time[row])
    doubt, decision = action(time, 2.5, "detected"), action(time, 3.0, decided, revision=1)
    return [*events[:row], doubt, *events[row:until], decision, *events[until:]]


RATES = [(START_MS + 20 * STEP_MS * number, 0.001 * number) for number in range(1, 20)]


def carried(bundle: ModelBundle, bars: Bars, frozen: range) -> np.ndarray:  # type: ignore[type-arg]
    """Return cash, quantity, equity at each close of an engine that orders nothing while frozen: the oracle."""
    rates = funding_by_bar(RATES, bars)
    ledger = new_ledger(RISK)
    policy = Policy(bundle.entry_threshold, bundle.exit_threshold)
    conditions = terms(policy, COSTS, RISK, horizon_bars=bundle.horizon_bars, step_ms=STEP_MS)
    p_up = bundle.predict(FeatureEngine(bundle.spec).batch(bars))
    volatility, rows = sizing_volatility(bars), []
    for t in range(len(bars)):
        if t in frozen:
            ledger[PENDING] = NOTHING
        prices = (int(bars.open_time[t]), bars.open[t], bars.close[t])
        step(ledger, conditions, *prices, p_up[t], volatility[t], rates[t], t not in frozen)
        rows.append(ledger[[CASH, QUANTITY, EQUITY]].copy())
    return np.array(rows)


@pytest.mark.parametrize("decided", ["confirmed", "rejected"])
@pytest.mark.parametrize("pending", ["buy", "sell"])
def test_it_stands_still_until_somebody_decides(bundle: ModelBundle, decided: str, pending: str) -> None:
    whole = random_bars(400, seed=9)
    free = backtested(bundle, whole, funding=funding_by_bar(RATES, whole))
    orders = np.flatnonzero(free.action == (1 if pending == "buy" else 2))
    row = int(orders[orders > 120][0]) + 1
    until = row + 20
    traded = split(whole, row) if decided == "confirmed" else whole
    bars, scale = forward(traded, row) if decided == "confirmed" else (whole, np.ones(len(whole)))
    frozen = range(row, until)
    rates = [funding(time, rate) for time, rate in RATES]  # two of them settle while it stands still
    emitted = play(fresh(bundle), [promotion(bundle), *rates, *undecided(traded, row, decided, until=until)])
    closes, day = set(bars.close_time[row:until].tolist()), to_text(int(bars.open_time[row]))[:10]

    (cancelled,) = [one for one in newest(emitted, "order_cancelled") if one.event_time == bars.close_time[row - 1]]
    for one in [cancelled, *(one for one in newest(emitted, "signal") if one.event_time in closes)]:
        said = one.payload.reason if one is cancelled else one.payload.reasons[0]  # type: ignore[attr-defined]
        assert f"`kalibre actions confirm BTCUSDT {day}` or `kalibre actions reject BTCUSDT {day}`" in said
    for kind in ("account", "order", "fill", "outcome"):
        assert not {one.event_time for one in newest(emitted, kind)} & (closes - {int(bars.close_time[row - 1])})
    abstained = {one.payload.abstained for one in newest(emitted, "forecast") if one.event_time in closes}  # type: ignore[attr-defined]
    assert abstained == {cancelled.payload.reason}  # type: ignore[attr-defined]

    # What stood still is valued in retrospect, so that the next bar goes on as if each had been marked.
    expected = carried(bundle, bars, frozen)
    rest = [t for t in range(len(bars)) if t not in frozen]
    accounts = newest(emitted, "account")
    assert [one.event_time for one in accounts] == bars.close_time[rest].tolist()
    said = np.array([[one.payload.cash, one.payload.quantity, one.payload.equity] for one in accounts])  # type: ignore[attr-defined]
    expected[:, 1] *= scale
    # Engines were fed anew if the scale changed: the same to the last bit, as nothing fell out of what is kept.
    assert np.array_equal(said, expected[rest])
    # Forecasts from before it mature in one scale, when that is known.
    times = bars.close_time.tolist()
    found = {one.event_time: one.payload.log_return for one in newest(emitted, "outcome")}  # type: ignore[attr-defined]
    for t in range(row - 4, row):
        assert found[times[t]] == np.log(bars.close[t + 4] / bars.close[t])


def test_an_old_doubt_ends_when_features_look_back_on_it_no_longer(bundle: ModelBundle, traded: Bars) -> None:
    reach = max(FeatureEngine(FeatureSpec("15m", columns=(name,))).warmup for name in COLUMNS)
    events, time = bar_events(traded), int(traded.open_time[ROW])
    # The model comes one bar before the doubt, so that nothing is held.
    inputs = [*events[: ROW - 1], promotion(bundle), events[ROW - 1], action(time, 2.5, "detected")]
    emitted = play(fresh(bundle), [*inputs, *events[ROW:]])
    flat = [one for one in newest(emitted, "account") if one.event_time <= time]
    assert all(one.payload.quantity == 0 for one in flat)  # type: ignore[attr-defined]
    stood = [one.event_time for one in newest(emitted, "signal") if "frozen" in one.payload.reasons[0]]  # type: ignore[attr-defined]
    assert stood == traded.close_time[ROW : ROW + reach].tolist()
    known = newest(emitted, "forecast")[1 + reach :]
    alone = bundle.predict(FeatureEngine(bundle.spec).batch(traded[np.arange(ROW, len(traded))]))[reach:]
    assert [one.payload.p_up for one in known] == pytest.approx(alone, rel=1e-6)  # type: ignore[attr-defined]
    assert newest(emitted, "fill")
    matured = {one.event_time for one in newest(emitted, "outcome")}
    assert int(traded.close_time[ROW - 1]) not in matured, "nobody can compare prices across the doubt"
    assert len(matured) == len(traded) - ROW - reach - bundle.horizon_bars


def test_a_doubt_about_what_is_held_stays(holder: ModelBundle, traded: Bars) -> None:
    events, time = bar_events(traded), int(traded.open_time[ROW])
    emitted = play(fresh(holder), [promotion(holder), *events[:ROW], action(time, 2.5, "detected"), *events[ROW:]])
    assert newest(emitted, "account")[-1].event_time == traded.close_time[ROW - 1]
    assert newest(emitted, "account")[-1].payload.quantity > 0  # type: ignore[attr-defined]
    assert "frozen" in newest(emitted, "signal")[-1].payload.reasons[0]  # type: ignore[attr-defined]


def test_a_shadow_that_holds_does_not_keep_the_champion_from_going_on(bundle: ModelBundle, holder: ModelBundle) -> None:
    models = Models()
    for one in (bundle, holder):
        models.add(one)
    paper, whole = projection(models, FeatureSpec("15m", columns=COLUMNS)), random_bars(400, seed=9)
    run = backtested(bundle, whole)
    row = int(np.flatnonzero((run.quantity == 0) & (np.arange(400) > 100))[0]) + 1
    events = bar_events(whole)
    doubt = action(int(whole.open_time[row]), 3.0, "detected")
    emitted = play(paper, [promotion(bundle), promotion(holder, "challenger"), *events[:row], doubt, *events[row:]])
    reach = max(FeatureEngine(FeatureSpec("15m", columns=(name,))).warmup for name in COLUMNS)
    for role in ("champion", "challenger"):
        signals = newest(emitted, "signal", role)
        stood = [one.event_time for one in signals if "frozen" in one.payload.reasons[0]]  # type: ignore[attr-defined]
        assert stood == whole.close_time[row : row + reach].tolist()
    ledger = {one.event_time: one.payload for one in newest(emitted, "account", "challenger")}
    assert ledger[int(whole.close_time[row - 1])].quantity > 0  # type: ignore[attr-defined]
    after = ledger[int(whole.close_time[row + reach])]
    assert (after.quantity, after.equity) == (0.0, RISK.initial_cash)  # type: ignore[attr-defined]
    anew = [one.event_time for one in signals if "begins anew" in one.payload.reasons[-1]]  # type: ignore[attr-defined]
    assert anew == [whole.close_time[row + reach]]


def test_a_sale_that_a_kill_asked_for_waits(holder: ModelBundle, traded: Bars) -> None:
    events = undecided(traded, ROW, "confirmed")
    paper = fresh(holder)
    before = play(paper, [promotion(holder), *events[: ROW + 6]])
    held = newest(before, "account")[-1].payload.quantity  # type: ignore[attr-defined]
    assert held > 0
    waiting = play(
        paper, [new_event("kill", 7, Kill(engaged=True, by="ali", flatten=True)), *events[ROW + 6 : DECIDED + 1]]
    )
    assert not newest(waiting, "fill")
    after = play(paper, events[DECIDED + 1 :])
    (fill,) = newest(after, "fill")
    assert fill.event_time == traded.open_time[DECIDED]
    assert (fill.payload.side, fill.payload.quantity, fill.payload.order_time) == ("sell", 3 * held, 7)  # type: ignore[attr-defined]
    assert fill.payload.price == pytest.approx(traded.open[DECIDED] * (1 - COSTS.slippage_bps / 1e4))  # type: ignore[attr-defined]


def test_a_bar_that_was_traded_stays_traded_when_it_is_corrected_in_doubt(bundle: ModelBundle, traded: Bars) -> None:
    whole = random_bars(400, seed=9)
    run, events = backtested(bundle, whole), bar_events(whole)
    row = int(run.fills.row[np.flatnonzero(run.fills.side == 1)[5]])
    doubt = action(int(whole.open_time[row]), 2.0, "detected")
    from msgspec.structs import replace

    again = replace(events[row], payload=replace(events[row].payload, volume=1.0), revision=1)
    emitted = play(fresh(bundle), [promotion(bundle), *events[: row + 1], doubt, again, *events[row + 1 : row + 3]])
    assert newest(emitted, "fill")[-1].event_time == whole.open_time[row]
    signal = newest(emitted, "signal")[row]
    assert (signal.revision, signal.payload.action) == (1, "HOLD")  # type: ignore[attr-defined]
    assert "frozen" in signal.payload.reasons[0]  # type: ignore[attr-defined]
    assert newest(emitted, "account")[-1].event_time == whole.close_time[row]


def test_an_order_that_was_taken_back_in_doubt_is_not_filled_by_a_correction(bundle: ModelBundle) -> None:
    whole = random_bars(400, seed=9)
    row, events = int(np.flatnonzero(backtested(bundle, whole).action == 1)[0]), bar_events(whole)
    time, paper = int(whole.open_time[row + 1]), fresh(bundle)
    play(paper, [promotion(bundle), *events[: row + 1]])
    (cancelled,) = newest(play(paper, [action(time, 3.0, "detected"), events[row + 1]]), "order_cancelled")
    assert cancelled.event_time == whole.close_time[row]
    play(paper, [new_event("kill", 1, Kill(engaged=True, by="ali")), action(time, 3.0, "rejected", revision=1)])
    from msgspec.structs import replace

    again = replace(events[row + 1], payload=replace(events[row + 1].payload, volume=1.0), revision=1)
    emitted = play(paper, [again, events[row + 2]])
    assert not newest(emitted, "fill")
    assert newest(emitted, "account")[-1].payload.quantity == 0  # type: ignore[attr-defined]


# --- late, and decided otherwise --------------------------------------------------------------------------------------


def accounts(events: list[Event]) -> dict[int, tuple[float, float]]:
    return {one.event_time: (one.payload.quantity, one.payload.equity) for one in newest(events, "account")}  # type: ignore[attr-defined]


def test_an_action_that_comes_late_multiplies_shares_bought_before_it(holder: ModelBundle) -> None:
    whole = random_bars(400, seed=9)
    traded = split(whole, ROW, 1.02)  # small enough that nobody sells for it
    late, events = ROW + 30, bar_events(traded)
    inputs = [*events[:late], action(int(traded.open_time[ROW]), 1.02), *events[late:]]
    emitted = play(fresh(holder), [promotion(holder), *inputs])
    assert len(newest(emitted, "fill")) == 1
    found, times = accounts(emitted), traded.close_time.tolist()
    bought = found[times[ROW - 1]][0]
    assert [found[times[t]][0] for t in (ROW, late - 1)] == [bought] * 2
    assert found[times[late]][0] == bought * 1.02
    run = backtested(holder, forward(traded, factor=1.02)[0])
    assert found[times[-1]][1] == pytest.approx(run.equity[-1], rel=1e-12)


def taken_back(whole: Bars, row: int, until: int, factor: float) -> list[Event]:
    """Return bars without any split, in which one was believed for a while."""
    events, time = bar_events(whole), int(whole.open_time[row])
    believed, withdrawn = action(time, factor), action(time, factor, "rejected", revision=1)
    return [*events[:row], believed, *events[row:until], withdrawn, *events[until:]]


def test_a_scale_that_is_taken_back_is_no_loss_of_the_day(holder: ModelBundle) -> None:
    whole, until = random_bars(400, seed=9), 200
    assert (START_MS + until * STEP_MS) // 86_400_000 > (START_MS + ROW * STEP_MS) // 86_400_000
    emitted = play(fresh(holder), [promotion(holder), *taken_back(whole, ROW, until, 1.5)])
    found, times = accounts(emitted), whole.close_time.tolist()
    run = backtested(holder, whole)
    assert found[times[until - 1]][1] > 1.2 * run.equity[until - 1], "while it was believed, the account looked richer"
    for t in (*range(ROW), *range(until, 400)):
        assert found[times[t]] == pytest.approx((run.quantity[t], run.equity[t]), rel=1e-12)
    assert not newest(emitted, "order")[1:]


def test_a_ledger_that_is_left_in_the_old_scale_is_seen(holder: ModelBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant: nobody values the account anew; the day then seems to have lost a third."""
    monkeypatch.setattr(Book, "rescale", lambda self, line, carried_ms: None)
    emitted = play(fresh(holder), [promotion(holder), *taken_back(random_bars(400, seed=9), ROW, 200, 1.5)])
    assert "equity is more than" in newest(emitted, "order")[1].payload.reason  # type: ignore[attr-defined]


def test_shares_bought_after_an_action_stay_as_many_when_it_is_taken_back(holder: ModelBundle) -> None:
    whole = random_bars(400, seed=9)
    bought = int(backtested(holder, whole).fills.row[0])
    until = bought + 40
    emitted = play(fresh(holder), [promotion(holder), *taken_back(whole, bought - 1, until, 1.5)])
    found, times = accounts(emitted), whole.close_time.tolist()
    (fill,) = newest(emitted, "fill")
    for t in (bought, until - 1, until, 399):
        assert found[times[t]][0] == pytest.approx(fill.payload.quantity, rel=1e-12)  # type: ignore[attr-defined]
    assert found[times[until]][1] == pytest.approx(found[times[until - 1]][1], rel=0.02)
