"""Trains a tokenizer on a weighted mix of texts."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from kalibre.core.errors import ModelError, UsageError
from kalibre.language.tokenizer import words
from kalibre.language.tokenizer.pieces import Tokenizer, sentencepiece

VOCABULARY = 32_000
COVERAGE = 0.9995
KINDS = ("bpe", "unigram")
SMALLEST = 600
"""The 256 bytes, the letters that are always there, and a little more."""
SIGNS = ("<mask>", "<cls>", "<sep>")
LETTERS = "".join(map(chr, range(33, 127))) + "çğıöşüÇĞİÖŞÜâîûÂÎÛ’‘“”…–—•·°€₺£§«»½´é"
"""Always pieces of their own, however rare: an X in `XBANK` is no byte."""
_SEEDS = 300_000


@dataclass(frozen=True)
class Trained:
    """A tokenizer with how it came about."""

    tokenizer: Tokenizer
    asked: int
    kind: str
    words: dict[str, int]
    digest: str
    note: str = ""
    sizes_tried: list[int] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return what a card tells; JSON's types."""
        told = {key: value for key, value in vars(self).items() if key != "tokenizer"}
        return {**told, "vocabulary": self.tokenizer.size}


def train(
    parts: Iterable[words.Part],
    *,
    vocabulary: int = VOCABULARY,
    kind: str = "bpe",
    coverage: float = COVERAGE,
    report: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Trained:
    """Train a tokenizer.

    Nothing is normalised, digits are pieces of their own (the first one with the blank before it), what has no piece is
    written in bytes. The same texts give the same tokenizer, byte for byte.

    Parameters
    ----------
    parts
        Sources with weights; each is read once.
    vocabulary
        Pieces asked for, `SMALLEST` to 65,000. Where the texts have not enough to learn so many, fewer are learnt, and
        `note` says so.
    kind
        `bpe` (12 seconds for 3 million words) or `unigram` (minutes, about as good: docs/experiments.md).
    coverage
        Share of characters that get a piece of their own.
    report
        Told of the progress: stage, done, total.

    Raises
    ------
    UsageError
        If an option is out of range.
    ModelError
        If the texts hold nothing to learn from.
    """
    if not SMALLEST <= vocabulary <= 65_000:
        raise UsageError(f"vocabulary {vocabulary!r} is out of range: choose {SMALLEST} to 65000 pieces")
    if kind not in KINDS:
        raise UsageError(f"kind {kind!r} is unknown: choose one of {', '.join(KINDS)}")
    if not 0.9 <= coverage <= 1:
        raise UsageError(f"coverage {coverage!r} is out of range: choose 0.9 to 1, for example {COVERAGE}")
    report("count words", 0, 2)
    mix = words.mixed(parts)
    lines = list(words.lines(mix.counts))
    if not lines:
        raise ModelError("the texts hold no word to train a tokenizer on: name files with text")
    report("learn pieces", 1, 2)
    size, tried = vocabulary, []
    while True:
        tried.append(size)
        try:
            model = _fitted(lines, size, kind, coverage)
            break
        except RuntimeError as error:
            found = re.search(r"<= (\d+)", str(error))
            smaller = min(int(found[1]), size - 1) if found else size * 3 // 4
            if smaller < SMALLEST // 2:
                raise ModelError(
                    f"{len(lines)} words are too few to train a tokenizer on ({error}): add text, best a million words"
                ) from error
            size = smaller
    tokenizer = Tokenizer(model)
    note = ""
    if tokenizer.size < vocabulary:
        note = (
            f"{vocabulary} pieces were asked for and {tokenizer.size} learnt: the {len(lines)} different words hold no "
            "more that repeats; add text for a larger vocabulary"
        )
    report("learn pieces", 2, 2)
    return Trained(tokenizer, vocabulary, kind, mix.words, mix.digest, note, tried)


def _fitted(lines: list[str], size: int, kind: str, coverage: float) -> bytes:
    model = io.BytesIO()
    sentencepiece().SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        input_format="tsv",
        model_writer=model,
        vocab_size=size,
        model_type=kind,
        character_coverage=coverage,
        required_chars=LETTERS,
        byte_fallback=True,
        split_digits=True,
        # A blank and the digit behind it are one piece, as a blank and the letters behind it are.
        user_defined_symbols=[f"\u2581{digit}" for digit in range(10)],
        split_by_unicode_script=False,  # `words.bordered` says where pieces end
        pretokenization_delimiter=words.BORDER,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        max_sentence_length=1_000_000,
        seed_sentencepiece_size=_SEEDS,
        num_threads=1,
        minloglevel=3,
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        control_symbols=list(SIGNS),
    )
    return model.getvalue()
