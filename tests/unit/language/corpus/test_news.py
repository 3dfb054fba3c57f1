"""News: feeds and articles over real HTTP on loopback, and every way in which a server can be difficult."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from tests.fakes.news_site import PARAGRAPHS, Answer, Site

from kalibre.core.errors import SourceError, SourceFormatError, SourceUnavailableError, UsageError
from kalibre.language.corpus.sources.base import Found, Left, open_source
from kalibre.language.corpus.sources.news import Source


class Waits(list[float]):
    """Notes how long it was asked to wait, and does not."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def read(web: Site, memory: dict[str, Any] | None = None, waits: Waits | None = None, **options: Any) -> list[Any]:
    given: dict[str, Any] = {
        "feeds": [f"{web.url}/rss"],
        "interval_s": 0.001,
        "wait": Waits() if waits is None else waits,
        **options,
    }
    return list(Source(**given).read({} if memory is None else memory))


def test_articles_of_a_feed(web: Site):
    web.feed("/rss", f"{web.url}/a", "/b")
    web.page("/a", "Endeks yükseldi")
    web.page(
        "/b",
        "Kur geriledi",
        "Dolar kuru haftanın son işlem gününde sert geriledi, ihracatçılar kararı değerlendiriyor.",
    )
    first, second = read(web)
    assert PARAGRAPHS[0] in first.text
    assert PARAGRAPHS[2] in first.text
    assert "Ana sayfa" not in first.text
    assert "hakları" not in first.text
    assert (first.title, first.date, first.url) == ("Haber 0", "2024-11-28T00:00:00+03:00", f"{web.url}/a")
    assert second.url == f"{web.url}/b"
    assert web.paths() == ["/robots.txt", "/rss", "/a", "/b"]
    assert all(headers["user-agent"].startswith("kalibre-corpus") for _, _, headers, _ in web.asked)


def test_summaries_alone(web: Site):
    web.feed("/rss", f"{web.url}/a")
    (found,) = read(web, articles=False)
    assert found.text == "Haber 0\nÖzet 0"
    assert "/a" not in web.paths()


def test_what_did_not_change_is_not_read_again(web: Site):
    web.feed("/rss", f"{web.url}/a", etag='"one"')
    web.page("/a", "Endeks yükseldi")
    memory: dict[str, Any] = {}
    assert len(read(web, memory)) == 1
    assert read(web, memory) == []
    assert web.asked[-1][2]["if-none-match"] == '"one"'
    web.feed("/rss", f"{web.url}/a", f"{web.url}/b", etag='"two"')
    web.page("/b", "Yeni haber")
    assert [found.url for found in read(web, memory)] == [f"{web.url}/b"]
    assert web.paths().count("/a") == 1


def test_last_modified_is_asked_with(web: Site):
    stamp = "Thu, 28 Nov 2024 10:00:00 GMT"
    web.feed("/rss", last_modified=stamp)
    memory: dict[str, Any] = {}
    read(web, memory)
    read(web, memory)
    assert web.asked[-1][2]["if-modified-since"] == stamp


def test_robots_are_asked_and_obeyed(web: Site):
    web.routes["/robots.txt"] = (200, {}, b"User-agent: *\nDisallow: /gizli\nCrawl-delay: 7")
    web.feed("/rss", f"{web.url}/gizli/a", f"{web.url}/b")
    web.page("/gizli/a", "Gizli")
    web.page("/b", "Açık")
    waits = Waits()
    left, found = read(web, waits=waits)
    assert isinstance(left, Left)
    assert left.reason == "robots"
    assert isinstance(found, Found)
    assert "/gizli/a" not in web.paths()
    assert max(waits) == pytest.approx(7, abs=1)


def test_robots_that_cannot_be_had_forbid_everything(web: Site):
    web.routes["/robots.txt"] = (500, {}, b"")
    web.feed("/rss", f"{web.url}/a")
    with pytest.raises(SourceError, match=r"robots\.txt"):
        read(web)
    assert set(web.paths()) == {"/robots.txt"}


