"""What unlabelled text says of words: which appear in the same company, and how often each is written large.

Words are kept as hashes. `learn` reads sentences, factors the positive pointwise mutual information of words with
their neighbours at each of four places, and cuts the space by k-means, coarse to fine.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import LanguageError, ModelError
from kalibre.language.text.casing import lower
from kalibre.language.text.tokens import APOSTROPHES

GRANULARITIES = (64, 256, 1024, 3000)
_TOKEN = re.compile(r"\d+(?:[.,:]\d+)*|\w+|[^\w\s]")
_SUFFIX = re.compile(rf"(?<=\w)[{re.escape(APOSTROPHES)}]\w+")
_DIGIT = re.compile(r"\d")
_CONTEXTS, _DIMENSIONS, _LEAST, _MOST = 4_000, 100, 5, 120_000
_SHORTEST_BEGINNING, _CUT = 4, 7
_SHARES = (0.02, 0.1, 0.3, 0.6, 0.9)


@dataclass(frozen=True)
class Lexicon:
    """Clusters and capitals by the hash of a word.

    Attributes
    ----------
    words, cluster
        Hashes of words, ascending, and the clusters of each, shape (n_words, granularities).
    small, capitals
        Hashes of words in small letters, ascending, and the band of the share that is written large: 0 to 5, plus 10
        where a word was seen 5 to 49 times, 20 where more.
    """

    words: NDArray[np.uint32]
    cluster: NDArray[np.int16]
    small: NDArray[np.uint32]
    capitals: NDArray[np.uint8]

    def clusters(self, stem: str) -> tuple[int, ...]:
        """Return a word's clusters, of its longest known beginning where it is unknown itself; empty without any."""
        for form in _forms(stem):
            at = _find(self.words, _hash(form))
            if at is not None:
                return tuple(self.cluster[at].tolist())
        return ()

    def capital(self, stem: str) -> str:
        """Return the band of how often a word is written large inside sentences."""
        at = _find(self.small, _hash(lower(stem)))
        return "none" if at is None else str(self.capitals[at])

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is to be stored."""
        (words_low, words_high), (small_low, small_high) = stepped(self.words), stepped(self.small)
        return {
            "words_low": words_low,
            "words_high": words_high,
            "cluster": np.ascontiguousarray(self.cluster.T),
            "small_low": small_low,
            "small_high": small_high,
            "capitals": self.capitals,
        }

    @staticmethod
    def of_arrays(arrays: Mapping[str, NDArray[Any]]) -> Lexicon:
        """Make a lexicon of what `arrays` returned.

        Raises
        ------
        ModelError
            If arrays are missing or do not fit each other.
        """
        try:
            words = unstepped(arrays["words_low"], arrays["words_high"])
            small = unstepped(arrays["small_low"], arrays["small_high"])
            cluster, capitals = np.ascontiguousarray(arrays["cluster"].T), arrays["capitals"]
        except KeyError as error:
            raise ModelError(f"the lexicon lacks {error}: restore the model or train anew") from error
        if len(cluster) != len(words) or len(capitals) != len(small):
            raise ModelError(
                f"the lexicon has {len(words)} words, clusters of {len(cluster)}, {len(small)} forms and capitals of "
                f"{len(capitals)}: restore the model or train anew"
            )
        return Lexicon(words=words, cluster=cluster, small=small, capitals=capitals)


def stepped(ascending: NDArray[np.uint32]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Return the steps between ascending hashes in two halves, low and high: they pack tighter than the hashes."""
    wide = ascending.astype(np.int64)
    steps = wide - np.concatenate([np.zeros(1, dtype=np.int64), wide[:-1]])[: len(wide)]
    return (steps & 0xFFFF).astype(np.uint16), (steps >> 16).astype(np.uint16)


def unstepped(low: NDArray[Any], high: NDArray[Any]) -> NDArray[np.uint32]:
    """Return the hashes that `stepped` took apart."""
    return np.cumsum(low.astype(np.int64) + (high.astype(np.int64) << 16)).astype(np.uint32)


def learn(sentences: Iterable[str], *, seed: int = 0) -> Lexicon:
    """Learn a lexicon from unlabelled sentences.

    Words inside sentences and, at their beginning, the form that is commoner elsewhere; suffixes behind an apostrophe
    are left out, digits are all the same.

    Parameters
    ----------
    sentences
        Plain text, one sentence each.
    seed
        Of the factorisation and of k-means.

    Raises
    ------
    LanguageError
        If there is too little text: fewer than 50 words occur five times.
    """
    stream, begins, vocabulary = _read(sentences)
    counts = np.bincount(stream[stream >= 0], minlength=len(vocabulary))
    inside = counts - np.bincount(stream[begins], minlength=len(vocabulary))
    large, small = _casing(vocabulary, inside)
    turned = np.arange(len(vocabulary))
    for word, place in vocabulary.items():
        if word[0].isupper():
            form = lower(word)
            if small[form] > large[form] and form in vocabulary:
                turned[place] = vocabulary[form]
    stream[begins] = turned[stream[begins]]
    counts = np.bincount(stream[stream >= 0], minlength=len(vocabulary))
    order = np.argsort(-counts, kind="stable")
    n_words = min(int((counts >= _LEAST).sum()), _MOST)
    if n_words < 50:
        raise LanguageError(f"only {n_words} words occur {_LEAST} times or more: a lexicon takes a larger text")
    rank = np.empty(len(vocabulary) + 1, dtype=np.int64)
    rank[order] = np.arange(len(vocabulary))
    rank[-1] = -1
    cluster = _clusters(_vectors(rank[stream], n_words, seed), seed)
    spelt = list(vocabulary)
    words = np.array([_hash(spelt[place]) for place in order[:n_words].tolist()], dtype=np.uint32)
    words, kept = np.unique(words, return_index=True)
    forms = sorted(form for form in large.keys() | small.keys() if large[form] + small[form] >= 2)
    bands = np.array([_band(large[form], large[form] + small[form]) for form in forms], dtype=np.uint8)
    hashes, first = np.unique(np.array([_hash(form) for form in forms], dtype=np.uint32), return_index=True)
    return Lexicon(words=words, cluster=cluster[kept], small=hashes, capitals=bands[first])


