"""Hashed n-grams beside scikit-learn's, and their places in the text."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from kalibre.language.ngrams import Block, counts, cut, rarity, units, weighed
from kalibre.language.text.casing import fold

TEXTS = ["Şirketin kârı yüzde 12 arttı!", "Merkez Bankası faizi sabit tuttu; kur yatay.", "a", ""]


@pytest.mark.parametrize("span", [(2, 3), (2, 5), (4, 4)])
def test_letters_are_those_of_scikit_learn(span):
    theirs = CountVectorizer(analyzer="char_wb", ngram_range=span, preprocessor=fold).fit(TEXTS[:2])
    for text in TEXTS[:2]:
        _, feature = units(cut([text], letters=True), Block("char", *span, bits=24))
        count = theirs.transform([text])
        assert len(feature) == count.sum()
        assert len(set(feature.tolist())) == count.nnz


def test_words_in_a_row_do_not_reach_over_texts():
    block = Block("word", 2, 2)
    assert counts(["bir iki", "üç dört"], block).nnz == 2
    assert counts(["bir", "iki"], block).nnz == 0


def test_spelling_with_and_without_marks_is_one():
    block = Block("char", 2, 4)
    assert (counts(["ŞİŞECAM IĞDIR"], block) != counts(["sisecam igdir"], block)).nnz == 0


def test_beginnings_meet():
    block = Block("word", 1, 1, cut=5)
    assert (counts(["yükseldi"], block) != counts(["yükselişini"], block)).nnz == 0


def test_places_are_those_of_the_text():
    text = "Kâr arttı, İŞSİZLİK düştü"
    parts = cut([text], letters=False)
    assert [text[start:end] for start, end in zip(parts.starts, parts.ends, strict=True)] == [
        "Kâr", "arttı", ",", "İŞSİZLİK", "düştü",
    ]  # fmt: skip


def test_rows_have_the_length_asked_for():
    block = Block("char", 2, 3)
    found = counts([*TEXTS[:2], *TEXTS[:2]], block)
    rows, _ = weighed(found, rarity(found), 0.7)
    assert np.allclose(np.sqrt(rows.multiply(rows).sum(axis=1)), 0.7, atol=1e-5)


def test_words_may_be_called_otherwise():
    found = cut(["Faiz arttı."], letters=True, rename=lambda text: {text.index("arttı"): "xbad"})
    assert found.words == ["faiz", "xbad"]


@pytest.mark.parametrize("text", ["", " ", "\ud800", "😀😀", "a\0b", "\u200fمرحبا", "İ" * 50])
def test_odd_texts_are_counted(text):
    for block in (Block("char", 2, 5), Block("word", 1, 2, cut=5)):
        assert counts([text], block).shape == (1, 1 << 16)


def test_no_texts_give_no_rows():
    assert counts([], Block("char", 2, 3)).shape == (0, 1 << 16)
