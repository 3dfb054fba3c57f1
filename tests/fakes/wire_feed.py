"""A wire's RSS feed and KAP's list on the site of `news_site`, with titles and times as a test wants them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any
from zlib import crc32

from tests.fakes.news_site import Answer, Site

LIST = "/tr/api/disclosure/members/byCriteria"


def rss(*items: tuple[str, str]) -> bytes:
    """Write a feed of (title, date as RSS has it; empty for none); an item's address follows from its title."""
    body = "".join(
        f"<item><title>{escape(title)}</title><link>http://wire.example/{crc32(title.encode())}</link>"
        f"<guid>{crc32(f'{title}{when}'.encode())}</guid>{f'<pubDate>{when}</pubDate>' if when else ''}</item>"
        for title, when in items
    )
    return f'<?xml version="1.0"?><rss version="2.0"><channel><title>wire</title>{body}</channel></rss>'.encode()


def serve_feed(web: Site, path: str, *items: tuple[str, str]) -> None:
    """Serve a feed that answers 304 to whoever has it."""
    content = rss(*items)
    etag = f'"{crc32(content)}"'

    def answer(headers: Mapping[str, str], body: bytes) -> Answer:
        if headers.get("if-none-match") == etag:
            return 304, {"etag": etag}, b""
        return 200, {"content-type": "application/rss+xml", "etag": etag}, content

    web.routes[path] = answer


def serve_kap(web: Site, days: Mapping[str, list[dict[str, Any]]]) -> None:
    """Serve KAP's list of announcements by day."""

    def answer(headers: Mapping[str, str], body: bytes) -> Answer:
        rows = days.get(json.loads(body)["fromDate"], [])
        return 200, {"content-type": "application/json"}, json.dumps(rows).encode()

    web.routes[LIST] = answer
