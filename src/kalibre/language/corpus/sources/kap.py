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
_PATIENCE_DAYS = 30
_FOR_NOW = frozenset({"unavailable", "gone"})
"""Reasons that may pass: an announcement stands in the list before it has a page."""


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
        if isinstance(classes, str):
            raise UsageError(f"classes {classes!r} of source 'kap' is no list: write classes = [\"ODA\"]")
        self._classes, self._pages, self._base, self._wait = frozenset(classes), pages, base.rstrip("/"), wait
        self._politeness = Politeness(interval_s, patience_s, largest_mb, timeout_s)

    def read(self, memory: dict[str, Any]) -> Iterator[Found | Left]:
        """Yield announcements that are new, those of earlier days that could not be had at last among them."""
        day = self._since
        if "day" in memory:
            ended = _day("memory", memory["day"])
            # Without a first day of its own it goes on where it ended, however long ago that was.
            day = max(day, ended) if self._from_settings else ended
        hosts = frozenset({urlsplit(self._base).hostname or ""})
        visitor = Visitor(self._politeness, hosts=hosts, wait=self._wait)
        try:
            for earlier in sorted(one for one in memory.get("missed", {}) if one < day.isoformat()):
                yield from self._again(_day("memory", earlier), visitor, memory)
            while day <= self._until:
                yield from self._one_day(day, visitor, memory)
                day += timedelta(days=1)
        finally:
            visitor.close()

    def _again(self, day: date, visitor: Visitor, memory: dict[str, Any]) -> Iterator[Found | Left]:
        """Ask for what could not be had on a day that is over, once; a day too old is given up."""
        missed = set(memory["missed"][day.isoformat()])
        if self._until - day > timedelta(days=_PATIENCE_DAYS):
            yield Left(where=f"KAP {day}", reason="given up", detail=f"{len(missed)} announcements for too long")
            missed = set()
        elif missed:
            for index, row in self._listed(day, visitor):
                if index in missed:
                    found, over = self._read(row, index, visitor)
                    yield found
                    missed -= {index} if over else set()
        memory["missed"] = {key: left for key, left in memory["missed"].items() if key != day.isoformat()}
        if missed:
            memory["missed"][day.isoformat()] = sorted(missed)

    def _one_day(self, day: date, visitor: Visitor, memory: dict[str, Any]) -> Iterator[Found | Left]:
        rows = self._listed(day, visitor)
        if len(rows) >= _FULL:
            yield Left(where=f"KAP {day}", reason="list full", detail=f"{len(rows)} rows: the day may have had more")
        if memory.get("day") != day.isoformat():
            memory["day"], memory["read"] = day.isoformat(), []
        known, missed = set(memory["read"]), memory.setdefault("missed", {})
        missed.pop(day.isoformat(), None)
        for index, row in rows:
            if not index.isdecimal():
                yield Left(where=f"KAP {day}", reason="no index", detail=", ".join(map(str, row)))
                continue
            if index in known or (self._classes and str(row.get("disclosureClass")) not in self._classes):
                continue
            found, over = self._read(row, index, visitor)
            yield found
            if over:
                memory["read"].append(index)
            else:
                missed.setdefault(day.isoformat(), []).append(index)

    def _listed(self, day: date, visitor: Visitor) -> list[tuple[str, dict[str, Any]]]:
        asked = {"fromDate": day.isoformat(), "toDate": day.isoformat()}
        page = visitor.get(f"{self._base}/tr/api/disclosure/members/byCriteria", post=asked)
        rows = [(str(row.get("disclosureIndex")), row) for row in _rows(page.content or b"", day)]
        return sorted(rows, key=lambda one: one[0])

    def _read(self, row: dict[str, Any], index: str, visitor: Visitor) -> tuple[Found | Left, bool]:
        """Return an announcement, or why it could not be had, and whether that is the last word."""
        try:
            return self._announcement(row, index, visitor), True
        except RateLimitedError:
            raise
        except SourceError as error:
            reason = reason_of(error)
            return Left(where=f"KAP {index}", reason=reason, detail=str(error)), reason not in _FOR_NOW

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
        zoned = "T" in when and (when[-1] == "Z" or when[-6] in "+-")
        return Found(text=text, title=title, date=when + _ZONE if "T" in when and not zoned else when, url=url)


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
    return [{**row, **_inside(row, "basic"), **_inside(row, "disclosureBasic")} for row in found]


def _inside(row: dict[str, Any], name: str) -> dict[str, Any]:
    part = row.get(name)
    return part if isinstance(part, dict) else {}


def _day(name: str, told: str) -> date:
    try:
        return date.fromisoformat(told)
    except ValueError:
        raise UsageError(f"{name} {told!r} of source 'kap' is no day: write it as 2024-01-31") from None
