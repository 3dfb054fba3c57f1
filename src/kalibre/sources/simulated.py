"""Simulated markets: nothing to find (driftless, drifting, GARCH), or a planted edge of declared strength.

In every market a hidden order flow `s` (an AR(1) of unit variance) shows in the taker-buy volume. In the market `edge`
it also tilts the next return, `r[t+1] = sigma (b s[t] + sqrt(1 - b^2) e[t+1])`; in the others it tilts nothing, so that
a model sees the same kind of columns and there is nothing behind them. Prices are martingales where no drift or edge is
asked for: the expected simple return of a bar is zero.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import Bars
from kalibre.core.errors import SourceError
from kalibre.core.protocols import FloatArray
from kalibre.core.timeframe import DAY_MS, timeframe_ms
from kalibre.sources.base import span_of

Market = Literal["driftless", "drifting", "garch", "edge"]
START_MS = 1_704_067_200_000
_CHUNK = 20_000


@dataclass(frozen=True)
class Oracle:
    """The best that a trader who sees the hidden flow could do.

    `auc` is at the horizon; `sharpe` is annualised and after costs, of the best (entry, exit) pair on the flow itself,
    long or flat at full size; `entry` and `exit` are that pair, in standard deviations of the flow.
    """

    auc: float
    sharpe: float
    entry: float
    exit: float


def correlation_of_auc(auc: float) -> float:
    """Return the correlation of a normal score and a normal return at which the score's AUC for the sign is `auc`.

    From the trivariate normal orthant, AUC = 1/2 + (2/pi) asin(rho / sqrt 2).

    Examples
    --------
    >>> round(correlation_of_auc(0.65), 4)
    0.3301
    """
    return math.sqrt(2.0) * math.sin(math.pi / 2.0 * (auc - 0.5))


def edge_loading(auc: float, horizon_bars: int, phi: float) -> float:
    """Return the loading `b` of the next return on the flow that gives the declared AUC at the horizon.

    Parameters
    ----------
    auc
        AUC of the flow for the sign of the return over the horizon, from 0.5 on.
    horizon_bars
        Bars of the horizon.
    phi
        Autocorrelation of the flow over one bar.

    Raises
    ------
    SourceError
        If no loading below 1 gives so high an AUC; the message says what to change.
    """
    rho = correlation_of_auc(auc)
    gain = sum(phi**k for k in range(horizon_bars))
    flow_variance = horizon_bars + 2.0 * sum((horizon_bars - k) * phi**k for k in range(1, horizon_bars))
    slack = gain**2 - rho**2 * (flow_variance - horizon_bars)
    loading = abs(rho) * math.sqrt(horizon_bars / slack) if slack > 0 else math.inf
    if loading >= 1.0:
        raise SourceError(
            f"auc={auc} over {horizon_bars} bars cannot be planted in a flow with autocorrelation {phi:.3f}: "
            "ask for a lower auc or a longer half_life_bars"
        )
    return loading


class Simulated:
    """A seeded market of any timeframe and length; each symbol of one seed is a market of its own.

    Parameters
    ----------
    market
        `driftless`, `drifting`, `garch` (GARCH(1,1) with Student-t shocks) or `edge`.
    seed
        The same seed, symbol and timeframe give the same bars, bit for bit.
    n_bars
        Length of the history.
    start_ms
        Open time of the first bar, UTC milliseconds; moved down to the timeframe's grid.
    auc
        For `edge`: the AUC that a trader who sees the flow would have at the horizon.
    horizon_bars
        For `edge`: where that AUC is declared.
    half_life_bars
        Bars in which the flow loses half of itself.
    visibility
        Correlation of the taker imbalance with the flow.
    annual_volatility
        Standard deviation of a year's log return.
    annual_drift
        For `drifting`: expected log growth of a year on top of the martingale.
    cost_bps
        Cost per side that the declared oracle Sharpe is after; Kalibre's defaults are 4 fee and 1 slippage.

    Raises
    ------
    SourceError
        If an option is out of range; the message quotes it.
    """

    name: ClassVar[str] = "simulated"

    def __init__(
        self,
        market: Market = "driftless",
        *,
        seed: int = 7,
        n_bars: int = 35_040,
        start_ms: int = START_MS,
        auc: float = 0.65,
        horizon_bars: int = 4,
        half_life_bars: float = 8.0,
        visibility: float = 0.9,
        annual_volatility: float = 0.5,
        annual_drift: float = 1.0,
        price: float = 30_000.0,
        cost_bps: float = 5.0,
    ) -> None:
        if market not in get_args(Market):
            raise SourceError(f"market {market!r} is unknown: choose one of {', '.join(get_args(Market))}")
        for option, value, low, high in (
            ("n_bars", n_bars, 1, 50_000_000),
            ("seed", seed, 0, math.inf),
            ("auc", auc, 0.5, 0.99),
            ("horizon_bars", horizon_bars, 1, 10_000),
            ("half_life_bars", half_life_bars, 0.5, 1e6),
            ("visibility", visibility, 0.0, 1.0),
            ("annual_volatility", annual_volatility, 0.01, 5.0),
            ("annual_drift", annual_drift, -10.0, 10.0),
            ("price", price, 1e-6, 1e9),
            ("cost_bps", cost_bps, 0.0, 1000.0),
        ):
            if not low <= value <= high:
                raise SourceError(f"{option}={value!r} is out of range: give a value from {low} to {high}")
        self.market = market
        self.seed = seed
        self.n_bars = n_bars
        self.start_ms = start_ms
        self.auc = auc if market == "edge" else 0.5
        self.horizon_bars = horizon_bars
        self.visibility = visibility
        self.annual_volatility = annual_volatility
        self.annual_drift = annual_drift if market == "drifting" else 0.0
        self.price = price
        self.cost_bps = cost_bps
        self.phi = 0.5 ** (1.0 / half_life_bars)
        self.loading = edge_loading(self.auc, horizon_bars, self.phi)

    def history(
        self, symbol: str, timeframe: str, *, start_ms: int | None = None, end_ms: int | None = None
    ) -> Iterator[Bars]:
        """Yield the bars with `start_ms <= open_time < end_ms` in chunks, oldest first."""
        bars = self.simulate(symbol, timeframe)[0].between(start_ms, end_ms)
        for first in range(0, len(bars), _CHUNK):
            yield bars[first : first + _CHUNK]

    def span(self, symbol: str, timeframe: str) -> tuple[int, int] | None:
        """Return the open times of the first and the last bar; None if there is no bar."""
        return span_of(self.history(symbol, timeframe))

    def oracle(self, timeframe: str = "15m") -> Oracle:
        """Return what is declared of this market: the AUC and the Sharpe after costs of a trader who sees the flow."""
        return _oracle(
            self.loading,
            self.phi,
            self.volatility(timeframe),
            self.cost_bps / 1e4,
            auc=self.auc,
            bars_per_year=365 * DAY_MS / timeframe_ms(timeframe),
        )

    def volatility(self, timeframe: str) -> float:
        """Return the standard deviation of a bar's log return."""
        return self.annual_volatility / math.sqrt(365 * DAY_MS / timeframe_ms(timeframe))

    def simulate(self, symbol: str, timeframe: str) -> tuple[Bars, FloatArray]:
        """Return the whole history and the hidden flow at each bar's close, shape (n_bars,)."""
        step = timeframe_ms(timeframe)
        n = self.n_bars
        entropy = [self.seed, zlib.crc32(f"{symbol}|{timeframe}".encode())]
        shock_seed, flow_seed, shape_seed = np.random.SeedSequence(entropy).spawn(3)
        shocks = np.random.default_rng(shock_seed)
        flow = _ar1(np.random.default_rng(flow_seed).standard_normal(n), self.phi)
        sigma = np.full(n, self.volatility(timeframe))
        if self.market == "garch":
            noise = shocks.standard_t(6.0, n) * math.sqrt(4.0 / 6.0)
            sigma = _garch_volatility(noise, sigma[0])
        else:
            noise = shocks.standard_normal(n)
        tilt = np.concatenate([[0.0], self.loading * flow[:-1]]) if self.market == "edge" else np.zeros(n)
        innovation = math.sqrt(1.0 - self.loading**2) * noise
        drift = self.annual_drift / (365 * DAY_MS / step) - 0.5 * sigma**2
        log_return = sigma * (tilt + innovation) + drift
        first = self.start_ms - self.start_ms % step
        open_time = first + step * np.arange(n, dtype=np.int64)
        bars = self._shape(
            symbol, timeframe, open_time, log_return, sigma, flow, noise, np.random.default_rng(shape_seed)
        )
        return bars, flow

    def _shape(
        self,
        symbol: str,
        timeframe: str,
        open_time: NDArray[np.int64],
        log_return: FloatArray,
        sigma: FloatArray,
        flow: FloatArray,
        noise: FloatArray,
        rng: np.random.Generator,
    ) -> Bars:
        """Dress log returns as bars: a Brownian bridge's range, clustered volume, visible taker imbalance."""
        n = len(log_return)
        close = self.price * np.exp(np.cumsum(log_return))
        opened = np.concatenate([[self.price], close[:-1]])
        # The maximum of a Brownian bridge from 0 to r has this exact law; the minimum is drawn alike.
        up, down = -np.log(rng.uniform(1e-12, 1.0, (2, n)))
        bridge = 2.0 * sigma**2
        high = opened * np.exp(0.5 * (log_return + np.sqrt(log_return**2 + bridge * up)))
        low = opened * np.exp(0.5 * (log_return - np.sqrt(log_return**2 + bridge * down)))
        high = np.maximum(high, np.maximum(opened, close))
        low = np.minimum(low, np.minimum(opened, close))
        hour = (open_time % DAY_MS) / DAY_MS
        busy = 0.4 * _ar1(rng.standard_normal(n), 0.95) + 0.3 * np.abs(log_return / sigma)
        volume = 100.0 * np.exp(busy + 0.3 * np.sin(2.0 * np.pi * (hour - 0.4)))
        chance = 0.6 * noise + 0.8 * rng.standard_normal(n)
        pressure = self.visibility * flow + math.sqrt(1.0 - self.visibility**2) * chance
        share = 0.5 + 0.35 * np.tanh(0.4 * pressure)
        return Bars(
            symbol=symbol,
            timeframe=timeframe,
            open_time=open_time,
            open=opened,
            high=high,
            low=low,
            close=close,
            volume=volume,
            quote_volume=volume * (high + low + close) / 3.0,
            trades=np.round(20.0 * volume) + 1.0,
            taker_buy_volume=volume * share,
        )


