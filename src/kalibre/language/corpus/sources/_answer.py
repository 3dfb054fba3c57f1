"""An answer of a server as it comes: unpacked no further than there is room, its headers, what it asks for."""

from __future__ import annotations

import time
import zlib
from email.utils import parsedate_to_datetime

import httpx


class Unpacked:
    """Unpacks an answer piece by piece, never further than there is room: a bomb costs what is read of it."""

    def __init__(self, encoding: str) -> None:
        names = [name.strip().lower() for name in encoding.split(",") if name.strip()]
        packed = [name for name in names if name != "identity"]
        if packed and packed not in (["gzip"], ["x-gzip"], ["deflate"]):
            raise httpx.DecodingError(f"it is packed as {encoding[:40]!r}, which was not asked for")
        self._inflate = zlib.decompressobj(47) if packed else None
        self._begun = False

    def more(self, piece: bytes, room: int) -> bytes:
        """Return what a piece unpacks to, at most so many bytes."""
        if self._inflate is None:
            return piece
        self._begun = True
        try:
            return self._inflate.decompress(piece, max(1, room))
        except zlib.error as error:
            raise httpx.DecodingError(f"it is packed wrongly ({error})") from None

    def check(self) -> None:
        """Raise if the end is missing."""
        if self._inflate is not None and self._begun and not self._inflate.eof:
            raise httpx.DecodingError("it is packed and its end is missing")


class Headers(dict[str, str]):
    """The headers of an answer in lower case, with the encoding it declares."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__({key.lower(): value for key, value in answer.headers.items()})
        self.charset = answer.charset_encoding


def shown(url: str) -> str:
    """Return an address as it may be told: without the name and password that some carry."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}" if mark else url


def is_plain(value: str) -> bool:
    """Say whether a header may be sent back as it came."""
    return 0 < len(value) <= 1_000 and value.isascii() and value.isprintable()


def seconds(told: str) -> float:
    """Return what a Retry-After asks for: seconds, or a moment."""
    if told.isascii() and told.strip().isdigit():
        return float(told)
    try:
        return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
