"""`builtin:encoder`: names by the project's encoder (or one of a hub) with a head over the first piece of each word."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError
from kalibre.language.bundle import LanguageBundle
from kalibre.language.encoder.decoding import best_tags, first_pieces, softmax, word_logits
from kalibre.language.encoder.foundations import Foundation, Runner, bundled, foundation, runner, settings_of
from kalibre.language.encoder.heads import NONE, Example, Tuning, tune
from kalibre.language.encoder.networks import Codec, Network, outputs
from kalibre.language.encoder.tasks import apart, logistic, readable
from kalibre.language.entities.fast import FastEntities
from kalibre.language.entities.tags import Mention, iob2, mentions

LONGEST, STRIDE = 192, 32
"""Pieces of a window, and how many two windows share."""

TUNING = Tuning(epochs=8)
_APART = " "
Words = list[tuple[int, int]]


def laid_out(tokens: Sequence[str]) -> tuple[str, Words]:
    """Return tokens as one text, a blank between two, and where each stands in it.

    Examples
    --------
    >>> laid_out(["Örnek", "Holding'in", "kârı"])
    ("Örnek Holding'in kârı", [(0, 5), (6, 16), (17, 21)])
    """
    words: Words = []
    at = 0
    for token in tokens:
        words.append((at, at + len(token)))
        at += len(token) + len(_APART)
    return _APART.join(tokens), words


def train(
    sentences: Sequence[Sequence[str]],
    tags: Sequence[Sequence[str]],
    *,
    encoder: str | Foundation = "builtin:encoder",
    tuning: Tuning = TUNING,
    trusted: Mapping[str, float] | None = None,
    share: float = 0.1,
    seed: int = 0,
    card: Mapping[str, Any] | None = None,
    told: Callable[[dict[str, Any]], None] = lambda point: None,
) -> LanguageBundle:
    """Fine-tune an encoder on tagged sentences.

    A part of the sentences, near-duplicates on one side, is kept for early stopping (F1 of whole mentions) and for the
    probability that a mention is right; no other sentence is looked at.

    Parameters
    ----------
    sentences, tags
        Tokens, and as many IOB2 tags (of any types) for each sentence.
    encoder, tuning, share, seed, card, told
        As `sentiment.encoder.train` takes them.
    trusted
        How often what the rules find beside the names (amounts, times, tickers) is right, by type.

    Raises
    ------
    ModelError
        If a sentence has not as many tags as tokens, or nothing is learnt.
    """
    for tokens, marks in zip(sentences, tags, strict=True):
        if len(tokens) != len(marks):
            raise ModelError(f"a sentence of {len(tokens)} tokens that begins {list(tokens[:3])} has {len(marks)} tags")
    texts = (" ".join(tokens) for tokens in sentences)
    base = foundation("entities", encoder, texts) if isinstance(encoder, str) else encoder
    codec, length = base.codec, min(base.length, LONGEST)
    gold = [mentions(marks) for marks in tags]
    types = sorted({one.type for found in gold for one in found})
    known = ["O", *(f"{part}-{kind}" for kind in types for part in "BI")]
    laid = [laid_out([readable(token) for token in tokens]) for tokens in sentences]
    learn, kept = apart([text for text, _ in laid], share=share, seed=seed)
    examples = [
        example for at in learn for example in _examples(codec, length, laid[at], iob2(gold[at], len(tags[at])), known)
    ]
    cut = [codec.windows(laid[at][0], length=length, stride=STRIDE) for at in kept]

    def read(network: Network) -> list[list[Mention]]:
        said = iter(outputs(network, [window.ids for windows in cut for window in windows]))
        return [
            _mentions(word_logits(windows, [next(said) for _ in windows], laid[at][1]), known)
            for at, windows in zip(kept, cut, strict=True)
        ]

    right = {(at, *one[:3]) for at in kept for one in gold[at]}

    def metric(network: Network) -> float:
        found = {(at, *one[:3]) for at, one_text in zip(kept, read(network), strict=True) for one in one_text}
        return 2.0 * len(found & right) / max(len(found) + len(right), 1)

    tuned = tune(lambda seed: base.network("pieces", known, seed, tuning.on()), examples, metric, tuning, told=told)
    told_of = [(at, one) for at, found in zip(kept, read(tuned.network), strict=True) for one in found]
    slope, offset = logistic(
        [_log_odds(one.probability) for _, one in told_of], [(at, *one[:3]) in right for at, one in told_of]
    )
    figures = {
        "validation": {"sentences": len(kept), "f1": tuned.metric, "seed": tuned.seed},
        "learnt_from": len(learn),
        "rounds": tuned.rounds,
    }
    settings = {
        "length": length, "tags": known, "slope": slope, "offset": offset, "trusted": dict(trusted or {}),
    }  # fmt: skip
    shown = [window.ids for windows in cut for window in windows][:64]
    return bundled("entities", base, tuned.network, "pieces", shown, settings, {**figures, **(card or {})})


def _examples(
    codec: Codec, length: int, laid: tuple[str, Words], tags: Sequence[str], known: Sequence[str]
) -> Iterator[Example]:
    """Yield a sentence's windows: the first piece of each word has its tag, the others are not judged."""
    text, words = laid
    for window in codec.windows(text, length=length, stride=STRIDE):
        labels = [NONE] * len(window.ids)
        for piece, tag in zip(first_pieces(window, words), tags, strict=True):
            if piece >= 0:
                labels[piece] = known.index(tag)
        if any(label != NONE for label in labels):
            yield Example(ids=window.ids, labels=labels)


