"""Prove of any callable bars -> columns that it sees no future and forgets where its history began.

Nothing is believed because of how it was written: the callable is run again and again on histories that are cut short,
continued otherwise, or begun otherwise, and what must not change is compared. It may be a feature engine or everything
from bars to signals (`kalibre.evaluation.pipeline`), labels at the row where they are known included: each column
stands for itself. Three ways to fail:

mismatched
    (a) `f(bars[:k])` is not `f(bars)[:k]`: what was known live at the close of a bar is not what history shows there.
rewritten
    (b) altering the bars after k changed a row up to k.
start-dependent
    (c) begun after another history, the column is another one, after the warm-up it declares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import Bars, concat
from kalibre.core.clock import to_text
from kalibre.core.errors import VerificationError
from kalibre.evaluation.alterations import EDGE_ROWS, altered_futures, choose_cuts, other_histories

FloatArray = NDArray[np.float64]
Columns = Mapping[str, FloatArray]
Function = Callable[[Bars], Columns]
Progress = Callable[[str, int, int], None]

TOLERANCE = 1e-9
"""Of a column's standard deviation: how far two starts may be apart after the warm-up."""


class Table(Mapping[str, FloatArray]):
    """Columns side by side in one array of shape (n_bars, n_columns): compared as a whole, which is much faster.

    Examples
    --------
    >>> Table(("a", "b"), np.array([[1.0, 2.0], [3.0, 4.0]]))["b"].tolist()
    [2.0, 4.0]
    """

    def __init__(self, names: Sequence[str], values: FloatArray) -> None:
        self.names = tuple(names)
        self.values_2d = np.ascontiguousarray(values, dtype=np.float64)
        self._places = {name: place for place, name in enumerate(self.names)}

    def __getitem__(self, name: str) -> FloatArray:
        column: FloatArray = self.values_2d[:, self._places[name]]
        return column

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@dataclass
class ColumnVerdict:
    """What was found about one column.

    Attributes
    ----------
    mismatched, rewritten, start_dependent
        Rows that failed, summed over every trial; 0 is what it takes.
    known
        Rows of the whole history that hold a number: where there are none, nothing was proved.
    look_ahead_bars
        How far from a cut a row still changed: at least so many bars of future were seen.
    first_row, first_trial
        The earliest offending row and the trial that showed it.
    """

    warmup: int
    mismatched: int = 0
    rewritten: int = 0
    start_dependent: int = 0
    known: int = 0
    look_ahead_bars: int = 0
    first_row: int | None = None
    first_trial: str = ""

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.mismatched or self.rewritten or self.start_dependent)

    def note(self, rows: NDArray[np.int64], trial: str) -> None:
        """Remember the earliest offending row and its trial."""
        if self.first_row is None or rows[0] < self.first_row:
            self.first_row, self.first_trial = int(rows[0]), trial


