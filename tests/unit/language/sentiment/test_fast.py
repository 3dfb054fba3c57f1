"""The fast tier trained on made-up sentences: results, reasons, refusals, storage."""

from itertools import pairwise

import numpy as np
import pytest
from tests.unit.language.sentiment.made import sentences

from kalibre.core.errors import LanguageError, ModelError, UsageError
from kalibre.language.bundle import LanguageBundle, open_bundle
from kalibre.language.load import load
from kalibre.language.sentiment import fast


def test_new_sentences_are_read(model):
    texts, labels = sentences(60, 2)
    told = model.predict(texts)
    assert np.mean([max(zip(one.probabilities, ("negative", "neutral", "positive"), strict=True))[1] == label
                    for one, label in zip(told, labels, strict=True)]) > 0.9  # fmt: skip
    assert all(sum(one.probabilities) == pytest.approx(1.0) for one in told)


def test_result_depends_on_its_text_alone(model):
    texts, _ = sentences(20, 4)
    together = model.predict(texts)
    alone = [model.predict([text])[0] for text in texts]
    for one, two in zip(together, alone, strict=True):
        assert one.label == two.label
        assert one.probabilities == pytest.approx(two.probabilities, abs=1e-6)


def test_reasons_mark_the_words(model):
    text = "Ova Gıda kârı yüzde 40 geriledi"
    (said,) = model.predict([text])
    assert said.label == "negative"
    worst = min(said.reasons, key=lambda one: one.weight)
    assert "geriledi" in text[worst.start : worst.end]
    assert worst.weight < 0
    spans = [(one.start, one.end) for one in said.reasons]
    assert spans == sorted(spans)
    assert all(one[1] <= two[0] for one, two in pairwise(spans))


@pytest.mark.parametrize(
    ("text", "why", "language"),
    [
        ("", "empty", "unknown"),
        ("  \n", "empty", "unknown"),
        ("😀🚀", "no words", "unknown"),
        ("12,5 % 3.400", "no words", "unknown"),
        ("\x00\x01\x02\x03\x04\x05\x06bc", "binary", "unknown"),
        ("a" * 20_001, "too long", "unknown"),
        ("Die Börse schließt nach der Entscheidung der Notenbank im Plus", "language", "other"),
        (None, "not text", "unknown"),
        (b"faiz", "not text", "unknown"),
    ],
)
def test_what_cannot_be_read_is_told(model, text, why, language):
    (said,) = model.predict([text])
    assert (said.label, said.probabilities, said.abstained, said.language) == (None, None, why, language)


@pytest.mark.parametrize(
    "text", ["\ud800 faiz arttı", "\u200ffaiz arttı\u200e", "faiz\x00 arttı", "Ã¶deme arttÄ±", "FAİZ ARTTI!!!"]
)
def test_odd_texts_are_read_with_places_in_the_text_given(model, text):
    (said,) = model.predict([text])
    assert said.probabilities is not None
    assert all(0 <= one.start < one.end <= len(text) for one in said.reasons)


def test_english_takes_its_own_way(model):
    good, bad = model.predict(["Profit of the company rises sharply", "Shares of the company plunge on fraud probe"])
    assert good.language == bad.language == "en"
    assert good.probabilities[2] - good.probabilities[0] > bad.probabilities[2] - bad.probabilities[0]


def test_no_texts_no_results(model):
    assert model.predict([]) == []


def test_version_and_card(bundle, model):
    assert model.version == bundle.version
    assert bundle.card["licence"] == "made up"
    assert "recall negative" in bundle.card["out_of_fold"]["guard"]


def test_same_training_same_version(bundle):
    texts, labels = sentences(150, 1)
    assert fast.train(texts, labels, groups=np.arange(150), seed=3).version == bundle.version


def test_saved_and_loaded_it_says_the_same(bundle, model, tmp_path):
    again = load("sentiment", str(bundle.save(tmp_path)))
    texts, _ = sentences(10, 9)
    assert again.predict(texts) == model.predict(texts)


def test_missing_file_is_told(bundle, tmp_path):
    files = {name: content for name, content in bundle.files.items() if name != "impact.json"}
    torn = LanguageBundle(task="sentiment", family="fast", files=files, card={})
    with pytest.raises(ModelError, match=r"impact\.json"):
        fast.from_bundle(torn)
    files = dict(bundle.files) | {"turkish.head.json": b"{}"}
    with pytest.raises(ModelError, match="do not fit together"):
        fast.from_bundle(LanguageBundle(task="sentiment", family="fast", files=files, card={}))
    folder = bundle.save(tmp_path)
    (folder / "turkish.arrays.npz").write_bytes(b"x")
    with pytest.raises(ModelError, match="sha256 differs"):
        open_bundle(folder)


