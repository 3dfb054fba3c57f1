"""Laws of the corpus: what is stored comes back, nothing personal is stored, no bytes or texts break it."""

from __future__ import annotations

import contextlib
import json
import lzma
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from kalibre.core.errors import SourceFormatError
from kalibre.language.corpus.build import build
from kalibre.language.corpus.cleaning import Rules, clean
from kalibre.language.corpus.config import CorpusConfig, SourceConfig
from kalibre.language.corpus.decoding import decode
from kalibre.language.corpus.document import document, is_iso
from kalibre.language.corpus.sources._pages import published
from kalibre.language.corpus.sources._visitor import Page
from kalibre.language.corpus.sources.base import Found, Left, iso_date
from kalibre.language.corpus.sources.files import SPLITS
from kalibre.language.corpus.sources.news import _parsed
from kalibre.language.corpus.store import Store
from kalibre.language.exclusion import exclude, verify, without

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


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), max_size=200))
def test_utf_8_is_read_as_utf_8_whatever_is_declared(text: str):
    if text.startswith(("\ufeff", "%PDF-", "GIF8", "PAR1", "BZh", "Rar!", "{\\rtf", "SQLite format 3")):
        return
    assert decode(text.encode(), "iso-8859-9") == text


ENDINGS = st.sampled_from(["a.txt", "a.json", "a.jsonl", "a.csv", "a.tsv", "a.html", "a.txt.gz", "a.csv.xz", "a"])
ROWS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | VALID,
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "Başlık", "date", "url", "lisans", "x"]), inside, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | ROWS.map(lambda row: json.dumps(row).encode()), ENDINGS, st.sampled_from(SPLITS))
def test_no_file_breaks_a_build(content: bytes, ending: str, split: str):
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / ending).write_bytes(content)
        options = {"paths": [f"{home}/*"], "split": split}
        source = SourceConfig(name="s", kind="files", licence="l", options=options)
        rules = Rules(shortest_words=1, letters=0, languages=("tr", "en", "other", "unknown"))
        told = build(CorpusConfig(folder=Path(home) / "c", sources=(source,), rules=rules))
        assert not told.failed
        assert len(list(Store(Path(home) / "c").documents())) == told.added
        msgspec.json.encode(told)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200) | VALID.map(lambda text: f"<rss version='2.0'><channel>{text}</channel></rss>".encode()))
def test_no_feed_breaks_its_reader(content: bytes):
    with contextlib.suppress(SourceFormatError):
        assert isinstance(_parsed("http://host/rss", Page("http://host/rss", content)).entries, list)


@settings(max_examples=100, deadline=None)
@given(
    ANY
    | st.sampled_from(['<meta name="date" content="', '<time datetime="', '"datePublished": "']).flatmap(
        lambda begun: ANY.map(lambda rest: f'{begun}{rest}">')
    )
)
def test_a_page_says_an_iso_date_or_none(html: str):
    assert published(html) == "" or is_iso(published(html))


WORDS = st.lists(st.sampled_from("borsa faiz kur altın petrol sanayi ihracat bilanço".split()), min_size=1, max_size=14)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS.map(" ".join), max_size=6), st.lists(WORDS.map(" ".join), max_size=4), st.booleans())
def test_what_is_excluded_verifies(documents: list[str], tests: list[str], joined: bool):
    whole = ["\n".join(documents)] if joined else documents
    verify(exclude(whole, tests).documents, tests)
    verify([text for text in without(whole, tests, tests, str.splitlines) if text], tests)
