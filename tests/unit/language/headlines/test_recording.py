from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from kalibre.bars.calendars import get_calendar
from kalibre.bars.news import NewsFeatures, news_rows
from kalibre.core.errors import FeatureError, LanguageError
from kalibre.language.base import AssetImpact
from kalibre.language.headlines.publication import known_ms
from kalibre.language.headlines.recording import Published, record, recorded_scores
from kalibre.language.headlines.score import Score, abstention
from kalibre.log import open_log

XIST, ALWAYS = get_calendar("XIST"), get_calendar("24/7")
HOUR = 3_600_000


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("published", "known"),
    [
        ("2023-04-12T15:30:00Z", "2023-04-12T15:30:00"),
        ("2023-04-12T18:30:00+03:00", "2023-04-12T15:30:00"),
        ("12.04.2023 18:30", "2023-04-12T15:30:00"),
        ("12/4/2023 18:30:15", "2023-04-12T15:30:15"),
        ("1681313400000", "2023-04-12T15:30:00"),
    ],
)
def test_a_time_is_known_then(published: str, known: str) -> None:
    assert known_ms(published, XIST) == _ms(known)


@pytest.mark.parametrize(
    ("published", "day"),
    [
        ("12.04.2023", "2023-04-13"),
        ("2023-04-14", "2023-04-17"),  # a Friday: known on Monday
        ("27.06.2023", "2023-07-03"),  # before the Feast of Sacrifice
        ("15.04.2023", "2023-04-17"),  # a Saturday
    ],
)
def test_a_date_alone_is_known_from_the_next_session_on(published: str, day: str) -> None:
    known = datetime.fromtimestamp(known_ms(published, XIST) / 1000, tz=UTC)
    assert known.date().isoformat() == day
    assert known_ms("12.04.2023", ALWAYS) == _ms("2023-04-13T00:00:00")


@pytest.mark.parametrize("published", ["", "yesterday", "31.02.2023", "2023-13-01", "12.04.1823", "12.04.2023 25:00"])
def test_what_is_no_time_is_refused(published: str) -> None:
    with pytest.raises(LanguageError, match="published"):
        known_ms(published, XIST)


def _score(asset: str = "THYAO", impact: float = 0.5, **changed: object) -> Score:
    said = {"asset": asset, "impact": impact, "horizon": "daily", "confidence": 0.8, "model": "m-1", **changed}
    return Score(**said)  # type: ignore[arg-type]


def test_headlines_and_scores_enter_the_log_once(tmp_path: Path) -> None:
    told = [
        Published("THYAO kâr açıkladı", "12.04.2023 11:00", "wire"),
        Published("Bir şey oldu", "12.04.2023 12:00", "wire"),
        Published("Dolar düştü, altın yükseldi", "12.04.2023", "notes"),
    ]
    scored = [
        (_score(), ""),
        (abstention("no words", model="m-1"), ""),
        (_score("USD", -0.5, also=(AssetImpact(asset="XAU", impact=0.25),)), "near"),
    ]
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        first = record(log, told, scored, calendar=XIST)  # type: ignore[arg-type]
        assert (first.headlines, first.scores) == (3, 3)
        again = record(log, told, scored, calendar=XIST)  # type: ignore[arg-type]
        assert (again.headlines, again.scores) == (0, 0)
        # A second run finds every score in its cache: that is no news.
        cached = record(log, told, [(score, "exact") for score, _ in scored], calendar=XIST)  # type: ignore[misc]
        assert (cached.headlines, cached.scores) == (0, 0)
        found = recorded_scores(log)
        kinds = [event.provenance for event in log.read(kinds={"headline_score"})]
    assert [(score.asset, score.impact) for _, score in found] == [("THYAO", 0.5), ("USD", -0.5), ("XAU", 0.25)]
    assert kinds == ["archive", "archive near", "archive near"]
    assert found[0][0] == _ms("2023-04-12T08:00:00")
    assert datetime.fromtimestamp(found[1][0] / 1000, tz=UTC).date().isoformat() == "2023-04-13"


def test_scored_live_it_is_known_when_the_score_was_there(tmp_path: Path) -> None:
    told = [Published("THYAO kâr açıkladı", "12.04.2023 11:00", "wire")]
    later = _ms("2023-04-12T08:00:07")
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        record(log, told, [(_score(), "")], calendar=XIST, live_at_ms=later)
        record(log, told, [(_score(), "")], calendar=XIST, live_at_ms=later + 9_000)
        assert [when for when, _ in recorded_scores(log)] == [later]


def test_the_same_words_on_another_day_are_news_again(tmp_path: Path) -> None:
    days = [Published("Borsa güne yükselişle başladı", f"{day}.04.2023 10:00", "wire") for day in (12, 13)]
    at = [_ms(f"2023-04-{day}T07:00:09") for day in (12, 13)]
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        for told, live_at_ms in ((days[0], at[0]), (days[0], at[0] + 60_000), (days[1], at[1]), (days[1], at[1] + 1)):
            record(log, [told], [(_score(), "")], calendar=XIST, live_at_ms=live_at_ms)
        assert [when for when, _ in recorded_scores(log)] == at


def test_an_unreadable_time_stores_nothing(tmp_path: Path) -> None:
    told = [Published("Bir", "12.04.2023", "wire"), Published("İki", "dün", "wire")]
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        with pytest.raises(LanguageError, match="'dün'"):
            record(log, told, [(_score(), ""), (_score(), "")], calendar=XIST)
        assert log.head() == 0


def test_a_note_of_a_day_is_not_in_that_days_bars(tmp_path: Path) -> None:
    """A planted leak: were a date read as its midnight, the day's own bars would know what was written about them."""
    told = [Published("THYAO güçlü kapattı", "12.04.2023", "notes")]
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        record(log, told, [(_score(), "")], calendar=XIST)
        scores = recorded_scores(log)
    closes = np.array([_ms("2023-04-12T10:00:00") + k * HOUR for k in range(24)], dtype=np.int64)
    rows = news_rows(scores, closes, {"THYAO": 1.0})
    same_day = closes < _ms("2023-04-12T21:00:00")
    assert not rows[same_day].any()
    assert rows[~same_day].any()


@pytest.mark.parametrize("relevance", [{}, {"A": 0.0}, {"A": 1.5}])
def test_weights_that_are_none_are_refused(relevance: dict[str, float]) -> None:
    with pytest.raises(FeatureError, match="relevance"):
        NewsFeatures(relevance)
