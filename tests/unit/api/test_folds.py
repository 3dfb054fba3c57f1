"""The server's features are those of the bars by time and in one scale, in whatever order the log came by them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.models import STEP_MS, bar_events, random_bars, small_bundle
from tests.fakes.serving import appoint
from tests.fakes.trading import Models, projection, promotion

from kalibre.api.folds import FeatureFold
from kalibre.api.live import LiveView
from kalibre.api.served import ServedModel
from kalibre.bars.corporate_actions import DatedAction, adjust
from kalibre.core.bars import Bars
from kalibre.core.errors import FeatureError
from kalibre.core.events import BarClosed, CorporateAction, Event, Forecast, new_event
from kalibre.core.protocols import FloatArray
from kalibre.core.settings import Settings
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.log import open_log
from kalibre.log.protocol import EventLog

SPEC = FeatureSpec(
    "15m",
    columns=(
        "log_return_1",
        "realised_volatility_20",
        "bollinger_position_20",
        "sma_20",
        "volume_ratio_20",
        "snews_impact",
        "snews_conf",
    ),
)
N_BARS = 60
BARS = random_bars(N_BARS, news=True)
OTHERS = random_bars(N_BARS, seed=2, news=True)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(Settings(home=tmp_path).log_url) as opened:
        yield opened


def folded(events: Sequence[Event]) -> FeatureFold:
    """Return a fold that took events as they came."""
    fold = FeatureFold("BTCUSDT", "15m", SPEC)
    for event in events:
        fold.take(event)
    fold.settle(lambda: None)
    return fold


def read(log: EventLog, upto: int | None = None) -> FeatureFold:
    """Return a fold that read a log at its start."""
    fold = FeatureFold("BTCUSDT", "15m", SPEC)
    fold.read(log, upto=log.head() if upto is None else upto, beat=lambda: None, should_stop=lambda: False)
    return fold


def row(fold: FeatureFold) -> FloatArray:
    return fold._row


def by_time(bars: Bars, *actions: Event) -> FloatArray:
    """Return the newest row as training computes it."""
    dated = [DatedAction(e.event_time, e.payload) for e in actions if isinstance(e.payload, CorporateAction)]
    return FeatureEngine(SPEC).batch(adjust(bars, dated, forward=True))[-1]


def in_log_order(events: Sequence[Event]) -> FloatArray:
    """Return what a fold would say that takes what is newer and passes over everything else: the planted mistake."""
    engine, newest, last = FeatureEngine(SPEC), -1, np.empty(0)
    for event in events:
        if isinstance(event.payload, BarClosed) and event.event_time > newest:
            newest = event.event_time
            last = engine.step(
                msgspec.convert(msgspec.structs.asdict(event.payload), type(BARS[0]))  # the same fields
            )
    return last


def action(at: int, *, factor: float = 2.0, status: str = "confirmed") -> Event:
    payload = msgspec.convert({"factor": factor, "status": status}, CorporateAction)
    return new_event("BTCUSDT", int(BARS.open_time[at]), payload)


@given(order=st.permutations(range(40)), corrected=st.sets(st.integers(0, 39), max_size=5), settled=st.integers(1, 45))
@settings(max_examples=60, deadline=None)
def test_any_order_gives_the_features_of_the_bars_by_time(order: list[int], corrected: set[int], settled: int) -> None:
    first, second = bar_events(BARS[:40]), bar_events(OTHERS[:40])
    events = [first[i] for i in order] + [second[i] for i in sorted(corrected)]
    fold = FeatureFold("BTCUSDT", "15m", SPEC)
    for number, event in enumerate(events):
        fold.take(event)
        if number % settled == 0:
            fold.settle(lambda: None)
    fold.settle(lambda: None)
    rows = [OTHERS[i] if i in corrected else BARS[i] for i in range(40)]
    np.testing.assert_array_equal(row(fold), by_time(Bars.from_rows("BTCUSDT", "15m", rows)))
    assert fold.n_bars == 40
    assert fold.as_of_ms == int(BARS.open_time[39]) + STEP_MS


@pytest.mark.parametrize("late", [[*range(50)], [55], [45, 55, 58]], ids=["a longer history", "one bar", "three bars"])
def test_late_bars_count_live_and_at_the_start(log: EventLog, late: list[int]) -> None:
    events = bar_events(BARS)
    came = [event for i, event in enumerate(events) if i not in late] + [events[i] for i in late]
    log.append(came, writer="test")
    expected = by_time(BARS)
    np.testing.assert_array_equal(row(folded(came)), expected)
    np.testing.assert_array_equal(row(read(log)), expected)
    assert read(log).n_bars == folded(came).n_bars == N_BARS
    # A fold in the order of the log is not that: the check can fail.
    assert not np.array_equal(in_log_order(came), expected)


def test_a_correction_is_stepped_again_and_read_as_the_newest_revision(log: EventLog) -> None:
    again = bar_events(OTHERS)
    events = [*bar_events(BARS), again[-1], again[-3]]
    log.append(events, writer="test")
    rows = [*(BARS[i] for i in range(N_BARS - 3)), OTHERS[N_BARS - 3], BARS[N_BARS - 2], OTHERS[N_BARS - 1]]
    expected = by_time(Bars.from_rows("BTCUSDT", "15m", rows))
    np.testing.assert_array_equal(row(folded(events)), expected)
    np.testing.assert_array_equal(row(read(log)), expected)
    # At an earlier position it is as it was then.
    np.testing.assert_array_equal(row(read(log, upto=N_BARS)), by_time(BARS))


@pytest.mark.parametrize("place", [N_BARS, 50, 0], ids=["after the bars", "before its bar", "before all"])
@pytest.mark.parametrize("factor", [2.0, 0.1, 1.3])
def test_a_confirmed_action_joins_the_scales(log: EventLog, place: int, factor: float) -> None:
    split = action(50, factor=factor)
    events: list[Event] = [*bar_events(BARS)]
    events.insert(place, split)
    log.append(events, writer="test")
    expected = by_time(BARS, split)
    np.testing.assert_allclose(row(folded(events)), expected, rtol=1e-12)
    np.testing.assert_array_equal(row(folded(events)), row(read(log)))
    # Unadjusted they would be others, and so they are again once a person rejects it.
    assert not np.allclose(by_time(BARS), expected, rtol=1e-6)
    rejected = action(50, factor=factor, status="rejected")
    np.testing.assert_array_equal(row(folded([*events, rejected])), by_time(BARS))


def test_what_is_only_detected_changes_no_price() -> None:
    events = [*bar_events(BARS), action(50, status="detected")]
    np.testing.assert_array_equal(row(folded(events)), by_time(BARS))


def test_a_longer_history_costs_one_refold_for_a_picture(
    tmp_path: Path, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = Settings(home=tmp_path)
    bars = random_bars(9_000)
    events = bar_events(bars)
    bundle = small_bundle(columns=SPEC.columns)
    log.append(events[-96:], writer="test")
    appoint(log, configured, bundle)
    refolds: list[int] = []
    forget = FeatureEngine.reset

    def counted(engine: FeatureEngine) -> None:
        refolds.append(1)
        forget(engine)

    live = LiveView(configured, lambda: log)
    live.start()
    try:
        assert live.wait_for(log.head(), timeout_s=60)
        monkeypatch.setattr(FeatureEngine, "reset", counted)
        log.append(events[:-96], writer="test")
        assert live.wait_for(log.head(), timeout_s=60)
        assert len(refolds) == 1
        standing = live.picture.series["BTCUSDT"].roles["champion"]
        fold = live._folds["BTCUSDT|15m", bundle.feature_fingerprint]
        assert fold.n_bars == 9_000
        expected = FeatureEngine(bundle.spec).batch(bars)[-1]
        np.testing.assert_allclose(row(fold), expected, rtol=1e-11)
        assert standing.p_up == bundle.predict(expected)[0]
        assert live.picture.problem == ""
    finally:
        live.stop()


def test_it_says_what_paper_decides_on_the_same_bars() -> None:
    """Late bars, corrections, splits and a window that moves on: bar for bar the same forecast, to the last bit."""
    bars, others = random_bars(260, seed=5), bar_events(random_bars(260, seed=6))
    events = bar_events(bars)

    def split(at: int, status: str, factor: float = 2.0) -> Event:
        payload = msgspec.convert({"factor": factor, "status": status}, CorporateAction)
        return new_event("BTCUSDT", int(bars.open_time[at]), payload)

    came: list[Event] = [*events[10:60], *events[:10], *events[60:100], *events[102:110], events[101], events[110]]
    came += [others[110], others[104], events[111], events[100], others[111], *events[112:150], split(150, "confirmed")]
    came += [*events[150:180], split(175, "detected", 5.0), events[180], split(175, "confirmed", 5.0), *events[181:]]
    models = Models()
    bundle = models.add(small_bundle(columns=SPEC.columns))
    paper = projection(models, bundle.spec, history_bars=80)
    fold, served = FeatureFold("BTCUSDT", "15m", bundle.spec, keep_bars=80), ServedModel(bundle)
    paper.apply(promotion(bundle))
    naive, compared, differed = FeatureEngine(bundle.spec), 0, 0
    for event in came:
        said = [one.payload for one in paper.apply(event)]
        fold.take(event)
        fold.settle(lambda: None)
        for forecast in said:
            if isinstance(forecast, Forecast) and forecast.p_up is not None:
                assert fold.p_up(served) == forecast.p_up
                compared += 1
        differed += not np.array_equal(row(fold), stepped(naive, event))
    assert compared > 200
    # In the order of the log it would not have been the same.
    assert differed > 100


def stepped(engine: FeatureEngine, event: Event) -> FloatArray:
    """Return the row of an engine that takes bars as they come, and nothing where that cannot be."""
    if not isinstance(event.payload, BarClosed):
        return np.empty(0)
    try:
        return engine.step(event.payload.bar())
    except FeatureError:
        return np.empty(0)


def test_the_heartbeat_goes_on_while_a_past_is_computed_anew(log: EventLog) -> None:
    log.append(bar_events(random_bars(3_000)), writer="test")
    fold, beats = FeatureFold("BTCUSDT", "15m", SPEC), list[int]()
    fold.read(log, upto=log.head(), beat=lambda: beats.append(1), should_stop=lambda: False)
    at_start = len(beats)
    fold.take(bar_events(random_bars(3_000, seed=2))[7])
    assert len(beats) == at_start
    fold.settle(lambda: beats.append(1))
    assert len(beats) - at_start >= 6
    assert at_start >= 6
