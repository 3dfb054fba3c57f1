"""Near-duplicates: what is found, what is not, and that a text inside a long document is seen."""

from __future__ import annotations

import random
import time
import unicodedata

import numpy as np
import pytest

from kalibre.core.errors import UsageError
from kalibre.language.near import NearIndex, contained, groups, key, overlap

WORDS = (
    "borsa faiz kur enflasyon şirket hisse yatırımcı endeks banka altın petrol ihracat üretim bilanço temettü sermaye "
    "yükseldi düştü açıkladı bekliyor artırdı azalttı güçlü zayıf yeni eski yüzde milyon dolar lira günü haftası"
).split()


def sentence(chance: random.Random, n_words: int = 14) -> str:
    return " ".join(chance.choices(WORDS, k=n_words))


def shingles(text: str) -> set[str]:
    folded = key(text)
    return {folded[i : i + 5] for i in range(max(1, len(folded) - 4))}


def jaccard(a: str, b: str) -> float:
    one, other = shingles(a), shingles(b)
    return len(one & other) / len(one | other)


def test_groups_are_those_of_all_pairs():
    chance = random.Random(3)
    texts = []
    for _ in range(60):
        text = sentence(chance)
        texts.append(text)
        for _ in range(chance.randrange(3)):
            words = text.split()
            words[chance.randrange(len(words))] = chance.choice(WORDS)
            texts.append(" ".join(words))
    parents = list(range(len(texts)))
    for i in range(len(texts)):
        for j in range(i):
            if jaccard(texts[i], texts[j]) >= 0.7:
                old, new = parents[i], parents[j]
                parents = [new if parent == old else parent for parent in parents]
    expected = np.unique(parents, return_inverse=True)[1]
    found = groups(texts, 0.7)
    assert len(set(found.tolist())) == len(set(expected.tolist())) < len(texts)
    assert len(set(zip(found.tolist(), expected.tolist(), strict=True))) == len(set(expected.tolist()))


def test_numbers_follow_first_appearance():
    assert groups(["kur düştü", "faiz arttı", "KUR DÜŞTÜ!", "altın"]).tolist() == [0, 1, 0, 2]
    assert groups([]).tolist() == []


def test_same_for_nfd_case_and_marks():
    texts = ["İSTANBUL'da ışık söndü", unicodedata.normalize("NFD", "istanbul’da IŞIK söndü"), "istanbul da isik sondu"]
    assert groups(texts).tolist() == [0, 0, 0]


def test_texts_without_letters_are_alike_only_if_equal():
    assert groups(["", "  ", "🚀", "😀", " 🚀 ", "...", "!!!"]).tolist() == [0, 0, 1, 2, 1, 3, 4]


@pytest.mark.parametrize("odd", ["\ud800", "\x00" * 5, "\u200f\u202e", "a", "日本語の文", "\U0010ffff"])
def test_odd_text_never_fails(odd: str):
    assert groups([odd, "faiz kararı bugün", odd]).tolist() == [0, 1, 0]
    assert [one.train_index for one in overlap([odd], [odd])] == [0]
    assert contained([odd * 20], [odd]) == []


def test_overlap_tells_every_pair():
    train = ["Merkez Bankası politika faizini sabit tuttu", "altın", "merkez bankası politika faizini sabit tuttu."]
    found = overlap(train, ["Petrol", "Merkez Bankası politika faizini sabit tuttu", "Altın!"])
    assert [(one.train_index, one.test_index, one.similarity) for one in found] == [
        (0, 1, 1.0),
        (2, 1, 1.0),
        (1, 2, 1.0),
    ]
    near = overlap(train[:1], ["Merkez Bankası politika faizini 5. kez sabit tuttu"], 0.7)
    assert 0.7 <= near[0].similarity < 1
    assert near[0].similarity == pytest.approx(jaccard(train[0], "Merkez Bankası politika faizini 5. kez sabit tuttu"))


def test_overlap_across_texts_that_are_in_both():
    text, almost = (
        "şirket ikinci çeyrekte beklentilerin üzerinde kâr açıkladı",
        "şirket ikinci çeyrekte beklentilerin üzerinde kâr açıklamış",
    )
    found = overlap([text, almost], [almost, text], 0.7)
    assert {(one.train_index, one.test_index) for one in found} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_a_short_text_is_found_inside_a_long_document():
    chance = random.Random(8)
    documents = [" ".join(sentence(chance) for _ in range(400)) for _ in range(5)]
    planted = "Gürpınar Çelik'in üçüncü çeyrek kârı 42 milyon liraya geriledi"
    documents[3] = documents[3][:9_000] + "\n" + planted.upper().replace(" ", "  ") + ".\n" + documents[3][9_000:]
    absent = "Gürpınar Çelik yönetim kurulu başkanlığına yeniden seçim yapıldı"
    found = contained([absent, planted, "kısa"], iter(documents))
    assert [(one.test_index, one.document_index, one.share) for one in found] == [(1, 3, 1.0)]
    changed = planted.replace("42 milyon", "43 milyon")
    assert 0.5 < contained([changed], documents, 0.5)[0].share < 1
    assert contained([changed], documents, 0.99) == []


def test_a_document_that_repeats_a_text_counts_once():
    text = "temettü dağıtım kararı genel kurulda onaylandı"
    assert contained([text, text], [text * 5, "", text]) == contained([text, text], [text * 5, "", text], 1.0)
    assert [(one.test_index, one.document_index) for one in contained([text, text], [text, "", text])] == [
        (0, 0),
        (1, 0),
        (0, 2),
        (1, 2),
    ]


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.2, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold: float):
    for call in (
        lambda: groups(["a"], threshold),
        lambda: overlap(["a"], ["a"], threshold),
        lambda: contained(["a"], ["a"], threshold),
    ):
        with pytest.raises(UsageError, match="is no similarity"):
            call()


def test_twenty_thousand_take_seconds():
    chance = random.Random(1)
    texts = [sentence(chance) for _ in range(20_000)]
    groups(texts[:10])
    began = time.perf_counter()
    assert len(set(groups(texts).tolist())) > 19_000
    assert time.perf_counter() - began < 10


def test_an_index_finds_what_overlap_finds():
    chance = random.Random(5)
    train = [sentence(chance) for _ in range(40)] + ["", "🚀", "kısa"]
    test = [train[3] + " bugün", train[7], "", "kısa", sentence(chance), train[20].upper()]
    index = NearIndex(0.6)
    assert index.find(test) == []
    for begin in range(0, len(train), 10):
        index.add(train[begin : begin + 10])
    index.add([])
    assert index.find(test) == overlap(train, test, 0.6)
    assert len(index.find(test)) >= 5
    assert index.find([]) == []
