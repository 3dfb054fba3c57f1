"""Everything from bars to signals is verified by stage: the real pipeline is clean, a leak in any stage is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from benchmarks.features_right import simulated_bars
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.fakes.leaks import STAGE_LEAKS
from tests.fakes.models import small_bundle

from kalibre.bars.calendars import get_calendar
from kalibre.core.bars import Bars
from kalibre.core.catalog import part_names
from kalibre.core.errors import RegistryError, VerificationError
from kalibre.core.protocols import Label
from kalibre.evaluation.materials import named_label
from kalibre.evaluation.pipeline import LABEL_COLUMNS, Pipeline, label_columns, label_warmup, verify_pipeline
from kalibre.evaluation.verification import verify
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.models.bundle import ModelBundle

COLUMNS = ("realised_volatility_20", "rsi_14", "log_return_1")
LABELS = part_names("kalibre.labels")


@pytest.fixture(scope="module")
def bars() -> Bars:
    whole = simulated_bars(1_300, seed=3)
    return whole[np.r_[0:700, 760:1_300]]


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return small_bundle(columns=COLUMNS)


def of(bundle: ModelBundle, label: str = "direction") -> Pipeline:
    return Pipeline.of_bundle(bundle, named_label(label, bundle.horizon_bars, get_calendar("24/7")))


@pytest.mark.parametrize("label", LABELS)
def test_a_stored_model_is_clean_from_bars_to_signals(label: str, bars: Bars, bundle: ModelBundle) -> None:
    report = verify_pipeline(bars, of(bundle, label), cuts=30)
    assert report.clean, str(report)
    assert list(report.columns) == [*COLUMNS, "sizing_volatility", *LABEL_COLUMNS, "score", "p_up", "signal"]
    assert all(verdict.known >= len(bars) - verdict.warmup for verdict in report.columns.values())
    signal = of(bundle, label)(bars)["signal"]
    assert {-1.0, 0.0, 1.0} <= set(signal[np.isfinite(signal)]), "the model has to say all three for this to prove it"


@pytest.mark.parametrize("name", STAGE_LEAKS)
def test_a_leak_planted_in_one_stage_is_caught_by_name(name: str, bars: Bars, bundle: ModelBundle) -> None:
    plant, column, allowed = STAGE_LEAKS[name]
    report = verify_pipeline(bars, plant(of(bundle)), cuts=30)
    assert column in report.offenders
    assert set(report.offenders) <= allowed, "an honest stage before the leak was accused"
    with pytest.raises(VerificationError, match=f"{column}: "):
        report.require_clean()


def test_only_the_live_way_catches_a_score_that_is_rounded_live(bars: Bars, bundle: ModelBundle) -> None:
    leaky = STAGE_LEAKS["score_rounded_when_live"][0](of(bundle))
    assert verify(leaky, bars, warmup=leaky.warmup, cuts=30).clean
    assert verify_pipeline(bars, leaky, cuts=30).columns["score"].first_trial == "computed bar by bar"


@pytest.mark.parametrize("label", LABELS)
def test_the_warmup_of_a_label_is_as_long_as_needed_and_no_longer(label: str, bars: Bars) -> None:
    chosen = named_label(label, 4, get_calendar("24/7"))
    short = dict.fromkeys(LABEL_COLUMNS, label_warmup(chosen) - 1)

    def columns(part: Bars) -> dict[str, np.ndarray]:
        return dict(zip(LABEL_COLUMNS, label_columns(chosen, part).T, strict=True))

    report = verify(columns, bars, warmup=short, cuts=5)
    assert report.start_dependent > 0
    assert report.rewritten == report.mismatched == 0


@pytest.mark.parametrize("label", LABELS)
def test_labels_of_an_exchange_with_nights_and_holes_are_clean(label: str) -> None:
    calendar = get_calendar("XIST")
    opens = calendar.expected_opens("1h", 1_700_000_000_000, 1_710_000_000_000)
    kept = np.delete(opens, [200, 201, 330, 480])
    whole = simulated_bars(len(kept), seed=8)
    bars = replace(whole, timeframe="1h", open_time=kept)
    engine = FeatureEngine(FeatureSpec("1h", columns=("range_relative",)))
    report = verify_pipeline(bars, Pipeline(engine, named_label(label, 4, calendar)), cuts=30)
    assert report.clean, str(report)
    known = label_columns(named_label("direction", 4, calendar), bars)[:, 0].sum()
    assert known == len(kept) - 4 - 3 * 4, "three holes, each of which four horizons would have to cross"


class Chosen:
    """A label that says what a test chose."""

    name = "chosen"

    def __init__(self, y: list[float], known_row: list[int]) -> None:
        self.said = np.array(y), np.array(known_row)

    def compute(self, bars: Bars) -> tuple[np.ndarray, np.ndarray]:
        return self.said


SETS = st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 11), st.booleans())), min_size=12, max_size=12)


@given(first=SETS, second=SETS)
@hypothesis_settings(max_examples=60, deadline=None)
def test_two_sets_of_labels_never_have_the_same_columns(first: list, second: list) -> None:
    """Law: the columns tell everything that a label says, and at which row it says it."""

    def made(chosen: list) -> Label:
        return Chosen(
            [np.nan if one is None else float(one[1]) for one in chosen],
            [-1 if one is None else one[0] for one in chosen],
        )

    some = simulated_bars(12, seed=1)
    same = np.array_equal(label_columns(made(first), some), label_columns(made(second), some))
    assert same == (first == second)


def test_a_label_known_after_the_last_bar_is_not_known_yet() -> None:
    some = simulated_bars(3, seed=1)
    assert label_columns(Chosen([1.0, 0.0, np.nan], [1, 3, -1]), some)[:, 0].tolist() == [0.0, 1.0, 0.0]


def test_a_model_that_says_nothing_proves_nothing(bars: Bars, bundle: ModelBundle) -> None:
    silent = replace(of(bundle), score=lambda values: np.full(len(values), np.nan))
    with pytest.raises(VerificationError, match="says nothing about any of 1240 bars"):
        verify_pipeline(bars, silent, cuts=5)


def test_a_model_of_other_features_is_not_verified_by_these(bundle: ModelBundle) -> None:
    other = replace(bundle, feature_fingerprint="0" * 64)
    with pytest.raises(RegistryError, match="000000000000"):
        of(other)
