"""Names of series in MLflow: one for each, readable, and fit for what MLflow accepts."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from kalibre.core.timeframe import timeframe_ms
from kalibre.registry.store import registered_name

SYMBOLS = st.one_of(
    st.text(min_size=1, max_size=12),
    st.text(alphabet="BTC/_~2F5:. -İ", min_size=1, max_size=8),
)
TIMEFRAMES = st.sampled_from(["1m", "15m", "1h", "4h", "1d", "1w"])


@given(first=st.tuples(SYMBOLS, TIMEFRAMES), second=st.tuples(SYMBOLS, TIMEFRAMES))
def test_two_series_never_share_a_name(first: tuple[str, str], second: tuple[str, str]) -> None:
    assert (registered_name(*first) == registered_name(*second)) == (first == second)


@given(series=st.tuples(SYMBOLS, TIMEFRAMES))
def test_a_name_says_which_series_it_is(series: tuple[str, str]) -> None:
    """Law: the symbol can be read back, so nothing is lost."""
    house, _, rest = registered_name(*series).partition(".")
    escaped, _, timeframe = rest.rpartition(".")
    symbol = re.sub(rb"~([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), escaped.encode()).decode()
    assert (house, symbol, timeframe) == ("kalibre", *series)
    assert timeframe_ms(timeframe) > 0


@given(symbol=st.from_regex(r"[A-Za-z0-9._-]{1,20}", fullmatch=True), timeframe=TIMEFRAMES)
def test_plain_symbols_keep_the_names_they_always_had(symbol: str, timeframe: str) -> None:
    assert registered_name(symbol, timeframe) == f"kalibre.{symbol}.{timeframe}"


@given(series=st.tuples(SYMBOLS, TIMEFRAMES))
def test_mlflow_takes_every_name(series: tuple[str, str]) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._~-]+", registered_name(*series))
