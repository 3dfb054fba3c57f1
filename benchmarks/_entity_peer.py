"""The plain CRF of the usual tutorial (sklearn-crfsuite's, on CRFsuite itself): the named peer of the entity models."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SETTINGS = {"c1": 0.1, "c2": 0.1, "max_iterations": 100, "feature.possible_transitions": True}
"""Of the tutorial: elastic net by L-BFGS, 100 iterations, all transitions."""


def word_features(sentence: Sequence[str], at: int) -> dict[str, Any]:
    """Return the tutorial's features of a word; it has no part of speech here."""
    word = sentence[at]
    features: dict[str, Any] = {
        "bias": 1.0,
        "word.lower()": word.lower(),
        "word[-3:]": word[-3:],
        "word[-2:]": word[-2:],
        "word.isupper()": word.isupper(),
        "word.istitle()": word.istitle(),
        "word.isdigit()": word.isdigit(),
    }
    for step, name in ((-1, "-1"), (1, "+1")):
        if 0 <= at + step < len(sentence):
            other = sentence[at + step]
            features |= {
                f"{name}:word.lower()": other.lower(),
                f"{name}:word.istitle()": other.istitle(),
                f"{name}:word.isupper()": other.isupper(),
            }
        else:
            features["BOS" if step < 0 else "EOS"] = True
    return features


def told(
    train: Sequence[tuple[Sequence[str], Sequence[str]]], test: Sequence[Sequence[str]], iterations: int = 100
) -> list[list[str]]:
    """Train on tagged sentences and return the tags of others."""
    import pycrfsuite

    trainer = pycrfsuite.Trainer(algorithm="lbfgs", verbose=False)
    trainer.set_params(SETTINGS | {"max_iterations": iterations})
    for tokens, tags in train:
        trainer.append([word_features(tokens, at) for at in range(len(tokens))], tags)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "peer.crfsuite")
        trainer.train(path)
        tagger = pycrfsuite.Tagger()
        tagger.open(path)
        return [tagger.tag([word_features(tokens, at) for at in range(len(tokens))]) for tokens in test]
