"""The loops that train the conditional random field, compiled: one pass of AdaGrad over sentences.

Tags that may not follow each other have no weight; whole sentences are judged by forward-backward sums, scaled at each
token. Features are dropped at random, and their weights grow in proportion, as dropout does for inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from kalibre.features._kernel import Kernel

F = TypeVar("F", bound=Callable[..., Any])
Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Codes = NDArray[np.int32]
Flags = NDArray[np.bool_]

_TINY = 1e-300
_LEAST_SLOPE = 1e-4
_LOW_63 = 0x7FFFFFFFFFFFFFFF


def compiled(function: F) -> F:
    """Compile a kernel, kept in the folder of the Turkish wing."""
    return cast(F, Kernel(function, folder="language"))


@compiled
def stirred(state: int) -> int:
    """Return the next state of the chance that drops features (xorshift)."""
    state ^= (state << 13) & _LOW_63
    state ^= state >> 7
    return state ^ ((state << 17) & _LOW_63)


@compiled
def score(
    features: Codes, begin: int, end: int, weights: Singles, dropped: float, state: int, scores: Floats, used: Flags
) -> int:
    """Exponentiate each tag's score at each token of a sentence, with some features dropped; returns the state."""
    keep, limit = 1.0 / (1.0 - dropped), int(dropped * 2147483648.0)
    for t in range(end - begin):
        scores[t, :] = 0.0
        for f in range(features.shape[1]):
            x = features[begin + t, f]
            on = x >= 0
            if on and limit > 0:
                state = stirred(state)
                on = (state >> 20) & 0x7FFFFFFF >= limit
            used[t, f] = on
            if on:
                for k in range(scores.shape[1]):
                    scores[t, k] += weights[x, k]
        most = -1e30
        for k in range(scores.shape[1]):
            most = max(most, scores[t, k] * keep)
        for k in range(scores.shape[1]):
            scores[t, k] = np.exp(scores[t, k] * keep - most)
    return state


@compiled
def look_ahead(
    n: int, follows: Ints, n_follows: Ints, grammar: Ints, steps: Floats, edges: Floats, scores: Floats,
    forward: Floats, sizes: Floats,
) -> None:  # fmt: skip
    """Sum the ways of tags up to each token, scaled to one."""
    n_tags = len(n_follows)
    for t in range(n):
        for k in range(n_tags):
            forward[t, k] = np.exp(edges[0, k]) if t == 0 and grammar[0, k] else 0.0
        if t > 0:
            for i in range(n_tags):
                for b in range(n_follows[i]):
                    forward[t, follows[i, b]] += forward[t - 1, i] * steps[i, follows[i, b]]
        total = _TINY
        for k in range(n_tags):
            forward[t, k] *= scores[t, k]
            total += forward[t, k]
        sizes[t] = total
        for k in range(n_tags):
            forward[t, k] /= total


@compiled
def look_back(
    n: int, follows: Ints, n_follows: Ints, grammar: Ints, steps: Floats, edges: Floats, scores: Floats,
    forward: Floats, backward: Floats, sizes: Floats, ahead: Floats, flow: Floats,
) -> None:  # fmt: skip
    """Sum the ways of tags from each token on, scaled like the ways up to it; `flow` is how often a tag follows one."""
    n_tags = len(n_follows)
    total = _TINY
    for k in range(n_tags):
        backward[n - 1, k] = np.exp(edges[1, k]) if grammar[1, k] else 0.0
        total += forward[n - 1, k] * backward[n - 1, k]
    for k in range(n_tags):
        backward[n - 1, k] /= total
    for t in range(n - 2, -1, -1):
        for k in range(n_tags):
            ahead[k] = scores[t + 1, k] * backward[t + 1, k] / sizes[t + 1]
        for i in range(n_tags):
            value = 0.0
            for b in range(n_follows[i]):
                part = steps[i, follows[i, b]] * ahead[follows[i, b]]
                value += part
                flow[i, follows[i, b]] += forward[t, i] * part
            backward[t, i] = value


