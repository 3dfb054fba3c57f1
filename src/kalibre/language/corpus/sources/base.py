"""What a source of texts is, and how one is opened by the name of its file."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec

from kalibre.core.catalog import part
from kalibre.core.errors import UsageError


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A text as a source has it. `licence` is empty where that of the settings holds."""

    text: str
    title: str = ""
    date: str = ""
    url: str = ""
    licence: str = ""


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """Something a source could not or may not read: where, and why in a word or two (`robots`, `too large`)."""

    where: str
    reason: str
    detail: str = ""


class TextSource(Protocol):
    """Reads texts."""

    def read(self, memory: dict[str, Any]) -> Iterator[Found | Left]:
        """Yield texts that are new since `memory`, which it brings up to date as it goes.

        The memory holds JSON's types only, and no text. It is kept once everything that was yielded is stored.

        Raises
        ------
        SourceError
            If the source as a whole cannot be read; what was yielded before stays good.
        """
        ...


def open_source(kind: str, options: Mapping[str, Any]) -> TextSource:
    """Open a source: `kind` is its file's name, `options` are what its class takes.

    Raises
    ------
    CatalogError
        If there is no such source.
    UsageError
        If an option is unknown, missing or out of range.
    """
    made = part(__package__, kind).Source
    taken = inspect.signature(made).parameters
    for name in options:
        if name not in taken:
            raise UsageError(f"option {name!r} of source {kind!r} is unknown: it takes {', '.join(taken)}")
    for name, one in taken.items():
        if one.default is one.empty and name not in options:
            raise UsageError(f"source {kind!r} needs the option {name!r}: add it to the corpus settings")
    source: TextSource = made(**options)
    return source


TEXT = ("text", "metin", "icerik", "içerik", "content", "body", "haber")
TITLE = ("title", "baslik", "başlık", "headline", "konu")
DATE = ("date", "tarih", "published", "publish_date", "published_at", "yayin_tarihi")
URL = ("url", "link", "adres")
LICENCE = ("licence", "license", "lisans")


_FORMS = ("%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%y %H:%M", "%d/%m/%Y %H:%M", "%d.%m.%Y", "%d/%m/%Y")


def pick(row: Mapping[str, Any], names: tuple[str, ...], chosen: str = "") -> str:
    """Return the first of the columns that the row has, as text; empty where it has none or NULL."""
    for name in (chosen,) if chosen else names:
        if row.get(name) is not None:
            return str(row[name])
    return ""


def iso_date(told: Any) -> str:
    """Bring a date to ISO: dates, datetimes, `31.12.2024`, `31.12.2024 18:05`, mail dates; empty if it is none.

    Examples
    --------
    >>> iso_date("31.12.2024 18:05"), iso_date("2024-12-31T18:05:00+03:00"), iso_date("soon")
    ('2024-12-31T18:05:00', '2024-12-31T18:05:00+03:00', '')
    """
    from datetime import date, datetime
    from email.utils import parsedate_to_datetime

    if isinstance(told, date):
        return told.isoformat(timespec="seconds") if isinstance(told, datetime) else told.isoformat()
    text = str(told or "").strip()
    try:
        found = datetime.fromisoformat(text)
        return found.isoformat(timespec="seconds") if len(text) > 10 else found.date().isoformat()
    except ValueError:
        pass
    for form in _FORMS:
        try:
            found = datetime.strptime(text, form)
        except ValueError:
            continue
        return found.isoformat(timespec="seconds") if "%H" in form else found.date().isoformat()
    try:
        return parsedate_to_datetime(text).isoformat(timespec="seconds")
    except (ValueError, TypeError, IndexError):
        return ""
