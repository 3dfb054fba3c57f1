"""Watches one forecaster for drift: in how much worse than the base rate it is, and in what it says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kalibre.core.hub_events import Drift
from kalibre.evaluation.drift import Adwin, PageHinkley, kolmogorov_smirnov, population_stability

_REFERENCE, _RECENT = 4_000, 2_000
"""Forecasts that are compared: the first ones since the last alarm, and the newest."""
_PSI_LIMIT, _KS_LEVEL = 0.25, 1e-4
_THIN = 20
"""Only every twentieth forecast is compared: neighbours say nearly the same, and would pass for evidence."""
_QUIET = 500
"""Forecasts after an alarm of a test until its next one."""
_LEAST_BLOCKS = 30
_CLIP, _ADWIN_UNIT = 6.0, 0.2
"""Standard deviations that an excess counts as at most, and as how much ADWIN sees one (it expects values within 1)."""
_JUST_BEFORE = 600
"""Forecasts back to which a new model or another regime is taken for an alarm's cause."""
_SETTLED_BARS = 24
"""Bars in a row after which a regime counts as one that the market has gone over to."""
_TESTS = ("adwin", "page_hinkley", "psi", "ks")


class DriftWatch:
    """Four tests on one forecaster, and what happened before an alarm.

    ADWIN and Page-Hinkley watch the log-loss beyond that of the base rate at the same bar, so that a market that is
    harder for everybody gives no alarm: its means over a horizon, as neighbouring forecasts share their outcome, in
    units of their own standard deviation, as who says bolder things is right and wrong by more. PSI and
    Kolmogorov-Smirnov compare the probabilities that a fixed model says: where they move, what comes in has moved. Who
    goes on learning says other things all the time, and is not compared.

    Parameters
    ----------
    fixed
        Whether it is a trained model that stays as it is until another is promoted.
    horizon_bars
        How many neighbouring forecasts share one another's bars.

    Examples
    --------
    >>> watch = DriftWatch(fixed=False, horizon_bars=1)
    >>> found = [a.test for k in range(4_000) for a in watch.take(0.0 if k < 2_000 else 0.5, 0.5, "online:0")]
    >>> "adwin" in found and "page_hinkley" in found
    True
    """

    def __init__(self, *, fixed: bool, horizon_bars: int) -> None:
        self._fixed, self._horizon = fixed, horizon_bars
        self._adwin = Adwin(delta=1e-4)
        self._page_hinkley = PageHinkley(delta=0.1, threshold=60.0, least=_LEAST_BLOCKS)
        self._block = [0, 0.0]
        """Excess losses since the last whole horizon: how many, and their sum."""
        self._spread = [0, 0.0, 0.0]
        """Number, mean and summed squared deviations of the means over a horizon."""
        self._reference: list[float] = []
        self._recent: list[float] = []
        self._n = 0
        self._quiet_until = dict.fromkeys(_TESTS, 0)
        self._model, self._model_since = "", -1
        self._regime, self._regime_since = "", -1
        self._lately, self._spell = "", 0

    def take_regime(self, label: str) -> None:
        """Take in the regime that the newest bar is in; empty where nobody says.

        On real bars names change every dozen bars: only one that stays is a switch, else any alarm had one before it.
        """
        if not label:
            return
        self._spell = self._spell + 1 if label == self._lately else 1
        self._lately = label
        if label != self._regime and self._spell >= _SETTLED_BARS:
            self._regime_since = self._n if self._regime else -1
            self._regime = label

    def take(self, excess_loss: float, p_up: float, model: str) -> list[Drift]:
        """Take in what became of a forecast and return the alarms that it gives."""
        self._n += 1
        if model != self._model:
            self._model_since = self._n if self._model else -1
            self._model = model
            self._reference, self._recent = [], []
        found = self._watch(excess_loss)
        if self._fixed and self._n % _THIN == 0:
            found += self._compare(p_up)
        return [self._alarm(*one) for one in found if self._n >= self._quiet_until[one[0]]]

    def _watch(self, excess_loss: float) -> list[tuple[str, float, float, str]]:
        self._block = [self._block[0] + 1, self._block[1] + excess_loss]
        if self._block[0] < self._horizon:
            return []
        mean = self._block[1] / self._horizon
        self._block = [0, 0.0]
        n, before, squares = self._spread
        n, off = n + 1, mean - before
        centre = before + off / n
        squares += off * (mean - centre)
        self._spread = [n, centre, squares]
        if n < _LEAST_BLOCKS:
            return []
        excess = min(max(mean / math.sqrt(squares / n), -_CLIP), _CLIP) if squares > 0.0 else 0.0
        found = []
        if alarm := self._adwin.take(_ADWIN_UNIT * excess):
            found.append(("adwin", alarm.statistic, alarm.threshold, "its losses have risen against the base rate's"))
        if alarm := self._page_hinkley.take(excess):
            found.append(("page_hinkley", alarm.statistic, alarm.threshold, "its losses keep above their mean"))
        return found

    def _compare(self, p_up: float) -> list[tuple[str, float, float, str]]:
        if len(self._reference) < _REFERENCE // _THIN:
            self._reference.append(p_up)
            return []
        self._recent.append(p_up)
        if len(self._recent) < _RECENT // _THIN:
            return []
        reference, recent = np.array(self._reference), np.array(self._recent)
        self._recent = []
        found = []
        stability = population_stability(reference, recent, n_bins=5)
        # What two samples of this size differ by through chance alone is taken off the usual limit.
        limit = _PSI_LIMIT + 4 * 2.0 * (1 / len(reference) + 1 / len(recent))
        if stability > limit:
            found.append(("psi", stability, limit, "what it says is distributed differently than before"))
        distance, p_value = kolmogorov_smirnov(reference, recent)
        if p_value < _KS_LEVEL:
            found.append(("ks", distance, _KS_LEVEL, f"the same with p = {p_value:.1e}"))
        if found:
            self._reference = []
        return found

    def _alarm(self, test: Any, statistic: float, threshold: float, detail: str) -> Drift:
        self._quiet_until[test] = self._n + _QUIET
        cause = self._cause()
        action = "retrain" if self._fixed else "it goes on learning"
        return Drift(test=test, statistic=statistic, threshold=threshold, cause=cause, action=action, detail=detail)

    def _cause(self) -> str:
        if self._model_since >= 0 and self._n - self._model_since < _JUST_BEFORE:
            return "retrain" if self._fixed else "reinitialisation"
        if self._regime_since >= 0 and self._n - self._regime_since < _JUST_BEFORE:
            return "regime switch"
        return "unknown"

    def state(self) -> dict[str, Any]:
        """Return everything that later answers depend on."""
        rest = [
            self._n,
            self._quiet_until,
            [self._model, self._model_since],
            [self._regime, self._regime_since, self._lately, self._spell],
            self._block,
            self._spread,
        ]
        return {
            "adwin": self._adwin.state(),
            "page_hinkley": self._page_hinkley.state(),
            "reference": np.array(self._reference),
            "recent": np.array(self._recent),
            "rest": json.dumps(rest, sort_keys=True),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take on what `state` returned."""
        self._adwin.restore(str(state["adwin"]))
        self._page_hinkley.restore(str(state["page_hinkley"]))
        self._reference, self._recent = state["reference"].tolist(), state["recent"].tolist()
        self._n, self._quiet_until, model, regime, self._block, self._spread = json.loads(str(state["rest"]))
        self._model, self._model_since = model
        self._regime, self._regime_since, self._lately, self._spell = regime
