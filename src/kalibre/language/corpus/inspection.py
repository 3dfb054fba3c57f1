"""What a corpus holds: figures, and documents to look at."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import msgspec

from kalibre.core.errors import DatasetError
from kalibre.language.corpus.document import Document
from kalibre.language.corpus.store import MANIFEST, Store


class Tally(msgspec.Struct, kw_only=True):
    """Documents, characters and words of a part of the corpus, with its first and last day."""

    documents: int = 0
    characters: int = 0
    words: int = 0
    first: str = ""
    last: str = ""

    def count(self, one: Document) -> None:
        """Count a document in."""
        self.documents += 1
        self.characters += len(one.text)
        self.words += len(one.text.split())
        day = one.date[:10]
        if day:
            self.first = min(self.first or day, day)
            self.last = max(self.last, day)


class Stats(msgspec.Struct, kw_only=True):
    """Figures of a corpus: all of it, by source, licence and language, and lengths in characters by share."""

    folder: str
    shards: int
    bytes: int
    total: Tally
    sources: dict[str, Tally]
    licences: dict[str, Tally]
    languages: dict[str, Tally]
    lengths: dict[str, int]


def _opened(folder: Path) -> Store:
    if not (folder / MANIFEST).is_file():
        raise DatasetError(f"{str(folder)!r} holds no corpus: build one with `kalibre corpus build`")
    return Store(folder)


def stats(folder: Path, *, report: Callable[[str, int, int], None] = lambda stage, done, total: None) -> Stats:
    """Read the whole corpus, checking every byte of it, and count.

    Raises
    ------
    DatasetError
        If there is none, or a shard is missing, torn or altered.
    """
    store = _opened(folder)
    told = Stats(
        folder=str(folder),
        shards=len(store.manifest.shards),
        bytes=sum(
            (folder / shard.name).stat().st_size for shard in store.manifest.shards if (folder / shard.name).exists()
        ),
        total=Tally(),
        sources={},
        licences={},
        languages={},
        lengths={},
    )
    lengths: list[int] = []
    for done, shard in enumerate(store.manifest.shards):
        report("read shards", done, told.shards)
        for one in store.read(shard):
            told.total.count(one)
            for table, key in (
                (told.sources, one.source),
                (told.licences, one.licence),
                (told.languages, one.language),
            ):
                table.setdefault(key, Tally()).count(one)
            lengths.append(len(one.text))
    lengths.sort()
    if lengths:
        told.lengths = {
            f"p{share}": lengths[min(len(lengths) - 1, len(lengths) * share // 100)] for share in (5, 50, 95)
        }
    return told


def inspect(
    folder: Path, *, source: str = "", contains: str = "", limit: int = 5, seed: int | None = None
) -> list[Document]:
    """Return documents of a corpus.

    Parameters
    ----------
    folder
        The corpus.
    source
        Only of this source.
    contains
        Only with this in their text or title, upper and lower case alike, or with this id.
    limit
        How many at most.
    seed
        Draw them by chance, the same for the same seed; else the first ones.

    Raises
    ------
    DatasetError
        If there is no corpus or no such source, or a shard is damaged.
    """
    from kalibre.language.text.casing import fold

    store, wanted = _opened(folder), fold(contains)
    found: list[Document] = []
    seen: set[str] = set()
    chance = random.Random(seed)  # noqa: S311  (a sample to look at)
    matching = 0
    for one in store.documents():
        seen.add(one.source)
        if source and one.source != source:
            continue
        if wanted and one.id != contains and wanted not in fold(one.title) and wanted not in fold(one.text):
            continue
        matching += 1
        if len(found) < limit:
            found.append(one)
        elif seed is None:
            break
        elif (place := chance.randrange(matching)) < limit:
            found[place] = one
    if source and source not in seen and not found:
        raise DatasetError(f"source {source!r} is not in the corpus: it holds {', '.join(sorted(seen)) or 'nothing'}")
    return found