def _mentions(logits: NDArray[np.float64], tags: Sequence[str]) -> list[Mention]:
    chosen = best_tags(logits, tags)
    sure = softmax(logits) if len(chosen) else logits
    return [
        one._replace(probability=float(np.mean([sure[at, chosen[at]] for at in range(one.start, one.end)])))
        for one in mentions([tags[at] for at in chosen])
    ]


def _log_odds(probability: float) -> float:
    kept = min(max(probability, 1e-6), 1.0 - 1e-6)
    return float(np.log(kept / (1.0 - kept)))


class EncoderTagger:
    """Tags sentences of tokens: what a CoNLL file is scored on, and what `FastEntities` takes in place of its field."""

    lexicon = None
    """It knows nothing of unlabelled words but what the encoder has read."""

    def __init__(self, found: Runner, length: int, tags: Sequence[str], curve: tuple[float, float]) -> None:
        self.tags = tuple(tags)
        self._runner, self._length, self._curve = found, length, curve

    def tag(self, sentences: Sequence[Sequence[str]]) -> list[list[Mention]]:
        """Return the mentions of each sentence in order, each with its calibrated probability."""
        return [
            [one._replace(probability=self._sure(one.probability)) for one in _mentions(self.logits(tokens), self.tags)]
            for tokens in sentences
        ]

    def logits(self, tokens: Sequence[str]) -> NDArray[np.float64]:
        """Return the logits of `tags` at each token of a sentence."""
        text, words = laid_out([readable(token) for token in tokens])
        windows = self._runner.codec.windows(text, length=self._length, stride=STRIDE)
        return word_logits(windows, [self._runner.run(window.ids) for window in windows], words)

    def _sure(self, probability: float) -> float:
        slope, offset = self._curve
        return float(1.0 / (1.0 + np.exp(-np.clip(slope * _log_odds(probability) + offset, -30.0, 30.0))))


def from_bundle(bundle: LanguageBundle) -> FastEntities:
    """Make the model that a bundle holds: the encoder's names among the rules' amounts, times and tickers.

    Raises
    ------
    ModelError
        If a file of it is missing or not what it should be, or a package that it runs on is not installed.
    """
    settings = settings_of(bundle)
    try:
        tags = [str(tag) for tag in settings["tags"]]
        curve = (float(settings["slope"]), float(settings["offset"]))
        trusted = {str(kind): float(value) for kind, value in settings["trusted"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{bundle.version} cannot be read as an entity model ({error}): restore it or train anew"
        ) from error
    tagger: Any = EncoderTagger(runner(bundle), settings["length"], tags, curve)
    return FastEntities(bundle.version, tagger, trusted)
