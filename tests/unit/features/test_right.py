"""Columns beside independent oracles: TA-Lib where it has them, pandas and SciPy where it has not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
import talib
from benchmarks.features_right import ORACLES, compare, simulated_bars, still_bars, still_for

from kalibre.core.bars import Bars
from kalibre.features.engine import FeatureEngine, FeatureSpec, all_columns, default_columns, describe


@pytest.fixture(scope="module")
def bars() -> Bars:
    bars = simulated_bars(5_000, seed=5)
    return replace(bars, taker_buy_volume=bars.volume * np.random.default_rng(3).uniform(0, 1, len(bars)))


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


@pytest.fixture(scope="module")
def still() -> Bars:
    return still_bars(10_000)


@pytest.fixture(scope="module")
def halted(still: Bars) -> dict[str, dict[str, float]]:
    return compare(still)


@pytest.mark.parametrize("name", ORACLES)
def test_equals_talib_on_a_market_that_is_halted(name: str, halted: dict[str, dict[str, float]]) -> None:
    assert halted[name]["over"] == 0, halted[name]
    assert halted[name]["rows"] > 6_500


@pytest.mark.parametrize(
    ("name", "value", "after"),
    [
        ("cci_20", 0.0, 20),
        ("efficiency_20", 0.0, 20),
        ("stochastic_rsi_k_14", 0.0, 17),
        ("rsi_7", 0.0, 47),
        ("rsi_28", 0.0, 191),
        ("plus_di_14", 0.0, 95),
        ("minus_di_14", 0.0, 95),
        ("keltner_position_20", 0.5, 67),
    ],
)
def test_what_is_said_of_a_price_that_stands_still(name: str, value: float, after: int, still: Bars) -> None:
    engine = FeatureEngine(FeatureSpec("15m", columns=(name,)))
    column = engine.batch(still)[:, 0]
    there = still_for(still.close) >= after
    assert there.sum() > 1_000
    assert (column[there] == value).all()


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
    if name.startswith("sma_distance"):
        return (f.close / f.close.rolling(window).mean() - 1).to_numpy()
    if name.startswith("ema_distance"):
        return (f.close / f.close.ewm(span=window, adjust=False).mean() - 1).to_numpy()
    if name.startswith("wma_distance"):
        weights = np.arange(1, window + 1) / (window * (window + 1) / 2)
        return (f.close / f.close.rolling(window).apply(lambda x: x @ weights, raw=True) - 1).to_numpy()
    if name.startswith("macd"):
        fast, slow = (f.close.ewm(span=n, adjust=False).mean() for n in (12, 26))
        signal = (fast - slow).ewm(span=9, adjust=False).mean()
        said = {"macd_relative": fast - slow, "macd_signal": signal, "macd_histogram": fast - slow - signal}
        return (next(level for start, level in said.items() if name.startswith(start)) / f.close).to_numpy()
    if name == "sar_distance":
        return bars.close / talib.SAR(bars.high, bars.low, 0.02, 0.2) - 1
    if name == "range_relative":
        return talib.TRANGE(bars.high, bars.low, bars.close) / bars.close
    if name.startswith("keltner_position"):
        upper, _, lower = (talib.KC(bars.high, bars.low, bars.close, 20, 10, 2.0)[k] for k in (0, 1, 2))
        return (bars.close - lower) / (upper - lower)
    if name.startswith("chaikin_relative"):
        flow = talib.ADOSC(bars.high, bars.low, bars.close, bars.volume, 3, 10)
        return flow / f.volume.rolling(10).mean().to_numpy()
    if name.startswith("taker_imbalance"):
        bought, sold = bars.taker_buy_volume, bars.volume - bars.taker_buy_volume
        said = pd.Series(bought - sold).rolling(window).sum() / f.volume.rolling(window).sum()
        return said.fillna(0.0).to_numpy()  # nobody traded
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
    "sma_distance_10",
    "sma_distance_20",
    "sma_distance_50",
    "ema_distance_12",
    "ema_distance_26",
    "ema_distance_50",
    "wma_distance_20",
    "macd_relative_12_26",
    "macd_signal_relative_12_26_9",
    "macd_histogram_relative_12_26_9",
    "sar_distance",
    "range_relative",
    "keltner_position_20",
    "chaikin_relative_3_10",
    "taker_imbalance_1",
    "taker_imbalance_20",
)
CALENDAR = (
    "hour_sin",
    "hour_cos",
    "weekday_sin",
    "weekday_cos",
    "session_asia",
    "session_europe",
    "session_america",
)


def test_no_column_that_a_model_learns_from_lacks_an_oracle() -> None:
    learnt = set(default_columns(optional=True)) | set(default_columns(higher=True))
    assert learnt <= {*ORACLES, *WITHOUT_TALIB, *CALENDAR}, learnt - {*ORACLES, *WITHOUT_TALIB, *CALENDAR}


@pytest.mark.parametrize("name", WITHOUT_TALIB)
def test_equals_pandas(name: str, bars: Bars, columns: dict[str, np.ndarray]) -> None:
    expected = oracle(name, bars)
    start = describe(name)["warmup_bars"]
    found, expected = columns[name][start:], expected[start:]
    # pandas keeps running sums: it is the less exact of the two where a window follows a burst.
    assert (np.abs(found - expected) <= 1e-8 * np.maximum(np.abs(expected), expected.std())).all()


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