def test_a_redirect_is_followed_by_the_rules(web: Site):
    web.routes["/robots.txt"] = (200, {}, b"User-agent: kalibre-corpus\nDisallow: /gizli")
    web.routes["/eski"] = (301, {"location": "/yeni"}, b"")
    web.routes["/kapi"] = (302, {"location": "/gizli/a"}, b"")
    web.routes["/dongu"] = (302, {"location": "/dongu"}, b"")
    web.page("/yeni", "Taşınan haber")
    web.feed("/rss", f"{web.url}/eski", f"{web.url}/kapi", f"{web.url}/dongu")
    found = read(web)
    assert [one.reason if isinstance(one, Left) else one.url for one in found] == [
        f"{web.url}/eski",
        "robots",
        "unavailable",
    ]
    assert "/gizli/a" not in web.paths()


def test_a_link_into_a_private_network_is_refused(web: Site):
    port = web.url.rpartition(":")[2]
    web.feed("/rss", f"http://127.0.0.2:{port}/a", "http://169.254.169.254/latest/meta-data", "file:///etc/passwd")
    web.page("/a", "Ev ağı")
    assert [one.reason for one in read(web)] == ["refused", "refused", "unreadable"]
    assert "/a" not in web.paths()


def test_429_with_retry_after_is_waited_for(web: Site):
    answers = [(429, {"retry-after": "3"}, b""), (503, {}, b"")]
    web.page("/a", "Sonunda")
    page = web.routes["/a"]

    def route(headers: Mapping[str, str], body: bytes) -> Answer:
        return answers.pop(0) if answers else page  # type: ignore[return-value]

    web.routes["/a"] = route
    web.feed("/rss", f"{web.url}/a")
    waits = Waits()
    (found,) = read(web, waits=waits)
    assert isinstance(found, Found)
    assert 3.0 in waits
    assert web.paths().count("/a") == 3


def test_more_patience_than_there_is_ends_the_source(web: Site):
    web.routes["/rss"] = (429, {"retry-after": "9999"}, b"")
    waits = Waits()
    with pytest.raises(SourceError, match="come back in 9999 s"):
        read(web, waits=waits)
    assert max(waits, default=0) < 100


def test_an_article_that_could_not_be_had_is_asked_for_again(web: Site):
    web.feed("/rss", f"{web.url}/a", etag='"one"')
    web.routes["/a"] = (500, {}, b"")
    memory: dict[str, Any] = {}
    (left,) = read(web, memory)
    assert left.reason == "unavailable"
    assert web.paths().count("/a") == 3
    web.page("/a", "Düzeldi")
    (found,) = read(web, memory)
    assert isinstance(found, Found)


@pytest.mark.parametrize(
    ("charset", "told"),
    [
        ("utf-8", "; charset=iso-8859-1"),
        ("cp1254", "; charset=utf-8"),
        ("cp1254", ""),
        ("iso8859-9", "; charset=latin1"),
        ("utf-16", "; charset=utf-8"),
        ("utf-8-sig", ""),
    ],
)
def test_a_wrong_charset_does_not_spoil_the_text(web: Site, charset: str, told: str):
    web.feed("/rss", f"{web.url}/a")
    web.page("/a", "Şirket", charset=charset, told=told)
    (found,) = read(web)
    assert PARAGRAPHS[1] in found.text


@pytest.mark.parametrize(
    "link", ["http://[", "http://a:99999/x", "http://" + "a" * 300 + "/", "javascript:alert(1)", "//", "http:///x"]
)
def test_odd_links_break_nothing(web: Site, link: str):
    web.feed("/rss", link, f"{web.url}/b")
    web.page("/b", "Açık")
    left, found = read(web, timeout_s=2.0)
    assert isinstance(left, Left) or left.text == "Haber 0\nÖzet 0", "a link that is none at all is not there"
    assert isinstance(found, Found)


def test_broken_compression_is_an_outage(web: Site):
    web.feed("/rss", f"{web.url}/a")
    web.routes["/a"] = (200, {"content-encoding": "gzip", "content-type": "text/html"}, b"no gzip at all")
    assert [one.reason for one in read(web)] == ["unavailable"]


