"""The text of an HTML page, without its frame."""

from __future__ import annotations

from typing import Any

from kalibre.core.errors import UsageError
from kalibre.language.corpus.sources.base import Found, iso_date


def article(html: str, *, url: str = "") -> Found | None:
    """Return a page's article, or None where it has none.

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
    return Found(text=found.text, title=found.title or "", date=iso_date(found.date), url=url)
