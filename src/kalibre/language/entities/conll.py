"""Files of tagged sentences as CoNLL writes them: a token a line, its tag last, sentences apart by an empty line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from kalibre.core.errors import SourceError, UsageError
from kalibre.language.base import ENTITY_TYPES

_TAG = re.compile(r"O|[BIESMLU]-\S+")


class Tagged(NamedTuple):
    """A sentence with a tag for each token."""

    tokens: list[str]
    tags: list[str]


def read_conll(path: Path) -> list[Tagged]:
    """Read a file; comment lines (`#` alone or with a blank) and `-DOCSTART-` are passed over.

    Raises
    ------
    SourceError
        If it cannot be read, is not UTF-8, holds no sentence, or a line has no tag; the message quotes the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{str(path)!r} cannot be read as UTF-8 text ({error}): name a CoNLL file") from error
    found: list[Tagged] = []
    tokens: list[str] = []
    tags: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        kept = line.strip()
        if kept == "#" or kept.startswith(("# ", "-DOCSTART-")):
            continue
        if not kept:
            if tokens:
                found.append(Tagged(tokens, tags))
                tokens, tags = [], []
            continue
        columns = kept.split("\t") if "\t" in kept else kept.split()
        if len(columns) < 2 or not columns[0].strip() or not _TAG.fullmatch(columns[-1].strip()):
            raise SourceError(
                f"line {number} of {str(path)!r} is {kept[:60]!r}: a line is a token and, last, its tag (O, B-ORG, ...)"
            )
        tokens.append(columns[0].strip())
        tags.append(columns[-1].strip())
    if not found:
        raise SourceError(f"{str(path)!r} holds no tagged sentence: name a CoNLL file")
    return found


def read_types(said: str) -> dict[str, str]:
    """Read how a file's types are called here: `ORG=ORGANIZATION,LOC=LOCATION`.

    Raises
    ------
    UsageError
        If a pair is none, or its right side is no type of Kalibre's.

    Examples
    --------
    >>> read_types("ORG=ORGANIZATION, GPE=LOCATION")
    {'ORG': 'ORGANIZATION', 'GPE': 'LOCATION'}
    """
    pairs = [pair.strip() for pair in said.split(",") if pair.strip()]
    found = dict(part for part in (tuple(map(str.strip, pair.split("="))) for pair in pairs) if len(part) == 2)
    if len(found) != len(pairs) or not found:
        raise UsageError(f"types {said!r} are no list of pairs: write ORG=ORGANIZATION,LOC=LOCATION")
    check_types(found)
    return found


def check_types(types_map: Mapping[str, str]) -> None:
    """Refuse a map onto types that Kalibre does not know.

    Raises
    ------
    UsageError
        If there is one.
    """
    for theirs, ours in types_map.items():
        if ours not in ENTITY_TYPES:
            raise UsageError(f"{theirs}={ours}: {ours!r} is no type, choose one of {', '.join(ENTITY_TYPES)}")
