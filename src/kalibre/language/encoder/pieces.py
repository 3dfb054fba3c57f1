"""Pieces of a text with where they stand in it, and the four signs that the encoder adds to a tokenizer's pieces.

The tokenizer (`kalibre.language.tokenizer`) changes nothing: so the place of a piece follows from the lengths of those
before it.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError
from kalibre.language.tokenizer.pieces import Tokenizer, sentencepiece

PAD, CLS, SEP, MASK = 0, 1, 2, 3
"""The encoder's own signs, as offsets behind the tokenizer's last piece."""
SIGNS = 4

_SPACE = "\u2581"
_CUT = re.compile("([\n\r\t\x00\u2581\ud800-\udfff])")
"""Where the tokenizer begins anew, as `tokenizer.pieces` has it."""
_PROBE = "Şu 12\t\x00İIıi’nın \ufb01 \U0001f600\n\ud800a \u2581b"


class Pieces:
    """A tokenizer as the encoder sees it.

    Parameters
    ----------
    model
        Content of a SentencePiece model file.

    Attributes
    ----------
    size
        Pieces of the tokenizer; the encoder's own signs follow them.
    starts
        Shape (size + 4,): whether a piece begins a word. What is not letters is a word of its own, and so is a sign.

    Raises
    ------
    ModelError
        If it is no such model, or one that does not give every text back as it was.
    """

    def __init__(self, model: bytes) -> None:
        self._tokenizer = Tokenizer(model)
        self.size = self._tokenizer.size
        self.model = model
        plain = sentencepiece().SentencePieceProcessor(model_proto=model)
        texts = [str(plain.id_to_piece(number)) for number in range(self.size)]
        byte = [re.fullmatch(r"<0x[0-9A-F]{2}>", text) is not None for text in texts]
        # How many characters a piece covers: a byte that goes on with a character begun before covers none.
        self._lengths = [
            (0 if 0x80 <= int(text[3:5], 16) < 0xC0 else 1) if is_byte else len(text)
            for text, is_byte in zip(texts, byte, strict=True)
        ]
        self.starts: NDArray[np.bool_] = np.array(
            [
                not is_byte and (text.startswith(_SPACE) or not text[:1].isalpha())
                for text, is_byte in zip(texts, byte, strict=True)
            ]
            + [True] * SIGNS
        )
        # A tokenizer may put a blank before every stretch; it covers nothing.
        self._lead = sum(self._lengths[number] for number in self._tokenizer.encode("a")) - 1
        self.encode(_PROBE)

    @property
    def pad(self) -> int:
        """The sign that fills a batch up."""
        return self.size + PAD

    @property
    def cls(self) -> int:
        """The sign before a text."""
        return self.size + CLS

    @property
    def sep(self) -> int:
        """The sign after a text."""
        return self.size + SEP

    @property
    def mask(self) -> int:
        """The sign in place of a hidden piece."""
        return self.size + MASK

    def ids(self, text: str) -> list[int]:
        """Return the pieces of a text."""
        return self._tokenizer.encode(text)

    def encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the pieces of a text and the characters that each covers.

        A byte of a character that has no piece of its own covers that character.

        Raises
        ------
        ModelError
            If the tokenizer changes the text, so that nobody can say where its pieces stand.

        Examples
        --------
        >>> pieces = Pieces(toy_tokenizer())
        >>> text = "kâr arttı"
        >>> ids, spans = pieces.encode(text)
        >>> "".join(text[start:end] for start, end in spans)
        'kâr arttı'
        """
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        begin = 0
        for place, stretch in enumerate(_CUT.split(text)):
            if not stretch:
                continue
            found = self._tokenizer.encode(stretch)
            at = begin - (self._lead if place % 2 == 0 else 0)
            for number in found:
                length = self._lengths[number]
                # A byte that goes on with a character covers the character that it goes on with.
                spans.append((max(at if length else at - 1, begin), max(at + length, begin)))
                at += length
            ids += found
            begin += len(stretch)
            if at != begin:
                raise ModelError(
                    f"the tokenizer does not give {stretch[:40]!r} back as it was: train one with `kalibre tokenizer "
                    "train`, which uses identity normalisation and byte fallback"
                )
        return ids, spans


def toy_tokenizer(size: int = 320, texts: tuple[str, ...] = ()) -> bytes:
    """Train a tiny tokenizer of the right kind: for tests and smoke runs, where no corpus is at hand."""
    import io

    lines = texts or (
        "Borsa güne yükselişle başladı.",
        "Şirketin net kârı ikinci çeyrekte arttı.",
        "Döviz kuru ve faiz kararı bekleniyor.",
    )
    written = io.BytesIO()
    sentencepiece().SentencePieceTrainer.train(
        sentence_iterator=iter(lines * max(1, 60 // len(lines))),
        model_writer=written,
        vocab_size=size,
        model_type="unigram",
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        byte_fallback=True,
        split_digits=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return written.getvalue()