def _read(sentences: Iterable[str]) -> tuple[NDArray[np.int64], NDArray[np.int64], dict[str, int]]:
    """Number the words of sentences; -1 stands behind each."""
    vocabulary: dict[str, int] = {}
    stream: list[int] = []
    begins: list[int] = []
    for sentence in sentences:
        words = _TOKEN.findall(_SUFFIX.sub("", sentence))
        if len(words) < 3:
            continue
        begins.append(len(stream))
        stream += [vocabulary.setdefault(_plain(word), len(vocabulary)) for word in words]
        stream.append(-1)
    return np.array(stream, dtype=np.int64), np.array(begins, dtype=np.int64), vocabulary


def _casing(vocabulary: dict[str, int], inside: NDArray[np.int64]) -> tuple[Counter[str], Counter[str]]:
    large: Counter[str] = Counter()
    small: Counter[str] = Counter()
    for word, place in vocabulary.items():
        if word[0].isalpha() and inside[place]:
            (large if word[0].isupper() else small)[lower(word)] += int(inside[place])
    return large, small


def _vectors(ranks: NDArray[np.int64], n_words: int, seed: int) -> NDArray[np.float32]:
    """Factor the mutual information of words with their neighbours two to the left and to the right."""
    from scipy import sparse
    from sklearn.utils.extmath import randomized_svd

    tables = []
    for step in (-2, -1, 1, 2):
        words, near = (ranks[-step:], ranks[:step]) if step < 0 else (ranks[:-step], ranks[step:])
        near = np.where(near < 0, _CONTEXTS, near)
        chosen = (words >= 0) & (words < n_words) & (near <= _CONTEXTS)
        if abs(step) == 2:
            chosen &= ranks[1:-1] >= 0
        ones = np.ones(int(chosen.sum()), dtype=np.float32)
        table = sparse.csr_matrix((ones, (words[chosen], near[chosen])), shape=(n_words, _CONTEXTS + 1))
        table.sum_duplicates()
        tables.append(table)
    counts = sparse.hstack(tables).tocsr()
    of_words = np.asarray(counts.sum(axis=1)).ravel()
    of_contexts = np.asarray(counts.sum(axis=0)).ravel() ** 0.75
    rows = np.repeat(np.arange(n_words), np.diff(counts.indptr))
    expected = of_words[rows] * (of_contexts / of_contexts.sum())[counts.indices]
    counts.data = np.maximum(np.log(counts.data / (expected + 1e-9)), 0.0).astype(np.float32)
    counts.eliminate_zeros()
    size = min(_DIMENSIONS, n_words - 1)
    left, strengths, _ = randomized_svd(counts, size, n_iter=3, random_state=seed)
    vectors = left * np.sqrt(strengths)
    return np.asarray(vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9), dtype=np.float32)


def _clusters(vectors: NDArray[np.float32], seed: int) -> NDArray[np.int16]:
    from sklearn.cluster import MiniBatchKMeans

    found = []
    for wanted in GRANULARITIES:
        size = min(wanted, max(2, len(vectors) // 4))
        means = MiniBatchKMeans(size, batch_size=8_192, n_init=1, max_iter=6, random_state=seed)
        centres = means.fit(vectors[:40_000]).cluster_centers_
        parts = [
            (part @ centres.T * 2 - (centres**2).sum(axis=1)).argmax(axis=1)
            for part in np.array_split(vectors, max(1, len(vectors) // 10_000))
        ]
        found.append(np.concatenate(parts))
    return np.array(found, dtype=np.int16).T


def _band(large: int, seen: int) -> int:
    return int(np.searchsorted(_SHARES, large / seen, side="right")) + (0 if seen < 5 else 10 if seen < 50 else 20)


def _plain(word: str) -> str:
    return _DIGIT.sub("0", word)[:6] if word[0].isdigit() else word


def _forms(stem: str) -> Iterable[str]:
    if not stem:
        return
    yield _plain(stem)
    if len(stem) > 1 and stem.isupper():
        yield stem[0] + lower(stem[1:])
    if stem[0].isalpha():
        for length in range(len(stem) - 1, max(_SHORTEST_BEGINNING, len(stem) - _CUT) - 1, -1):
            yield stem[:length]


def _hash(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))


def _find(hashes: NDArray[np.uint32], wanted: int) -> int | None:
    at = int(np.searchsorted(hashes, np.uint32(wanted)))
    return at if at < len(hashes) and int(hashes[at]) == wanted else None
