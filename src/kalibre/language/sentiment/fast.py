"""`builtin:fast`: sentiment by hashed n-grams, word vectors and rules of direction; no torch, milliseconds a text.

Turkish is read by the whole of it. English is read by the rules alone, with English tables, weighed as Turkish labels
taught: it names a class less often, and anything in another language is not judged at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import LanguageError, ModelError, UsageError
from kalibre.language import near
from kalibre.language.base import SENTIMENTS, AssetImpact, Reason, Sentiment
from kalibre.language.bundle import WEIGHTS, LanguageBundle, shipped
from kalibre.language.classifier import Recipe, TextClassifier
from kalibre.language.classifier_training import Trained
from kalibre.language.classifier_training import train as train_classifier
from kalibre.language.ngrams import Block
from kalibre.language.sentiment import signals as signal
from kalibre.language.sentiment.english import ENGLISH
from kalibre.language.sentiment.impact import impacts_of, scale_of
from kalibre.language.sentiment.lexicon import TURKISH
from kalibre.language.sentiment.reasons import reasons_of
from kalibre.language.text.language_id import detect
from kalibre.language.text.normal import Cleaned, check_text, clean
from kalibre.language.vectors import WordVectors

LONGEST = 20_000
"""Characters of a text that is judged as one: headlines, posts, notes. Longer ones are to be cut by whoever asks."""

RECIPE = Recipe(
    blocks=(Block("char", 2, 5, bits=16), Block("word", 1, 2, cut=5, bits=16, scale=0.7)),
    vector_scale=2.0,
    dense_scale=2.0,
    strength=(0.5, 2.0),
    gamma=1.0,
    ridge=0.3,
    balance=0.7,
)
_RULES = Recipe(blocks=(), vector_scale=0.0, dense_scale=4.0, strength=(0.3, 3.0))
_UP = np.array([-1.0, 0.0, 1.0])


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
    recipe: Recipe = RECIPE,
    seed: int = 7,
    card: Mapping[str, Any] | None = None,
) -> LanguageBundle:
    """Train on labelled texts.

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
    recipe, seed
        How; of the folds.
    card
        What the bundle's card says beside the figures.

    Raises
    ------
    UsageError
        If a label is unknown or missing.
    ModelError
        If a class has no text, or the classifier collapses.
    """
    unknown = sorted(set(labels) - set(SENTIMENTS))
    if unknown or len(texts) != len(labels):
        raise UsageError(f"{len(texts)} texts with {len(labels)} labels, {unknown} unknown: one of {SENTIMENTS} each")
    ready = [clean(check_text(text)).text for text in texts]
    y = np.array([SENTIMENTS.index(label) for label in labels], np.int64)
    if len(y) < 10 * recipe.folds or np.bincount(y, minlength=3).min() < recipe.folds:
        raise ModelError(
            f"{np.bincount(y, minlength=3).tolist()} texts of {SENTIMENTS}: at least {recipe.folds} of each and "
            f"{10 * recipe.folds} in all are needed"
        )
    alike = near.groups(ready, 0.7) if groups is None else groups
    found = vectors if vectors is not None else shipped_vectors()
    used = recipe if found is not None else replace(recipe, vector_scale=0.0)
    whole = train_classifier(
        ready, y, SENTIMENTS, alike, used, vectors=found, dense=signal.signals, rename=signal.resolved, seed=seed
    )
    rules = train_classifier(ready, y, SENTIMENTS, alike, _RULES, dense=turkish_signals, seed=seed, guarded=False)
    scale = scale_of(whole.inner @ _UP, None if impacts is None else np.array(impacts, np.float64))
    return _bundle(whole, rules, scale, dict(card or {}), len(y))


def _bundle(whole: Trained, rules: Trained, scale: float, card: dict[str, Any], n_texts: int) -> LanguageBundle:
    from kalibre.language import calibration

    files = {f"turkish.{name}": content for name, content in whole.model.files().items()}
    files |= {f"english.{name}": content for name, content in rules.model.files().items()}
    files["impact.json"] = (json.dumps({"scale": scale}) + "\n").encode()
    inner = {
        "texts": n_texts,
        "guard": str(whole.figures),
        "strength": whole.strength,
        "mix": list(whole.model.mix),
        "calibrator": whole.kind,
        "threshold": whole.abstention.threshold,
        "precision": whole.abstention.precision,
        "coverage": whole.abstention.coverage,
        "rules_only_threshold": rules.abstention.threshold,
        "log_loss": calibration.log_loss(whole.inner, whole.truth),
        "ece": calibration.error(whole.inner, whole.truth).as_dict(),
    }
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
        ready: dict[str, list[tuple[int, Cleaned]]] = {"tr": [], "en": []}
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
                ready["en" if language == "en" else "tr"].append((i, clear))
        for tongue, rows in ready.items():
            model = self.english if tongue == "en" else self.turkish
            if not rows:
                continue
            features = model.features.rows([clear.text for _, clear in rows])
            probabilities = model.calibrator.apply(model.row_logits(features))
            for at, (i, clear) in enumerate(rows):
                found[i] = self._told(clear, probabilities[at], features[at], tongue, model)
        return [one for one in found if one is not None]

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return calibrated probabilities of Turkish texts, shape (n_texts, 3), whatever language they are in."""
        return self.turkish.probabilities([clean(text).text for text in texts])

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
        self, clear: Cleaned, row: NDArray[np.float64], features: Any, language: str, model: TextClassifier
    ) -> Sentiment:
        reading = signal.reading_of(clear.text, ENGLISH if language == "en" else TURKISH)
        best = int(row.argmax())
        unsure = bool(row[best] < model.threshold)
        score = float(row @ _UP) * self._scale
        reasons = reasons_of(model, clear.text, features, reading)
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
