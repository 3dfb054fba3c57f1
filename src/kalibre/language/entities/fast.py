"""`builtin:fast`: names by a conditional random field, amounts, times and tickers by rules, in one list.

The field finds organisations, people and places; what the rules find (`kalibre.language.text`) goes before it. Offsets
are of the text as given and leave a suffix out: `Garanti BBVA'dan` is `Garanti BBVA`.
"""

from __future__ import annotations

import json
import random
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from typing import Any

from msgspec.structs import replace

from kalibre.core.errors import ModelError
from kalibre.language.base import Entity
from kalibre.language.bundle import LanguageBundle, pack_arrays, shipped, unpack_arrays
from kalibre.language.entities import tagger as taggers
from kalibre.language.entities.crf import Crf
from kalibre.language.entities.crf_training import Recipe
from kalibre.language.entities.endings import bare_end
from kalibre.language.entities.known import find_known
from kalibre.language.entities.lexicon import Lexicon
from kalibre.language.entities.tagger import Tagger, Trust
from kalibre.language.entities.tags import Mention, iob2, labels, mentions
from kalibre.language.text.amounts import find_amounts
from kalibre.language.text.assets import link
from kalibre.language.text.casing import title, upper
from kalibre.language.text.normal import check_text, clean
from kalibre.language.text.sentences import split
from kalibre.language.text.tickers import find_tickers
from kalibre.language.text.tokens import Token, tokenize

TYPES = ("ORGANIZATION", "PERSON", "LOCATION")
"""What the field finds."""
RULED = ("MONEY", "PERCENT", "TIME", "TICKER")
"""What the rules find."""
RECIPE = Recipe(passes=6, shrink=0.02)
LIMIT = 2_000_000
"""Characters of a text that is read at once: a few minutes' work."""
_LONGEST = 150  # tokens of a piece that is tagged at once: what is longer is a list, no sentence
_SURE = 0.6
"""Probability from which a name by its context goes before organisations known by name."""
_SHOUTED, _TITLED = 0.08, 0.12  # shares of sentences learnt again in capitals and with every word large
_MARKS = "\"'“”‘’«»()[]{},;:!?…-–—"


@dataclass
class FastEntities:
    """Finds names, amounts, times and tickers.

    Attributes
    ----------
    version
        Of the bundle.
    tagger
        The field.
    trusted
        How often what the rules find is right, by type.
    """

    version: str
    tagger: Tagger
    trusted: Mapping[str, float]

    def predict(self, texts: Sequence[str]) -> list[list[Entity]]:
        """Return the entities of each text, by start, not overlapping; offsets are of the text as given.

        `probability` is calibrated: of a name by its context, of an amount, time or ticker by its type; None where only
        a list of known organisations speaks for it. `link` is the ticker of a listed company, or what a ticker stands
        for.

        Raises
        ------
        LanguageError
            If a text is binary, no text at all, or longer than `LIMIT` characters.
        """
        return [self._placed(check_text(text, limit=LIMIT)) for text in texts]

    def _placed(self, text: str) -> list[Entity]:
        cleaned = clean(text)
        found = []
        for one in self._read(cleaned.text):
            start, end = cleaned.span(one.start, one.end)
            while end > start + 1 and unicodedata.category(text[end - 1]) == "Cf":
                end -= 1  # what nobody sees belongs to no name
            found.append(one if cleaned.text is text else replace(one, start=start, end=end, text=text[start:end]))
        return found

    def _read(self, text: str) -> list[Entity]:
        found = list(self._ruled(text))
        taken = sorted((one.start, one.end) for one in found)
        pieces = list(_pieces(text))
        named = [one for one in self._named(text, pieces) if not _meets(taken, one.start, one.end)]
        listed = list(self._listed(text, pieces, taken))
        kept = [one for one in named if _stands(one, listed)]
        found += kept
        taken = sorted((one.start, one.end) for one in found)
        found += [one for one in listed if not _meets(taken, one.start, one.end)]
        return sorted(found, key=lambda one: one.start)

    def _ruled(self, text: str) -> Iterator[Entity]:
        tickers = find_tickers(text)
        taken = sorted((one.start, one.end) for one in tickers)
        for ticker in tickers:
            yield self._entity(text, ticker.start, ticker.end, "TICKER", ticker.symbol)
        for amount in find_amounts(text):
            if not _meets(taken, amount.start, amount.end):
                yield self._entity(text, amount.start, amount.end, amount.type, None)

    def _entity(self, text: str, start: int, end: int, kind: str, linked: str | None) -> Entity:
        trust = self.trusted.get(kind)
        return Entity(start=start, end=end, text=text[start:end], type=kind, probability=trust, link=linked)

    def _named(self, text: str, pieces: Sequence[list[Token]]) -> Iterator[Entity]:
        """Yield what the field finds."""
        for piece, found in zip(
            pieces, self.tagger.tag([[one.text for one in piece] for piece in pieces]), strict=True
        ):
            for mention in found:
                for part in _parted(piece[mention.start : mention.end]):
                    start, end = _bounds(text, part)
                    if start == end:
                        continue
                    name, kind = text[start:end], mention.type
                    linked = link(name) if kind == "ORGANIZATION" else None
                    yield Entity(
                        start=start, end=end, text=name, type=kind, probability=mention.probability, link=linked
                    )

    def _listed(self, text: str, pieces: Sequence[list[Token]], taken: Sequence[tuple[int, int]]) -> Iterator[Entity]:
        """Yield organisations known by name."""
        capital = self.tagger.lexicon.capital if self.tagger.lexicon else lambda _: "none"
        for piece in pieces:
            for start, end, symbol in find_known(text, piece, capital, lambda a, b: not _meets(taken, a, b)):
                yield Entity(start=start, end=end, text=text[start:end], type="ORGANIZATION", link=symbol)


