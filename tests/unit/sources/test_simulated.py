"""Simulated markets keep what they declare: the oracle is measured, the nulls hold nothing."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from kalibre.core.errors import SourceError
from kalibre.sources.simulated import SOURCE, Simulated, block_permute, correlation_of_auc

MARKETS = ("driftless", "drifting", "garch", "edge")


def _measured_auc(market: Simulated, horizon: int = 4) -> float:
    bars, flow = market.simulate("SIM", "15m")
    price = np.log(bars.close)
    return float(roc_auc_score(price[horizon:] > price[:-horizon], flow[:-horizon]))


def _measured_sharpe(market: Simulated, entry: float, exit_: float, cost: float) -> float:
    bars, flow = market.simulate("SIM", "15m")
    position = np.zeros(len(flow))
    held = False
    for row, value in enumerate(flow.tolist()):
        held = value >= entry if not held else value > exit_
        position[row] = held
    gain = position[:-1] * (bars.close[1:] / bars.close[:-1] - 1.0)
    net = gain - cost * np.abs(np.diff(position, prepend=0.0))[:-1]
    return float(net.mean() / net.std() * np.sqrt(35_040))


@pytest.mark.parametrize("market", MARKETS)
@pytest.mark.parametrize("timeframe", ["1m", "15m", "1d"])
def test_bars_are_sound_and_whole(market, timeframe):
    bars = next(SOURCE(market, seed=3, n_bars=3000).history("SIM", timeframe))
    bars.check()
    assert len(bars) == 3000
    assert (np.diff(bars.open_time) == bars.step_ms).all()
    assert ((bars.taker_buy_volume > 0) & (bars.taker_buy_volume < bars.volume)).all()
    np.testing.assert_array_equal(bars.open[1:], bars.close[:-1])
    average = bars.quote_volume / bars.volume
    assert ((average >= bars.low) & (average <= bars.high)).all()


@pytest.mark.parametrize("auc", [0.53, 0.58, 0.65])
def test_oracle_auc_is_what_was_declared(auc):
    market = Simulated("edge", auc=auc, seed=11, n_bars=300_000)
    assert market.oracle().auc == auc
    assert _measured_auc(market) == pytest.approx(auc, abs=0.004)


@pytest.mark.parametrize("horizon", [1, 12])
def test_oracle_auc_holds_at_other_horizons(horizon):
    market = Simulated("edge", auc=0.6, horizon_bars=horizon, seed=5, n_bars=300_000)
    assert _measured_auc(market, horizon) == pytest.approx(0.6, abs=0.005)


@pytest.mark.parametrize("auc", [0.55, 0.65])
def test_oracle_sharpe_is_what_a_trader_who_sees_the_flow_earns(auc):
    market = Simulated("edge", auc=auc, seed=2, n_bars=400_000)
    oracle = market.oracle()
    # 11 years: the standard error of an annual Sharpe ratio is 1 / sqrt(11.4) = 0.3.
    assert _measured_sharpe(market, oracle.entry, oracle.exit, 5e-4) == pytest.approx(oracle.sharpe, abs=0.9)
    assert _measured_sharpe(market, oracle.entry - 1.0, oracle.exit, 5e-4) < oracle.sharpe


@pytest.mark.parametrize("market", ["driftless", "drifting", "garch"])
def test_nulls_tilt_nothing(market):
    null = Simulated(market, seed=4, n_bars=200_000)
    assert null.oracle().auc == 0.5
    assert null.oracle().sharpe == 0.0
    assert _measured_auc(null) == pytest.approx(0.5, abs=0.008)


def test_edge_is_visible_in_the_taker_imbalance():
    bars, flow = Simulated("edge", seed=6).simulate("SIM", "15m")
    imbalance = bars.taker_buy_volume / bars.volume - 0.5
    assert np.corrcoef(imbalance, flow)[0, 1] == pytest.approx(0.9, abs=0.05)


def test_prices_without_drift_are_martingales_and_drift_is_what_was_asked():
    for market, expected in (("driftless", 0.0), ("garch", 0.0), ("drifting", 1.0)):
        growth = []
        for seed in range(6):
            bars = next(Simulated(market, seed=seed, n_bars=20_000).history("SIM", "1d"))
            growth.append((bars.close[1:] / bars.close[:-1] - 1.0).mean() * 365)
        assert np.mean(growth) == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(6 * 20_000 / 365))


def test_garch_clusters_and_the_driftless_market_does_not():
    def clustering(market: str) -> float:
        bars = next(Simulated(market, seed=8, n_bars=20_000).history("SIM", "15m"))
        size = np.diff(np.log(bars.close)) ** 2
        return float(np.corrcoef(size[1:], size[:-1])[0, 1])

    assert clustering("garch") > 0.08
    assert abs(clustering("driftless")) < 0.03


def test_same_seed_same_bars_other_seed_or_symbol_other_bars():
    first, again = (next(Simulated("edge", seed=1, n_bars=500).history("A", "15m")) for _ in range(2))
    np.testing.assert_array_equal(first.close, again.close)
    for other in (Simulated("edge", seed=2, n_bars=500), Simulated("edge", seed=1, n_bars=500)):
        symbol = "A" if other.seed == 2 else "B"
        assert not np.array_equal(first.close, next(other.history(symbol, "15m")).close)


def test_history_is_cut_and_chunked():
    market = Simulated(n_bars=45_000)
    chunks = list(market.history("SIM", "1m"))
    assert [len(chunk) for chunk in chunks] == [20_000, 20_000, 5_000]
    start = int(chunks[0].open_time[10])
    part = list(market.history("SIM", "1m", start_ms=start, end_ms=start + 5 * 60_000))
    assert part[0].open_time.tolist() == [start + k * 60_000 for k in range(5)]


@pytest.mark.parametrize(
    ("options", "quoted"),
    [
        ({"market": "bull"}, "'bull'"),
        ({"n_bars": 0}, "n_bars=0"),
        ({"market": "edge", "auc": 1.2}, "auc=1.2"),
        ({"market": "edge", "auc": 0.95, "horizon_bars": 50, "half_life_bars": 0.5}, "auc=0.95"),
        ({"visibility": float("nan")}, "visibility=nan"),
    ],
)
def test_bad_options_are_quoted(options, quoted):
    with pytest.raises(SourceError, match=quoted):
        Simulated(**options)


def test_correlation_of_auc_agrees_with_a_large_sample():
    rng = np.random.default_rng(0)
    rho = correlation_of_auc(0.6)
    score, noise = rng.standard_normal((2, 400_000))
    assert roc_auc_score(rho * score + np.sqrt(1 - rho**2) * noise > 0, score) == pytest.approx(0.6, abs=0.003)


def test_block_permuting_keeps_the_bars_and_loses_the_order():
    bars = next(Simulated("edge", seed=3, n_bars=20_000).history("SIM", "15m"))
    null = block_permute(bars, block_bars=16, seed=1)
    null.check()
    np.testing.assert_array_equal(null.open_time, bars.open_time)
    np.testing.assert_allclose(
        np.sort(np.log(null.close / null.open)), np.sort(np.log(bars.close / bars.open)), atol=1e-12
    )
    assert not np.array_equal(null.close, bars.close)
    # The planted edge reaches 4 bars ahead: between blocks of one bar nothing of it is left.
    alone = block_permute(bars, block_bars=1, seed=2)
    price = np.log(alone.close)
    pressure = alone.taker_buy_volume / alone.volume
    assert roc_auc_score(price[4:] > price[:-4], pressure[:-4]) == pytest.approx(0.5, abs=0.015)


def test_block_permuting_refuses_blocks_that_do_not_fit():
    bars = next(Simulated(n_bars=100).history("SIM", "15m"))
    with pytest.raises(SourceError, match="block_bars=51"):
        block_permute(bars, block_bars=51)
