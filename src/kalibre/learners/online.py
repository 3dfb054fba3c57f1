"""Incremental classifiers on all features: a linear one and a forest, which learn each sample once, as it matures."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, ClassVar, Literal

import numpy as np

from kalibre.core.errors import LearnerError
from kalibre.core.learning import Moment, Sample, Seat
from kalibre.core.protocols import State
from kalibre.learners._online_forest import Forest
from kalibre.learners._online_linear import Ftrl
from kalibre.learners._online_stack import Stack

_TOLD = 12
"""Coefficients that are shown."""


class Online:
    """Logistic regression and a forest of Hoeffding trees that learn every matured sample once, stacked by loss.

    The linear member is FTRL-proximal on columns that are standardised on the way; it begins anew beside itself when
    ADWIN says that its error has risen (`Ftrl`). The forest is an adaptive random forest of Hoeffding trees with normal
    attribute observers and background trees (`Forest`). What both say is stacked, and mixed with each of them and the
    base rate by fixed share (`Stack`), weighed by what was really said before the outcome. A bar with an unknown
    feature is not forecast and not learnt from.

    Labels come `horizon_bars` later and overlap, so weights count each sample as that part of one, and detectors see
    every `horizon_bars`-th only. Memory is bounded: state is arrays of numbers that never grow.

    Expect it to fail where what there is to learn is gone before some hundred samples could show it: a truth that
    changes its side every few days is over before an alarm is sure. The linear member cannot see that two columns
    matter only together, the forest needs thousands of samples to, and on mostly random outcomes it splits by chance:
    there its vote is worth little, and the weights have to find that out first. Where alarms are false, what was learnt
    stays, but the new models cost some loss for as long as they have their say.

    Parameters
    ----------
    seat
        The series; all of its columns are used.

    References
    ----------
    McMahan et al. (2013), Ad click prediction: a view from the trenches, KDD 19, 1222-1230: FTRL-proximal. Gomes et
    al. (2017), Adaptive random forests for evolving data stream classification, Machine Learning 106, 1469-1495.
    Domingos and Hulten (2000), Mining high-speed data streams, KDD 6, 71-80. Bifet and Gavalda (2007), Learning from
    time-changing data with adaptive windowing, SDM 7, 443-448; (2009), Adaptive learning from evolving data streams,
    IDA 8, 249-260. Herbster and Warmuth (1998), Tracking the best expert, Machine Learning 32, 151-178.

    Examples
    --------
    >>> from kalibre.core.learning import Seat
    >>> seat = Seat(symbol="X", timeframe="1h", horizon_bars=1, columns=("rsi_14", "roc_5"), fee=0.0, seed=1)
    >>> learner = Online(seat)
    >>> learner.figures()["n_trees"], learner.figures()["weight_linear"]
    (0.0, 0.25)
    """

    name: ClassVar[str] = "online"
    role: ClassVar[Literal["forecaster", "annotator"]] = "forecaster"
    columns: ClassVar[tuple[str, ...] | None] = None

    def __init__(self, seat: Seat) -> None:
        self._columns = seat.columns
        self._of = sha256("|".join(seat.columns).encode()).hexdigest()[:16]
        self._linear = Ftrl(len(seat.columns), horizon_bars=seat.horizon_bars)
        self._forest = Forest(len(seat.columns), seed=seat.seed, horizon_bars=seat.horizon_bars)
        self._stack = Stack(seat.horizon_bars)

    def predict_proba_one(self, moment: Moment) -> float | None:
        """Return the mixture of all members; None where a feature is unknown."""
        linear = self._linear.predict_proba_one(moment.row, moment.close_ms)
        forest = self._forest.predict_proba_one(moment.row)
        if linear is None or forest is None:
            return None
        return self._stack.mix(moment.close_ms, linear, forest)

    def learn_one(self, sample: Sample) -> None:
        """Let every member learn what became of a bar, and weigh them by what they said of it."""
        close_ms, row = sample.moment.close_ms, sample.moment.row
        if sample.score is None:  # it abstained: a feature was unknown
            return
        self._stack.weigh(close_ms, sample.went_up)
        self._linear.learn_one(row, sample.went_up, close_ms)
        self._forest.learn_one(row, sample.went_up)

    def figures(self) -> dict[str, float | None]:
        """Return `loss` of the newest forecasts, `n_trees`, `nodes`, `drifts` (trees replaced), `alarms`, and weights.

        `alarms` are those of the linear member, and `takeovers` how often new models took the place of its old.
        """
        return {
            "loss": self._stack.loss,
            "n_trees": float(self._forest.n_trees),
            "nodes": float(self._forest.n_nodes),
            "drifts": float(self._forest.drifts),
            "alarms": float(self._linear.alarms),
            "takeovers": float(self._linear.takeovers),
            **{f"weight_{name}": weight for name, weight in self._stack.weights.items()},
        }

    def show(self) -> dict[str, Any]:
        """Return the largest coefficients (per standard deviation), every tree, and the weights."""
        weights = self._linear.weights
        largest = np.argsort(-np.abs(weights[:-1]), kind="stable")[:_TOLD].tolist()
        shares = ("slow", "fast", "new_slow", "new_fast")
        return {
            "samples": self._stack.samples,
            "loss": self._stack.loss,
            "weights": self._stack.weights,
            "regressions": self._stack.coefficients,
            "linear": {
                "coefficients": {self._columns[k]: float(weights[k]) for k in largest if weights[k] != 0.0},
                "used": int(np.count_nonzero(weights[:-1])),
                "intercept": float(weights[-1]),
                "shares": dict(zip(shares, self._linear.shares, strict=True)),
                "alarms": self._linear.alarms,
                "takeovers": self._linear.takeovers,
                "renewing": self._linear.is_renewing,
            },
            "trees": self._forest.summary(self._columns),
        }

    # --- state --------------------------------------------------------------------------------------------------------

    def _members(self) -> tuple[tuple[str, Ftrl | Forest | Stack], ...]:
        return ("linear", self._linear), ("forest", self._forest), ("stack", self._stack)

    def state(self) -> State:
        """Return everything that later answers depend on."""
        arrays = {f"{name}.{key}": array for name, one in self._members() for key, array in one.state().items()}
        return {"columns": self._of, **arrays}

    def restore(self, state: State) -> None:
        """Take on a state returned by `state`.

        Raises
        ------
        LearnerError
            If it is of other columns or another horizon, or damaged; nothing has changed then.
        """
        if state.get("columns") != self._of:
            raise LearnerError(
                f"the state is of other columns ({state.get('columns')!r}, not {self._of!r}): replay the log"
            )
        ready = [
            one.judged(
                {key.removeprefix(f"{name}."): kept for key, kept in state.items() if key.startswith(f"{name}.")}
            )
            for name, one in self._members()
        ]
        for take in ready:
            take()


LEARNER = Online
