"""Questions made out of plain sentences, and answers without their case."""

from __future__ import annotations

import pytest

from kalibre.language.answering.bare import bare_end
from kalibre.language.answering.cloze import cloze
from kalibre.language.base import Passage

TEXT = (
    "Liman idaresine başvuran işletmeci, eksik belgelerini otuz gün içinde tamamlamak zorundadır. Süresinde "
    "tamamlanmayan başvurular için belirlenen ücretin %15 fazlası alınır. İtirazlar önce Denizcilik Genel Müdürlüğü "
    "tarafından incelenir ve sonuç ilgiliye yazılı olarak bildirilir."
)


def made(n: int) -> list[Passage]:
    return [Passage(id=f"d{at}:0", document=f"d{at}", title="", text=TEXT) for at in range(n)]


def test_the_piece_taken_out_is_the_answer():
    found = cloze(made(12))

    assert {answer for one in found for answer, _ in one.answers} >= {"otuz gün", "%15", "Denizcilik Genel Müdürlüğü"}
    for one in found:
        text, start = one.answers[0]
        assert one.context[start : start + len(text)] == text
        assert one.question.endswith("?")
        assert text not in one.question


def test_the_same_questions_in_whatever_order_the_passages_come():
    assert cloze(made(9)) == cloze(reversed(made(9)))
    assert cloze(made(9), seed=1) != cloze(made(9), seed=2)


def test_no_more_than_asked_for():
    assert sum(one.id.endswith(":time") for one in cloze(made(30), most=4)) == 4


def test_nothing_is_made_of_nothing():
    assert cloze([]) == []
    assert cloze([Passage(id="a:0", document="a", title="", text="\ud800 \x00 👍")]) == []


@pytest.mark.parametrize(
    ("answer", "bare"),
    [
        ("Adalet Bakanının", "Adalet Bakanı"),
        ("Liman Başkanlığına", "Liman Başkanlığı"),
        ("yönetim kurulunca", "yönetim kurulu"),
        ("Kars'a", "Kars"),
        ("1923’te", "1923"),
        ("dört aydır", "dört ay"),
        ("otuz günlük", "otuz gün"),
        ("90 günü", "90 gün"),
        ("sorumlu olanlara", "sorumlu olanlar"),
        ("on kişi", "on kişi"),
        ("insan", "insan"),
        ("zaman", "zaman"),
        ("12.000", "12.000"),
        ("", ""),
        ("Liman Kanunu", "Liman Kanunu"),
        ("Liman Kanununun", "Liman Kanunu"),
        ("618 sayılı Kanuna", "618 sayılı Kanun"),
        ("on iş günü", "on iş günü"),
        ("on iş gününden", "on iş günü"),
        ("üç katını", "üç katı"),
        ("1998 yılında", "1998 yılı"),
        ("1998 yılı", "1998 yılı"),
        ("Hazine", "Hazine"),
        ("Hazinece", "Hazine"),
        ("Bakanlıkça", "Bakanlık"),
        ("mahkemeden", "mahkeme"),
        ("işletmelerin", "işletmeler"),
        ("demirlemek yasaktır", "demirlemek yasaktır"),
        ("talep edilmesi halinde", "talep edilmesi halinde"),
        ("teminat aranmadan", "teminat aranmadan"),
        ("demirlenmiştir", "demirlenmiştir"),
    ],
)
def test_an_answer_without_its_case(answer, bare):
    assert answer[: bare_end(answer, 0, len(answer))] == bare
