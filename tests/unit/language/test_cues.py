"""Cues of posts, and the blocks of n-grams that count them; what a classifier says of them stays with their words."""

import numpy as np
import pytest

from kalibre.language.cues import cues
from kalibre.language.ngrams import Block, counts, cut, parts_of, units


def names(text):
    parts = cut([text], letters=False)
    return {name for _, name in cues(parts.words, parts.starts.tolist(), parts.ends.tolist())}


@pytest.mark.parametrize(
    ("text", "cue"),
    [
        ("Çoook güzel", "long cok"),
        ("hiç güzel değil", "not guzel"),
        ("gelmiyorum artık", "unverb gelmi"),
        ("iyi ama geç kaldı", "after kaldi"),
        ("Sınav bitti :D", "face d"),
        ("#sınavbitti dedik", "tag sinavbit"),
        ("bitti 😂😂", "sign 😂"),
        ("bitti!!!", "mark !!"),
        ("hahaha yine mi", "laugh"),
        ("okul çok uzak geldi", "with okul uzak"),
        ("okul bitti", "last bitti"),
    ],
)
def test_cues_are_found(text, cue):
    assert cue in names(text)


def test_cues_are_not_where_nothing_gives_them_away():
    plain = names("Okul pazartesi günü açıldı")
    assert not any(name.split()[0] in ("long", "laugh", "face", "tag", "not", "unverb", "after") for name in plain)
    assert names("") == set()
    assert "face d" not in names("saat 10: dün")


@pytest.mark.parametrize("block", [Block("cue", 1, 1, bits=14), Block("line", 2, 4, bits=14)])
def test_a_text_counts_the_same_alone_and_among_others(block):
    texts = ["Çoook güzel :)", "", "😀", "bu kadar", "x", "\ud800 a", "iyi ama geç kaldı"]
    together = counts(texts, block)
    for place, text in enumerate(texts):
        alone = counts([text], block)
        assert np.array_equal(alone.indices, together[place].indices)
        assert np.allclose(alone.data, together[place].data)
    assert together[3].nnz > 0
    word, feature = units(parts_of(texts, block), block)
    assert word.max() < len(parts_of(texts, block).words)
    assert feature.max() < 1 << 14


def test_lines_go_across_words_and_shorten_what_is_drawn_out():
    block = Block("line", 4, 4, bits=18)
    one, two, three = (set(counts([text], block).indices.tolist()) for text in ("iyi gün", "iyi günnn", "iyi"))
    assert one == two
    assert one - three
