"""The engine: specs, refusals, higher timeframes, scaling, state."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from benchmarks.features_right import simulated_bars

from kalibre.core.bars import Bar, Bars
from kalibre.core.errors import FeatureError
from kalibre.features.engine import FeatureEngine, FeatureSpec, default_columns

HOUR_MS = 3_600_000
HIGHER = ("donchian_upper_20", "sma_10", "ema_12", "mfi_14", "log_return_1")


@pytest.fixture(scope="module")
def bars() -> Bars:
    return simulated_bars(6_000, seed=21)


@pytest.fixture(scope="module")
def higher() -> FeatureEngine:
    """One program serves the base and every higher timeframe, so one compilation does for all of these tests."""
    return FeatureEngine(FeatureSpec("15m", columns=(*HIGHER, *(f"{n}@{at}" for at in ("1h", "4h") for n in HIGHER))))


def resampled(bars: Bars, span_ms: int, timeframe: str) -> tuple[Bars, np.ndarray]:
    """Resample with pandas; also the row of `bars` at which each higher bar is known."""
    frame = pd.DataFrame(
        {key: getattr(bars, key) for key in ("open", "high", "low", "close", "volume")},
    )
    bucket = bars.open_time // span_ms
    grouped = frame.groupby(bucket).agg(
        {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    )
    ends = (grouped.index.to_numpy() + 1) * span_ms
    known = np.array(
        [
            np.flatnonzero((bucket == key) & (bars.close_time == end))[0]
            if ((bucket == key) & (bars.close_time == end)).any()
            else np.searchsorted(bars.open_time, end)
            for key, end in zip(grouped.index, ends, strict=True)
        ]
    )
    made = Bars(
        bars.symbol, timeframe, grouped.index.to_numpy() * span_ms, *(grouped[key].to_numpy() for key in grouped)
    )
    return made, known


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize(("timeframe", "span_ms"), [("1h", HOUR_MS), ("4h", 4 * HOUR_MS)])
def test_higher_timeframe_equals_resampling_of_closed_bars(
    higher: FeatureEngine, bars: Bars, timeframe: str, span_ms: int, holes: bool
) -> None:
    if holes:
        rng = np.random.default_rng(3)
        keep = rng.random(len(bars)) > 0.2
        keep[1_000:1_100] = False
        bars = bars[keep]
    made, known = resampled(bars, span_ms, timeframe)
    alone = FeatureEngine(
        FeatureSpec(timeframe, columns=(*HIGHER, *(f"{n}@{at}" for at in ("8h", "1d") for n in HIGHER)))
    )
    expected_rows = alone.batch(made)
    values = higher.batch(bars)
    for place, name in enumerate(HIGHER):
        column = values[:, higher.columns.index(f"{name}@{timeframe}")]
        newest = np.searchsorted(known, np.arange(len(bars)), side="right") - 1
        expected = np.where(newest >= 0, expected_rows[np.maximum(newest, 0), place], np.nan)
        start = int(higher.warmup_bars[higher.columns.index(f"{name}@{timeframe}")])
        # pandas sums a bucket's volume in another order.
        np.testing.assert_allclose(column[start:], expected[start:], rtol=1e-11, err_msg=name)
        assert not np.isnan(column[start:]).any()


def test_higher_value_changes_only_when_a_higher_bar_has_closed(higher: FeatureEngine, bars: Bars) -> None:
    values = higher.batch(bars)
    for timeframe, span in (("1h", HOUR_MS), ("4h", 4 * HOUR_MS)):
        column = values[:, higher.columns.index(f"sma_10@{timeframe}")]
        start = int(higher.warmup_bars.max())
        changed = np.flatnonzero(np.diff(column[start:]) != 0) + start + 1
        assert len(changed) > 100
        assert (bars.close_time[changed] % span == 0).all()


def test_weeks_begin_on_monday() -> None:
    day = 86_400_000
    n = 40
    time = np.arange(n, dtype=np.int64) * day + 19_723 * day  # 2024-01-01, a Monday
    close = np.arange(1.0, n + 1)
    bars = Bars("X", "1d", time, close, close, close, close, np.ones(n))
    column = FeatureEngine(FeatureSpec("1d", columns=("donchian_upper_2@1w", "donchian_upper_2"))).batch(bars)[:, 0]
    assert column[34] == 35.0  # Sunday closes the fifth week
    assert column[33] == 28.0


def test_scaling_is_the_trailing_minimum_and_maximum(bars: Bars) -> None:
    columns = ("log_return_1", "rsi_14", "volume_z_20")
    window = 50
    plain = FeatureEngine(FeatureSpec("15m", columns=columns)).batch(bars)
    engine = FeatureEngine(FeatureSpec("15m", columns=columns, scale_window=window))
    scaled = engine.batch(bars)
    for place, name in enumerate(columns):
        raw = pd.Series(plain[:, place])
        if name == "rsi_14":
            expected = raw / 100.0
        else:
            low, high = raw.rolling(window).min(), raw.rolling(window).max()
            expected = (raw - low) / (high - low)
        np.testing.assert_allclose(scaled[:, place], expected, rtol=1e-12, atol=1e-12)
        assert np.flatnonzero(~np.isnan(scaled[:, place]))[0] == engine.warmup_bars[place]
    known = scaled[~np.isnan(scaled)]
    assert known.min() >= 0.0
    assert known.max() <= 1.0


def test_scaling_of_what_does_not_move_is_one_half() -> None:
    n = 40
    flat = np.full(n, 7.0)
    bars = Bars("X", "1h", np.arange(n, dtype=np.int64) * HOUR_MS, flat, flat, flat, flat, np.ones(n))
    values = FeatureEngine(FeatureSpec("1h", columns=("log_return_1", "rsi_14", "volume_z_20"), scale_window=5)).batch(
        bars
    )
    assert (values[5:, 0] == 0.5).all()


def test_step_live_equals_batch_with_scaling_and_higher_timeframes(bars: Bars) -> None:
    spec = FeatureSpec("15m", columns=("log_return_1", "rsi_14", "volume_z_20@1h"), scale_window=20)
    engine = FeatureEngine(spec)
    whole = engine.batch(bars[:1_500])
    engine.reset()
    live = np.array([engine.step(bar) for bar in bars[:1_500]])
    assert np.array_equal(live, whole, equal_nan=True)


def good(open_time: int = 0, **changes: float) -> Bar:
    return Bar(**{"open_time": open_time, "open": 2.0, "high": 3.0, "low": 1.0, "close": 2.0, "volume": 1.0, **changes})


@pytest.mark.parametrize(
    "bad",
    [
        good(HOUR_MS, close=float("nan")),
        good(HOUR_MS, high=float("inf")),
        good(HOUR_MS, low=0.0),
        good(HOUR_MS, low=-1.0),
        good(HOUR_MS, high=1.5),
        good(HOUR_MS, low=2.5),
        good(HOUR_MS, volume=-1.0),
        good(HOUR_MS, volume=float("nan")),
        good(HOUR_MS, volume=float("inf")),
        good(0),
        good(-HOUR_MS),
    ],
)
def test_unsound_bar_is_refused_and_changes_nothing(bad: Bar) -> None:
    engine = FeatureEngine(FeatureSpec("1h", columns=("range_relative",)))
    engine.step(good(0))
    before = engine.state()
    with pytest.raises(FeatureError, match="no sound bar"):
        engine.step(bad)
    assert all(np.array_equal(before[key], value) for key, value in engine.state().items())
    rows = Bars.from_rows("X", "1h", [good(0), bad])
    with pytest.raises(FeatureError, match="row 1"):
        engine.batch(rows)
    assert all(np.array_equal(before[key], value) for key, value in engine.state().items())


def test_no_bars_give_no_rows() -> None:
    engine = FeatureEngine(FeatureSpec("1h", columns=("range_relative",)))
    assert engine.batch(Bars.from_rows("X", "1h", [])).shape == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": ("rsi_0",)}, "rsi_0"),
        ({"columns": ("rsi_1",)}, "at least 2"),
        ({"columns": ("nothing_7",)}, "unknown"),
        ({"columns": ("rsi_14", "rsi_14")}, "twice"),
        ({"columns": ()}, "at least one"),
        ({"columns": ("rsi_14@1m",)}, "1m"),
        ({"columns": ("rsi_14@25m",)}, "25m"),
        ({"higher_timeframes": ("15m",)}, "15m"),
        ({"scale_window": 1}, "scale_window 1"),
        ({"scale_window": -5}, "scale_window -5"),
    ],
)
def test_spec_that_cannot_be_computed_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(FeatureError, match=message):
        FeatureSpec("15m", **arguments)


def test_spec_survives_json() -> None:
    spec = FeatureSpec("15m", ("1h",), 30, ("rsi_14", "rsi_14@1h"))
    assert FeatureSpec.from_dict(json.loads(json.dumps(spec.as_dict()))) == spec
    names = FeatureSpec("15m", ("1h", "4h")).names
    assert names[: len(default_columns())] == default_columns()
    assert sum(name.endswith("@4h") for name in names) == len(default_columns(higher=True))


def test_wrong_timeframe_is_refused(bars: Bars) -> None:
    with pytest.raises(FeatureError, match="15m"):
        FeatureEngine(FeatureSpec("1h", columns=("range_relative",))).batch(bars)


def test_state_of_another_spec_or_size_is_refused(bars: Bars) -> None:
    one = FeatureEngine(FeatureSpec("15m", columns=("range_relative",)))
    other = FeatureEngine(FeatureSpec("1h", columns=("range_relative",)))
    assert one.fingerprint != other.fingerprint
    with pytest.raises(FeatureError, match="another spec"):
        other.restore(one.state())
    torn = {**one.state(), "floats": np.zeros(3)}
    with pytest.raises(FeatureError, match="damaged"):
        one.restore(torn)


def test_order_of_columns_is_kept(higher: FeatureEngine, bars: Bars) -> None:
    """A name given last stands last, and computes the same."""
    shuffled = FeatureEngine(FeatureSpec("15m", columns=("volume_z_20", "log_return_1", "rsi_14")))
    ordered = FeatureEngine(FeatureSpec("15m", columns=("log_return_1", "rsi_14", "volume_z_20")))
    a, b = shuffled.batch(bars[:800]), ordered.batch(bars[:800])
    assert np.array_equal(a[:, [1, 2, 0]], b, equal_nan=True)


def test_sums_do_not_drift_over_a_million_bars() -> None:
    """The last rows of a million bars, spikes included, are those of an engine that never saw the others."""
    n = 1_000_000
    rng = np.random.default_rng(8)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0, 0.002, n)))
    close[rng.integers(0, n - 5_000, 40)] *= 1_000.0
    volume = np.exp(rng.normal(0, 2, n))
    volume[rng.integers(0, n - 5_000, 40)] *= 1e9
    time = np.arange(n, dtype=np.int64) * 60_000
    bars = Bars("X", "1m", time, close, close * 1.001, close * 0.999, close, volume)
    engine = FeatureEngine(
        FeatureSpec("1m", columns=("sma_20", "wma_20", "stddev_20", "slope_20", "vwap_20", "volume_z_20", "rsi_14"))
    )
    long = engine.batch(bars)[-4_000:]
    short = engine.batch(bars[n - 5_000 :])[-4_000:]
    scale = np.maximum(np.abs(short), short.std(axis=0))
    assert (np.abs(long - short) <= 1e-12 * scale).all()


def test_taker_columns_of_higher_timeframes(bars: Bars) -> None:
    with_taker = replace(bars, taker_buy_volume=bars.volume * 0.75)
    spec = FeatureSpec("15m", columns=("taker_imbalance_1", "taker_imbalance_1@1h"))
    engine = FeatureEngine(spec)
    values = engine.batch(with_taker)
    traded = values[engine.warmup :]
    assert (np.isclose(traded, 0.5) | (traded == 0.0)).all()
    assert np.isnan(engine.batch(bars)).all()
