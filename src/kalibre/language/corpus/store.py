"""The corpus on disk: shards of JSON lines, compressed, under a manifest with their sha256.

A shard appears under its name only when every byte of it is on the disk, and counts only once the manifest names it;
the manifest is replaced in one step. So an interrupted build leaves a corpus that is whole, and the next goes on from
there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import lzma
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from kalibre.core.errors import DatasetError
from kalibre.language.corpus.document import Document

MANIFEST = "manifest.json"
_PRESET = 2
_encode = msgspec.json.Encoder().encode


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """A file of documents, as the manifest names it."""

    name: str
    sha256: str
    documents: int
    characters: int


class Manifest(msgspec.Struct, kw_only=True):
    """What the corpus holds, how far each source has been read (`memory`, the sources' own), by which rules."""

    format: int = 1
    shards: list[Shard] = []
    memory: dict[str, dict[str, Any]] = {}
    rules: str = ""


class Store:
    """A corpus folder.

    Raises
    ------
    DatasetError
        If the folder holds something else, or its manifest cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = self._manifest()

    def _manifest(self) -> Manifest:
        folder = self.folder
        try:
            content = (folder / MANIFEST).read_bytes()
        except FileNotFoundError:
            return Manifest()
        except OSError as error:
            raise DatasetError(f"{str(folder)!r} cannot be read ({error}): name the folder of a corpus") from error
        try:
            found = msgspec.json.decode(content, type=Manifest)
        except msgspec.DecodeError as error:
            raise DatasetError(
                f"the manifest of the corpus in {str(folder)!r} cannot be read ({error}): restore it, or build anew in "
                "another folder"
            ) from error
        if found.format != 1:
            raise DatasetError(f"the corpus in {str(folder)!r} has format {found.format}, this release reads 1")
        return found

    # --- reading ------------------------------------------------------------------------------------------------------

    def documents(self) -> Iterator[Document]:
        """Yield every document, checking each shard.

        Raises
        ------
        DatasetError
            If a shard is missing, torn or altered.
        """
        for shard in self.manifest.shards:
            yield from self.read(shard)

    def read(self, shard: Shard) -> list[Document]:
        """Return a shard's documents."""
        path = self.folder / shard.name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DatasetError(
                f"shard {shard.name!r} of {str(self.folder)!r} cannot be read ({error}): restore it"
            ) from error
        if hashlib.sha256(content).hexdigest() != shard.sha256:
            raise DatasetError(
                f"shard {shard.name!r} of {str(self.folder)!r} is not what was written (sha256 differs): restore it, "
                "or build anew in another folder"
            )
        lines = lzma.decompress(content).splitlines()
        return [msgspec.json.decode(line, type=Document) for line in lines]

    # --- writing ------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder for one build; leftovers of an interrupted one are taken away.

        Raises
        ------
        DatasetError
            If another build holds it, or it cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / ".lock").open("w")
        except OSError as error:
            raise DatasetError(f"{str(self.folder)!r} cannot be written ({error}): name another folder") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise DatasetError(f"another build is writing to {str(self.folder)!r}: wait for it to end") from None
            # Another build may have ended since this one looked: what it added is no leftover.
            self.manifest = self._manifest()
            named = {shard.name for shard in self.manifest.shards}
            for path in [*self.folder.glob("documents-*.jsonl.xz"), *self.folder.glob(".writing-*")]:
                if path.name not in named:
                    path.unlink()
            yield

    def add(self, documents: Sequence[Document]) -> None:
        """Write documents as one more shard, whole or not at all."""
        if not documents:
            return
        content = lzma.compress(b"".join(_encode(one) + b"\n" for one in documents), preset=_PRESET)
        name = f"documents-{len(self.manifest.shards):05d}.jsonl.xz"
        self._replace(name, content)
        shard = Shard(
            name=name,
            sha256=hashlib.sha256(content).hexdigest(),
            documents=len(documents),
            characters=sum(len(one.text) for one in documents),
        )
        self.manifest.shards = [*self.manifest.shards, shard]
        self._save()

    def remember(self, source: str, memory: dict[str, Any]) -> None:
        """Keep how far a source has been read."""
        now = msgspec.json.decode(_encode(memory))
        if self.manifest.memory.get(source) != now:
            self.manifest.memory = {**self.manifest.memory, source: now}
            self._save()

    def keep_rules(self, rules: str) -> bool:
        """Note the rules of this build; say whether those of the last one were others."""
        changed = bool(self.manifest.rules) and self.manifest.rules != rules
        if self.manifest.rules != rules:
            self.manifest.rules = rules
            self._save()
        return changed

    def _save(self) -> None:
        self._replace(MANIFEST, msgspec.json.format(_encode(self.manifest), indent=1) + b"\n")

    def _replace(self, name: str, content: bytes) -> None:
        temporary = self.folder / f".writing-{name}"
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.folder / name)
            descriptor = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise DatasetError(
                f"{name!r} cannot be written to {str(self.folder)!r} ({error}): free space; what was there is whole"
            ) from error