def test_training_refuses_what_it_cannot_use():
    texts, labels = sentences(60, 5)
    with pytest.raises(UsageError, match=r"\['mixed'\] unknown"):
        fast.train(texts, [*labels[:-1], "mixed"])
    with pytest.raises(ModelError, match="at least 5 of each"):
        fast.train(texts, ["neutral"] * 60)
    with pytest.raises(LanguageError, match="not text"):
        fast.train([None, *texts[1:]], labels)


def test_labels_without_sense_collapse_loudly():
    texts = [f"Şirket {i} numaralı duyurusunu yaptı" for i in range(120)]
    labels = ["neutral"] * 100 + ["positive"] * 10 + ["negative"] * 10
    rng = np.random.default_rng(0)
    with pytest.raises(ModelError, match="collapsed"):
        fast.train(texts, [labels[i] for i in rng.permutation(120)], groups=np.arange(120))


def test_posts_are_learnt_stored_and_explained(tmp_path):
    texts, labels = sentences(150, 1)
    bundle = fast.train(texts, labels, groups=np.arange(150), recipe=fast.POSTS, seed=3)
    model = fast.from_bundle(bundle)
    held, told = sentences(60, 2)
    said = model.predict(held)
    best = [max(zip(one.probabilities, ("negative", "neutral", "positive"), strict=True))[1] for one in said]
    assert np.mean([one == label for one, label in zip(best, told, strict=True)]) > 0.9
    again = load("sentiment", str(bundle.save(tmp_path))).predict(held)
    assert [one.label for one in again] == [one.label for one in said]
    (bad,) = model.predict(["Ova Gıda kârı yüzde 40 geriledi"])
    worst = min(bad.reasons, key=lambda one: one.weight)
    assert "geriledi" in "Ova Gıda kârı yüzde 40 geriledi"[worst.start : worst.end]


def test_of_many_texts_the_better_recipe_stays(monkeypatch):
    monkeypatch.setattr(fast, "_MANY", 100)
    texts, labels = sentences(150, 1)
    either = fast.train(texts, labels, groups=np.arange(150), seed=3)
    single = [fast.train(texts, labels, groups=np.arange(150), seed=3, recipe=one) for one in (fast.RECIPE, fast.POSTS)]
    assert either.version == min(single, key=lambda one: one.card["out_of_fold"]["log_loss"]).version


_ENGLISH = {
    "positive": ("{} raises its full-year profit forecast", "{} shares jump after the company wins a large order"),
    "negative": ("{} shares plunge after the company posts a loss", "{} cuts its sales outlook on weak demand"),
    "neutral": ("{} will hold its annual meeting in the city of Izmir", "{} names a new head of its research team"),
}


def test_english_rows_teach_the_english_part_alone():
    texts, labels = sentences(150, 1)
    firms = ("Northwind", "Acme Foods", "Blue River", "Hilltop Steel", "Orchard Bank", "Lakeside Motors")
    rows = [(form.format(firm), label) for label, forms in _ENGLISH.items() for form in forms for firm in firms] * 2
    english, told = zip(*rows, strict=True)
    both = fast.train([*texts, *english], [*labels, *told], groups=np.arange(150 + len(rows)), seed=3)
    alone = fast.train(texts, labels, groups=np.arange(150), seed=3)
    assert both.files["turkish.arrays.npz"] == alone.files["turkish.arrays.npz"]
    assert both.files["english.head.json"] != alone.files["english.head.json"]
    assert both.card["languages"] == {"turkish": 150, "english": len(rows), "left_out": 0}
    assert both.card["out_of_fold"]["english"]["texts"] == len(rows)
    taught = [one.card["out_of_fold"]["english"]["taught_by"] for one in (both, alone)]
    assert taught == ["english texts", "turkish texts, read by rules"]
    said = fast.from_bundle(both).predict([form.format("Cedar Works") for forms in _ENGLISH.values() for form in forms])
    best = [max(zip(one.probabilities, ("negative", "neutral", "positive"), strict=True))[1] for one in said]
    assert best == [label for label, forms in _ENGLISH.items() for _ in forms]


def test_texts_of_one_foreign_language_are_no_training_set():
    texts = [form.format(f"Firm {i}") for i in range(20) for forms in _ENGLISH.values() for form in forms]
    labels = [label for _ in range(20) for label, forms in _ENGLISH.items() for _ in forms]
    with pytest.raises(ModelError, match=rf"\[0, 0, 0\] Turkish texts .*{len(texts)} more are English"):
        fast.train(texts, labels, groups=np.arange(len(texts)))


def test_slopes_of_many_are_those_of_each(model):
    texts = [*sentences(5, 6)[0], ""]
    rows = model.turkish.features.rows(texts)
    together = model.turkish.slopes(rows, np.array([-1.0, 0.0, 1.0]))
    for place in range(len(texts)):
        alone = model.turkish.slopes(rows[place], np.array([-1.0, 0.0, 1.0]))
        assert np.allclose(together[place], alone[0], atol=1e-6)
    assert np.abs(together[:5]).max() > 0
