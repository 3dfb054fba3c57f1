"""Everything that bars lead to, stage by stage: columns, volatility, labels, score, probability, signal.

It is the chain that training and live trading run, laid open so that the verification can look at each stage by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from kalibre.core.bars import Bars
from kalibre.core.errors import RegistryError, VerificationError
from kalibre.core.protocols import FloatArray, Label
from kalibre.evaluation.verification import Progress, Table, VerificationReport, same, verify
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.trading.policy import Policy
from kalibre.trading.series import VOLATILITY, sizing_volatility

if TYPE_CHECKING:
    from kalibre.models.bundle import ModelBundle

Stage = Callable[[FloatArray], FloatArray]

LABEL_COLUMNS: Final = ("labels_known", "labels_up", "labels_fingerprint")
SIZING: Final = "sizing_volatility"
MODEL_COLUMNS: Final = ("score", "p_up", "signal")


@dataclass(frozen=True)
class Pipeline:
    """A callable from bars to all their columns, with the warm-up of each and the same computed bar by bar.

    Row ``t`` of every column is what is known at the close of bar ``t``. The columns, in order: those of the engine;
    with a `volatility`, `sizing_volatility`; with a `label`, the labels that became known at that close
    (`label_columns`); with a `score`, `score`, `p_up` and `signal` (1 where the policy would enter if flat, -1 where it
    would leave if long, else 0).

    Parameters
    ----------
    engine
        Computes the features.
    label
        What the model learns from; None leaves it out.
    volatility
        What positions are sized by; None leaves it out.
    score, calibrate, decide
        From rows of features to scores, to probabilities, to signals; None leaves the model out.

    Examples
    --------
    >>> from kalibre.features.engine import FeatureSpec
    >>> from kalibre.labels.direction import Direction
    >>> pipeline = Pipeline(FeatureEngine(FeatureSpec("1h", columns=("range_relative",))), Direction(horizon_bars=4))
    >>> pipeline.warmup["labels_known"], pipeline.warmup["sizing_volatility"]
    (4, 20)
    """

    engine: FeatureEngine
    label: Label | None = None
    volatility: Callable[[Bars], FloatArray] | None = sizing_volatility
    score: Stage | None = None
    calibrate: Stage | None = None
    decide: Stage | None = None

    @classmethod
    def of_bundle(cls, bundle: ModelBundle, label: Label | None) -> Pipeline:
        """Return the pipeline of a stored model.

        Raises
        ------
        RegistryError
            If this version computes other features than the model was trained on: proving those says nothing of it.
        """
        engine = FeatureEngine(bundle.spec)
        if engine.fingerprint != bundle.feature_fingerprint:
            raise RegistryError(
                f"model {bundle.model_id!r} was trained on features {bundle.feature_fingerprint[:12]}, this version "
                f"computes {engine.fingerprint[:12]}: train again, then verify that model"
            )
        policy = Policy(bundle.entry_threshold, bundle.exit_threshold)
        return cls(
            engine, label, score=bundle.score, calibrate=bundle.calibrator.apply, decide=lambda p: signals(p, policy)
        )

    @cached_property
    def warmup(self) -> Mapping[str, int]:
        """For each column, the rows after which it has forgotten where its history began."""
        found = dict(zip(self.engine.columns, self.engine.warmup_bars.tolist(), strict=True))
        if self.volatility is not None:
            found[SIZING] = self._sizing().warmup
        if self.label is not None:
            found |= dict.fromkeys(LABEL_COLUMNS, label_warmup(self.label))
        if self.score is not None:
            found |= dict.fromkeys(MODEL_COLUMNS, self.engine.warmup)
        return found

    def _sizing(self) -> FeatureEngine:
        return FeatureEngine(FeatureSpec(self.engine.spec.timeframe, columns=(VOLATILITY,)))

    def __call__(self, bars: Bars) -> Table:
        """Return every column over a history, as training computes it."""
        values = self.engine.batch(bars)
        parts = [values]
        if self.volatility is not None:
            parts.append(self.volatility(bars)[:, None])
        if self.label is not None:
            parts.append(label_columns(self.label, bars))
        if self.score is not None:
            parts.append(self._judged(self.score(values)))
        return Table(tuple(self.warmup), np.hstack(parts))

    def live(self, bars: Bars) -> Table:
        """Return what live trading would compute, one closed bar at a time: every column but the labels."""
        engine, sizing = FeatureEngine(self.engine.spec), self._sizing()
        names = [name for name in self.warmup if name not in LABEL_COLUMNS]
        out = np.empty((len(bars), len(names)))
        for t, bar in enumerate(bars):
            row = engine.step(bar)
            parts = [row]
            if self.volatility is not None:
                parts.append(sizing.step(bar))
            if self.score is not None:
                parts.append(self._judged(self.score(row[None, :]))[0])
            out[t] = np.concatenate(parts)
        return Table(names, out)

    def _judged(self, score: FloatArray) -> FloatArray:
        assert self.calibrate is not None
        assert self.decide is not None
        p_up = self.calibrate(score)
        return np.column_stack([score, p_up, self.decide(p_up)])


def signals(p_up: FloatArray, policy: Policy) -> FloatArray:
    """Return 1 where a policy would enter if flat, -1 where it would leave if long, else 0; NaN where p_up is.

    Examples
    --------
    >>> signals(np.array([0.7, 0.5, 0.2, np.nan]), Policy(0.6, 0.4)).tolist()
    [1.0, 0.0, -1.0, nan]
    """
    signal = (p_up >= policy.entry_threshold).astype(np.float64) - (p_up <= policy.exit_threshold)
    signal[np.isnan(p_up)] = np.nan
    return signal


def label_columns(label: Label, bars: Bars) -> FloatArray:
    """Return labels as columns: each at the row at whose close it is known, which makes the laws of a column exact.

    Three columns: how many labels became known at the row, how many of them were up, and a fingerprint of which ones:
    a sum of one 38-bit number for each, mixed from how many bars ago its sample was taken and whether it was up. Two
    different sets of labels then differ in their columns, and shifting history by some bars changes nothing.

    Returns
    -------
    Shape (n_bars, 3), whole numbers.

    Examples
    --------
    >>> from kalibre.labels.direction import Direction
    >>> price = np.array([1.0, 2.0, 2.0, 1.0])
    >>> bars = Bars("X", "1h", np.arange(4) * 3_600_000, price, price, price, price, price)
    >>> label_columns(Direction(horizon_bars=1), bars)[:, :2].tolist()
    [[0.0, 0.0], [1.0, 1.0], [1.0, 0.0], [1.0, 0.0]]
    """
    y, known_row = label.compute(bars)
    sample = np.flatnonzero(~np.isnan(y) & (known_row >= 0) & (known_row < len(bars)))
    row, up = known_row[sample], y[sample]
    columns = np.zeros((len(bars), 3))
    np.add.at(columns[:, 0], row, 1.0)
    np.add.at(columns[:, 1], row, up)
    np.add.at(columns[:, 2], row, _mixed(2 * (row - sample) + (up > 0.5)))
    return columns


def label_warmup(label: Label) -> int:
    """Return the rows after which a label's columns have forgotten where the history began.

    A label may say by `lookback_bars` how many bars before its sample it reads; one that says nothing reads none.
    """
    return int(getattr(label, "lookback_bars", 0)) + int(getattr(label, "horizon_bars", 1))


def _mixed(number: NDArray[np.int64]) -> FloatArray:
    """Mix whole numbers into 38 bits (splitmix64): ten thousand of them still add up exactly in a float."""
    x = number.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(26)).astype(np.float64)


def verify_features(bars: Bars, spec: FeatureSpec, *, cuts: int = 48, seed: int = 7) -> VerificationReport:
    """Verify every column of a feature spec; a row that `step` computes otherwise than `batch` counts as mismatched.

    Raises
    ------
    VerificationError
        If the history is shorter than the longest warm-up.
    FeatureError
        If the bars are of another timeframe or unsound.
    """
    return verify_pipeline(bars, Pipeline(FeatureEngine(spec), volatility=None), cuts=cuts, seed=seed)


def verify_pipeline(
    bars: Bars, pipeline: Pipeline, *, cuts: int = 48, seed: int = 7, progress: Progress | None = None
) -> VerificationReport:
    """Verify everything from bars to signals; a row that live trading computes otherwise counts as mismatched.

    Raises
    ------
    VerificationError
        If the history is shorter than the longest warm-up, or a model says nothing about any bar of it: then there is
        nothing to prove.
    FeatureError
        If the bars are of another timeframe or unsound.
    """
    report = verify(pipeline, bars, warmup=pipeline.warmup, cuts=cuts, seed=seed, progress=progress)
    if "p_up" in report.columns and not report.columns["p_up"].known:
        empty = [name for name in pipeline.engine.columns if not report.columns[name].known]
        raise VerificationError(
            f"the model says nothing about any of {len(bars)} bars, since these columns are unknown in all of them: "
            f"{empty}; verify it on bars that have what they need (taker volume), or on more of them"
        )
    if progress is not None:
        progress("bar by bar", 0, 1)
    whole, live = pipeline(bars), pipeline.live(bars)
    for name in live:
        rows = np.flatnonzero(~same(whole[name], live[name]))
        if rows.size:
            report.columns[name].mismatched += int(rows.size)
            report.columns[name].note(rows, "computed bar by bar")
    if progress is not None:
        progress("bar by bar", 1, 1)
    return report
