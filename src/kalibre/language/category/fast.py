"""`builtin:fast`: a text's category by hashed words and word beginnings under a linear model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError, UsageError
from kalibre.language import calibration, near
from kalibre.language.bundle import LanguageBundle
from kalibre.language.category.sorting import Sorting
from kalibre.language.classifier import Recipe, TextClassifier
from kalibre.language.classifier_training import train as train_classifier
from kalibre.language.ngrams import Block
from kalibre.language.text.normal import check_text, clean

READ = 20_000
"""Characters of a text that are read: what an article is about, its beginning says."""

RECIPE = Recipe(
    blocks=(Block("word", 1, 1, bits=17), Block("word", 1, 2, cut=5, bits=17)),
    vector_scale=0.0,
    dense_scale=0.0,
    rarity_power=1.5,
    solver="ridge",
    strength=(5.0,),
    folds=3,
    kinds=("temperature", "isotonic"),
)


def train(
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    groups: NDArray[np.int64] | None = None,
    recipe: Recipe = RECIPE,
    seed: int = 7,
    card: Mapping[str, Any] | None = None,
) -> LanguageBundle:
    """Train on labelled texts; classes are the labels found, in order of the alphabet.

    Parameters
    ----------
    texts, labels
        Texts and what each is about.
    groups
        Near-duplicates share a number; None finds them.
    recipe, seed
        How; of the folds.
    card
        What the bundle's card says beside the figures.

    Raises
    ------
    UsageError
        If there are fewer than two classes, or labels are missing.
    ModelError
        If a class has too few texts, or the classifier collapses.
    """
    classes = sorted(set(labels))
    if len(classes) < 2 or len(texts) != len(labels):
        raise UsageError(f"{len(texts)} texts with {len(labels)} labels of {classes}: at least two classes are needed")
    y = np.array([classes.index(label) for label in labels], np.int64)
    if np.bincount(y).min() < recipe.folds:
        few = classes[int(np.bincount(y).argmin())]
        raise ModelError(f"class {few!r} has {np.bincount(y).min()} texts: at least {recipe.folds} are needed of each")
    ready = [_ready(text) for text in texts]
    alike = near.groups(ready, 0.5) if groups is None else groups
    used = recipe if np.bincount(y).min() >= 2 * recipe.folds else replace(recipe, folds=2)
    done = train_classifier(ready, y, classes, alike, used, seed=seed)
    inner = {
        "texts": len(y),
        "guard": str(done.figures),
        "strength": done.strength,
        "accuracy": float((done.inner.argmax(axis=1) == y).mean()),
        "log_loss": calibration.log_loss(done.inner, y),
        "ece": calibration.error(done.inner, y).as_dict(),
    }
    return LanguageBundle(
        task="category", family="fast", files=done.model.files(), card={"out_of_fold": inner, **(card or {})}
    )


def _ready(text: str) -> str:
    return clean(check_text(text)[:READ]).text


class FastCategory(Sorting):
    """Keeps the protocol `CategoryModel`; a text's result depends on that text alone."""

    def __init__(self, version: str, model: TextClassifier) -> None:
        self.version = version
        self.model = model
        self.classes = model.classes

    def predict_proba(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """Return calibrated probabilities in the order of `classes`.

        Raises
        ------
        LanguageError
            If a text is none, binary, or beyond what may be read.
        """
        found = self.model.probabilities([_ready(text) for text in texts])
        return [tuple(float(one) for one in row) for row in found]


def from_bundle(bundle: LanguageBundle) -> FastCategory:
    """Make the model that a bundle holds.

    Raises
    ------
    ModelError
        If a file of it is missing or not what it should be.
    """
    files = {name: bundle.file(name) for name in ("arrays.npz", "head.json")}
    return FastCategory(bundle.version, TextClassifier.of(files))
