"""`builtin:fast` on a small field of its own: offsets, suffixes, rules before names, what is stored, bad input."""

import json
import unicodedata

import pytest
from tests.unit.language.entities.laws import breaches
from tests.unit.language.entities.toy import FIRMS, PLACES, sentences

from kalibre.core.errors import LanguageError, ModelError
from kalibre.language.base import Entity
from kalibre.language.bundle import LanguageBundle, open_bundle
from kalibre.language.entities import lexicon as lexicons
from kalibre.language.entities.crf_training import Recipe
from kalibre.language.entities.fast import LIMIT, from_bundle, recut, train
from kalibre.language.entities.known import find_known
from kalibre.language.text.tokens import tokenize

CALLED = {"ORG": "ORGANIZATION", "PER": "PERSON", "LOC": "LOCATION"}


@pytest.fixture(scope="module")
def bundle():
    made = sentences(400)
    tags = [[tag if tag == "O" else tag[:2] + CALLED[tag[2:]] for tag in one] for _, one in made]
    plain = [" ".join(tokens) for tokens, _ in sentences(4_000, seed=7)]
    words = [f"{a} {b} bugün arttı {c} yine {d}" for a in FIRMS for b in PLACES for c in "abcdefgh" for d in "klmnoprs"]
    lexicon = lexicons.learn([*plain, *words])
    trusted = {"MONEY": 0.97, "PERCENT": 0.98, "TIME": 0.9, "TICKER": 0.95}
    return train([tokens for tokens, _ in made], tags, lexicon=lexicon, trusted=trusted, recipe=Recipe(), card={"a": 1})


@pytest.fixture(scope="module")
def model(bundle):
    return from_bundle(bundle)


def told(model, text):
    found = model.predict([text])[0]
    assert breaches(text, found) == []
    return [(one.text, one.type) for one in found]


def test_names_stand_without_suffix_and_rules_go_before(model):
    text = "Genel müdür Selin Aksoyer istifa etti . Demirova Holding , Bozyazıören'da yeni fabrika kuruyor ."
    assert told(model, text) == [
        ("Selin Aksoyer", "PERSON"), ("Demirova Holding", "ORGANIZATION"), ("Bozyazıören", "LOCATION"),
    ]  # fmt: skip
    text = "Ergene Bankası'nın kârı 2,5 milyar TL'ye, yüzde 5'lik artışla 14 Mayıs'ta yükseldi ."
    assert told(model, text) == [
        ("Ergene Bankası", "ORGANIZATION"), ("2,5 milyar TL", "MONEY"), ("yüzde 5", "PERCENT"), ("14 Mayıs", "TIME"),
    ]  # fmt: skip


def test_probabilities_come_from_the_field_or_from_the_rules_record(model):
    found = model.predict(["Sayın Okan Tepebağ açıklama yaptı . Zarar %4,5 oldu ."])[0]
    by_type = {one.type: one.probability for one in found}
    assert by_type["PERCENT"] == 0.98
    assert 0.5 < by_type["PERSON"] < 1


def test_tickers_and_companies_are_linked(model):
    found = model.predict(["THYAO'nun kârı arttı"])[0]
    assert [(one.text, one.type, one.link) for one in found] == [("THYAO", "TICKER", "THYAO")]


@pytest.mark.parametrize(
    ("text", "name", "link"),
    [
        ("Dün Garanti BBVA'dan açıklama geldi .", "Garanti BBVA", "GARAN"),
        ("TÜPRAŞ'IN KÂRI ARTTI", "TÜPRAŞ", "TUPRS"),
        ("TCMB faizi indirdi", "TCMB", None),
        ("Petkim'in Aliağa'daki tesisi", "Petkim", "PETKM"),
        ("Merkez Bankasının kararı", "Merkez Bankası", None),
    ],
)
def test_organisations_known_by_name_are_found(model, text, name, link):
    found = model.predict([text])[0]
    assert breaches(text, found) == []
    assert (name, "ORGANIZATION", link) in [(one.text, one.type, one.link) for one in found]


