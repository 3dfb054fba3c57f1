"""Bars and funding rates from any table or query of a PostgreSQL database, read only, through server-side cursors."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar
from zoneinfo import ZoneInfo, available_timezones

import numpy as np

from kalibre.core.bars import OPTIONAL, REQUIRED, Bars
from kalibre.core.clock import Clock, SystemClock
from kalibre.core.errors import (
    SourceError,
    SourceFormatError,
    SourceUnavailableError,
    UnknownSymbolError,
    UsageError,
)
from kalibre.core.timeframe import timeframe_ms
from kalibre.sources.base import (
    CHUNK_BARS,
    check_range,
    check_step,
    epoch_unit,
    map_columns,
    map_rate_columns,
    without_open_bar,
)

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

logger = logging.getLogger(__name__)
_DATE, _TIMESTAMP, _TIMESTAMPTZ = 1082, 1114, 1184
_INTEGERS = frozenset({20, 21, 23})
_STEP_SAMPLE = 200  # bars that suffice to see of which timeframe they are


class Postgres:
    """Bars from a table or a query.

    Parameters
    ----------
    url
        `postgresql://user@host/database`, or any connection string of libpq.
    query
        For example `SELECT * FROM bist_historical WHERE date > '2020-01-01'`. It is read inside a read-only
        transaction, as a part of a larger query: what would write fails.
    table
        Instead of a query: a table or view, `schema.name`.
    columns
        Column by house name, for names that are not known by themselves (English, Turkish, Binance's and
        investing.com's are): `{"close": "uzlasma"}`.
    symbol_column
        Column that holds the symbol; `symbol`, `ticker`, `sembol`, `hisse`, `kod` are known by themselves.
    symbol
        The symbol that a table without such a column is of; empty: whatever is asked for.
    timezone
        Of timestamps without one. A date is kept as midnight UTC.
    funding_query
        Funding rates of perpetual futures, for example `SELECT time, symbol, funding_rate FROM funding`: a time, a
        rate as a fraction, and the symbol where the rows are of several.
    clock
        Tells which bar is still open, so that it is left out.

    Raises
    ------
    UsageError
        If not exactly one of `query` and `table` is given, or the zone is unknown.
    """

    name: ClassVar[str] = "postgres"

    def __init__(
        self,
        *,
        url: str,
        query: str = "",
        table: str = "",
        columns: Mapping[str, str] | None = None,
        symbol_column: str | None = None,
        symbol: str = "",
        timezone: str = "UTC",
        funding_query: str = "",
        clock: Clock | None = None,
    ) -> None:
        if bool(query.strip()) == bool(table.strip()):
            raise UsageError(f"query = {query!r} and table = {table!r}: give exactly one of them")
        if timezone not in available_timezones():
            raise UsageError(f"timezone {timezone!r} is unknown: write for example UTC or Europe/Istanbul")
        self._url = url
        self._query = query.strip().rstrip(";").strip()
        self._table = table.strip()
        self._columns = columns
        self._symbol_column = symbol_column
        self._symbol = symbol
        self._timezone = timezone
        self._clock = clock or SystemClock()
        # The rates are another relation of the same database, read by the same rules.
        self._rates = (
            Postgres(url=url, query=funding_query, symbol=symbol, timezone=timezone) if funding_query else None
        )

    def history(
        self, symbol: str, timeframe: str, *, start_ms: int | None = None, end_ms: int | None = None
    ) -> Iterator[Bars]:
        """Yield closed bars with `start_ms <= open_time < end_ms` in chunks, oldest first.

        The database sorts and narrows; rows come through a server-side cursor, so a table of any size takes the memory
        of a chunk. NULL is NaN.

        Raises
        ------
        SourceUnavailableError
            If the database cannot be reached.
        UnknownSymbolError
            If no row is of the symbol; the message lists some that are.
        SourceFormatError
            If columns are missing, hold what is no number or time, or the bars are of another timeframe.
        SourceError
            If the query fails or would write.
        """
        timeframe_ms(timeframe)
        check_range(start_ms, end_ms)
        with self._connected() as connection:
            yield from self._read(connection, symbol, timeframe, start_ms, end_ms)

    def funding(self, symbol: str, *, start_ms: int, end_ms: int) -> Iterator[tuple[int, float]]:
        """Yield (settlement, rate) with `start_ms <= settlement < end_ms`, oldest first; nothing without a query.

        Raises
        ------
        SourceError
            As `history`.
        """
        check_range(start_ms, end_ms)
        if self._rates is None:
            return
        try:
            with self._rates._connected() as connection:
                yield from self._rates._read_rates(connection, symbol, start_ms, end_ms)
        except UnknownSymbolError as error:
            # Bars of several symbols, of which some are no perpetuals: their bars are wanted all the same.
            logger.warning("no funding rates: %s", error)

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[Any]]:
        """Open a connection that can only read, and tell what goes wrong in the house's words."""
        import psycopg

        try:
            with psycopg.connect(self._url, connect_timeout=10, application_name="kalibre") as connection:
                connection.read_only = True
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                yield connection
        except psycopg.errors.ReadOnlySqlTransaction as error:
            raise SourceError(
                f"{self._what} would write ({_said(error)}): a source only reads; leave that out"
            ) from error
        except (psycopg.DataError, psycopg.errors.CannotCoerce) as error:
            raise SourceFormatError(
                f"{self._what} holds a value that is no number or time ({_said(error)}): cast or filter it in the query"
            ) from error
        except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:
            raise SourceError(f"{self._what} cannot be run: {_said(error)}") from error
        except psycopg.OperationalError as error:
            raise SourceUnavailableError(
                f"the database {_without_secret(self._url)} cannot be read: {_said(error)}; is it running, and are "
                "host, name and user right?"
            ) from error

    @property
    def _what(self) -> str:
        return f"table {self._table!r}" if self._table else f"query {self._query!r}"

    def _read(
        self,
        connection: psycopg.Connection[Any],
        symbol: str,
        timeframe: str,
        start_ms: int | None,
        end_ms: int | None,
    ) -> Iterator[Bars]:
        from psycopg import sql

        types = {column.name: column.type_code for column in self._describe(connection)}
        found = map_columns(list(types), self._columns, where=self._what, symbol_column=self._symbol_column)
        time = found["open_time"]
        unit = self._unit(connection, time, types[time])
        where = self._symbol_filter(connection, found.get("symbol"), symbol)
        where += self._within(time, types[time], unit, start_ms, end_ms)
        names = [name for name in (*REQUIRED[1:], *OPTIONAL) if name in found]
        selected = [self._as_ms(time, types[time], unit)]
        selected += [sql.SQL("{}::double precision").format(sql.Identifier(found[name])) for name in names]
        statement = self._ordered(selected, where, time)
        checked = False
        with connection.cursor(name="kalibre_bars") as cursor:
            cursor.itersize = CHUNK_BARS
            cursor.execute(statement)
            while rows := cursor.fetchmany(CHUNK_BARS):
                if any(row[0] is None for row in rows):
                    raise SourceFormatError(f"{self._what}: column {time!r} holds NULL, but a bar needs its time")
                values = list(zip(*rows, strict=True))
                columns = {name: np.array(values[i], dtype=np.float64) for i, name in enumerate(names, 1)}
                bars = Bars(
                    symbol=symbol, timeframe=timeframe, open_time=np.array(values[0], dtype=np.int64), **columns
                )
                if not checked:
                    check_step(bars.open_time[:_STEP_SAMPLE], timeframe, where=self._what)
                    checked = True
                bars = without_open_bar(bars, self._clock.now_ms())
                if len(bars):
                    yield bars

    def _read_rates(
        self, connection: psycopg.Connection[Any], symbol: str, start_ms: int, end_ms: int
    ) -> Iterator[tuple[int, float]]:
        from psycopg import sql

        types = {column.name: column.type_code for column in self._describe(connection)}
        found = map_rate_columns(list(types), where=self._what)
        time = found["time"]
        unit = self._unit(connection, time, types[time])
        where = self._symbol_filter(connection, found.get("symbol"), symbol)
        where += self._within(time, types[time], unit, start_ms, end_ms)
        rate = sql.SQL("{}::double precision").format(sql.Identifier(found["funding_rate"]))
        with connection.cursor(name="kalibre_rates") as cursor:
            cursor.execute(self._ordered([self._as_ms(time, types[time], unit), rate], where, time))
            for settled_ms, value in cursor:
                if settled_ms is None or value is None:
                    raise SourceFormatError(f"{self._what}: a rate or its time is NULL: filter it in the query")
                yield settled_ms, value

    def _ordered(self, selected: list[sql.Composable], where: list[sql.Composable], time: str) -> sql.Composed:
        from psycopg import sql

        return sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {}").format(
            sql.SQL(", ").join(selected),
            self._relation(),
            sql.SQL(" AND ").join([sql.SQL("TRUE"), *where]),
            sql.Identifier(time),
        )

    def _within(
        self, time: str, type_code: int, unit: int | None, start_ms: int | None, end_ms: int | None
    ) -> list[sql.Composable]:
        """Return the conditions that keep to a range."""
        from psycopg import sql

        return [
            sql.SQL("{} {} {}").format(
                sql.Identifier(time), sql.SQL(operator), sql.Literal(self._bound(limit_ms, type_code, unit))
            )
            for operator, limit_ms in ((">=", start_ms), ("<", end_ms))
            if limit_ms is not None
        ]

    def _relation(self) -> sql.Composable:
        from psycopg import sql

        if self._table:
            return sql.Identifier(*self._table.split("."))
        # The query is the user's own SQL; as a subquery in a read-only transaction it can do nothing but read.
        return sql.SQL("(") + sql.SQL(self._query) + sql.SQL("\n) AS kalibre_source")

    def _describe(self, connection: psycopg.Connection[Any]) -> list[psycopg.Column]:
        from psycopg import sql

        empty = sql.SQL("SELECT * FROM {} LIMIT 0").format(self._relation())
        # Prepared: the server then refuses a text that is more than one statement.
        return list(connection.execute(empty, prepare=True).description or [])

    def _unit(self, connection: psycopg.Connection[Any], time: str, type_code: int) -> int | None:
        """Return how many units of an integer time make a second; None for a time that the database knows as one."""
        from psycopg import sql

        if type_code in {_DATE, _TIMESTAMP, _TIMESTAMPTZ}:
            return None
        if type_code not in _INTEGERS:
            raise SourceFormatError(
                f"{self._what}: column {time!r} is no date, timestamp or integer: cast it in the query, for example "
                f"SELECT to_date({time}, 'DD.MM.YYYY') AS date, ..."
            )
        one = sql.SQL("SELECT {} FROM {} WHERE {} IS NOT NULL LIMIT 1")
        name = sql.Identifier(time)
        row = connection.execute(one.format(name, self._relation(), name)).fetchone()
        return epoch_unit(row[0]) if row else 1_000

    def _symbol_filter(
        self, connection: psycopg.Connection[Any], heading: str | None, symbol: str
    ) -> list[sql.Composable]:
        from psycopg import sql

        if heading is None:
            if self._symbol and self._symbol != symbol:
                raise UnknownSymbolError(f"symbol {symbol!r} is not in {self._what}, which is of {self._symbol}")
            return []
        column = sql.Identifier(heading)
        condition = sql.SQL("{}::text = {}").format(column, sql.Literal(symbol))
        there = sql.SQL("SELECT EXISTS (SELECT 1 FROM {} WHERE {})").format(self._relation(), condition)
        row = connection.execute(there).fetchone()
        if row is None or not row[0]:
            some = sql.SQL("SELECT DISTINCT {}::text FROM {} ORDER BY 1 LIMIT 20").format(column, self._relation())
            listed = ", ".join(str(found[0]) for found in connection.execute(some))
            raise UnknownSymbolError(f"symbol {symbol!r} is not in {self._what}: it holds {listed or 'no row at all'}")
        return [condition]

    def _as_ms(self, time: str, type_code: int, unit: int | None) -> sql.Composable:
        from psycopg import sql

        name: sql.Composable = sql.Identifier(time)
        if unit is not None:
            return sql.SQL("({}::numeric * 1000 / {})::bigint").format(name, sql.Literal(unit))
        if type_code == _TIMESTAMP:
            name = sql.SQL("({} AT TIME ZONE {})").format(name, sql.Literal(self._timezone))
        elif type_code == _DATE:
            name = sql.SQL("{}::timestamp").format(name)
        return sql.SQL("(extract(epoch FROM {}) * 1000)::bigint").format(name)

    def _bound(self, limit_ms: int, type_code: int, unit: int | None) -> int | datetime:
        """Return a limit in the column's own type, so that an index on it serves."""
        if unit is not None:
            return -(-limit_ms * unit // 1_000)
        instant = datetime.fromtimestamp(limit_ms / 1_000, tz=UTC)
        if type_code == _TIMESTAMPTZ:
            return instant
        zone = ZoneInfo(self._timezone) if type_code == _TIMESTAMP else UTC
        return instant.astimezone(zone).replace(tzinfo=None)


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return " ".join(line.strip() for line in lines[:2]) if lines else type(error).__name__


def _without_secret(url: str) -> str:
    """Return a connection string without its password, for messages."""
    return re.sub(r"(password=)\S+", r"\1***", re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url))


SOURCE = Postgres
