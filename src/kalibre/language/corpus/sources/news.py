"""News from RSS and Atom feeds, with the articles they point at."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit
from xml.sax import SAXException

from kalibre.core.errors import (
    RateLimitedError,
    SourceError,
    SourceFormatError,
    UsageError,
)
from kalibre.language.corpus.decoding import decode
from kalibre.language.corpus.sources._answer import shown
from kalibre.language.corpus.sources._pages import article
from kalibre.language.corpus.sources._visitor import Page, Politeness, Visitor, joined, reason_of
from kalibre.language.corpus.sources.base import Found, Left, iso_date, needed

_KEPT = 20_000
"""Articles remembered: a feed shows the last few hundred."""
_TRUSTED_S = 86_400.0
"""How long a server is believed that nothing is new; then the feed is read whole, for some say so always."""
_FOR_GOOD = frozenset({"gone", "too large", "unreadable"})
"""Reasons for which an article is not asked for again."""


class Source:
    """Texts from feeds: feeds that did not change are not read again, articles are read once.

    Parameters
    ----------
    feeds
        Addresses of RSS or Atom feeds.
    articles
        Whether the pages that a feed points at are read; else title and summary are the text.
    interval_s
        Seconds between two requests to one host.
    patience_s
        The longest wait that a server may ask for.
    largest_mb
        Size of a page or feed at most.
    timeout_s
        Seconds to wait for a server to go on.
    limit
        Articles a feed at most, newest first as the feed has them; 0 is no limit.
    wait, clock
        For tests.
    """

    def __init__(
        self,
        feeds: Sequence[str],
        articles: bool = True,
        interval_s: float = 2.0,
        patience_s: float = 60.0,
        largest_mb: float = 5.0,
        timeout_s: float = 20.0,
        limit: int = 0,
        wait: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if isinstance(feeds, str) or not feeds:
            raise UsageError(f"feeds {feeds!r} of source 'news' is no list: write feeds = [\"https://host/rss\"]")
        if limit < 0:
            raise UsageError(f"limit {limit!r} of source 'news' is negative: choose how many articles, 0 for all")
        self._feeds, self._articles, self._limit = tuple(feeds), articles, limit
        self._politeness = Politeness(interval_s, patience_s, largest_mb, timeout_s)
        self._wait, self._clock = wait, clock

    def read(self, memory: dict[str, Any]) -> Iterator[Found | Left]:
        """Yield new articles, feed by feed; a feed that cannot be read does not keep the others from it."""
        hosts = frozenset(urlsplit(feed).hostname or "" for feed in self._feeds)
        visitor = Visitor(self._politeness, hosts=hosts, wait=self._wait)
        failed: list[SourceError] = []
        try:
            for feed in self._feeds:
                try:
                    yield from self._feed(feed, visitor, memory)
                except SourceError as error:
                    failed.append(error)
                    yield Left(where=shown(feed), reason=reason_of(error), detail=str(error))
        finally:
            visitor.close()
        if len(failed) == len(self._feeds):
            raise failed[0]

    def _feed(self, feed: str, visitor: Visitor, memory: dict[str, Any]) -> Iterator[Found | Left]:
        marks: dict[str, Any] = memory.setdefault("marks", {})
        now, said = self._clock(), marks.get(shown(feed)) or {}
        page = visitor.get(feed, marks=said if 0 <= now - float(said.get("at", 0)) < _TRUSTED_S else None)
        if page.content is None:
            return
        parsed = _parsed(feed, page)
        read: list[str] = memory.setdefault("read", [])
        known, whole = set(read), True
        for entry in parsed.entries[: self._limit or None]:
            link = joined(page.url, str(entry.get("link", "")))
            name = _name(entry, link)
            if name in known:
                continue
            try:
                yield self._entry(entry, link, visitor)
            except RateLimitedError:
                raise
            except SourceError as error:
                reason = reason_of(error)
                yield Left(where=shown(link), reason=reason, detail=str(error))
                whole = whole and reason != "unavailable"
                if reason not in _FOR_GOOD:
                    continue
            known.add(name)
            read.append(name)
        del read[:-_KEPT]
        if whole:
            # Only now: an article that could not be had is asked for again when the feed is read again.
            marks[shown(feed)] = {**page.marks, "at": int(now)}

    def _entry(self, entry: Any, link: str, visitor: Visitor) -> Found | Left:
        title = _plain(entry.get("title", ""))
        date = iso_date(entry.get("published") or dict.get(entry, "updated"))
        if not self._articles or not entry.get("link"):
            text = "\n".join(part for part in (title, _plain(entry.get("summary", ""))) if part)
            return (
                Found(text=text, title=title, date=date, url=shown(link) if entry.get("link") else "")
                if text
                else Left(where=shown(link), reason="no text")
            )
        page = visitor.get(link)
        found = article(decode(page.content or b"", page.charset), url=page.url)
        if found is None:
            return Left(where=shown(link), reason="no article")
        return Found(text=found.text, title=title or found.title, date=date or found.date, url=shown(link))


def _parsed(feed: str, page: Page) -> Any:
    feedparser = needed("feedparser")
    try:
        parsed = feedparser.parse(page.content, response_headers={"content-location": page.url})
    except Exception as error:  # noqa: BLE001  (a parser of what comes from anywhere fails in any way)
        raise SourceFormatError(f"{shown(feed)!r} is no feed ({error!r:.200}): name an RSS or Atom feed") from None
    torn = isinstance(parsed.get("bozo_exception"), SAXException)
    if not parsed.entries and (torn or not parsed.get("version")):
        reason = parsed.get("bozo_exception", "no entries")
        raise SourceFormatError(f"{shown(feed)!r} is no feed ({reason}): name an RSS or Atom feed")
    return parsed


def _name(entry: Any, link: str) -> str:
    """Name an article; one without address and id by what it says."""
    said = f"{link}\n{entry.get('id', '')}"
    if not entry.get("link") and not entry.get("id"):
        said += f"\n{entry.get('title', '')}\n{entry.get('summary', '')}"
    return hashlib.sha256(said.encode("utf-8", "replace")).hexdigest()[:16]


def _plain(markup: str) -> str:
    """Return a title or summary without its markup."""
    import html
    import re

    return " ".join(html.unescape(re.sub(r"<[^<>]{0,500}>", " ", str(markup))).split())
