"""Word vectors of the project's own: what stands near what in unlabelled Turkish text, in a few dozen numbers a word.

Counted, not learnt by gradient: co-occurrence in a window, positive pointwise mutual information, truncated singular
value decomposition. A word is its first six folded letters, which makes the forms of a Turkish stem meet. Stored as
hashes and bytes: nothing readable.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError
from kalibre.language.cues import squeezed
from kalibre.language.ngrams import Cut, cut

LETTERS = 6
WINDOW = 5
_SMOOTH = 1e-3
_CHUNK = 2_000_000


@dataclass(frozen=True)
class WordVectors:
    """Vectors by hash of a word's beginning.

    Attributes
    ----------
    keys
        Shape (n_words,), CRC-32, rising.
    rows
        Shape (n_words, size), int8; 127 is `unit`.
    weight
        Shape (n_words,), how much a word counts in a text's mean: rare ones more (Arora et al. 2017).
    """

    keys: NDArray[np.uint32]
    rows: NDArray[np.int8]
    weight: NDArray[np.float32]

    @property
    def size(self) -> int:
        """Numbers a vector has."""
        return int(self.rows.shape[1])

    def find(self, parts: Cut) -> NDArray[np.int64]:
        """Return the row of each word, of one with drawn-out letters that of the plain one; -1 where there is none."""
        if not parts.words or not len(self.keys):
            return np.full(len(parts.words), -1, np.int64)
        found = self._rows(parts.words)
        for i in np.flatnonzero(found < 0).tolist():
            if (plain := squeezed(parts.words[i])) != parts.words[i]:
                found[i] = self._rows([plain])[0]
        return found

    def _rows(self, words: Sequence[str]) -> NDArray[np.int64]:
        codes = np.array([_code(word) for word in words], np.uint32)
        at = np.minimum(np.searchsorted(self.keys, codes), len(self.keys) - 1)
        return np.where(self.keys[at] == codes, at, -1).astype(np.int64)

    def means(self, texts: Sequence[str], scale: float = 1.0) -> NDArray[np.float32]:
        """Return each text's weighed sum of vectors over the square root of its words: shape (n_texts, size)."""
        parts = cut(texts, letters=False)
        rows, share = self.shares(parts)
        found = np.zeros((len(texts), self.size), np.float32)
        known = rows >= 0
        np.add.at(found, parts.owner[known], self.rows[rows[known]].astype(np.float32) * share[known, None])
        return found * np.float32(scale)

    def shares(self, parts: Cut) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return each word's row and the factor with which it enters its text's sum."""
        rows = self.find(parts)
        known = rows >= 0
        number = np.bincount(parts.owner[known], minlength=parts.n_texts) if len(rows) else np.zeros(parts.n_texts)
        share = np.zeros(len(rows), np.float32)
        share[known] = self.weight[rows[known]] / np.sqrt(number[parts.owner[known]]) / 127.0
        return rows, share

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return what is stored."""
        return {"vector_keys": self.keys, "vector_rows": self.rows, "vector_weight": self.weight.astype(np.float16)}

    @classmethod
    def of(cls, arrays: dict[str, NDArray[np.generic]]) -> WordVectors:
        """Read what `arrays` gave."""
        keys, rows, weight = (arrays[name] for name in ("vector_keys", "vector_rows", "vector_weight"))
        return cls(keys.astype(np.uint32), rows.astype(np.int8), weight.astype(np.float32))


def _code(word: str) -> int:
    key = "0" if word[0].isdigit() else word[:LETTERS]
    return zlib.crc32(key.encode("utf-8", "surrogatepass"))


def learn(texts: Iterable[str], *, size: int = 100, most: int = 20_000, least: int = 10, seed: int = 0) -> WordVectors:
    """Count which words stand near which, and condense it.

    Parameters
    ----------
    texts
        Unlabelled text; what is tested later must not be in it (`near.contained` says whether it is).
    size
        Numbers a vector has.
    most, least
        Words kept at most, and how often one must stand in the texts.
    seed
        Of the randomised decomposition.

    Raises
    ------
    ModelError
        If too few words are frequent enough.

    References
    ----------
    Levy, Goldberg & Dagan (2015), Improving Distributional Similarity with Lessons Learned from Word Embeddings, TACL
    3; Arora, Liang & Ma (2017), A Simple but Tough-to-Beat Baseline for Sentence Embeddings, ICLR.
    """
    from scipy import sparse
    from sklearn.utils.extmath import randomized_svd

    lines, often = _coded(texts)
    kept = [code for code, count in sorted(often.items(), key=lambda one: (-one[1], one[0])) if count >= least][:most]
    n = len(kept)
    if n < 4 * size:
        raise ModelError(
            f"{n} words stand {least} times or more in the texts: vectors of {size} numbers need {4 * size} such words"
        )
    keys = np.sort(np.array(kept, np.uint32))
    frequency = np.array([often[int(key)] for key in keys], np.float64)
    common = np.minimum(1.0, np.sqrt(1e-4 / (frequency / frequency.sum())))
    together = sparse.csr_matrix((n, n))
    for chunk in lines:
        at = np.minimum(np.searchsorted(keys, chunk), n - 1)
        word = np.where((keys[at] == chunk) & (chunk > 0), at, -1)
        for distance in range(1, WINDOW + 1):
            one, two = word[:-distance], word[distance:]
            both = (one >= 0) & (two >= 0)
            value = common[one[both]] * common[two[both]] / distance
            together = together + sparse.coo_matrix((value, (one[both], two[both])), shape=(n, n)).tocsr()
    pairs = (together + together.T).tocoo()
    total = np.asarray(pairs.sum(axis=1)).ravel()
    smooth = total**0.75
    mutual = np.log(np.maximum(pairs.data * smooth.sum() / (total[pairs.row] * smooth[pairs.col]), 1e-12))
    held = mutual > 0
    matrix = sparse.csr_matrix((mutual[held].astype(np.float32), (pairs.row[held], pairs.col[held])), shape=(n, n))
    left, strength, _ = randomized_svd(matrix, size, n_iter=4, random_state=seed)
    rows = left * np.sqrt(strength)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    top = float(np.quantile(np.abs(rows), 0.9999))
    stored = np.clip(np.rint(rows / top * 127.0), -127, 127).astype(np.int8)
    share = frequency / frequency.sum()
    return WordVectors(keys, stored, (top * _SMOOTH / (_SMOOTH + share)).astype(np.float32))


def _coded(texts: Iterable[str]) -> tuple[list[NDArray[np.uint32]], Counter[int]]:
    """Return the texts as word hashes in chunks, with gaps of zeros between texts, and how often each stands there."""
    often: Counter[int] = Counter()
    chunks: list[NDArray[np.uint32]] = []
    codes: list[int] = []
    seen: dict[str, int] = {}
    for text in texts:
        for word in cut([text], letters=False).words:
            code = seen.get(word)
            if code is None:
                code = seen[word] = _code(word)
            codes.append(code)
        codes.extend([0] * WINDOW)
        if len(codes) > _CHUNK:
            chunks.append(np.array(codes, np.uint32))
            codes = []
    if codes:
        chunks.append(np.array(codes, np.uint32))
    for chunk in chunks:
        found, number = np.unique(chunk, return_counts=True)
        often.update(dict(zip(found.tolist(), number.tolist(), strict=True)))
    often.pop(0, None)
    return chunks, often
