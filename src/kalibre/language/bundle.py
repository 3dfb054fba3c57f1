"""A trained language model on disk: a folder of plain files under a manifest with their sha256, and a card.

Nothing in it is code or pickle: arrays are npz (`allow_pickle=False`), text is JSON, a CRF is CRFsuite's own format,
trees are LightGBM text, neural weights are safetensors or ONNX. The version is the hash of what the files hold, so the
same training gives the same version, and a changed byte is another model (or a refusal).
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError, UsageError
from kalibre.language.base import TASKS
from kalibre.models._storage import plain_json, store_folder

MANIFEST = "manifest.json"
WEIGHTS = Path(__file__).parent / "weights"
"""What is shipped: a folder per task and family."""


@dataclass(frozen=True)
class LanguageBundle:
    """A trained model of one task as plain files.

    Attributes
    ----------
    task, family
        What it does (`TASKS`) and which file of the task's folder reads it (`fast`, `encoder`).
    files
        Content by file name.
    card
        What a user has to know: training sets with their licences and counts, figures with their conditions, limits.
        JSON's types only; not part of the version.
    """

    task: str
    family: str
    files: Mapping[str, bytes]
    card: Mapping[str, Any]

    @property
    def version(self) -> str:
        """Name with the hash of the files: `sentiment-fast-1a2b3c4d5e6f`."""
        digest = hashlib.sha256()
        for name in sorted(self.files):
            digest.update(f"{name}:{hashlib.sha256(self.files[name]).hexdigest()}\n".encode())
        return f"{self.task}-{self.family}-{digest.hexdigest()[:12]}"

    def file(self, name: str) -> bytes:
        """Return a file's content.

        Raises
        ------
        ModelError
            If the bundle has no such file.
        """
        try:
            return self.files[name]
        except KeyError:
            raise ModelError(f"{self.version} has no file {name!r}: it holds {', '.join(sorted(self.files))}") from None

    def save(self, parent: Path, name: str | None = None) -> Path:
        """Write the bundle as a folder of `parent`, whole or not at all; named by its version unless said otherwise.

        A folder of that name that holds the same version is left as it is.

        Raises
        ------
        ModelError
            If it cannot be written, or another version lies there under that name.
        """
        folder = parent / (name or self.version)
        if folder.exists():
            found = open_bundle(folder).version
            if found != self.version:
                raise ModelError(f"{str(folder)!r} already holds {found}: move it away, or save under another name")
            return folder
        manifest = {
            "format": 1,
            "task": self.task,
            "family": self.family,
            "version": self.version,
            "files": {key: hashlib.sha256(value).hexdigest() for key, value in sorted(self.files.items())},
            "card": plain_json(self.card),
        }
        text = json.dumps(manifest, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
        return store_folder(parent, folder.name, {**self.files, MANIFEST: text.encode()})


def open_bundle(folder: Path, task: str | None = None) -> LanguageBundle:
    """Read a bundle and check every byte of it against its manifest.

    Raises
    ------
    ModelError
        If the folder is no bundle, a file is missing, torn or altered, or it is of another task.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        files = {str(name): str(digest) for name, digest in manifest["files"].items()}
        found, family, version = str(manifest["task"]), str(manifest["family"]), str(manifest["version"])
        card = dict(manifest["card"])
    except FileNotFoundError:
        raise ModelError(f"{str(folder)!r} holds no language model ({MANIFEST} is missing): name a saved one") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"the manifest in {str(folder)!r} cannot be read ({error}): restore or retrain it") from error
    if found not in TASKS or not re.fullmatch(r"[a-z]+", family):
        raise ModelError(f"{str(folder)!r} is of task {found!r}, family {family!r}, which this release does not know")
    if task is not None and found != task:
        raise ModelError(f"{str(folder)!r} is a model for {found!r}, not for {task!r}: name one for {task!r}")
    contents: dict[str, bytes] = {}
    for name, digest in files.items():
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
            raise ModelError(
                f"the manifest in {str(folder)!r} names the file {name!r}: it has been altered, restore it"
            )
        try:
            contents[name] = (folder / name).read_bytes()
        except OSError as error:
            raise ModelError(f"{name!r} of {version} cannot be read ({error}): restore it or train anew") from error
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            raise ModelError(f"{name!r} of {version} is not what was saved (sha256 differs): restore it or train anew")
    bundle = LanguageBundle(task=found, family=family, files=contents, card=card)
    if bundle.version != version:
        raise ModelError(f"{str(folder)!r} calls itself {version} and holds {bundle.version}: restore it or train anew")
    return bundle


def pack_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Write arrays as one compressed npz, byte for byte the same for the same arrays.

    Raises
    ------
    ModelError
        If an array holds Python objects, which only pickle could write.
    """
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise ModelError(f"array {name!r} holds Python objects: store it as numbers or as JSON")
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})
    return stream.getvalue()


def unpack_arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """Read what `pack_arrays` wrote.

    Raises
    ------
    ModelError
        If it is no such file.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"the arrays of a language model cannot be read ({error}): restore it or train anew"
        ) from error


def shipped(task: str, family: str) -> LanguageBundle:
    """Open a model that comes with Kalibre.

    Raises
    ------
    UsageError
        If none is shipped for the task; the message lists what is.
    """
    folder = WEIGHTS / f"{task}-{family}"
    if not folder.is_dir():
        there = sorted(path.name for path in WEIGHTS.glob("*-*")) if WEIGHTS.is_dir() else []
        raise UsageError(
            f"model 'builtin:{family}' is not shipped for {task!r}; shipped are {', '.join(there) or 'none'}: choose "
            "one of these, a folder, or a hub id"
        )
    return open_bundle(folder, task)
