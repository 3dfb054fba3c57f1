"""Where passages' vectors are kept and searched: in this process, in Qdrant in this process, or in a Qdrant server.

All three answer alike (one conformance suite); ties go to the passage that comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import SourceUnavailableError, UsageError
from kalibre.language.answering.weighing import Postings, Sparse

Hits = list[tuple[int, float]]
DENSE = "dense"


class Store(Protocol):
    """Keeps the vectors of n passages under their positions."""

    def fill(self, sparse: Mapping[str, Postings], dense: NDArray[np.float32]) -> None:
        """Take the vectors; what was there before is dropped."""
        ...

    def nearest(self, channel: str, question: Sparse | NDArray[np.float32], limit: int) -> Hits:
        """Return the passages with the largest product above 0 and that product, the largest first."""
        ...


class InProcess:
    """Keeps the vectors in arrays."""

    def __init__(self) -> None:
        self._sparse: dict[str, Postings] = {}
        self._dense = np.zeros((0, 1), np.float32)

    def fill(self, sparse: Mapping[str, Postings], dense: NDArray[np.float32]) -> None:
        """Take the vectors."""
        self._sparse, self._dense = dict(sparse), dense

    def nearest(self, channel: str, question: Sparse | NDArray[np.float32], limit: int) -> Hits:
        """Return the passages with the largest product."""
        scores = self._sparse[channel].scores(question) if isinstance(question, Sparse) else self._dense @ question
        if len(scores) > 4 * limit:
            least = np.partition(scores, len(scores) - limit)[len(scores) - limit]
            some = np.flatnonzero((scores >= least) & (scores > 0))
        else:
            some = np.flatnonzero(scores > 0)
        best = some[np.argsort(-scores[some], kind="stable")[:limit]]
        return list(zip(best.tolist(), scores[best].tolist(), strict=True))


class Qdrant:
    """Keeps the vectors in Qdrant (extra `retrieval`)."""

    def __init__(self, address: str = ":memory:", collection: str = "kalibre_passages") -> None:
        try:
            from qdrant_client import QdrantClient
        except ImportError as error:
            raise UsageError(
                f"store {address!r} needs Qdrant's client: pip install 'kalibre[retrieval]', or leave store= empty"
            ) from error
        self._address, self._collection = address, collection
        try:
            if address.startswith(("http://", "https://")):
                self._client = QdrantClient(url=address, timeout=30, check_compatibility=False)
                self._client.get_collections()
            elif address == ":memory:":
                self._client = QdrantClient(":memory:")
            else:
                self._client = QdrantClient(path=address)
        except Exception as error:  # the client raises its transports' errors, of many kinds
            raise self._down(error) from error

    def fill(self, sparse: Mapping[str, Postings], dense: NDArray[np.float32]) -> None:
        """Take the vectors."""
        from qdrant_client import models

        dots = {DENSE: models.VectorParams(size=dense.shape[1], distance=models.Distance.DOT)}
        try:
            if self._client.collection_exists(self._collection):
                self._client.delete_collection(self._collection)
            self._client.create_collection(
                self._collection,
                vectors_config=dots,
                sparse_vectors_config={name: models.SparseVectorParams() for name in sparse},
            )
            columns = {name: postings.vectors() for name, postings in sparse.items()}
            for begin in range(0, len(dense), 256):
                points = [
                    models.PointStruct(id=at, vector=_vectors(columns, dense, at))
                    for at in range(begin, min(begin + 256, len(dense)))
                ]
                self._client.upsert(self._collection, points=points, wait=True)
        except Exception as error:
            raise self._down(error) from error

    def nearest(self, channel: str, question: Sparse | NDArray[np.float32], limit: int) -> Hits:
        """Return the passages with the largest product."""
        from qdrant_client import models

        query: Any
        if isinstance(question, Sparse):
            if not len(question.terms):
                return []
            query = models.SparseVector(indices=question.terms.tolist(), values=question.values.tolist())
        else:
            query = question.tolist()
        try:
            found = self._client.query_points(
                self._collection, query=query, using=channel, limit=limit, with_payload=False
            ).points
        except Exception as error:
            raise self._down(error) from error
        hits = [(int(point.id), float(point.score)) for point in found if point.score > 0]
        return sorted(hits, key=lambda hit: (-hit[1], hit[0]))

    def close(self) -> None:
        """Let go of the files or the connection."""
        self._client.close()

    def _down(self, error: Exception) -> SourceUnavailableError:
        return SourceUnavailableError(
            f"Qdrant at {self._address!r} does not answer ({type(error).__name__}: {error}): start it, or leave store= "
            "empty for the index in this process"
        )


def _vectors(columns: Mapping[str, list[Sparse]], dense: NDArray[np.float32], at: int) -> dict[str, Any]:
    from qdrant_client import models

    found: dict[str, Any] = {DENSE: dense[at].tolist()}
    for name, vectors in columns.items():
        one = vectors[at]
        if len(one.terms):
            found[name] = models.SparseVector(indices=one.terms.tolist(), values=one.values.tolist())
    return found


def store(address: str = "") -> Store:
    """Return the store at an address: empty for this process, `:memory:` or a path for Qdrant local, else a server.

    Raises
    ------
    UsageError
        If Qdrant's client is not installed.
    SourceUnavailableError
        If the server does not answer.
    """
    return Qdrant(address) if address else InProcess()
