"""Every store of passages' vectors answers like the one in this process."""

from __future__ import annotations

import random

import numpy as np
import pytest

from kalibre.core.errors import SourceUnavailableError
from kalibre.language.answering.retrieval import Index
from kalibre.language.answering.stores import DENSE, store
from kalibre.language.answering.terms import CHANNELS, plain
from kalibre.language.answering.weighing import learn_space, question_vector, weigh
from kalibre.language.base import Passage

WORDS = (
    "liman gümrük vergi borsa kooperatif tarım sigorta banka kredi fatura ihracat ithalat sözleşme denetim rapor "
    "yatırım faiz teminat ortak sermaye defter kayıt beyan tebliğ kanun yönetmelik karar kurul izin süre"
).split()


def made(n: int) -> list[Passage]:
    draw = random.Random(4)
    return [
        Passage(id=f"p{at}", document=f"p{at}", title="", text=" ".join(draw.choices(WORDS, k=draw.randint(4, 30))))
        for at in range(n)
    ]


@pytest.fixture(params=["", ":memory:", "folder"])
def address(request, tmp_path):
    if request.param:
        pytest.importorskip("qdrant_client")
    return str(tmp_path / "qdrant") if request.param == "folder" else request.param


def test_the_nearest_are_those_with_the_largest_product(address):
    texts = [plain(one.text) for one in made(60)]
    sparse = {name: weigh([terms(text) for text in texts]) for name, terms in CHANNELS.items()}
    space, dense = learn_space(sparse["stems"], 16)
    held = store(address)
    held.fill(sparse, dense)

    for question in ("gümrük vergisi beyanı", "banka kredisi teminatı sözleşme", "bilinmeyen"):
        words = plain(question)
        for name, terms in CHANNELS.items():
            vector = question_vector(terms(words))
            every = sparse[name].scores(vector)
            found = held.nearest(name, vector, 10)
            assert len(found) == min(10, int((every > 0).sum()))
            np.testing.assert_allclose([score for _, score in found], np.sort(every)[::-1][: len(found)], rtol=1e-4)
            np.testing.assert_allclose([every[at] for at, _ in found], [score for _, score in found], rtol=1e-4)
        vector = space.vector(question_vector(CHANNELS["stems"](words)))
        every = dense @ vector
        found = held.nearest(DENSE, vector, 10)
        np.testing.assert_allclose(
            [score for _, score in found], np.sort(every[every > 0])[::-1][:10], rtol=1e-4, atol=1e-6
        )
    getattr(held, "close", lambda: None)()


def test_an_index_finds_the_same_whoever_keeps_its_vectors(address):
    passages = made(40)
    here, there = Index.build(passages), Index.build(passages, address=address)

    for question in ("gümrük vergisi", "kurul kararı ve izin süresi", "defter kayıt rapor"):
        ours, theirs = here.search(question, 5), there.search(question, 5)
        assert [hit.passage.id for hit in theirs] == [hit.passage.id for hit in ours]
        np.testing.assert_allclose([hit.score for hit in theirs], [hit.score for hit in ours], rtol=1e-4)
    there.close()


def test_filling_again_drops_what_was_there(address):
    held = store(address)
    for n in (30, 5):
        sparse = {"stems": weigh([CHANNELS["stems"](plain(one.text)) for one in made(n)])}
        held.fill(sparse, learn_space(sparse["stems"], 8)[1])

    found = held.nearest("stems", question_vector(CHANNELS["stems"](WORDS)), 100)

    assert max(at for at, _ in found) < 5
    getattr(held, "close", lambda: None)()


def test_a_server_that_is_down_is_named():
    pytest.importorskip("qdrant_client")

    with pytest.raises(SourceUnavailableError, match=r"127\.0\.0\.1:9"):
        store("http://127.0.0.1:9")
