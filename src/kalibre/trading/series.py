"""One series as the paper engine sees it: its bars, features and volatility, and the two books, with a way back.

A correction of the newest bar that comes before the next bar is decided again: everything goes back to before that bar
and takes it in as it should have been; what is emitted then carries the bar's revision. What rewrites the past (an
older bar, new or corrected, or another scale of prices) is noted only, and at the next bar the features are computed
anew from the bars kept, once for any number of such events: what was decided and filled stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import numpy as np

from kalibre.bars.timeline import Change, Timeline
from kalibre.core.bars import Bar, Bars
from kalibre.core.errors import KalibreError
from kalibre.core.events import CorporateAction, Event
from kalibre.core.protocols import FloatArray
from kalibre.core.settings import RiskSettings
from kalibre.core.timeframe import timeframe_ms
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.models.acting import Acting
from kalibre.models.bundle import ModelBundle
from kalibre.models.ensemble_version import EnsembleVersion
from kalibre.trading.book import Book, Moment
from kalibre.trading.engine import new_ledger
from kalibre.trading.funding import FundingRates, Owed
from kalibre.trading.outcomes import check_label
from kalibre.trading.policy import Policy

VOLATILITY = "realised_volatility_20"
_ROLES = ("champion", "challenger")
_WHOLE, _BARS, _SCALE = range(3)
"""How much of the past is not what the features have seen: nothing, bars only, or the scale of prices too."""
LoadModel = Callable[[str, str | None], Acting]


def sizing_volatility(bars: Bars) -> FloatArray:
    """Return the deviation of log returns per bar that positions are sized by, shape (n_bars,).

    Row ``t`` is known at the close of bar ``t``. Whatever scaling a model's features have, this column has none.
    """
    column: FloatArray = FeatureEngine(FeatureSpec(bars.timeframe, columns=(VOLATILITY,))).batch(bars)[:, 0]
    return column


class SeriesState:
    """Bars, features and books of one series.

    Parameters
    ----------
    spec
        Features computed from the first bar on; a model of another spec gets an engine fed with the bars kept.
    history_bars
        Bars kept: for that, and for computing anew what was rewritten.
    """

    def __init__(
        self,
        key: str,
        symbol: str,
        timeframe: str,
        *,
        risk: RiskSettings,
        spec: FeatureSpec,
        load_model: LoadModel,
        history_bars: int,
    ) -> None:
        self.key, self.symbol, self.timeframe = key, symbol, timeframe
        self.step_ms = timeframe_ms(timeframe)
        self.line = Timeline(symbol, timeframe, keep=history_bars)
        self.books: dict[str, Book] = {role: Book(new_ledger(risk)) for role in _ROLES}
        self.n_next = 0
        """Bars that came as the next one, which is what horizons are counted in."""
        self.carried_ms = -1
        """Open time of the newest bar that the ledgers were carried over; -1 before the first."""
        self.frozen = False
        """Whether the ledgers stood still at the newest bar, because nobody knows its scale."""
        self._risk = risk
        self._history_bars = history_bars
        self._load_model = load_model
        self._default = _name(spec)
        self._specs: dict[str, FeatureSpec] = {self._default: spec}
        self._engines: dict[str, FeatureEngine] = {self._default: FeatureEngine(spec)}
        self._volatility = FeatureEngine(FeatureSpec(timeframe, columns=(VOLATILITY,)))
        self._rows: dict[str, FloatArray] = {}
        self._rates = FundingRates()
        self._owed: Owed = ()
        self._rewritten = _WHOLE
        self._before: _Before | None = None

    def fingerprints(self) -> list[str]:
        """Return the digests of the feature code that is in use from the start."""
        return [self._volatility.fingerprint, self._engines[self._default].fingerprint]

    # --- bars ---------------------------------------------------------------------------------------------------------

    def take(self, event: Event) -> Change:
        """Take in a bar of this series or a corporate action of its symbol; say what it means."""
        change = self.line.take(event)
        if change is Change.NEXT:
            self.n_next += 1
        elif change is Change.REWRITTEN:
            degree = _SCALE if isinstance(event.payload, CorporateAction) else _BARS
            self._rewritten = max(self._rewritten, degree)
        return change

    def advance(self, change: Change) -> tuple[Bar, float]:
        """Bring the features to the newest bar; return it in the series' scale, and the volatility at its close.

        Parameters
        ----------
        change
            `NEXT`, or `CORRECTED`, which first takes back what the newest bar did.
        """
        assert self.line.last is not None
        if change is Change.CORRECTED:
            self._go_back()
        if self._rewritten:
            self._compute_anew()
        self._before = _Before.of(self)
        bar = self.line.scaled(self.line.last)
        self._rows = {name: engine.step(bar) for name, engine in self._engines.items()}
        return bar, float(self._volatility.step(bar)[0])

    def _go_back(self) -> None:
        """Go back to before the newest bar."""
        before = self._before
        assert before is not None
        self.carried_ms, self.frozen, self._owed = before.carried_ms, before.frozen, before.owed
        for role, book in self.books.items():
            book.go_back(before.moments[role])
        if self._rewritten:
            return
        for name, engine in self._all_engines().items():
            if name in before.engines:
                engine.restore(before.engines[name])
            else:  # its model came after the bar
                self._feed(engine)

    def _compute_anew(self) -> None:
        """Feed every engine the bars kept, as they are known now, and bring what the books remember in line."""
        for engine in self._all_engines().values():
            self._feed(engine)
        for book in self.books.values():
            forecasts = []
            for one in book.open_forecasts:
                known = self.line.find(one.open_time)
                if known is not None:
                    due = self.n_next + one.horizon_bars - self.line.after(one.open_time)
                    forecasts.append(one._replace(close=known.close, due=due))
            book.open_forecasts = tuple(forecasts)
            if self._rewritten == _SCALE:
                book.rescale(self.line, self.carried_ms)
        self._rewritten = _WHOLE

    def _feed(self, engine: FeatureEngine) -> None:
        """Feed an engine anew: the bars kept, but for the newest."""
        history = self.line.history(newest=False)
        engine.batch(history) if len(history) else engine.reset()

    def _all_engines(self) -> dict[str, FeatureEngine]:
        return {"volatility": self._volatility, **self._engines}

    def stood_still(self) -> list[Bar]:
        """Return the bars between the one that the ledgers were carried over last and the newest, if they stood still.

        In the series' scale, as far as they are kept.
        """
        return self.line.since(self.carried_ms)[:-1] if self.frozen and self.carried_ms >= 0 else []

    def forecast(self, book: Book) -> tuple[float, float]:
        """Return score and p_up of a book's model at the newest bar; NaN where it must abstain."""
        assert book.bundle is not None
        score = book.bundle.score(np.atleast_2d(self._rows[_name(book.bundle.spec)]))
        return float(score[0]), float(book.bundle.calibrator.apply(score)[0])

    @property
    def reach_bars(self) -> int:
        """How many bars the features look back on that somebody forecasts or sizes by."""
        used = set()
        for book in self.books.values():
            if book.bundle is not None:
                used.add(_name(book.bundle.spec))
            elif book.version is not None:
                used.add(self._default)  # what the forecasters of the ensemble look at
        engines = [self._engines[name] for name in used or {self._default}]
        return max(engine.warmup for engine in (self._volatility, *engines))

    def warmup(self, book: Book) -> int:
        """Return the bars that a book's features need before they say anything."""
        assert book.bundle is not None
        return self._engines[_name(book.bundle.spec)].warmup

    # --- funding ------------------------------------------------------------------------------------------------------

    def fund(self, settlement_ms: int, rate: float) -> None:
        """Take in a funding rate; one whose bar is gone by is owed at the next bar."""
        first = self.line.first
        if first is not None:
            self._rates.forget(min(first.open_time, self.carried_ms))
        change = self._rates.take(settlement_ms, rate)
        if change is None:
            return
        self._owed = _owing(self._owed, change, self.carried_ms, self.step_ms)
        if self._before is not None:
            # If the newest bar is decided again, it pays what is known by then.
            before = self._before
            self._before = before._replace(owed=_owing(before.owed, change, before.carried_ms, self.step_ms))

    def funding(self, bar: Bar, before_ms: int) -> float:
        """Return the rate that a bar pays, whose predecessor opened at `before_ms` (-1: it is the first)."""
        return self._rates.due(
            bar.open_time if before_ms < 0 else before_ms + self.step_ms, bar.open_time + self.step_ms
        )

    def late_funding(self) -> list[tuple[Bar, float]]:
        """Return the rates that came too late, each with the bar that had to pay it, in the series' scale."""
        if not self._owed:
            return []
        first = self.line.first
        owed = [
            (self.line.next_from(settled_ms - self.step_ms), rate)
            for settled_ms, rate in self._owed
            if first is not None and settled_ms > first.open_time
        ]
        return [(bar, rate) for bar, rate in owed if bar is not None]

    def carried(self, bar: Bar) -> None:
        """Note that the ledgers were carried over a bar and have paid what was due."""
        self.carried_ms, self.frozen, self._owed = bar.open_time, False, ()

    # --- models -------------------------------------------------------------------------------------------------------

    def appoint(self, role: str, model_id: str | None, digest: str | None, *, failure: str = "") -> None:
        """Give a role to a model; one that cannot act leaves the policy holding, with the reason.

        Parameters
        ----------
        failure
            Why the model could not be loaded when this was first done, as recorded: then it is not tried again.
        """
        book = self.books[role]
        if role == "challenger" and model_id != book.model_id:
            # A challenger is judged on its own: it starts from the initial cash.
            self.books[role] = book = Book(new_ledger(self._risk))
            if self._before is not None:
                self._before.moments[role] = book.moment()
        book.model_id, book.digest, book.failure, book.told = model_id, digest, failure, True
        self._load(book)
        wanted = {_name(each.bundle.spec) for each in self.books.values() if each.bundle is not None}
        for name in set(self._engines) - wanted - {self._default}:
            del self._engines[name], self._specs[name]

    def fail(self, role: str, failure: str) -> None:
        """Let a model that could not be loaded any more act no longer, as it was recorded."""
        book = self.books[role]
        book.failure, book.told = failure, True
        self._load(book)

    def _load(self, book: Book) -> None:
        book.bundle, book.version, book.policy, book.problem = None, None, None, ""
        if book.model_id is None:
            return
        acting = None
        if not book.failure:
            try:
                acting = self._load_model(book.model_id, book.digest)
            except (KalibreError, OSError) as error:
                # Another look may find it: what is found now is said, and holds until somebody promotes it again.
                book.failure, book.told = f"{error}; once it is there, promote it again", False
        if acting is None:
            book.problem = f"model {book.model_id} cannot act: {book.failure}"
            return
        try:
            if isinstance(acting, EnsembleVersion):
                self._follow(book, acting)
            else:
                self._equip(book, acting)
        except KalibreError as error:
            book.problem = f"model {book.model_id} cannot act: {error}"

    def _equip(self, book: Book, bundle: ModelBundle) -> None:
        if bundle.spec.timeframe != self.timeframe:
            raise KalibreError(f"it is for {bundle.spec.timeframe} bars, these are {self.timeframe}: promote another")
        if bundle.horizon_bars >= self._history_bars:
            raise KalibreError(
                f"its horizon of {bundle.horizon_bars} bars is longer than the {self._history_bars} bars that are "
                "kept: train one with a shorter horizon"
            )
        check_label(bundle.label, bundle.horizon_bars)
        book.policy = Policy(bundle.entry_threshold, bundle.exit_threshold)
        name = _name(bundle.spec)
        engine = self._engines.get(name) or FeatureEngine(bundle.spec)
        if engine.fingerprint != bundle.feature_fingerprint:
            raise KalibreError(
                f"it was trained on features {bundle.feature_fingerprint[:12]}, this version computes "
                f"{engine.fingerprint[:12]}: train and promote again"
            )
        if name not in self._engines:
            history = self.line.history()
            if len(history):
                engine.batch(history)
            self._specs[name], self._engines[name] = bundle.spec, engine
        book.bundle = bundle

    def _follow(self, book: Book, version: EnsembleVersion) -> None:
        if (version.symbol, version.timeframe) != (self.symbol, self.timeframe):
            raise KalibreError(
                f"it is the ensemble of {version.symbol} {version.timeframe}, these are bars of {self.symbol} "
                f"{self.timeframe}: promote the one of this series"
            )
        check_label(version.label, version.horizon_bars)
        book.policy = Policy(version.entry_threshold, version.exit_threshold)
        book.version = version

    # --- state --------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return everything later emissions depend on, by names without the series."""
        state: dict[str, Any] = {f"line.{name}": value for name, value in self.line.state().items()}
        state |= self._rates.state()
        state |= _Before.of(self).state("now.")
        if self._before is not None:
            state |= self._before.state("before.")
        state["specs"] = "{" + ",".join(f'"{name}":{_text(self._specs[name])}' for name in sorted(self._specs)) + "}"
        state["counts"] = _encode([self.n_next, self._rewritten])
        for role, book in self.books.items():
            holder = [book.model_id, book.digest, book.flatten_ms, book.failure, book.told]
            state[f"{role}.holder"] = _encode(holder)
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take on a state returned by `state`; models are loaded again."""
        self.line.restore(_part(state, "line."))
        self._rates.restore(state)
        self._specs = {name: FeatureSpec.from_dict(spec) for name, spec in json.loads(state["specs"]).items()}
        self._engines = {name: FeatureEngine(spec) for name, spec in self._specs.items()}
        self._rows = {}
        self.n_next, self._rewritten = json.loads(state["counts"])
        now = _Before.of_state(_part(state, "now."))
        self.carried_ms, self.frozen, self._owed = now.carried_ms, now.frozen, now.owed
        for name, engine in self._all_engines().items():
            engine.restore(now.engines[name])
        before = _part(state, "before.")
        self._before = _Before.of_state(before) if before else None
        for role, book in self.books.items():
            book.go_back(now.moments[role])
            book.model_id, book.digest, book.flatten_ms, book.failure, book.told = json.loads(state[f"{role}.holder"])
            self._load(book)


class _Before(NamedTuple):
    """What a bar changes, as it was before."""

    carried_ms: int
    frozen: bool
    owed: Owed
    moments: dict[str, Moment]
    engines: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, series: SeriesState) -> _Before:
        """Return what the next bar will change."""
        engines = {name: engine.state() for name, engine in series._all_engines().items()}
        moments = {role: book.moment() for role, book in series.books.items()}
        return cls(series.carried_ms, series.frozen, series._owed, moments, engines)

    def state(self, prefix: str) -> dict[str, Any]:
        """Return it by names."""
        state: dict[str, Any] = {f"{prefix}rest": _encode([self.carried_ms, self.frozen, self.owed])}
        for name, parts in self.engines.items():
            state |= {f"{prefix}engine.{name}.{part}": value for part, value in parts.items()}
        for role, moment in self.moments.items():
            state |= {f"{prefix}book.{role}.{part}": value for part, value in moment.state().items()}
        return state

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> _Before:
        """Read it back from `state`."""
        carried_ms, frozen, owed = json.loads(state["rest"])
        engines: dict[str, dict[str, Any]] = {}
        for name, value in _part(state, "engine.").items():
            engine, _, part = name.partition(".")
            engines.setdefault(engine, {})[part] = value
        moments = {role: Moment.of_state(_part(state, f"book.{role}.")) for role in _ROLES}
        return cls(carried_ms, frozen, tuple((time, rate) for time, rate in owed), moments, engines)


def _part(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _owing(owed: Owed, change: tuple[int, float], carried_ms: int, step_ms: int) -> Owed:
    """Add a rate to what is owed, if the bar that pays it was carried."""
    return (*owed, change) if carried_ms >= 0 and change[0] <= carried_ms + step_ms else owed


def _encode(value: Any) -> str:
    # The state is written at every batch: several times as fast as `json.dumps`.
    return msgspec.json.encode(value).decode()


@cache
def _text(spec: FeatureSpec) -> str:
    return json.dumps(spec.as_dict(), sort_keys=True)


@cache
def _name(spec: FeatureSpec) -> str:
    return sha256(_text(spec).encode()).hexdigest()[:16]
