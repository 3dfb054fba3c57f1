"""The demonstration: one market's whole way, from bars to a verdict, to trades on paper, to the kill switch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kalibre.core.bars import concat
from kalibre.core.clock import ManualClock
from kalibre.core.errors import PromotionRefusedError
from kalibre.core.events import Kill, Order, series_key
from kalibre.core.settings import Settings, load_settings, make_home
from kalibre.core.timeframe import timeframe_ms
from kalibre.registry.demonstration_words import WORDS

if TYPE_CHECKING:
    from kalibre.log.protocol import EventLog

_AFTER_THE_KILL_BARS = 96
"""Bars that still come after the kill: enough for an engine that ignored it to be seen."""
_BARS_AT_ONCE = 24


@dataclass(frozen=True)
class Market:
    """A market of the demonstration: where its bars come from, and how many are kept back to be traded live."""

    source: str
    symbol: str
    timeframe: str
    calendar: str
    live_bars: int
    source_options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


MARKETS = (
    Market(
        source="sample",
        symbol="EURUSD",
        timeframe="1h",
        calendar="forex",
        live_bars=480,
        settings={
            "features": {"higher_timeframes": ("4h",)},
            # Currencies cost a fraction of what coins do: half the usual spread of about a basis point.
            "costs": {"fee_bps": 0.2, "slippage_bps": 0.5},
            "model": {"folds": 4, "min_samples_leaf": 60},
        },
    ),
    Market(
        source="simulated",
        symbol="EDGE",
        timeframe="15m",
        calendar="24/7",
        live_bars=960,
        source_options={"market": "edge", "auc": 0.65, "seed": 11, "n_bars": 35_040 + 960},
    ),
)


def settings_of(market: Market, home: Path, *, lang: str) -> Settings:
    """Return the settings under which a market is demonstrated; its log and models live in `home` alone."""
    watched = {"source": market.source, "symbols": (market.symbol,), "timeframe": market.timeframe}
    return load_settings(
        home=home,
        lang=lang,
        registry_url="",
        log={"url": ""},
        market={**watched, "calendar": market.calendar, "source_options": dict(market.source_options)},
        **market.settings,
    )


def demonstrate(market: Market, home: Path, *, lang: str = "en", say: Callable[[str], None] = print) -> dict[str, Any]:
    """Take one market the whole way; returns its study, what happened on paper, and the seconds of each stage.

    The last `live_bars` bars are not in the log while the model is trained: they come afterwards, as live bars would.
    """
    from kalibre.bars.ingest import ingest_history
    from kalibre.log import open_log
    from kalibre.registry.candidates import train_candidate
    from kalibre.registry.promotion import promote
    from kalibre.registry.store import Registry
    from kalibre.sources import open_source

    settings, words = settings_of(market, home, lang=lang), WORDS[lang]
    make_home(home)
    history = open_source(market.source, **market.source_options).history(market.symbol, market.timeframe)
    bars = concat(list(history))
    source = open_source("replay", bars={market.symbol: bars})
    live_from = int(bars.open_time[-market.live_bars])
    clock = ManualClock(int(bars.close_time[-1]))
    seconds: dict[str, float] = {}
    with open_log(settings.log_url) as log:

        def ingest(start_ms: int | None, end_ms: int) -> None:
            ingest_history(
                log,
                source,
                market.symbol,
                market.timeframe,
                calendar=market.calendar,
                clock=clock,
                start_ms=start_ms,
                end_ms=end_ms,
                heal=False,
            )

        started = time.monotonic()
        ingest(None, live_from)
        seconds["ingest"] = time.monotonic() - started
        stored = f"{len(bars) - market.live_bars:,}"
        say(words["stored"].format(symbol=market.symbol, bars=stored.replace(",", ".") if lang == "tr" else stored))
        started = time.monotonic()
        known = bars.between(None, live_from)
        candidate = train_candidate(log, known, settings, clock=clock)
        seconds["study"] = time.monotonic() - started
        gates = candidate.study["gates"]
        passed = sum(gate["passed"] for gate in gates)
        say(words["judged"].format(symbol=market.symbol, passed=passed, gates=len(gates)))
        started = time.monotonic()
        model = candidate.bundle.model_id
        try:
            promote(log, Registry(settings), settings, model, note="demonstration", by="demo", clock=clock)
            say(words["champion"].format(symbol=market.symbol, model=model))
        except PromotionRefusedError:
            say(words["shadow"].format(symbol=market.symbol, model=model))
        seconds["promotion"] = time.monotonic() - started
        started = time.monotonic()
        paper = _trade(log, settings, market, ingest, bars.open_time[-market.live_bars :], clock)
        seconds["paper"] = time.monotonic() - started
    return {"title": words[market.symbol], "study": candidate.study, "paper": paper, "seconds": seconds}


def _trade(
    log: EventLog,
    settings: Settings,
    market: Market,
    ingest: Callable[[int | None, int], None],
    opens: np.ndarray[Any, np.dtype[np.int64]],
    clock: ManualClock,
) -> dict[str, Any]:
    """Let the paper engine follow while the kept-back bars come in; engage the kill switch before the last ones."""
    from kalibre.log import open_log
    from kalibre.log.runner import Runner
    from kalibre.trading.kill_switch import KillSwitch
    from kalibre.trading.paper import paper_projection

    done = threading.Event()
    failures: list[BaseException] = []

    def follow() -> None:
        try:
            with open_log(settings.log_url) as own:
                runner = Runner(
                    own, paper_projection(settings), snapshots_dir=settings.snapshots_dir, kill_file=settings.kill_file
                )
                runner.recover()
                runner.follow(done.is_set, 0.002)
        except BaseException as error:  # noqa: BLE001  (handed to the caller, who raises it)
            failures.append(error)
            done.set()

    thread = threading.Thread(target=follow, name="paper")
    thread.start()
    kill_at = len(opens) - _AFTER_THE_KILL_BARS
    kill_seq, stop_ms = 0, 0.0
    step_ms = timeframe_ms(market.timeframe)
    try:
        for start in range(0, len(opens), _BARS_AT_ONCE):
            if start == kill_at:
                _caught_up(log, done)
                began = time.perf_counter()
                KillSwitch(log, settings.kill_file, clock).engage(by="demo", reason="the demonstration ends")
                kill_seq = log.last_position(["kill"])
                _caught_up(log, done, upto=kill_seq, poll_s=0.001)
                stop_ms = 1000 * (time.perf_counter() - began)
            last = opens[min(start + _BARS_AT_ONCE, len(opens)) - 1]
            ingest(int(opens[start]), int(last) + step_ms)
        _caught_up(log, done)
    finally:
        done.set()
        thread.join()
    if failures:
        raise failures[0]
    return _paper_figures(log, market, kill_seq, stop_ms)


def _caught_up(log: EventLog, done: threading.Event, *, upto: int | None = None, poll_s: float = 0.02) -> None:
    """Wait until the paper engine has read everything, or everything up to a position, or has failed."""
    target = log.last_position(["bar", "kill", "promotion"]) if upto is None else upto
    while not done.is_set():
        progress = log.progress("paper")
        if progress is not None and progress.seq >= target:
            return
        time.sleep(poll_s)


def _paper_figures(log: EventLog, market: Market, kill_seq: int, stop_ms: float) -> dict[str, Any]:
    from kalibre.core.events import Account

    key = series_key(market.symbol, market.timeframe)
    orders = [event for event in log.read(kinds={"order"}) if isinstance(event.payload, Order)]
    kills = [event for event in log.read(kinds={"kill"}) if isinstance(event.payload, Kill)]
    ledgers = {}
    for role in ("champion", "challenger"):
        account = log.latest("account", key=f"{key}|{role}")
        if account is not None and isinstance(account.payload, Account):
            ledgers[role] = {
                "equity": account.payload.equity,
                "fills": len(log.read(kinds={"fill"}, key=f"{key}|{role}")),
            }
    return {
        "live_bars": market.live_bars,
        "ledgers": ledgers,
        "orders_before_kill": sum(event.seq < kill_seq for event in orders),
        "orders_after_kill": sum(event.seq > kill_seq for event in orders),
        "bars_after_kill": _AFTER_THE_KILL_BARS,
        "stop_ms": stop_ms,
        "kill_events": len(kills),
        "events": log.head(),
    }
