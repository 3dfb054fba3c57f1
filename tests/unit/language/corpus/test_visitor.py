"""The polite visitor: rules of robots.txt in every shape, packed answers that explode, marks that lie, addresses with
passwords."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest
from tests.fakes.news_site import Answer, Site

from kalibre.core.errors import RateLimitedError, SourceFormatError, SourceUnavailableError, UsageError
from kalibre.language.corpus.sources._answer import shown
from kalibre.language.corpus.sources._visitor import (
    GoneError,
    Page,
    Politeness,
    RobotsError,
    TooLargeError,
    Visitor,
    reason_of,
)


def visitor(**given: Any) -> Visitor:
    return Visitor(Politeness(0.001, 5.0, 1.0, 5.0), hosts=frozenset({"127.0.0.1"}), wait=lambda s: None, **given)


def get(url: str, **given: Any) -> Page:
    with closing(visitor()) as reader:
        return reader.get(url, **given)


FORBID = b"User-agent: *\nDisallow: /gizli"


def test_robots_that_moved_are_read_where_they_are_now(web: Site):
    web.routes["/robots.txt"] = (301, {"location": "/yeni-robots.txt"}, b"")
    web.routes["/yeni-robots.txt"] = (200, {}, FORBID)
    web.routes["/gizli"] = web.routes["/acik"] = (200, {}, b"x")
    assert get(f"{web.url}/acik").content == b"x"
    with pytest.raises(RobotsError):
        get(f"{web.url}/gizli")
    assert "/gizli" not in web.paths()


def test_robots_do_not_lead_into_a_private_network(web: Site):
    port = web.url.rpartition(":")[2]
    web.routes["/robots.txt"] = (302, {"location": f"http://127.0.0.2:{port}/sir"}, b"")
    web.routes["/a"] = (200, {}, b"x")
    with pytest.raises(RobotsError):
        get(f"{web.url}/a")
    assert web.paths() == ["/robots.txt"]


def test_of_huge_robots_the_first_half_megabyte_counts(web: Site):
    web.routes["/robots.txt"] = (200, {}, FORBID + b"\n# " + b"x" * 3_000_000)
    web.routes["/gizli"] = web.routes["/a"] = (200, {}, b"x")
    assert get(f"{web.url}/a").content == b"x"
    with pytest.raises(RobotsError):
        get(f"{web.url}/gizli")


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\xff" * 500,
        b"<html>404</html>",
        b"Crawl-delay: nan\nUser-agent: *\nCrawl-delay: -5",
        b"User-agent\nDisallow",
    ],
)
def test_robots_that_say_nothing_forbid_nothing(web: Site, content: bytes):
    web.routes["/robots.txt"] = (200, {}, content)
    web.routes["/a"] = (200, {}, b"x")
    assert get(f"{web.url}/a").content == b"x"


def test_rules_are_asked_for_again_after_a_day_and_sooner_where_they_could_not_be_had(web: Site):
    now = [0.0]
    web.routes["/a"] = (200, {}, b"x")
    web.routes["/robots.txt"] = (500, {}, b"")
    with closing(visitor(now=lambda: now[0])) as reader:
        with pytest.raises(RobotsError):
            reader.get(f"{web.url}/a")
        web.routes["/robots.txt"] = (200, {}, b"")
        now[0] = 700.0
        assert reader.get(f"{web.url}/a").content == b"x"
        web.routes["/robots.txt"] = (200, {}, b"User-agent: *\nDisallow: /")
        assert reader.get(f"{web.url}/a").content == b"x"
        now[0] = 90_000.0
        with pytest.raises(RobotsError):
            reader.get(f"{web.url}/a")


def test_a_packed_page_is_unpacked(web: Site):
    for name, content in (("gzip", gzip.compress(b"kur" * 9)), ("deflate", zlib.compress(b"kur" * 9))):
        web.routes["/a"] = (200, {"content-encoding": name}, content)
        assert get(f"{web.url}/a").content == b"kur" * 9
    assert web.asked[-1][2]["accept-encoding"] == "gzip"


def test_a_bomb_costs_no_more_than_is_read(web: Site):
    web.routes["/bomb"] = (200, {"content-encoding": "gzip"}, gzip.compress(b"0" * 200_000_000, 9))
    tracemalloc.start()
    with pytest.raises(TooLargeError):
        get(f"{web.url}/bomb")
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("gzip, gzip", gzip.compress(gzip.compress(b"0" * 10_000_000))),
        ("br", b"\x00\x01"),
        ("gzip", gzip.compress(b"kur" * 5_000)[:-12]),
    ],
    ids=["packed twice", "unasked for", "torn"],
)
def test_what_is_packed_twice_torn_or_unasked_for_is_not_read(web: Site, encoding: str, content: bytes):
    web.routes["/a"] = (200, {"content-encoding": encoding}, content)
    with pytest.raises(SourceUnavailableError, match="packed"):
        get(f"{web.url}/a")


@pytest.mark.parametrize("etag", ["\u00fc\u00fc", "x" * 5_000, "\u0130"])
def test_marks_that_cannot_be_sent_back_are_forgotten(web: Site, etag: str):
    web.routes["/a"] = (200, {"last-modified": "Thu, 28 Nov 2024 10:00:00 GMT"}, b"x")
    # What an earlier release kept must not lock a feed for ever.
    page = get(f"{web.url}/a", marks={"etag": etag})
    assert page.content == b"x"
    assert page.marks == {"last-modified": "Thu, 28 Nov 2024 10:00:00 GMT"}


def test_an_etag_in_another_alphabet_is_not_kept(web: Site):
    web.routes["/a"] = (200, {"etag": "\u00fc"}, b"x")
    assert get(f"{web.url}/a").marks == {}


def test_after_a_303_nothing_is_sent_again(web: Site):
    web.routes["/api"] = (303, {"location": "/sonuc"}, b"")
    web.routes["/sonuc"] = (200, {}, b"{}")
    assert get(f"{web.url}/api", post={"a": 1}).content == b"{}"
    assert [method for method, path, _, _ in web.asked if path == "/sonuc"] == ["GET"]


@pytest.mark.parametrize(("status", "gone"), [(404, True), (410, True), (403, True), (408, False), (500, False)])
def test_gone_is_told_from_out_of_order(web: Site, status: int, gone: bool):
    web.routes["/a"] = (status, {}, b"")
    with pytest.raises(SourceUnavailableError) as told:
        get(f"{web.url}/a")
    assert isinstance(told.value, GoneError) == gone
    assert reason_of(told.value) == ("gone" if gone else "unavailable")


def test_no_message_tells_a_password(web: Site):
    secret = web.url.replace("//", "//ali:sifre123@")
    answers: dict[str, Answer] = {
        "/yok": (404, {}, b""),
        "/bozuk": (500, {}, b""),
        "/dev": (200, {}, b"x" * 2_000_000),
        "/dongu": (302, {"location": "/dongu"}, b""),
        "/sonra": (429, {"retry-after": "999"}, b""),
    }
    web.routes |= answers
    web.routes["/robots.txt"] = (200, {}, FORBID)
    for path in (*answers, "/gizli"):
        with pytest.raises(Exception, match=r"127\.0\.0\.1") as told:
            get(secret + path)
        assert "sifre123" not in str(told.value), path


def test_addresses_are_shown_without_name_and_password():
    assert shown("https://a:b@host:8/x@y?z=1") == "https://host:8/x@y?z=1"
    assert shown("https://host/x") == "https://host/x"
    assert shown("no address") == "no address"


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_politeness_has_bounds(value: float):
    with pytest.raises(UsageError, match="interval_s"):
        Politeness(value, 1, 1)


def test_304_on_a_page_asked_for_whole_is_no_page(web: Site):
    def answer(headers: Mapping[str, str], body: bytes) -> Answer:
        return 304, {"content-encoding": "gzip"}, b""

    web.routes["/a"] = answer
    assert get(f"{web.url}/a").content is None


def test_a_wrong_address_is_quoted_in_short():
    with pytest.raises(SourceFormatError) as told:
        get("ftp://" + "x" * 5_000)
    assert len(str(told.value)) < 500


@pytest.mark.parametrize("told", ["\u00b2", "-5", "nan", "soon", "", "Thu, 28 Nov 1024 10:00:00 GMT", "0"])
def test_an_odd_retry_after_is_no_reason_to_fall_over(web: Site, told: str):
    web.routes["/a"] = (429, {"retry-after": told}, b"")
    with pytest.raises(SourceUnavailableError, match="answers 429, 3 times"):
        get(f"{web.url}/a")


def test_an_endless_retry_after_is_no_patience(web: Site):
    web.routes["/a"] = (503, {"retry-after": "9" * 400}, b"")
    with pytest.raises(RateLimitedError):
        get(f"{web.url}/a")
