"""Lexicon, features and tagger on made-up sentences."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tests.unit.language.entities.toy import FIRMS, PLACES, sentences

from kalibre.core.errors import LanguageError, ModelError
from kalibre.language.entities import lexicon as lexicons
from kalibre.language.entities.metrics import score
from kalibre.language.entities.tagger import calibrated, train
from kalibre.language.entities.tags import mentions
from kalibre.language.entities.templates import features, starts
from kalibre.language.entities.words import GRAMS, SLOTS, Words, case_of, parts


@pytest.fixture(scope="module")
def lexicon():
    chance = random.Random(3)
    verbs = ("yükseldi", "düştü", "açıldı", "kapandı", "arttı", "azaldı", "sürdü", "bitti")
    nouns = ("faiz", "borsa", "altın", "dolar", "kur", "tahvil", "hisse", "endeks", "piyasa", "banka", "şirket", "pay")
    when = ("dün", "bugün", "yine", "hızla", "biraz", "sonra", "erken", "geç", "çok", "az", "hep", "gene")
    more = [f"sözcük{chr(97 + k)}" for k in range(20)]
    lines = [
        f"Sabah {chance.choice(nouns)} {chance.choice(when)} {chance.choice(verbs)} ve {chance.choice(FIRMS)} "
        f"{chance.choice(more)} {chance.choice(PLACES)}'da {chance.choice(more)} ."
        for _ in range(3_000)
    ]
    return lexicons.learn(lines)


def test_lexicon_groups_words_of_like_company(lexicon):
    same = [lexicon.clusters(word)[0] for word in ("yükseldi", "düştü", "arttı", "azaldı")]
    assert len(set(same)) == 1
    assert lexicon.clusters("faiz")[0] != same[0]
    assert lexicon.clusters("yükseldiydi")[0] == same[0]  # by its longest known beginning
    assert lexicon.clusters("AKPINAR") == lexicon.clusters("Akpınar")
    assert lexicon.clusters("qqqq") == ()
    assert lexicon.capital("akpınar") == "25"
    assert lexicon.capital("faiz") == "20"
    assert lexicon.capital("qqqq") == "none"


def test_lexicon_refuses_too_little_text():
    with pytest.raises(LanguageError, match="larger text"):
        lexicons.learn(["Faiz arttı dün .", "Kur düştü bugün ."])


def test_lexicon_holds_no_readable_word(lexicon):
    assert all(array.dtype.kind in "iu" for array in lexicon.arrays().values())


def test_words_are_taken_apart():
    assert parts("TCMB’den") == ("TCMB", "den")
    assert parts("'den") == ("'den", None)
    assert [case_of(word) for word in ("Ankara", "THYAO", "Y", "iPhone", "kur", "3Ç22", "%", "McDonald", "")] == [
        "I", "A", "U", "m", "l", "d", "p", "M", "p",
    ]  # fmt: skip


def test_features_depend_on_what_stands_around_and_on_nothing_else():
    words = Words()
    one, other = "Akpınar Holding büyüdü .".split(), "Dün Akpınar Holding büyüdü .".split()
    alone, beside = features(words, [one]), features(words, [other, one])
    assert np.array_equal(alone, beside[5:])
    assert features(Words(), [one]).tolist() == alone.tolist()
    assert not np.array_equal(alone[0], features(words, [other])[1])
    assert alone.dtype == np.uint32
    assert len(features(words, [])) == 0
    assert starts([one, [], other]).tolist() == [0, 4, 4, 9]
    assert features(words, [one, [], other]).shape[0] == 9


def test_words_forget_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr("kalibre.language.entities.words._KEPT", 5)
    words = Words()
    first = features(words, [["bir", "iki", "üç", "dört", "beş"]])
    features(words, [["altı"]])
    assert np.array_equal(features(words, [["bir", "iki", "üç", "dört", "beş"]]), first)


def test_threads_share_words():
    words = Words()
    texts = [[f"sözcük{chr(97 + k % 26)}{k}", f"başka{k % 50}", "ortak"] for k in range(400)]
    wanted = [features(Words(), [text]) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: features(words, [text]), texts))
    assert all(np.array_equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_odd_words_have_features():
    odd = ["\x00", "\ud800", "😀", "a" * 10_000, "\u202e", "''", "1" * 500, "İ"]
    assert features(Words(), [odd]).shape[0] == len(odd)
    _, rows, grams = Words().look_up([odd], 3)
    assert rows.shape[1] == len(SLOTS)
    assert grams.shape[1] == GRAMS


def test_tagger_learns_and_its_probabilities_are_probabilities(lexicon):
    made, unseen = sentences(300), sentences(60, seed=1)
    tagger = train([one for one, _ in made], [tags for _, tags in made], lexicon=lexicon)
    told = tagger.tag([one for one, _ in unseen])
    found = score([mentions(tags) for _, tags in unseen], told)
    assert found.f1 > 0.95
    assert all(0 < one.probability < 1 for row in told for one in row)
    assert tagger.tag([]) == []
    assert tagger.tag([[]]) == [[]]


def test_tagger_refuses_what_it_cannot_learn_from():
    with pytest.raises(ModelError, match="has 1 tags"):
        train([["a", "b"]] * 9, [["O"]] * 9)
    with pytest.raises(ModelError, match="at least"):
        train([["a"]], [["O"]])


def test_calibration_mends_overconfidence():
    chance = np.random.default_rng(0)
    told = [(float(p), bool(chance.random() < 0.5 + 0.5 * (p - 0.5))) for p in chance.uniform(0.5, 1, 4_000)]
    trust = calibrated(told)
    assert trust(0.95) == pytest.approx(0.725, abs=0.06)
    assert trust(0.55) == pytest.approx(0.525, abs=0.06)
    assert calibrated([])(0.3) == pytest.approx(0.3)


def test_a_lean_is_chosen_out_of_fold_only_where_asked():
    made = sentences(200)
    # Half of the names are left unmarked in half of the sentences: the field then tells too few.
    tags = [["O"] * len(one) if place % 2 else one for place, (_, one) in enumerate(made)]
    tokens = [one for one, _ in made]
    plain, leaning = train(tokens, tags), train(tokens, tags, lean=True)
    assert plain.lean == 0
    assert leaning.lean >= 0
    told = [sum(len(found) for found in tagger.tag(tokens)) for tagger in (plain, leaning)]
    assert told[1] >= told[0]


def test_tags_without_sense_collapse_loudly(lexicon):
    made = sentences(800)
    chance = random.Random(5)
    shuffled = [[chance.choice(["B-ORG", "O", "O", "O", "O"]) for _ in tokens] for tokens, _ in made]
    with pytest.raises(ModelError, match=r"collapsed: of .* it finds next to none"):
        train([tokens for tokens, _ in made], shuffled, lexicon=lexicon)
    # One type of two that follows nothing: the other one does not hide it.
    noise = ["B-LOC", "O", "O", "O", "O", "O"]
    half = [[tag if tag[2:] == "PER" else chance.choice(noise) for tag in tags] for _, tags in made]
    with pytest.raises(ModelError, match="names of LOC"):
        train([tokens for tokens, _ in made], half, lexicon=lexicon)
