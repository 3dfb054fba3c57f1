"""Texts from a table or query of a PostgreSQL database, read only, through a server-side cursor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kalibre.core.errors import SourceError, SourceFormatError, SourceUnavailableError, UsageError
from kalibre.language.corpus.sources.base import DATE, LICENCE, TEXT, TITLE, URL, Found, Left, iso_date, pick

_ROWS = 500


class Source:
    """Texts from a query.

    Parameters
    ----------
    database
        `postgresql://user@host/name`, or any connection string of libpq.
    query
        For example `SELECT title, body AS text, published_at AS date FROM articles`. It is read in a read-only
        transaction: what would write fails.
    text, title, date, url
        Columns, where they have other names than usual.
    after
        Column that only grows (an id, a time of insertion): the next build reads only rows beyond the last.
    """

    def __init__(
        self,
        database: str,
        query: str,
        text: str = "",
        title: str = "",
        date: str = "",
        url: str = "",
        after: str = "",
    ) -> None:
        if not query.strip():
            raise UsageError("query of source 'postgres' is empty: write for example SELECT title, body AS text FROM t")
        from psycopg import Error, conninfo

        try:
            conninfo.conninfo_to_dict(database)
        except Error:
            # Its message quotes the string, password and all.
            raise UsageError(
                "database of source 'postgres' is no connection string: write postgresql://user@host/name"
            ) from None
        self._database, self._query, self._after = database, query.strip().rstrip(";"), after
        self._columns = (text, title, date, url)

    def read(self, memory: dict[str, Any]) -> Iterator[Found | Left]:
        """Yield a text a row."""
        import psycopg
        from psycopg import sql
        from psycopg.rows import dict_row

        # A comment at the query's end must not swallow the bracket; `%` is meant as it stands.
        query = sql.SQL(self._query.replace("%", "%%"))
        wrapped = sql.SQL("SELECT * FROM ({}\n) AS texts").format(query)
        given: list[Any] = []
        if self._after:
            column = sql.Identifier(self._after)
            if "after" in memory:
                wrapped += sql.SQL(" WHERE {} > %s").format(column)
                given.append(memory["after"])
            wrapped += sql.SQL(" ORDER BY {}").format(column)
        try:
            with psycopg.connect(self._database, connect_timeout=10) as connection:
                connection.read_only = True
                with connection.cursor("kalibre_corpus", row_factory=dict_row) as cursor:
                    cursor.itersize = _ROWS
                    cursor.execute(wrapped, given)
                    yield from self._rows(cursor, memory)
        except psycopg.OperationalError as error:
            # The message of a connection names host and user, never the password.
            raise SourceUnavailableError(f"the database of source 'postgres' cannot be read: {error}") from None
        except psycopg.Error as error:
            raise SourceFormatError(f"the query {self._query!r} of source 'postgres' fails: {error}") from None

    def _rows(self, cursor: Any, memory: dict[str, Any]) -> Iterator[Found | Left]:
        """Yield the rows; what is remembered is below any row that may still come, also if the database goes away."""
        last: Any = None
        for number, row in enumerate(cursor, start=1):
            at = row.get(self._after) if self._after else None
            if last is not None and at != last:
                memory["after"] = _plain(last)
            yield self._row(row, number)
            last = at if at is not None else last
        if last is not None:
            memory["after"] = _plain(last)

    def _row(self, row: dict[str, Any], number: int) -> Found | Left:
        text, title, date, url = self._columns
        for name in (*self._columns, self._after):
            if name and name not in row:
                raise SourceError(f"column {name!r} of source 'postgres' is not in the query: it has {', '.join(row)}")
        whole = pick(row, TEXT, text)
        if not whole.strip():
            return Left(where=f"row {number}", reason="no text", detail=f"columns {', '.join(row)}")
        when = next((row[name] for name in ((date,) if date else DATE) if row.get(name) is not None), "")
        return Found(
            text=whole,
            title=pick(row, TITLE, title),
            date=iso_date(when),
            url=pick(row, URL, url),
            licence=pick(row, LICENCE),
        )


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | str) else value.isoformat() if hasattr(value, "isoformat") else str(value)
