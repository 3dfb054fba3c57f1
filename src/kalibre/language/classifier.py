"""The fast classifier of texts: hashed n-grams, word vectors and signals under a linear model, calibrated.

A linear head weighs features, so each word's share in a decision is exact; a kernel head may stand beside it where
many texts are labelled. What is stored are numbers under hashes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from kalibre.core.errors import ModelError
from kalibre.language import ngrams
from kalibre.language.bundle import pack_arrays, unpack_arrays
from kalibre.language.calibration import ClassCalibrator
from kalibre.language.kernel_head import KernelHead
from kalibre.language.ngrams import Block
from kalibre.language.vectors import WordVectors

FloatArray = NDArray[np.float64]
_LEAST_SHARE = 0.01
Dense = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True)
class Recipe:
    """How a text becomes features, and how they are weighed.

    Attributes
    ----------
    blocks
        Of n-grams.
    vector_scale, dense_scale
        Of the mean word vector and of the signals; 0 leaves them out.
    vector_even
        Whether each text's mean vector is brought to the same length, whatever the text holds.
    settled
        Whether n-grams call words whose sense is settled by it (`Features.rename`).
    rarity_power
        How much rare features count: the power of the inverse document frequency.
    solver, strength
        The linear head: `logistic` or `ridge` regression, and the inverse of its penalty; several are tried inside the
        training part; none leaves it out.
    balance
        Class weights are (mean count / count) to this power, at most `most_weight`.
    gamma, ridge, sketch
        Of the kernel head; `gamma` 0 leaves it out, `sketch` 0 makes it exact.
    kinds
        Calibrators tried.
    folds
        Of the inner cross-validation.
    """

    blocks: tuple[Block, ...]
    vector_scale: float = 1.0
    vector_even: bool = False
    dense_scale: float = 0.5
    settled: bool = True
    rarity_power: float = 1.0
    solver: Literal["logistic", "ridge"] = "logistic"
    strength: tuple[float, ...] = (1.0,)
    balance: float = 0.5
    most_weight: float = 3.0
    gamma: float = 0.0
    ridge: float = 0.2
    sketch: int = 1_024
    kinds: tuple[str, ...] = ("vector",)
    folds: int = 5
    precision: float = 0.8


@dataclass(frozen=True)
class Features:
    """What turns texts into rows of numbers, once fitted."""

    recipe: Recipe
    rarity: tuple[NDArray[np.float32], ...]
    vectors: WordVectors | None = None
    dense: Dense | None = None
    rename: ngrams.Rename | None = None
    middle: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    spread: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def rows(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Return the features: blocks, vectors, signals, in this order."""
        return self.join([ngrams.counts(texts, block, self.naming) for block in self.recipe.blocks], *self.plain(texts))

    @property
    def naming(self) -> ngrams.Rename | None:
        """What calls words otherwise in n-grams, where the recipe wants it."""
        return self.rename if self.recipe.settled else None

    def plain(self, texts: Sequence[str]) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
        """Return mean vectors and raw signals."""
        vectors = self.vectors.means(texts) if self.vectors is not None and self.recipe.vector_scale else None
        if vectors is not None and self.recipe.vector_even:
            length = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
        signals = self.dense(texts) if self.dense is not None and self.recipe.dense_scale else None
        return vectors, signals

    def join(
        self,
        counted: Sequence[sparse.csr_matrix],
        vectors: NDArray[np.float32] | None,
        signals: NDArray[np.float32] | None,
    ) -> sparse.csr_matrix:
        """Weigh what was counted and set all side by side."""
        parts = [
            ngrams.weighed(one, idf, block.scale)[0]
            for one, idf, block in zip(counted, self.rarity, self.recipe.blocks, strict=True)
        ]
        if vectors is not None:
            parts.append(sparse.csr_matrix(vectors * np.float32(self.recipe.vector_scale)))
        if signals is not None:
            parts.append(sparse.csr_matrix(self.signal_values(signals)))
        return sparse.hstack(parts, format="csr")

    def signal_values(self, signals: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return signals as the heads see them."""
        values: NDArray[np.float32] = (signals - self.middle) * self.spread
        return values

    @cached_property
    def bounds(self) -> list[int]:
        """Where each part begins and the last ends."""
        sizes = [1 << block.bits for block in self.recipe.blocks]
        if self.vectors is not None and self.recipe.vector_scale:
            sizes.append(self.vectors.size)
        if self.dense is not None and self.recipe.dense_scale:
            sizes.append(len(self.middle))
        return [0, *np.cumsum(sizes).tolist()]


def fit_features(
    counted: Sequence[sparse.csr_matrix],
    signals: NDArray[np.float32] | None,
    recipe: Recipe,
    vectors: WordVectors | None,
    dense: Dense | None,
    rename: ngrams.Rename | None = None,
) -> Features:
    """Learn rarities and the signals' mean and spread from the training texts (no labels are looked at)."""
    found = Features(
        recipe, tuple(ngrams.rarity(one, power=recipe.rarity_power) for one in counted), vectors, dense, rename
    )
    if signals is None:
        return found
    middle = signals.mean(axis=0)
    # Half-way to unit variance: a rare signal is not blown up to the weight of a common one.
    spread = recipe.dense_scale / np.sqrt(0.1 + signals.std(axis=0)) / np.sqrt(signals.shape[1])
    return replace(found, middle=middle.astype(np.float32), spread=spread.astype(np.float32))


@dataclass(frozen=True)
class TextClassifier:
    """A fitted classifier.

    Attributes
    ----------
    weights, offset
        Of the linear head: shape (n_features, n_classes), (n_classes,).
    mix
        How much each head's logits count, linear first.
    threshold
        Confidence from which on a class is named.
    """

    classes: tuple[str, ...]
    features: Features
    weights: NDArray[np.float32]
    offset: FloatArray
    calibrator: ClassCalibrator
    threshold: float
    kernel: KernelHead | None = None
    mix: tuple[float, ...] = (1.0,)

    def logits(self, texts: Sequence[str]) -> FloatArray:
        """Return uncalibrated scores, shape (n_texts, n_classes)."""
        return self.row_logits(self.features.rows(texts))

    def row_logits(self, rows: sparse.csr_matrix) -> FloatArray:
        """Return uncalibrated scores of rows of features."""
        found: FloatArray = np.zeros((rows.shape[0], len(self.classes)))
        if self.mix[0]:
            found += self.mix[0] * linear_scores(rows, self.weights, self.offset, self.features.recipe)
        if self.kernel is not None:
            found += self.mix[1] * self.kernel.scores(rows)
        return found

    def probabilities(self, texts: Sequence[str]) -> FloatArray:
        """Return calibrated probabilities, shape (n_texts, n_classes)."""
        if not texts:
            return np.zeros((0, len(self.classes)))
        return self.calibrator.apply(self.logits(texts))

    def slopes(self, rows: sparse.csr_matrix, direction: FloatArray) -> Any:
        """Return the kernel head's slopes at some rows, for `shares`; None without one."""
        return None if self.kernel is None else self.kernel.slopes(rows, direction)

    def shares(
        self, text: str, row: sparse.csr_matrix, direction: FloatArray, slope: Any = None
    ) -> tuple[list[tuple[int, int, float]], FloatArray]:
        """Return what each word adds to `logits @ direction`, and what each signal does.

        Exact for the linear head: the shares and the offset sum up to it; of the kernel head, its slope at this text.
        An n-gram of several words counts for its first.

        Parameters
        ----------
        text, row
            The text and its row of features.
        direction
            Shape (n_classes,).
        slope
            The row's of `slopes`.
        """
        index = row.indices.astype(np.int64)
        order = np.argsort(index)
        index, value = index[order], (row.data[order] * self._toward(index[order], slope, direction))
        found: dict[tuple[int, int], float] = {}
        bounds, recipe = self.features.bounds, self.features.recipe
        for number, block in enumerate(recipe.blocks):
            parts = ngrams.parts_of([text], block, self.features.naming)
            word, feature = ngrams.units(parts, block)
            at = np.minimum(np.searchsorted(index, feature + bounds[number]), max(len(index) - 1, 0))
            here = index[at] == feature + bounds[number] if len(index) else np.zeros(len(at), np.bool_)
            times = np.bincount(at[here], minlength=len(index))
            add = np.bincount(word[here], value[at[here]] / times[at[here]], len(parts.words)).astype(np.float64)
            _collect(found, parts, add)
        part = len(recipe.blocks)
        vectors = self.features.vectors
        if vectors is not None and recipe.vector_scale:
            parts = ngrams.cut([text], letters=False)
            rows, share = vectors.shares(parts)
            toward = self._toward(np.arange(bounds[part], bounds[part + 1]), slope, direction) * recipe.vector_scale
            known = rows >= 0
            add = np.zeros(len(rows))
            add[known] = (vectors.rows[rows[known]].astype(np.float64) @ toward) * share[known]
            if recipe.vector_even:
                add /= max(float(np.linalg.norm(vectors.means([text]))), 1e-9)
            _collect(found, parts, add)
            part += 1
        signals = np.zeros(0)
        if self.features.dense is not None and recipe.dense_scale:
            values = np.zeros(bounds[part + 1] - bounds[part])
            last = index >= bounds[part]
            values[index[last] - bounds[part]] = value[last]
            signals = values
        return [(start, end, weight) for (start, end), weight in sorted(found.items())], signals

    def _toward(self, features: NDArray[np.int64], slope: Any, direction: FloatArray) -> FloatArray:
        found: FloatArray = self.mix[0] * (self.weights[features].astype(np.float64) @ direction)
        if slope is not None and self.kernel is not None:
            found = found + self.mix[1] * self.kernel.spread(slope, features)
        return found

    # --- storage ------------------------------------------------------------------------------------------------------

    def files(self) -> dict[str, bytes]:
        """Return what a bundle holds of this."""
        features = self.features
        kept = np.flatnonzero(np.abs(self.weights).max(axis=1) > 0)
        scale = max(float(np.abs(self.weights).max()), 1e-12) / 32_767.0
        arrays: dict[str, NDArray[Any]] = {
            "kept": kept.astype(np.uint32),
            "weights": np.rint(self.weights[kept] / scale).astype(np.int16),
            "weights_scale": np.array([scale]),
            "offset": self.offset,
            "middle": features.middle,
            "spread": features.spread,
        }
        for number, idf in enumerate(features.rarity):
            arrays[f"rarity_{number}"] = idf.astype(np.float16)
        if features.vectors is not None and features.recipe.vector_scale:
            arrays |= features.vectors.arrays()
        if self.kernel is not None:
            arrays |= self.kernel.arrays()
        head = {
            "classes": list(self.classes),
            "recipe": asdict(features.recipe),
            "calibrator": self.calibrator.as_dict(),
            "threshold": self.threshold,
            "mix": list(self.mix),
        }
        return {
            "arrays.npz": pack_arrays(arrays),
            "head.json": (json.dumps(head, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode(),
        }

    @classmethod
    def of(
        cls, files: Mapping[str, bytes], dense: Dense | None = None, rename: ngrams.Rename | None = None
    ) -> TextClassifier:
        """Read what `files` gave.

        Raises
        ------
        ModelError
            If something is missing or does not fit together.
        """
        try:
            head = json.loads(files["head.json"])
            arrays = unpack_arrays(files["arrays.npz"])
            values: dict[str, Any] = dict(head["recipe"])
            values["blocks"] = tuple(Block(**block) for block in values["blocks"])
            values |= {key: tuple(one) for key, one in values.items() if isinstance(one, list)}
            recipe = Recipe(**values)
            vectors = WordVectors.of(arrays) if "vector_keys" in arrays else None
            rarity = tuple(arrays[f"rarity_{number}"].astype(np.float32) for number in range(len(recipe.blocks)))
            used = dense if recipe.dense_scale else None
            features = Features(recipe, rarity, vectors, used, rename, arrays["middle"], arrays["spread"])
            weights = np.zeros((features.bounds[-1], len(head["classes"])), np.float32)
            weights[arrays["kept"]] = arrays["weights"].astype(np.float32) * np.float32(arrays["weights_scale"][0])
            return cls(
                tuple(str(one) for one in head["classes"]),
                features,
                weights,
                arrays["offset"],
                ClassCalibrator.from_dict(head["calibrator"]),
                float(head["threshold"]),
                KernelHead.of(arrays) if "kernel_rows" in arrays else None,
                tuple(float(one) for one in head["mix"]),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ModelError(
                f"the classifier's files do not fit together ({error!r}): restore or retrain it"
            ) from error


def linear_scores(
    rows: sparse.csr_matrix, weights: NDArray[np.floating[Any]], offset: FloatArray, recipe: Recipe
) -> FloatArray:
    """Return the linear head's logits; ridge regression tells shares, whose logarithms they are."""
    found: FloatArray = np.asarray(rows @ weights, np.float64) + offset
    return np.log(np.maximum(found, _LEAST_SHARE)) if recipe.solver == "ridge" else found


def _collect(found: dict[tuple[int, int], float], parts: ngrams.Cut, add: FloatArray) -> None:
    for start, end, value in zip(parts.starts.tolist(), parts.ends.tolist(), add.tolist(), strict=True):
        found[start, end] = found.get((start, end), 0.0) + value
