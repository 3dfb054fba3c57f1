"""The one place where features meet labels: point in time, row by row, and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import Bars
from kalibre.core.errors import DatasetError
from kalibre.core.protocols import FloatArray, Label

_MOST_UNUSABLE = 0.05
"""Share of warmed-up rows that may hold a value that is not finite; above it the column, not the row, is the fault."""


@dataclass(frozen=True)
class Dataset:
    """Samples in order of time: what was known at a bar's close, and what became of it.

    Sample i was taken at the close of bar `row[i]` and its label was known at the close of bar `known_row[i]`, always
    later. Rows may have gaps between them (unknown labels, warm-up); they rise strictly.

    Parameters
    ----------
    features
        Shape (n_samples, n_columns), finite.
    y
        Shape (n_samples,), 0.0 or 1.0.
    row, known_row
        Shape (n_samples,), index of a bar in the series that the set was built from.
    close_time
        Shape (n_samples,), UTC milliseconds: when the sample's features were known.
    columns
        Names of the columns.
    horizon_bars
        The label's horizon.
    dropped
        Why rows of the series are not here: `warm_up`, `not_finite`, `label_unknown`, `purged`, each with its count.
    """

    features: FloatArray
    y: FloatArray
    row: NDArray[np.int64]
    known_row: NDArray[np.int64]
    close_time: NDArray[np.int64]
    columns: tuple[str, ...]
    horizon_bars: int
    dropped: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.row)

    @property
    def ups(self) -> int:
        """Number of samples that went up."""
        return int(self.y.sum())

    @property
    def base_rate(self) -> float:
        """Share of samples that went up; NaN without samples."""
        return float(self.y.mean()) if len(self) else float("nan")

    def take(self, index: slice | NDArray[np.bool_] | NDArray[np.int64], **dropped: int) -> Dataset:
        """Return the samples of a slice, mask or rising index, with what was dropped on the way added up."""
        counts = dict(self.dropped)
        for reason, count in dropped.items():
            counts[reason] = counts.get(reason, 0) + count
        return replace(
            self,
            features=self.features[index],
            y=self.y[index],
            row=self.row[index],
            known_row=self.known_row[index],
            close_time=self.close_time[index],
            dropped=counts,
        )

    def require_both_classes(self, name: str) -> None:
        """Refuse a set that cannot teach or test a classifier because it holds one class only.

        Raises
        ------
        DatasetError
            With the counts.
        """
        downs = len(self) - self.ups
        if self.ups == 0 or downs == 0:
            raise DatasetError(
                f"{name} holds one class only: {self.ups} samples up and {downs} down of {len(self)}; "
                "at least 1 of each is needed: take more bars, a shorter horizon or another label"
            )


def build_dataset(
    bars: Bars, values: FloatArray, columns: Sequence[str], label: Label, *, warmup: int | NDArray[np.int64]
) -> Dataset:
    """Join features and labels: row t's features with row t's label, and nothing else.

    A bar becomes a sample if it has its warm-up behind it, all its features are finite and its label is known. The
    label has to keep its word: computed on the bars up to any bar k, it must say the same of every row that it claims
    was known by then. It is checked at several cuts; a label that peeks further ahead than it admits is refused here.

    Parameters
    ----------
    bars
        The series.
    values
        Features, shape (n_bars, n_columns); row t known at the close of bar t (`kalibre verify features` proves that).
    columns
        Their names.
    label
        A part of `kalibre.labels`.
    warmup
        Bars that the features need behind them: one number, or one per column.

    Raises
    ------
    DatasetError
        If shapes do not fit, there are too few bars for the warm-up and the horizon, a column stays unknown after its
        warm-up, the label looks further ahead than it says, or there is one class only. Each message quotes the
        counts and what would be enough.

    Examples
    --------
    >>> from kalibre.labels.direction import Direction
    >>> price = np.array([1.0, 2.0, 1.0, 2.0, 1.0])
    >>> bars = Bars("X", "1h", np.arange(5) * 3_600_000, price, price, price, price, price)
    >>> dataset = build_dataset(bars, price[:, None], ["close"], Direction(horizon_bars=1), warmup=1)
    >>> dataset.row.tolist(), dataset.known_row.tolist(), dataset.y.tolist()
    ([1, 2, 3], [2, 3, 4], [0.0, 1.0, 0.0])
    """
    n_bars = len(bars)
    names = tuple(columns)
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (n_bars, len(names)):
        raise DatasetError(
            f"features of shape {values.shape} do not fit {n_bars} bars and {len(names)} columns: "
            f"pass shape {(n_bars, len(names))}"
        )
    longest = int(np.max(warmup, initial=0))
    horizon = int(getattr(label, "horizon_bars", 1))
    if n_bars <= longest + horizon:
        raise DatasetError(
            f"{n_bars} bars of {bars.symbol} {bars.timeframe} are too few: {longest} of warm-up and a horizon of "
            f"{horizon} need at least {longest + horizon + 1} for one sample"
        )
    y, known_row = label.compute(bars)
    _check_label(bars, label, y, known_row)
    warm = np.arange(n_bars) >= longest
    known = ~np.isnan(y)
    finite = np.isfinite(values).all(axis=1)
    _check_columns(values[warm], names)
    row = np.flatnonzero(warm & known & finite).astype(np.int64)
    dropped = {
        "warm_up": int((~warm).sum()),
        "not_finite": int((warm & ~finite).sum()),
        "label_unknown": int((warm & finite & ~known).sum()),
    }
    if not row.size:
        raise DatasetError(
            f"no sample is left of {n_bars} bars of {bars.symbol} {bars.timeframe}: dropped {dropped}; take more bars"
        )
    dataset = Dataset(
        features=np.ascontiguousarray(values[row]),
        y=y[row],
        row=row,
        known_row=known_row[row],
        close_time=bars.close_time[row],
        columns=names,
        horizon_bars=horizon,
        dropped=dropped,
    )
    dataset.require_both_classes(f"the data set of {bars.symbol} {bars.timeframe}")
    return dataset


def _check_columns(warm_values: FloatArray, names: tuple[str, ...]) -> None:
    unknown = (~np.isfinite(warm_values)).mean(axis=0)
    if unknown.size and unknown.max() > _MOST_UNUSABLE:
        worst = int(unknown.argmax())
        raise DatasetError(
            f"column {names[worst]!r} is not finite in {unknown[worst]:.1%} of the {len(warm_values)} rows after the "
            f"warm-up, {_MOST_UNUSABLE:.0%} is allowed: declare its full warm-up or leave the column out"
        )


def _check_label(bars: Bars, label: Label, y: FloatArray, known_row: NDArray[np.int64]) -> None:
    n_bars = len(bars)
    if y.shape != (n_bars,) or known_row.shape != (n_bars,):
        raise DatasetError(
            f"label {label.name!r} gave shapes {y.shape} and {known_row.shape} for {n_bars} bars: return two of "
            f"{(n_bars,)}"
        )
    known = ~np.isnan(y)
    row = np.arange(n_bars)
    wrong = known & ((known_row <= row) | (known_row >= n_bars) | ~np.isin(y, (0.0, 1.0)))
    wrong |= ~known & (known_row != -1)
    if wrong.any():
        t = int(np.flatnonzero(wrong)[0])
        raise DatasetError(
            f"label {label.name!r} says y={y[t]} of row {t}, known at row {known_row[t]} of {n_bars} bars: a known "
            "label is 0 or 1 and known at a later row, an unknown one is NaN and -1"
        )
    for cut in {n_bars // 3, n_bars // 2, n_bars - 1} - {0}:
        y_then, known_then = label.compute(bars[:cut])
        claimed = known[:cut] & (known_row[:cut] < cut)
        differs = claimed & ~((y_then == y[:cut]) & (known_then == known_row[:cut]))
        differs |= ~claimed & ~np.isnan(y_then)
        if differs.any():
            t = int(np.flatnonzero(differs)[0])
            raise DatasetError(
                f"label {label.name!r} looks ahead: with all bars it says y={y[t]} of row {t}, known at row "
                f"{known_row[t]}, but with the first {cut} bars it says {y_then[t]}, known at row {known_then[t]}; "
                "declare the row at whose close it is really known"
            )