@dataclass(frozen=True)
class VerificationReport:
    """The verdicts of `verify` by column, with how much was tried; `str` prints them as a table.

    Examples
    --------
    >>> report = VerificationReport({"rsi_14": ColumnVerdict(497)}, n_bars=5000, cuts=40, alterations=60, starts=20)
    >>> report.clean, report.mismatched, report.rewritten, report.start_dependent
    (True, 0, 0, 0)
    """

    columns: dict[str, ColumnVerdict]
    n_bars: int
    cuts: int
    alterations: int
    starts: int
    open_time: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64), repr=False, compare=False)

    @property
    def mismatched(self) -> int:
        """Rows that a shorter history shows otherwise, over all columns."""
        return sum(verdict.mismatched for verdict in self.columns.values())

    @property
    def rewritten(self) -> int:
        """Rows that a later bar changed, over all columns."""
        return sum(verdict.rewritten for verdict in self.columns.values())

    @property
    def start_dependent(self) -> int:
        """Rows that depend on where the history began, over all columns."""
        return sum(verdict.start_dependent for verdict in self.columns.values())

    @property
    def clean(self) -> bool:
        """Whether no column failed in any way."""
        return all(verdict.clean for verdict in self.columns.values())

    @property
    def offenders(self) -> dict[str, ColumnVerdict]:
        """The columns that failed."""
        return {name: verdict for name, verdict in self.columns.items() if not verdict.clean}

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON types."""
        return {
            "clean": self.clean,
            "rewritten": self.rewritten,
            "mismatched": self.mismatched,
            "start_dependent": self.start_dependent,
            "n_bars": self.n_bars,
            "n_columns": len(self.columns),
            "cuts": self.cuts,
            "alterations": self.alterations,
            "starts": self.starts,
            "columns": {name: asdict(verdict) for name, verdict in self.columns.items()},
        }

    def require_clean(self) -> None:
        """Refuse to go on with columns that failed.

        Raises
        ------
        VerificationError
            Naming each failed column, what it did and where first.
        """
        if not self.clean:
            raise VerificationError("; ".join(self._line(name) for name in self.offenders))

    def _line(self, name: str) -> str:
        verdict = self.columns[name]
        found = f"{verdict.rewritten} rewritten, {verdict.mismatched} mismatched"
        found += f", {verdict.start_dependent} start-dependent (warm-up {verdict.warmup})"
        if verdict.look_ahead_bars:
            found += f", sees at least {verdict.look_ahead_bars} bars ahead"
        if verdict.first_row is not None:
            at = f" ({to_text(int(self.open_time[verdict.first_row]))})" if len(self.open_time) else ""
            found += f", first at row {verdict.first_row}{at}: {verdict.first_trial}"
        return f"{name}: {found}"

    def __str__(self) -> str:
        """Print the totals, then every column with its counts."""
        width = max((len(name) for name in self.columns), default=6)
        head = (
            f"{self.rewritten} rewritten, {self.mismatched} mismatched, {self.start_dependent} start-dependent "
            f"({len(self.columns)} columns, {self.n_bars} bars; {self.cuts} cuts, {self.alterations} altered futures, "
            f"{self.starts} other histories)"
        )
        lines = [
            head,
            f"{'column':{width}s} {'warm-up':>8s} {'known':>9s} {'rewritten':>10s} {'mismatched':>11s} "
            f"{'start-dep.':>11s}",
        ]
        lines += [
            f"{name:{width}s} {v.warmup:8d} {v.known:9d} {v.rewritten:10d} {v.mismatched:11d} {v.start_dependent:11d}"
            for name, v in self.columns.items()
        ]
        return "\n".join([*lines, *(self._line(name) for name in self.offenders)])


def verify(
    function: Function,
    bars: Bars,
    *,
    warmup: Mapping[str, int],
    cuts: int | Sequence[int] = 48,
    altered_cuts: int = 12,
    starts: int = 4,
    seed: int = 7,
    tolerance: float = TOLERANCE,
    progress: Progress | None = None,
) -> VerificationReport:
    """Run a callable on cut, altered and otherwise begun histories, and count what should not have changed.

    Parameters
    ----------
    function
        Any callable from bars to columns of shape (n_bars,) each, NaN where a row is not known. It is called about
        `cuts + 6 * altered_cuts + 5 * starts` times and must be a function of its argument only.
    bars
        The history, oldest first.
    warmup
        For each column, the rows after which it has forgotten where its history began.
    cuts
        Positions `k` of (a), or how many: dense at both ends, before and after session, hour and day boundaries and
        holes, the rest at random.
    altered_cuts, starts
        How many of the cuts get altered futures (b), and how many places get other histories (c).
    seed
        Of the random positions and alterations.
    tolerance
        Of a column's standard deviation, for (c); (a) and (b) are exact.
    progress
        Called with the stage (`cuts`, `altered futures`, `other histories`), what is done of it, and of how much.

    Raises
    ------
    VerificationError
        If the history is too short to see past a warm-up, a column has no declared warm-up or a wrong shape, or the
        callable gives two answers to the same bars.

    Examples
    --------
    >>> from kalibre.core.bars import Bar
    >>> rows = [Bar(open_time=t * 60_000, open=2, high=3, low=1, close=1 + t % 3, volume=1) for t in range(99)]
    >>> leak = verify(lambda b: {"ahead": np.append(b.close[1:], np.nan)}, Bars.from_rows("X", "1m", rows),
    ...               warmup={"ahead": 0})
    >>> leak.clean, leak.columns["ahead"].look_ahead_bars
    (False, 1)
    """
    n = len(bars)
    whole = _table(function, bars, warmup)
    known = np.isfinite(whole.values_2d).sum(axis=0)
    verdicts = {name: ColumnVerdict(int(warmup[name]), known=int(known[i])) for i, name in enumerate(whole)}
    longest = max((verdict.warmup for verdict in verdicts.values()), default=0)
    if n < longest + 2 * EDGE_ROWS:
        slow = max(verdicts, key=lambda name: verdicts[name].warmup)
        raise VerificationError(
            f"{n} bars cannot show what {slow} does after its warm-up of {longest}: pass at least {longest + 100}"
        )
    steady = same(whole.values_2d, _table(function, bars, warmup, whole).values_2d).all(axis=0)
    if not steady.all():
        unsteady = [whole.names[place] for place in np.flatnonzero(~steady)]
        raise VerificationError(f"columns {unsteady} differ between two runs on the same bars: remove what is random")
    rng = np.random.default_rng(seed)
    if isinstance(cuts, int):
        cuts = choose_cuts(bars, cuts, rng, sorted({v.warmup for v in verdicts.values()}))
    told = progress or (lambda stage, done, total: None)
    for number, k in enumerate(cuts, 1):
        _compare_head(
            verdicts, whole, _table(function, bars[:k], warmup, whole), k, "mismatched", f"only {k} bars known"
        )
        told("cuts", number, len(cuts))
    tried = 0
    inner = [k for k in cuts if 0 < k < n]
    chosen = [inner[i] for i in sorted(set(np.linspace(0, len(inner) - 1, altered_cuts).astype(int)))] if inner else []
    for number, k in enumerate(chosen, 1):
        for name, tail in altered_futures(bars[k:], rng):
            changed = _table(function, concat([bars[:k], tail]), warmup, whole)
            _compare_head(verdicts, whole, changed, k, "rewritten", f"bars from {k} on {name}")
            tried += 1
        told("altered futures", number, len(chosen))
    begun = 0
    limit = tolerance * _scales(whole)
    room = max(1, n - longest - EDGE_ROWS)
    rows = np.unique(np.linspace(max(1, room // 8), room, starts).astype(int))
    for number, start in enumerate(rows, 1):
        for name, other in other_histories(bars[: int(start)], rng):
            moved = bars[int(start) :] if other is None else concat([other, bars[int(start) :]])
            part = _table(function, moved, warmup, whole)
            _compare_tail(verdicts, whole, part, int(start), limit, f"{name} before row {start}")
            begun += 1
        told("other histories", number, len(rows))
    return VerificationReport(verdicts, n, len(cuts), tried, begun, bars.open_time)


def _table(function: Function, bars: Bars, warmup: Mapping[str, int], like: Table | None = None) -> Table:
    """Run the callable and bring what it returns to one array, in the order of the first run."""
    columns = function(bars)
    undeclared = sorted(set(columns) - set(warmup))
    if undeclared:
        raise VerificationError(f"columns {undeclared} declare no warm-up: pass one for each, 0 if there is none")
    names = tuple(columns) if like is None else like.names
    if missing := [name for name in names if name not in columns]:
        raise VerificationError(
            f"columns {missing} are missing for a shorter history: return each for every history, NaN where unknown"
        )
    if isinstance(columns, Table) and columns.names == names:
        table = columns
    else:
        table = Table(names, np.empty((len(bars), len(names))))
        for place, name in enumerate(names):
            column = np.asarray(columns[name], dtype=np.float64)
            if column.shape != (len(bars),):
                raise VerificationError(
                    f"column {name} has shape {column.shape} for {len(bars)} bars: return one a bar"
                )
            table.values_2d[:, place] = column
    if table.values_2d.shape != (len(bars), len(names)):
        raise VerificationError(
            f"the columns have shape {table.values_2d.shape} for {len(bars)} bars: return one row a bar"
        )
    return table


def same(a: FloatArray, b: FloatArray) -> NDArray[np.bool_]:
    """Say where two tables agree, bit for bit or in knowing nothing."""
    same: NDArray[np.bool_] = (a == b) | (np.isnan(a) & np.isnan(b))
    return same


def _compare_head(verdicts: dict[str, ColumnVerdict], whole: Table, part: Table, k: int, kind: str, trial: str) -> None:
    a, b = whole.values_2d[:k], part.values_2d[:k]
    if np.array_equal(a.view(np.int64), b.view(np.int64)):
        return
    differ = ~same(a, b)
    for place in np.flatnonzero(differ.any(axis=0)):
        verdict = verdicts[whole.names[place]]
        rows = np.flatnonzero(differ[:, place])
        setattr(verdict, kind, getattr(verdict, kind) + int(rows.size))
        verdict.look_ahead_bars = max(verdict.look_ahead_bars, k - int(rows[0]))
        verdict.note(rows, trial)


def _scales(whole: Table) -> FloatArray:
    """Return each column's standard deviation; of a constant one its size, since it has no spread to compare with."""
    scales = np.zeros(len(whole))
    for place, name in enumerate(whole):
        known = whole[name][np.isfinite(whole[name])]
        if known.size:
            scales[place] = float(known.std()) or float(np.abs(known).max())
    return scales


def _compare_tail(
    verdicts: dict[str, ColumnVerdict], whole: Table, part: Table, s: int, limit: FloatArray, trial: str
) -> None:
    a = whole.values_2d[s:]
    b = part.values_2d[len(part.values_2d) - len(a) :]
    with np.errstate(invalid="ignore"):
        differ = ~(same(a, b) | (np.abs(a - b) <= limit))
    for place in np.flatnonzero(differ.any(axis=0)):
        verdict = verdicts[whole.names[place]]
        rows = np.flatnonzero(differ[verdict.warmup :, place])
        if rows.size:
            verdict.start_dependent += int(rows.size)
            verdict.note(rows + s + verdict.warmup, f"begun with {trial}")
