"""The reinforcement learner's market as a gymnasium environment: other agents can be trained on it and compared.

Imported by who asks `kalibre.learners.reinforcement` for it, because gymnasium is needed by nobody else.
"""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import Bars
from kalibre.core.errors import LearnerError
from kalibre.core.protocols import FloatArray
from kalibre.learners._reinforcement_states import COLUMNS, N_CELLS, TREND_BARS, Reading, cell_of
from kalibre.learners._reinforcement_table import AVERSION, Prices, reward, wished

_REACH = 10.0
"""No number of a box observation is further from 0."""


class MarketEnv(gymnasium.Env[Any, Any]):
    """One stretch of a market, traded long or flat by an account too small to move it.

    An observation is what the learner sees at a bar's close. `index`: the cell that the bar belongs to most, times 2,
    plus 1 if long. `box`: RSI from -1 to 1, MACD, its histogram, the distance from the mean of 96 bars, all in units
    of volatility, the logarithm of volatility over its usual level, and 1 if long; within ±10. An action (0 HOLD,
    1 BUY, 2 SELL) fills at the next bar's open; the step ends at that bar's close with the reward that the learner's
    own code computes, in units of volatility. `info` says by how much the account grew (`growth`, logarithm, after
    costs), what is `held` and which `row` was reached. An episode never terminates; it is truncated at its end.

    Parameters
    ----------
    open_price, close_price
        Shape (n_bars,), quote currency, no bar missing.
    rows
        Shape (n_bars, 6), the features `COLUMNS` at each close; all known.
    fee
        What a side of a trade costs, as a share of its value, slippage included.
    aversion
        What the squared downside of a bar weighs in the reward.
    observation
        `index` or `box`.
    episode_bars
        Steps of an episode; None for as many as there are.
    random_start
        Whether an episode begins at a random row instead of the first one; `reset(options={"start": row})` says where.

    Raises
    ------
    LearnerError
        If shapes differ, a price is none, a feature is unknown, or an episode does not fit; the message quotes it.

    Examples
    --------
    >>> rows = np.tile([50.0, 1e-4, 1e-5, 0.01, 1e-3, 1e-3], (3, 1))
    >>> env = MarketEnv(np.array([1.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0]), rows, fee=0.0)
    >>> _, _ = env.reset(seed=1)
    >>> env.step(1)[4]["held"], round(env.step(0)[4]["growth"], 3)
    (1, 0.693)
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  (gymnasium's own form)

    def __init__(
        self,
        open_price: FloatArray,
        close_price: FloatArray,
        rows: FloatArray,
        *,
        fee: float,
        aversion: float = AVERSION,
        observation: Literal["index", "box"] = "index",
        episode_bars: int | None = None,
        random_start: bool = False,
    ) -> None:
        rows = np.ascontiguousarray(rows, dtype=np.float64)
        _check(np.asarray(open_price), np.asarray(close_price), rows)
        steps = len(rows) - 1 if episode_bars is None else episode_bars
        if not 1 <= steps < len(rows):
            raise LearnerError(f"an episode of {steps} bars does not fit {len(rows)} rows: give 1 to {len(rows) - 1}")
        if observation not in ("index", "box"):
            raise LearnerError(f"observation {observation!r} is unknown: choose index or box")
        self._open, self._close = np.asarray(open_price).tolist(), np.asarray(close_price).tolist()
        self._volatility, self._fee, self._aversion = rows[:, -1].tolist(), float(fee), float(aversion)
        self._steps, self._random_start = steps, random_start
        self._cells: list[int] = []
        self._box: NDArray[np.float32] | None = None
        if observation == "index":
            self._cells = [cell_of(Reading(*row)) for row in rows.tolist()]
            self.observation_space = gymnasium.spaces.Discrete(2 * N_CELLS)
        else:
            self._box = _boxed(rows)
            self.observation_space = gymnasium.spaces.Box(-_REACH, _REACH, (self._box.shape[1],), np.float32)
        self.action_space = gymnasium.spaces.Discrete(3)
        self._row, self._end, self._held = 0, 0, 0

    @classmethod
    def of_bars(cls, bars: Bars, **options: Any) -> MarketEnv:
        """Return the environment of bars that follow each other, from the first one whose features are known.

        Raises
        ------
        LearnerError
            If a bar is missing, or too few are left once the features are known.
        """
        from kalibre.features.engine import FeatureEngine, FeatureSpec

        if (holes := np.flatnonzero(np.diff(bars.open_time) != bars.step_ms)).size:
            raise LearnerError(f"a bar is missing after row {holes[0]} of {bars.symbol}: pass a stretch without holes")
        rows = FeatureEngine(FeatureSpec(bars.timeframe, columns=COLUMNS)).batch(bars)
        known = np.isfinite(rows).all(axis=1)
        if known.sum() < 2:
            raise LearnerError(f"{len(bars)} bars of {bars.symbol} are too few for its features: pass 700 or more")
        first = int(np.argmax(known))
        return cls(bars.open[first:], bars.close[first:], rows[first:], **options)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, flat."""
        super().reset(seed=seed)
        last = len(self._close) - 1 - self._steps
        start = int(self.np_random.integers(last + 1)) if self._random_start else 0
        start = int((options or {}).get("start", start))
        if not 0 <= start <= last:
            raise LearnerError(f"no episode of {self._steps} bars starts at row {start}: give 0 to {last}")
        self._row, self._end, self._held = start, start + self._steps, 0
        return self._observed(), {"held": 0, "row": start}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Fill the action at the next open, and go on to that bar's close."""
        row = self._row
        if row >= self._end:
            raise LearnerError(f"the episode has ended at row {self._end}: call reset")
        holds = wished(int(action), self._held)
        prices = Prices(self._close[row], self._open[row + 1], self._close[row + 1])
        gained, growth = reward(self._held, holds, prices, self._volatility[row], self._fee, self._aversion)
        self._row, self._held = row + 1, holds
        info = {"growth": growth, "held": holds, "row": row + 1}
        return self._observed(), gained, False, row + 1 == self._end, info

    def observations(self, held: int) -> NDArray[Any]:
        """Return what is observed at every row by who holds `held`, first axis the rows: to judge a policy at once."""
        if self._box is None:
            return 2 * np.array(self._cells, dtype=np.int64) + held
        seen = self._box.copy()
        seen[:, -1] = held
        return seen

    def _observed(self) -> Any:
        if self._box is None:
            return np.int64(2 * self._cells[self._row] + self._held)
        seen = self._box[self._row].copy()
        seen[-1] = self._held
        return seen


