"""Gradient boosting: a LightGBM classifier of `up`, deterministic, small, and asked without LightGBM."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError
from kalibre.core.protocols import FloatArray
from kalibre.core.settings import ModelSettings
from kalibre.models import kernels
from kalibre.models.trees import Trees, parse

METRICS: Final = ("binary_logloss", "auc")
"""What early stopping may look at. Any other name is an error: LightGBM would stop on nothing, in silence."""

_FIXED: Final[Mapping[str, Any]] = {
    "objective": "binary",
    "num_threads": 1,
    "deterministic": True,
    "force_col_wise": True,
    # Bars' features are smooth and noisy: finer bins cost time and fit noise.
    "max_bin": 31,
    # Enough rows to place 31 edges; reading all of them takes longer than the boosting itself.
    "bin_construct_sample_cnt": 5_000,
    # Most columns are variations of each other; half of them per tree fits as well and twice as fast.
    "feature_fraction": 0.5,
    "lambda_l2": 1.0,
    # A model is never asked about a row with an unknown value, so no split may lean on one.
    "use_missing": False,
    "feature_pre_filter": False,
    "verbosity": -1,
}


@dataclass(frozen=True, eq=False)
class GradientBoosting:
    """A fitted classifier.

    Make one with `fit` or `from_text`. Predictions come from the trees themselves, not from LightGBM: backtest and
    serving walk the same compiled code, and a served answer imports neither LightGBM nor pandas.

    Parameters
    ----------
    text
        The model in LightGBM's text format, up to the best round.
    trees
        The same, as arrays.
    class_weights
        What a sample of each class weighed in the fit.
    stop_metric
        Name of the metric that early stopping looked at and its value at the best round; empty if not known.
    """

    text: str
    trees: Trees
    class_weights: Mapping[str, float]
    stop_metric: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        features: FloatArray,
        y: FloatArray,
        *,
        stop_features: FloatArray,
        stop_y: FloatArray,
        settings: ModelSettings,
        columns: Sequence[str],
    ) -> GradientBoosting:
        """Fit on one part, stop early on a later one.

        The rarer class weighs as much as the other in all, but a single sample of it never more than
        `settings.max_class_weight`. That tilts the raw probability; calibration comes after.

        Parameters
        ----------
        features, y
            Shapes (n_samples, n_columns), finite, and (n_samples,), 0.0 or 1.0.
        stop_features, stop_y
            The same of a later, purged part; rounds are added until `settings.metric` there has not improved for
            `settings.early_stopping_rounds`.
        settings
            Rounds, leaves, learning rate, metric, seed.
        columns
            Names of the columns.

        Raises
        ------
        ModelError
            If shapes differ, a value is not finite, a part has one class only, or the metric is not one of `METRICS`.

        References
        ----------
        Ke et al. (2017), LightGBM: A Highly Efficient Gradient Boosting Decision Tree, NeurIPS 30.
        """
        if settings.metric not in METRICS:
            raise ModelError(f"metric {settings.metric!r} cannot stop a fit early: choose one of {', '.join(METRICS)}")
        names = tuple(columns)
        _check_names(names)
        _check_part("fit", features, y, names)
        _check_part("stop", stop_features, stop_y, names)
        weights = class_weights(y, most=settings.max_class_weight)

        import lightgbm

        parameters = {
            **_FIXED,
            "metric": settings.metric,
            "seed": settings.seed,
            "learning_rate": settings.learning_rate,
            "num_leaves": settings.leaves,
            "min_data_in_leaf": settings.min_samples_leaf,
        }
        train = lightgbm.Dataset(
            features, y, weight=_sample_weights(y, weights), feature_name=list(names), params=parameters
        )
        stop = lightgbm.Dataset(
            stop_features, stop_y, weight=_sample_weights(stop_y, weights), reference=train, params=parameters
        )
        course: dict[str, dict[str, list[float]]] = {}
        try:
            booster = lightgbm.train(
                parameters,
                train,
                num_boost_round=settings.rounds,
                valid_sets=[stop],
                valid_names=["stop"],
                callbacks=[
                    lightgbm.record_evaluation(course),
                    lightgbm.early_stopping(settings.early_stopping_rounds, first_metric_only=True, verbose=False),
                ],
            )
        except (lightgbm.basic.LightGBMError, ValueError) as error:
            raise ModelError(f"LightGBM could not fit {len(y)} samples with {parameters}: {error}") from error
        if list(course.get("stop", {})) != [settings.metric]:
            raise ModelError(
                f"early stopping was to look at {settings.metric!r} but LightGBM measured "
                f"{sorted(course.get('stop', {}))}: choose one of {', '.join(METRICS)}"
            )
        best = int(booster.best_iteration)
        text = str(booster.model_to_string(num_iteration=best))
        return cls(
            text=text,
            trees=parse(text),
            class_weights=weights,
            stop_metric={settings.metric: float(course["stop"][settings.metric][best - 1])},
        )

    @classmethod
    def from_text(
        cls,
        text: str,
        *,
        class_weights: Mapping[str, float] | None = None,
        stop_metric: Mapping[str, float] | None = None,
    ) -> GradientBoosting:
        """Read a model back from LightGBM's text format.

        Raises
        ------
        ModelError
            If the text is damaged or not a binary classifier with plain numeric splits.
        """
        return cls(
            text=text, trees=parse(text), class_weights=dict(class_weights or {}), stop_metric=dict(stop_metric or {})
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return self.trees.columns

    @property
    def best_round(self) -> int:
        """Number of trees: the round at which the stated metric was best."""
        return len(self.trees.roots)

    def predict_proba(self, features: FloatArray) -> FloatArray:
        """Return the uncalibrated probability of up.

        Parameters
        ----------
        features
            Shape (n_rows, n_columns).

        Returns
        -------
        Shape (n_rows,); NaN for a row with a value that is not finite.

        Raises
        ------
        ModelError
            If the number of columns is not the model's; the message quotes both.
        """
        rows = np.ascontiguousarray(features, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.columns):
            raise ModelError(
                f"features of shape {rows.shape} do not fit a model of {len(self.columns)} columns: "
                f"pass shape (n_rows, {len(self.columns)})"
            )
        out = np.empty(len(rows))
        self._walk(rows, out)
        return out

    def predict_one(self, values: Sequence[float] | FloatArray) -> float:
        """Return what `predict_proba` says of one row, in a fraction of its time.

        Raises
        ------
        ModelError
            If the number of values is not the model's number of columns; the message quotes both.
        """
        if len(values) != len(self.columns):
            raise ModelError(
                f"{len(values)} values do not fit a model of {len(self.columns)} columns: pass one for each column"
            )
        threads = self._threads
        if not hasattr(threads, "walk"):
            threads.row = np.empty((1, len(self.columns)))
            threads.walk = kernels.probability_of.bind(*self._nodes(), threads.row)
        self._pack_into(threads.row, 0, *values)
        probability: float = threads.walk(0)
        return probability

    @cached_property
    def _walk(self) -> Callable[[FloatArray, FloatArray], None]:
        return kernels.probabilities.bind(*self._nodes())

    @cached_property
    def _threads(self) -> threading.local:
        """Each thread's own row, and the walk that reads it."""
        return threading.local()

    @cached_property
    def _pack_into(self) -> Callable[..., None]:
        return struct.Struct(f"{len(self.columns)}d").pack_into

    def _nodes(self) -> tuple[NDArray[Any], ...]:
        trees = self.trees
        return trees.roots, trees.feature, trees.threshold, trees.left, trees.right, trees.leaf

    def importance(self) -> dict[str, float]:
        """Return each column's share of the total split gain, largest first; all 0 for a model without splits."""
        gain = np.bincount(self.trees.feature, weights=self.trees.gain, minlength=len(self.columns))
        total = gain.sum()
        share = gain / total if total > 0 else gain
        order = np.argsort(-share, kind="stable")
        return {self.columns[i]: float(share[i]) for i in order}


