"""The words that made it so: what each adds to the log-odds of up against down."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import numpy as np

from kalibre.language.classifier import TextClassifier
from kalibre.language.sentiment import signals as signal
from kalibre.language.sentiment.directions import Reading

MOST = 8
_LEAST = 0.02
UP = np.array([-1.0, 0.0, 1.0])
"""Classes' part in the direction: up less down."""


def reasons_of(
    model: TextClassifier, text: str, row: Any, reading: Reading, slope: Any = None
) -> list[tuple[tuple[int, int], float]]:
    """Return the strongest words with their place and weight, in the order of the text.

    A word's weight is what its n-grams and its vector add (exact for the linear head, to first order for the kernel
    head), and its part of what the rules' findings add, shared by their weight. Signs of punctuation and length have no
    word and are left out.

    Parameters
    ----------
    model, text, row, reading
        The classifier, the text, its row of features, and what the rules found in it.
    slope
        The row's of `TextClassifier.slopes`.
    """
    words, by_signal = model.shares(text, row, UP, slope)
    weight: dict[tuple[int, int], float] = {}
    for start, end, value in words:
        weight[start, end] = weight.get((start, end), 0.0) + value
    for findings, value in zip(signal.directed(reading), by_signal.tolist()[: len(signal.DIRECTED)], strict=False):
        whole = sum(abs(one.weight) for one in findings)
        for one in findings:
            place = (one.start, one.end)
            weight[place] = weight.get(place, 0.0) + value * abs(one.weight) / whole if whole else 0.0
    merged = _merged(weight)
    strongest = sorted(merged.items(), key=lambda one: (-abs(one[1]), one[0]))[:MOST]
    return sorted((place, round(value, 4)) for place, value in strongest if abs(value) >= _LEAST)


def _merged(weight: dict[tuple[int, int], float]) -> dict[tuple[int, int], float]:
    """Give what stands inside a longer stretch to that stretch, so that no two overlap."""
    merged: dict[tuple[int, int], float] = {}
    kept: list[tuple[int, int]] = []  # no two overlap, so that only the neighbours of a stretch can meet it
    for (start, end), value in sorted(weight.items(), key=lambda one: (one[0][0] - one[0][1], one[0])):
        at = bisect_left(kept, (start, end))
        home = next((one for one in kept[max(0, at - 1) : at + 1] if one[0] < end and start < one[1]), None)
        if home is None:
            kept.insert(at, (start, end))
            merged[start, end] = value
        else:
            merged[home] += value
    return merged
