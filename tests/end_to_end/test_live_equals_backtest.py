"""A live session against an exchange that drops, doubles, reorders and corrects: what paper did is the backtest."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tests.fakes.exchange import FakeExchange
from tests.fakes.exchange_listener import random_market
from tests.fakes.models import START_MS, small_bundle
from tests.fakes.trading import (
    RISK,
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

from kalibre.bars.history import load_bars
from kalibre.bars.ingest import ingest_history, ingest_live
from kalibre.bars.live import LiveSettings
from kalibre.core.events import Event, new_event
from kalibre.core.settings import CostSettings
from kalibre.core.text_events import HeadlineScore
from kalibre.evaluation.sweep import sweep
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.log import open_log
from kalibre.log.runner import Runner, refold
from kalibre.models.bundle import ModelBundle
from kalibre.sources import open_source

COLUMNS = ("roc_10", "realised_volatility_20", "range_relative", "roc_3")
NEWS = ("snews_impact", "snews_conf")
N_HISTORY, N_BARS = 60, 140


class ExchangeClock:
    """The exchange's own time."""

    def __init__(self, exchange: FakeExchange) -> None:
        self._exchange = exchange

    def now_ms(self) -> int:
        return self._exchange.now_ms


def _scored(at_ms: int, place: int) -> Event:
    """Return what a scorer says live: of every headline something else, for hours or for days."""
    payload = HeadlineScore(
        headline=f"h{place}",
        story=f"s{place // 2}",
        asset="BTC",
        impact=(-1.0) ** (place // 12) * 0.9,
        confidence=0.4 + place // 6 % 5 / 10,
        horizon="intraday" if place // 6 % 3 else None,
        model="m",
        trained_until_ms=at_ms,
    )
    return new_event(f"BTC|h{place}|m", at_ms, payload)


async def _session(
    url: str,
    models: Models,
    champion: ModelBundle,
    challenger: ModelBundle,
    folder: Path,
    *,
    columns: tuple[str, ...],
) -> None:
    market = random_market("BTCUSDT", N_BARS + 5, start_ms=START_MS, timeframe="15m")
    async with FakeExchange({"BTCUSDT": market}, now_ms=START_MS + N_HISTORY * STEP_MS) as exchange:
        clock, stop = ExchangeClock(exchange), threading.Event()
        quick = {"backoff_s": 0.01, "backoff_cap_s": 0.05, "stall_after_s": 30, "ping_every_s": 30, "seed": 1}
        source = open_source(
            "binance", rest_url=exchange.rest_url, ws_url=exchange.ws_url, confirm_after_s=0.02, timeout_s=5, **quick
        )
        with open_log(url) as log:
            log.append([promotion(champion), promotion(challenger, "challenger")], writer="registry")
            await asyncio.to_thread(
                ingest_history, log, source, "BTCUSDT", "15m", calendar="24/7", clock=clock, start_ms=START_MS
            )
            paper = projection(models, FeatureSpec("15m", columns=columns))
            runner = Runner(log, paper, snapshots_dir=folder / "snapshots", snapshot_every_events=40)
            trading = asyncio.create_task(asyncio.to_thread(runner.follow, stop.is_set, 0.02))
            ingesting = asyncio.create_task(
                ingest_live(
                    log,
                    source,
                    ["BTCUSDT"],
                    "15m",
                    calendar="24/7",
                    clock=clock,
                    should_stop=stop.is_set,
                    settings=LiveSettings(poll_s=0.02, tick_ms=STEP_MS),
                )
            )
            await exchange.wait_for(lambda: exchange.open_streams == 1)
            closed = N_HISTORY
            while closed < N_BARS:
                fault = (closed - N_HISTORY) // 4 % 6
                if fault == 1:
                    exchange.faults.lose("BTCUSDT")
                elif fault == 2:
                    exchange.faults.duplicate("BTCUSDT")
                elif fault == 3:
                    exchange.faults.reorder("BTCUSDT")
                elif fault == 4:
                    exchange.drop_connections()
                if columns != COLUMNS and closed % 6 == 0:  # a headline comes and is scored within a bar
                    heard = exchange.now_ms + 7_000
                    log.append([_scored(heard, closed)], writer="news")
                closed += 2
                await exchange.advance_to(START_MS + closed * STEP_MS)
                await _until(lambda n=closed: len(load_bars(log, "BTCUSDT", "15m")) >= n)
                if fault == 5:
                    bar = market[closed - 1]
                    wanted = await exchange.correct(
                        "BTCUSDT", bar.open_time, close=bar.low + (bar.high - bar.low) * 0.9
                    )
                    await _until(lambda bar=wanted: load_bars(log, "BTCUSDT", "15m")[-1].close == bar.close)
                # The session's own pace: the paper engine has decided on what there is before the market goes on.
                await _until(lambda n=closed: _decided(log, START_MS + n * STEP_MS))
            stop.set()
            await asyncio.wait_for(asyncio.gather(trading, ingesting), 60)
            runner.catch_up()


def _decided(log, time_ms: int) -> bool:  # type: ignore[no-untyped-def]
    latest = log.latest("account", key=f"{SERIES}|champion")
    return latest is not None and latest.event_time >= time_ms


async def _until(condition, timeout_s: float = 60.0) -> None:  # type: ignore[no-untyped-def]
    limit = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        await asyncio.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("columns", [COLUMNS, (*NEWS, *COLUMNS)], ids=["bars", "bars and news"])
def test_live_equals_backtest(tmp_path: Path, columns: tuple[str, ...]) -> None:
    champion = small_bundle(columns=columns, entry_threshold=0.6, exit_threshold=0.5)
    challenger = small_bundle(seed=2, columns=columns, entry_threshold=0.55, exit_threshold=0.4)
    models, url = Models(), f"sqlite:///{tmp_path / 'log.sqlite'}"
    for bundle in (champion, challenger):
        models.add(bundle)
    asyncio.run(_session(url, models, champion, challenger, tmp_path, columns=columns))
    with open_log(url) as log:
        bars, events = load_bars(log, "BTCUSDT", "15m"), stored(log)
        revised = [event for event in log.read(kinds={"bar"}) if event.revision]
        provenances = {event.provenance for event in log.read(kinds={"bar"})}
        assert refold(log, projection(models, FeatureSpec("15m", columns=columns))).equal
    assert len(bars) == N_BARS
    assert revised, "the session corrected bars"
    if columns != COLUMNS:
        assert bars.news_conf is not None
        assert len(set(bars.news_conf.tolist())) > 20
        assert any(event.payload.news_conf for event in revised), "a corrected bar keeps its news"  # type: ignore[attr-defined]
    assert provenances == {"received", "backfilled"}, "the session lost bars and healed them"
    for role, bundle in (("champion", champion), ("challenger", challenger)):
        run = backtested(bundle, bars)
        assert len(run.fills) >= 4
        assert_equal_to_backtest(events, bars, run, role)
        p_up = bundle.predict(FeatureEngine(bundle.spec).batch(bars))
        recorded = [event.payload.p_up for event in newest(events, "forecast", role)]  # type: ignore[attr-defined]
        assert recorded == [None if np.isnan(p) else p for p in p_up.tolist()]
        # The third engine: the sweep's fast path ends where paper ended.
        volatility = FeatureEngine(FeatureSpec("15m", columns=("realised_volatility_20",))).batch(bars)[:, 0]
        swept = sweep(
            *(bars, p_up, volatility, np.array([bundle.entry_threshold]), np.array([bundle.exit_threshold])),
            *(CostSettings(), RISK),
            bars_per_year=35_040.0,
            horizon_bars=bundle.horizon_bars,
        )
        assert swept.path == "event"
        assert swept.final_equity[0] == newest(events, "account", role)[-1].payload.equity  # type: ignore[attr-defined]
