"""Builds a corpus: read, clean, mask, drop what is there already, store.

Nothing reaches the disk before it is masked: not the text, not its title or address, and what a source remembers holds
no text. A build can be interrupted at any time and run again; what is stored is not stored twice.
"""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from kalibre.core.errors import LanguageError, SourceError
from kalibre.language.corpus.cleaning import clean, line
from kalibre.language.corpus.config import CorpusConfig, SourceConfig
from kalibre.language.corpus.document import Document, document
from kalibre.language.corpus.sources.base import Found, Left, TextSource, open_source
from kalibre.language.corpus.store import Shard, Store
from kalibre.language.near import NearIndex, groups, overlap

BATCH_CHARACTERS = 4_000_000
BATCH_DOCUMENTS = 2_000
BATCH_SECONDS = 300.0
"""How long texts wait to be stored at most: what a polite visitor gathered slowly is not lost to a power cut."""
_EXAMPLES = 20
_HINTS = {"long": "cut it (source 'files': split = \"block\"), or raise longest_chars in the rules"}
_CHANGED = "the rules are not those of the last build: they hold for what is new; build in another folder for all of it"


class SourceReport(msgspec.Struct, kw_only=True):
    """What came of one source.

    `left` counts what was not kept, by reason (rules of cleaning, and what the source could not read), `examples` says
    where; `masked` counts what was masked, by kind; `failed` says why the source ended early, empty if it did not.
    """

    name: str
    found: int = 0
    added: int = 0
    exact_duplicates: int = 0
    near_duplicates: int = 0
    left: dict[str, int] = {}
    masked: dict[str, int] = {}
    examples: list[Left] = []
    failed: str = ""


class BuildReport(msgspec.Struct, kw_only=True):
    """What came of a build."""

    folder: str
    sources: list[SourceReport]
    documents: int
    characters: int
    shards: int
    seconds: float
    note: str = ""

    @property
    def added(self) -> int:
        """Documents that are new."""
        return sum(source.added for source in self.sources)

    @property
    def failed(self) -> list[str]:
        """Names of the sources that ended early."""
        return [source.name for source in self.sources if source.failed]


def build(
    config: CorpusConfig,
    *,
    report: Callable[[str, int, int], None] = lambda stage, done, total: None,
    opened: Callable[[SourceConfig], TextSource] = lambda source: open_source(source.kind, source.options),
) -> BuildReport:
    """Build a corpus, or add to it what is new.

    A source that fails does not keep the others from being read; the report says so.

    Parameters
    ----------
    config
        What it is built from.
    report
        Told of the progress: stage, done, total (0 where it is not known).
    opened
        How a source is opened.

    Raises
    ------
    UsageError, CatalogError
        If an option of a source is wrong: before anything is read.
    DatasetError
        If the folder cannot be written, or what is there is damaged.
    """
    began = time.monotonic()
    sources = [(source, opened(source)) for source in config.sources]
    store = Store(config.folder)
    with store.writing():
        changed = store.keep_rules(msgspec.json.encode((config.rules, config.near), order="sorted").decode())
        known = _Known(store, config.near, report)
        reports = [_one(source, reader, config, store, known, report) for source, reader in sources]
    shards = store.manifest.shards
    return BuildReport(
        folder=str(config.folder),
        sources=reports,
        documents=sum(shard.documents for shard in shards),
        characters=sum(shard.characters for shard in shards),
        shards=len(shards),
        seconds=time.monotonic() - began,
        note=_CHANGED if changed and len(shards) else "",
    )


class _Known:
    """What the corpus holds: ids, and an index for near-duplicates. Read when there is something to compare with it."""

    def __init__(self, store: Store, near: float, report: Callable[[str, int, int], None]) -> None:
        self.ids: set[str] = set()
        self.near = near
        self.index = NearIndex(near)
        self._unread: list[Shard] = list(store.manifest.shards)
        self._store, self._report = store, report

    def _read(self) -> None:
        for done, shard in enumerate(self._unread):
            self._report("read the corpus", done, len(self._unread))
            self.add(self._store.read(shard))
        self._unread = []

    def add(self, documents: list[Document]) -> None:
        self.ids.update(one.id for one in documents)
        if self.near < 1:
            self.index.add([one.text for one in documents])

    def new(self, documents: list[Document], told: SourceReport) -> list[Document]:
        """Return what is not known yet; of those that are alike, the first."""
        self._read()
        fresh: list[Document] = []
        for one in documents:
            if one.id in self.ids:
                told.exact_duplicates += 1
            else:
                self.ids.add(one.id)
                fresh.append(one)
        if self.near == 1 or not fresh:
            return fresh
        texts = [one.text for one in fresh]
        near = {one.test_index for one in self.index.find(texts)}
        apart = set(_apart([place for place in range(len(texts)) if place not in near], texts, self.near))
        told.near_duplicates += len(texts) - len(apart)
        return [one for place, one in enumerate(fresh) if place in apart]


