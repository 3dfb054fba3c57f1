"""Laws of entities: any text at all, mentions and tags both ways, probabilities that add up."""

from functools import cache
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.language.entities.laws import breaches

from kalibre.core.errors import LanguageError
from kalibre.language.entities.crf import Crf
from kalibre.language.entities.lexicon import stepped, unstepped
from kalibre.language.entities.metrics import counts, f1_of, score
from kalibre.language.entities.tags import Mention, bioes, grammar, iob2, labels, mentions
from kalibre.language.load import load

TYPES = ("ORG", "PER", "TIME")
PIECES = (
    "THYAO'nun",
    "Ankara’da",
    "yüzde",
    "%5",
    "2,5 milyar TL'ye",
    "14 Mayıs'ta",
    "BIST 100",
    "Merkez Bankasının",
    "A.Ş.",
)


@cache
def shipped():
    return load("entities", "builtin:fast")


@st.composite
def laid(draw):
    """Mentions that do not overlap, in a sentence of some length."""
    cuts = sorted(set(draw(st.lists(st.integers(0, 30), max_size=10))))
    pairs = list(zip(cuts[::2], cuts[1::2], strict=False))
    return [Mention(a, b, draw(st.sampled_from(TYPES))) for a, b in pairs], 31


@given(laid())
def test_tags_say_mentions_and_mentions_tags(some):
    found, length = some
    assert mentions(iob2(found, length)) == found
    tags = bioes(found, length)
    assert mentions(tags) == found
    known = labels(TYPES)
    follows, opens, closes = grammar(known)
    places = [known.index(tag) for tag in tags]
    assert opens[places[0]]
    assert closes[places[-1]]
    assert all(follows[a, b] for a, b in pairwise(places))


@given(st.lists(st.sampled_from(["O", *(f"{sign}-{kind}" for kind in TYPES for sign in "BIES")]), max_size=12))
def test_any_tags_are_mentions_that_do_not_overlap(tags):
    found = mentions(tags)
    assert all(one.start < one.end for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))


@given(laid(), laid())
def test_figures_are_bounded_and_perfect_for_the_truth(one, other):
    true, told = [one[0]], [other[0]]
    assert 0 <= score(true, told).f1 <= 1
    assert score(true, true).f1 == 1
    assert f1_of(counts(true, told).sum(axis=0)) == f1_of(counts(told, true).sum(axis=0))


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_probabilities_of_tags_add_up_and_mentions_are_likelier_than_nothing(seed, length):
    chance = np.random.default_rng(seed)
    tags = labels(TYPES)
    n = len(tags)
    empty = np.zeros((0, n))
    crf = Crf(tags, np.zeros(0, np.uint32), empty, chance.normal(size=(n, n)), chance.normal(size=(2, n)))
    scores = chance.normal(scale=3, size=(length, n))
    chances = crf.posteriors(scores)
    assert np.allclose(chances.sum(axis=1), 1)
    for one in crf.read(scores):
        assert 0 < one.probability <= 1
        # A mention is at most as likely as each of its tags.
        first = tags.index(("S-" if one.end - one.start == 1 else "B-") + one.type)
        assert one.probability <= chances[one.start, first] + 1e-9


@given(st.sets(st.integers(0, 2**32 - 1), max_size=50))
def test_hashes_come_back_from_their_steps(hashes):
    ascending = np.array(sorted(hashes), dtype=np.uint32)
    assert np.array_equal(unstepped(*stepped(ascending)), ascending)


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.text(max_size=120),
        st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=6)), max_size=12).map(" ".join),
    )
)
def test_any_text_is_read_by_the_laws_or_refused_clearly(text):
    try:
        found = shipped().predict([text])[0]
    except LanguageError:
        return
    assert breaches(text, found) == []
    assert shipped().predict([text])[0] == found
