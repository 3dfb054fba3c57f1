"""Laws of near-duplicates: order does not matter, every text is like itself, and nothing in a text can break it."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from kalibre.language.near import contained, groups, overlap

ANY = st.text(st.characters(), max_size=60)
ALIKE = st.lists(
    st.sampled_from(["kur arttı", "kur artti", "kur arttı bugün", "KUR ARTTI bugün!", "faiz", "faizi", "", "🚀"]),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ANY, max_size=8) | ALIKE, st.randoms(use_true_random=False))
def test_groups_do_not_depend_on_order(texts: list[str], chance: random.Random):
    places = list(range(len(texts)))
    chance.shuffle(places)
    straight = groups(texts, 0.6).tolist()
    shuffled = groups([texts[i] for i in places], 0.6).tolist()
    back = dict(zip(places, shuffled, strict=True))
    for i in range(len(texts)):
        for j in range(i):
            assert (straight[i] == straight[j]) == (back[i] == back[j])


@settings(max_examples=60, deadline=None)
@given(st.lists(ANY, min_size=1, max_size=6))
def test_every_text_overlaps_itself(texts: list[str]):
    found = {(one.train_index, one.test_index): one.similarity for one in overlap(texts, texts)}
    assert all(found[i, i] == 1.0 for i in range(len(texts)))
    assert {(j, i) for i, j in found} == set(found)


@settings(max_examples=60, deadline=None)
@given(ANY, st.text("abcçdeğıöşü", min_size=20, max_size=60), ANY)
def test_what_is_put_inside_is_found(before: str, text: str, after: str):
    assert [one.share for one in contained([text], [f"{before} {text} {after}"])] == [1.0]
