import sys

import pytest

from kalibre.language.text.casing import fold, lower, title, upper


@pytest.mark.parametrize(
    ("small", "large"),
    [("ığdır", "IĞDIR"), ("istanbul", "İSTANBUL"), ("kârlılık", "KÂRLILIK"), ("şişecam", "ŞİŞECAM"), ("i̇", "İ̇")],
)
def test_the_turkish_i_goes_both_ways(small, large):
    assert upper(small) == large
    assert lower(large) == small


def test_what_python_gets_wrong_is_right_here():
    assert "IŞIK".lower() == "işik"
    assert lower("IŞIK") == "ışık"
    assert len("İ".lower()) == 2
    assert lower("İ") == "i"
    assert upper("kipriği") == "KİPRİĞİ"


def test_a_title_keeps_the_suffix_small():
    assert title("TÜRKİYE'NİN IŞIK ŞİRKETİ") == "Türkiye'nin Işık Şirketi"
    assert title("istanbul’da ılık") == "İstanbul’da Ilık"


@pytest.mark.parametrize("text", ["Şişecam", "ŞİŞECAM", "SISECAM", "şişecam", "sisecam", "SİSECAM"])
def test_spellings_meet_under_one_key(text):
    assert fold(text) == "sisecam"


def test_folding_leaves_what_has_no_ascii_letter():
    assert fold("Ω Жук ß 日本 â î û é") == "ω жук ß 日本 a i u e"


def test_no_character_of_unicode_changes_the_length():
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    for call in (lower, upper, fold, title):
        assert len(call(every)) == len(every)
        assert call(call(every)) == call(every)
