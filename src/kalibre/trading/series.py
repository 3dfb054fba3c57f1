"""One series as the paper engine sees it: features, volatility, and the two ledgers, with a way back by one bar.

A correction of the newest bar that comes before the next bar is decided again: everything goes back to before that bar
and takes it in as it should have been; what is emitted then carries the bar's revision. A bar older than the newest,
new or corrected, changes nothing until the projection is rebuilt: what was decided and filled stays as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import numpy as np

from kalibre.core.bars import Bar, Bars
from kalibre.core.errors import KalibreError
from kalibre.core.protocols import FloatArray
from kalibre.core.settings import RiskSettings
from kalibre.core.timeframe import timeframe_ms
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.models.bundle import ModelBundle
from kalibre.trading.engine import new_ledger
from kalibre.trading.policy import Policy

VOLATILITY = "realised_volatility_20"
_FIELDS = Bar.__struct_fields__
LoadModel = Callable[[str, str | None], ModelBundle]


class OpenForecast(NamedTuple):
    """A forecast that waits for its outcome."""

    open_time: int
    close: float
    p_up: float
    model: str
    horizon_bars: int
    due: int
    """Number of bars after which it matures, counted from the first."""


def sizing_volatility(bars: Bars) -> FloatArray:
    """Return the deviation of log returns per bar that positions are sized by, shape (n_bars,).

    Row ``t`` is known at the close of bar ``t``. Whatever scaling a model's features have, this column has none.
    """
    column: FloatArray = FeatureEngine(FeatureSpec(bars.timeframe, columns=(VOLATILITY,))).batch(bars)[:, 0]
    return column


@dataclass
class Book:
    """One role of a series: who holds it, its ledger, and its forecasts that have not matured."""

    ledger: FloatArray
    model_id: str | None = None
    digest: str | None = None
    bundle: ModelBundle | None = None
    policy: Policy | None = None
    problem: str = ""
    """Why the model cannot act; empty if it can."""
    flatten_ms: int | None = None
    """Time of the kill command that asked to sell and has not been served yet."""
    open_forecasts: list[OpenForecast] = field(default_factory=list)
    """Forecasts whose horizon has not passed, oldest first."""


class SeriesState:
    """Features and ledgers of one series.

    Parameters
    ----------
    spec
        Features computed from the first bar on; a model of another spec gets an engine fed with the bars kept.
    history_bars
        Bars kept for that.
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
        self.n_bars = 0
        self.books: dict[str, Book] = {role: Book(new_ledger(risk)) for role in ("champion", "challenger")}
        self._risk = risk
        self._load_model = load_model
        self._default = _name(spec)
        self._specs: dict[str, FeatureSpec] = {self._default: spec}
        self._engines: dict[str, FeatureEngine] = {self._default: FeatureEngine(spec)}
        self._volatility = FeatureEngine(FeatureSpec(timeframe, columns=(VOLATILITY,)))
        self._kept = np.full((history_bars, len(_FIELDS)), np.nan)
        self._rows: dict[str, FloatArray] = {}
        self._before: dict[str, Any] | None = None

    @property
    def last(self) -> Bar | None:
        """The newest bar taken in."""
        return self._bar((self.n_bars - 1) % len(self._kept)) if self.n_bars else None

    def fingerprints(self) -> list[str]:
        """Return the digests of the feature code that is in use from the start."""
        return [self._volatility.fingerprint, self._engines[self._default].fingerprint]

    # --- bars ---------------------------------------------------------------------------------------------------------

    def take(self, bar: Bar) -> float:
        """Take in the next bar, or the newest corrected; return the volatility at its close (NaN: unknown)."""
        last = self.last
        if last is not None and bar.open_time == last.open_time:
            self._go_back()
        self._before = self._short_state()
        self._kept[self.n_bars % len(self._kept)] = [
            np.nan if value is None else value for value in (getattr(bar, name) for name in _FIELDS)
        ]
        self.n_bars += 1
        self._rows = {name: engine.step(bar) for name, engine in self._engines.items()}
        return float(self._volatility.step(bar)[0])

    def forecast(self, book: Book) -> tuple[float, float]:
        """Return score and p_up of a book's model at the newest bar; NaN where it must abstain."""
        assert book.bundle is not None
        score = book.bundle.score(np.atleast_2d(self._rows[_name(book.bundle.spec)]))
        return float(score[0]), float(book.bundle.calibrator.apply(score)[0])

    def warmup(self, book: Book) -> int:
        """Return the bars that a book's features need before they say anything."""
        assert book.bundle is not None
        return self._engines[_name(book.bundle.spec)].warmup

    def _go_back(self) -> None:
        """Go back to before the newest bar."""
        assert self._before is not None
        self.n_bars -= 1
        for name, spec in self._specs.items():
            if f"engine.{name}.fingerprint" not in self._before:
                # Its model came after the bar.
                fed = self._fed(spec).state()
                self._before |= {f"engine.{name}.{part}": value for part, value in fed.items()}
        self._restore_short(self._before)

    def _bar(self, row: int) -> Bar:
        values = dict(
            zip(_FIELDS, (None if np.isnan(value) else float(value) for value in self._kept[row]), strict=True)
        )
        return msgspec.convert({**values, "open_time": int(self._kept[row, 0])}, Bar)

    def _kept_bars(self) -> Iterator[Bar]:
        for number in range(max(0, self.n_bars - len(self._kept)), self.n_bars):
            yield self._bar(number % len(self._kept))

    def _fed(self, spec: FeatureSpec) -> FeatureEngine:
        engine = FeatureEngine(spec)
        for bar in self._kept_bars():
            engine.step(bar)
        return engine

    # --- models -------------------------------------------------------------------------------------------------------

    def appoint(self, role: str, model_id: str | None, digest: str | None) -> None:
        """Give a role to a model; one that cannot act leaves the policy holding, with the reason."""
        book = self.books[role]
        if role == "challenger" and model_id != book.model_id:
            # A challenger is judged on its own: it starts from the initial cash.
            self.books[role] = book = Book(new_ledger(self._risk))
            if self._before is not None:
                self._before |= {f"{role}.ledger": book.ledger.copy(), f"{role}.open": "[]"}
        book.model_id, book.digest = model_id, digest
        self._load(book)
        wanted = {_name(each.bundle.spec) for each in self.books.values() if each.bundle is not None}
        for name in set(self._engines) - wanted - {self._default}:
            del self._engines[name], self._specs[name]

    def _load(self, book: Book) -> None:
        book.bundle, book.policy, book.problem = None, None, ""
        if book.model_id is not None:
            try:
                self._equip(book, self._load_model(book.model_id, book.digest))
            except (KalibreError, OSError) as error:
                book.problem = f"model {book.model_id} cannot act: {error}"

    def _equip(self, book: Book, bundle: ModelBundle) -> None:
        if bundle.spec.timeframe != self.timeframe:
            raise KalibreError(f"it is for {bundle.spec.timeframe} bars, these are {self.timeframe}: promote another")
        book.policy = Policy(bundle.entry_threshold, bundle.exit_threshold)
        name = _name(bundle.spec)
        engine = self._engines.get(name) or FeatureEngine(bundle.spec)
        if engine.fingerprint != bundle.feature_fingerprint:
            raise KalibreError(
                f"it was trained on features {bundle.feature_fingerprint[:12]}, this version computes "
                f"{engine.fingerprint[:12]}: train and promote again"
            )
        if name not in self._engines:
            self._specs[name], self._engines[name] = bundle.spec, self._fed(bundle.spec)
        book.bundle = bundle

    # --- state --------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return everything later emissions depend on, by names without the series."""
        state: dict[str, Any] = {**self._short_state(), "kept": self._kept}
        state["specs"] = json.dumps({name: spec.as_dict() for name, spec in self._specs.items()}, sort_keys=True)
        for role, book in self.books.items():
            state[f"{role}.holder"] = json.dumps([book.model_id, book.digest, book.flatten_ms])
        state |= {f"before.{name}": value for name, value in (self._before or {}).items()}
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take on a state returned by `state`; models are loaded again."""
        self._specs = {name: FeatureSpec.from_dict(spec) for name, spec in json.loads(state["specs"]).items()}
        self._engines = {name: FeatureEngine(spec) for name, spec in self._specs.items()}
        self._kept = np.array(state["kept"])
        self._rows = {}
        before = {name.removeprefix("before."): state[name] for name in state if name.startswith("before.")}
        self._before = before or None
        self._restore_short(state)
        for role, book in self.books.items():
            book.model_id, book.digest, book.flatten_ms = json.loads(state[f"{role}.holder"])
            self._load(book)

    def _short_state(self) -> dict[str, Any]:
        """Return what a bar changes, as copies."""
        state: dict[str, Any] = {"n_bars": self.n_bars}
        for name, engine in {"volatility": self._volatility, **self._engines}.items():
            state |= {f"engine.{name}.{part}": value for part, value in engine.state().items()}
        for role, book in self.books.items():
            state[f"{role}.ledger"] = book.ledger.copy()
            state[f"{role}.open"] = json.dumps(book.open_forecasts)
        return state

    def _restore_short(self, state: Mapping[str, Any]) -> None:
        self.n_bars = int(state["n_bars"])
        for name, engine in {"volatility": self._volatility, **self._engines}.items():
            prefix = f"engine.{name}."
            engine.restore({part.removeprefix(prefix): state[part] for part in state if part.startswith(prefix)})
        for role, book in self.books.items():
            book.ledger = np.array(state[f"{role}.ledger"])
            book.open_forecasts = [OpenForecast(*row) for row in json.loads(state[f"{role}.open"])]


@cache
def _name(spec: FeatureSpec) -> str:
    return sha256(json.dumps(spec.as_dict(), sort_keys=True).encode()).hexdigest()[:16]
