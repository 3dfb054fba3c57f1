"""Compile kernels, and keep the machine code in a cache that follows every file they were built from.

Numba's own cache looks at the file of the kernel alone and misses edits in what it imports: here the stamp is a digest
of everything a trading kernel can be built from. Where nothing can be written, a kernel is compiled for this process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator

from kalibre.core import timeframe
from kalibre.features._compile import cache_folder

F = TypeVar("F", bound=Callable[..., Any])


@cache
def sources_digest() -> str:
    """Return the digest of every source a trading kernel can be built from."""
    files = [*sorted(Path(__file__).parent.glob("*.py")), Path(timeframe.__file__)]
    return sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


class _Locator(_CacheLocator):  # type: ignore[misc]
    def get_cache_path(self) -> str:
        return str(cache_folder().parent / "trading")

    def get_source_stamp(self) -> str:
        return sources_digest()

    def get_disambiguator(self) -> str:
        return ""  # files of older sources are overwritten, not gathered

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> _Locator:
        locator = cls()
        locator.ensure_cache_path()
        return locator


class _Stored(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_Locator,)


class _Cache(FunctionCache):  # type: ignore[misc]
    _impl_class = _Stored


def compiled(function: F) -> F:
    """Compile a kernel: without fastmath, so that all who call it get the same floats; other threads run meanwhile."""
    dispatcher = njit(error_model="numpy", nogil=True)(function)
    with contextlib.suppress(OSError, RuntimeError):
        dispatcher._cache = _Cache(function)
    return cast(F, dispatcher)


def inlined(function: F) -> F:
    """Compile a part of a kernel into whoever calls it."""
    return cast(F, njit(error_model="numpy", inline="always")(function))
