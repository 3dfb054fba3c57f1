"""Every text that the project's own labels name: read from all files of benchmarks/labels, so that a new one counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from benchmarks import _turkish as turkish


def require_sets() -> None:
    """End with a word about what is missing where the shared sets are not there."""
    if not turkish.there():
        raise SystemExit(f"the shared Turkish sets are not in {turkish.ROOT}: nothing can be prepared or measured")


def rows() -> Iterator[dict[str, Any]]:
    """Yield the rows of every file of labels."""
    for path in sorted(turkish.LABELS.rglob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                yield json.loads(line)


def written() -> list[str]:
    """Return what the label files hold in words: texts and questions."""
    return [str(row[field]) for row in rows() for field in ("text", "question") if row.get(field)]


def named() -> list[str]:
    """Return the texts of the shared sets that labels name by hash."""
    by_hash = turkish.texts_by_hash()
    return [by_hash[str(row["hash"])] for row in rows() if str(row.get("hash")) in by_hash]


def documents() -> frozenset[str]:
    """Return the hashes of the documents that questions are about."""
    return frozenset(str(row["document_hash"]) for row in rows() if row.get("document_hash"))
