"""Texts from a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import psycopg
import pytest
from tests.fakes.postgres import Postgres, binaries_or_skip

from kalibre.core.errors import SourceError, SourceFormatError, SourceUnavailableError, UsageError
from kalibre.language.corpus.sources.postgres import Source


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = Postgres(binaries_or_skip())
    try:
        server.start()
        with psycopg.connect(server.url()) as connection:
            connection.execute("CREATE TABLE haberler (id int, baslik text, icerik text, tarih timestamp, note text)")
            for number in range(1, 1_201):
                row = (number, f"Haber {number}", f"%s metin {number}", datetime(2024, 1, 1, 10), "x")
                connection.execute("INSERT INTO haberler VALUES (%s, %s, %s, %s, %s)", row)
            connection.execute("INSERT INTO haberler VALUES (1201, NULL, NULL, NULL, NULL)")
        yield server.url()
    finally:
        server.stop()


def read(url: str, query: str, memory: dict[str, Any] | None = None, **options: Any) -> list[Any]:
    return list(Source(database=url, query=query, **options).read({} if memory is None else memory))


def test_rows_in_chunks(url: str):
    found = read(url, "SELECT * FROM haberler ORDER BY id;")
    assert len(found) == 1_201
    assert (found[0].text, found[0].title, found[0].date) == ("%s metin 1", "Haber 1", "2024-01-01T10:00:00")
    assert found[-1].reason == "no text"


def test_the_next_build_reads_only_what_came_since(url: str):
    memory: dict[str, Any] = {}
    assert len(read(url, "SELECT * FROM haberler WHERE id <= 5", memory, after="id")) == 5
    assert memory == {"after": 5}
    assert [one.text for one in read(url, "SELECT * FROM haberler WHERE id <= 7", memory, after="id")] == [
        "%s metin 6",
        "%s metin 7",
    ]
    assert read(url, "SELECT * FROM haberler WHERE id <= 7", memory, after="id") == []


def test_columns_by_choice(url: str):
    found = read(url, "SELECT * FROM haberler WHERE id = 1", text="note", title="icerik", date="tarih")
    assert (found[0].text, found[0].title) == ("x", "%s metin 1")
    with pytest.raises(SourceError, match="column 'yok' of source 'postgres'"):
        read(url, "SELECT * FROM haberler", text="yok")


@pytest.mark.parametrize(
    "query", ["DELETE FROM haberler", "SELECT 1) AS x; DELETE FROM haberler; --", "SELECT yok FROM haberler", "x"]
)
def test_what_would_write_or_cannot_be_read_is_refused(url: str, query: str):
    with pytest.raises(SourceFormatError, match="fails"):
        read(url, query)
    assert len(read(url, "SELECT * FROM haberler")) == 1_201


def test_a_database_that_is_not_there_is_an_outage_and_no_password_is_told():
    with pytest.raises(SourceUnavailableError) as error:
        read("postgresql://ali:sifre123@127.0.0.1:1/yok", "SELECT 1 AS text")
    assert "sifre123" not in str(error.value)


def test_an_empty_query_is_refused():
    with pytest.raises(UsageError, match="query of source 'postgres' is empty"):
        Source(database="x", query=" ")


def test_a_query_may_hold_percent_signs_and_end_in_a_comment(url: str):
    found = read(url, "SELECT icerik FROM haberler WHERE icerik LIKE '%metin 12' -- on iki")
    assert [one.text for one in found] == ["%s metin 12"]
    assert len(read(url, "SELECT * FROM haberler WHERE icerik LIKE '%metin 1_'", {"after": 11}, after="id")) == 8


def test_a_database_that_goes_away_half_way_goes_on_from_there(url: str):
    query = "SELECT id, id / 100 AS part, icerik, pg_sleep(0) FROM haberler WHERE id <= 1200"
    memory: dict[str, Any] = {}
    rows = Source(database=url, query=query, after="part").read(memory)
    seen = [next(rows).text for _ in range(250)]
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND query LIKE '%kalibre%'"
        )
    with pytest.raises(SourceUnavailableError):
        seen.extend(one.text for one in rows)
    assert 250 <= len(seen) < 1_000
    assert memory["after"] < int(seen[-1].split()[-1]) // 100, "a part that was not read to its end is read again"
    seen += [one.text for one in read(url, query, memory, after="part")]
    assert set(seen) == {f"%s metin {number}" for number in range(1, 1_201)}
    assert len(seen) < 1_200 + 200


@pytest.mark.parametrize("database", ["ali:sifre123@host/db", "host=x password=sifre123 nonsense"])
def test_a_wrong_connection_string_is_not_quoted(database: str):
    with pytest.raises(UsageError, match="no connection string") as error:
        Source(database=database, query="SELECT 1 AS text")
    assert "sifre123" not in str(error.value)


def test_bytes_are_read_as_text_and_odd_times_as_none(url: str):
    query = "SELECT convert_to('Şirket kârı', 'UTF8') AS text, timestamptz '1890-01-01' AS date"
    (found,) = read(f"{url}&options=-c%20timezone%3DEurope/Istanbul" if "?" in url else url, query)
    assert found.text == "Şirket kârı"
    assert found.date in ("", "1890-01-01T00:00:00+00:00")
