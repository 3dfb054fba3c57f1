"""The kernels of trading: compiled as all kernels are, and kept in a folder of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from kalibre.features._kernel import Kernel

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a kernel: without fastmath, so that all who call it get the same floats; other threads run meanwhile."""
    return cast(F, Kernel(function, folder="trading"))


def inlined(function: F) -> F:
    """Compile a part of a kernel into whoever calls it."""
    return cast(F, Kernel(function, folder="trading", inline=True))
