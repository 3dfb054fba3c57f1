"""Laws of the near key: what one changed word, sign or place does to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kalibre.language.headlines.canonical import near_key

WORDS = st.sampled_from(
    "dolar borsa yükseldi düştü garanti kârını artırdı artırmadı faiz yüzde 5 12,5 mayıs değil".split()
)
HEADLINES = st.lists(WORDS, min_size=1, max_size=8).map(" ".join)
SWAPS = (
    ("arttı", "artmadı", "artacak", "arttı mı", "azaldı"),
    ("rose", "fell", "did not rise", "didn't rise", "rose?"),
    ("Ocak", "Şubat", "Mart", "Ocak'tan", "geçen Ocak"),
    ("THYAO", "THYAO.E", "GARAN", "[THYAO]x", "A.THYAO"),
    ("3 bin", "3 milyon", "3 milyar", "3 trilyon", "3", "-3", "%3", "-%3", "%-3", "3,5", "3.500", "3,500", "½"),
    ("$3", "€3", "3 lira", "£3", "₿3", "-$3", "$-3"),
    ("Q1", "Q2", "ilk çeyrek", "son çeyrek", "bu çeyrek", "çeyrek"),
    ("📈", "📉", "▲", "▼", "↑", "↓", "<", ">", "="),
    ("bir puan", "puan", "yirmi bir puan", "yirmi puan", "bir baz puan"),
    ("alım", "satım", "alımdan satıma", "satımdan alıma"),
)


@given(HEADLINES, HEADLINES, st.sampled_from(SWAPS), st.data())
def test_one_swap_makes_another_headline(before: str, after: str, swaps: tuple[str, ...], data: st.DataObject) -> None:
    one, other = data.draw(st.lists(st.sampled_from(swaps), min_size=2, max_size=2, unique=True))
    assert near_key(f"{before} {one} {after}") != near_key(f"{before} {other} {after}")


@given(st.permutations(["apple", "samsung", "garanti"]))
def test_who_did_it_to_whom_is_kept(names: list[str]) -> None:
    first, second, third = names
    assert near_key(f"{first} {second}'yi {third}'ye sattı") != near_key(f"{second} {first}'yi {third}'ye sattı")
