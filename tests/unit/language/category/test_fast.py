"""Categories of made-up texts: results, storage, refusals, a file of anybody's, the model shipped."""

import json

import numpy as np
import pytest

from kalibre.core.errors import LanguageError, ModelError, UsageError
from kalibre.language.category import fast
from kalibre.language.category.evaluate import evaluate
from kalibre.language.load import load

_WORDS = {
    "spor": ("maç", "gol", "takım", "hakem", "lig", "transfer"),
    "ekonomi": ("faiz", "borsa", "kur", "enflasyon", "ihracat", "banka"),
    "saglik": ("hastane", "doktor", "ilaç", "tedavi", "aşı", "hasta"),
}


def made(n, seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice(sorted(_WORDS), n).tolist()
    common = ("bugün", "açıklandı", "yeni", "ilk", "geçen", "hafta", "için")
    texts = [" ".join([*rng.choice(_WORDS[one], 3), *rng.choice(common, 5)]) for one in labels]
    return texts, labels


@pytest.fixture(scope="module")
def bundle():
    texts, labels = made(150, 1)
    return fast.train(texts, labels, groups=np.arange(150), card={"licence": "made up"})


def test_new_texts_are_sorted(bundle):
    model = fast.from_bundle(bundle)
    texts, labels = made(60, 2)
    told = model.predict_proba(texts)
    assert model.classes == ("ekonomi", "saglik", "spor")
    assert np.mean([model.classes[int(np.argmax(one))] == label for one, label in zip(told, labels, strict=True)]) > 0.9
    assert all(sum(one) == pytest.approx(1.0) for one in told)
    assert model.predict_proba([]) == []


def test_stored_it_says_the_same(bundle, tmp_path):
    texts, _ = made(10, 3)
    again = load("category", str(bundle.save(tmp_path)))
    assert np.allclose(again.predict_proba(texts), fast.from_bundle(bundle).predict_proba(texts))


def test_file_of_anybody(bundle, tmp_path):
    texts, labels = made(50, 4)
    rows = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    found = evaluate(tmp_path / "a.jsonl", fast.from_bundle(bundle))
    assert found["accuracy"]["value"] > 0.9
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "maç", "label": "hava"}) + "\n", "utf-8")
    with pytest.raises(LanguageError, match="'hava'"):
        evaluate(tmp_path / "b.jsonl", fast.from_bundle(bundle))


def test_refusals():
    texts, labels = made(40, 5)
    with pytest.raises(UsageError, match="at least two classes"):
        fast.train(texts, ["spor"] * 40)
    with pytest.raises(ModelError, match="class 'hava' has 1 texts"):
        fast.train(texts, ["hava", *labels[1:]])


def test_shipped():
    model = load("category", "builtin:fast")
    texts = [
        "Takım deplasmanda iki golle kazandı, teknik direktör ligin son haftasını değerlendirdi.",
        "Merkez bankası faiz kararını açıkladı, dolar kuru ve borsa bu karara sert tepki verdi.",
    ]
    told = [model.classes[int(np.argmax(one))] for one in model.predict_proba(texts)]
    assert told == ["spor", "ekonomi"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("😀 12", "no words"),
        ("Shares of the company fell on the news today", "language"),
        ("\x00\x01\x02\x03\x04\x05\x06bc", "binary or too long"),
        (None, "not text"),
    ],
)
def test_no_category_is_made_up(bundle, text, why):
    told = fast.from_bundle(bundle).predict(["Hakem maçı bitirdi ve takım kupayı aldı", text])
    assert [(one.label, one.abstained) for one in told] == [("spor", None), (None, why)]
    assert told[1].probabilities is None
    assert sum(told[0].probabilities) == pytest.approx(1.0)


def test_texts_that_are_not_judged_are_counted_apart(bundle, tmp_path):
    texts, labels = made(30, 6)
    rows = [{"text": text, "label": label} for text, label in zip([*texts, "😀"], [*labels, "spor"], strict=True)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    found = evaluate(tmp_path / "a.jsonl", fast.from_bundle(bundle))
    assert (found["n"], found["texts"], found["abstained"]) == (30, 31, {"no words": 1})
