"""Splits in order of time, purged: no part's label window reaches into a part that judges it.

A sample belongs to a part only if its label is known before the first bar of the next part closes. Where every part
follows the one it learns from, that is enough, and an embargo would only waste bars; an embargo stands where training
follows testing, in `purged_kfold`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final

import numpy as np

from kalibre.core.errors import DatasetError
from kalibre.dataset.join import Dataset

PARTS: Final = ("fit", "stop", "calibrate", "threshold", "test")
"""The parts of an honest study, in order: each is judged by later ones only."""

SHARES: Final[Mapping[str, float]] = {"fit": 0.56, "stop": 0.14, "calibrate": 0.15, "threshold": 0.15}
"""How the samples before a test window are shared out."""

FIRST_SHARE: Final = 0.4
"""Share of the bars before the final window that the first fold may learn from; the folds' tests share the rest."""


def ordered_parts(dataset: Dataset, shares: Mapping[str, float], *, min_samples: int = 20) -> dict[str, Dataset]:
    """Cut a data set into consecutive parts, oldest first, each purged against the next.

    Parameters
    ----------
    dataset
        Samples in order of time.
    shares
        Part and its share, in order; shares are relative to their sum.
    min_samples
        Fewest samples a part may keep.

    Returns
    -------
    The parts by name, in order. Every sample is in exactly one part or purged; `dropped["purged"]` counts those.

    Raises
    ------
    DatasetError
        If a share is not above 0, or a part is left with too few samples or one class; the message quotes the counts
        and how many samples would be enough.

    Examples
    --------
    >>> rows = np.arange(100)
    >>> y = (rows % 2).astype(float)
    >>> dataset = Dataset(rows[:, None] * 1.0, y, rows, rows + 4, rows * 60_000, ("x",), horizon_bars=4)
    >>> parts = ordered_parts(dataset, {"fit": 0.5, "test": 0.5})
    >>> [(name, int(part.row[0]), int(part.row[-1])) for name, part in parts.items()]
    [('fit', 0, 45), ('test', 50, 99)]
    """
    bad = {name: share for name, share in shares.items() if not share > 0}
    if bad or not shares:
        raise DatasetError(f"shares {dict(shares)} cannot be cut: every part needs a share above 0, {bad} has none")
    total = sum(shares.values())
    cumulative = np.cumsum([0.0, *shares.values()]) / total
    edges = np.rint(cumulative * len(dataset)).astype(np.int64)
    return _cut(dataset, tuple(shares), edges, min_samples=min_samples, enough=_enough(dataset, shares, min_samples))


def walk_forward(
    dataset: Dataset,
    folds: int,
    final_share: float,
    *,
    shares: Mapping[str, float] = SHARES,
    first_share: float = FIRST_SHARE,
    min_samples: int = 20,
) -> tuple[list[dict[str, Dataset]], dict[str, Dataset]]:
    """Walk through time: each fold learns from everything before its test window, the final window is judged last.

    The newest `final_share` of the samples is the final window. Of what lies before, the first `first_share` is learnt
    from only; the rest is cut into `folds` consecutive test windows. Fold k's other parts are all samples before its
    test window, shared out by `shares`. No fold holds a sample whose label reaches into the final window.

    Parameters
    ----------
    dataset
        Samples in order of time.
    folds
        Test windows before the final one, at least 1.
    final_share
        Share of all samples that the final window takes, in (0, 1).
    shares
        How the samples before a test window are shared out among fit, stop, calibrate and threshold.
    first_share
        Share of the samples before the final window that precede the first test window, in (0, 1).
    min_samples
        Fewest samples a part may keep.

    Returns
    -------
    The folds, each with `fit, stop, calibrate, threshold, test`, and the same parts for the final window.

    Raises
    ------
    DatasetError
        If a share is out of range or a part would be too small or of one class; quotes the counts and what would be
        enough.
    """
    if folds < 1:
        raise DatasetError(f"folds {folds!r} is no number of test windows: pass at least 1")
    for name, share in (("final_share", final_share), ("first_share", first_share)):
        if not 0 < share < 1:
            raise DatasetError(f"{name} {share!r} is not between 0 and 1")
    n = len(dataset)
    final_start = n - round(n * final_share)
    tests = np.rint(np.linspace(final_start * first_share, final_start, folds + 1)).astype(np.int64)
    before = np.cumsum([0.0, *shares.values()]) / sum(shares.values())
    smallest = min(
        first_share * (1 - final_share) * min(shares.values()) / sum(shares.values()),
        (1 - first_share) * (1 - final_share) / folds,
        final_share,
    )
    enough = int(np.ceil((min_samples + dataset.horizon_bars) / smallest))
    names = (*shares, "test")
    result = []
    for number in range(folds):
        edges = np.append(np.rint(before * tests[number]).astype(np.int64), tests[number + 1])
        # No fold's test may reach into the final window; it may reach into the next fold's, because nothing is learnt
        # from it there that its own fold is judged by.
        end_row = int(dataset.row[final_start]) if final_start < n else None
        result.append(
            _cut(
                dataset,
                names,
                edges,
                min_samples=min_samples,
                enough=enough,
                end_row=end_row,
                name=f"fold {number + 1}: ",
            )
        )
    edges = np.append(np.rint(before * final_start).astype(np.int64), n)
    final = _cut(dataset, names, edges, min_samples=min_samples, enough=enough, name="final: ")
    return result, final