SOURCE = Simulated


def block_permute(bars: Bars, *, block_bars: int = 16, seed: int = 7) -> Bars:
    """Shuffle blocks of real bars, so that what a bar looks like stays and what it foretells goes.

    Each bar keeps its own shape (open to high, low and close), volumes and its gap to the bar before it within its
    block; the order of the blocks is random and prices are chained anew from the first open. Times stay as they are.

    Parameters
    ----------
    bars
        The real bars.
    block_bars
        Bars kept together; volatility clusters survive within a block only.
    seed
        Seed of the order.

    Raises
    ------
    SourceError
        If `block_bars` is below 1 or above half of the bars.
    """
    n = len(bars)
    if not 1 <= block_bars <= n // 2:
        raise SourceError(f"block_bars={block_bars} does not fit {n} bars: give 1 to {n // 2}")
    blocks = np.array_split(np.arange(n), math.ceil(n / block_bars))
    order = np.concatenate([blocks[i] for i in np.random.default_rng(seed).permutation(len(blocks))])
    gap = np.concatenate([[0.0], np.log(bars.open[1:] / bars.close[:-1])])[order]
    body = np.log(bars.close / bars.open)[order]
    close = bars.open[0] * np.exp(np.cumsum(gap + body))
    opened = close / np.exp(body)
    permuted = bars[order]
    scale = opened / permuted.open
    return replace(
        permuted,
        open_time=bars.open_time,
        open=opened,
        high=np.maximum(permuted.high * scale, np.maximum(opened, close)),
        low=np.minimum(permuted.low * scale, np.minimum(opened, close)),
        close=close,
        quote_volume=None if permuted.quote_volume is None else permuted.quote_volume * scale,
    )


