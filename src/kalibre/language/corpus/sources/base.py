"""What a source of texts is, and how one is opened by the name of its file."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from importlib import import_module
from typing import Any, Protocol, get_type_hints

import msgspec

from kalibre.core.catalog import part
from kalibre.core.errors import UsageError
from kalibre.language.corpus.document import is_iso
from kalibre.language.text.casing import fold
from kalibre.language.text.dates import MONTHS


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A text as a source has it.

    `licence` is empty where that of the settings holds; `where` says where it stands, if that is not `url`.
    """

    text: str
    title: str = ""
    date: str = ""
    url: str = ""
    licence: str = ""
    where: str = ""


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
    hints = get_type_hints(made.__init__)
    for name, value in options.items():
        try:
            # A string in place of a list is what people write: the source itself says how to write it.
            if not callable(value) and not isinstance(value, str):
                msgspec.convert(value, hints[name])
            elif isinstance(value, str) and hints[name] in (bool, int, float):
                raise UsageError(f"{name} = {value!r} of source {kind!r} is text: write it without quotation marks")
        except (msgspec.ValidationError, TypeError) as error:
            raise UsageError(f"{name} = {value!r} of source {kind!r} cannot be used: {error}") from None
    source: TextSource = made(**options)
    return source


def needed(package: str) -> Any:
    """Import a package of the extra `corpus`, or say how to get it."""
    try:
        return import_module(package)
    except ImportError as error:
        raise UsageError(
            f"this source needs the package {package!r} ({error}): pip install 'kalibre[corpus]'"
        ) from None


TEXT = ("text", "metin", "icerik", "içerik", "content", "body", "haber")
TITLE = ("title", "baslik", "başlık", "headline", "konu")
DATE = ("date", "tarih", "published", "publish_date", "published_at", "yayin_tarihi")
URL = ("url", "link", "adres")
LICENCE = ("licence", "license", "lisans")


_FORMS = tuple(
    f"{day}{time}"
    for day in ("%d.%m.%Y", "%d/%m/%Y", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%y", "%d-%m-%Y")
    for time in ("", " %H:%M", " %H:%M:%S")
)
_MONTHS = [name[:3] for name in MONTHS]
_LONG = re.compile(
    rf"(?:[a-z]+,? )?(\d{{1,2}})\.? ({'|'.join(_MONTHS)})[a-z]*\.?,? (\d{{4}})(?: [a-z]+)?"
    r"(?:[ ,-]+(?:saat )?(\d{1,2})[:.](\d{2})(?:[:.](\d{2}))?(?: ?([+-]\d{2}):?(\d{2}))?)?"
)
"""`28 Kasım 2024 Perşembe 18:05`, `Per, 28 Kas 2024 18:05:00 +0300`, folded."""
_EPOCH = re.compile(r"1\d{9}(?:\d{3})?")


def pick(row: Mapping[str, Any], names: tuple[str, ...], chosen: str = "") -> str:
    """Return the first of the columns that the row has, as text; empty where it has none or NULL.

    Columns are found in any case; the one chosen only as it is written. What is no text or number (a list, an object)
    counts as none.
    """
    if chosen:
        return _text(row.get(chosen))
    for name in names:
        if row.get(name) is not None:
            return _text(row[name])
    known = {_column(str(name)): value for name, value in row.items() if value is not None}
    return next((_text(known[name]) for name in map(_column, names) if name in known), "")


@lru_cache(maxsize=1_000)
def _column(name: str) -> str:
    return fold(name.strip())


def _text(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        from kalibre.language.corpus.decoding import decode

        return decode(bytes(value))
    return "" if value is None or isinstance(value, list | dict | tuple | bool) else str(value)


def iso_date(told: Any) -> str:
    """Bring a date to ISO; empty if it is none.

    Dates, datetimes, `31.12.2024 18:05`, `31 Aralık 2024 18:05`, dates of mails, seconds or milliseconds since 1970.

    Examples
    --------
    >>> iso_date("31.12.2024 18:05"), iso_date("2024-12-31T18:05:00+03:00"), iso_date("soon")
    ('2024-12-31T18:05:00', '2024-12-31T18:05:00+03:00', '')
    >>> iso_date("Sal, 31 Ara 2024 18:05:00 +0300"), iso_date("31 Aralık 2024"), iso_date(1735657500)
    ('2024-12-31T18:05:00+03:00', '2024-12-31', '2024-12-31T15:05:00+00:00')
    """
    try:
        found = told if isinstance(told, date) else _read(" ".join(str(told or "").split()))
        iso = found.isoformat(timespec="seconds") if isinstance(found, datetime) else found.isoformat() if found else ""
    except (ValueError, OverflowError):
        return ""
    return iso if is_iso(iso) else ""


@lru_cache(maxsize=10_000)
def _read(text: str) -> date | None:
    from email.utils import parsedate_to_datetime

    if _EPOCH.fullmatch(text):
        return datetime.fromtimestamp(int(text[:10]), tz=UTC)
    for form in ("", *_FORMS):
        try:
            found = datetime.strptime(text, form) if form else datetime.fromisoformat(text)
        except ValueError:
            continue
        return found if len(text) > 10 else found.date()
    if long := _LONG.fullmatch(fold(text)):
        day, month, year, hour, minute, second, *zone = long.groups()
        if hour is None:
            return date(int(year), _MONTHS.index(month) + 1, int(day))
        iso = f"{year}-{_MONTHS.index(month) + 1:02d}-{int(day):02d}T{int(hour):02d}:{minute}:{second or '00'}"
        return datetime.fromisoformat(iso + (f"{zone[0]}:{zone[1]}" if zone[0] else ""))
    try:
        return parsedate_to_datetime(text)
    except (TypeError, IndexError):
        return None