def _boxed(rows: FloatArray) -> NDArray[np.float32]:
    rsi, macd, histogram, distance, volatility_now, volatility = rows.T
    with np.errstate(divide="ignore"):
        wildness = np.log(volatility_now / volatility)
    columns = (
        rsi / 50.0 - 1.0,
        macd / (5.0 * volatility),
        histogram / (2.0 * volatility),
        distance / (volatility * np.sqrt(TREND_BARS)),
        wildness,
        np.zeros(len(rows)),
    )
    boxed: NDArray[np.float32] = np.clip(np.column_stack(columns), -_REACH, _REACH).astype(np.float32)
    return boxed


def _check(open_price: FloatArray, close_price: FloatArray, rows: FloatArray) -> None:
    if open_price.shape != close_price.shape or rows.shape != (*close_price.shape, len(COLUMNS)) or len(rows) < 2:
        raise LearnerError(
            f"opens {open_price.shape}, closes {close_price.shape} and rows {rows.shape} do not fit: pass (n,), (n,) "
            f"and (n, {len(COLUMNS)}), n at least 2"
        )
    for name, prices in (("open", open_price), ("close", close_price)):
        if (bad := np.flatnonzero(~(np.isfinite(prices) & (prices > 0)))).size:
            raise LearnerError(f"{name} {prices[bad[0]]} at row {bad[0]} is no price: pass a stretch without holes")
    unknown = ~np.isfinite(rows).all(axis=1) | (rows[:, -1] <= 0)
    if (bad := np.flatnonzero(unknown)).size:
        raise LearnerError(f"row {bad[0]} is not known, {rows[bad[0]]}: begin after the features' warm-up")