def _ar1(shocks: FloatArray, phi: float) -> FloatArray:
    """Return a stationary AR(1) of unit variance driven by unit shocks."""
    scale = math.sqrt(1.0 - phi**2)
    value = float(shocks[0])
    path = [value]
    for shock in shocks[1:].tolist():
        value = phi * value + scale * shock
        path.append(value)
    return np.asarray(path)


def _garch_volatility(noise: FloatArray, level: float, alpha: float = 0.08, beta: float = 0.9) -> FloatArray:
    """Return the conditional standard deviations of a GARCH(1,1) whose unconditional one is `level`."""
    omega = level**2 * (1.0 - alpha - beta)
    variance = level**2
    path = []
    for shock in noise.tolist():
        path.append(math.sqrt(variance))
        variance = omega + variance * (alpha * shock * shock + beta)
    return np.asarray(path)


@dataclass(frozen=True)
class _Chain:
    """The flow as a Markov chain on a grid, to weigh (entry, exit) pairs without simulating."""

    phi: float
    nodes: int = 121
    reach: float = 4.2

    @cached_property
    def grid(self) -> FloatArray:
        return np.linspace(-self.reach, self.reach, self.nodes)

    @cached_property
    def transition(self) -> FloatArray:
        """Row i: where the flow goes from node i (Tauchen 1986)."""
        half = 0.5 * (self.grid[1] - self.grid[0])
        scale = math.sqrt(2.0 * (1.0 - self.phi**2))
        edges = (self.grid[None, :-1] + half - self.phi * self.grid[:, None]) / scale
        below = 0.5 * (1.0 + np.vectorize(math.erf)(edges))
        ones = np.ones((self.nodes, 1))
        chance: FloatArray = np.diff(np.hstack([0.0 * ones, below, ones]), axis=1)
        return chance

    @cached_property
    def stationary(self) -> FloatArray:
        weight = np.linalg.matrix_power(self.transition, 4096)[self.nodes // 2]
        share: FloatArray = weight / weight.sum()
        return share

    def invested(self, entry: float, exit_: float) -> FloatArray:
        """Return the joint probability of each node and a long position decided there."""
        enters = (self.grid >= entry).astype(float)
        stays = (self.grid > exit_).astype(float)
        moves = (np.maximum(stays, enters) - enters)[:, None] * self.transition.T
        share: FloatArray = np.linalg.solve(np.eye(self.nodes) - moves, enters * self.stationary)
        return share


def _oracle(loading: float, phi: float, sigma: float, cost: float, *, auc: float, bars_per_year: float) -> Oracle:
    """Search the best (entry, exit) pair on the flow; the Sharpe ratio is exact on the grid."""
    chain = _Chain(phi)
    grid = chain.grid

    def sharpe(entry: float, exit_: float) -> float:
        share = chain.invested(entry, exit_)
        held = chain.transition.T @ share
        traded = float(np.sum((grid >= entry) * np.maximum(chain.stationary - held, 0.0)))
        mean = sigma * loading * float(share @ grid) - 2.0 * cost * traded
        second = sigma**2 * float(share @ (1.0 - loading**2 + (loading * grid) ** 2)) + 2.0 * cost**2 * traded
        spread = math.sqrt(max(second - mean**2, 1e-30))
        return mean / spread * math.sqrt(bars_per_year) if share.sum() > 1e-6 else 0.0

    best = (0.0, math.inf, math.inf)
    coarse = [(0.4 * i, 0.4 * (i - j)) for i in range(-2, 8) for j in range(12)]
    for entry, exit_ in coarse:
        best = max(best, (sharpe(entry, exit_), entry, exit_))
    fine = [(best[1] + 0.1 * i, best[2] + 0.1 * j) for i in range(-3, 4) for j in range(-3, 4)]
    for entry, exit_ in fine if math.isfinite(best[1]) else ():
        if exit_ <= entry:
            best = max(best, (sharpe(entry, exit_), entry, exit_))
    return Oracle(auc=auc, sharpe=best[0], entry=best[1], exit=best[2])
