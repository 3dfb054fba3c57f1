"""What learners compile with: kernels without fastmath, kept in the cache of machine code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from kalibre.features._kernel import Kernel

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a kernel that Python calls: all who call it get the same floats."""
    return cast(F, Kernel(function, folder="learners"))


def inlined(function: F) -> F:
    """Compile a part of a kernel into whoever calls it."""
    return cast(F, Kernel(function, folder="learners", inline=True))