def _stands(named: Entity, listed: Sequence[Entity]) -> bool:
    """Say whether what the field found stands against organisations known by name: it is sure, or holds just one."""
    met = [one for one in listed if one.start < named.end and one.end > named.start]
    if not met or (named.probability or 0.0) >= _SURE:
        return True
    whole = named.start <= met[0].start and met[0].end <= named.end
    return named.type == "ORGANIZATION" and len(met) == 1 and whole


def _parted(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """Part a name behind a suffix and at a comma: no name goes on there."""
    begin = 0
    for at, token in enumerate(tokens, 1):
        if token.suffix or token.text == ",":
            yield tokens[begin:at]
            begin = at
    if begin < len(tokens):
        yield tokens[begin:]


def _pieces(text: str) -> Iterator[list[Token]]:
    """Cut a text into sentences of tokens."""
    tokens = tokenize(text)
    at = 0
    for _, end in split(text):
        first = at
        while at < len(tokens) and tokens[at].start < end:
            at += 1
        for begin in range(first, at, _LONGEST):
            yield tokens[begin : min(at, begin + _LONGEST)]


def _bounds(text: str, tokens: Sequence[Token]) -> tuple[int, int]:
    """Return where a name begins and ends, without suffix and without marks at its edges."""
    kept = list(tokens)
    while kept and kept[0].kind == "mark" and kept[0].text in _MARKS:
        kept = kept[1:]
    while kept and kept[-1].kind == "mark" and kept[-1].text in _MARKS:
        kept = kept[:-1]
    if not kept:
        return 0, 0
    return kept[0].start, bare_end(text, kept[-1].start, kept[-1].suffix_start)


def _meets(taken: Sequence[tuple[int, int]], start: int, end: int) -> bool:
    """Say whether a stretch overlaps one of those taken, which ascend and do not overlap."""
    before = bisect_left(taken, (end, 0))
    return before > 0 and taken[before - 1][1] > start


# --- training ---------------------------------------------------------------------------------------------------------


def train(
    sentences: Sequence[Sequence[str]],
    tags: Sequence[Sequence[str]],
    *,
    lexicon: Lexicon | None = None,
    trusted: Mapping[str, float] | None = None,
    recipe: Recipe = RECIPE,
    least: float = 0.0,
    lean: bool = False,
    seed: int = 0,
    card: Mapping[str, Any] | None = None,
) -> LanguageBundle:
    """Train the field on tagged sentences; they are cut into tokens anew, as texts will be.

    Some sentences are learnt again as headlines are written: in capitals, or with every word large.

    Parameters
    ----------
    sentences, tags
        Tokens and their IOB2 tags; types are `TYPES`, what else is tagged counts as outside.
    lexicon
        From unlabelled text; that of the shipped model unless given.
    trusted
        How often what the rules find is right, by type; as the shipped model has it unless given.
    recipe, seed
        Of the field, and of everything drawn.
    least
        Features that weigh less, in every tag, are left out of what is stored.
    lean
        See `tagger.train`.
    card
        Of the bundle.

    Raises
    ------
    ModelError
        If there is no name of any type in the sentences, or too few sentences.
    """
    cuts = [recut(tokens, marks) for tokens, marks in zip(sentences, tags, strict=True)]
    if not any(tag != "O" for _, marks in cuts for tag in marks):
        raise ModelError(f"none of {len(cuts)} sentences holds a name of {', '.join(TYPES)}: map the file's types")
    if lexicon is None:
        lexicon = Lexicon.of_arrays(unpack_arrays(shipped("entities", "fast").file("lexicon.npz")))
    if trusted is None:
        trusted = from_bundle(shipped("entities", "fast")).trusted
    cuts = _with_rewritten(cuts, seed)
    recipe = replaced(recipe, seed=seed)
    words, marks = [words for words, _ in cuts], [marks for _, marks in cuts]
    made = taggers.train(words, marks, lexicon=lexicon, recipe=recipe, lean=lean)
    settings = {
        "types": sorted({tag[2:] for tag in made.crf.tags if tag != "O"}),
        "trust": [made.trust.slope, made.trust.shift],
        "lean": made.lean,
        "trusted": dict(sorted(trusted.items())),
    }
    files = {
        "crf.npz": pack_arrays(made.crf.packed(least=least).arrays()),
        "lexicon.npz": pack_arrays(lexicon.arrays()),
        "settings.json": json.dumps(settings, indent=1, sort_keys=True).encode(),
    }
    return LanguageBundle(task="entities", family="fast", files=files, card=dict(card or {}))


def recut(tokens: Sequence[str], tags: Sequence[str]) -> tuple[list[str], list[str]]:
    """Cut a sentence of tokens as its text will be cut, and lay its names of `TYPES` onto the new tokens.

    Examples
    --------
    >>> recut(["Akpınar", "A.Ş.'nin", "kârı", "("], ["B-ORGANIZATION", "I-ORGANIZATION", "O", "O"])
    (['Akpınar', "A.Ş.'nin", 'kârı', '('], ['B-ORGANIZATION', 'I-ORGANIZATION', 'O', 'O'])
    """
    begins, at = [], 0
    for token in tokens:
        begins.append(at)
        at += len(token) + 1
    cut = tokenize(" ".join(tokens))
    laid: list[Mention] = []
    for one in mentions(tags):
        start, end = begins[one.start], begins[one.end - 1] + len(tokens[one.end - 1])
        inside = [place for place, token in enumerate(cut) if token.start < end and token.end > start]
        if one.type in TYPES and inside and (not laid or laid[-1].end <= inside[0]):
            laid.append(Mention(inside[0], inside[-1] + 1, one.type))
    return [token.text for token in cut], iob2(laid, len(cut))


def _with_rewritten(cuts: Sequence[tuple[list[str], list[str]]], seed: int) -> list[tuple[list[str], list[str]]]:
    """Put behind some sentences the same one rewritten: so both stay in one fold when probabilities are calibrated."""
    chance = random.Random(seed)  # noqa: S311  (picks sentences, nothing secret)
    both = []
    for words, marks in cuts:
        both.append((words, marks))
        drawn = chance.random()
        if drawn < _SHOUTED:
            both.append(([upper(word) for word in words], marks))
        elif drawn < _SHOUTED + _TITLED:
            both.append(([word if word[:1].isupper() else title(word) for word in words], marks))
    return both


def from_bundle(bundle: LanguageBundle) -> FastEntities:
    """Make the model that a bundle holds.

    Raises
    ------
    ModelError
        If a file is missing or does not fit the others.
    """
    try:
        settings = json.loads(bundle.file("settings.json"))
        tags = labels(str(kind) for kind in settings["types"])
        slope, shift = (float(value) for value in settings["trust"])
        lean = float(settings["lean"])
        trusted = {str(kind): float(value) for kind, value in settings["trusted"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"the settings of {bundle.version} cannot be read ({error}): train anew") from error
    lexicon = Lexicon.of_arrays(unpack_arrays(bundle.file("lexicon.npz")))
    crf = Crf.of_arrays(tags, unpack_arrays(bundle.file("crf.npz")))
    return FastEntities(bundle.version, Tagger(crf, lexicon, Trust(slope, shift), lean=lean), trusted)
