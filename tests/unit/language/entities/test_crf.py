"""The field's sums and ways beside brute force over every way of tags; training; what is stored."""

import itertools

import numpy as np
import pytest

from kalibre.core.errors import ModelError
from kalibre.language.bundle import pack_arrays, unpack_arrays
from kalibre.language.entities.crf import Crf
from kalibre.language.entities.crf_training import Recipe, fit
from kalibre.language.entities.tags import Mention, bioes, grammar, labels, mentions

TAGS = labels(["ORG", "PER"])


def some_crf(seed: int = 0) -> Crf:
    chance = np.random.default_rng(seed)
    n = len(TAGS)
    keys = np.unique(chance.integers(1, 2**32, 40).astype(np.uint32))
    return Crf(TAGS, keys, chance.normal(size=(len(keys), n)), chance.normal(size=(n, n)), chance.normal(size=(2, n)))


def ways(crf: Crf, scores: np.ndarray) -> dict[tuple[int, ...], float]:
    """Every allowed way of tags with its probability, added up without any recursion."""
    follows, opens, closes = grammar(crf.tags)
    found = {}
    for path in itertools.product(range(len(crf.tags)), repeat=len(scores)):
        pairs = list(itertools.pairwise(path))
        if opens[path[0]] and closes[path[-1]] and all(follows[pair] for pair in pairs):
            value = crf.edges[0, path[0]] + crf.edges[1, path[-1]] + sum(crf.moves[pair] for pair in pairs)
            found[path] = float(value + sum(scores[t, tag] for t, tag in enumerate(path)))
    total = np.log(np.sum(np.exp(list(found.values()))))
    return {path: float(np.exp(value - total)) for path, value in found.items()}


@pytest.mark.parametrize("seed", range(6))
def test_best_way_and_probabilities_are_those_of_brute_force(seed):
    crf = some_crf(seed)
    scores = np.random.default_rng(seed + 100).normal(scale=2, size=(4, len(TAGS)))
    every = ways(crf, scores)
    best = max(every, key=every.__getitem__)
    wanted = mentions([TAGS[tag] for tag in best])
    found = crf.read(scores)
    assert [one[:3] for one in found] == [one[:3] for one in wanted]
    for one in found:
        there = [one[:3] in {m[:3] for m in mentions([TAGS[tag] for tag in path])} for path in every]
        assert one.probability == pytest.approx(sum(p for p, on in zip(every.values(), there, strict=True) if on))


def test_scores_add_up_weights_of_known_features_only():
    crf = some_crf()
    rows = np.array([[crf.keys[3], 0, crf.keys[7]], [0, 0, 0], [12345, crf.keys[0], 0]], dtype=np.uint32)
    wanted = np.stack([crf.weights[3] + crf.weights[7], np.zeros(len(TAGS)), crf.weights[0]])
    assert crf.scores(rows) == pytest.approx(wanted)


def test_extreme_scores_do_not_overflow():
    crf = some_crf()
    found = crf.read(np.full((50, len(TAGS)), 1e6))
    assert all(0.0 <= one.probability <= 1.0 for one in found)
    assert crf.read(np.zeros((0, len(TAGS)))) == []


def made(n: int = 200, seed: int = 0):
    """Tokens with three features each; the first says the tag most of the time."""
    chance = np.random.default_rng(seed)
    tags, bounds, rows = [], [0], []
    for _ in range(n):
        length = int(chance.integers(3, 9))
        found = []
        if chance.random() < 0.7:
            begin = int(chance.integers(0, length - 1))
            found = [(begin, begin + int(chance.integers(1, 3)), "ORG" if chance.random() < 0.5 else "PER")]
        spelt = bioes([Mention(*one) for one in found], length)
        tags += spelt
        bounds.append(bounds[-1] + length)
        for tag in spelt:
            said = tag if chance.random() < 0.97 else "O"
            rows.append([10 + TAGS.index(said), int(chance.integers(100, 150)), 7])
    return np.array(rows, dtype=np.uint32), np.array(bounds), tags


def test_training_learns_is_repeatable_and_reads_unseen_sentences():
    rows, bounds, tags = made()
    crf, again = (fit(rows, bounds, tags, TAGS, Recipe(passes=8)) for _ in range(2))
    assert np.array_equal(crf.weights, again.weights)
    assert np.array_equal(crf.moves, again.moves)
    other, ends, true = made(seed=1)
    hits = total = 0
    for begin, end in itertools.pairwise(ends):
        read = {one[:3] for one in crf.read(crf.scores(other[begin:end]))}
        right = {one[:3] for one in mentions(true[begin:end])}
        hits, total = hits + 2 * len(read & right), total + len(read) + len(right)
    assert hits / total > 0.8


def test_gradient_step_is_that_of_the_likelihood():
    rows, tags = made(40)[0][:4], bioes([Mention(1, 3, "ORG")], 4)
    recipe = Recipe(passes=1, averaged=1, dropped=0.0, least=1, rate=1e-6)
    crf = fit(rows, np.array([0, 4]), tags, TAGS, recipe)
    empty = Crf(TAGS, crf.keys, np.zeros_like(crf.weights), np.zeros_like(crf.moves), np.zeros_like(crf.edges))
    probability = ways(empty, np.zeros((4, len(TAGS))))
    true = tuple(TAGS.index(tag) for tag in tags)
    slope = sum(p * np.eye(len(TAGS))[path[0]] for path, p in probability.items()) - np.eye(len(TAGS))[true[0]]
    # One AdaGrad step from nothing moves a beginning's weight by -rate * slope / sqrt(1 + slope²).
    assert crf.edges[0] == pytest.approx(-1e-6 * slope / np.sqrt(1 + slope**2), abs=1e-12)


def test_shrinking_leaves_fewer_weights():
    rows, bounds, tags = made()
    full, thin = (fit(rows, bounds, tags, TAGS, Recipe(passes=4, shrink=shrink)) for shrink in (0.0, 0.05))
    assert np.count_nonzero(thin.weights) < 0.7 * np.count_nonzero(full.weights)


def test_packed_and_stored_reads_alike():
    rows, bounds, tags = made()
    crf = fit(rows, bounds, tags, TAGS, Recipe(passes=4))
    packed = crf.packed()
    assert packed.weights.dtype == np.int8
    back = Crf.of_arrays(TAGS, unpack_arrays(pack_arrays(packed.arrays())))
    assert np.array_equal(back.keys, packed.keys)
    assert back.scores(rows) == pytest.approx(packed.scores(rows))
    assert np.abs(packed.scores(rows) - crf.scores(rows)).max() < 3 * packed.unit
    with pytest.raises(ModelError, match="lacks 'low'"):
        Crf.of_arrays(TAGS, {})
    with pytest.raises(ModelError, match="train anew"):
        Crf.of_arrays(TAGS[:5], packed.arrays())


def test_what_cannot_be_learnt_is_refused():
    rows, bounds, tags = made(5)
    with pytest.raises(ModelError, match="as many tags as tokens"):
        fit(rows, bounds, tags[:-1], TAGS)
    with pytest.raises(ModelError, match="'B-XYZ' is not among"):
        fit(rows, bounds, ["B-XYZ", *tags[1:]], TAGS)
