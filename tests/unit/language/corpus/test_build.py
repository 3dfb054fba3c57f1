"""Building: masked before stored, each text once, resumed after an interruption."""

from __future__ import annotations

import contextlib
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.fakes.news_site import Site

from kalibre.core.errors import CatalogError, SettingsError, SourceUnavailableError, UsageError
from kalibre.language.corpus import build as building
from kalibre.language.corpus.build import BuildReport, build
from kalibre.language.corpus.config import CorpusConfig, SourceConfig, read_config
from kalibre.language.corpus.sources.base import Found, Left
from kalibre.language.corpus.store import Store

TCKN = "10000000146"
IBAN = "TR330006100519786457841326"
SUBJECTS = "Borsa Banka Altın Petrol Sanayi Enerji Turizm Tarım Konut Otomotiv Tekstil Demir Çimento Gıda".split()
VERBS = ["yükselişle başladı", "sert geriledi", "yatay seyretti", "rekor kırdı", "beklentiyi aştı", "hedefini düşürdü"]


def news(i: int) -> str:
    subject, verb = SUBJECTS[i % len(SUBJECTS)], VERBS[i // len(SUBJECTS) % len(VERBS)]
    rest = SUBJECTS[(i * 7 + 3) % len(SUBJECTS)].lower()
    points = i * 13 % 97
    return f"{subject} sektörü haftanın {i}. gününde {verb}; analistler {rest} tarafında {points} puan bekliyor."


class Scripted:
    """A source that yields what it is given, and fails where an error stands."""

    def __init__(self, *items: Any) -> None:
        self.items = items
        self.seen: dict[str, Any] = {}

    def read(self, memory: dict[str, Any]) -> Iterator[Found | Left]:
        self.seen = dict(memory)
        for item in self.items:
            if isinstance(item, BaseException):
                raise item
            yield Found(text=item) if isinstance(item, str) else item
        memory["read"] = memory.get("read", 0) + 1


def run(folder: Path, *sources: Scripted, near: float = 0.8) -> BuildReport:
    configs = tuple(SourceConfig(name=f"s{i}", kind="files", licence="CC0-1.0") for i in range(len(sources)))
    readers = dict(zip([one.name for one in configs], sources, strict=True))
    config = CorpusConfig(folder=folder, sources=configs, near=near)
    return build(config, opened=lambda source: readers[source.name])


def texts(folder: Path) -> list[str]:
    return [one.text for one in Store(folder).documents()]


def test_nothing_personal_reaches_the_disk(tmp_path: Path):
    planted = Found(
        text=f"{news(1)} TC kimlik no {TCKN}, IBAN {IBAN}, telefon 0532 123 45 67, yazın: ali.veli@ornek.com",
        title=f"TCKN: {TCKN}",
        url="https://ornek.com/?mail=ali.veli@ornek.com",
    )
    left = Left(where=f"mail ali.veli@ornek.com {TCKN}", reason="robots", detail=f"TC kimlik no {TCKN}")
    short = Found(text="kısa", title=f"TC kimlik no {TCKN}")
    told = run(tmp_path / "c", Scripted(planted, left, short))
    assert told.added == 1
    assert told.sources[0].masked["TCKN"] == 2
    stored = b"".join(
        lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
        for path in (tmp_path / "c").iterdir()
    )
    for secret in (TCKN, IBAN, "ali.veli", "123 45 67"):
        assert secret.encode() not in stored
        assert secret not in msgspec.json.encode(told).decode()
    assert b"<TCKN>" in stored


def test_each_text_once_across_sources_and_builds(tmp_path: Path):
    first = run(tmp_path / "c", Scripted(news(1), news(2), news(1)), Scripted(news(2) + " Güncellendi", news(3)))
    assert [one.added for one in first.sources] == [2, 1]
    assert first.sources[0].exact_duplicates == 1
    assert first.sources[1].near_duplicates == 1
    again = run(tmp_path / "c", Scripted(news(1), news(4)), Scripted(news(3).upper()))
    assert [one.added for one in again.sources] == [1, 0]
    assert (again.documents, again.shards) == (4, 3)
    assert texts(tmp_path / "c") == [news(1), news(2), news(3), news(4)]


def test_near_duplicates_stay_where_they_are_wanted(tmp_path: Path):
    assert run(tmp_path / "c", Scripted(news(2), news(2) + " Güncellendi"), near=1.0).added == 2


def test_refusals_are_counted_by_reason(tmp_path: Path):
    english = "The central bank kept its policy rate unchanged and the market was calm after the decision."
    told = run(
        tmp_path / "c", Scripted(news(1), "kısa", english, "\x00" * 400, Left(where="x", reason="robots"))
    ).sources[0]
    assert told.left == {"language en": 1, "not text": 1, "robots": 1, "short": 1}
    assert told.found == 4
    assert len(told.examples) == 4


def test_a_source_that_fails_keeps_what_it_gave(tmp_path: Path):
    failing = Scripted(news(1), news(2), SourceUnavailableError("'x' answers 500"))
    told = run(tmp_path / "c", failing, Scripted(news(3)))
    assert [one.added for one in told.sources] == [2, 1]
    assert told.failed == ["s0"]
    assert not Store(tmp_path / "c").manifest.memory["s0"], "it is read from the same place again"
    assert Store(tmp_path / "c").manifest.memory["s1"] == {"read": 1}


def test_an_interrupted_build_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(building, "BATCH_DOCUMENTS", 10)
    every = [news(i) for i in range(40)]
    with pytest.raises(MemoryError):
        run(tmp_path / "c", Scripted(*every[:25], MemoryError()), near=1.0)
    assert texts(tmp_path / "c") == every[:20]
    told = run(tmp_path / "c", Scripted(*every), near=1.0)
    assert (told.added, told.sources[0].exact_duplicates) == (20, 20)
    assert texts(tmp_path / "c") == every


def test_what_a_source_remembers_comes_back(tmp_path: Path):
    run(tmp_path / "c", Scripted(news(1)))
    source = Scripted(news(2))
    run(tmp_path / "c", source)
    assert source.seen == {"read": 1}


def test_batches_of_any_size_give_the_same_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    every = [news(i % 25) + (" Güncellendi" if i % 3 == 0 else "") for i in range(60)]
    run(tmp_path / "whole", Scripted(*every))
    monkeypatch.setattr(building, "BATCH_DOCUMENTS", 1)
    run(tmp_path / "single", Scripted(*every))
    assert texts(tmp_path / "whole") == texts(tmp_path / "single")


def test_of_a_chain_every_second_stays_however_it_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    words = [f"{subject}{verb[:4]}" for verb in VERBS for subject in SUBJECTS]
    chain = [f"Piyasa haberi: {' '.join(words[i : i + 40])} bugün de böyle ve için daha çok." for i in range(0, 24, 4)]
    run(tmp_path / "whole", Scripted(*chain))
    monkeypatch.setattr(building, "BATCH_DOCUMENTS", 1)
    run(tmp_path / "single", Scripted(*chain))
    assert texts(tmp_path / "whole") == texts(tmp_path / "single") == chain[::2]


def test_settings_and_real_sources(tmp_path: Path, web: Site):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("\n\n".join(news(i) for i in range(5)), encoding="utf-8")
    web.feed("/rss", f"{web.url}/a")
    web.page("/a", "Endeks")
    settings = tmp_path / "corpus.toml"
    settings.write_text(
        f"""folder = "c"
[rules]
shortest_words = 5
[[sources]]
name = "own"
kind = "files"
licence = "CC0-1.0"
paths = ["texts/*.txt"]
split = "block"
[[sources]]
name = "news"
kind = "news"
licence = "test"
feeds = ["{web.url}/rss"]
interval_s = 0.001
""",
        encoding="utf-8",
    )
    told = build(read_config(settings))
    assert told.added == 6
    assert {one.licence for one in Store(tmp_path / "c").documents()} == {"CC0-1.0", "test"}
    assert build(read_config(settings)).added == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("folder = 3", "folder|str"),
        ("x = 1\nfolder = 'c'", "'x' is unknown"),
        ("folder = 'c'", "names no source"),
        ("[[sources]]\nname = 'a'", "has no kind|has no licence"),
        ("folder = 'c'\n[[sources]]\nname = 'a'\nkind = 'files'", "has no licence"),
        ("folder = 'c'\n[[sources]]\nname = 'a'\nkind = 'files'\nlicence = ' '", "has no licence"),
        ("folder = 'c'\nnear = 3\n[[sources]]\nname = 'a'\nkind = 'files'\nlicence = 'l'", "near = 3"),
        ("folder = 'c'\n[rules]\nx = 1\n[[sources]]\nname = 'a'\nkind = 'files'\nlicence = 'l'", "x"),
        ("folder = 'c'" + "\n[[sources]]\nname = 'a'\nkind = 'files'\nlicence = 'l'" * 2, "two sources"),
        ("folder = ", "cannot be read"),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, text: str, words: str):
    (tmp_path / "corpus.toml").write_text(text)
    with pytest.raises(SettingsError, match=words):
        read_config(tmp_path / "corpus.toml")


