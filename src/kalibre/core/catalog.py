"""Catalogues: a part is one file; adding the file to its folder is all it takes to have it everywhere."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType

from kalibre.core.errors import CatalogError

_SHARED = frozenset({"app", "base", "engine", "kernels", "protocol"})
"""Files of a folder that serve its parts and are no part themselves."""


@cache
def part_names(package: str) -> tuple[str, ...]:
    """List the parts of a folder by file name, without importing them.

    Parameters
    ----------
    package
        Dotted name, for example `kalibre.sources`.
    """
    root = importlib.import_module(package)
    names = (info.name for info in pkgutil.iter_modules(root.__path__))
    return tuple(sorted(name for name in names if not name.startswith("_") and name not in _SHARED))


def part(package: str, name: str) -> ModuleType:
    """Import one part of a folder.

    Raises
    ------
    CatalogError
        If there is no such file; the message lists what there is.

    Examples
    --------
    >>> part("kalibre.core", "catalog").__name__
    'kalibre.core.catalog'
    """
    names = part_names(package)
    if name not in names:
        raise CatalogError(f"{name!r} is not in {package}: choose one of {', '.join(names)}")
    return importlib.import_module(f"{package}.{name}")


def parts(package: str) -> dict[str, ModuleType]:
    """Import every part of a folder, by file name."""
    return {name: part(package, name) for name in part_names(package)}
