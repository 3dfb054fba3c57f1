"""The linear member of `online`: FTRL-proximal on standardised columns, which can begin anew beside itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

import kalibre.learners._ftrl as ftrl
import kalibre.learners._scaler as scaler
from kalibre.core.errors import LearnerError
from kalibre.core.protocols import FloatArray
from kalibre.learners._adwin import COLUMNS, SIZES
from kalibre.learners._online_state import fitting


class Ftrl:
    """Logistic regression that learns one sample at a time, at two rates, and begins anew beside itself after an alarm.

    Columns are standardised by their running mean and variance. Two models, a slow and a fast one, learn every sample
    by FTRL-proximal; the forecast is their mixture, weighed by fixed share. ADWIN watches the squared error of what was
    said. Where it has risen, two more models begin from nothing, with a scaler of their own and half of the say. When
    what happened was 20 times as likely to them as to the old ones they take over; if that does not come within 2,000
    samples they are let go.

    Parameters
    ----------
    n_columns
        Numbers of a row.
    horizon_bars
        Bars that a label looks ahead: that many neighbouring samples share one another's bars.
    rates
        The paper's alpha of the slow and the fast model, for one column; divided by columns and root of the horizon.
    memories
        Samples (that do not overlap) which the slow and the fast model remember; infinite in the paper.
    beta, l1, l2
        The paper's other parameters.
    furthest
        Standard deviations at which a number is cut off.
    memory
        Samples that the scaler remembers.
    switching
        The fixed share: how much of its say a model passes on after each sample.
    doubt, every
        Of the detector: how likely an alarm may be by chance, and values between two looks. A doubt of 0 leaves it out.

    Raises
    ------
    LearnerError
        If there is no column.

    References
    ----------
    McMahan et al. (2013), Ad click prediction: a view from the trenches, KDD 19, 1222-1230, Algorithm 1. Welford
    (1962), Technometrics 4(3), 419-420. Herbster and Warmuth (1998), Machine Learning 32, 151-178: fixed share.

    Examples
    --------
    >>> model = Ftrl(1)
    >>> for t in range(1, 401):
    ...     row = np.array([float(t % 2)])
    ...     _ = model.predict_proba_one(row, t)
    ...     _ = model.learn_one(row, t % 2 == 0, t)
    >>> model.predict_proba_one(np.array([0.0]), 401) > 0.95
    True
    """

    def __init__(
        self,
        n_columns: int,
        *,
        horizon_bars: int = 1,
        rates: tuple[float, float] = (0.3, 4.0),
        memories: tuple[float, float] = (math.inf, 700.0),
        beta: float = 1.0,
        l1: float = 1.0,
        l2: float = 0.0,
        furthest: float = 3.0,
        memory: float = 5_000.0,
        switching: float = 1.0 / 2_000.0,
        doubt: float = 0.002,
        every: int = 8,
    ) -> None:
        if n_columns < 1:
            raise LearnerError(f"{n_columns} columns are too few: give it one or more")
        alphas = [rate / (n_columns * math.sqrt(horizon_bars)) for rate in rates]
        kept = [1.0 - 1.0 / (one * horizon_bars) for one in memories]
        told = [*alphas, *kept, beta, l1, l2, furthest, memory, switching, float(horizon_bars), doubt, float(every)]
        self._table = np.zeros((ftrl.MODELS + 2 * ftrl.RATES * ftrl.MODEL_ROWS, n_columns + 1))
        self._book = np.zeros((ftrl.SAID + horizon_bars + 1, ftrl.COURSE_COLUMNS))
        self._book[ftrl.SHARE, : ftrl.RATES] = 1.0 / ftrl.RATES
        self._window = np.zeros((1 + SIZES, COLUMNS))
        self._row = self._table[ftrl.ROW, :n_columns]
        # The tables stay the same ones as long as the model lives, so the kernels are told once where they are.
        self._forecast: Callable[..., float] = ftrl.forecast.bind_alone(  # type: ignore[attr-defined]
            self._table, self._book, np.array(told)
        )
        self._learn: Callable[..., bool] = ftrl.learn.bind_alone(  # type: ignore[attr-defined]
            self._table, self._book, self._window, np.array(told)
        )

    def predict_proba_one(self, row: FloatArray, close_ms: float) -> float | None:
        """Return the probability of up, and remember it by the bar's close (above 0); None if a number is unknown."""
        self._row[:] = row
        p = self._forecast(close_ms)
        return p if p == p else None  # noqa: PLR0124  (NaN, in less time than math.isnan takes)

    def learn_one(self, row: FloatArray, up: bool, close_ms: float) -> bool:
        """Learn what became of a bar, in order; say whether its error raised the alarm.

        A row with an unknown number teaches nothing; one that was not forecast teaches the models, not their weights.
        """
        self._row[:] = row
        return self._learn(close_ms, up)

    def begin_anew(self) -> None:
        """Let new models begin beside the old ones, as after an alarm."""
        ftrl.begin_anew(self._table, self._book)

    # --- what it has learnt -------------------------------------------------------------------------------------------

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weight of each standardised column, and last the intercept: the mean of the models by their say."""
        share = self._book[ftrl.SHARE, : 2 * ftrl.RATES]
        weights: NDArray[np.float64] = share @ self._table[ftrl.MODELS + ftrl.WEIGHT :: ftrl.MODEL_ROWS]
        return weights

    @property
    def shares(self) -> tuple[float, ...]:
        """The say of the slow and the fast model, and of the new slow and the new fast one (0: there is none)."""
        return tuple(self._book[ftrl.SHARE, : 2 * ftrl.RATES].tolist())

    @property
    def means(self) -> NDArray[np.float64]:
        """The running mean of each column."""
        return self._table[ftrl.SCALER + scaler.MEAN, :-1].copy()

    @property
    def variances(self) -> NDArray[np.float64]:
        """The running variance of each column (population)."""
        return self._table[ftrl.SCALER + scaler.VARIANCE, :-1].copy()

    @property
    def alarms(self) -> int:
        """How often the error has risen."""
        return int(self._book[0, ftrl.ALARMS])

    @property
    def takeovers(self) -> int:
        """How often new models took the place of the old."""
        return int(self._book[0, ftrl.TAKEN])

    @property
    def is_renewing(self) -> bool:
        """Whether new models learn beside the old."""
        return bool(self._book[0, ftrl.AGE] > 0.0)

    # --- state --------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, NDArray[np.float64]]:
        """Return everything that later answers depend on; the arrays are live."""
        return {"table": self._table, "book": self._book, "window": self._window}

    def judged(self, state: Mapping[str, Any]) -> Callable[[], None]:
        """Return what takes on a state returned by `state`.

        Raises
        ------
        LearnerError
            If it does not fit; nothing changes before what is returned is called.
        """
        kept = self.state()
        given = fitting(state, kept)

        def take() -> None:
            for name, array in kept.items():
                np.copyto(array, given[name])

        return take
