"""Pieces of a text with where they stand in it, and the four signs that the encoder adds to a tokenizer's pieces.

The tokenizer is a SentencePiece model that changes nothing (identity normalisation, byte fallback): so the place of a
piece follows from the lengths of those before it, whatever release of sentencepiece cuts the text.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError

PAD, CLS, SEP, MASK = 0, 1, 2, 3
"""The encoder's own signs, as offsets behind the tokenizer's last piece."""
SIGNS = 4

_SPACE = "\u2581"
_PROBE = "Şu 12\t\x00İIıi’nın \U0001f600\n"


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
        try:
            from sentencepiece import SentencePieceProcessor
        except ImportError:
            raise ModelError(
                "the encoder's tokenizer needs the package 'sentencepiece': pip install 'kalibre[encoder]'"
            ) from None
        try:
            self._cutter: Any = SentencePieceProcessor(model_proto=model)
            self.size = int(self._cutter.get_piece_size())
        except (RuntimeError, OSError, TypeError, ValueError) as error:
            raise ModelError(f"the tokenizer cannot be read ({error}): restore it or train it anew") from error
        self.model = model
        texts = [str(self._cutter.id_to_piece(number)) for number in range(self.size)]
        byte = [bool(self._cutter.is_byte(number)) for number in range(self.size)]
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
        # A tokenizer may put a blank before every text; it covers nothing.
        self._lead = len("".join(self._cutter.encode("a", out_type=str))) - 1
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
        return [int(number) for number in self._cutter.encode(_encodable(text), out_type=int)]

    def encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Return the pieces of a text and the characters that each covers.

        A byte of a character that has no piece of its own covers that character. Lone surrogates, which no encoding
        knows, are read as U+FFFD and keep their place.

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
        ids = self.ids(text)
        spans: list[tuple[int, int]] = []
        at = -self._lead if ids else 0
        for number in ids:
            length = self._lengths[number]
            if length == 0:
                spans.append((max(at - 1, 0), max(at, 0)))
            else:
                spans.append((max(at, 0), max(at + length, 0)))
                at += length
        if at != len(text):
            raise ModelError(
                f"the tokenizer does not give {text[:40]!r} back as it was ({at} of {len(text)} characters): train one "
                "with `kalibre tokenizer train`, which uses identity normalisation and byte fallback"
            )
        return ids, spans


def _encodable(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if _has_surrogate(text) else text


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def toy_tokenizer(size: int = 320, texts: tuple[str, ...] = ()) -> bytes:
    """Train a tiny tokenizer of the right kind: for tests and smoke runs, where no corpus is at hand."""
    import io

    from sentencepiece import SentencePieceTrainer

    lines = texts or (
        "Borsa güne yükselişle başladı.",
        "Şirketin net kârı ikinci çeyrekte arttı.",
        "Döviz kuru ve faiz kararı bekleniyor.",
    )
    written = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines * max(1, 60 // len(lines))),
        model_writer=written,
        vocab_size=size,
        model_type="unigram",
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        byte_fallback=True,
        split_digits=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return written.getvalue()