def test_a_server_that_trickles_is_given_up(web: Site, monkeypatch: pytest.MonkeyPatch):
    import time as clock

    from kalibre.language.corpus.sources import _visitor

    web.feed("/rss", f"{web.url}/a")
    web.page("/a", "Yavaş", *["Uzun bir haber metni burada akıp gidiyor ve hiç bitmiyor gibi."] * 9_000)
    ticks = iter(range(0, 10**9, 5))

    class Slow:
        time = staticmethod(clock.time)
        sleep = staticmethod(clock.sleep)

        @staticmethod
        def monotonic() -> float:
            return float(next(ticks))

    monkeypatch.setattr(_visitor, "time", Slow)
    assert [one.reason for one in read(web, timeout_s=3.0)] == ["unavailable"]


def test_ten_megabytes_are_not_read(web: Site):
    web.feed("/rss", f"{web.url}/a", f"{web.url}/b")
    web.page("/a", "Dev", *["Uzun bir haber metni burada akıp gidiyor ve hiç bitmiyor gibi görünüyor." * 10] * 14_000)
    web.page("/b", "Küçük")
    left, found = read(web)
    assert (left.reason, left.where) == ("too large", f"{web.url}/a")
    assert isinstance(found, Found)


def test_a_feed_with_broken_xml_gives_what_can_be_read(web: Site):
    web.feed("/rss", f"{web.url}/a", f"{web.url}/b")
    whole = web.routes["/rss"]({}, b"")  # type: ignore[operator]
    web.routes["/rss"] = (200, {}, whole[2][: whole[2].index(b"<title>Haber 1")])
    web.page("/a", "Sağlam")
    assert isinstance(read(web)[0], Found)


@pytest.mark.parametrize("content", [b"", b"<html><body>giris yapin</body></html>", b"{}", b"\x00\xff" * 50, b"<rss"])
def test_what_is_no_feed_is_refused(web: Site, content: bytes):
    web.routes["/rss"] = (200, {"content-type": "text/html"}, content)
    with pytest.raises(SourceFormatError, match="is no feed"):
        read(web)


def test_a_page_without_an_article_is_left(web: Site):
    web.feed("/rss", f"{web.url}/a", f"{web.url}/b")
    web.routes["/a"] = (200, {"content-type": "text/html"}, b"<html><body></body></html>")
    web.routes["/b"] = (200, {"content-type": "application/pdf"}, b"%PDF-1.7 \x00\x00\x00\x00\x00\x00")
    assert [one.reason for one in read(web)] == ["no article", "unreadable"]


def test_one_feed_that_fails_does_not_keep_the_others_from_being_read(web: Site):
    web.feed("/rss", f"{web.url}/a")
    web.page("/a", "Açık")
    found = read(web, feeds=[f"{web.url}/yok", f"{web.url}/rss"])
    assert [type(one) for one in found] == [Left, Found]
    with pytest.raises(SourceUnavailableError, match="answers 404"):
        read(web, feeds=[f"{web.url}/yok"])


