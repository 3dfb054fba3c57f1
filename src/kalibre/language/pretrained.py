"""Models of a hub or a folder of transformers behind the protocols of `base`: for users with internet and torch.

`model=` names a folder or a hub id. Weights are read from safetensors alone: a `.bin` file is pickle, which runs what
it holds. Nothing is trusted to bring code of its own. What such a model says is as it says it: not calibrated on
anything of ours, and never abstaining but where a text cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from kalibre.core.errors import LanguageError, ModelError
from kalibre.language.base import SENTIMENTS, AssetImpact, Entity, Sentiment, Span
from kalibre.language.category.sorting import Sorting
from kalibre.language.encoder.decoding import candidates, names, probability, softmax, trimmed, word_logits
from kalibre.language.encoder.hub import open_network
from kalibre.language.encoder.networks import HubCodec, HubNetwork, outputs
from kalibre.language.sentiment.directions import read
from kalibre.language.sentiment.encoder import unreadable
from kalibre.language.sentiment.english import ENGLISH
from kalibre.language.sentiment.impact import focused, impacts_of, scale_of
from kalibre.language.sentiment.lexicon import TURKISH
from kalibre.language.text.assets import link
from kalibre.language.text.language_id import detect
from kalibre.language.text.normal import clean
from kalibre.language.text.tokens import tokenize

_LONGEST = 100_000
"""Characters of a text that are read."""

_SENTIMENTS = {
    "negative": ("negative", "neg", "negatif", "olumsuz", "bearish", "very negative", "1 star", "2 stars"),
    "neutral": ("neutral", "neu", "notr", "nötr", "tarafsız", "mixed", "3 stars"),
    "positive": ("positive", "pos", "pozitif", "olumlu", "bullish", "very positive", "4 stars", "5 stars"),
}
_TYPES = {
    "ORGANIZATION": ("ORG", "ORGANIZATION", "ORGANISATION", "CORPORATION", "COMPANY", "KURUM"),
    "PERSON": ("PER", "PERS", "PERSON", "KISI", "KİŞİ"),
    "LOCATION": ("LOC", "LOCATION", "GPE", "PLACE", "YER"),
    "MONEY": ("MONEY", "PARA"),
    "PERCENT": ("PERCENT", "YUZDE", "YÜZDE"),
    "TIME": ("TIME", "DATE", "TARIH", "TARİH", "SAAT"),
    "TICKER": ("TICKER",),
}


def load(task: str, model: str) -> Any:
    """Load a model of a hub, or of a folder that transformers wrote, for a task.

    Parameters
    ----------
    task
        One of `TASKS`.
    model
        Folder, or hub id such as `owner/name`.

    Raises
    ------
    UsageError
        If there is no such folder or id.
    ModelError
        If transformers is not installed, the hub cannot be reached, the weights are pickle, or the model has no head
        for the task, or one whose labels mean nothing here.
    """
    network, tokenizer, version = open_network(task, model)
    if task == "sentiment":
        return HubSentiment(network, tokenizer, version)
    if task == "entities":
        return HubEntities(network, tokenizer, version)
    if task == "answering":
        return HubReader(network, tokenizer, version)
    return HubCategory(network, tokenizer, version)


class _Hub:
    """What the models of a hub share: windows of a text, and the logits of each."""

    def __init__(self, network: HubNetwork, tokenizer: Any, version: str) -> None:
        self.version = version
        self._network = network
        self._codec = HubCodec(tokenizer)
        longest = int(getattr(network.model.config, "max_position_embeddings", 512) or 512)
        # Some number their positions from the filling sign on: two places fewer.
        self._length = max(8, min(longest - 2, 512))
        told: Mapping[Any, str] = network.model.config.id2label
        self._labels = [str(told[number]) for number in sorted(told)]

    def _first(self, text: str) -> NDArray[np.float32]:
        found = self._codec.windows(_readable(text), length=self._length)[0]
        return outputs(self._network, [found.ids])[0]


class HubSentiment(_Hub):
    """Keeps `SentimentModel`. Labels are matched by their names; stars count as far as they point."""

    def __init__(self, network: HubNetwork, tokenizer: Any, version: str) -> None:
        super().__init__(network, tokenizer, version)
        known = {alias: at for at, name in enumerate(SENTIMENTS) for alias in _SENTIMENTS[name]}
        self._which = [known.get(label.lower().replace("_", " "), -1) for label in self._labels]
        if min(self._which) < 0 or not {0, 2} <= set(self._which):
            raise ModelError(
                f"the labels of {version!r} are {', '.join(self._labels)}: name a model whose labels say negative, "
                "neutral and positive, or fine-tune this one with `kalibre nlp train sentiment`"
            )

    def predict(self, texts: Sequence[str]) -> list[Sentiment]:
        """Return one result per text."""
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> Sentiment:
        against = unreadable(text)
        if against is not None:
            return Sentiment(label=None, probabilities=None, abstained=against, language="unknown", model=self.version)
        clear = clean(text).text
        language, _ = detect(clear)
        reading = read(clear, ENGLISH if language == "en" else TURKISH)
        sure = np.zeros(3)
        np.add.at(sure, self._which, softmax(self._first(focused(clear, reading))))
        told = (float(sure[0]), float(sure[1]), float(sure[2]))
        assets = impacts_of(clear, reading, (told[2] - told[0]) * scale_of(sure, None))
        return Sentiment(
            label=SENTIMENTS[int(sure.argmax())],
            probabilities=told,
            assets=tuple(AssetImpact(asset=asset, impact=one) for asset, one in assets),
            language=language,
            model=self.version,
        )


class HubCategory(_Hub, Sorting):
    """Keeps `CategoryModel`; its classes are the model's own, and so are the languages that it reads."""

    languages = None

    def __init__(self, network: HubNetwork, tokenizer: Any, version: str) -> None:
        super().__init__(network, tokenizer, version)
        self.classes = tuple(self._labels)

    def predict_proba(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """Return probabilities in the order of `classes`."""
        return [tuple(float(value) for value in softmax(self._first(text))) for text in texts]


class HubEntities(_Hub):
    """Keeps `EntityModel`: IOB2 labels or bare types, brought to the product's types; others are left out."""

    def __init__(self, network: HubNetwork, tokenizer: Any, version: str) -> None:
        super().__init__(network, tokenizer, version)
        known = {alias: name for name, aliases in _TYPES.items() for alias in aliases}
        self._tags = []
        for label in self._labels:
            begins, kind = re.fullmatch(r"(?:([BIES])-)?(.+)", label.upper()).groups()  # type: ignore[union-attr]
            found = known.get(kind)
            bare = begins is None or begins in "IE"
            self._tags.append("O" if found is None else f"{'I' if bare else 'B'}-{found}")
        if set(self._tags) == {"O"}:
            raise ModelError(
                f"the labels of {version!r} are {', '.join(self._labels[:8])}: none is a type that is known here "
                f"({', '.join(_TYPES)}); fine-tune it with `kalibre nlp train entities`"
            )

    def predict(self, texts: Sequence[str]) -> list[list[Entity]]:
        """Return the entities of each text."""
        return [self._one(text) for text in texts]

    def _one(self, text: str) -> list[Entity]:
        readable = _readable(text)
        tokens = tokenize(readable)
        if not tokens:
            return []
        windows = self._codec.windows(readable, length=self._length, stride=32)
        logits = outputs(self._network, [window.ids for window in windows], batch=8)
        said = word_logits(windows, logits, [(token.start, token.end) for token in tokens])
        found = names(text, tokens, *_iob2(said, self._tags))
        return [replace(one, link=link(one.text)) if one.type == "ORGANIZATION" else one for one in found]


def _iob2(logits: NDArray[np.float64], tags: Sequence[str]) -> tuple[NDArray[np.float64], list[str]]:
    """Join labels that mean one tag (their likeliest speaks) and give a type without a beginning one."""
    types = sorted({tag[2:] for tag in tags if tag != "O"})
    wanted = ["O"] + [f"{part}-{kind}" for kind in types for part in "BI"]
    found = np.full((len(logits), len(wanted)), -np.inf)
    for at, tag in enumerate(tags):
        column = wanted.index(tag)
        found[:, column] = np.maximum(found[:, column], logits[:, at])
    for kind in types:
        begin, inside = wanted.index(f"B-{kind}"), wanted.index(f"I-{kind}")
        if not np.isfinite(found[:, begin]).any():
            # Bare types: a name begins where its type does, hence a little less readily than it goes on.
            found[:, begin] = found[:, inside] - 1e-6
        if not np.isfinite(found[:, inside]).any():
            found[:, inside] = -1e9
    return np.maximum(found, -1e9), wanted


class HubReader(_Hub):
    """Keeps `Reader`; a span's probability is a logistic of how much likelier it is than no answer, not calibrated."""

    def read(self, question: str, passages: Sequence[str], *, limit: int = 5) -> list[Span]:
        """Return the likeliest spans, the best first."""
        found: dict[tuple[int, int, int], Span] = {}
        for number, passage in enumerate(passages):
            for start, end, score in self._spans(question, passage, limit):
                sure = probability(score, 1.0, 0.0)
                span = Span(passage=number, start=start, end=end, text=passage[start:end], probability=sure)
                known = found.get((number, start, end))
                if known is None or known.probability < sure:
                    found[number, start, end] = span
        return sorted(found.values(), key=lambda span: -span.probability)[:limit]

    def _spans(self, question: str, passage: str, limit: int) -> Iterator[tuple[int, int, float]]:
        text, asked = _readable(passage), _readable(question)[:1000]
        if not text.strip() or not asked.strip():
            return
        windows = self._codec.windows(text, question=asked, length=min(self._length, 384), stride=64)
        said = outputs(self._network, [window.ids for window in windows], batch=8)
        for window, logits in zip(windows, said, strict=True):
            for one in candidates(window, logits, most=limit):
                start, end = trimmed(text, one.start, one.end)
                if start < end:
                    yield start, end, one.score


def _readable(text: object) -> str:
    """Return a text that a tokenizer takes: of the same length, lone surrogates as U+FFFD, cut where it is endless."""
    if not isinstance(text, str):
        raise LanguageError(f"{text!r} is no text: pass a string")
    return re.sub("[\ud800-\udfff]", "\ufffd", text[:_LONGEST])
