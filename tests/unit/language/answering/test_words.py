"""Units of a text: suffixes, points, sentences, endings."""

from __future__ import annotations

from kalibre.language.answering.question import KINDS, analyse
from kalibre.language.answering.scores import exact, normalised, overlap
from kalibre.language.answering.words import NUMBER, POINT, SUFFIX, WORD, ending, folded, units


def test_an_apostrophe_suffix_is_a_unit_of_its_own():
    cut = units("Iğdır'da 3,5 milyon ton’u aştı.")

    assert cut.words == ["igdir", "'da", "3,5", "milyon", "ton", "’u", "asti", "."]
    assert cut.kinds.tolist() == [WORD, SUFFIX, NUMBER, WORD, WORD, SUFFIX, WORD, POINT]


def test_a_quotation_is_no_suffix():
    assert SUFFIX not in units("Buna 'ilk adım' dendi").kinds.tolist()


def test_sentences_know_numbers_initials_and_roman_numerals():
    cut = units("II. Kılıç 12. gün geldi. M. Kaya yoktu. Bitti.")

    assert cut.sentence.max() == 2


def test_endings_tell_cases_apart():
    assert len({ending(folded(word)) for word in ("evde", "evden", "evler", "gelerek", "gelmek")}) == 5


def test_casing_is_turkish():
    assert folded("IŞIK") == folded("ışık") == "isik"
    assert normalised("İSTANBUL'DA!") == "istanbulda"
    assert exact("ışık", ["IŞIK"]) == 1
    assert overlap("mavi gemi", ["gemi"]) == 2 / 3


def test_the_question_word_is_found():
    cases = {
        "Köprüyü kim yaptırdı?": "who",
        "Köprü hangi yılda açıldı?": "year",
        "Köprü ne zaman açıldı?": "when",
        "Köprünün kaç ayağı vardır?": "how_many",
        "Köprü nerededir?": "where",
        "Köprü nereye bağlanır?": "where_to",
        "Köprü neden kapatıldı?": "why",
        "Köprünün adı nedir?": "name",
        "Yükü kime teslim ettiler?": "whom_dative",
        "Köprü güzel": "other",
    }

    assert {question: KINDS[analyse(question).kind] for question in cases} == cases


def test_the_focus_is_the_noun_asked_about():
    found = analyse("Vakıf hangi ödülü verdi?")

    assert found.units.words[found.focus] == "odulu"
