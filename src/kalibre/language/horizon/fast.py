"""`builtin:fast` for horizons: multinomial logistic regression over hashed word and character n-grams, calibrated."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError
from kalibre.core.text_events import Horizon
from kalibre.language import collapse
from kalibre.language.bundle import LanguageBundle, pack_arrays, unpack_arrays
from kalibre.language.headlines.canonical import VERSION, canonical
from kalibre.language.text.normal import check_text

HORIZONS: Final[tuple[Horizon, ...]] = ("intraday", "daily", "weekly")
CLASSES: Final = ("none", *HORIZONS)
_BUCKETS: Final = 2**14
_MOST_CHARACTERS: Final = 2_000


@dataclass(frozen=True, eq=False)
class FastHorizon:
    """Says how long a headline matters.

    Attributes
    ----------
    weights
        Shape (buckets, classes).
    bias
        Shape (classes,).
    temperature
        Divides the scores, fitted out of fold.
    least
        A horizon is named from this probability on; below it is None.
    """

    version: str
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    temperature: float
    least: float

    def predict_proba(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return calibrated probabilities, shape (n_texts, 4), in the order of `CLASSES`.

        Raises
        ------
        LanguageError
            If a text is none, or binary.
        """
        scores = np.empty((len(texts), len(CLASSES)))
        for row, text in enumerate(texts):
            buckets, values = features(check_text(text))
            scores[row] = self.bias + values @ self.weights[buckets]
        return _softmax(scores / self.temperature)

    def predict(self, texts: Sequence[str]) -> list[Horizon | None]:
        """Return a horizon per text, None where the text supports none or the model cannot tell.

        It has learnt from Turkish alone: what it says of another language means nothing.

        Raises
        ------
        LanguageError
            If a text is none, or binary.
        """
        said = self.predict_proba(texts)
        best = said.argmax(axis=1)
        return [
            HORIZONS[place - 1] if place and said[row, place] >= self.least else None
            for row, place in enumerate(best.tolist())
        ]


