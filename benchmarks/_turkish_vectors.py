"""Word vectors for the fast tier, counted on the shared running text, less every document that holds a test text.

What is tested (or labelled) is looked for in each document, exactly and nearly (`near.contained`); a document that
holds any of it is left out, and how many were is told. Kept in out/ by what they were made from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import _turkish as shared

from kalibre.language import near
from kalibre.language.bundle import pack_arrays, unpack_arrays
from kalibre.language.vectors import WordVectors, learn

NAMES = (
    "columns_politics_finance",
    "essays_interviews",
    "tech_blogs_notes",
    "news",
    "news_sentences",
    "treebank_sentences",
    "fiction_games",
    "informal",
    "commonvoice",
)
SIZE, MOST, LEAST = 200, 14_000, 10
_KEPT = Path(__file__).resolve().parents[1] / "out" / "vectors"


def documents() -> Iterator[str]:
    """Give every document once."""
    for name in NAMES:
        yield from shared.corpus(name)


def vectors(
    tested: Sequence[str], *, size: int = SIZE, most: int = MOST, least: int = LEAST
) -> tuple[WordVectors, str]:
    """Learn vectors on texts that hold none of the tested ones; the second value says what was left out."""
    made = repr((NAMES, size, most, least))
    key = hashlib.sha256("\n".join([*sorted(set(tested)), made]).encode("utf-8", "replace"))
    file, note = (_KEPT / f"{key.hexdigest()[:16]}{end}" for end in (".npz", ".txt"))
    if file.is_file() and note.is_file():
        return WordVectors.of(unpack_arrays(file.read_bytes())), note.read_text(encoding="utf-8")
    whole = list(documents())
    out = {one.document_index for one in near.contained(list(tested), whole)}
    kept = [text for i, text in enumerate(whole) if i not in out]
    found = learn((line for text in kept for line in text.split("\n")), size=size, most=most, least=least)
    said = f"{len(kept):,} of {len(whole):,} documents, {len(out)} left out since they hold a tested text"
    _KEPT.mkdir(parents=True, exist_ok=True)
    file.write_bytes(pack_arrays(found.arrays()))
    note.write_text(said, encoding="utf-8")
    return found, said
