"""Where bars come from: one file each, opened by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from kalibre.core.catalog import part, part_names
from kalibre.core.errors import CatalogError, UsageError
from kalibre.core.protocols import Source


def source_names() -> tuple[str, ...]:
    """List the sources by file name, without importing them."""
    return part_names(__name__)


def source_options(name: str) -> dict[str, Any]:
    """List the options of a source that settings can give, and their defaults, as its constructor declares them.

    What only code can give (a clock, something that waits) is none of them.

    Raises
    ------
    CatalogError
        If there is no such source, or its file names no `SOURCE`.
    """
    return {key: one.default for key, one in _parameters(name).items() if not _of_code(one)}


def _parameters(name: str) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(source_class(name)).parameters


def _of_code(parameter: inspect.Parameter) -> bool:
    """Say whether an option is what no settings file can write: a clock, a function, bars."""
    return any(word in str(parameter.annotation) for word in ("Clock", "Callable", "Bars"))


def open_source(name: str, **options: Any) -> Source:
    """Open a source by its file name.

    Parameters
    ----------
    name
        A file of this folder: `binance`, `ccxt`, `files`, `postgres`, `replay`, `sample`, `simulated`.
    options
        What the source's constructor takes; `source_options(name)` lists them.

    Raises
    ------
    CatalogError
        If there is no such source; the message lists what there is.
    UsageError
        If an option is unknown or a needed one is missing; the message lists the known ones.

    Examples
    --------
    >>> open_source("sample", speed=3)
    Traceback (most recent call last):
    kalibre.core.errors.UsageError: source sample has no option 'speed': it has none
    """
    found = source_class(name)
    known = _parameters(name)
    listed = ", ".join(source_options(name)) or "none"
    for option in options:
        if option not in known:
            raise UsageError(f"source {name} has no option {option!r}: it has {listed}")
    missing = [key for key, one in known.items() if one.default is inspect.Parameter.empty and key not in options]
    if missing:
        raise UsageError(f"source {name} needs the option {', '.join(missing)}: it has {listed}")
    try:
        source: Source = found(**options)
    except (TypeError, ValueError) as error:
        given = ", ".join(options) or "none"  # by name only: a value may hold a password
        raise UsageError(f"source {name} cannot be opened with these options ({given}): {error}; mend them") from error
    return source


def source_class(name: str) -> Any:
    """Return the class of a source.

    Raises
    ------
    CatalogError
        If there is no such source, or its file names no `SOURCE`.
    """
    found = getattr(part(__name__, name), "SOURCE", None)
    if found is None:
        raise CatalogError(f"sources/{name} names no SOURCE: set SOURCE = <class> in that file")
    return found