def features(text: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the hashed features of a text: buckets, and values of length 1 together.

    Numbers are one word: the size of a number says nothing about how long it matters.
    """
    words = ["0" if word[:1].isdigit() else word for word in canonical(text[:_MOST_CHARACTERS]).split()]
    names = [f"w {word}" for word in words]
    names += [f"w {first} {second}" for first, second in pairwise(words)]
    for word in words:
        padded = f"<{word}>"
        names += [f"c {padded[start : start + n]}" for n in (3, 4, 5) for start in range(len(padded) - n + 1)]
    if not names:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
    buckets, counts = np.unique(
        np.array([zlib.crc32(name.encode("utf-8", "replace")) % _BUCKETS for name in names], dtype=np.int64),
        return_counts=True,
    )
    values = np.sqrt(counts, dtype=np.float32)
    return buckets, (values / np.linalg.norm(values)).astype(np.float32)


def train(
    texts: Sequence[str],
    horizons: Sequence[Horizon | None],
    groups: Sequence[int],
    *,
    card: Mapping[str, Any] | None = None,
    strengths: Sequence[float] = (1.0, 3.0, 10.0),
    least: float = 0.5,
) -> LanguageBundle:
    """Fit, choose the regularisation and the temperature out of fold, and pack.

    Parameters
    ----------
    texts, horizons
        Labelled headlines.
    groups
        One number each; near-duplicates share one and never stand on both sides of a fold.
    strengths
        Inverse regularisation strengths to choose from.
    least
        Least probability at which a horizon is named.

    Raises
    ------
    ModelError
        If there are too few texts, or the classifier collapses onto some of the classes.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold

    y = np.array([CLASSES.index(horizon or "none") for horizon in horizons])
    counts = np.bincount(y, minlength=len(CLASSES))
    if len(texts) < 50 or counts.min() < 5:
        raise ModelError(
            f"{len(texts)} texts with counts {dict(zip(CLASSES, counts.tolist(), strict=True))} are too few to learn "
            "horizons from: label at least 50, and 5 of each"
        )
    x = _matrix(texts)
    folds = list(StratifiedGroupKFold(5, shuffle=True, random_state=7).split(x, y, list(groups)))

    def fitted(strength: float, rows: NDArray[np.int64]) -> Any:
        return LogisticRegression(C=strength, class_weight=_weights(y[rows]), max_iter=400).fit(x[rows], y[rows])

    outside: dict[float, NDArray[np.float64]] = {}
    for strength in strengths:
        scores = np.zeros((len(y), len(CLASSES)))
        for fit_rows, test_rows in folds:
            scores[test_rows] = fitted(strength, fit_rows).decision_function(x[test_rows])
        outside[strength] = scores
    temperatures = {strength: _temperature(scores, y) for strength, scores in outside.items()}
    losses = {strength: _loss(outside[strength] / temperatures[strength], y) for strength in strengths}
    chosen = min(losses, key=lambda strength: losses[strength])
    said = _softmax(outside[chosen] / temperatures[chosen])
    seen = collapse.guard(y, said, CLASSES)
    model = fitted(chosen, np.arange(len(y)))
    figures = {
        "guard": str(seen),
        "texts": len(texts),
        "counts": dict(zip(CLASSES, counts.tolist(), strict=True)),
        "inverse_regularisation": chosen,
        "log_loss_out_of_fold": losses[chosen],
        "log_loss_of_prior": _loss(np.log(np.tile(counts / counts.sum(), (len(y), 1))), y),
        "accuracy_out_of_fold": float((said.argmax(axis=1) == y).mean()),
    }
    constants = {"temperature": temperatures[chosen], "least": least, "buckets": _BUCKETS}
    arrays = {"weights": model.coef_.T.astype(np.float16), "bias": model.intercept_.astype(np.float32)}
    return LanguageBundle(
        task="horizon",
        family="fast",
        files={"weights.npz": pack_arrays(arrays), "constants.json": json.dumps(constants, sort_keys=True).encode()},
        card={**(card or {}), "headline_form": VERSION, "figures": figures},
    )


def from_bundle(bundle: LanguageBundle) -> FastHorizon:
    """Read a model back.

    Raises
    ------
    ModelError
        If its shapes are not this release's.
    """
    arrays = unpack_arrays(bundle.file("weights.npz"))
    try:
        constants = json.loads(bundle.file("constants.json"))
        weights, bias = arrays["weights"].astype(np.float32), arrays["bias"].astype(np.float32)
        temperature, least = float(constants["temperature"]), float(constants["least"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{bundle.version} cannot be read ({error}): restore it or train anew") from error
    if weights.shape != (_BUCKETS, len(CLASSES)) or bias.shape != (len(CLASSES),) or not temperature > 0:
        raise ModelError(
            f"{bundle.version} holds weights of shape {weights.shape}, this release reads {(_BUCKETS, len(CLASSES))}: "
            "train anew"
        )
    return FastHorizon(bundle.version, weights, bias, temperature, least)


def _matrix(texts: Sequence[str]) -> Any:
    from scipy.sparse import csr_matrix

    rows = [features(text) for text in texts]
    starts = np.cumsum([0, *(len(buckets) for buckets, _ in rows)])
    return csr_matrix(
        (np.concatenate([values for _, values in rows]), np.concatenate([buckets for buckets, _ in rows]), starts),
        shape=(len(texts), _BUCKETS),
    )


def _weights(y: NDArray[np.int64]) -> dict[int, float]:
    """Weigh classes by the root of their rarity, no more than three times as much as the commonest."""
    counts = np.bincount(y, minlength=len(CLASSES)).clip(1)
    return {place: float(min(3.0, np.sqrt(counts.max() / count))) for place, count in enumerate(counts)}


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    said: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return said


def _loss(scores: NDArray[np.float64], y: NDArray[np.int64]) -> float:
    return float(-np.log(_softmax(scores)[np.arange(len(y)), y].clip(1e-12)).mean())


def _temperature(scores: NDArray[np.float64], y: NDArray[np.int64]) -> float:
    grid = np.geomspace(0.1, 10.0, 81)
    return float(min(grid, key=lambda temperature: _loss(scores / temperature, y)))
