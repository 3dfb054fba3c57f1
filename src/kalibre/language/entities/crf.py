"""A linear-chain conditional random field: the likeliest tags of a sentence, and how likely each mention is.

It reads hashed features (`templates`), holds no text, and infers in NumPy alone. `crf_training` makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError
from kalibre.language.entities.lexicon import stepped, unstepped
from kalibre.language.entities.tags import Mention, grammar, mentions

_NEVER = -1e30
_CHUNK = 4_096  # tokens whose weights are gathered at once


@dataclass(frozen=True)
class Crf:
    """Weights of features and tags.

    Attributes
    ----------
    tags
        BIOES, `O` first.
    keys
        Hashes of the features that have weights, ascending.
    weights
        Shape (n_keys, n_tags); whole numbers where it was packed, in units of `unit`.
    unit
        What a weight of 1 is worth.
    moves, edges
        Log-weights of a tag behind a tag, shape (n_tags, n_tags), and of a sentence's first and last tag, shape
        (2, n_tags). What the grammar of tags forbids is not looked at.
    """

    tags: tuple[str, ...]
    keys: NDArray[np.uint32]
    weights: NDArray[Any]
    moves: NDArray[np.float64]
    edges: NDArray[np.float64]
    unit: float = 1.0

    @cached_property
    def _moves(self) -> NDArray[np.float64]:
        return np.where(grammar(self.tags)[0], self.moves, _NEVER)

    @cached_property
    def _edges(self) -> NDArray[np.float64]:
        _, opens, closes = grammar(self.tags)
        return np.where(np.stack([opens, closes]), self.edges, _NEVER)

    def scores(self, features: NDArray[np.uint32]) -> NDArray[np.float64]:
        """Return the score of each tag at each token by its features alone.

        Parameters
        ----------
        features
            Shape (n_tokens, n_features); 0 and unknown hashes count nothing.
        """
        out = np.zeros((len(features), len(self.tags)))
        if not len(self.keys):
            return out
        for begin in range(0, len(features), _CHUNK):
            wanted = features[begin : begin + _CHUNK]
            at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
            row, column = np.nonzero(self.keys[at] == wanted)
            gathered = self.weights[at[row, column]]
            cuts = np.flatnonzero(np.diff(row, prepend=-1))
            if len(cuts):
                wide = np.int64 if self.weights.dtype.kind == "i" else np.float64
                out[begin + row[cuts]] = np.add.reduceat(gathered, cuts, axis=0, dtype=wide) * self.unit
        return out

    def read(self, scores: NDArray[np.float64]) -> list[Mention]:
        """Return the mentions of one sentence on its likeliest way of tags, each with its probability.

        The probability is of exactly this mention (these tokens, this type), summed over all ways of tags.

        Parameters
        ----------
        scores
            Shape (n_tokens, n_tags).
        """
        if not len(scores):
            return []
        path = self._best(scores)
        found = mentions([self.tags[tag] for tag in path])
        if not found:
            return []
        forward, backward, total = self._sums(scores)
        judged = []
        for one in found:
            value = forward[one.start, path[one.start]]
            for t in range(one.start + 1, one.end):
                value += self._moves[path[t - 1], path[t]] + scores[t, path[t]]
            value += backward[one.end - 1, path[one.end - 1]] - total
            judged.append(one._replace(probability=float(np.exp(min(0.0, value)))))
        return judged

    def posteriors(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability of each tag at each token of one sentence, shape (n_tokens, n_tags)."""
        if not len(scores):
            return np.zeros(scores.shape)
        forward, backward, total = self._sums(scores)
        return np.asarray(np.exp(np.minimum(forward + backward - total, 0.0)))

    def _best(self, scores: NDArray[np.float64]) -> list[int]:
        best = self._edges[0] + scores[0]
        came = np.zeros(scores.shape, dtype=np.int64)
        for t in range(1, len(scores)):
            ways = best[:, None] + self._moves
            came[t] = ways.argmax(axis=0)
            best = ways[came[t], np.arange(len(best))] + scores[t]
        path = [int(np.argmax(best + self._edges[1]))]
        for t in range(len(scores) - 1, 0, -1):
            path.append(int(came[t, path[-1]]))
        return path[::-1]

    def _sums(self, scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """Return log-sums over all ways up to and from each token, and over all ways."""
        steps, n = np.exp(self._moves), len(scores)
        forward, backward = np.empty(scores.shape), np.empty(scores.shape)
        forward[0] = self._edges[0] + scores[0]
        for t in range(1, n):
            most = forward[t - 1].max()
            forward[t] = _log(np.exp(forward[t - 1] - most) @ steps) + most + scores[t]
        backward[-1] = self._edges[1]
        for t in range(n - 2, -1, -1):
            ahead = backward[t + 1] + scores[t + 1]
            most = ahead.max()
            backward[t] = _log(steps @ np.exp(ahead - most)) + most
        last = forward[-1] + self._edges[1]
        return forward, backward, float(_log(np.exp(last - last.max()).sum()) + last.max())

    def packed(self, *, levels: int = 127, least: float = 0.0) -> Crf:
        """Return the field with weights as whole numbers of one byte, without features that weigh less than `least`."""
        kept = np.abs(self.weights).max(axis=1) * self.unit > least
        weights = self.weights[kept] * self.unit
        unit = float(np.abs(weights).max()) / levels if kept.any() else 1.0
        whole = np.round(weights / unit).astype(np.int8)
        some = whole.any(axis=1)
        return Crf(self.tags, self.keys[kept][some], whole[some], self.moves, self.edges, unit)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is to be stored."""
        low, high = stepped(self.keys)
        return {
            "low": low,
            "high": high,
            "weights": np.ascontiguousarray(self.weights.T),
            "moves": self.moves.astype(np.float32),
            "edges": self.edges.astype(np.float32),
            "unit": np.array([self.unit]),
        }

    @staticmethod
    def of_arrays(tags: tuple[str, ...], arrays: Mapping[str, NDArray[Any]]) -> Crf:
        """Make a field of what `arrays` returned.

        Raises
        ------
        ModelError
            If arrays are missing or do not fit each other.
        """
        try:
            keys = unstepped(arrays["low"], arrays["high"])
            weights = np.ascontiguousarray(arrays["weights"].T)
            moves, edges = arrays["moves"].astype(np.float64), arrays["edges"].astype(np.float64)
            unit = float(arrays["unit"][0])
        except (KeyError, IndexError) as error:
            raise ModelError(f"a field of {len(tags)} tags lacks {error}: restore the model or train anew") from error
        n = len(tags)
        shapes = (weights.shape, moves.shape, edges.shape)
        if shapes != ((len(keys), n), (n, n), (2, n)):
            raise ModelError(f"a field of {n} tags and {len(keys)} features has arrays of {shapes}: train anew")
        return Crf(tags, keys, weights, moves, edges, unit)


def _log(value: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(value), _NEVER)
