"""Bars from a real PostgreSQL: any table, any query, read only."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest
from tests.fakes.postgres import Postgres, binaries_or_skip

from kalibre.core.bars import Bars, concat
from kalibre.core.clock import ManualClock
from kalibre.core.errors import SourceError, SourceFormatError, SourceUnavailableError, UnknownSymbolError, UsageError
from kalibre.sources import open_source
from kalibre.sources.postgres import _without_secret

HOUR = 3_600_000
QUERY = "SELECT * FROM bist_historical WHERE date > '2020-01-01'"


def ms(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp() * 1_000)  # type: ignore[misc,arg-type]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = Postgres(binaries_or_skip())
    try:
        server.start()
        with psycopg.connect(server.url()) as connection:
            connection.execute(
                "CREATE TABLE bist_historical (ticker text, date date, acilis numeric, yuksek numeric, dusuk numeric, "
                "kapanis numeric, hacim bigint, note text)"
            )
            for number, ticker in enumerate(("THYAO", "GARAN")):
                for day in (5, 4, 3, 2):
                    row = (
                        ticker,
                        date(2020, 1, day),
                        10.1,
                        10.5,
                        9.9,
                        10.0 + number + day / 100,
                        48_060_000 + day,
                        "%x",
                    )
                    connection.execute("INSERT INTO bist_historical VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", row)
            old = ("THYAO", date(2019, 12, 31), 1, 1, 1, 1, 1, "old")
            connection.execute("INSERT INTO bist_historical VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", old)
            connection.execute(
                "CREATE TABLE many AS SELECT 1500000000000 + n * 60000 AS open_time, 1.5 AS open, 2 AS high, 1 AS low, "
                "1.25 AS close, n AS volume FROM generate_series(1, 25000) AS n"
            )
            connection.execute("CREATE SCHEMA market")
            connection.execute(
                "CREATE VIEW market.\"Local\" AS SELECT timestamp '2024-06-01 10:00' + n * interval '1h' AS \"Zaman\","
                ' 1.0 AS "Açılış", 2.0 AS "Yüksek", 0.5 AS "Düşük", CASE n WHEN 1 THEN NULL ELSE 1.5 END AS "Son", '
                '9 AS "Hacim" FROM generate_series(0, 3) AS n'
            )
            connection.execute(
                "CREATE TABLE words (date date, open text, high text, low text, close text, volume text)"
            )
            connection.execute("INSERT INTO words VALUES ('2024-01-02', '1', '2', 'bir', '1', '1')")
            connection.execute(
                "CREATE FUNCTION sly() RETURNS TABLE (date date, open float8, high float8, low float8, close float8, "
                "volume float8) LANGUAGE sql AS "
                "'DELETE FROM bist_historical; SELECT current_date, 1.0, 1.0, 1.0, 1.0, 1.0'"
            )
            connection.execute(
                "CREATE TABLE funding AS SELECT symbol, timestamptz '2020-01-01 00:00:00.003Z' + n * interval '8h' "
                "AS settled, (n - 3) * 0.0001 AS funding_rate FROM generate_series(9, 0, -1) AS n, "
                "(VALUES ('BTCUSDT'), ('ETHUSDT')) AS s (symbol)"
            )
        yield server.url()
    finally:
        server.stop()


def read(url: str, symbol: str, timeframe: str, limits: dict[str, int] | None = None, **options: Any) -> Bars:
    return concat(list(open_source("postgres", url=url, **options).history(symbol, timeframe, **(limits or {}))))


def rows_left(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM bist_historical").fetchone()
        assert row is not None
        return int(row[0])


def test_the_query_of_the_readme(url: str) -> None:
    bars = read(url, "THYAO", "1d", query=QUERY)
    assert bars.open_time.tolist() == [ms(2020, 1, day) for day in (2, 3, 4, 5)]
    assert bars.close.tolist() == [10.02, 10.03, 10.04, 10.05]
    assert bars.volume.tolist() == [48_060_002, 48_060_003, 48_060_004, 48_060_005]


@pytest.mark.parametrize(
    "query",
    [
        f"{QUERY};",
        f"{QUERY} -- the newer ones",
        f"{QUERY} AND note LIKE '%x' AND note <> '{{}}'",
        f"WITH q AS ({QUERY}) TABLE q",
    ],
)
def test_queries_as_people_write_them(url: str, query: str) -> None:
    assert len(read(url, "GARAN", "1d", query=query)) == 4


def test_a_range_is_narrowed_by_the_database(url: str) -> None:
    limits = {"start_ms": ms(2020, 1, 3), "end_ms": ms(2020, 1, 5)}
    assert read(url, "THYAO", "1d", limits, query=QUERY).close.tolist() == [10.03, 10.04]


def test_a_large_table_comes_in_chunks(url: str) -> None:
    parts = list(open_source("postgres", url=url, table="many").history("ANY", "1m"))
    assert [len(part) for part in parts] == [10_000, 10_000, 5_000]
    assert concat(parts).volume.tolist() == list(range(1, 25_001))
    limits = {"start_ms": 1_500_000_060_000, "end_ms": 1_500_000_180_000}
    assert read(url, "ANY", "1m", limits, table="many").volume.tolist() == [1, 2]


@pytest.mark.parametrize(("timezone", "hours"), [("UTC", 0), ("Europe/Istanbul", 3)])
def test_local_timestamps_turkish_names_and_nulls(url: str, timezone: str, hours: int) -> None:
    bars = read(url, "X", "1h", table="market.Local", timezone=timezone)
    assert bars.open_time[0] == ms(2024, 6, 1, 10) - hours * HOUR
    assert [value == value for value in bars.close] == [True, False, True, True]
    limits = {"start_ms": int(bars.open_time[1]), "end_ms": int(bars.open_time[3])}
    assert len(read(url, "X", "1h", limits, table="market.Local", timezone=timezone)) == 2


def test_the_open_bar_is_left_out(url: str) -> None:
    clock = ManualClock(ms(2020, 1, 5, 12))
    assert len(read(url, "THYAO", "1d", query=QUERY, clock=clock)) == 3


def test_an_unknown_symbol_lists_the_known(url: str) -> None:
    with pytest.raises(UnknownSymbolError, match=r"'AKBNK'.*GARAN, THYAO"):
        read(url, "AKBNK", "1d", query=QUERY)
    with pytest.raises(UnknownSymbolError, match=r"'B'.*of A"):
        list(open_source("postgres", url=url, table="many", symbol="A").history("B", "1m"))


def test_what_would_write_is_refused_and_does_not(url: str) -> None:
    before = rows_left(url)
    for query in ("SELECT * FROM sly()", "SELECT 1) AS a; COMMIT; DELETE FROM bist_historical; SELECT (1"):
        with pytest.raises(SourceError, match=r"would write|cannot be run"):
            read(url, "THYAO", "1d", query=query)
    with pytest.raises(SourceError, match="cannot be run"):
        read(url, "THYAO", "1d", query="DELETE FROM bist_historical RETURNING *")
    assert rows_left(url) == before


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"table": "nowhere"}, SourceError, r"'nowhere' cannot be run.*does not exist"),
        ({"query": "SELEKT 1"}, SourceError, r"'SELEKT 1' cannot be run.*syntax"),
        (
            {"query": "SELECT date, acilis, yuksek, dusuk, hacim FROM bist_historical"},
            SourceFormatError,
            r"for close.*'hacim'",
        ),
        ({"table": "words"}, SourceFormatError, r"no number or time.*\"bir\""),
        (
            {"query": "SELECT date::text, acilis, yuksek, dusuk, kapanis, hacim FROM bist_historical"},
            SourceFormatError,
            "cast it",
        ),
        (
            {"query": "SELECT NULL::date AS date, 1 AS o, 1 AS h, 1 AS l, 1 AS c, 1 AS v"},
            SourceFormatError,
            "holds NULL",
        ),
        ({"table": "bist_historical", "columns": {"close": "kapali"}}, UsageError, "no 'kapali'"),
    ],
)
def test_what_cannot_be_read_is_said(url: str, options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        read(url, "THYAO", "1d", **options)


def test_another_timeframe_is_refused(url: str) -> None:
    with pytest.raises(SourceFormatError, match="1d apart, not 1h"):
        read(url, "THYAO", "1h", query=QUERY)


def test_a_database_that_is_not_there_is_an_outage_and_no_password_is_told() -> None:
    url = "postgresql://me:geheim@127.0.0.1:9/x"
    with pytest.raises(SourceUnavailableError, match=r"me:\*\*\*@127\.0\.0\.1") as caught:
        read(url, "THYAO", "1d", table="t")
    assert "geheim" not in str(caught.value)
    assert _without_secret("host=h password=geheim user=u") == "host=h password=*** user=u"


@pytest.mark.parametrize("options", [{}, {"query": "SELECT 1", "table": "t"}, {"table": "t", "timezone": "Mars"}])
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        open_source("postgres", url="postgresql://x/y", **options)


def told(url: str, query: str, symbol: str = "BTCUSDT", **limits: int) -> list[tuple[int, float]]:
    source = open_source("postgres", url=url, table="many", funding_query=query)
    return list(source.funding(symbol, **{"start_ms": 0, "end_ms": 2**42, **limits}))  # type: ignore[attr-defined]


RATES = [(ms(2020, 1, 1) + 8 * k * HOUR + 3, pytest.approx((k - 3) * 1e-4)) for k in range(10)]


def test_funding_rates_come_oldest_first_of_one_symbol_within_the_range(url: str) -> None:
    query = "SELECT * FROM funding;"
    assert told(url, query) == RATES
    assert told(url, query, start_ms=RATES[2][0], end_ms=RATES[5][0]) == RATES[2:5]
    unix = (
        "SELECT extract(epoch FROM settled)::bigint AS time, funding_rate AS rate FROM funding WHERE symbol = 'BTCUSDT'"
    )
    assert told(url, unix, "ANY") == [(time - 3, rate) for time, rate in RATES]


def test_a_symbol_without_rates_has_none_and_is_named(url: str, caplog: pytest.LogCaptureFixture) -> None:
    assert told(url, "SELECT * FROM funding", "THYAO") == []
    assert "'THYAO'" in caplog.text
    source = open_source("postgres", url=url, table="many")
    assert list(source.funding("BTCUSDT", start_ms=0, end_ms=1)) == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("query", "error", "quoted"),
    [
        ("SELECT settled FROM funding", SourceFormatError, "no column for funding_rate.*settled"),
        ("SELECT settled, NULL::float8 AS rate FROM funding", SourceFormatError, "NULL"),
        ("SELECT settled, 'x' AS rate FROM funding", SourceFormatError, "no number or time"),
        ("SELECT symbol AS time, 0.1 AS rate FROM funding", SourceFormatError, "no date, timestamp or integer"),
        ("SELECT * FROM nowhere", SourceError, "cannot be run.*nowhere"),
        ("SELECT date AS time, open AS rate FROM sly()", SourceError, "would write"),
    ],
)
def test_what_is_no_funding_query_is_told(url: str, query: str, error: type[Exception], quoted: str) -> None:
    with pytest.raises(error, match=quoted):
        told(url, query)
    assert rows_left(url) == 9