def test_missing_settings_show_an_example(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"\[\[sources\]\]"):
        read_config(tmp_path / "corpus.toml")


@pytest.mark.parametrize(
    ("kind", "options", "error"), [("files", {"path": "x"}, UsageError), ("ftp", {}, CatalogError)]
)
def test_wrong_sources_are_refused_before_anything_is_read(
    tmp_path: Path, kind: str, options: dict[str, Any], error: type[Exception]
):
    source = SourceConfig(name="a", kind=kind, licence="l", options=options)
    with pytest.raises(error):
        build(CorpusConfig(folder=tmp_path / "c", sources=(source,)))
    assert not (tmp_path / "c").exists()


class Counting:
    """A source that remembers how far it was read, item by item, and fails where an error stands."""

    def __init__(self, *items: Any) -> None:
        self.items = items

    def read(self, memory: dict[str, Any]) -> Iterator[Found | Left]:
        for place, item in enumerate(self.items):
            if place < memory.get("read", 0):
                continue
            if isinstance(item, BaseException):
                raise item
            yield Found(text=item)
            memory["read"] = place + 1


@pytest.mark.parametrize("error", [SourceUnavailableError("'x' answers 500"), KeyboardInterrupt()])
def test_a_source_that_stops_half_way_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
):
    monkeypatch.setattr(building, "BATCH_DOCUMENTS", 3)
    items: list[Any] = [news(i) for i in range(10)]
    with contextlib.suppress(KeyboardInterrupt):
        run(tmp_path / "c", Counting(*items[:8], error))  # type: ignore[arg-type]
    stored = Store(tmp_path / "c")
    assert len(list(stored.documents())) >= stored.manifest.memory["s0"]["read"] >= 5
    told = run(tmp_path / "c", Counting(*items))  # type: ignore[arg-type]
    assert told.sources[0].found <= 5
    assert texts(tmp_path / "c") == items


