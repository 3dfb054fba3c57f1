"""A session on a real log with a split, healed and corrected bars and funding: what paper did is the backtest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from tests.fakes.models import START_MS, bar_events, random_bars, small_bundle
from tests.fakes.trading import (
    STEP_MS,
    Models,
    action,
    assert_equal_to_backtest,
    backtested,
    funding,
    newest,
    projection,
    promotion,
    split,
    stored,
)

from kalibre.bars.funding import load_funding
from kalibre.bars.history import load_bars
from kalibre.bars.timeline import Timeline
from kalibre.core.bars import Bars
from kalibre.core.events import Event, Tick, new_event
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.log.runner import Runner, refold
from kalibre.models.bundle import ModelBundle
from kalibre.trading.paper import PaperProjection

COLUMNS = ("roc_10", "realised_volatility_20", "range_relative", "roc_3")
SPLIT_ROW, N_BARS = 210, 360


@pytest.fixture(scope="module")
def bundles() -> tuple[ModelBundle, ModelBundle]:
    champion = small_bundle(columns=COLUMNS, entry_threshold=0.6, exit_threshold=0.5)
    return champion, small_bundle(seed=2, columns=COLUMNS, entry_threshold=0.55, exit_threshold=0.4)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


def paper(bundles: tuple[ModelBundle, ...], **changes: object) -> PaperProjection:
    models = Models({bundle.model_id: bundle for bundle in bundles})
    return projection(models, FeatureSpec("15m", columns=COLUMNS), **changes)


def session(traded: Bars) -> Iterator[list[Event]]:
    """Yield what ingest writes, one transaction after the other.

    Some bars are lost and come back after the clock has gone on but before the next bar; some are corrected before the
    next bar. Rates are written a few seconds before the bar that pays them. The split's action comes with its bar.
    """
    dice = np.random.default_rng(7)
    for row, event in enumerate(bar_events(traded)):
        close = event.event_time + STEP_MS
        first: list[Event] = [action(event.event_time)] if row == SPLIT_ROW else []
        if close % (8 * 3_600_000) == 0:
            first.append(funding(close, float(dice.normal(0.003, 0.002))))
        fault = row % 7
        if fault == 3:  # lost, found by the next poll
            yield [*first, new_event("clock", close + STEP_MS, Tick(now_ms=close + STEP_MS))]
            yield [replace(event, provenance="backfilled")]
        elif fault == 5:
            wrong = replace(event.payload, close=event.payload.low, volume=event.payload.volume * 2)
            yield [*first, replace(event, payload=wrong)]
            yield [replace(event, revision=1)]
        else:
            yield [*first, event]


def play(log: EventLog, bundles: tuple[ModelBundle, ModelBundle], *, batch_size: int = 64) -> None:
    traded = split(random_bars(N_BARS, seed=9), SPLIT_ROW)
    champion, challenger = bundles
    log.append([promotion(champion), promotion(challenger, "challenger")], writer="registry")
    runner = Runner(log, paper(bundles), snapshots_dir=None, batch_size=batch_size)
    runner.recover()
    for events in session(traded):
        log.append(events, writer="ingest")
        runner.catch_up()


def compare(log: EventLog, bundles: tuple[ModelBundle, ModelBundle]) -> None:
    """Lay both roles beside the backtest of what the loaders return."""
    bars, traded = load_bars(log, "BTCUSDT", "15m"), load_bars(log, "BTCUSDT", "15m", adjusted=False)
    rates = load_funding(log, bars)
    assert rates is not None
    assert np.count_nonzero(rates) == N_BARS * STEP_MS // (8 * 3_600_000)
    scale = bars.close / traded.close
    assert scale[SPLIT_ROW - 1 : SPLIT_ROW + 1].round(9).tolist() == [1.0, 3.0]
    events = stored(log)
    for role, bundle in zip(("champion", "challenger"), bundles, strict=True):
        run = backtested(bundle, bars, funding=rates)
        assert len(run.fills) > 20
        assert run.cash[-1] != backtested(bundle, bars).cash[-1], "funding was paid"
        assert_equal_to_backtest(events, bars, run, role, scale=np.round(scale))


@pytest.mark.parametrize("batch_size", [1, 64])
def test_across_a_split_with_funding_live_is_the_backtest(
    log: EventLog, bundles: tuple[ModelBundle, ModelBundle], batch_size: int
) -> None:
    play(log, bundles, batch_size=batch_size)
    compare(log, bundles)
    assert refold(log, paper(bundles)).equal


def test_a_session_that_forgets_to_scale_is_seen(
    log: EventLog, bundles: tuple[ModelBundle, ModelBundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plant: the ledger takes the prices after the split as they come."""
    monkeypatch.setattr(Timeline, "scaled", lambda self, bar: bar)
    play(log, bundles)
    with pytest.raises(AssertionError):
        compare(log, bundles)


def test_a_session_that_charges_a_rate_twice_is_seen(
    log: EventLog, bundles: tuple[ModelBundle, ModelBundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plant: a rate that came in time is owed at the next bar as well."""
    monkeypatch.setattr("kalibre.trading.series._owing", lambda owed, change, carried_ms, step_ms: (*owed, change))
    play(log, bundles)
    with pytest.raises(AssertionError):
        compare(log, bundles)


@pytest.mark.parametrize("keep", [100, 3_000])
def test_after_an_older_history_the_next_decision_is_of_the_bars_kept(
    log: EventLog, bundles: tuple[ModelBundle, ModelBundle], keep: int
) -> None:
    """A longer history, with a split of its own, is ingested while paper runs."""
    champion = bundles[0]
    traded = split(random_bars(N_BARS, seed=9), 150)
    events = bar_events(traded)
    older, newer, after = [action(int(traded.open_time[150])), *events[:200]], events[200:300], events[300:]
    log.append([promotion(champion), *newer], writer="ingest")
    runner = Runner(log, paper(bundles, history_bars=keep), snapshots_dir=None, batch_size=7)
    runner.recover()
    runner.catch_up()
    decided = stored(log)
    log.append(older, writer="ingest")
    runner.catch_up()
    assert stored(log) == decided, "what was decided stays, and nothing is decided on the past"
    log.append(after, writer="ingest")
    runner.catch_up()

    bars = load_bars(log, "BTCUSDT", "15m")
    assert int(bars.open_time[0]) == START_MS
    p_up = [event.payload.p_up for event in newest(stored(log), "forecast")][len(newer) :]  # type: ignore[attr-defined]
    # The engine was fed what is kept at bar 300, and goes on from there.
    kept = bars[max(0, 301 - keep) :]
    expected = champion.predict(FeatureEngine(champion.spec).batch(kept))[-len(after) :]
    assert p_up == expected.tolist()
    assert refold(log, paper(bundles, history_bars=keep)).equal
