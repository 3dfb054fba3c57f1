"""The index: passages found by a question, whatever ending, spelling or order of words it uses.

BM25 over stems, pairs of neighbouring stems and letters in fours, and dense vectors, each divided by its best score of
the question, added with fixed weights. The best are looked into: does one stretch of them hold what is asked? An index
is a folder of plain files under a manifest with their sha256.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError, UsageError
from kalibre.language.answering.matching import closeness, pair
from kalibre.language.answering.question import analyse
from kalibre.language.answering.stores import DENSE, InProcess, Store, store
from kalibre.language.answering.terms import CHANNELS, initials, plain, stems
from kalibre.language.answering.weighing import Postings, Space, learn_space, question_vector, weigh
from kalibre.language.answering.words import Units, units
from kalibre.language.base import Passage
from kalibre.models._storage import store_folder

MANIFEST = "manifest.json"
DEEP = 200
"""Passages that each channel offers."""

WEIGHTS: Mapping[str, float] = {"stems": 1.0, "pairs": 0.5, "fours": 2.0, DENSE: 0.6}
CLOSE = 0.3
"""Shares of the channels and of closeness: chosen on training questions of the history set and on half of the project's
own questions, by document (docs/experiments.md)."""

LONGEST_READ = 6_000
"""Characters of a passage that are looked into."""

READ = 12
"""Passages that are looked into before they are ranked."""


@dataclass(frozen=True)
class Hit:
    """A passage that was found. `score` is at most the sum of the channels' weights; 1 means first everywhere."""

    passage: Passage
    score: float
    shares: Mapping[str, float]


class Index:
    """Passages that can be asked."""

    def __init__(
        self,
        found: Sequence[Passage],
        sparse: Mapping[str, Postings],
        space: Space,
        dense: NDArray[np.float32],
        *,
        address: str = "",
    ) -> None:
        self.passages = list(found)
        self._sparse, self._space, self._dense = dict(sparse), space, dense
        self._store: Store = store(address) if address else InProcess()
        self._store.fill(self._sparse, self._dense)

    @classmethod
    def build(cls, found: Iterable[Passage], *, address: str = "") -> Index:
        """Index passages, in whatever order they come.

        Parameters
        ----------
        found
            Passages with ids of their own.
        address
            Where their vectors are kept: see `stores.store`.

        Raises
        ------
        UsageError
            If there are none, or two of them share an id.
        """
        ordered = sorted(found, key=lambda one: one.id)
        if not ordered:
            raise UsageError("there is no passage to index: give at least one document with text")
        for a, b in pairwise(ordered):
            if a.id == b.id:
                raise UsageError(f"two passages have the id {a.id!r}: give each its own")
        texts = [[*plain(f"{one.title}\n{one.text}"), *initials(one.title)] for one in ordered]
        sparse = {name: weigh([terms(text) for text in texts]) for name, terms in CHANNELS.items()}
        space, dense = learn_space(sparse["stems"])
        return cls(ordered, sparse, space, dense, address=address)

    def search(self, question: str, limit: int = 10, *, look: bool = True) -> list[Hit]:
        """Return the passages that a question is likeliest answered by, the best first; none where no word is known.

        Without `look` nothing is looked into: four times as fast, a little worse.
        """
        shares: dict[int, dict[str, float]] = defaultdict(dict)
        words = plain(question)
        for name, terms in CHANNELS.items():
            hits = self._store.nearest(name, question_vector(terms(words)), DEEP)
            for at, score in hits:
                shares[at][name] = score / hits[0][1]
        for at, score in self._store.nearest(DENSE, self._space.vector(question_vector(stems(words))), DEEP):
            shares[at][DENSE] = score
        scored = {at: sum(WEIGHTS[name] * share for name, share in one.items()) for at, one in shares.items()}
        total = sum(WEIGHTS.values()) + 2 * CLOSE
        best = sorted(scored, key=lambda at: (-scored[at], at))[: max(limit, READ)]
        asked = analyse(question[:LONGEST_READ])
        for at in best[:READ] if look else ():
            laid = pair(asked, units(self.passages[at].text[:LONGEST_READ]), self._rarity)
            scored[at] += CLOSE * sum(closeness(laid))
        best.sort(key=lambda at: (-scored[at], at))
        return [Hit(self.passages[at], scored[at] / total, shares[at]) for at in best[:limit]]

    def close(self) -> None:
        """Let go of the store's files or connection."""
        closing = getattr(self._store, "close", None)
        if closing is not None:
            closing()

    def _rarity(self, text: Units) -> NDArray[np.float32]:
        held = self._sparse["stems"].held_by(stems(text.words))
        return np.log(1 + len(self.passages) / (0.5 + held)).astype(np.float32)

    def save(self, parent: Path, name: str) -> Path:
        """Write the index as a folder of `parent`, whole or not at all.

        Raises
        ------
        ModelError
            If it cannot be written or a folder of that name is there.
        """
        if (parent / name).exists():
            raise ModelError(f"{str(parent / name)!r} is there already: move it away, or save under another name")
        files = {"passages.jsonl": b"".join(msgspec.json.encode(one) + b"\n" for one in self.passages)}
        for key, one in self._sparse.items():
            files[f"{key}.npz"] = _npz(terms=one.terms, bounds=one.bounds, passages=one.passages, values=one.values)
        files["dense.npz"] = _npz(directions=self._space.directions.astype(np.float16), vectors=self._dense)
        manifest = {"format": 1, "files": {key: hashlib.sha256(value).hexdigest() for key, value in files.items()}}
        return store_folder(parent, name, {**files, MANIFEST: json.dumps(manifest, indent=1).encode()})


def open_index(folder: Path, *, address: str = "") -> Index:
    """Read an index and check every byte of it.

    Raises
    ------
    ModelError
        If the folder is no index, or a file is missing, torn or altered.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        files = {str(name): (folder / str(name)).read_bytes() for name in manifest["files"] if "/" not in name}
        for name, digest in manifest["files"].items():
            if hashlib.sha256(files[name]).hexdigest() != digest:
                raise ModelError(f"{name!r} in {str(folder)!r} is not what was saved (sha256 differs): index anew")
        found = [msgspec.json.decode(line, type=Passage) for line in files["passages.jsonl"].splitlines()]
        sparse = {}
        for key in CHANNELS:
            held = _arrays(files[f"{key}.npz"])
            sparse[key] = Postings(held["terms"], held["bounds"], held["passages"], held["values"], len(found))
        dense = _arrays(files["dense.npz"])
        space = Space(dense["directions"].astype(np.float32))
    except ModelError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, msgspec.MsgspecError) as error:
        raise ModelError(f"the index in {str(folder)!r} cannot be read ({error}): index anew") from error
    return Index(found, sparse, space, dense["vectors"], address=address)


def _npz(**arrays: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _arrays(content: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(content), allow_pickle=False) as held:
        return {key: held[key] for key in held.files}
