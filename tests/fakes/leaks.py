"""Planted leaks: columns that see the future or cling to their start, each with the way in which it must be caught.

`HONEST` holds twins that do it rightly, so that the net is known to tell them apart. `STAGE_LEAKS` plants a leak in one
stage of a real pipeline, whose other stages are the honest twins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import Bars
from kalibre.evaluation.pipeline import Pipeline as Whole

FloatArray = NDArray[np.float64]
Pipeline = Callable[[Bars], dict[str, FloatArray]]

WINDOW = 5
HORIZON = 4
HIGHER_MS = 3_600_000


def _rolling(x: FloatArray, window: int, reduce: Callable[..., FloatArray]) -> FloatArray:
    out = np.full(len(x), np.nan)
    if len(x) >= window:
        out[window - 1 :] = reduce(np.lib.stride_tricks.sliding_window_view(x, window), axis=1)
    return out


def _scaled(x: FloatArray, low: FloatArray | float, high: FloatArray | float) -> FloatArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num((x - low) / (np.asarray(high) - low), nan=0.5)


def _average(x: FloatArray, alpha: float) -> FloatArray:
    out = x.copy()
    for t in range(1, len(x)):
        out[t] = out[t - 1] + alpha * (x[t] - out[t - 1])
    return out


def _label(bars: Bars) -> FloatArray:
    y = np.full(len(bars), np.nan)
    if len(bars) > HORIZON:
        y[:-HORIZON] = bars.close[HORIZON:] > bars.close[:-HORIZON]
    return y


def _at_row_known(bars: Bars, delay: int) -> FloatArray:
    known = np.full(len(bars), np.nan)
    known[delay:] = _label(bars)[: max(len(bars) - delay, 0)]
    return known


def _higher_close(bars: Bars, *, closed_only: bool) -> FloatArray:
    bucket = bars.open_time // HIGHER_MS
    last = np.flatnonzero(np.append(np.diff(bucket) != 0, True))
    whole = bars.close_time[last] % HIGHER_MS == 0
    out = np.full(len(bars), np.nan)
    for t in range(len(bars)):
        if closed_only:
            done = last[(last <= t) & whole]
            out[t] = bars.close[done[-1]] if len(done) else np.nan
        else:
            out[t] = bars.close[last[np.searchsorted(last, t)]]
    return out


def centred_window(bars: Bars) -> dict[str, FloatArray]:
    """Smooth with a window that reaches two bars into the future."""
    out = np.roll(_rolling(bars.close, WINDOW, np.mean), -(WINDOW // 2))
    out[-(WINDOW // 2) :] = np.nan
    return {"centred_window": out}


def whole_series_min_max(bars: Bars) -> dict[str, FloatArray]:
    """Scale to 0-1 by the least and greatest value of the whole series."""
    return {"whole_series_min_max": _scaled(bars.close, bars.close.min(), bars.close.max())}


def unclosed_higher_bar(bars: Bars) -> dict[str, FloatArray]:
    """Read the close of the hour that is still running."""
    return {"unclosed_higher_bar": _higher_close(bars, closed_only=False)}


def shifted_label(bars: Bars) -> dict[str, FloatArray]:
    """Know a label one bar before its horizon has passed."""
    return {"shifted_label": _at_row_known(bars, HORIZON - 1)}


def short_warmup(bars: Bars) -> dict[str, FloatArray]:
    """Average exponentially over 20 bars, and declare a warm-up of 20."""
    return {"short_warmup": _average(bars.close, 2 / 21)}


def filled_from_future(bars: Bars) -> dict[str, FloatArray]:
    """Fill what is unknown with the next known value."""
    out = np.where(bars.open_time % (4 * bars.step_ms) == 0, bars.close, np.nan)
    for t in range(len(out) - 2, -1, -1):
        if np.isnan(out[t]):
            out[t] = out[t + 1]
    return {"filled_from_future": out}


def whole_sample_calibration(bars: Bars) -> dict[str, FloatArray]:
    """Turn a score into a probability by the frequencies of the whole sample."""
    score = np.nan_to_num(_rolling(np.diff(bars.close, prepend=bars.close[:1]), WINDOW, np.sum))
    y = _label(bars)
    cut = np.median(score)
    up = [
        float(np.mean(y[side & ~np.isnan(y)])) if (side & ~np.isnan(y)).any() else 0.5
        for side in (score <= cut, score > cut)
    ]
    return {"whole_sample_calibration": np.where(score <= cut, up[0], up[1])}


def total_since_start(bars: Bars) -> dict[str, FloatArray]:
    """Add up volume since the first bar: another start, another column for ever."""
    return {"total_since_start": np.cumsum(bars.volume)}


def place_in_series(bars: Bars) -> dict[str, FloatArray]:
    """Say how much of the series has passed, which depends on how long it will be."""
    return {"place_in_series": np.arange(len(bars)) / max(len(bars), 1)}


LEAKS: dict[str, tuple[Pipeline, int, frozenset[str]]] = {
    "centred_window": (centred_window, WINDOW - 1, frozenset({"rewritten", "mismatched"})),
    "whole_series_min_max": (whole_series_min_max, 0, frozenset({"rewritten", "mismatched", "start_dependent"})),
    "unclosed_higher_bar": (unclosed_higher_bar, 8, frozenset({"rewritten", "mismatched"})),
    "shifted_label": (shifted_label, 8, frozenset({"rewritten", "mismatched"})),
    "short_warmup": (short_warmup, 20, frozenset({"start_dependent"})),
    "filled_from_future": (filled_from_future, 0, frozenset({"rewritten", "mismatched"})),
    "whole_sample_calibration": (
        whole_sample_calibration,
        0,
        frozenset({"rewritten", "mismatched", "start_dependent"}),
    ),
    "total_since_start": (total_since_start, 50, frozenset({"start_dependent"})),
    "place_in_series": (place_in_series, 0, frozenset({"rewritten", "mismatched", "start_dependent"})),
}
"""By name: the leak, the warm-up that it declares, and every way in which it must be caught."""

HONEST: dict[str, tuple[Pipeline, int]] = {
    "trailing_window": (lambda b: {"trailing_window": _rolling(b.close, WINDOW, np.mean)}, WINDOW - 1),
    "trailing_min_max": (
        lambda b: {"trailing_min_max": _scaled(b.close, _rolling(b.close, 30, np.min), _rolling(b.close, 30, np.max))},
        29,
    ),
    "closed_higher_bar": (lambda b: {"closed_higher_bar": _higher_close(b, closed_only=True)}, 12),
    "label_when_known": (lambda b: {"label_when_known": _at_row_known(b, HORIZON)}, HORIZON),
    "long_warmup": (lambda b: {"long_warmup": _average(b.close, 2 / 21)}, 320),
}
"""The twins that do it rightly, with the warm-up they declare."""


# --- leaks in one stage of a whole pipeline ---------------------------------------------------------------------------


@dataclass(frozen=True)
class EarlyLabel:
    """A label that says it is known one bar before it is."""

    honest: Any
    name: ClassVar[str] = "early"

    @property
    def horizon_bars(self) -> int:
        return int(self.honest.horizon_bars)

    @property
    def lookback_bars(self) -> int:
        return int(getattr(self.honest, "lookback_bars", 0))

    def compute(self, bars: Bars) -> tuple[FloatArray, NDArray[np.int64]]:
        y, known_row = self.honest.compute(bars)
        return y, np.where(known_row >= 0, known_row - 1, -1)


@dataclass(frozen=True)
class FurtherLabel(EarlyLabel):
    """A label that is known when it says so, but is about one more bar, which it reads if it is there."""

    name: ClassVar[str] = "further"

    def compute(self, bars: Bars) -> tuple[FloatArray, NDArray[np.int64]]:
        y, known_row = self.honest.compute(bars)
        known = np.flatnonzero(known_row >= 0)
        further = np.minimum(known_row[known] + 1, len(bars) - 1)
        y[known] = bars.close[further] > bars.close[known]
        return y, known_row


def _centred(x: FloatArray) -> FloatArray:
    out = np.roll(_rolling(x, WINDOW, np.mean), -(WINDOW // 2))
    out[-(WINDOW // 2) :] = np.nan
    return out


def _known(x: FloatArray) -> FloatArray:
    return x[np.isfinite(x)]


def _by_rank(score: FloatArray) -> FloatArray:
    order = np.sort(_known(score))
    p_up = (np.searchsorted(order, score) + 0.5) / (len(order) + 1)
    return np.where(np.isfinite(score), np.clip(p_up, 0.01, 0.99), np.nan)


def _best_tenth(p_up: FloatArray) -> FloatArray:
    if not len(_known(p_up)):
        return np.full(len(p_up), np.nan)
    high, low = np.quantile(_known(p_up), (0.9, 0.1))
    return np.where(np.isfinite(p_up), (p_up >= high).astype(float) - (p_up <= low), np.nan)


def _future_normalised(whole: Whole) -> Whole:
    honest = whole.score
    assert honest is not None

    def score(values: FloatArray) -> FloatArray:
        found = honest(values)
        return found / (1.0 + np.max(_known(found), initial=0.0))

    return replace(whole, score=score)


def _rounded_live(whole: Whole) -> Whole:
    honest = whole.score
    assert honest is not None
    return replace(whole, score=lambda v: honest(v) if len(v) > 1 else honest(v).astype(np.float32).astype(float))


def _volatility_ahead(whole: Whole) -> Whole:
    honest = whole.volatility
    assert honest is not None
    return replace(whole, volatility=lambda bars: np.append(honest(bars)[1:], np.nan))


def _volatility_since_start(bars: Bars) -> FloatArray:
    move = np.diff(np.log(bars.close), prepend=np.log(bars.close[:1]))
    return np.sqrt(np.cumsum(move**2) / np.arange(1, len(move) + 1))


_LABELS = frozenset({"labels_known", "labels_up", "labels_fingerprint"})

STAGE_LEAKS: dict[str, tuple[Callable[[Whole], Whole], str, frozenset[str]]] = {
    "label_known_early": (lambda w: replace(w, label=EarlyLabel(w.label)), "labels_known", _LABELS),
    "label_reads_further": (lambda w: replace(w, label=FurtherLabel(w.label)), "labels_up", _LABELS),
    "score_of_the_future": (_future_normalised, "score", frozenset({"score", "p_up", "signal"})),
    "score_rounded_when_live": (_rounded_live, "score", frozenset({"score", "p_up", "signal"})),
    "centred_calibration": (
        lambda w: replace(w, calibrate=lambda s: _centred(w.calibrate(s))),  # type: ignore[misc]
        "p_up",
        frozenset({"p_up", "signal"}),
    ),
    "calibration_by_rank": (lambda w: replace(w, calibrate=_by_rank), "p_up", frozenset({"p_up", "signal"})),
    "threshold_of_whole_window": (lambda w: replace(w, decide=_best_tenth), "signal", frozenset({"signal"})),
    "volatility_ahead": (_volatility_ahead, "sizing_volatility", frozenset({"sizing_volatility"})),
    "volatility_since_start": (
        lambda w: replace(w, volatility=_volatility_since_start),
        "sizing_volatility",
        frozenset({"sizing_volatility"}),
    ),
}
"""By name: how to plant the leak in a pipeline, the column that must be named, and every column that may be."""