@compiled
def improve(
    row: Codes, on: Flags, slopes: Floats, weights: Singles, squares: Singles, rate: float, shrink: float
) -> None:
    """Move the weights of one token's features against their slopes, and towards 0 by `shrink`."""
    for f in range(len(row)):
        if on[f]:
            x = row[f]
            for k in range(len(slopes)):
                if abs(slopes[k]) > _LEAST_SLOPE:
                    squares[x, k] += slopes[k] * slopes[k]
                    step = rate / np.sqrt(squares[x, k])
                    weight = weights[x, k] - step * slopes[k]
                    least = step * shrink
                    weights[x, k] = weight - least if weight > least else weight + least if weight < -least else 0.0


@compiled
def move(follows: Ints, n_follows: Ints, flow: Floats, moves: Floats, squares: Floats, rate: float) -> None:
    """Move the weights of a tag behind a tag against `flow`, their slope."""
    for i in range(len(n_follows)):
        for b in range(n_follows[i]):
            j = follows[i, b]
            squares[i, j] += flow[i, j] * flow[i, j]
            moves[i, j] -= rate * flow[i, j] / np.sqrt(squares[i, j])


@compiled
def one_pass(
    features: Codes, bounds: Ints, tags: Ints, order: Ints, follows: Ints, n_follows: Ints, grammar: Ints,
    weights: Singles, squares: Singles, moves: Floats, move_squares: Floats, edges: Floats, edge_squares: Floats,
    rate: float, shrink: float, dropped: float, seed: int, rooms: Floats, small: Floats, sizes: Floats, used: Flags,
) -> float:  # fmt: skip
    """Read sentences in order once, improve the weights after each; returns their summed log-loss as it was.

    `grammar` says in its first row which tags may begin, in its second which may end a sentence; so do `edges` with
    their weights. `rooms` has shape (3, longest sentence, n_tags), `small` (2 * n_tags + 1, n_tags), `sizes` and `used`
    a row for each token of the longest sentence.
    """
    n_tags = len(n_follows)
    scores, forward, backward = rooms[0], rooms[1], rooms[2]
    steps, flow, slopes = small[:n_tags], small[n_tags : 2 * n_tags], small[2 * n_tags]
    state = (seed * 2654435761 + 88172645463325252) & _LOW_63
    loss = 0.0
    for which in range(len(order)):
        begin, end = bounds[order[which]], bounds[order[which] + 1]
        n = end - begin
        if n == 0:
            continue
        for i in range(n_tags):
            for b in range(n_follows[i]):
                steps[i, follows[i, b]] = np.exp(moves[i, follows[i, b]])
                flow[i, follows[i, b]] = 0.0
        state = score(features, begin, end, weights, dropped, state, scores, used)
        look_ahead(n, follows, n_follows, grammar, steps, edges, scores, forward, sizes)
        look_back(n, follows, n_follows, grammar, steps, edges, scores, forward, backward, sizes, slopes, flow)
        for t in range(n):
            tag = tags[begin + t]
            for k in range(n_tags):
                slopes[k] = forward[t, k] * backward[t, k]
            loss -= np.log(slopes[tag] + 1e-12)
            slopes[tag] -= 1.0
            for side in range(2):
                if t == (0 if side == 0 else n - 1):
                    for k in range(n_tags):
                        edge_squares[side, k] += slopes[k] * slopes[k]
                        edges[side, k] -= rate * slopes[k] / np.sqrt(edge_squares[side, k])
            for k in range(n_tags):
                slopes[k] /= 1.0 - dropped
            improve(features[begin + t], used[t], slopes, weights, squares, rate, shrink)
            if t + 1 < n:
                flow[tag, tags[begin + t + 1]] -= 1.0
        move(follows, n_follows, flow, moves, move_squares, rate)
    return loss
