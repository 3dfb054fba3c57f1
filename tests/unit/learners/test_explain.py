"""Explain: follows the champion, adds up, survives what cannot be loaded, and says why in two languages."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.models import bar_events, random_bars, small_bundle

from kalibre.core.bars import Bar
from kalibre.core.errors import LearnerError, RegistryError
from kalibre.core.events import Event, Promotion, decode_payload, encode_payload, new_event
from kalibre.core.hub_events import Annotation
from kalibre.core.learning import Annotator, Attentive, Moment, Note, Seat
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.learners._explain_drift import divergence, rank_correlation
from kalibre.learners._explain_words import strongest
from kalibre.learners.base import LearnerProjection, learner_class
from kalibre.learners.explain import Explain, explain_row, reasons, words
from kalibre.models.bundle import ModelBundle

KEY = "BTCUSDT|15m|champion"
COLUMNS = (
    "rsi_14",
    "log_return_3",
    "natr_14",
    "session_europe",
    "volume_z_20",
    "bollinger_position_20",
    "macd_relative_12_26",
    "cmf_20",
    "roc_10",
    "adx_14",
)
BAR = Bar(open_time=0, open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0)


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return small_bundle(columns=COLUMNS)


@pytest.fixture(scope="module")
def other() -> ModelBundle:
    return small_bundle(columns=COLUMNS[:4], seed=5)


@pytest.fixture(scope="module")
def rows(bundle: ModelBundle) -> Any:
    values = FeatureEngine(bundle.spec).batch(random_bars(2_000, seed=9))
    return values[np.isfinite(values).all(axis=1)]


def moment(t: int, row: Any) -> Moment:
    row = np.array(row, dtype=np.float64)
    row.flags.writeable = False
    return Moment((t + 1) * 900_000, BAR, row, True)


def promotion(bundle: ModelBundle | None, *, key: str = KEY, alias: Any = "champion") -> Event:
    model, digest = (None, None) if bundle is None else (bundle.model_id, bundle.digest)
    return new_event(key, 1, Promotion(model=model, digest=digest, alias=alias, previous=None, by="test"))


class Shelf:
    """Where models lie, by id and digest; it counts who asks."""

    def __init__(self, *bundles: ModelBundle) -> None:
        self.bundles = {bundle.model_id: bundle for bundle in bundles}
        self.asked = 0

    def __call__(self, model: str, digest: str | None) -> ModelBundle:
        self.asked += 1
        found = self.bundles.get(model)
        if found is None or digest not in (None, found.digest):
            raise RegistryError(f"model {model!r} is not there")
        return found


def learner(load: Callable[[str, str | None], Any] | None, *, timeframe: str = "15m") -> Explain:
    return Explain(
        Seat(
            symbol="BTCUSDT",
            timeframe=timeframe,
            horizon_bars=4,
            columns=COLUMNS,
            fee=0.0,
            seed=1,
            load_model=load,
        )
    )


def log_odds(bundle: ModelBundle, row: Any) -> float:
    p = float(bundle.classifier.predict_proba(row[None, :])[0])
    return math.log(p / (1.0 - p))


# --- following the champion -------------------------------------------------------------------------------------------


def test_it_is_an_attentive_annotator_found_by_its_file(bundle: ModelBundle) -> None:
    assert learner_class("explain") is Explain
    one = learner(Shelf(bundle))
    assert isinstance(one, Annotator)
    assert isinstance(one, Attentive)
    assert one.also_reads == {"promotion"}


def test_a_note_adds_up_to_the_log_odds_and_names_the_strongest(bundle: ModelBundle, rows: Any) -> None:
    one = learner(Shelf(bundle))
    one.take(promotion(bundle))
    for t, row in enumerate(rows[:300]):
        note = one.annotate(moment(t, row))
        assert note is not None
        assert note.about == bundle.model_id
        assert math.fsum(note.values.values()) == pytest.approx(log_odds(bundle, row), abs=1e-9)
        explained = explain_row(bundle, row)
        assert math.fsum(note.values.values()) == pytest.approx(explained.score, abs=1e-15)
        assert len(note.values) <= 10
        assert note.values["bias"] == explained.bias
        told = dict(strongest(note.values))
        found = dict(strongest(dict(zip(explained.columns, explained.values.tolist(), strict=True)))[:8])
        assert told == found
    gap = one.figures()["gap"]
    assert gap is not None
    assert gap < 1e-12


def test_it_asks_for_the_features_of_whoever_is_champion(bundle: ModelBundle, other: ModelBundle, rows: Any) -> None:
    one = learner(Shelf(bundle, other))
    assert one.spec is None
    assert one.annotate(moment(0, [0.0])) is None
    one.take(promotion(bundle))
    assert one.spec == bundle.spec.as_dict()
    assert one.annotate(moment(1, [0.0])) is None  # a row from before the promotion
    assert one.annotate(moment(2, rows[0])) is not None
    one.take(promotion(other))
    assert one.spec == other.spec.as_dict()
    note = one.annotate(moment(3, rows[0][:4]))
    assert note is not None
    assert note.about == other.model_id
    assert one.figures()["explained"] == 1.0
    one.take(promotion(None))
    assert one.spec is None
    assert one.annotate(moment(4, rows[0][:4])) is None


def test_other_series_and_challengers_are_none_of_its_business(bundle: ModelBundle) -> None:
    shelf = Shelf(bundle)
    one = learner(shelf)
    one.take(promotion(bundle, key="ETHUSDT|15m|champion"))
    one.take(promotion(bundle, key="BTCUSDT|15m|challenger", alias="challenger"))
    assert one.spec is None
    assert shelf.asked == 0


def test_the_same_promotion_again_forgets_nothing(bundle: ModelBundle, rows: Any) -> None:
    shelf = Shelf(bundle)
    one = learner(shelf)
    for _ in range(2):
        one.take(promotion(bundle))
        one.annotate(moment(0, rows[0]))
    assert one.figures()["explained"] == 2.0
    assert shelf.asked == 1


def test_a_row_with_an_unknown_value_is_not_explained(bundle: ModelBundle, rows: Any) -> None:
    one = learner(Shelf(bundle))
    one.take(promotion(bundle))
    row = rows[0].copy()
    row[3] = np.nan
    assert one.annotate(moment(0, row)) is None
    assert one.figures()["explained"] == 0.0


def test_a_model_that_cannot_be_loaded_is_a_reason_to_abstain(bundle: ModelBundle, rows: Any) -> None:
    shelf = Shelf()
    one = learner(shelf)
    one.take(promotion(bundle))
    assert one.spec is None
    assert one.annotate(moment(0, rows[0])) is None
    assert bundle.model_id in one.show()["problem"]
    one.annotate(moment(1, rows[0]))
    assert shelf.asked == 1  # nothing is read from a disk between promotions
    shelf.bundles[bundle.model_id] = bundle
    one.take(promotion(bundle))
    assert one.annotate(moment(2, rows[0])) is not None
    assert one.show()["problem"] is None


def test_without_a_way_to_load_it_abstains(bundle: ModelBundle, rows: Any) -> None:
    one = learner(None)
    one.take(promotion(bundle))
    assert one.annotate(moment(0, rows[0])) is None
    assert "no way" in one.show()["problem"]


def test_a_model_of_another_timeframe_is_not_explained(bundle: ModelBundle) -> None:
    one = learner(Shelf(bundle), timeframe="1h")
    one.take(promotion(bundle, key="BTCUSDT|1h|champion"))
    assert one.spec is None
    assert "trained on 15m, not 1h" in one.show()["problem"]


def test_a_model_whose_text_tells_no_counts_is_not_explained(bundle: ModelBundle) -> None:
    from dataclasses import replace

    from kalibre.models.gradient_boosting import GradientBoosting

    text = bundle.classifier.text.replace("internal_count=", "internal_count_lost=")
    lost = replace(bundle, classifier=GradientBoosting.from_text(text))
    one = learner(Shelf(lost))
    one.take(promotion(lost))
    assert one.spec is None
    assert "internal_count" in one.show()["problem"]


def test_in_the_log_it_explains_what_the_champion_was_given(bundle: ModelBundle) -> None:
    """The whole way: bars, a promotion half way, features of its spec, annotations."""
    one = LearnerProjection(
        "explain",
        [("BTCUSDT", "15m")],
        spec=FeatureSpec("15m"),
        horizon_bars=4,
        fee=0.0,
        stale_bars=2,
        seed=1,
        load_model=Shelf(bundle),
    )
    bars = random_bars(1_400, seed=4)
    expected = FeatureEngine(bundle.spec).batch(bars)
    explained = 0
    for t, event in enumerate(bar_events(bars)):
        if t == 700:
            one.apply(promotion(bundle))
        (said,) = one.apply(event)
        note = said.payload
        assert isinstance(note, Annotation)
        if t < 700 or not np.isfinite(expected[t]).all():
            assert note.abstained
        else:
            assert note.about == bundle.model_id
            assert math.fsum(note.values.values()) == pytest.approx(log_odds(bundle, expected[t]), abs=1e-9)
            explained += 1
    assert explained > 600


# --- state ------------------------------------------------------------------------------------------------------------


@given(at=st.integers(0, 39), change=st.integers(0, 39))
@settings(max_examples=30, deadline=None)
def test_a_restart_at_any_bar_changes_no_bit(
    bundle: ModelBundle, other: ModelBundle, rows: Any, at: int, change: int
) -> None:
    shelf = Shelf(bundle, other)
    whole, broken = learner(shelf), learner(shelf)
    for t in range(40):
        if t == at:
            state = {k: np.array(v) if isinstance(v, np.ndarray) else v for k, v in broken.state().items()}
            broken = learner(shelf)
            broken.restore(state)
        if t == 5:
            whole.take(promotion(bundle))
            broken.take(promotion(bundle))
        if t == change:
            whole.take(promotion(other))
            broken.take(promotion(other))
        now = moment(t, rows[t] if (whole.spec or {}).get("columns") == list(COLUMNS) else rows[t][:4])
        assert whole.annotate(now) == broken.annotate(now)
        assert whole.spec == broken.spec
        assert whole.figures() == broken.figures()
        assert whole.show() == broken.show()
    for key, value in whole.state().items():
        assert np.asarray(value).tobytes() == np.asarray(broken.state()[key]).tobytes()


def test_a_model_that_vanished_before_a_restart_is_told_and_not_explained(bundle: ModelBundle, rows: Any) -> None:
    one = learner(Shelf(bundle))
    one.take(promotion(bundle))
    one.annotate(moment(0, rows[0]))
    again = learner(Shelf())
    again.restore(one.state())
    assert again.annotate(moment(1, rows[1])) is None
    assert bundle.model_id in again.show()["problem"]


def test_a_state_that_is_not_its_own_is_refused_and_changes_nothing(bundle: ModelBundle, rows: Any) -> None:
    one = learner(Shelf(bundle))
    one.take(promotion(bundle))
    one.annotate(moment(0, rows[0]))
    before = one.show()
    with pytest.raises(LearnerError, match="cannot be read: KeyError"):
        one.restore({"floats": np.zeros(3)})
    with pytest.raises(LearnerError, match="damaged"):
        one.restore({**one.state(), "importance": np.zeros(3)})
    with pytest.raises(LearnerError, match="damaged"):
        one.restore({**one.state(), "importance": np.zeros(3), "reference": np.zeros(3)})
    assert one.show() == before


def test_memory_is_bounded_and_rows_are_not_touched(bundle: ModelBundle, rows: Any) -> None:
    one = learner(Shelf(bundle))
    one.take(promotion(bundle))
    before = rows.tobytes()
    sizes = set()
    for t, row in enumerate(rows[:200]):
        one.annotate(moment(t, row))
        sizes.add(sum(np.asarray(value).nbytes for value in one.state().values()))
    assert len(sizes) == 1
    assert rows.tobytes() == before


# --- importance and its drift -----------------------------------------------------------------------------------------


def test_importance_is_the_mean_absolute_contribution(bundle: ModelBundle, rows: Any) -> None:
    one = learner(Shelf(bundle))
    one.take(promotion(bundle))
    for t, row in enumerate(rows[:100]):
        one.annotate(moment(t, row))
    weight = (1 - 1 / 2_000) ** np.arange(99, -1, -1)
    absolute = np.array([np.abs(explain_row(bundle, row).values) for row in rows[:100]])
    expected = (weight[:, None] * absolute).sum(axis=0)
    expected = expected / expected.sum()
    shown = {row["column"]: row["share"] for row in one.show()["importance"]}
    for name, share in zip(COLUMNS, expected.tolist(), strict=True):
        assert shown.get(name, 0.0) == pytest.approx(share, abs=1e-12)
    assert sum(shown.values()) == pytest.approx(1.0)
    assert list(shown.values()) == sorted(shown.values(), reverse=True)


def test_reasons_that_change_are_seen_as_drift(bundle: ModelBundle, rows: Any) -> None:
    """Planted: the strongest column stands still where it says little, so others give the reasons."""
    calm, changed = learner(Shelf(bundle)), learner(Shelf(bundle))
    for one in (calm, changed):
        one.take(promotion(bundle))
    absolute = np.array([np.abs(explain_row(bundle, row).values) for row in rows[:300]])
    column = int(absolute.mean(axis=0).argmax())
    quiet = rows[int(absolute[:, column].argmin()), column]
    rng = np.random.default_rng(1)
    for t in range(1_500):
        row = rows[rng.integers(len(rows))].copy()
        calm.annotate(moment(t, row))
        if t >= 500:
            row[column] = quiet
        changed.annotate(moment(t, row))
        if t < 499:
            assert calm.figures()["drift"] is None
    still, moved = calm.figures()["drift"], changed.figures()["drift"]
    assert still is not None
    assert moved is not None
    assert still < 0.005
    assert moved > 10 * still
    assert (changed.figures()["rank_correlation"] or 0.0) < 1.0
    assert calm.show()["importance"][0]["at_first"] > 0.0


def test_divergence_and_rank_correlation_are_scipys() -> None:
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import spearmanr

    rng = np.random.default_rng(3)
    for _ in range(50):
        left, right = rng.exponential(size=12), np.round(rng.exponential(size=12), 1)
        left[rng.random(12) < 0.2] = 0.0
        used = (left > 0) | (right > 0)
        assert divergence(left, right) == pytest.approx(jensenshannon(left, right, base=2) ** 2, abs=1e-12)
        expected = spearmanr(left[used], right[used]).statistic
        assert rank_correlation(left, right) == pytest.approx(expected, abs=1e-12)
    assert divergence(np.zeros(3), np.ones(3)) is None
    assert rank_correlation(np.ones(5), np.arange(5.0) + 1) is None
    assert rank_correlation(np.array([1.0, 2.0]), np.array([1.0, 2.0])) is None


# --- words ------------------------------------------------------------------------------------------------------------


def test_a_note_says_why_in_both_languages_also_from_the_log(bundle: ModelBundle, rows: Any) -> None:
    one = learner(Shelf(bundle))
    one.take(promotion(bundle))
    for t, row in enumerate(rows[:100]):
        note = one.annotate(moment(t, row))
        assert note is not None
        payload = Annotation(learner="explain", label=note.label, values=note.values, about=note.about)
        kept = decode_payload("annotation", encode_payload(payload))
        assert isinstance(kept, Annotation)
        english, turkish = words(kept), words(kept, "tr")
        assert english[0] == note.label
        explained = explain_row(bundle, row)
        whole = reasons(bundle, row, explained)
        assert whole[0] == english[0]
        assert turkish[0] == reasons(bundle, row, explained, "tr")[0]
        assert len(english) == len(turkish) == len(whole) == len(strongest(note.values))
        for sentence, (_, added) in zip(english, strongest(note.values), strict=True):
            assert sentence.endswith("raises the probability" if added > 0 else "lowers the probability")
        assert all("olasılığı" in sentence for sentence in turkish)


def test_a_model_that_has_nothing_to_say_says_so() -> None:
    note = Note("no column speaks for either side", {"bias": 0.1, "rest": 0.0}, "m")
    assert words(note) == ["no column speaks for either side"]
    assert words(note, "tr") == ["hiçbir gösterge bir yönü desteklemiyor"]


def test_a_label_of_somebody_else_is_not_believed() -> None:
    note = Note("calm up", {"rsi_14": -0.2, "bias": 0.1, "rest": 0.0}, "m")
    assert words(note) == ["RSI(14): lowers the probability"]
