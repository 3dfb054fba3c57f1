"""KAP: the shapes of its list (written here after its site), its pages, and what else may come back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from tests.fakes.news_site import PARAGRAPHS, Answer, Site

from kalibre.core.errors import SourceError, SourceFormatError, UsageError
from kalibre.language.corpus.sources.base import Found, Left
from kalibre.language.corpus.sources.kap import Source

LIST = "/tr/api/disclosure/members/byCriteria"


def row(index: int, **more: Any) -> dict[str, Any]:
    return {
        "publishDate": "28.11.2024 18:05:12",
        "kapTitle": "ÖRNEK HAVACILIK A.Ş.",
        "stockCodes": "ORNEK",
        "subject": "Yeni İş İlişkisi",
        "summary": "Filo sözleşmesi hakkında",
        "disclosureClass": "ODA",
        "disclosureIndex": index,
        **more,
    }


def serve(web: Site, days: Mapping[str, Any]) -> None:
    def answer(headers: Mapping[str, str], body: bytes) -> Answer:
        asked = json.loads(body)
        assert asked["fromDate"] == asked["toDate"]
        return 200, {"content-type": "application/json"}, json.dumps(days.get(asked["fromDate"], [])).encode()

    web.routes[LIST] = answer


def read(web: Site, memory: dict[str, Any] | None = None, **options: Any) -> list[Any]:
    given = {"since": "2024-11-27", "until": "2024-11-28", "interval_s": 0.001, "wait": lambda s: None, **options}
    return list(Source(base=web.url, **given).read({} if memory is None else memory))


def test_announcements_of_two_days(web: Site):
    serve(web, {"2024-11-27": [row(1)], "2024-11-28": [row(3, disclosureClass="FR"), row(2)]})
    for index in (1, 2, 3):
        web.page(f"/tr/Bildirim/{index}", "Bildirim")
    found = read(web)
    assert [one.url.rpartition("/")[2] for one in found] == ["1", "2", "3"]
    assert found[0].title == "ÖRNEK HAVACILIK A.Ş.: Yeni İş İlişkisi"
    assert found[0].date == "2024-11-28T18:05:12+03:00"
    assert found[0].text.startswith("ÖRNEK HAVACILIK A.Ş.: Yeni İş İlişkisi\nFilo sözleşmesi hakkında\n")
    assert PARAGRAPHS[1] in found[0].text
    assert [one.url.rpartition("/")[2] for one in read(web, classes=["FR"])] == ["3"]


@pytest.mark.parametrize("wrap", [lambda one: {"basic": one}, lambda one: {"disclosureBasic": one}])
def test_rows_of_the_older_shapes(web: Site, wrap: Any):
    old = {"disclosureIndex": 7, "companyName": "ESKİ A.Ş.", "title": "Finansal Rapor", "publishDate": "28.11.24 18:05"}
    serve(web, {"2024-11-28": [wrap(old)]})
    (found,) = read(web, pages=False)
    assert (found.text, found.date) == ("ESKİ A.Ş.: Finansal Rapor", "2024-11-28T18:05:00+03:00")
    assert web.paths() == ["/robots.txt", LIST, LIST]


def test_the_next_build_goes_on(web: Site):
    days = {"2024-11-27": [row(1)], "2024-11-28": [row(2)]}
    serve(web, days)
    memory: dict[str, Any] = {}
    assert len(read(web, memory, pages=False)) == 2
    days["2024-11-28"].append(row(4))
    before = len(web.asked)
    assert [one.url.rpartition("/")[2] for one in read(web, memory, pages=False)] == ["4"]
    assert len(web.asked) == before + 2, "robots.txt and the last day only"
    json.dumps(memory)


def test_a_page_that_is_gone_is_left_and_asked_for_again(web: Site):
    serve(web, {"2024-11-28": [row(2)]})
    memory: dict[str, Any] = {}
    (left,) = read(web, memory)
    assert isinstance(left, Left)
    web.page("/tr/Bildirim/2", "Bildirim")
    assert isinstance(read(web, memory)[0], Found)


def test_a_full_list_is_told(web: Site):
    serve(web, {"2024-11-28": [row(i) for i in range(2_000)]})
    found = read(web, pages=False)
    assert found[0].reason == "list full"
    assert len(found) == 2_001


def test_rows_without_an_index_are_left(web: Site):
    serve(web, {"2024-11-28": [{"subject": "x"}, row(5)]})
    assert [type(one) for one in read(web, pages=False)] == [Found, Left]


@pytest.mark.parametrize("content", [b"<html>bakim</html>", b"", b'{"error": "x"}', b"[1, 2]", b'"text"'])
def test_another_shape_is_refused(web: Site, content: bytes):
    web.routes[LIST] = (200, {"content-type": "application/json"}, content)
    with pytest.raises(SourceFormatError, match="KAP's list of 2024-11-27"):
        read(web)


def test_a_refusal_ends_it(web: Site):
    web.routes[LIST] = (403, {}, b"")
    with pytest.raises(SourceError, match="answers 403"):
        read(web)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"since": "27.11.2024"}, "is no day"), ({"since": "2024-12-01", "until": "2024-11-01"}, "is after until")],
)
def test_wrong_days_are_refused(options: dict[str, str], words: str):
    with pytest.raises(UsageError, match=words):
        Source(**options)


def test_without_a_day_it_reads_the_last_week(web: Site):
    serve(web, {})
    list(Source(base=web.url, today="2024-11-28", interval_s=0.001, wait=lambda s: None).read({}))
    days = [json.loads(body)["fromDate"] for method, _, _, body in web.asked if method == "POST"]
    assert (days[0], days[-1], len(days)) == ("2024-11-21", "2024-11-28", 8)


def test_after_a_long_pause_no_day_is_left_out(web: Site):
    serve(web, {})
    memory = {"day": "2024-11-10", "read": []}
    list(Source(base=web.url, today="2024-11-28", interval_s=0.001, wait=lambda s: None).read(memory))
    days = [json.loads(body)["fromDate"] for method, _, _, body in web.asked if method == "POST"]
    assert (days[0], len(days)) == ("2024-11-10", 19)


@pytest.mark.parametrize("inside", [None, "x", [], 5])
def test_rows_with_missing_or_odd_fields_break_nothing(web: Site, inside: Any):
    odd = {"disclosureIndex": 1, "basic": inside, "disclosureBasic": inside, "subject": None, "publishDate": inside}
    serve(web, {"2024-11-28": [odd, row(2, publishDate=None, kapTitle=None, summary=None)]})
    left, found = read(web, pages=False)
    assert (left.where, left.reason) == ("KAP 1", "no text")
    assert (found.text, found.date) == ("Yeni İş İlişkisi", "")


def test_an_announcement_missed_on_a_day_that_is_over_is_asked_for_again(web: Site):
    serve(web, {"2024-11-27": [row(1), row(2)], "2024-11-28": [row(3)]})
    for index in (1, 3):
        web.page(f"/tr/Bildirim/{index}", "Bildirim")
    web.routes["/tr/Bildirim/2"] = (500, {}, b"")
    memory: dict[str, Any] = {}
    assert [type(one) for one in read(web, memory)] == [Found, Left, Found]
    assert memory["missed"] == {"2024-11-27": ["2"]}
    json.dumps(memory)
    assert [one.reason for one in read(web, memory)] == ["unavailable"]
    web.page("/tr/Bildirim/2", "Bildirim")
    (found,) = read(web, memory)
    assert found.url.endswith("/2")
    assert memory["missed"] == {}
    assert read(web, memory) == []
    memory["missed"] = {"2024-09-01": ["9"]}
    (left,) = read(web, memory)
    assert (left.reason, memory["missed"]) == ("given up", {})


def test_a_time_with_a_zone_keeps_it(web: Site):
    told = ("2024-11-28T18:05:00-05:00", "2024-11-28T18:05:00Z", "28.11.2024 18:05")
    serve(web, {"2024-11-28": [row(i, publishDate=date) for i, date in enumerate(told, start=1)]})
    assert [one.date for one in read(web, pages=False)] == [
        "2024-11-28T18:05:00-05:00",
        "2024-11-28T18:05:00+00:00",
        "2024-11-28T18:05:00+03:00",
    ]


def test_classes_are_a_list():
    with pytest.raises(UsageError, match=r"classes 'ODA' of source 'kap' is no list"):
        Source(classes="ODA")
