"""Laws of answering: spans are pieces of their passage, no text makes it fall, order does not matter."""

from __future__ import annotations

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.language.answering.world import example

from kalibre.language.answering.examples import answer_units
from kalibre.language.answering.fast import FastReader, from_bundle, train
from kalibre.language.answering.passages import Document, passages, start_of
from kalibre.language.answering.question import analyse
from kalibre.language.answering.retrieval import Index
from kalibre.language.answering.scores import exact, overlap
from kalibre.language.answering.words import units
from kalibre.language.base import Passage

ODD = st.text(alphabet=st.one_of(st.characters(), st.sampled_from("ıİIiğŞ'’.,!?\n \u202e\u200f\x00👍")), max_size=300)
SAID = st.lists(
    st.sampled_from(
        "kim hangi yılda nerede liman Iğdır'da 1923 yılında (açıldı) gemi, fener. Köprü 3,5 milyon 'taş'".split()
    ),
    max_size=40,
).map(" ".join)
TEXT = st.one_of(ODD, SAID)


@cache
def reader() -> FastReader:
    return from_bundle(train([example(number) for number in range(100)], folds=2, rounds=4))


@settings(max_examples=150, deadline=None)
@given(question=TEXT, contexts=st.lists(TEXT, max_size=3))
def test_spans_are_pieces_of_their_passage(question, contexts):
    spans = reader().read(question, contexts, limit=4)

    assert len(spans) <= 4
    for span in spans:
        assert contexts[span.passage][span.start : span.end] == span.text
        assert span.text
        assert 0 <= span.probability <= 1


@given(text=TEXT)
def test_units_rise_and_hold_every_letter(text):
    cut = units(text)
    kept = "".join(text[a:b] for a, b in zip(cut.starts, cut.ends, strict=True))

    assert all(a < b for a, b in zip(cut.starts, cut.ends, strict=True))
    assert all(b <= a for b, a in zip(cut.ends[:-1], cut.starts[1:], strict=True))
    assert "".join(kept.split()) == "".join(text.split())
    assert (cut.sentence[1:] >= cut.sentence[:-1]).all()
    analyse(text)


@given(text=SAID.filter(lambda one: len(units(one)) > 1), data=st.data())
def test_an_answer_lies_inside_its_units(text, data):
    start = data.draw(st.integers(0, len(text) - 1))
    answer = text[start : data.draw(st.integers(start + 1, len(text)))]
    first, last = answer_units(units(text), answer, start)

    assert 0 <= first <= last < len(units(text))


@given(a=TEXT, b=TEXT)
def test_scores_agree_with_themselves(a, b):
    assert exact(a, [a]) == overlap(a, [a]) == 1
    assert exact(a, [b]) == exact(b, [a])
    assert 0 <= exact(a, [b]) <= overlap(a, [b]) + 1e-9 <= 1 + 1e-9
    assert abs(overlap(a, [b]) - overlap(b, [a])) < 1e-12


@given(text=st.one_of(ODD, st.lists(SAID, max_size=30).map("\nMadde 4 – ".join)))
def test_passages_are_verbatim_and_apart(text):
    found = passages([Document(text=text)])

    ends = 0
    for one in found:
        assert text[start_of(one) :].startswith(one.text)
        assert start_of(one) >= ends
        ends = start_of(one) + len(one.text)
    assert "".join("".join(one.text for one in found).split()) == "".join(text.split())


@settings(max_examples=25, deadline=None)
@given(texts=st.lists(SAID, min_size=2, max_size=8, unique=True), question=TEXT, seed=st.randoms())
def test_the_order_of_passages_does_not_matter(texts, question, seed):
    made = [Passage(id=f"p{at}", document=f"p{at}", title="", text=text) for at, text in enumerate(texts)]
    mixed = list(made)
    seed.shuffle(mixed)

    found = [[(hit.passage.id, hit.score) for hit in Index.build(one).search(question)] for one in (made, mixed)]

    assert found[0] == found[1]
