"""`builtin:fast`: sentiment by hashed n-grams, word vectors and rules of direction; no torch, milliseconds a text.

Turkish is read by the whole of it. English is read by the rules with English tables and by words, weighed as English
labels taught; where there were too few of these, by the rules alone, as Turkish ones taught. Anything in another
language is not judged at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import LanguageError, ModelError, UsageError
from kalibre.language import calibration, near
from kalibre.language.base import SENTIMENTS, AssetImpact, Reason, Sentiment
from kalibre.language.bundle import WEIGHTS, LanguageBundle, shipped
from kalibre.language.classifier import Recipe, TextClassifier
from kalibre.language.classifier_training import Trained
from kalibre.language.classifier_training import train as train_classifier
from kalibre.language.ngrams import Block
from kalibre.language.sentiment import signals as signal
from kalibre.language.sentiment.english import ENGLISH
from kalibre.language.sentiment.impact import focused, impacts_of, scale_of
from kalibre.language.sentiment.lexicon import TURKISH
from kalibre.language.sentiment.reasons import UP, reasons_of
from kalibre.language.text.language_id import detect
from kalibre.language.text.normal import Cleaned, check_text, clean
from kalibre.language.vectors import WordVectors

LONGEST = 20_000
"""Characters of a text that is judged as one: headlines, posts, notes. Longer ones are to be cut by whoever asks."""
_AT_ONCE = 512

RECIPE = Recipe(
    blocks=(Block("char", 2, 5, bits=16), Block("word", 1, 2, cut=5, bits=16, scale=0.7)),
    vector_scale=2.0,
    dense_scale=2.0,
    strength=(0.5, 2.0),
    gamma=1.0,
    ridge=0.3,
    balance=0.7,
)
"""Of headlines and notes."""
POSTS = replace(
    RECIPE,
    blocks=(
        Block("char", 2, 6, bits=21),
        Block("word", 1, 2, cut=5, bits=19, scale=0.7),
        Block("word", 1, 2, bits=19, scale=0.5),
        Block("cue", 1, 1, bits=20, scale=0.87),
        Block("line", 3, 6, bits=21),
    ),
    vector_scale=0.7,
    vector_even=True,
    dense_scale=0.4,
    settled=False,
    strength=(),
    ridge=0.2,
    sketch=0,
    balance=0.5,
    folds=10,
)
"""Of thousands of posts: letters across words and cues beside what headlines are read by, under an exact kernel."""
_MANY = 2_000
"""Texts from which on both recipes are tried where none is asked for."""
_RULES = Recipe(blocks=(), vector_scale=0.0, dense_scale=4.0, strength=(0.3, 3.0))
_ENGLISH = replace(_RULES, blocks=(Block("word", 1, 2, bits=16),), strength=(0.1, 0.3, 1.0, 3.0))


def english_signals(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the signals that mean the same in both languages, read by the English tables."""
    return signal.signals(texts, ENGLISH)[:, : signal.COMMON]


