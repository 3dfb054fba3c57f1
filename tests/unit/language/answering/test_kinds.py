"""What a question asks for, and the pieces of a passage that are of that kind."""

from __future__ import annotations

import time

import numpy as np
import pytest

from kalibre.language.answering.kinds import ASKED, KINDS, asked, good_pieces, pieces
from kalibre.language.answering.question import analyse
from kalibre.language.answering.words import units

NOTICE = (
    "Liman İşletmeleri Kurulu, başvuruyu on beş iş günü içinde sonuçlandırır. Bedelin yüzde otuz beşi 3/5/2021 "
    "tarihine kadar, kalan 12.500 TL ise 2022 yılında ödenir. Peşin ödenen kira 180 Gelecek Aylara Ait Giderler "
    "hesabında izlenir. İtirazlar 2577 sayılı İdari Yargılama Usulü Kanununa göre yapılır; kurulda 7 üye bulunur."
)


def found(kind: str) -> list[str]:
    cut, all_of_them = units(NOTICE), pieces(NOTICE)
    return [
        NOTICE[cut.starts[first] : cut.ends[last]]
        for (first, last), one in zip(all_of_them.spans.tolist(), all_of_them.kinds.tolist(), strict=True)
        if KINDS[one] == kind
    ]


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("time", ["on beş iş günü"]),
        ("rate", ["yüzde otuz beşi"]),
        ("date", ["3/5/2021", "2022 yılında"]),
        ("money", ["12.500 TL"]),
        ("account", ["180 Gelecek Aylara Ait Giderler"]),
        ("office", ["Liman İşletmeleri Kurulu", "kurulda"]),
        ("law", ["2577 sayılı İdari Yargılama Usulü Kanununa"]),
        ("count", ["7 üye"]),
    ],
)
def test_finds_pieces_of_each_kind(kind, texts):
    assert [one for one in found(kind) if one in texts] == [one for one in texts if one != "kurulda"]


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Başvuru kaç günde sonuçlanır?", "time"),
        ("Bedelin yüzde kaçı peşin?", "rate"),
        ("Son taksit ne zaman ödenir?", "date"),
        ("Kalan bedel kaç lira?", "money"),
        ("Peşin kira hangi hesaba yazılır?", "account"),
        ("Başvuruyu hangi kurul inceler?", "office"),
        ("İtiraz hangi kanuna göre yapılır?", "law"),
        ("Kurulda kaç üye bulunur?", "count"),
        ("Ceza ne kadar?", "much"),
        ("Harç alınır mı?", "whether"),
        ("Akit ne demek?", "meaning"),
        ("Süresinde ödenmezse ne olur?", "outcome"),
        ("Fenerin rengi?", "none"),
    ],
)
def test_tells_what_a_question_asks_for(question, kind):
    assert (*ASKED, "none")[asked(analyse(question))] == kind


def test_offers_the_pieces_that_would_answer():
    kind, spans, all_of_them = good_pieces(analyse("Bedelin yüzde kaçı peşin?"), units(NOTICE))

    assert ASKED[kind] == "rate"
    assert len(spans) < len(all_of_them.spans)
    cut = units(NOTICE)
    assert "yüzde otuz beşi" in [NOTICE[cut.starts[a] : cut.ends[b]] for a, b in spans.tolist()]


def test_pieces_do_not_overlap_and_lie_inside():
    one = pieces(NOTICE)

    assert (one.spans[:, 0] <= one.spans[:, 1]).all()
    assert (one.spans[1:, 0] > one.spans[:-1, 1]).all()
    assert one.spans.max() < len(units(NOTICE))
    assert set(one.kinds.tolist()) == set(np.unique(one.at[one.at > 0]).tolist())


@pytest.mark.parametrize("text", ["", " ", "👍", "\x00", "\ud800", "\u202eabc", "%", "(((("])
def test_a_text_without_pieces_has_none(text):
    assert len(pieces(text).spans) == 0


@pytest.mark.parametrize(
    "text", ["A." * 3_000, "1," * 3_000, "A " * 3_000, "bir " * 1_500, "milyar" * 1_000, "yüz" * 2_000, "12 A-" * 1_200]
)
def test_no_text_is_slow_to_search(text):
    began = time.process_time()
    pieces(text)

    assert time.process_time() - began < 1.0
