"""Documents as blocks of pieces, ready for pretraining: packed without gaps, a part of the documents held out.

A block is a stretch of `length` pieces of the documents one after the other, each between its two signs. Which
documents are held out follows from their text, so it does not depend on what else is in the corpus or on its order.
"""

from __future__ import annotations

import hashlib
import io
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import LanguageError, ModelError
from kalibre.language.encoder.pieces import Pieces


@dataclass(frozen=True)
class Blocks:
    """Packed text.

    Attributes
    ----------
    train, held_out
        Shape (blocks, length), 16-bit piece numbers.
    size
        Pieces of the tokenizer they were cut with, without the encoder's signs.
    """

    train: NDArray[np.uint16]
    held_out: NDArray[np.uint16]
    size: int

    @property
    def unigram_nats(self) -> float:
        """Loss, a held-out piece, of who knows only how frequent each piece is in training: what a model must beat."""
        counts = np.bincount(self.train.ravel(), minlength=self.size + 4)[: self.size].astype(np.float64) + 1.0
        seen = self.held_out.ravel()
        seen = seen[seen < self.size]
        if not len(seen):
            return math.nan
        return float(-np.log(counts / counts.sum())[seen].mean())


def pack(
    documents: Iterable[str], pieces: Pieces, *, length: int = 512, held_out: float = 0.01, shuffle: int | None = 0
) -> Blocks:
    """Cut documents into pieces and pack them.

    Parameters
    ----------
    documents
        Whole texts; empty ones are passed over.
    pieces
        The tokenizer.
    length
        Pieces a block.
    held_out
        Share of the documents kept for the loss curve; chosen by the text's hash.
    shuffle
        Seed by which documents are brought out of their order, so that a block mixes sources; None keeps the order.

    Raises
    ------
    LanguageError
        If there is not one whole block to train on and one held out.
    ModelError
        If the tokenizer has more pieces than 16 bits can name.

    Examples
    --------
    >>> from kalibre.language.encoder.pieces import toy_tokenizer
    >>> pieces = Pieces(toy_tokenizer())
    >>> blocks = pack([f"Kur {number} lira oldu." for number in range(400)], pieces, length=32, held_out=0.1)
    >>> blocks.train.shape[1], len(blocks.train) > len(blocks.held_out)
    (32, True)
    """
    if pieces.size + 4 > np.iinfo(np.uint16).max:
        raise ModelError(f"a tokenizer of {pieces.size} pieces is too large to pack: train one of at most 65,000")
    parts: tuple[list[NDArray[np.uint16]], list[NDArray[np.uint16]]] = ([], [])
    for document in documents:
        if not document.strip():
            continue
        drawn = int.from_bytes(hashlib.sha256(document.encode("utf-8", "replace")).digest()[:4], "big") / 2**32
        numbers = [pieces.cls, *pieces.ids(document), pieces.sep]
        parts[drawn < held_out].append(np.array(numbers, dtype=np.uint16))
    if shuffle is not None:
        for part in parts:
            order = np.random.default_rng(shuffle).permutation(len(part))
            part[:] = [part[at] for at in order]
    train, kept = (_cut(part, length) for part in parts)
    if not len(train) or not len(kept):
        raise LanguageError(
            f"the documents give {len(train)} blocks of {length} pieces to train on and {len(kept)} held out: bring "
            "more text, shorter blocks or a larger share held out"
        )
    return Blocks(train=train, held_out=kept, size=pieces.size)


def _cut(part: list[NDArray[np.uint16]], length: int) -> NDArray[np.uint16]:
    if not part:
        return np.zeros((0, length), dtype=np.uint16)
    joined = np.concatenate(part)
    return joined[: len(joined) // length * length].reshape(-1, length)


def to_bytes(blocks: Blocks) -> bytes:
    """Write blocks as a compressed npz, which holds no code."""
    stream = io.BytesIO()
    np.savez_compressed(stream, train=blocks.train, held_out=blocks.held_out, size=np.int64(blocks.size))
    return stream.getvalue()


def from_bytes(content: bytes) -> Blocks:
    """Read what `to_bytes` wrote.

    Raises
    ------
    ModelError
        If it is no such file, or its pieces are not those of a tokenizer of its size.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            read = Blocks(train=found["train"], held_out=found["held_out"], size=int(found["size"]))
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, zlib.error, BadZipFile) as error:
        raise ModelError(f"the packed text cannot be read ({error}): pack it anew") from error
    for name, part in (("train", read.train), ("held_out", read.held_out)):
        if part.dtype != np.uint16 or part.ndim != 2 or not part.size or part.shape[1] != read.train.shape[1]:
            raise ModelError(f"{name!r} of the packed text is {part.dtype} of shape {part.shape}: pack it anew")
        if int(part.max()) >= read.size + 4:
            raise ModelError(f"{name!r} of the packed text names piece {part.max()} of {read.size}: pack it anew")
    return read
