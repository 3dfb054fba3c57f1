"""Announcements of the Public Disclosure Platform (KAP): the list by day, and what each one says.

The list is `POST /tr/api/disclosure/members/byCriteria` with dates, the page of one is `/tr/Bildirim/INDEX`. Neither is
documented by KAP; the shapes are those that its site used in 2024-26 (flat rows, or rows under `basic`), and a list of
another shape is refused by name. Times are Istanbul's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec

from kalibre.core.errors import RateLimitedError, SourceError, SourceFormatError, UsageError
from kalibre.language.corpus.decoding import decode
from kalibre.language.corpus.sources._pages import article
from kalibre.language.corpus.sources._visitor import Politeness, Visitor, reason_of
from kalibre.language.corpus.sources.base import Found, Left, iso_date

_FULL = 2_000
"""Rows that a list has at most: a day with so many may have had more."""
_ZONE = "+03:00"


class Source:
    """Texts of announcements, day by day.

    Parameters
    ----------
    since
        First day, `2024-01-31`; empty for the last seven days. Later builds go on where the last one ended, and read
        the last day again.
    until
        Last day; empty for today (UTC).
    classes
        Classes of announcements that are kept (`ODA`, `FR`, `DG`, ...); empty for all.
    pages
        Whether the page of each announcement is read; else subject and summary are the text.
    base
        Address of the site.
    interval_s, patience_s, largest_mb, timeout_s
        As of source `news`.
    today, wait
        For tests.
    """

    def __init__(
        self,
        since: str = "",
        until: str = "",
        classes: Sequence[str] = (),
        pages: bool = True,
        base: str = "https://www.kap.org.tr",
        interval_s: float = 2.0,
        patience_s: float = 120.0,
        largest_mb: float = 5.0,
        timeout_s: float = 20.0,
        today: str = "",
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._until = _day("until", until or today) if until or today else datetime.now(tz=UTC).date()
        self._from_settings = bool(since)
        self._since = _day("since", since) if since else self._until - timedelta(days=7)
        if self._since > self._until:
            raise UsageError(f"since {since!r} of source 'kap' is after until {self._until}: swap them")
        self._classes, self._pages, self._base, self._wait = frozenset(classes), pages, base.rstrip("/"), wait
        self._politeness = Politeness(interval_s, patience_s, largest_mb, timeout_s)

    def read(self, memory: dict[str, Any]) -> Iterator[Found | Left]:
        """Yield announcements that are new."""
        day = self._since
        if "day" in memory:
            ended = _day("memory", memory["day"])
            # Without a first day of its own it goes on where it ended, however long ago that was.
            day = max(day, ended) if self._from_settings else ended
        hosts = frozenset({urlsplit(self._base).hostname or ""})
        visitor = Visitor(self._politeness, hosts=hosts, wait=self._wait)
        try:
            while day <= self._until:
                yield from self._one_day(day, visitor, memory)
                day += timedelta(days=1)
        finally:
            visitor.close()

    def _one_day(self, day: date, visitor: Visitor, memory: dict[str, Any]) -> Iterator[Found | Left]:
        asked = {"fromDate": day.isoformat(), "toDate": day.isoformat()}
        page = visitor.get(f"{self._base}/tr/api/disclosure/members/byCriteria", post=asked)
        rows = _rows(page.content or b"", day)
        if len(rows) >= _FULL:
            yield Left(where=f"KAP {day}", reason="list full", detail=f"{len(rows)} rows: the day may have had more")
        if memory.get("day") != day.isoformat():
            memory["day"], memory["read"] = day.isoformat(), []
        known = set(memory["read"])
        for row in sorted(rows, key=lambda one: str(one.get("disclosureIndex"))):
            index = str(row.get("disclosureIndex", ""))
            if not index.isdigit():
                yield Left(where=f"KAP {day}", reason="no index", detail=", ".join(map(str, row)))
                continue
            if index in known or (self._classes and str(row.get("disclosureClass")) not in self._classes):
                continue
            try:
                yield self._announcement(row, index, visitor)
            except RateLimitedError:
                raise
            except SourceError as error:
                yield Left(where=f"KAP {index}", reason=reason_of(error), detail=str(error))
                continue
            memory["read"].append(index)

    def _announcement(self, row: dict[str, Any], index: str, visitor: Visitor) -> Found | Left:
        url = f"{self._base}/tr/Bildirim/{index}"
        company = str(row.get("kapTitle") or row.get("companyTitle") or row.get("companyName") or "").strip()
        subject = str(row.get("subject") or row.get("title") or "").strip()
        title = ": ".join(part for part in (company, subject) if part)
        summary = str(row.get("summary") or "").strip()
        text = "\n".join(part for part in (title, summary) if part)
        if self._pages:
            page = visitor.get(url)
            found = article(decode(page.content or b"", page.charset), url=page.url)
            if found is not None:
                text = "\n".join(part for part in (title, summary, found.text) if part)
        if not text:
            return Left(where=f"KAP {index}", reason="no text")
        when = iso_date(row.get("publishDate"))
        return Found(text=text, title=title, date=when + _ZONE if "T" in when and "+" not in when else when, url=url)


def _rows(content: bytes, day: date) -> list[dict[str, Any]]:
    try:
        found = msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        raise SourceFormatError(f"KAP's list of {day} is no JSON ({error}): the site may have changed") from error
    if isinstance(found, dict):
        found = found.get("data", found.get("result"))
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise SourceFormatError(
            f"KAP's list of {day} has an unknown shape ({content[:60]!r}): the site may have changed"
        )
    return [{**row, **row.get("basic", {}), **row.get("disclosureBasic", {})} for row in found]


def _day(name: str, told: str) -> date:
    try:
        return date.fromisoformat(told)
    except ValueError:
        raise UsageError(f"{name} {told!r} of source 'kap' is no day: write it as 2024-01-31") from None
