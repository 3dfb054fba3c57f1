"""The feature engine: the chosen columns as one incremental step, run over a history or one bar at a time."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import NEWS, OPTIONAL, Bar, Bars
from kalibre.core.catalog import parts
from kalibre.core.errors import FeatureError
from kalibre.core.timeframe import is_multiple, timeframe_ms
from kalibre.features._compile import load
from kalibre.features._program import compose
from kalibre.features.base import LONGEST_HIGHER, NEWS_INPUTS, OPTIONAL_INPUTS, Column, Family

FloatArray = NDArray[np.float64]

_BAR = struct.Struct("=q10d")
_MONDAY_MS = 4 * 86_400_000
"""Weeks begin on Mondays; 1970-01-05 was one."""
_NAN = float("nan")


@cache
def families() -> dict[str, Family]:
    """Return every family by the name of its file."""
    return {name: module.FAMILY for name, module in parts("kalibre.features").items()}


def find_column(name: str) -> tuple[Column, dict[str, int]]:
    """Find the declaration of a column and its parameters, by its name without timeframe.

    Raises
    ------
    FeatureError
        If no family declares such a name, or a parameter is too small.

    Examples
    --------
    >>> column, chosen = find_column("realised_volatility_20")
    >>> column.pattern, chosen
    ('realised_volatility_{window}', {'window': 20})
    """
    for family in families().values():
        for column in family.columns:
            chosen = column.match(name)
            if chosen is not None:
                if any(value < column.least for value in chosen.values()):
                    raise FeatureError(f"column {name!r}: {column.pattern} needs parameters of at least {column.least}")
                return column, chosen
    known = ", ".join(column.pattern for family in families().values() for column in family.columns)
    raise FeatureError(f"column {name!r} is unknown: choose from {known}; add @1h for a higher timeframe")


@cache
def default_columns(*, higher: bool = False, optional: bool = False, news: bool = False) -> tuple[str, ...]:
    """List the columns that a model sees unless told otherwise: those that say the same at any price level.

    Parameters
    ----------
    higher
        Those computed on each higher timeframe instead: the windowed ones.
    optional
        Also those that need what not every market has (taker volume); without it they are NaN.
    news
        Also those of headlines; without any they are 0.
    """
    names: list[str] = []
    for family in families().values():
        for column in family.columns:
            if column.level or (higher and not column.higher):
                continue
            for values in column.defaults:
                if higher and max(values, default=0) > LONGEST_HIGHER:
                    continue
                name = column.name(values)
                needs = _inputs(name)
                if (optional or not needs & OPTIONAL_INPUTS) and (news or not needs & NEWS_INPUTS):
                    names.append(name)
    return tuple(names)


@cache
def all_columns() -> tuple[str, ...]:
    """List every declared column with its default parameters: price levels and optional inputs included.

    Examples
    --------
    >>> {"sma_20", "rsi_14", "taker_imbalance_20"} <= set(all_columns())
    True
    """
    return tuple(
        column.name(values) for family in families().values() for column in family.columns for values in column.defaults
    )


def describe(name: str) -> dict[str, Any]:
    """Return what there is to know about a column (without timeframe), as plain JSON types.

    Examples
    --------
    >>> described = describe("rsi_14")
    >>> described["family"], described["bounds"], described["talib"], described["inputs"]
    ('momentum', [0.0, 100.0], 'RSI', ['close'])
    """
    column, chosen = find_column(name)
    program = compose({name: (column, chosen)}, {name: 0})
    return {
        "name": name,
        "family": next(key for key, family in families().items() if column in family.columns),
        "doc": column.doc,
        "parameters": chosen,
        "warmup_bars": program.memory[name],
        "inputs": sorted(program.inputs[name]),
        "bounds": None if column.bounds is None else list(column.bounds),
        "price_level": column.level,
        "talib": column.talib,
    }


@cache
def _inputs(name: str) -> frozenset[str]:
    return compose({name: find_column(name)}, {name: 0}).inputs[name]


@dataclass(frozen=True)
class FeatureSpec:
    """What a model sees; JSON-able by `as_dict` and `from_dict`.

    Attributes
    ----------
    timeframe
        Base timeframe: one row a bar.
    higher_timeframes
        Whole multiples of it, whose default columns join as `name@1h`, from closed higher bars only.
    scale_window
        Rows of the trailing 0-1 scaling, 0 for none. Columns with declared bounds are scaled by those.
    columns
        Names, in order, `name` or `name@1h`; None for the default set: every column that is no price level and
        needs no optional input, and the windowed ones on each higher timeframe.

    Raises
    ------
    FeatureError
        If a timeframe, window or name cannot be used; the message quotes it.

    Examples
    --------
    >>> FeatureSpec("15m", columns=("realised_volatility_20", "parkinson_20@1h")).names
    ('realised_volatility_20', 'parkinson_20@1h')
    """

    timeframe: str
    higher_timeframes: tuple[str, ...] = ()
    scale_window: int = 0
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be computed."""
        object.__setattr__(self, "higher_timeframes", tuple(self.higher_timeframes))
        if self.columns is not None:
            object.__setattr__(self, "columns", tuple(self.columns))
        base_ms = timeframe_ms(self.timeframe)
        for higher in (*self.higher_timeframes, *(at for _, at in map(_split, self.columns or ()) if at)):
            if timeframe_ms(higher) <= base_ms or not is_multiple(higher, self.timeframe):
                raise FeatureError(
                    f"timeframe {higher!r} is no whole multiple above {self.timeframe}: choose one that is, or drop it"
                )
        if self.scale_window < 0 or self.scale_window == 1:
            raise FeatureError(f"scale_window {self.scale_window} must be 0 (no scaling) or at least 2 rows")
        names = self.names
        if not names:
            raise FeatureError("a feature spec needs at least one column; pass None for the default set")
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise FeatureError(f"columns {twice} are named twice: name each once")
        for name in names:
            find_column(_split(name)[0])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every column of a row, in order."""
        if self.columns is not None:
            return self.columns
        upper = default_columns(higher=True)
        return (*default_columns(), *(f"{name}@{at}" for at in self.higher_timeframes for name in upper))

    def widened(self, *, taker: bool = True, news: bool = False) -> FeatureSpec:
        """Return the default set together with the columns that need taker volume, and those of news if asked for.

        A spec that names its own columns is returned as it is.
        """
        if self.columns is not None or not (taker or news):
            return self
        upper = default_columns(higher=True, optional=taker)
        names = default_columns(optional=taker, news=news)
        return replace(self, columns=(*names, *(f"{name}@{at}" for at in self.higher_timeframes for name in upper)))

    def as_dict(self) -> dict[str, Any]:
        """Return the spec as plain JSON types."""
        return {
            "timeframe": self.timeframe,
            "higher_timeframes": list(self.higher_timeframes),
            "scale_window": self.scale_window,
            "columns": None if self.columns is None else list(self.columns),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> FeatureSpec:
        """Read a spec back from `as_dict`."""
        return cls(**content)


def _split(name: str) -> tuple[str, str]:
    base, _, at = name.partition("@")
    return base, at


class FeatureEngine:
    """Computes the columns of a spec, with state, one closed bar after the other.

    `batch` is `step` in a loop: the same compiled function runs over n bars or over one. Row t is known at the close of
    bar t. A column is NaN in its first `warmup_bars` rows; after them it does not depend on when the history began.
    A column on a higher timeframe changes when a higher bar has closed: with its last base bar or, where that is
    missing, with the next bar that comes. A column whose input the bars lack is NaN throughout. An engine belongs to
    one thread at a time: its state is one, and the compiled step lets other threads run meanwhile.

    Parameters
    ----------
    spec
        What to compute.

    Examples
    --------
    >>> engine = FeatureEngine(FeatureSpec("1h", columns=("range_relative",)))
    >>> for hour in range(2):
    ...     engine.step(Bar(open_time=hour * 3_600_000, open=10.0, high=11.0, low=9.0, close=10.0, volume=1.0))
    array([nan])
    array([0.2])
    """

    def __init__(self, spec: FeatureSpec) -> None:
        self.spec = spec
        self.columns: tuple[str, ...] = spec.names
        split = [_split(name) for name in self.columns]
        self._higher = tuple(dict.fromkeys(at for _, at in split if at))
        row = {name: place for place, (name, at) in enumerate(split) if not at}
        self._program = compose({name: find_column(name) for name, _ in split}, row)
        self._run = load(self._program)
        base_ms = timeframe_ms(spec.timeframe)
        memory = self._program.memory
        warmup = [memory[name] for name, _ in split]
        for place, (name, at) in enumerate(split):
            if at:
                # The first higher bar may be cut by the start, and its newest one is up to a whole bar old.
                warmup[place] = (memory[name] + 2) * (timeframe_ms(at) // base_ms) - 2
        bounds = [find_column(name)[0].bounds for name, _ in split]
        self._raw_warmup = np.array(warmup, dtype=np.int64)
        self._bounds = np.array([pair or (_NAN, _NAN) for pair in bounds], dtype=np.float64)
        extra = [0 if pair or not spec.scale_window else spec.scale_window - 1 for pair in bounds]
        self.warmup_bars: NDArray[np.int64] = self._raw_warmup + np.array(extra, dtype=np.int64)
        self.warmup: int = int(self.warmup_bars.max())
        self._tables(split, base_ms)
        self._row_bytes = bytearray(_BAR.size)
        self._row_out = np.empty(len(self.columns))
        self.reset()

    def _tables(self, split: list[tuple[str, str]], base_ms: int) -> None:
        program = self._program
        table: list[int] = []
        for place, (name, at) in enumerate(split):
            group = self._higher.index(at) + 1 if at else 0
            if group or not program.direct:
                table += [place, group * program.floats + program.latest + program.places[name]]
        groups = 1 + len(self._higher)
        self._floats = groups * program.floats
        self._scale_at = self._floats
        if self.spec.scale_window:
            self._floats += 2 * len(split) * (self.spec.scale_window + 2)
        self._ints = groups * program.ints
        parameters = [base_ms, groups, len(split), len(table) // 2, int(self._raw_warmup.max())]
        parameters += [self.spec.scale_window, self._scale_at, 1, 1, 1, 1]
        for at in self._higher:
            parameters += [timeframe_ms(at), _MONDAY_MS if at.endswith("w") else 0]
        self._parameters = np.array(parameters, dtype=np.int64)
        self._table = np.array(table or [0], dtype=np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the code of every kernel and formula and of the spec: the same digest computes the same."""
        import json

        content = json.dumps([self._program.digest, self.spec.as_dict(), list(self.columns)])
        return sha256(content.encode()).hexdigest()

    def reset(self) -> None:
        """Forget every bar."""
        self._take(np.zeros(self._floats), np.zeros(self._ints, dtype=np.int64))

    def _take(self, floats: FloatArray, ints: NDArray[np.int64]) -> None:
        self._f, self._i = floats, ints
        row = np.frombuffer(self._row_bytes, dtype=np.uint8).ctypes.data
        self._arguments = (
            *(row + 8 * k for k in range(11)),
            *(x.ctypes.data for x in (self._parameters, self._table, self._raw_warmup, self._bounds, floats, ints)),
            self._row_out.ctypes.data,
        )

    def step(self, bar: Bar) -> FloatArray:
        """Take in the next closed bar and return its row, shape (n_columns,).

        Raises
        ------
        FeatureError
            If it is no bar or does not come after the one before; nothing has changed then.
        """
        quote, trades, taker = bar.quote_volume, bar.trades, bar.taker_buy_volume
        _BAR.pack_into(
            self._row_bytes,
            0,
            bar.open_time,
            bar.open,
            bar.high,
            bar.low,
            bar.close,
            bar.volume,
            _NAN if quote is None else quote,
            _NAN if trades is None else trades,
            _NAN if taker is None else taker,
            bar.news_impact or 0.0,
            bar.news_conf or 0.0,
        )
        if self._run(1, *self._arguments) != 1:
            raise _refusal(bar, self._i)
        return self._row_out.copy()

    def batch(self, bars: Bars) -> FloatArray:
        """Forget every bar, take in a history and return its rows, shape (n_bars, n_columns).

        Raises
        ------
        FeatureError
            If the timeframe is another one or a bar is unsound; the engine has not changed then.
        """
        if bars.timeframe != self.spec.timeframe:
            raise FeatureError(
                f"bars are of {bars.timeframe!r}, the engine computes {self.spec.timeframe!r}: resample them"
            )
        floats, ints = np.zeros(self._floats), np.zeros(self._ints, dtype=np.int64)
        out = np.empty((len(bars), len(self.columns)))
        inputs: list[NDArray[Any]] = [bars.open_time, bars.open, bars.high, bars.low, bars.close, bars.volume]
        parameters = self._parameters.copy()
        for k, name in enumerate(OPTIONAL):
            column = getattr(bars, name)
            inputs.append(np.array([_NAN]) if column is None else column)
            parameters[7 + k] = column is not None
        news = [getattr(bars, name) for name in NEWS]
        parameters[10] = all(column is not None for column in news)
        inputs += [np.zeros(1) if not parameters[10] else column for column in news]
        arrays = (*inputs, parameters, self._table, self._raw_warmup, self._bounds, floats, ints, out)
        done = self._run(len(bars), *(array.ctypes.data for array in arrays))
        if done != len(bars):
            raise _refusal(bars[int(done)], ints, f" at row {done}")
        self._take(floats, ints)
        return out

    def state(self) -> dict[str, NDArray[Any]]:
        """Return everything later rows depend on: a copy, to be given to `restore`."""
        digest = np.frombuffer(bytes.fromhex(self.fingerprint), dtype=np.uint8)
        return {"floats": self._f.copy(), "ints": self._i.copy(), "fingerprint": digest.copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take on a state returned by `state` of an engine of the same spec and code.

        Raises
        ------
        FeatureError
            If it comes from another spec or other code: compute it anew from the bars.
        """
        digest = np.frombuffer(bytes.fromhex(self.fingerprint), dtype=np.uint8)
        if not np.array_equal(np.asarray(state.get("fingerprint")), digest):
            raise FeatureError(
                "the state is of another spec or of other feature code: run the engine over the bars again"
            )
        floats, ints = np.array(state["floats"], dtype=np.float64), np.array(state["ints"], dtype=np.int64)
        if floats.shape != self._f.shape or ints.shape != self._i.shape:
            raise FeatureError(
                f"the state has {floats.shape} and {ints.shape} numbers, not {self._f.shape} and {self._i.shape}: "
                "it is damaged, run the engine over the bars again"
            )
        self._take(floats, ints)


def _refusal(bar: Bar, ints: NDArray[np.int64], where: str = "") -> FeatureError:
    after = f"open_time {int(ints[0])}" if ints[1] else "the start"
    return FeatureError(
        f"{bar}{where} is no sound bar after {after}: it needs low > 0, low <= open, close <= high, volume >= 0, "
        "nothing infinite and a later open_time; ingest it through the checks, which quarantine it"
    )
