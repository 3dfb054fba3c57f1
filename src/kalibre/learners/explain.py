"""Explain: why the champion says what it says, bar by bar, exactly; and whether its reasons are still the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from weakref import WeakKeyDictionary

import numpy as np

from kalibre.core.errors import KalibreError, LearnerError, ModelError
from kalibre.core.events import Event, Promotion, series_key
from kalibre.core.learning import Moment, Note, Seat
from kalibre.core.protocols import FloatArray, State
from kalibre.learners._explain_drift import divergence, rank_correlation
from kalibre.learners._explain_words import (
    BIAS,
    REST,
    Language,
    Reading,
    column_name,
    sentence,
    silent,
    strongest,
    words,
)
from kalibre.learners._treeshap import Contributions, TreeShap

if TYPE_CHECKING:
    from kalibre.models.bundle import ModelBundle
    from kalibre.models.gradient_boosting import GradientBoosting

__all__ = ["LEARNER", "Contributions", "Explain", "explain_row", "reasons", "words"]

_TOLD = 8
"""Columns that a note names."""
_MEMORY = 2_000.0
"""Bars that the running importance remembers."""
_REFERENCE = 500
"""Bars after the promotion from which the importance is kept that later ones are held against."""

_explainers: WeakKeyDictionary[GradientBoosting, TreeShap] = WeakKeyDictionary()


def _explainer(bundle: ModelBundle) -> TreeShap:
    found = _explainers.get(bundle.classifier)
    if found is None:
        found = _explainers[bundle.classifier] = TreeShap(bundle.classifier)
    return found


def explain_row(bundle: ModelBundle, row: FloatArray) -> Contributions:
    """Return what each column of a row adds to a model's log-odds, before calibration.

    Parameters
    ----------
    bundle
        The model; its tables are made once and kept as long as it is.
    row
        Shape (n_columns,), the columns of `bundle.spec`.

    Raises
    ------
    ModelError
        If the row has another number of columns, or the model's text does not tell how many samples came to each node.
    """
    return _explainer(bundle).explain_one(row)


def reasons(
    bundle: ModelBundle, row: FloatArray, explained: Contributions, lang: Language = "en", *, most: int = _TOLD
) -> list[str]:
    """Say why, a sentence for each of the strongest columns with its value: `RSI(14) is low (23.4): raises ...`."""
    told = strongest(dict(zip(explained.columns, explained.values.tolist(), strict=True)))[:most]
    places = {name: place for place, name in enumerate(explained.columns)}
    found = [
        sentence(name, float(row[places[name]]), added, lang, _reading(bundle, places[name])) for name, added in told
    ]
    return found or [silent(lang)]


def _reading(bundle: ModelBundle, column: int) -> Reading:
    trees = bundle.classifier.trees
    splits = trees.threshold[trees.feature == column]
    usual = tuple(np.quantile(splits, (1 / 3, 2 / 3)).tolist()) if len(splits) else None
    return Reading(usual, scaled=bundle.spec.scale_window > 0)


class Explain:
    """Annotates every bar with the reasons of the champion of its series: exact TreeSHAP in its log-odds.

    It follows the promotions of the log: from the promotion of a model on, it asks for that model's features and says
    what each column adds to the score of the bar, before calibration. A note names the eight strongest columns, `bias`
    (the mean score over the samples that the model was fitted on) and `rest` (all other columns), so that they add up
    to the model's log-odds (`math.fsum`), and in words what the strongest does. It abstains without a champion, where a
    feature is not known, and where the model cannot be loaded: that is tried at its promotion and after a restart.

    The running importance of a column is its mean absolute contribution over the last 2,000 bars or so. Its drift is
    the Jensen-Shannon divergence from that of the first 500 bars after the promotion: 0 the same reasons, 1 other ones.

    Expect it to mislead where columns say the same in other words: the credit is then split between them as the trees
    happened to split it. It tells what moved the model, not what moves the market; and reasons that drift say that
    the market's rows have changed, not that the model is wrong.

    Parameters
    ----------
    seat
        The series, and how to load a model.

    References
    ----------
    Lundberg, Erion, Chen et al. (2020), From local explanations to global understanding with explainable AI for trees,
    Nature Machine Intelligence 2, 56-67. Lin (1991), Divergence measures based on the Shannon entropy, IEEE
    Transactions on Information Theory 37(1), 145-151.
    """

    name: ClassVar[str] = "explain"
    role: ClassVar[Literal["forecaster", "annotator"]] = "annotator"
    columns: ClassVar[tuple[str, ...] | None] = None
    """A champion usually reads the default features: then enough bars are kept for its first one to be explained."""
    also_reads: ClassVar[frozenset[str]] = frozenset({"promotion"})

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self._key = f"{series_key(seat.symbol, seat.timeframe)}|champion"
        self._follow("", "")

    def _follow(self, model: str, digest: str) -> None:
        """Begin anew with another champion, or none."""
        self._model, self._digest = model, digest
        bundle, shap, self._problem = self._load(model, digest) if model else (None, None, "")
        self._take_on(bundle, shap)
        n = 0 if bundle is None else len(bundle.spec.names)
        self._importance, self._reference = np.zeros(n), np.zeros(n)
        self._n, self._weight, self._gap = 0, 0.0, 0.0

    def _take_on(self, bundle: ModelBundle | None, shap: TreeShap | None) -> None:
        self._bundle, self._shap = bundle, shap
        self._spec = None if bundle is None else bundle.spec.as_dict()
        self._readings: dict[int, Reading] = {}
        importance = {} if bundle is None else bundle.classifier.importance()
        self._training = np.array([] if bundle is None else [importance[name] for name in bundle.spec.names])

    def _load(self, model: str, digest: str) -> tuple[ModelBundle | None, TreeShap | None, str]:
        """Return a model and its explainer, or why there is none."""
        if self._seat.load_model is None:
            return None, None, f"model {model} cannot be loaded: this learner was given no way to"
        try:
            bundle: ModelBundle = self._seat.load_model(model, digest or None)
            if bundle.spec.timeframe != self._seat.timeframe:
                raise ModelError(f"it was trained on {bundle.spec.timeframe}, not {self._seat.timeframe}")
            if bundle.classifier.columns != bundle.spec.names:
                raise ModelError(f"its columns {bundle.classifier.columns} are not those of its features")
            return bundle, _explainer(bundle), ""
        except (KalibreError, OSError) as error:
            return None, None, f"model {model} cannot be explained: {error}"

    def take(self, event: Event) -> None:
        """Follow the promotions of the champion of the series."""
        promotion = event.payload
        if not isinstance(promotion, Promotion) or event.key != self._key:
            return
        model, digest = promotion.model or "", promotion.digest or ""
        if (model, digest) != (self._model, self._digest) or self._problem:
            self._follow(model, digest)

    @property
    def spec(self) -> Mapping[str, Any] | None:
        """The features of the champion; None without one."""
        return self._spec

    def annotate(self, moment: Moment) -> Note | None:
        """Return the reasons of the champion on this bar; None where it has none to give."""
        if self._bundle is None or self._shap is None or len(moment.row) != len(self._importance):
            return None
        explained = self._shap.explain_one(moment.row)
        if not math.isfinite(explained.score):
            return None
        self._remember(explained)
        told = strongest(dict(zip(explained.columns, explained.values.tolist(), strict=True)))[:_TOLD]
        values = dict(told)
        values[BIAS] = explained.bias
        values[REST] = math.fsum([explained.score, *(-added for added in values.values())])
        return Note(self._label(told, moment.row, explained.columns), values, self._model)

    def _label(self, told: list[tuple[str, float]], row: FloatArray, columns: tuple[str, ...]) -> str:
        if not told or self._bundle is None:
            return silent()
        name, added = told[0]
        place = columns.index(name)
        if place not in self._readings:
            self._readings[place] = _reading(self._bundle, place)
        return sentence(name, float(row[place]), added, reading=self._readings[place])

    def _remember(self, explained: Contributions) -> None:
        keep = 1.0 - 1.0 / _MEMORY
        self._importance = keep * self._importance + np.abs(explained.values)
        self._weight = keep * self._weight + 1.0
        self._n += 1
        self._gap = max(self._gap, abs(math.fsum([*explained.values, explained.bias]) - explained.score))
        if self._n == _REFERENCE:
            self._reference = self._importance / self._weight

    def figures(self) -> dict[str, float | None]:
        """Return how many bars were `explained`, and how far their reasons have drifted.

        `drift` is the divergence of the running importance from that after the promotion, `rank_correlation` the
        agreement of the two orders, `training_correlation` that with the shares of split gain at the fit; None where
        there is nothing to compare yet. `gap` is the largest difference of a sum of contributions from its score.
        """
        known = self._n >= _REFERENCE
        return {
            "explained": float(self._n),
            "drift": divergence(self._importance, self._reference) if known else None,
            "rank_correlation": rank_correlation(self._importance, self._reference) if known else None,
            "training_correlation": rank_correlation(self._importance, self._training) if self._n else None,
            "gap": self._gap if self._n else None,
        }

    def show(self) -> dict[str, Any]:
        """Return the champion and the importance of its columns, the most important first, in shares."""
        shown: dict[str, Any] = {"model": self._model or None, "problem": self._problem or None, "explained": self._n}
        if self._bundle is None:
            return {**shown, "importance": []}
        names = self._bundle.spec.names
        now, first = _shares(self._importance), _shares(self._reference)
        order = sorted(range(len(names)), key=lambda k: (-now[k], -self._training[k], k))
        rows = [
            {
                "column": names[k],
                "name": column_name(names[k]),
                "share": float(now[k]),
                "at_first": float(first[k]) if self._n >= _REFERENCE else None,
                "in_training": float(self._training[k]),
            }
            for k in order
            if now[k] > 0.0 or self._training[k] > 0.0
        ]
        return {**shown, "importance": rows}

    def state(self) -> State:
        """Return everything that later answers depend on; the model itself is named, not kept."""
        return {
            "model": self._model,
            "digest": self._digest,
            "problem": self._problem,
            "importance": self._importance,
            "reference": self._reference,
            "counts": np.array([float(self._n), self._weight, self._gap]),
        }

    def restore(self, state: State) -> None:
        """Take on a state returned by `state`, and load the model that it names.

        A model that could not be loaded then is not tried again before its next promotion; one that cannot be loaded
        now is told as the problem, and nothing is explained.

        Raises
        ------
        LearnerError
            If the state is none of this learner; nothing has changed then.
        """
        try:
            model, digest, problem = (str(state[name]) for name in ("model", "digest", "problem"))
            importance, reference = (np.array(state[name], dtype=np.float64) for name in ("importance", "reference"))
            n, weight, gap = np.array(state["counts"], dtype=np.float64).tolist()
        except (KeyError, TypeError, ValueError) as error:
            raise LearnerError(f"the state cannot be read: {error!r}; it is of another learner or damaged") from error
        bundle, shap = None, None
        if model and not problem:
            bundle, shap, problem = self._load(model, digest)
        if importance.shape != reference.shape or (
            bundle is not None and importance.shape != (len(bundle.spec.names),)
        ):
            raise LearnerError(
                f"the state keeps {importance.shape} and {reference.shape} columns of model {model!r}: it is damaged"
            )
        self._model, self._digest, self._problem = model, digest, problem
        self._take_on(bundle, shap)
        self._importance, self._reference = importance, reference
        self._n, self._weight, self._gap = int(n), weight, gap


def _shares(importance: FloatArray) -> FloatArray:
    total = importance.sum()
    shares: FloatArray = importance / total if total > 0.0 else np.zeros_like(importance)
    return shares


LEARNER = Explain
