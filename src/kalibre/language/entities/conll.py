"""Files of tagged sentences as CoNLL writes them: a token a line, its tag last, sentences apart by an empty line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from kalibre.core.errors import SourceError, UsageError
from kalibre.language.base import ENTITY_TYPES
from kalibre.language.rows import read_text

_TAG = re.compile(r"O|[BIESMLU]-\S+")
_SIGN = re.compile(rf"# +(?:{_TAG.pattern})")


class Tagged(NamedTuple):
    """A sentence with a tag for each token."""

    tokens: list[str]
    tags: list[str]


def read_conll(path: Path) -> list[Tagged]:
    """Read a file, in the encodings of `rows.read_text`; comments and `-DOCSTART-` are passed over.

    A comment is a line that begins with `# `, unless it is the sign as a token: `# O`.

    Parameters
    ----------
    path
        A token and, last, its tag a line; sentences apart by an empty line.

    Raises
    ------
    UsageError
        If the file is not there.
    LanguageError
        If it is binary or too large.
    SourceError
        If it holds no sentence, or a line has no tag; the message quotes the line.
    """
    text = read_text(path)
    found: list[Tagged] = []
    tokens: list[str] = []
    tags: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        kept = line.strip()
        if kept.startswith("-DOCSTART-") or (kept[:2] in ("#", "# ") and not _SIGN.fullmatch(kept)):
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


def check_types(types_map: Mapping[str, str]) -> None:
    """Refuse a map onto types that Kalibre does not know.

    Parameters
    ----------
    types_map
        A file's types and what they are called here.

    Raises
    ------
    UsageError
        If there is one.
    """
    for theirs, ours in types_map.items():
        if ours not in ENTITY_TYPES:
            raise UsageError(f"{theirs}={ours}: {ours!r} is no type, choose one of {', '.join(ENTITY_TYPES)}")
