"""A market whose every bar goes up with a probability of its own, which the tests know and nobody else."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import msgspec
import numpy as np
from tests.fakes.hub_streams import START_MS, STEP_MS, SYMBOL, TIMEFRAME, Market, Voice
from tests.fakes.models import bar_events

from kalibre.core.bars import Bars
from kalibre.core.events import Event, new_event
from kalibre.core.hub_events import Benched
from kalibre.core.settings import CostSettings, FeatureSettings, HubSettings, MarketSettings, ModelSettings, Settings
from kalibre.core.timeframe import DAY_MS
from kalibre.hub.ensemble import ensemble_projection
from kalibre.log.protocol import EventLog
from kalibre.log.runner import Runner

HORIZON = 1
N_BARS = 3_000
SETTINGS = Settings(
    market=MarketSettings(symbols=(SYMBOL,), timeframe=TIMEFRAME),
    features=FeatureSettings(higher_timeframes=()),
    model=ModelSettings(horizon_bars=HORIZON, folds=3, threshold_pairs=200),
    costs=CostSettings(fee_bps=1.0, slippage_bps=0.0),
    hub=HubSettings(learners=("online",)),
)
"""One learner and the champion make the ensemble."""


def market(n: int = N_BARS, *, seed: int = 1) -> Market:
    """Return a market with much to be known."""
    return Market(n, seed=seed, edge=1.5)


def bars_of(known: Market, *, seed: int = 2) -> Bars:
    """Return bars whose closes rise exactly where the market says so."""
    n = known.n
    close = 100.0 * np.exp(np.concatenate([[0.0], np.cumsum(known.log_return[:-1])]))
    opens = np.concatenate([[close[0]], close[:-1]])
    spread = 1.0 + np.abs(np.random.default_rng(seed).normal(0, 0.0005, n))
    return Bars(
        symbol=SYMBOL,
        timeframe=TIMEFRAME,
        open_time=START_MS + STEP_MS * np.arange(n),
        open=opens,
        high=np.maximum(opens, close) * spread,
        low=np.minimum(opens, close) / spread,
        close=close,
        volume=np.random.default_rng(seed + 1).uniform(1, 9, n),
    )


def recorded(
    log: EventLog,
    known: Market,
    *,
    settings: Settings = SETTINGS,
    late: Callable[[int], bool] = lambda bar: False,
    online: Voice | None = None,
    champion: Voice = lambda bar: None,
) -> Bars:
    """Write the market, what a learner (by default one that knows) and a champion (by default silent) say of it, and
    what the ensemble makes of that; return its bars.
    """
    bars = bars_of(known)
    log.append(bar_events(bars), writer="test")
    streams = [
        known.stream("online", online or known.knowing(), horizon=HORIZON, late=late),
        known.stream("champion", champion, horizon=HORIZON),
    ]
    days = range(START_MS, START_MS + known.n * STEP_MS + 2 * DAY_MS, DAY_MS)
    nobody = [new_event(f"{SYMBOL}|{TIMEFRAME}", day, Benched(names=(), changes={})) for day in days]
    log.append(nobody, writer="scorer")
    for stream in streams:
        log.append(stream, writer="test")
    say(log, settings)
    return bars


def say(log: EventLog, settings: Settings = SETTINGS) -> None:
    """Let the ensemble read the log to its end."""
    Runner(log, ensemble_projection(settings), snapshots_dir=None).catch_up()


def copied(log: EventLog, other: EventLog, change: Callable[[Event], Event | None]) -> None:
    """Write a log once more, each event as `change` would have it; where it says None, the event is left out."""
    progress = log.progress("ensemble")
    assert progress is not None
    with other.transaction() as transaction:
        kept = [changed for event in log.read() if (changed := change(event)) is not None]
        for writer, events in groupby(kept, key=lambda event: event.writer):
            transaction.append(events, writer=writer, conflict="refuse")
        head = transaction.head()
        transaction.set_progress("ensemble", msgspec.structs.replace(progress, seq=min(progress.seq, head)))


def with_p_up(event: Event, p_up: float) -> Event:
    """Return a forecast of the ensemble that says something else."""
    payload = msgspec.structs.replace(event.payload, p_up=p_up)  # type: ignore[call-arg]
    return msgspec.structs.replace(event, payload=payload)
