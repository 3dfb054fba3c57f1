"""Laws of the corpus: what is stored comes back, nothing personal is stored, no bytes or texts break it."""

from __future__ import annotations

import lzma
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kalibre.core.errors import SourceFormatError
from kalibre.language.corpus.build import build
from kalibre.language.corpus.cleaning import Rules, clean
from kalibre.language.corpus.config import CorpusConfig, SourceConfig
from kalibre.language.corpus.decoding import decode
from kalibre.language.corpus.document import document
from kalibre.language.corpus.sources.base import Found, Left, iso_date
from kalibre.language.corpus.store import Store

ANY = st.text(st.characters(exclude_categories=()), max_size=200)
VALID = st.text(st.characters(codec="utf-8"), max_size=200)


@settings(max_examples=100, deadline=None)
@given(ANY)
def test_cleaning_says_something_of_any_text(text: str):
    cleaned = clean(text, Rules(shortest_words=1, letters=0, languages=("tr", "en", "other", "unknown")))
    assert bool(cleaned.text) != bool(cleaned.refused)
    if cleaned.text:
        again = clean(cleaned.text, Rules(shortest_words=1, letters=0, languages=("tr", "en", "other", "unknown")))
        assert again.text == cleaned.text or again.refused


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300) | VALID.map(str.encode), st.sampled_from(["", "utf-8", "iso-8859-9", "cp857", "x"]))
def test_bytes_become_text_or_are_refused(content: bytes, declared: str):
    try:
        text = decode(content, declared)
    except SourceFormatError:
        return
    text.encode()


@settings(max_examples=100, deadline=None)
@given(ANY | st.none() | st.dates() | st.datetimes())
def test_a_date_is_iso_or_nothing(told: Any):
    assert document("metin", source="s", licence="l", date=iso_date(told)).text == "metin"


@settings(max_examples=30, deadline=None)
@given(st.lists(VALID.filter(str.strip), min_size=1, max_size=8))
def test_what_is_stored_comes_back(texts: list[str]):
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        made = [document(text, source="s", licence="l", title=text[:20]) for text in texts]
        with store.writing():
            store.add(made)
        assert list(Store(Path(folder)).documents()) == made


def tckn(digits: list[int]) -> str:
    """Return a valid number of nine digits."""
    tenth = (7 * sum(digits[0::2]) - sum(digits[1::2])) % 10
    return "".join(map(str, [*digits, tenth, (sum(digits) + tenth) % 10]))


NUMBERS = st.lists(st.integers(0, 9), min_size=8, max_size=8).map(lambda rest: tckn([1, *rest]))
PLACES = st.sampled_from(["TC kimlik no: {}", "T.C. Kimlik Numarası {} olan", "TCKN {}", "kimlik no {},"])


class One:
    """A source of one text."""

    def __init__(self, found: Found) -> None:
        self.found = found

    def read(self, memory: dict[str, Any]) -> Iterator[Found | Left]:
        yield self.found
        yield Left(where=self.found.title, reason="planted", detail=self.found.text)


@settings(max_examples=25, deadline=None)
@given(NUMBERS, PLACES, st.booleans())
def test_a_planted_number_is_in_no_stored_byte(number: str, place: str, again: bool):
    said = place.format(number)
    text = f"Banka şubesinde işlem yapan müşterinin bilgileri incelendi, {said} kaydı bulundu ve onaylandı."
    found = Found(
        text=text if not again else f"{text}\n{said} ikinci kez bildirildi.", title=said, url="https://o.com/x"
    )
    with tempfile.TemporaryDirectory() as folder:
        config = CorpusConfig(folder=Path(folder) / "c", sources=(SourceConfig(name="s", kind="files", licence="l"),))
        told = build(config, opened=lambda source: One(found))
        assert told.added == 1
        for path in config.folder.iterdir():
            content = path.read_bytes()
            assert number.encode() not in (lzma.decompress(content) if path.suffix == ".xz" else content)
        assert number not in repr(told)
