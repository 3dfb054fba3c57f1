"""Times in any form: the round trip is exact, and day and month are told apart by proof or not at all."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalibre.core.errors import SourceFormatError, UsageError
from kalibre.sources.files.table import Table
from kalibre.sources.files.times import parse_times

FORMS = {"dmy": "{d:02}.{m:02}.{y:04}", "mdy": "{m:02}/{d:02}/{y:04}"}
DATES = st.lists(st.dates(date(1971, 1, 1), date(2100, 1, 1)), min_size=1, max_size=40, unique=True)


def read(*cells: str, **options: str) -> list[int]:
    frame = pl.DataFrame({"Tarih": list(cells)}, schema={"Tarih": pl.String})
    table = Table("'x.csv'", frame, [f"<{cell}>" for cell in cells], list(range(2, 2 + len(cells))))
    return parse_times(table, "Tarih", **options).tolist()


def ms(moment: date) -> int:
    at = moment if isinstance(moment, datetime) else datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    return round(at.timestamp() * 1_000)


def write(day: date, order: str) -> str:
    return FORMS[order].format(d=day.day, m=day.month, y=day.year)


@given(DATES, st.sampled_from(["dmy", "mdy"]))
def test_dates_read_back_when_the_order_is_said(days: list[date], order: str) -> None:
    assert read(*(write(day, order) for day in days), date_order=order) == [ms(day) for day in days]


@given(DATES, st.sampled_from(["dmy", "mdy"]), st.booleans())
def test_the_order_is_proved_or_refused_but_never_the_wrong_one(
    days: list[date], order: str, newest_first: bool
) -> None:
    days = sorted(days, reverse=newest_first)
    try:
        found = read(*(write(day, order) for day in days))
    except SourceFormatError as error:
        assert "date_order" in str(error)  # noqa: PT017 (both outcomes are lawful)
        return
    assert found == [ms(day) for day in days]


@given(st.integers(1, 12), st.integers(2000, 2030))
def test_a_month_of_days_or_a_year_of_months_is_not_guessed(month: int, year: int) -> None:
    with pytest.raises(SourceFormatError, match="can be read with the day or the month first"):
        read(*(f"{day:02}.{month:02}.{year}" for day in range(1, 11)))


def test_the_order_of_time_proves_the_order_of_the_numbers() -> None:
    days = [date(2024, 3, 11), date(2024, 3, 12), date(2024, 4, 1), date(2024, 4, 2)]
    assert read(*(write(day, "dmy") for day in days)) == [ms(day) for day in days]


def test_two_orders_in_one_file_are_refused_with_both_lines() -> None:
    with pytest.raises(SourceFormatError, match=r"'30\.06\.2025'.*'06\.30\.2025'.*line 2.*line 3"):
        read("30.06.2025", "06.30.2025")


@pytest.mark.parametrize(
    ("cell", "moment"),
    [
        ("2025-06-30", datetime(2025, 6, 30, tzinfo=UTC)),
        ("2025-06-30 10:15", datetime(2025, 6, 30, 10, 15, tzinfo=UTC)),
        ("2025-06-30T10:15:20Z", datetime(2025, 6, 30, 10, 15, 20, tzinfo=UTC)),
        ("2025-06-30T10:15:20.250000+03:00", datetime(2025, 6, 30, 7, 15, 20, 250_000, tzinfo=UTC)),
        ("2025-06-30 10:15:20-0430", datetime(2025, 6, 30, 14, 45, 20, tzinfo=UTC)),
        ("2024.01.02,00:15", datetime(2024, 1, 2, 0, 15, tzinfo=UTC)),
        ("20250630", datetime(2025, 6, 30, tzinfo=UTC)),
        ("20250630 10:15", datetime(2025, 6, 30, 10, 15, tzinfo=UTC)),
        ("30.06.2025 10:15", datetime(2025, 6, 30, 10, 15, tzinfo=UTC)),
        ("6/30/2025 9:05", datetime(2025, 6, 30, 9, 5, tzinfo=UTC)),
        ("1751278500", datetime(2025, 6, 30, 10, 15, tzinfo=UTC)),
        ("1751278500000", datetime(2025, 6, 30, 10, 15, tzinfo=UTC)),
        ("1751278500000000", datetime(2025, 6, 30, 10, 15, tzinfo=UTC)),
        ("1751278500000000000", datetime(2025, 6, 30, 10, 15, tzinfo=UTC)),
    ],
)
def test_forms_of_one_moment(cell: str, moment: datetime) -> None:
    assert read(cell) == [ms(moment)]


@given(st.datetimes(datetime(2017, 1, 1), datetime(2030, 1, 1)))
def test_istanbul_time_reads_back(moment: datetime) -> None:
    moment = moment.replace(microsecond=0)
    cell = moment.strftime("%Y-%m-%d %H:%M:%S")
    assert read(cell, timezone="Europe/Istanbul") == [ms(moment.replace(tzinfo=ZoneInfo("Europe/Istanbul")))]


def test_a_date_alone_is_that_day_in_every_zone() -> None:
    assert read("2025-06-30", timezone="Europe/Istanbul") == read("2025-06-30")


def test_an_hour_that_a_zone_has_twice_is_refused() -> None:
    with pytest.raises(SourceFormatError, match=r"twice or not at all.*UTC"):
        read("2024-11-03 01:30", timezone="America/New_York")


@pytest.mark.parametrize(
    "cell", ["31.02.2025", "2025-02-30", "2025-13-01", "00.01.2025", "2025-01-01 24:00", "2025-01-01 10:60"]
)
def test_a_time_that_does_not_exist_is_quoted(cell: str) -> None:
    with pytest.raises(SourceFormatError, match=r"does not exist.*line 2"):
        read(cell, date_order="dmy")


@pytest.mark.parametrize("cell", ["", "yesterday", "30.06.25", "12", "2025/06", "30 Haziran 2025"])
def test_what_is_no_time_is_quoted_with_its_line(cell: str) -> None:
    with pytest.raises(SourceFormatError, match="line 3"):
        read("2025-06-30", cell)


def test_mixed_forms_are_refused() -> None:
    with pytest.raises(SourceFormatError, match=r"form of the others.*line 3"):
        read("2025-06-30", "30.06.2025")
    with pytest.raises(SourceFormatError, match="names no zone"):
        read("2025-06-30 10:00Z", "2025-06-30 11:00")


def test_unknown_zone_and_order() -> None:
    with pytest.raises(UsageError, match="'Istanbul'"):
        read("2025-06-30", timezone="Istanbul")
    with pytest.raises(UsageError, match="'ymd'"):
        read("2025-06-30", date_order="ymd")


def test_typed_columns_of_parquet() -> None:
    start = datetime(2025, 6, 30, 10)
    for column, zone, expected in (
        (pl.Series([start.date()]), "UTC", ms(start.date())),
        (pl.Series([start]), "UTC", ms(start.replace(tzinfo=UTC))),
        (pl.Series([start]), "Europe/Istanbul", ms(start.replace(tzinfo=UTC) - timedelta(hours=3))),
        (
            pl.Series([start]).dt.replace_time_zone("Europe/Istanbul"),
            "UTC",
            ms(start.replace(tzinfo=UTC) - timedelta(hours=3)),
        ),
        (pl.Series([1_751_278_500_000_000]), "UTC", 1_751_278_500_000),
    ):
        table = Table("'x.parquet'", pl.DataFrame({"t": column}))
        assert parse_times(table, "t", timezone=zone).tolist() == [expected]
    for column in (pl.Series([True]), pl.Series([None], dtype=pl.Int64)):
        with pytest.raises(SourceFormatError):
            parse_times(Table("'x.parquet'", pl.DataFrame({"t": column})), "t")