def turkish_signals(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return the same, read by the Turkish tables."""
    return signal.signals(texts, TURKISH)[:, : signal.COMMON]


def train(
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    impacts: Sequence[float] | None = None,
    vectors: WordVectors | None = None,
    groups: NDArray[np.int64] | None = None,
    recipe: Recipe | None = None,
    seed: int = 7,
    card: Mapping[str, Any] | None = None,
) -> LanguageBundle:
    """Train on labelled texts; those in English teach the English part, what is in another language is left out.

    Penalty, mix of heads, calibration and the threshold of abstention are chosen by cross-validation inside the texts,
    near-duplicates in one fold.

    Parameters
    ----------
    texts, labels
        Texts and their `SENTIMENTS`.
    impacts
        -1 to 1 a text, where they are known: they set the scale of the impacts told.
    vectors
        Word vectors; None takes those of the shipped model, where there is one.
    groups
        Near-duplicates share a number; None finds them.
    recipe
        How; None takes `RECIPE`, or of 2,000 Turkish texts or more whichever of `RECIPE` and `POSTS` has the lower
        log-loss out of fold.
    seed
        Of the folds.
    card
        What the bundle's card says beside the figures.

    Raises
    ------
    UsageError
        If a label is unknown or missing.
    ModelError
        If a class has too few Turkish texts, or the classifier collapses.
    """
    unknown = sorted(set(labels) - set(SENTIMENTS))
    if unknown or len(texts) != len(labels):
        raise UsageError(f"{len(texts)} texts with {len(labels)} labels, {unknown} unknown: one of {SENTIMENTS} each")
    clear = [clean(check_text(text)).text for text in texts]
    y = np.array([SENTIMENTS.index(label) for label in labels], np.int64)
    tongue = np.array([detect(text)[0] for text in clear])
    ready = [_focused(text, language) for text, language in zip(clear, tongue.tolist(), strict=True)]
    alike = near.groups(ready, 0.7) if groups is None else groups
    english, rest = tongue == "en", tongue == "other"
    turkish = ~english & ~rest
    plain = recipe or RECIPE
    if not _enough(y[turkish], plain):
        raise ModelError(
            f"{np.bincount(y[turkish], minlength=3).tolist()} Turkish texts of {SENTIMENTS} ({int(english.sum())} more "
            f"are English, {int(rest.sum())} of other languages): at least {plain.folds} of each and "
            f"{10 * plain.folds} in all are needed"
        )
    both = recipe is None and turkish.sum() >= _MANY and _enough(y[turkish], POSTS)
    found = vectors if vectors is not None else shipped_vectors()
    tried = [
        train_classifier(
            _those(ready, turkish), y[turkish], SENTIMENTS, alike[turkish],
            one if found is not None else replace(one, vector_scale=0.0),
            vectors=found, dense=signal.signals, rename=signal.resolved, seed=seed,
        )
        for one in ([RECIPE, POSTS] if both else [plain])
    ]  # fmt: skip
    whole = min(tried, key=lambda one: calibration.log_loss(one.inner, one.truth))
    if _enough(y[english], _ENGLISH):
        other = train_classifier(
            _those(ready, english), y[english], SENTIMENTS, alike[english], _ENGLISH, dense=english_signals, seed=seed
        )
    else:
        other = train_classifier(
            _those(ready, turkish), y[turkish], SENTIMENTS, alike[turkish], _RULES,
            dense=turkish_signals, seed=seed, guarded=False,
        )  # fmt: skip
    known = None if impacts is None else np.array(impacts, np.float64)[turkish]
    languages = {"turkish": int(turkish.sum()), "english": int(english.sum()), "left_out": int(rest.sum())}
    return _bundle(whole, other, scale_of(whole.inner @ UP, known), {"languages": languages, **(card or {})})


def _focused(text: str, language: str) -> str:
    return focused(text, signal.reading_of(text, ENGLISH if language == "en" else TURKISH))


def _those(texts: Sequence[str], chosen: NDArray[np.bool_]) -> list[str]:
    return [text for text, one in zip(texts, chosen.tolist(), strict=True) if one]


def _enough(y: NDArray[np.int64], recipe: Recipe) -> bool:
    return len(y) >= 10 * recipe.folds and int(np.bincount(y, minlength=3).min()) >= recipe.folds


def _bundle(turkish: Trained, english: Trained, scale: float, card: dict[str, Any]) -> LanguageBundle:
    files = {f"turkish.{name}": content for name, content in turkish.model.files().items()}
    files |= {f"english.{name}": content for name, content in english.model.files().items()}
    files["impact.json"] = (json.dumps({"scale": scale}) + "\n").encode()
    # Rules taught by Turkish texts have no features but the signals.
    taught = "english texts" if english.model.features.recipe.blocks else "turkish texts, read by rules"
    inner = {**turkish.told(), "english": {"taught_by": taught, **english.told()}}
    return LanguageBundle(task="sentiment", family="fast", files=files, card={"out_of_fold": inner, **card})


def shipped_vectors() -> WordVectors | None:
    """Return the word vectors of the shipped model, if there is one."""
    if not (WEIGHTS / "sentiment-fast").is_dir():
        return None
    return from_bundle(shipped("sentiment", "fast")).turkish.features.vectors


class FastSentiment:
    """Keeps the protocol `SentimentModel`; a text's result depends on that text alone."""

    def __init__(self, version: str, turkish: TextClassifier, english: TextClassifier, impact_scale: float) -> None:
        self.version = version
        self.turkish, self.english = turkish, english
        self._scale = impact_scale

    def predict(self, texts: Sequence[str]) -> list[Sentiment]:
        """Return one result per text, in order."""
        found: list[Sentiment | None] = [None] * len(texts)
        ready: dict[str, list[tuple[int, Cleaned, str]]] = {"tr": [], "en": []}
        for i, text in enumerate(texts):
            said = self._unreadable(text)
            if said is not None:
                found[i] = said
                continue
            clear = clean(text)
            language, _ = detect(clear.text)
            if language == "other":
                found[i] = self._nothing("language", "other")
            else:
                tongue = "en" if language == "en" else "tr"
                ready[tongue].append((i, clear, _focused(clear.text, tongue)))
        for tongue, rows in ready.items():
            model = self.english if tongue == "en" else self.turkish
            for first in range(0, len(rows), _AT_ONCE):
                part = rows[first : first + _AT_ONCE]
                features = model.features.rows([about for *_, about in part])
                probabilities = model.calibrator.apply(model.row_logits(features))
                slopes = model.slopes(features, UP)
                for at, (i, clear, about) in enumerate(part):
                    slope = None if slopes is None else slopes[at]
                    found[i] = self._told(clear, about, probabilities[at], features[at], slope, tongue, model)
        return [one for one in found if one is not None]

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return calibrated probabilities of Turkish texts, shape (n_texts, 3), whatever language they are in."""
        return self.turkish.probabilities([_focused(clean(text).text, "tr") for text in texts])

    def _unreadable(self, text: Any) -> Sentiment | None:
        try:
            check_text(text, limit=LONGEST, empty=False)
        except LanguageError:
            if not isinstance(text, str):
                return self._nothing("not text")
            if len(text) > LONGEST:
                return self._nothing("too long")
            return self._nothing("binary" if text.strip() else "empty")
        if sum(letter.isalpha() for letter in text) < 2:
            return self._nothing("no words")
        return None

    def _nothing(self, why: str, language: str = "unknown") -> Sentiment:
        return Sentiment(label=None, probabilities=None, abstained=why, language=language, model=self.version)

    def _told(
        self, clear: Cleaned, about: str, row: NDArray[np.float64], features: Any, slope: Any, language: str,
        model: TextClassifier,
    ) -> Sentiment:  # fmt: skip
        tables = ENGLISH if language == "en" else TURKISH
        reading = signal.reading_of(clear.text, tables)
        best = int(row.argmax())
        unsure = bool(row[best] < model.threshold)
        score = float(row @ UP) * self._scale
        reasons = reasons_of(model, about, features, signal.reading_of(about, tables), slope)
        return Sentiment(
            label=None if unsure else SENTIMENTS[best],
            probabilities=(float(row[0]), float(row[1]), float(row[2])),
            assets=tuple(AssetImpact(asset=asset, impact=one) for asset, one in impacts_of(clear.text, reading, score)),
            reasons=tuple(
                Reason(start=start, end=end, weight=weight)
                for (start, end), weight in ((clear.span(*place), weight) for place, weight in reasons)
            ),
            abstained="unsure" if unsure else None,
            language=language,
            model=self.version,
        )


def from_bundle(bundle: LanguageBundle) -> FastSentiment:
    """Make the model that a bundle holds.

    Raises
    ------
    ModelError
        If a file of it is missing or not what it should be.
    """
    parts = {
        name: {key: bundle.file(f"{name}.{key}") for key in ("arrays.npz", "head.json")}
        for name in ("turkish", "english")
    }
    try:
        scale = float(json.loads(bundle.file("impact.json"))["scale"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"the impacts of {bundle.version} cannot be read ({error}): restore it") from error
    turkish = TextClassifier.of(parts["turkish"], signal.signals, signal.resolved)
    return FastSentiment(bundle.version, turkish, TextClassifier.of(parts["english"], english_signals), scale)
