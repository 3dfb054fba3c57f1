"""Dummies: what knows nothing gets on the same bars, at the same costs. A model that does not beat them is none.

- `base_rate`: the constant that fits the window best in hindsight, so that no constant could have done better.
- `persistence`: the last move over the horizon goes on; how often it did so was counted on the part fitted on.
- `buy_and_hold`: everything bought at the first open, never sold.
- `shuffled_labels`: the model's own recipe, trained on labels in random order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kalibre.core.bars import Bars
from kalibre.core.protocols import FloatArray
from kalibre.evaluation.figures import DummyFigures, ForecastFigures, TradingFigures

NAMES = ("base_rate", "persistence", "buy_and_hold", "shuffled_labels")


@dataclass(frozen=True)
class Persistence:
    """How often the last horizon's move went on, counted on the past: `p_up` after a rise and after anything else."""

    after_rise: float
    after_fall: float

    @classmethod
    def count(cls, moves: FloatArray, y: FloatArray) -> Persistence:
        """Count on past samples, with one success and one failure added to each side.

        Parameters
        ----------
        moves
            Shape (n_samples,), log return over the horizon that ends at each sample.
        y
            Shape (n_samples,), 1.0 where the horizon after it rose.
        """
        rose = moves > 0
        return cls(
            after_rise=float((y[rose].sum() + 1.0) / (rose.sum() + 2.0)),
            after_fall=float((y[~rose].sum() + 1.0) / ((~rose).sum() + 2.0)),
        )

    def predict(self, moves: FloatArray) -> FloatArray:
        """Return `p_up` after each move; NaN where the move is not known.

        Examples
        --------
        >>> Persistence(after_rise=0.6, after_fall=0.4).predict(np.array([0.1, -0.1, np.nan]))
        array([0.6, 0.4, nan])
        """
        p_up: FloatArray = np.where(moves > 0, self.after_rise, self.after_fall)
        p_up[np.isnan(moves)] = np.nan
        return p_up


def horizon_moves(bars: Bars, horizon_bars: int) -> FloatArray:
    """Return the log return over the horizon that ends at each close; NaN in the first `horizon_bars` rows."""
    moves = np.full(len(bars), np.nan)
    price = np.log(bars.close)
    moves[horizon_bars:] = price[horizon_bars:] - price[:-horizon_bars]
    return moves


def unbeaten(forecast: ForecastFigures, trading: TradingFigures, dummies: Sequence[DummyFigures]) -> tuple[str, ...]:
    """Name the dummies that are as good as the model in any figure that both have.

    A forecast is compared by AUC and log-loss, trading by its Sharpe ratio after costs. A figure that is not a number
    beats nothing.
    """
    return tuple(
        dummy.name
        for dummy in dummies
        if not (
            (dummy.auc is None or forecast.auc > dummy.auc)
            and (dummy.log_loss is None or forecast.log_loss < dummy.log_loss)
            and (dummy.trading is None or trading.sharpe > dummy.trading.sharpe)
        )
    )
