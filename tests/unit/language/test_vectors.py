"""Word vectors of a small made-up language: what stands in the same company lies near."""

import numpy as np
import pytest

from kalibre.core.errors import ModelError
from kalibre.language.ngrams import cut
from kalibre.language.vectors import WordVectors, learn


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(3)
    fruits, metals = (
        [f"{kind}{chr(97 + i)}{chr(97 + j)}" for i in range(5) for j in range(5)] for kind in ("mey", "mad")
    )
    about = {"f": [f"tat{chr(97 + i)}" for i in range(20)], "m": [f"ocak{chr(97 + i)}" for i in range(20)]}
    texts = []
    for _ in range(4_000):
        kind, words = ("f", fruits) if rng.random() < 0.5 else ("m", metals)
        texts.append(" ".join([rng.choice(words), *rng.choice(about[kind], 3), rng.choice(words)]))
    return learn(texts, size=8, least=5), fruits, metals


def rows(vectors, words):
    return vectors.rows[vectors.find(cut([" ".join(words)], letters=False))].astype(float)


def test_company_makes_meaning(made):
    vectors, fruits, metals = made
    one, two = rows(vectors, fruits), rows(vectors, metals)
    unit = lambda m: m / np.linalg.norm(m, axis=1, keepdims=True)  # noqa: E731
    assert (unit(one) @ unit(one).T).mean() > (unit(one) @ unit(two).T).mean() + 0.3


def test_unknown_words_and_empty_texts_are_nothing(made):
    vectors, *_ = made
    assert not vectors.means(["qqq www", "", "😀"]).any()
    assert vectors.means([]).shape == (0, 8)


def test_storage_keeps_them(made):
    vectors, fruits, _ = made
    again = WordVectors.of(vectors.arrays())
    assert np.allclose(again.means([" ".join(fruits[:3])]), vectors.means([" ".join(fruits[:3])]), atol=1e-2)


def test_same_texts_give_same_vectors():
    texts = [f"kelime{chr(97 + i)} yan{chr(97 + j)} uc{chr(97 + j)}" for i in range(20) for j in range(20)] * 3
    assert np.array_equal(learn(texts, size=4, least=2).rows, learn(texts, size=4, least=2).rows)


def test_too_little_text_is_told():
    with pytest.raises(ModelError, match="vectors of 8 numbers need 32 such words"):
        learn(["bir iki üç"] * 20, size=8)


def test_drawn_out_letters_are_read_as_the_plain_word(made):
    vectors, fruits, _ = made
    plain = [word for word in fruits if word[-1] != word[-2]]
    drawn = " ".join(word + word[-1] * 3 for word in plain)
    found = [vectors.find(cut([text], letters=False)).tolist() for text in (drawn, " ".join(plain))]
    assert found[0] == found[1]
    assert min(found[0]) >= 0
