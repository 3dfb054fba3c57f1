"""A tokenizer on disk: SentencePiece's own file under a manifest with its sha256, and a card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from kalibre.core.errors import ModelError, UsageError
from kalibre.language.bundle import MANIFEST, WEIGHTS
from kalibre.language.tokenizer.pieces import Tokenizer
from kalibre.models._storage import plain_json, store_folder

MODEL = "tokenizer.model"
SHIPPED = "tokenizer"


def version_of(model: bytes) -> str:
    """Name a tokenizer by what it is: `tokenizer-1a2b3c4d5e6f`."""
    return f"tokenizer-{hashlib.sha256(model).hexdigest()[:12]}"


def save(tokenizer: Tokenizer, folder: Path, card: Mapping[str, Any]) -> Path:
    """Write a tokenizer as a new folder, whole or not at all.

    Raises
    ------
    ModelError
        If the folder is there already, or cannot be written.
    """
    if folder.exists():
        raise ModelError(f"{str(folder)!r} is there already: move it away, or name another folder")
    manifest = {
        "format": 1,
        "version": version_of(tokenizer.model),
        "files": {MODEL: hashlib.sha256(tokenizer.model).hexdigest()},
        "card": plain_json(card),
    }
    text = json.dumps(manifest, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    return store_folder(folder.parent, folder.name, {MODEL: tokenizer.model, MANIFEST: text.encode()})


def read(folder: Path) -> tuple[Tokenizer, dict[str, Any]]:
    """Read a tokenizer and its card, checking it against its manifest.

    Raises
    ------
    ModelError
        If there is none, or it is torn or altered.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        digest, card = str(manifest["files"][MODEL]), dict(manifest["card"])
        model = (folder / MODEL).read_bytes()
    except FileNotFoundError as error:
        raise ModelError(
            f"{str(folder)!r} holds no tokenizer ({Path(str(error.filename)).name} is missing): train one with "
            "`kalibre tokenizer train`"
        ) from None
    except KeyError:
        raise ModelError(
            f"the manifest in {str(folder)!r} cannot be read as a tokenizer's: name one of `kalibre tokenizer train`"
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"the manifest in {str(folder)!r} cannot be read ({error}): restore or retrain it") from error
    if hashlib.sha256(model).hexdigest() != digest:
        raise ModelError(f"{MODEL!r} in {str(folder)!r} is not what was saved (sha256 differs): restore or retrain it")
    return Tokenizer(model), card


@cache
def _builtin() -> Tokenizer:
    folder = WEIGHTS / SHIPPED
    if not folder.is_dir():
        raise UsageError("no tokenizer is shipped with this copy: train one with `kalibre tokenizer train`")
    return read(folder)[0]


def load(name: str = "builtin") -> Tokenizer:
    """Return a tokenizer: `builtin`, a folder that `save` wrote, or a SentencePiece model file.

    Raises
    ------
    UsageError
        If there is no such thing.
    ModelError
        If it cannot be read.
    """
    if name == "builtin":
        return _builtin()
    path = Path(name).expanduser()
    if path.is_dir():
        return read(path)[0]
    if path.is_file():
        return Tokenizer(path.read_bytes())
    raise UsageError(
        f"tokenizer {name!r} is none: say builtin, a folder of `kalibre tokenizer train`, or a .model file"
    )
