"""Every label of the folder keeps the protocol: found by the catalogue, honest about what it knows and when."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.fakes.models import random_bars

from kalibre.core.catalog import part, part_names
from kalibre.core.errors import LabelError
from kalibre.core.protocols import Label

NAMES = part_names("kalibre.labels")
HORIZON = 5


@pytest.fixture(params=NAMES)
def label(request) -> Label:
    return part("kalibre.labels", request.param).LABEL(horizon_bars=HORIZON)


def test_the_folder_has_the_labels_of_the_house():
    assert {"direction", "triple_barrier"} <= set(NAMES)


def test_protocol_and_name(label):
    assert isinstance(label, Label)
    assert label.name in NAMES
    assert label.horizon_bars == HORIZON


def test_values_and_rows(label):
    bars = random_bars(400)
    y, known = label.compute(bars)
    assert y.shape == known.shape == (400,)
    assert known.dtype == np.int64
    certain = ~np.isnan(y)
    assert set(y[certain]) == {0.0, 1.0}
    row = np.arange(400)
    assert (known[certain] > row[certain]).all()
    assert (known[certain] <= row[certain] + HORIZON).all()
    assert (known[~certain] == -1).all()
    assert certain[200 : 400 - HORIZON].all()
    assert not certain[-1]


def test_what_is_known_at_a_row_is_known_from_the_bars_up_to_it(label):
    bars = random_bars(300, seed=5)
    y, known = label.compute(bars)
    for cut in range(1, 300, 7):
        y_then, known_then = label.compute(bars[:cut])
        by_then = (known[:cut] >= 0) & (known[:cut] < cut)
        np.testing.assert_array_equal(y_then[by_then], y[:cut][by_then])
        np.testing.assert_array_equal(known_then[by_then], known[:cut][by_then])
        assert np.isnan(y_then[~by_then]).all()


def test_bars_after_a_label_is_known_do_not_change_it(label):
    bars = random_bars(300, seed=6)
    y, known = label.compute(bars)
    cut = 150
    factor = np.where(np.arange(300) >= cut, 7.0, 1.0)
    altered = replace(
        bars, open=bars.open * factor, high=bars.high * factor, low=bars.low * factor, close=bars.close * factor
    )
    y_altered, _ = label.compute(altered)
    before = (known >= 0) & (known < cut)
    assert before.sum() > 30
    np.testing.assert_array_equal(y_altered[before], y[before])
    touching = np.arange(cut - HORIZON, cut)
    assert not np.array_equal(y_altered[touching], y[touching])


def test_a_label_does_not_depend_on_where_the_history_began(label):
    bars = random_bars(400, seed=7)
    y, known = label.compute(bars)
    y_later, known_later = label.compute(bars[150:])
    certain = ~np.isnan(y_later)
    np.testing.assert_array_equal(y_later[certain], y[150:][certain])
    np.testing.assert_array_equal(known_later[certain] + 150, known[150:][certain])


def test_short_and_empty_series(label):
    for length in (0, 1, HORIZON):
        y, known = label.compute(random_bars(400)[:length])
        assert len(y) == len(known) == length
        assert np.isnan(y).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("horizon", [0, -3])
def test_a_horizon_that_is_none_is_refused(name, horizon):
    with pytest.raises(LabelError, match=str(horizon)):
        part("kalibre.labels", name).LABEL(horizon_bars=horizon)