def test_listed_names_that_are_words_do_not_count():
    assert not list(find_known("Mavi gök", tokenize("Mavi gök"), lambda _: "20", lambda *_: True))
    assert list(find_known("Mavi gök", tokenize("Mavi gök"), lambda _: "25", lambda *_: True)) == [(0, 4, "MAVI")]
    text = "Şişecam ve Anadolu Efes"
    assert [text[a:b] for a, b, _ in find_known(text, tokenize(text), lambda _: "25", lambda *_: True)] == [
        "Şişecam", "Anadolu Efes",
    ]  # fmt: skip


def test_a_planted_suffix_overlap_and_shift_are_seen():
    text = "THYAO'nun kârı"
    ticker = {"type": "TICKER", "probability": 0.5}
    assert breaches(text, [Entity(start=0, end=5, text="THYAO", **ticker)]) == []
    assert "suffix" in breaches(text, [Entity(start=0, end=9, text="THYAO'nun", **ticker)])[0]
    assert "does not stand" in breaches(text, [Entity(start=1, end=6, text="THYAO", **ticker)])[0]
    twice = [Entity(start=0, end=5, text="THYAO", **ticker), Entity(start=2, end=5, text="YAO", **ticker)]
    assert "inside" in breaches(text, twice)[0]


def test_offsets_are_of_the_text_as_given(model):
    text = "\u200bGenel müdür Selin Aksoyer istifa etti . Kâr %5 arttı ."
    for given in (text, unicodedata.normalize("NFD", text), text.replace(" ", "\u00a0"), "\u202e" + text):
        found = model.predict([given])[0]
        assert breaches(given, found) == []
        assert [one.type for one in found] == ["PERSON", "PERCENT"]


def test_a_text_alone_reads_like_one_among_others(model):
    texts = ["Toplantı Sarıkum'da yapılacak .", "", "Sayın Selin Aksoyer açıklama yaptı ."]
    assert model.predict(texts) == [model.predict([text])[0] for text in texts]
    assert model.predict([]) == []
    assert model.predict([""]) == [[]]


@pytest.mark.parametrize("text", ["\x00\x01\x02\x03\x04\x05" * 10, "a" * (LIMIT + 1), None, b"bytes"])
def test_what_is_no_text_is_refused(model, text):
    with pytest.raises(LanguageError):
        model.predict([text])


@pytest.mark.parametrize(
    "text",
    ["😀😀", "\ud800", "'", "' '", "THYAO'", "%", "\u202e\u202d", "A" * 5_000, "a " * 3_000, "(((", "\n\n", "م" * 50],
)
def test_odd_texts_are_read(model, text):
    told(model, text)


def test_saved_and_opened_reads_the_same(bundle, model, tmp_path):
    again = from_bundle(open_bundle(bundle.save(tmp_path), "entities"))
    text = "Demirova Holding , Sarıkum'da yeni fabrika kuruyor ."
    assert again.predict([text]) == model.predict([text])
    assert again.version == model.version == bundle.version


@pytest.mark.parametrize("settings", [b"[]", b"{", json.dumps({"types": ["ORG"]}).encode()])
def test_a_spoilt_bundle_is_refused(bundle, settings):
    spoilt = LanguageBundle("entities", "fast", {**bundle.files, "settings.json": settings}, {})
    with pytest.raises(ModelError, match="settings"):
        from_bundle(spoilt)


def test_a_bundle_of_other_tags_is_refused(bundle):
    settings = json.loads(bundle.files["settings.json"]) | {"types": ["ORGANIZATION"]}
    spoilt = LanguageBundle("entities", "fast", {**bundle.files, "settings.json": json.dumps(settings).encode()}, {})
    with pytest.raises(ModelError, match="train anew"):
        from_bundle(spoilt)


def test_sentences_without_names_are_refused(bundle):
    some = sentences(20)
    with pytest.raises(ModelError, match="map the file's types"):
        train([tokens for tokens, _ in some], [tags for _, tags in some], lexicon=from_bundle(bundle).tagger.lexicon)


def test_tokens_are_cut_anew_with_their_names():
    tokens, tags = ["R.R.", "Kaya", "A.Ş.", "geldi", "."], ["B-PERSON", "I-PERSON", "O", "B-TIME", "O"]
    words, marks = recut(tokens, tags)
    assert "".join(words) == "".join(tokens)
    assert next(mark for mark in marks if mark != "O") == "B-PERSON"
    assert "B-TIME" not in marks