def purged_kfold(
    dataset: Dataset, folds: int, *, embargo_bars: int | None = None, min_samples: int = 20
) -> Iterator[tuple[Dataset, Dataset]]:
    """Yield (train, test) for each of `folds` consecutive test blocks, training on both sides of the block.

    A training sample is dropped if its label window `[row, known_row]` overlaps the span of the test block's label
    windows, or if it begins within `embargo_bars` after that span: features there still remember the block.

    Parameters
    ----------
    dataset
        Samples in order of time.
    folds
        Blocks, at least 2.
    embargo_bars
        Bars after the test block that are not trained on; None takes the horizon.
    min_samples
        Fewest samples a side may keep.

    Raises
    ------
    DatasetError
        If a block or its training set is too small or of one class; quotes the counts.

    References
    ----------
    Lopez de Prado (2018), Advances in Financial Machine Learning, section 7.4.
    """
    embargo = dataset.horizon_bars if embargo_bars is None else embargo_bars
    if folds < 2 or embargo < 0:
        raise DatasetError(
            f"folds {folds!r} and embargo_bars {embargo!r}: pass at least 2 folds and no negative embargo"
        )
    edges = np.rint(np.linspace(0, len(dataset), folds + 1)).astype(np.int64)
    enough = folds * (min_samples + dataset.horizon_bars + embargo)
    for number, (start, end) in enumerate(pairwise(edges.tolist()), start=1):
        test = dataset.take(slice(start, end))
        _require(test, f"fold {number}: test", len(dataset), min_samples=min_samples, enough=enough)
        first, last = int(test.row[0]), int(test.known_row.max())
        keep = (dataset.known_row < first) | (dataset.row > last + embargo)
        train = dataset.take(keep, purged=int((~keep).sum()) - len(test))
        _require(train, f"fold {number}: train", len(dataset), min_samples=min_samples, enough=enough)
        yield train, test


def _cut(
    dataset: Dataset,
    names: tuple[str, ...],
    edges: np.ndarray[tuple[int], np.dtype[np.int64]],
    *,
    min_samples: int,
    enough: int,
    end_row: int | None = None,
    name: str = "",
) -> dict[str, Dataset]:
    """Cut at sample positions `edges`; a part's labels must be known before the next part's first row, or `end_row`."""
    parts: dict[str, Dataset] = {}
    for number, part_name in enumerate(names):
        start, end = int(edges[number]), int(edges[number + 1])
        block = dataset.take(slice(start, end))
        last = number == len(names) - 1
        next_row = end_row if last else (int(dataset.row[end]) if end < len(dataset) else None)
        keep = np.ones(len(block), dtype=bool) if next_row is None else block.known_row < next_row
        part = block.take(keep, purged=int((~keep).sum()))
        _require(part, f"{name}part {part_name!r}", len(dataset), min_samples=min_samples, enough=enough)
        parts[part_name] = part
    return parts


def _require(part: Dataset, name: str, n_samples: int, *, min_samples: int, enough: int) -> None:
    if len(part) < min_samples:
        raise DatasetError(
            f"{name} keeps {len(part)} of {n_samples} samples after purging a horizon of {part.horizon_bars} bars, "
            f"{min_samples} are needed: about {enough} samples in all would be enough; take more bars, fewer folds or "
            "a shorter horizon"
        )
    part.require_both_classes(name)


def _enough(dataset: Dataset, shares: Mapping[str, float], min_samples: int) -> int:
    smallest = min(shares.values()) / sum(shares.values())
    return int(np.ceil((min_samples + dataset.horizon_bars) / smallest))
