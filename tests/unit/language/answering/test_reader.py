"""The reader without torch: what it reads, that it learnt it, and what it does with what cannot be read."""

from __future__ import annotations

import json

import pytest

from kalibre.core.errors import LanguageError, ModelError
from kalibre.language.answering import fast
from kalibre.language.answering.evaluate import judge
from kalibre.language.bundle import LanguageBundle, open_bundle


def test_learns_what_the_question_asks_for(reader, unseen):
    figures = judge(unseen, reader)["figures"]

    assert figures["f1"]["value"] > 0.8
    assert figures["exact"]["value"] > 0.7


def test_shuffled_labels_lose(reader, astray, unseen):
    honest, shuffled = (judge(unseen, one)["figures"]["f1"]["value"] for one in (reader, astray))

    assert shuffled < 0.5 * honest


def test_shuffled_labels_are_doubted(astray, unseen):
    sure = [astray.read(one.question, [one.context], limit=1)[0].probability for one in unseen]

    assert max(sure) < 0.8


def test_a_span_is_a_piece_of_its_passage(reader, unseen):
    for one in unseen[:10]:
        spans = reader.read(one.question, ["Bu satırda bir şey yok.", one.context])
        assert spans
        assert all(
            span.text == ("Bu satırda bir şey yok.", one.context)[span.passage][span.start : span.end] for span in spans
        )
        assert len({(span.passage, span.start, span.end) for span in spans}) == len(spans)


def test_the_passage_that_speaks_of_it_comes_first(reader, unseen, world):
    asked = [one for one in unseen if one.question[0] != "Ö"]  # those name the person

    first = [reader.read(one.question, [world[at].context, one.context])[0].passage for at, one in enumerate(asked)]

    assert sum(first) / len(first) > 0.6


@pytest.mark.parametrize("question", ["", "   ", "?!…", "👍👍", "\u202e\u202e", "\x00", "\ud800"])
def test_a_question_without_a_word_has_no_answer(reader, question):
    assert reader.read(question, ["Ankara 1923 yılında başkent oldu."]) == []


@pytest.mark.parametrize("passage", ["", " \n ", "👍", "\x00\x00"])
def test_a_passage_without_a_word_has_no_answer(reader, passage):
    assert reader.read("Ankara ne zaman başkent oldu?", [passage]) == []


def test_too_large_a_passage_is_refused(reader):
    with pytest.raises(LanguageError, match="1,000,001 characters"):
        reader.read("Ne zaman?", ["a" * (fast.LARGEST + 1)])


def test_reads_the_same_after_saving(reader, world, unseen, tmp_path):
    bundle = fast.train(world[:120], folds=2, rounds=5)
    again = fast.from_bundle(open_bundle(bundle.save(tmp_path, "one"), "answering"))
    before = fast.from_bundle(bundle)

    for one in unseen[:5]:
        assert again.read(one.question, [one.context]) == before.read(one.question, [one.context])


def test_training_is_repeatable(world):
    assert fast.train(world[:100], folds=2, rounds=3).version == fast.train(world[:100], folds=2, rounds=3).version


def test_holds_no_readable_text(world):
    bundle = fast.train(world[:120], folds=2, rounds=3)
    everything = b"".join(bundle.files.values())

    assert b"Kastamonu" not in everything
    assert b"kasta" not in everything


def test_too_few_questions_are_refused(world):
    with pytest.raises(ModelError, match="too few"):
        fast.train(world[:10])


def test_a_torn_bundle_is_refused(world):
    bundle = fast.train(world[:60], folds=2, rounds=2)
    for files in (
        {**bundle.files, "worth.txt.xz": bundle.files["worth.txt.xz"][:50]},
        {**bundle.files, "settings.json": b"{}"},
        {key: value for key, value in bundle.files.items() if key != "arrays.npz"},
    ):
        with pytest.raises(ModelError):
            fast.from_bundle(LanguageBundle(task="answering", family="fast", files=files, card={}))


def test_thresholds_rise_with_the_precision_asked_for(reader):
    values = [reader.thresholds[key] for key in sorted(reader.thresholds)]

    assert values == sorted(values)
    assert json.dumps(dict(reader.thresholds))
