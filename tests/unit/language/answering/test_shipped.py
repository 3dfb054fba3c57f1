"""The reader that ships: small, without readable text, and able to read."""

from __future__ import annotations

import lzma
import re

import pytest

from kalibre.language.answering import fast
from kalibre.language.answering.answerer import Answerer
from kalibre.language.answering.passages import Document, passages
from kalibre.language.answering.retrieval import Index
from kalibre.language.bundle import shipped
from kalibre.language.load import load

LIGHTHOUSE = (
    "Kayalık burundaki deniz feneri, 1887 yılında İtalyan mimar Ernesto Bellini tarafından yapıldı. Fener 1954 yılında "
    "elektriğe bağlandı. Bekçiliğini uzun yıllar Hasan Karadeniz üstlendi."
)
PERMIT = (
    "Liman işletme izni için başvurular Denizcilik Genel Müdürlüğü tarafından altmış gün içinde sonuçlandırılır. İzin "
    "bedeli 25.000 TL olarak belirlenmiştir."
)


@pytest.fixture(scope="module")
def builtin():
    return load("answering")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Deniz feneri hangi yılda yapıldı?", "1887"),
        ("Deniz fenerini kim yaptı?", "Ernesto Bellini"),
        ("Deniz fenerinin mimarı kimdir?", "Ernesto Bellini"),
        pytest.param(
            "Deniz fenerini hangi mimar yaptı?",
            "Ernesto Bellini",
            marks=pytest.mark.xfail(
                strict=True,
                reason="says `İtalyan`, what stands before `mimar`, as in `hangi kurul`; read before it learnt these",
            ),
        ),
        ("Fener ne zaman elektriğe bağlandı?", "1954"),
        ("Fenerin bekçiliğini kim üstlendi?", "Hasan Karadeniz"),
    ],
)
def test_reads_a_paragraph(builtin, question, answer):
    found = builtin.read(question, [PERMIT, LIGHTHOUSE])[0]

    assert found.passage == 1
    assert answer in found.text
    assert len(found.text) <= len(answer) + 30


def test_a_long_passage_is_read_to_its_end(builtin, world, unseen):
    rest = " ".join(one.context for one in world[:150])
    asked = [one for one in unseen if one.question[0] != "Ö"]  # the others do not name the person

    found = [builtin.read(one.question, [f"{rest} {one.context}"], limit=1)[0] for one in asked]

    assert len(rest) > 3 * fast.WINDOW
    assert sum(one.start > len(rest) for one in found) / len(found) > 0.5


def test_answers_from_an_index_and_abstains_from_what_is_not_there(builtin):
    index = Index.build(
        passages([Document(text=LIGHTHOUSE, title="Fener", date="2020-01-05"), Document(text=PERMIT, title="İzin")])
    )
    answerer = Answerer(index, builtin)

    answer = answerer.answer("Fenerin bekçiliğini kim üstlendi?")
    assert answer.text is not None
    assert "Hasan Karadeniz" in answer.text
    assert answer.passage is not None
    assert answer.passage.date == "2020-01-05"
    assert answerer.answer("Uzay istasyonuna kaç astronot gönderildi?").text is None


def test_is_small_and_holds_no_word_of_its_training():
    bundle = shipped("answering", "fast")

    assert sum(map(len, bundle.files.values())) < 6_000_000
    trees = [lzma.decompress(content).decode() for name, content in bundle.files.items() if name.endswith(".xz")]
    words = set(re.findall(r"[a-zçğıöşü]{4,}", " ".join(trees).lower()))
    assert not words & {"osmanlı", "sultan", "madde", "kanun", "vergi", "istanbul", "yılında"}
    assert set(bundle.files) == {
        "arrays.npz", "settings.json", *(f"{name}.txt.xz" for name in ("sentences", "start", "end", "inside", "worth",
        "hits", "doubt")),
    }  # fmt: skip
    assert bundle.card["trained_on"]
