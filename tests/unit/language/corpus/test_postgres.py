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