def test_a_host_is_asked_no_faster_than_said(web: Site):
    web.feed("/rss", f"{web.url}/a", f"{web.url}/b")
    web.page("/a", "Bir")
    web.page("/b", "İki")
    waits = Waits()
    read(web, waits=waits, interval_s=5.0)
    assert len([wait for wait in waits if wait == pytest.approx(5, abs=1)]) == 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"feeds": "https://x/rss"}, "is no list"),
        ({"feeds": []}, "is no list"),
        ({"feeds": ["https://x/rss"], "interval_s": 0}, "interval_s 0"),
        ({"feeds": ["https://x/rss"], "speed": 3}, "option 'speed'"),
        ({}, "needs the option 'feeds'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], words: str):
    with pytest.raises(UsageError, match=words):
        open_source("news", options)


def feed_of(*items: str) -> Answer:
    xml = f'<?xml version="1.0"?><rss version="2.0"><channel><title>t</title>{"".join(items)}</channel></rss>'
    return 200, {"content-type": "application/rss+xml"}, xml.encode()


def test_items_without_address_and_id_are_all_read_and_once(web: Site):
    web.routes["/rss"] = feed_of(*(f"<item><title>Duyuru {i}</title></item>" for i in range(3)))
    memory: dict[str, Any] = {}
    assert [one.text for one in read(web, memory)] == ["Duyuru 0", "Duyuru 1", "Duyuru 2"]
    memory["marks"] = {}
    assert read(web, memory) == []


def test_an_article_that_is_gone_is_not_asked_for_again(web: Site):
    web.feed("/rss", f"{web.url}/yok", f"{web.url}/dev", etag='"one"')
    web.routes["/dev"] = (200, {}, b"x" * 2_000_000)
    memory: dict[str, Any] = {}
    assert [one.reason for one in read(web, memory, largest_mb=1)] == ["gone", "too large"]
    web.feed("/rss", f"{web.url}/yok", f"{web.url}/dev", etag='"two"')
    assert read(web, memory, largest_mb=1) == []
    assert web.paths().count("/yok") == web.paths().count("/dev") == 1


def test_a_server_that_always_says_nothing_is_new_is_asked_whole_once_a_day(web: Site):
    web.feed("/rss", f"{web.url}/a", etag='"same"')
    web.page("/a", "Bir")
    now, memory = [1_000.0], dict[str, Any]()
    assert len(read(web, memory, clock=lambda: now[0])) == 1
    web.feed("/rss", f"{web.url}/a", f"{web.url}/b", etag='"same"')
    web.page("/b", "İki")
    now[0] += 3_600
    assert read(web, memory, clock=lambda: now[0]) == []
    now[0] += 86_400
    assert [one.url for one in read(web, memory, clock=lambda: now[0])] == [f"{web.url}/b"]


def test_dates_as_turkish_feeds_write_them(web: Site):
    told = ("Per, 28 Kas 2024 10:00:00 +0300", "28 Kasım 2024 10:00", "1900-01-01T00:00:00+01:56:56", "yakında", "")
    web.routes["/rss"] = feed_of(
        *(f"<item><title>Haber {i}</title><pubDate>{date}</pubDate></item>" for i, date in enumerate(told))
    )
    assert [one.date for one in read(web)] == ["2024-11-28T10:00:00+03:00", "2024-11-28T10:00:00", "", "", ""]


def test_a_date_that_only_stands_somewhere_on_a_page_is_none(web: Site):
    web.routes["/rss"] = feed_of(f"<item><title>Haber</title><link>{web.url}/a</link></item>")
    web.page("/a", "Haber", *PARAGRAPHS, "Şirket 12.03.2015 tarihinde kuruldu. © 2019 bütün haklar saklıdır.")
    (found,) = read(web)
    assert found.date == ""
    web.page("/a", '<meta name="date" content="2024-11-28T10:00:00+03:00">Haber')
    assert read(web)[0].date == "2024-11-28T10:00:00+03:00"


def test_a_feed_that_unfolds_without_end_is_refused(web: Site):
    names = [f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 9)]
    head = f'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a0 "aaaaaaaaaa">{"".join(names)}]>'
    items = "<item><title>&a8;</title></item><item><title>Sağlam</title></item>"
    web.routes["/rss"] = (200, {}, f"{head}<rss version='2.0'><channel>{items}</channel></rss>".encode())
    assert sum(len(getattr(one, "text", "")) for one in read(web)) < 1_000


def test_a_password_in_an_address_is_neither_told_nor_kept(web: Site):
    secret = web.url.replace("//", "//ali:sifre123@")
    web.feed("/rss", "/a", "/yok")
    web.page("/a", "Haber")
    memory: dict[str, Any] = {}
    found = read(web, memory, feeds=[f"{secret}/rss"])
    assert [type(one) for one in found] == [Found, Left]
    assert "sifre123" not in f"{found}{memory}"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"feeds": [1]}, "feeds = "),
        ({"feeds": ["https://x/rss"], "interval_s": "2"}, "without quotation marks"),
        ({"feeds": ["https://x/rss"], "articles": "no"}, "without quotation marks"),
        ({"feeds": ["https://x/rss"], "limit": 1.5}, "limit = 1.5"),
        ({"feeds": ["https://x/rss"], "limit": -1}, "limit -1"),
        ({"feeds": ["https://x/rss"], "interval_s": float("inf")}, "interval_s inf"),
    ],
)
def test_options_of_another_kind_are_refused(options: dict[str, Any], words: str):
    with pytest.raises(UsageError, match=words):
        open_source("news", options)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, web: Site):
    import sys

    web.feed("/rss", f"{web.url}/a")
    monkeypatch.setitem(sys.modules, "feedparser", None)
    with pytest.raises(UsageError, match=r"feedparser.*pip install 'kalibre\[corpus\]'"):
        read(web)
