"""The text of an HTML page, without its frame, and the date that it states."""

from __future__ import annotations

import html as markup
import re
from itertools import islice
from typing import Any

from kalibre.core.errors import UsageError
from kalibre.language.corpus.sources.base import Found, iso_date

_NAMES = (
    r"(?:article:published_time|og:published_time|datePublished|date|pubdate|publish-?date|dc\.date(?:\.issued)?"
    r"|dcterms\.(?:date|created|issued)|parsely-pub-date|sailthru\.date)"
)
_META = re.compile(r"<meta\b[^<>]{0,1000}>", re.IGNORECASE)
_NAME = re.compile(rf"""(?:property|name|itemprop)\s*=\s*["']{_NAMES}["']""", re.IGNORECASE)
_CONTENT = re.compile(r"""content\s*=\s*["']([^"']{4,60})["']""", re.IGNORECASE)
_DATA = re.compile(r'"datePublished"\s*:\s*"([^"]{4,60})"')
_TIME = re.compile(r"""<time\b[^<>]{0,500}?datetime\s*=\s*["']([^"']{4,60})["']""", re.IGNORECASE)

_MOST = 5
"""Dates that are looked at; a page has one."""


def article(html: str, *, url: str = "") -> Found | None:
    """Return a page's article, or None where it has none.

    Its date is the one that the page states for programs. A date somewhere on it (the year of the copyright, another
    story's day) is none: a wrong date is worse than no date.

    Raises
    ------
    UsageError
        If trafilatura is not installed.
    """
    try:
        import trafilatura
    except ImportError as error:
        raise UsageError(
            f"pages need the package 'trafilatura' ({error}): pip install 'kalibre[corpus]' lxml_html_clean"
        ) from None
    try:
        found: Any = trafilatura.bare_extraction(
            html,
            url=url or None,
            favor_precision=True,
            include_comments=False,
            include_tables=False,
            with_metadata=True,
        )
    except Exception:  # noqa: BLE001  (parsers of pages from anywhere fail in any way)
        return None
    if found is None or not (found.text or "").strip():
        return None
    return Found(text=found.text, title=found.title or "", date=published(html), url=url)


def published(html: str) -> str:
    """Return when a page says that it was published, as ISO; empty where it does not say.

    Examples
    --------
    >>> published('<meta property="article:published_time" content="2024-11-28T10:00:00+03:00"> © 2019')
    '2024-11-28T10:00:00+03:00'
    >>> published('<time datetime="2024-11-28">dün</time> <time datetime="2020-01-01">bir başka haber</time>')
    ''
    """
    told = (_CONTENT.search(tag) for tag in _META.findall(html) if _NAME.search(tag))
    found = [one[1] for one in islice(told, _MOST) if one] or _DATA.findall(html)[:1]
    if not found:
        # Of several times nobody knows whose they are.
        times = set(_TIME.findall(html))
        found = list(times) if len(times) == 1 else []
    return next((iso for iso in (iso_date(markup.unescape(one)) for one in found) if iso), "")
