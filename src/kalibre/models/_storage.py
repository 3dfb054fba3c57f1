"""How a model's folder comes onto the disk: whole or not at all."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kalibre.core.errors import ModelError


def store_folder(models_dir: Path, name: str, files: Mapping[str, bytes]) -> Path:
    """Write files into a new folder that appears under its name only once every byte of it is on the disk.

    Parameters
    ----------
    models_dir
        Folder of all models; made if it is not there.
    name
        Of the new folder, which must not be there yet.
    files
        Content by file name.

    Returns
    -------
    The new folder.

    Raises
    ------
    ModelError
        If the disk is full or the folder cannot be written.
    """
    folder = models_dir / name
    temporary: Path | None = None
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".saving-", dir=models_dir))
        for file_name, content in files.items():
            _write_durably(temporary / file_name, content)
        temporary.chmod(0o755)
        _sync_folder(temporary)
        temporary.rename(folder)
        _sync_folder(models_dir)
    except OSError as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise ModelError(
            f"model {name} cannot be stored in {str(models_dir)!r}: {error}; free space or choose another "
            "home (KALIBRE_HOME); nothing was left half-written"
        ) from error
    return folder


def plain_json(value: Any) -> Any:
    """Bring numpy's numbers to JSON's, tuples to lists; a float that is not finite becomes None.

    Raises
    ------
    ModelError
        If something in it has no such form; the message quotes it.
    """
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain_json(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ModelError(f"{value!r} of type {type(value).__name__} cannot be stored in a bundle: pass JSON's types")


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
