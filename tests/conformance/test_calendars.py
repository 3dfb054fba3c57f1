"""Every calendar keeps its promises, on every timeframe; and Borsa Istanbul's known days are as they were."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from kalibre.bars.calendars import from_istanbul, get_calendar, grid, to_istanbul
from kalibre.core.errors import CalendarError
from kalibre.core.timeframe import DAY_MS, timeframe_ms

NAMES = ("24/7", "forex", "XIST", "XNYS")
TIMEFRAMES = ("1m", "15m", "1h", "4h", "1d", "1w")


def at(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp()) * 1000  # type: ignore[misc, arg-type]


START, END = at(2024, 3, 1), at(2024, 5, 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("timeframe", TIMEFRAMES)
class TestEveryCalendar:
    def test_expected_opens_rise_within_the_range_and_are_allowed(self, name: str, timeframe: str) -> None:
        calendar = get_calendar(name)
        opens = calendar.expected_opens(timeframe, START, END)
        assert opens.dtype == np.int64
        assert len(opens) > 5
        assert (np.diff(opens) > 0).all()
        assert opens[0] >= START
        assert opens[-1] < END
        assert all(calendar.allows(timeframe, int(time)) for time in opens[:: max(len(opens) // 200, 1)])
        assert not calendar.allows(timeframe, int(opens[3]) + 1)

    def test_a_range_is_the_sum_of_its_parts(self, name: str, timeframe: str) -> None:
        calendar = get_calendar(name)
        middle = at(2024, 4, 9, 8, 7)
        parts = [calendar.expected_opens(timeframe, *sides) for sides in ((START, middle), (middle, END))]
        np.testing.assert_array_equal(np.concatenate(parts), calendar.expected_opens(timeframe, START, END))
        assert calendar.expected_opens(timeframe, middle, middle).size == 0

    def test_a_bar_ends_after_it_opened_and_before_the_next(self, name: str, timeframe: str) -> None:
        calendar = get_calendar(name)
        opens = calendar.expected_opens(timeframe, START, END)[:300]
        ends = np.array([calendar.bar_end(timeframe, int(time)) for time in opens])
        assert (ends > opens).all()
        assert (ends <= opens + timeframe_ms(timeframe)).all()
        assert (ends[:-1] <= opens[1:]).all()

    def test_a_year_has_about_as_many_bars_as_expected(self, name: str, timeframe: str) -> None:
        calendar = get_calendar(name)
        year = len(calendar.expected_opens(timeframe, at(2023, 1, 1), at(2024, 1, 1)))
        assert calendar.bars_per_year(timeframe) == pytest.approx(year, rel=0.04)


@pytest.mark.parametrize("name", NAMES)
def test_every_bar_belongs_to_the_session_of_its_day(name: str) -> None:
    calendar = get_calendar(name)
    opens = calendar.expected_opens("15m", START, END)
    days = set(calendar.expected_opens("1d", START - 7 * DAY_MS, END + 7 * DAY_MS) // DAY_MS)
    assert set(calendar.session_date(opens).tolist()) <= days
    assert (np.diff(calendar.session_date(opens)) >= 0).all()


def test_borsa_istanbul_keeps_its_feasts_and_half_days() -> None:
    xist = get_calendar("XIST")
    days = {
        str(np.datetime64(int(time), "ms"))[:10] for time in xist.expected_opens("1d", at(2024, 1, 1), at(2025, 1, 1))
    }
    # Holidays of 2024: new year, the two feasts, 23 April, 1 May, 15 July, 30 August, 29 October.
    for closed in (
        "01-01",
        "04-10",
        "04-11",
        "04-12",
        "04-23",
        "05-01",
        "06-17",
        "06-18",
        "06-19",
        "07-15",
        "08-30",
        "10-29",
    ):
        assert f"2024-{closed}" not in days
    # Half days, eves of feasts and of the Republic: 10:00 to 12:30 in Istanbul, ten quarters of an hour.
    for day in ((2024, 4, 9), (2024, 10, 28)):
        quarters = xist.expected_opens("15m", at(*day), at(*day) + DAY_MS)
        assert len(quarters) == 10
        assert to_istanbul(int(quarters[0])).strftime("%H:%M") == "10:00"
    full = xist.expected_opens("15m", at(2024, 4, 8), at(2024, 4, 9))
    assert len(full) == 32
    assert to_istanbul(int(full[-1])).strftime("%H:%M") == "17:45"
    # The last hour of a half day ends with the session.
    hours = xist.expected_opens("1h", at(2024, 4, 9), at(2024, 4, 10))
    assert xist.bar_end("1h", int(hours[-1])) == at(2024, 4, 9, 9, 30)


def test_after_the_earthquake_the_exchange_was_closed() -> None:
    xist = get_calendar("XIST")
    days = xist.expected_opens("1d", at(2023, 2, 6), at(2023, 2, 16))
    assert [str(np.datetime64(int(time), "ms"))[5:10] for time in days] == ["02-06", "02-07", "02-15"]
    assert not xist.allows("1d", at(2023, 2, 8))  # opened, stopped, and its trades annulled


def test_call_auctions_may_be_bars_of_their_own() -> None:
    xist = get_calendar("XIST")
    assert xist.allows("5m", at(2024, 4, 8, 6, 55))  # 09:55, opening auction
    assert xist.allows("5m", at(2024, 4, 8, 15, 5))  # 18:05, closing auction
    assert not xist.allows("5m", at(2024, 4, 8, 15, 30))
    assert not xist.allows("5m", at(2024, 4, 8, 5, 0))


def test_daylight_saving_moves_new_york_and_forex_but_not_istanbul() -> None:
    for name, hours in (("XNYS", (14.5, 13.5)), ("XIST", (7.0, 7.0))):
        calendar = get_calendar(name)
        opens = [calendar.expected_opens("1h", at(2024, 3, day), at(2024, 3, day + 1))[0] for day in (8, 11)]
        assert [(int(time) % DAY_MS) / 3_600_000 for time in opens] == list(hours)
    forex = get_calendar("forex")
    assert forex.session_open(at(2024, 3, 10, 21, 30))  # Sunday 17:30 in New York, summer time
    assert not forex.session_open(at(2024, 3, 3, 21, 30))  # Sunday 16:30, winter time
    assert not forex.session_open(at(2024, 3, 9, 12))


def test_weeks_begin_on_monday() -> None:
    week = int(get_calendar("24/7").expected_opens("1w", at(2024, 1, 1), at(2024, 1, 9))[0])
    assert week == at(2024, 1, 1)
    assert grid(7 * DAY_MS, at(2024, 1, 2), at(2024, 1, 9)).tolist() == [at(2024, 1, 8)]


def test_wall_time_in_istanbul_there_and_back() -> None:
    for wall in (datetime(2010, 1, 15, 9, 30), datetime(2010, 7, 15, 9, 30), datetime(2024, 7, 15, 10, 0)):
        assert to_istanbul(from_istanbul(wall)).replace(tzinfo=None) == wall
    with pytest.raises(CalendarError, match="has a zone"):
        from_istanbul(datetime(2024, 1, 1, tzinfo=UTC))


def test_what_a_calendar_does_not_know_it_says() -> None:
    with pytest.raises(CalendarError, match="'XMARS' is unknown"):
        get_calendar("XMARS")
    with pytest.raises(CalendarError, match="knows the sessions of"):
        get_calendar("XIST").expected_opens("1d", at(1960, 1, 1), at(1961, 1, 1))