def class_weights(y: FloatArray, *, most: float) -> dict[str, float]:
    """Weigh the rarer class up to balance, but no sample more than `most`.

    Parameters
    ----------
    y
        Shape (n_samples,), 0.0 or 1.0, both present.
    most
        Largest weight, at least 1.

    Examples
    --------
    >>> class_weights(np.array([0.0, 0.0, 0.0, 1.0]), most=5.0)
    {'down': 1.0, 'up': 3.0}
    >>> class_weights(np.array([0.0] + [1.0] * 9), most=5.0)
    {'down': 5.0, 'up': 1.0}
    """
    ups = float(y.sum())
    downs = len(y) - ups
    return {"down": min(max(ups / downs, 1.0), most), "up": min(max(downs / ups, 1.0), most)}


def _sample_weights(y: FloatArray, weights: Mapping[str, float]) -> FloatArray:
    return np.where(y > 0.5, weights["up"], weights["down"])


def _check_names(names: tuple[str, ...]) -> None:
    bad = [name for name in names if not name or set(name) & set(' \t\n",:[]{}=')]
    if bad or len(set(names)) != len(names):
        raise ModelError(
            f"columns {bad or list(names)} cannot be named in a model: names are distinct and hold no space, quote, "
            "comma, colon, equals sign or bracket"
        )


def _check_part(part: str, features: FloatArray, y: FloatArray, names: tuple[str, ...]) -> None:
    if features.shape != (len(y), len(names)):
        raise ModelError(
            f"{part}: features of shape {features.shape} do not fit {len(y)} labels and {len(names)} columns: "
            f"pass shape {(len(y), len(names))}"
        )
    if not np.isin(y, (0.0, 1.0)).all():
        raise ModelError(f"{part}: labels hold {np.setdiff1d(y, (0.0, 1.0))[:3].tolist()}: only 0 and 1 are labels")
    ups = int(y.sum())
    if ups in (0, len(y)):
        raise ModelError(
            f"{part}: one class only, {ups} samples up and {len(y) - ups} down: a classifier needs both; take more bars"
        )
    unknown = ~np.isfinite(features)
    if unknown.any():
        row, column = (int(i) for i in np.argwhere(unknown)[0])
        raise ModelError(
            f"{part}: column {names[column]!r} is {features[row, column]} in row {row}: build the data set with "
            "kalibre.dataset, which leaves such rows out"
        )
