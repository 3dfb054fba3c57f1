"""Columns beside independent oracles: TA-Lib where it has them, pandas and SciPy where it has not."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
from benchmarks.features_right import ORACLES, compare, simulated_bars

from kalibre.core.bars import Bars
from kalibre.features.engine import FeatureEngine, FeatureSpec, all_columns, describe


@pytest.fixture(scope="module")
def bars() -> Bars:
    return simulated_bars(5_000, seed=5)


@pytest.fixture(scope="module")
def columns(bars: Bars) -> dict[str, np.ndarray]:
    engine = FeatureEngine(FeatureSpec("15m", columns=all_columns()))
    return dict(zip(engine.columns, engine.batch(bars).T, strict=True))


@pytest.fixture(scope="module")
def simulated(bars: Bars) -> dict[str, dict[str, float]]:
    return compare(bars)


@pytest.mark.parametrize("name", ORACLES)
def test_equals_talib(name: str, simulated: dict[str, dict[str, float]]) -> None:
    assert simulated[name]["over"] == 0, simulated[name]
    assert simulated[name]["rows"] > 3_500


@pytest.mark.real_data
def test_equals_talib_over_a_real_year(shared_data) -> None:
    path = shared_data / "market/crypto/BTCUSDT_spot_15m_2024.parquet"
    bars = Bars.from_frame(pl.read_parquet(path), symbol="BTCUSDT", timeframe="15m")
    found = compare(bars)
    assert {name: row for name, row in found.items() if row["over"]} == {}


def test_every_column_that_names_talib_is_compared() -> None:
    named = {name for name in all_columns() if describe(name)["talib"]}
    assert named <= set(ORACLES), named - set(ORACLES)


def _frame(bars: Bars) -> pd.DataFrame:
    return pd.DataFrame({key: getattr(bars, key) for key in ("open", "high", "low", "close", "volume")})


def oracle(name: str, bars: Bars) -> np.ndarray:
    """Compute a column as its paper or definition says, with pandas over whole columns."""
    f = _frame(bars)
    returns = np.log(f.close).diff()
    typical = (f.high + f.low + f.close) / 3
    window = int(name.rsplit("_", 1)[1]) if name.rsplit("_", 1)[1].isdigit() else 0
    signed = np.sign(f.close.diff()) * f.volume
    if name.startswith("realised_volatility"):
        return returns.rolling(window).std().to_numpy()
    if name.startswith("parkinson"):
        return np.sqrt((np.log(f.high / f.low) ** 2).rolling(window).mean() / (4 * np.log(2))).to_numpy()
    if name.startswith("garman_klass"):
        daily = 0.5 * np.log(f.high / f.low) ** 2 - (2 * np.log(2) - 1) * np.log(f.close / f.open) ** 2
        return np.sqrt(daily.rolling(window).mean()).to_numpy()
    if name.startswith("log_return"):
        return np.log(f.close / f.close.shift(window)).to_numpy()
    if name.startswith("vwap_distance"):
        total = f.volume.rolling(window).sum()
        return (f.close / ((typical * f.volume).rolling(window).sum() / total) - 1).to_numpy()
    if name.startswith("volume_z"):
        rolling = f.volume.rolling(window)
        return ((f.volume - rolling.mean()) / rolling.std(ddof=0)).to_numpy()
    if name.startswith("volume_ratio"):
        return (f.volume / f.volume.rolling(window).mean()).to_numpy()
    if name.startswith("obv_flow"):
        return (signed.rolling(window).sum() / f.volume.rolling(window).sum()).to_numpy()
    if name.startswith("donchian_position"):
        low, high = f.low.rolling(window).min(), f.high.rolling(window).max()
        return ((f.close - low) / (high - low)).to_numpy()
    if name.startswith("donchian_width"):
        return ((f.high.rolling(window).max() - f.low.rolling(window).min()) / f.close).to_numpy()
    if name.startswith("bollinger_position"):
        mean, spread = f.close.rolling(window).mean(), f.close.rolling(window).std(ddof=0)
        return ((f.close - mean + 2 * spread) / (4 * spread)).to_numpy()
    if name.startswith("bollinger_width"):
        return (4 * f.close.rolling(window).std(ddof=0) / f.close.rolling(window).mean()).to_numpy()
    if name.startswith("slope_relative"):
        windows = np.lib.stride_tricks.sliding_window_view(bars.close, window)
        slopes = np.polynomial.polynomial.polyfit(np.arange(window), windows.T, 1)[1]
        return np.concatenate([np.full(window - 1, np.nan), slopes]) / bars.close
    raise AssertionError(name)


WITHOUT_TALIB = (
    "realised_volatility_10",
    "realised_volatility_20",
    "realised_volatility_96",
    "parkinson_20",
    "garman_klass_20",
    "log_return_1",
    "log_return_3",
    "vwap_distance_20",
    "vwap_distance_96",
    "volume_z_20",
    "volume_z_96",
    "volume_ratio_20",
    "obv_flow_10",
    "obv_flow_20",
    "donchian_position_20",
    "donchian_position_50",
    "donchian_width_20",
    "bollinger_position_20",
    "bollinger_width_20",
    "slope_relative_20",
    "slope_relative_50",
)


@pytest.mark.parametrize("name", WITHOUT_TALIB)
def test_equals_pandas(name: str, bars: Bars, columns: dict[str, np.ndarray]) -> None:
    expected = oracle(name, bars)
    start = describe(name)["warmup_bars"]
    found, expected = columns[name][start:], expected[start:]
    # pandas keeps running sums: it is the less exact of the two where a window follows a burst.
    assert (np.abs(found - expected) <= 1e-8 * np.maximum(np.abs(expected), expected.std())).all()


@pytest.mark.parametrize(("relative", "level"), [("macd_relative_12_26", "macd_12_26"), ("sar_distance", "sar")])
def test_relative_columns_follow_their_levels(
    relative: str, level: str, bars: Bars, columns: dict[str, np.ndarray]
) -> None:
    expected = columns[level] / bars.close if "macd" in level else bars.close / columns[level] - 1
    np.testing.assert_allclose(columns[relative], expected, rtol=1e-12, atol=1e-15)


def test_time_columns_are_those_of_the_calendar(bars: Bars, columns: dict[str, np.ndarray]) -> None:
    for t in range(0, len(bars), 37):
        now = datetime.fromtimestamp(int(bars.close_time[t]) / 1000, tz=UTC)
        hour = now.hour + now.minute / 60
        week = now.weekday() + hour / 24
        assert columns["hour_sin"][t] == pytest.approx(np.sin(2 * np.pi * hour / 24), abs=1e-12)
        assert columns["hour_cos"][t] == pytest.approx(np.cos(2 * np.pi * hour / 24), abs=1e-12)
        assert columns["weekday_sin"][t] == pytest.approx(np.sin(2 * np.pi * week / 7), abs=1e-12)
        assert columns["weekday_cos"][t] == pytest.approx(np.cos(2 * np.pi * week / 7), abs=1e-12)
        works = now.weekday() < 5
        assert columns["session_asia"][t] == (works and hour < 8)
        assert columns["session_europe"][t] == (works and 7 <= hour < 16)
        assert columns["session_america"][t] == (works and 13 <= hour < 21)
