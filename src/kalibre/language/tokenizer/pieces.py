"""A trained tokenizer: text to pieces and back, byte for byte, whatever the text holds.

SentencePiece keeps everything but three things: a blank and U+2581 look the same to it, a word that follows a line
break is another word to it, and lone surrogates cannot be handed over. So a text is cut at these, every stretch is
encoded like a text of its own, and the cuts are written in bytes. A text without any of them has exactly the pieces
that plain SentencePiece gives it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from kalibre.core.errors import ModelError, UsageError

_CUT = re.compile("([\n\r\t\x00\u2581\ud800-\udfff])")
_BLANK = "\u2581"


def sentencepiece() -> Any:
    """Import SentencePiece, or say how to get it."""
    try:
        import sentencepiece as package
    except ImportError:
        raise UsageError("tokenizers need the package 'sentencepiece': pip install 'kalibre[corpus]'") from None
    return package


class Tokenizer:
    """Text to piece numbers and back.

    Parameters
    ----------
    model
        A SentencePiece model with byte fallback, identity normalisation and a blank put before every text.

    Attributes
    ----------
    size
        Number of pieces.

    Raises
    ------
    ModelError
        If it is no such model.
    """

    def __init__(self, model: bytes) -> None:
        try:
            self._model = sentencepiece().SentencePieceProcessor(model_proto=model)
            self.size = int(self._model.vocab_size())
            pieces = [str(self._model.id_to_piece(i)) for i in range(self.size)]
        except (RuntimeError, TypeError, ValueError, OSError) as error:
            raise ModelError(f"the tokenizer cannot be read ({error}): restore it or train it anew") from error
        self.model = model
        self._bytes = {
            int(piece[3:5], 16): number for number, piece in enumerate(pieces) if self._model.is_byte(number)
        }
        if len(self._bytes) != 256:
            raise ModelError("the tokenizer has no pieces for bytes: train it with byte_fallback")
        self._pieces = pieces
        self._is_byte = [bool(self._model.is_byte(number)) for number in range(self.size)]
        self._values = [
            int(piece[3:5], 16).to_bytes(1, "big")
            if self._model.is_byte(number)
            else b""
            if self._model.is_control(number) or self._model.is_unknown(number)
            else piece.replace(_BLANK, " ").encode()
            for number, piece in enumerate(pieces)
        ]

    # --- text to numbers and back -------------------------------------------------------------------------------------

    def encode(self, text: str) -> list[int]:
        """Return the numbers of a text's pieces; any Python string has some, lone surrogates included."""
        ids: list[int] = []
        for place, stretch in enumerate(_CUT.split(text)):
            if place % 2:
                ids += [self._bytes[value] for value in stretch.encode("utf-8", "surrogatepass")]
            elif stretch:
                ids += self._model.encode(stretch)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text that numbers came from; bytes that are no text (from elsewhere) become U+FFFD.

        Raises
        ------
        UsageError
            If a number is no piece's.
        """
        out = bytearray()
        fresh = True
        for number in ids:
            if not 0 <= number < self.size:
                raise UsageError(f"{number!r} is no piece of this tokenizer: its numbers are 0 to {self.size - 1}")
            value = self._values[number]
            if fresh and value:
                value, fresh = value.removeprefix(b" "), False
            out += value
            if self._is_byte[number]:
                fresh = _ends_in_cut(out)
        try:
            return out.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return out.decode("utf-8", "replace")

    # --- pieces -------------------------------------------------------------------------------------------------------

    def pieces(self, text: str) -> list[str]:
        """Return a text's pieces as they are written in the vocabulary (`▁` is a blank, `<0x0A>` a byte)."""
        return [self._pieces[number] for number in self.encode(text)]

    def number(self, piece: str) -> int:
        """Return a piece's number.

        Raises
        ------
        UsageError
            If there is no such piece.
        """
        number = int(self._model.piece_to_id(piece))
        if self._pieces[number] != piece:
            raise UsageError(f"{piece!r} is no piece of this tokenizer")
        return number

    def unknown(self, ids: Iterable[int]) -> int:
        """Count the numbers that stand for no text: with bytes to fall back on, there are none."""
        return sum(bool(self._model.is_unknown(number)) for number in ids)


def _ends_in_cut(written: bytearray) -> bool:
    if not written or written[-1] in b"\n\r\t\x00":
        return True
    last = bytes(written[-3:])
    return last == _BLANK.encode() or (len(last) == 3 and last[0] == 0xED and last[1] >= 0xA0)
