"""Which feeds are followed: a TOML file in the form of a corpus' settings, or a corpus' own."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from kalibre.core.errors import CatalogError, SettingsError, UsageError
from kalibre.language.corpus.config import SourceConfig

KINDS: Final = ("news", "kap")
"""Kinds of sources that go on and on. A file or a database is scored by `kalibre news score --file`."""
_OF_A_CORPUS: Final = frozenset({"folder", "near", "rules"})
_SHORTEST_S: Final = 5.0

EXAMPLE = """\
every_s = 60
oldest_h = 72

[[sources]]
name = "wire"
kind = "news"
licence = "all rights reserved, for our own analysis only"
feeds = ["https://example.com/economy.xml"]

[[sources]]
name = "kap"
kind = "kap"
licence = "public disclosure"
classes = ["ODA"]
"""


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """What is followed.

    Attributes
    ----------
    sources
        Feeds and announcements.
    every_s
        Seconds between two looks at a source.
    oldest_h
        Hours after which a headline is no news any more: what is older when it is first seen is recorded, not scored.
    """

    sources: tuple[SourceConfig, ...]
    every_s: float = 60.0
    oldest_h: float = 72.0


def read_followed(path: Path) -> Followed:
    """Read what is to be followed.

    Sources of other kinds than `news` and `kap`, as a corpus may have them, are left out. Only headlines are read, not
    the pages behind them.

    Raises
    ------
    SettingsError
        If the file is missing, is no TOML, names nothing to follow, or a setting is unknown, missing or out of range.
    """
    shown = str(path)
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SettingsError(f"{shown!r} is not there: write it, for example\n\n{EXAMPLE}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{shown!r} cannot be read ({error}): correct it") from error
    own = {"sources", "every_s", "oldest_h"}
    if unknown := sorted(set(told) - own - _OF_A_CORPUS):
        raise SettingsError(f"{shown!r}: setting {unknown[0]!r} is unknown, there are {', '.join(sorted(own))}")
    try:
        sources = tuple(_source(one) for one in told.get("sources", ()) if _kind(one) in KINDS)
        every_s, oldest_h = (msgspec.convert(told.get(name, 60.0), float) for name in ("every_s", "oldest_h"))
    except (msgspec.ValidationError, TypeError, AttributeError) as error:
        raise SettingsError(f"{shown!r}: {error}") from error
    oldest_h = oldest_h if "oldest_h" in told else 72.0
    if not _SHORTEST_S <= every_s <= 86_400:
        raise SettingsError(f"{shown!r}: every_s = {every_s:g} is out of range: {_SHORTEST_S:g} to 86,400 seconds")
    if not 0 < oldest_h <= 8_760:
        raise SettingsError(f"{shown!r}: oldest_h = {oldest_h:g} is out of range: above 0, at most 8,760 hours")
    if not sources:
        raise SettingsError(
            f"{shown!r} names no source of the kinds {' and '.join(KINDS)}, and others do not go on: add one, for "
            f"example\n\n{EXAMPLE}\nA file is scored by `kalibre news score --file FILE --record`."
        )
    names = [source.name for source in sources]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise SettingsError(f"{shown!r}: two sources are called {twice!r}: give each a name of its own")
    followed = Followed(sources=sources, every_s=every_s, oldest_h=oldest_h)
    for source in sources:
        try:
            opened(source, today="2024-01-31")
        except (UsageError, CatalogError) as error:
            raise SettingsError(f"{shown!r}: source {source.name!r}: {error}") from error
    return followed


def opened(source: SourceConfig, *, today: str) -> Any:
    """Open a source for a day of Istanbul, reading headlines only."""
    from kalibre.language.corpus.sources.base import open_source

    options = dict(source.options)
    if source.kind == "news":
        options["articles"] = False
    else:
        options["pages"] = False
        # KAP's days are Istanbul's; what the settings name as the last day has its end.
        options.setdefault("until", today)
    return open_source(source.kind, options)


def _kind(told: dict[str, Any]) -> str:
    kind = told.get("kind")
    if not isinstance(kind, str):
        raise SettingsError(f"source {told.get('name', '?')!r} has no kind: choose {' or '.join(KINDS)}")
    return kind


def _source(told: dict[str, Any]) -> SourceConfig:
    own = {"name", "kind", "licence"}
    plain = msgspec.convert({"licence": "", **{key: told[key] for key in own & set(told)}}, SourceConfig)
    for name, value in (("name", plain.name), ("licence", plain.licence)):
        if not value.strip():
            raise SettingsError(
                f"source {plain.name or plain.kind!r} has no {name}: nothing is kept without one, add it"
            )
    if "|" in plain.name or not plain.name.isprintable() or len(plain.name) > 100:
        raise SettingsError(f"source name {plain.name[:60]!r} cannot be a key: use up to 100 characters, and no '|'")
    return msgspec.structs.replace(plain, options={key: value for key, value in told.items() if key not in own})
