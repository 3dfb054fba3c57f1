"""Bars: columns, rows, frames, and the errors that name the bad value."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalibre.core.bars import Bar, Bars, concat
from kalibre.core.errors import BarError
from kalibre.core.timeframe import is_multiple, timeframe_ms


def series(n: int = 5, *, start: int = 0, **columns: object) -> Bars:
    base: dict[str, object] = {
        "open_time": start + np.arange(n) * 3_600_000,
        "open": np.full(n, 10.0),
        "high": np.full(n, 12.0),
        "low": np.full(n, 9.0),
        "close": np.full(n, 11.0),
        "volume": np.full(n, 5.0),
    }
    return Bars(symbol="X", timeframe="1h", **{**base, **columns})  # type: ignore[arg-type]


def test_rows_and_columns_say_the_same() -> None:
    bars = series(4, trades=np.arange(4.0))
    again = Bars.from_rows("X", "1h", list(bars))
    assert again.to_frame().equals(bars.to_frame())
    assert bars[2] == list(bars)[2]
    assert again.quote_volume is None


def test_frames_with_datetimes_and_integers_agree() -> None:
    bars = series(3)
    frame = bars.to_frame()
    stamped = frame.with_columns(pl.from_epoch("open_time", time_unit="ms"))
    assert Bars.from_frame(stamped, symbol="X", timeframe="1h").open_time.tolist() == bars.open_time.tolist()
    with pytest.raises(BarError, match=r"\['close'\] are missing"):
        Bars.from_frame(frame.drop("close"), symbol="X", timeframe="1h")


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(BarError, match="differ in shape"):
        series(3, volume=np.ones(2))


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("open", np.nan, "nan"),
        ("close", np.inf, "inf"),
        ("low", 0.0, "low=0.0"),
        ("high", 10.5, "high=10.5"),
        ("volume", -1.0, "volume=-1.0"),
    ],
)
def test_check_quotes_what_is_no_bar(column: str, value: float, said: str) -> None:
    bars = series(4)
    getattr(bars, column)[2] = value
    with pytest.raises(BarError, match=f"row 2 is no bar.*{said}"):
        bars.check()


def test_check_wants_rising_times_on_the_grid() -> None:
    series(3).check()
    with pytest.raises(BarError, match="does not come after"):
        series(3, open_time=np.array([0, 3_600_000, 3_600_000])).check()
    with pytest.raises(BarError, match="not on the 1h grid"):
        series(3, open_time=np.array([0, 3_600_000, 7_200_001])).check()


def test_between_and_concat_cut_and_join_without_loss() -> None:
    bars = series(6)
    cut = 3 * 3_600_000
    parts = [bars.between(None, cut), bars.between(cut, None)]
    assert concat(parts).to_frame().equals(bars.to_frame())
    with pytest.raises(BarError, match="different symbols"):
        concat([bars, Bars(**{**vars(bars), "symbol": "Y"})])
    with pytest.raises(BarError, match="nothing to join"):
        concat([])


@given(st.integers(1, 10_000), st.sampled_from("smhdw"))
def test_timeframes_are_count_times_unit(count: int, unit: str) -> None:
    assert timeframe_ms(f"{count}{unit}") == count * timeframe_ms(f"1{unit}")
    assert is_multiple(f"{count}{unit}", f"1{unit}")


@pytest.mark.parametrize("text", ["", "m", "0m", "-5m", "1.5h", "15x", "١m", "15 m"])
def test_a_timeframe_that_is_none_is_quoted(text: str) -> None:
    with pytest.raises(BarError, match="write for example 15m"):
        timeframe_ms(text)


def test_a_bar_is_immutable() -> None:
    bar = Bar(open_time=0, open=1, high=1, low=1, close=1, volume=1)
    with pytest.raises(AttributeError):
        bar.close = 2.0  # type: ignore[misc]
