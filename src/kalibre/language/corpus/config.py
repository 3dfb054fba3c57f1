"""What a corpus is built from: a TOML file that names its folder, its rules, and its sources with their licences."""

from __future__ import annotations

import glob
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from kalibre.core.errors import SettingsError
from kalibre.language.corpus.cleaning import Rules


class SourceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A source: its name, which file of `sources/` reads it, under which licence its texts are, its options."""

    name: str
    kind: str
    licence: str
    options: dict[str, Any] = {}


class CorpusConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A corpus.

    Attributes
    ----------
    folder
        Where it is built.
    sources
        What it is built from, in order: of near-duplicates, the first is kept.
    rules
        What a text has to keep to.
    near
        Similarity from which on two texts are the same; 1 keeps all but equal ones.
    """

    folder: Path
    sources: tuple[SourceConfig, ...]
    rules: Rules = Rules()
    near: float = 0.8

    def __post_init__(self) -> None:
        if not 0 < self.near <= 1:
            raise SettingsError(f"near = {self.near!r} is no similarity: choose one above 0 and at most 1")
        seen: set[str] = set()
        for source in self.sources:
            for name, value in (("name", source.name), ("licence", source.licence)):
                if not value.strip():
                    raise SettingsError(
                        f"source {source.name or source.kind!r} has no {name}: nothing is kept without one, add it"
                    )
            if source.name in seen:
                raise SettingsError(f"two sources are called {source.name!r}: give each a name of its own")
            seen.add(source.name)


EXAMPLE = """\
folder = "corpus"
near = 0.8

[rules]
languages = ["tr"]
shortest_words = 8

[[sources]]
name = "own"
kind = "files"
licence = "CC0-1.0"
paths = ["texts/**/*.txt", "texts/*.jsonl"]

[[sources]]
name = "news"
kind = "news"
licence = "all rights reserved, for our own analysis only"
feeds = ["https://example.com/rss.xml"]
"""


def read_config(path: Path) -> CorpusConfig:
    """Read the settings of a corpus; relative paths are relative to their file.

    Raises
    ------
    SettingsError
        If the file is missing, is no TOML, or a setting is unknown, missing or out of range.
    """
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{str(path)!r} is not there: write it, for example\n\n{EXAMPLE}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{str(path)!r} cannot be read ({error}): correct it") from error
    known = {field.name for field in msgspec.structs.fields(CorpusConfig)}
    if unknown := sorted(set(told) - known):
        raise SettingsError(f"{str(path)!r}: setting {unknown[0]!r} is unknown, there are {', '.join(sorted(known))}")
    try:
        sources = tuple(_source(one) for one in told.get("sources", ()))
        rules = _rules(told.get("rules", {}))
        near = msgspec.convert(told.get("near", 0.8), float)
        folder = Path(msgspec.convert(told["folder"], str))
    except KeyError as error:
        raise SettingsError(f"{str(path)!r}: {error.args[0]!r} is missing, for example\n\n{EXAMPLE}") from None
    except (msgspec.ValidationError, TypeError, AttributeError) as error:
        raise SettingsError(f"{str(path)!r}: {error}") from error
    if not sources:
        raise SettingsError(f"{str(path)!r} names no source: add one, for example\n\n{EXAMPLE}")
    base = path.resolve().parent
    placed = tuple(_placed(source, base) for source in sources)
    return CorpusConfig(folder=base / folder, sources=placed, rules=rules, near=near)


def _rules(told: Any) -> Rules:
    known = {field.name for field in msgspec.structs.fields(Rules)}
    if isinstance(told, dict) and (unknown := sorted(set(told) - known)):
        raise SettingsError(f"rule {unknown[0]!r} is unknown, there are {', '.join(sorted(known))}")
    return msgspec.convert(told, Rules)


def _source(told: dict[str, Any]) -> SourceConfig:
    own = {"name", "kind", "licence"}
    for name in sorted(own - set(told)):
        raise SettingsError(
            f"source {told.get('name', told.get('kind', '?'))!r} has no {name}: nothing is kept without a name, kind "
            "and licence"
        )
    options = {key: value for key, value in told.items() if key not in own}
    plain = msgspec.convert({key: told[key] for key in own}, SourceConfig)
    return msgspec.structs.replace(plain, options=options)


def _placed(source: SourceConfig, base: Path) -> SourceConfig:
    """Make the paths of files absolute."""
    paths = source.options.get("paths")
    if source.kind != "files" or not isinstance(paths, list):
        return source
    plain = Path(glob.escape(str(base)))  # its own brackets are no pattern
    return msgspec.structs.replace(
        source, options={**source.options, "paths": [str(plain / str(one)) for one in paths]}
    )