def _apart(places: list[int], texts: list[str], near: float) -> list[int]:
    """Return, in order, the texts that are not nearly the same as one returned before.

    Not one a group: of a chain in which only neighbours are alike every second stays. So it does not matter how a build
    was cut into batches.
    """
    members: dict[int, list[int]] = {}
    for place, group in zip(places, groups([texts[place] for place in places], near).tolist(), strict=True):
        members.setdefault(group, []).append(place)
    kept: list[int] = []
    for rest in members.values():
        left = rest
        while left:
            kept.append(left[0])
            same = {one.test_index + 1 for one in overlap([texts[left[0]]], [texts[place] for place in left[1:]], near)}
            left = [place for number, place in enumerate(left) if number and number not in same]
    return sorted(kept)


def _one(
    source: SourceConfig,
    reader: TextSource,
    config: CorpusConfig,
    store: Store,
    known: _Known,
    report: Callable[[str, int, int], None],
) -> SourceReport:
    told = SourceReport(name=source.name)
    left: Counter[str] = Counter()
    masked: Counter[str] = Counter()
    memory: dict[str, Any] = copy.deepcopy(store.manifest.memory.get(source.name, {}))

    def leave(what: Left) -> None:
        left[what.reason] += 1
        if len(told.examples) < _EXAMPLES:
            told.examples.append(what)

    def documents() -> Iterator[Document]:
        for found in reader.read(memory):
            report(source.name, told.found, 0)
            if isinstance(found, Left):
                leave(_masked_left(found))
                continue
            told.found += 1
            made = _document(found, source, config, masked)
            if isinstance(made, Left):
                leave(made)
            else:
                yield made

    try:
        for batch in _batches(documents()):
            _keep(batch, store, known, told)
            # What the source remembers by now is of texts that it gave: all of them are stored.
            store.remember(source.name, memory)
    except SourceError as error:
        told.failed = _plain(str(error))
    store.remember(source.name, memory)
    told.left, told.masked = dict(sorted(left.items())), dict(sorted(masked.items()))
    return told


def _keep(batch: list[Document], store: Store, known: _Known, told: SourceReport) -> None:
    fresh = known.new(batch, told)
    store.add(fresh)
    known.add(fresh)
    told.added += len(fresh)


def _batches(documents: Iterator[Document]) -> Iterator[list[Document]]:
    """Yield documents in batches; what was read before a source failed, or somebody stopped it, comes too."""
    batch: list[Document] = []
    size, began = 0, time.monotonic()
    failed: BaseException | None = None
    while True:
        try:
            one = next(documents)
        except StopIteration:
            break
        except (SourceError, KeyboardInterrupt) as error:
            failed = error
            break
        batch.append(one)
        size += len(one.text)
        late = time.monotonic() - began >= BATCH_SECONDS
        if size >= BATCH_CHARACTERS or len(batch) >= BATCH_DOCUMENTS or late:
            yield batch
            batch, size, began = [], 0, time.monotonic()
    if batch:
        yield batch
    if failed is not None:
        raise failed


def _document(found: Found, source: SourceConfig, config: CorpusConfig, masked: Counter[str]) -> Document | Left:
    cleaned, where = clean(found.text, config.rules), found.url or found.where or found.title or source.name
    if cleaned.refused:
        return _masked_left(Left(where=where, reason=cleaned.refused, detail=_HINTS.get(cleaned.refused, "")))

    def mask(text: str) -> str:
        done = _mask(text)
        masked.update(one.kind for one in done.found)
        return str(done.text)

    try:
        return document(
            mask(cleaned.text),
            source=source.name,
            licence=found.licence.strip() or source.licence,
            title=mask(line(found.title)),
            date=found.date,
            url=mask(line(found.url)),
            language=cleaned.language,
        )
    except LanguageError as error:
        return _masked_left(Left(where=where, reason="unreadable", detail=str(error)))


def _masked_left(left: Left) -> Left:
    where, detail = (_mask(_plain(part[:300])).text for part in (left.where, left.detail))
    return msgspec.structs.replace(left, where=where, detail=detail)


def _plain(text: str) -> str:
    """Return text that can be written down: lone surrogates are spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _mask(text: str) -> Any:
    from kalibre.language.pii import mask

    return mask(text)
