"""The index: what it finds, that order does not matter, and that torn files are refused."""

from __future__ import annotations

import numpy as np
import pytest

from kalibre.core.errors import ModelError, UsageError
from kalibre.language.answering.retrieval import Index, open_index
from kalibre.language.answering.terms import CHANNELS, plain
from kalibre.language.answering.weighing import question_vector, weigh
from kalibre.language.base import Passage

TEXTS = [
    "Liman işletme izni iki yıl için verilir ve bir kez uzatılabilir.",
    "Gümrük vergisi, eşyanın girişinde tahsil edilir.",
    "Kooperatif ortağı payını devredebilir; devir yönetim kuruluna bildirilir.",
    "Sigorta şirketi hasarı otuz gün içinde öder.",
    "Belediye meclisi her ayın ilk haftası toplanır.",
]


def made(order: list[int] | None = None) -> list[Passage]:
    return [
        Passage(id=f"d{at}:0", document=f"d{at}", title=f"Belge {at}", text=TEXTS[at])
        for at in (order or range(len(TEXTS)))
    ]


@pytest.mark.parametrize(
    ("question", "right"),
    [
        ("İZNİN süresi kaç yıldır, liman işletmesi için?", "d0:0"),
        ("eşyadan gümrük vergileri ne zaman alınır", "d1:0"),
        ("ortaklar paylarını kime bildirerek devreder?", "d2:0"),
        ("sigortacı hasarları kaç günde ödemeli?", "d3:0"),
    ],
)
def test_finds_by_stem_whatever_the_ending(question, right):
    assert Index.build(made()).search(question)[0].passage.id == right


def test_the_order_of_passages_does_not_matter():
    one, other = Index.build(made()), Index.build(made([3, 1, 4, 0, 2]))

    for question in TEXTS:
        found = [(hit.passage.id, hit.score) for hit in one.search(question)]
        assert found == [(hit.passage.id, hit.score) for hit in other.search(question)]


def test_finds_nothing_where_no_word_is_known():
    assert Index.build(made()).search("zzzqqq xxwwvv") == []
    assert Index.build(made()).search("") == []
    assert Index.build(made()).search("👍 ?!") == []


def test_reads_back_what_it_saved(tmp_path):
    before = Index.build(made())
    after = open_index(before.save(tmp_path, "one"))

    for question in TEXTS:
        assert [hit.passage for hit in after.search(question)] == [hit.passage for hit in before.search(question)]


@pytest.mark.parametrize("name", ["passages.jsonl", "stems.npz", "fours.npz", "dense.npz", "manifest.json"])
def test_a_torn_file_is_refused(tmp_path, name):
    folder = Index.build(made()).save(tmp_path, "one")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])

    with pytest.raises(ModelError, match="index anew"):
        open_index(folder)


def test_a_changed_byte_is_refused(tmp_path):
    folder = Index.build(made()).save(tmp_path, "one")
    content = (folder / "passages.jsonl").read_bytes()
    (folder / "passages.jsonl").write_bytes(content.replace("iki yıl".encode(), "üç yıl".encode()))

    with pytest.raises(ModelError, match="sha256 differs"):
        open_index(folder)


def test_an_index_is_not_written_over(tmp_path):
    index = Index.build(made())
    index.save(tmp_path, "one")

    with pytest.raises(ModelError, match="is there already"):
        index.save(tmp_path, "one")


def test_refuses_nothing_and_two_of_one_name():
    with pytest.raises(UsageError, match="no passage"):
        Index.build([])
    with pytest.raises(UsageError, match="d0:0"):
        Index.build([*made(), *made()])


def test_scores_are_bm25():
    """Against bm25s, an implementation of its own, of the same variant."""
    bm25s = pytest.importorskip("bm25s")
    tokens = [plain(text) for text in TEXTS]
    model = bm25s.BM25(k1=1.2, b=0.75, method="lucene")
    model.index(tokens, show_progress=False)
    postings = weigh([CHANNELS["stems"](one) for one in tokens])
    whole = weigh([np.array([hash_of(word) for word in one]) for one in tokens])

    for question in TEXTS:
        asked = sorted(set(plain(question)))
        ours = whole.scores(question_vector(np.array([hash_of(word) for word in asked])))
        # bm25s leaves out the constant k1 + 1
        np.testing.assert_allclose(ours, model.get_scores(asked) * 2.2, rtol=1e-4)
    assert postings.n == len(TEXTS)


def hash_of(word: str) -> int:
    import zlib

    return zlib.crc32(word.encode())
