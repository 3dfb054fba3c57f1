"""Where bars come from: one file each, opened by name."""

from __future__ import annotations

import inspect
from typing import Any

from kalibre.core.catalog import part, part_names
from kalibre.core.errors import CatalogError, UsageError
from kalibre.core.protocols import Source


def source_names() -> tuple[str, ...]:
    """List the sources by file name, without importing them."""
    return part_names(__name__)


def source_options(name: str) -> dict[str, Any]:
    """List the options of a source and their defaults, as its constructor declares them.

    Raises
    ------
    CatalogError
        If there is no such source, or its file names no `SOURCE`.
    """
    parameters = inspect.signature(_source_class(name)).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters}


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
    found = _source_class(name)
    known = source_options(name)
    listed = ", ".join(known) or "none"
    for option in options:
        if option not in known:
            raise UsageError(f"source {name} has no option {option!r}: it has {listed}")
    missing = [key for key, default in known.items() if default is inspect.Parameter.empty and key not in options]
    if missing:
        raise UsageError(f"source {name} needs the option {', '.join(missing)}: it has {listed}")
    source: Source = found(**options)
    return source


def _source_class(name: str) -> Any:
    found = getattr(part(__name__, name), "SOURCE", None)
    if found is None:
        raise CatalogError(f"sources/{name} names no SOURCE: set SOURCE = <class> in that file")
    return found
