"""Paper trading, live: the trading engine as a projection of the log.

It reads bars, the recorded clock and commands, and says what follows: forecast, outcome, signal, order, fill, account,
for the champion (whose ledger is the account) and the challenger (in shadow, with a ledger of its own). The arithmetic
is `kalibre.trading.engine.step`, the same that the backtest runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from hashlib import sha256
from pathlib import Path

from kalibre.core.events import Event, series_key
from kalibre.core.protocols import State
from kalibre.core.settings import CostSettings, RiskSettings, Settings
from kalibre.core.timeframe import timeframes_above
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.models.acting import load_acting
from kalibre.trading.desk import Desk
from kalibre.trading.failures import FailureRecord, Failures, failures_of
from kalibre.trading.inbox import Inbox
from kalibre.trading.outcomes import ExpectedOpens
from kalibre.trading.series import LoadModel, SeriesState

_HISTORY_BARS = 3_000
_TO_ALL = frozenset({"tick", "kill", "automation"})
_OF_SYMBOL = frozenset({"corporate_action", "funding"})


class PaperProjection:
    """Follows champion and challenger of every series over the log, and trades on paper what they say.

    Decisions are taken at a bar's close, when the bar arrives. Nothing is ordered while the kill switch is engaged,
    trading is stopped, or the bar is more than `risk.stale_bars` bars old by the newest tick. A model that is missing
    or damaged makes the policy hold, with the reason, until it is promoted again: that it could not be loaded is
    recorded, and what is recorded counts in replay. A correction of the newest bar that comes before the next bar is
    decided again, and what follows from it carries the bar's revision; what is older changes features, and nothing that
    was decided.

    Where the ensemble is champion, its recorded word on a bar is what the policy follows; until it has come the bar,
    and everything after it, waits (`kalibre.trading.inbox`).

    Ledgers run in the series' scale (`kalibre.bars.timeline`), so a split does not touch them; fills and accounts are
    said in shares and prices as they are traded. While a corporate action is detected and undecided, nothing is
    ordered, carried or forecast, until it lies further back than features look and the champion holds nothing from
    before it; a challenger that does begins anew then, being judged by its ledger only.
    Funding is paid by the bar that it is settled in; a rate that comes later is paid at the next bar by whoever held
    the position at the settlement.

    Parameters
    ----------
    series
        (symbol, timeframe) of each series to follow.
    load_model
        Loads a bundle, or an ensemble version, by id and digest.
    specs
        By series key, the features to compute from the first bar on; the default columns where not named. A model with
        other features is fed with the newest `history_bars` bars when it is promoted.
    calendar
        Tells a hole from a night: an outcome whose horizon spans a hole is none. None counts bars.
    recorded_failures
        Reads why models could not be loaded, as recorded (`model_unable`): in replay they are not loaded either.
    """

    name = "paper"
    reads = frozenset({"bar", "corporate_action", "funding", "tick", "kill", "automation", "promotion", "ensemble"})

    def __init__(
        self,
        series: Sequence[tuple[str, str]],
        *,
        costs: CostSettings,
        risk: RiskSettings,
        load_model: LoadModel,
        specs: Mapping[str, FeatureSpec] | None = None,
        calendar: ExpectedOpens | None = None,
        history_bars: int = _HISTORY_BARS,
        recorded_failures: Callable[[], Failures] = dict,
    ) -> None:
        self._failures = FailureRecord(recorded_failures)
        self._inboxes: dict[str, Inbox] = {}
        self._of_symbol: dict[str, list[Inbox]] = {}
        prints = {}
        for symbol, timeframe in series:
            key = series_key(symbol, timeframe)
            spec = (specs or {}).get(key) or FeatureSpec(timeframe)
            followed = SeriesState(
                key, symbol, timeframe, risk=risk, spec=spec, load_model=load_model, history_bars=history_bars
            )
            desk = Desk(followed, self._failures, costs=costs, risk=risk, calendar=calendar)
            self._inboxes[key] = inbox = Inbox(desk, stale_bars=risk.stale_bars)
            self._of_symbol.setdefault(symbol, []).append(inbox)
            prints[key] = followed.fingerprints()
        settings = [costs.model_dump(), risk.model_dump(), getattr(calendar, "name", None), history_bars, prints]
        self.version = sha256((_code_digest() + json.dumps(settings, sort_keys=True)).encode()).hexdigest()[:16]

    def apply(self, event: Event) -> list[Event]:
        """Take one event in and return what follows from it, in order."""
        kind = event.kind
        if kind in _TO_ALL:
            return [said for inbox in self._inboxes.values() for said in inbox.take(event)]
        if kind in _OF_SYMBOL:
            return [said for inbox in self._of_symbol.get(event.key, ()) for said in inbox.take(event)]
        one = self._inboxes.get(event.key if kind == "bar" else event.key.rpartition("|")[0])
        return [] if one is None else one.take(event)

    def state(self) -> State:
        """Return everything that later emissions depend on."""
        return {f"{key}/{name}": value for key, inbox in self._inboxes.items() for name, value in inbox.state().items()}

    def restore(self, state: State) -> None:
        """Take on a state returned by `state`; models are loaded again, by id and digest."""
        self._failures.forget()
        for key, inbox in self._inboxes.items():
            inbox.restore(
                {name.removeprefix(f"{key}/"): value for name, value in state.items() if name.startswith(f"{key}/")}
            )


@cache
def _code_digest() -> str:
    """Return the digest of the code between a row of features and an event."""
    here = Path(__file__).parent
    folders = (here, here.parent / "models", here.parent / "labels")
    files = [
        *(file for folder in folders for file in sorted(folder.glob("*.py"))),
        here.parent / "bars" / "timeline.py",
    ]
    return sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def paper_projection(settings: Settings) -> PaperProjection:
    """Make the paper engine that the settings describe, with models from the models folder."""
    from kalibre.bars.calendars import get_calendar

    market = settings.market
    spec = FeatureSpec(
        timeframe=market.timeframe,
        higher_timeframes=timeframes_above(market.timeframe, settings.features.higher_timeframes),
        scale_window=settings.features.scale_window,
    ).widened(taker=False, news=settings.features.news)
    return PaperProjection(
        [(symbol, market.timeframe) for symbol in market.symbols],
        costs=settings.costs,
        risk=settings.risk,
        load_model=partial(load_acting, settings.models_dir),
        specs={series_key(symbol, market.timeframe): spec for symbol in market.symbols},
        calendar=get_calendar(market.calendar),
        # A bundle whose columns are others (taker volume) is fed from the bars kept: they must reach over its warm-up.
        history_bars=max(_HISTORY_BARS, 2 * FeatureEngine(spec).warmup),
        recorded_failures=partial(failures_of, settings),
    )