def test_slow_sources_are_stored_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(building, "BATCH_SECONDS", 0.0)
    assert run(tmp_path / "c", Scripted(news(1), news(2), news(3))).shards == 3


def test_what_was_read_before_somebody_stopped_it_is_kept(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "c", Counting(news(1), news(2), KeyboardInterrupt()))  # type: ignore[arg-type]
    assert texts(tmp_path / "c") == [news(1), news(2)]
    assert Store(tmp_path / "c").manifest.memory["s0"] == {"read": 2}


def test_a_build_without_news_does_not_read_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run(tmp_path / "c", Scripted(news(1)))
    monkeypatch.setattr(Store, "read", lambda store, shard: pytest.fail("it was read"))
    assert run(tmp_path / "c", Scripted()).added == 0


def test_other_rules_are_told(tmp_path: Path):
    assert run(tmp_path / "c", Scripted(news(1))).note == ""
    assert run(tmp_path / "c", Scripted(news(1))).note == ""
    assert "rules are not those of the last build" in run(tmp_path / "c", Scripted(news(1)), near=1.0).note


def test_odd_dates_titles_and_names_break_nothing(tmp_path: Path):
    found = run(
        tmp_path / "c",
        Scripted(
            Found(text=news(1), date="dün", url="https://a/b"),
            Found(text=news(2), title="\ud800Åžirket\n\u202ekÃ¢rÄ±", url="\udcdd", licence="  "),
            Left(where="\udcdd.txt", reason="unreadable", detail="\ud800"),
        ),
    )
    assert found.sources[0].left == {"unreadable": 2}
    msgspec.json.encode(found)
    (one,) = Store(tmp_path / "c").documents()
    assert (one.title, one.licence) == ("\ufffdŞirket kârı", "CC0-1.0")


def test_a_folder_with_brackets_and_rules_out_of_range(tmp_path: Path):
    home = tmp_path / "benim [1]"
    home.mkdir()
    (home / "a.txt").write_text(news(1), encoding="utf-8")
    source = "[[sources]]\nname = 'a'\nkind = 'files'\nlicence = 'l'\npaths = ['*.txt']\n"
    (home / "corpus.toml").write_text(f"folder = 'c'\n{source}", encoding="utf-8")
    assert build(read_config(home / "corpus.toml")).added == 1
    for rules, words in (("shortest_word = 1", "rule 'shortest_word' is unknown"), ("letters = 60", "letters = 60")):
        (home / "corpus.toml").write_text(f"folder = 'c'\n[rules]\n{rules}\n{source}", encoding="utf-8")
        with pytest.raises(SettingsError, match=words):
            read_config(home / "corpus.toml")
