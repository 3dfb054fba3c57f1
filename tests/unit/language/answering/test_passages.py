"""Cutting documents into passages."""

from __future__ import annotations

import pytest

from kalibre.core.errors import LanguageError
from kalibre.language.answering import passages as cutting
from kalibre.language.answering.passages import Document, passages, start_of

LAW = """ÖRNEK LİMAN KANUNU
Kanun Numarası : 9999
Kabul Tarihi : 5/3/1991
Amaç:
Madde 1 – Bu Kanun, limanların işletilmesini düzenler.
Tanımlar
Madde 2 – Bu Kanunda geçen "liman", gemilerin bağlandığı yerdir.
Geçici Madde 1 – Mevcut izinler iki yıl geçerlidir.
"""


def test_a_law_is_cut_by_article_with_its_heading_and_date():
    found = passages([Document(text=LAW, title="ÖRNEK LİMAN KANUNU", source="9999 sayılı Kanun")])

    assert [one.title.partition(", ")[2] for one in found] == ["", "Madde 1", "Madde 2", "Geçici Madde 1"]
    assert found[1].text.startswith("Amaç:")
    assert found[2].text.startswith("Tanımlar")
    assert {one.date for one in found} == {"1991-03-05"}
    assert {one.source for one in found} == {"9999 sayılı Kanun"}


def test_a_passage_stands_verbatim_where_its_id_says():
    text = LAW + "Madde 3 – " + "Gemiler sıra ile yanaşır ve yükünü boşaltır. " * 120

    for one in passages([Document(text=text)]):
        assert text[start_of(one) :].startswith(one.text)
        assert len(one.text) <= cutting.LONGEST


def test_paragraphs_are_read_together_until_they_are_long_enough():
    text = "Kısa bir satır.\n" + "Uzunca bir paragraf burada durur ve sürer gider. " * 6 + "\nSon söz."

    assert len(passages([Document(text=text)])) == 2


def test_a_document_that_is_there_twice_is_cut_once():
    one = Document(text=LAW)

    assert len(passages([one, one])) == len(passages([one]))


@pytest.mark.parametrize("text", ["", " \n\t ", "\x00", "a" * 5_000, "👍" * 3_000, "\n" * 10_000])
def test_odd_documents_are_cut_or_left_out(text):
    for one in passages([Document(text=text)]):
        assert one.text.strip()


def test_too_large_a_document_is_refused():
    with pytest.raises(LanguageError, match="10,000,001 characters"):
        passages([Document(text="a" * 10_000_001)])
