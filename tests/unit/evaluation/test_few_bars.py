"""A history on which nothing can qualify: the user hears what would be enough, not only what would run."""

from __future__ import annotations

import numpy as np
import pytest
from tests.fakes.models import random_bars

from kalibre.core.errors import DatasetError
from kalibre.core.settings import Settings
from kalibre.evaluation.calibration import calibration_error
from kalibre.evaluation.study import FINAL_SHARE, bars_to_qualify, few_bars, run_study


@pytest.mark.parametrize("horizon", [1, 4, 12])
def test_the_number_is_the_one_from_which_a_final_window_can_be_calibrated(horizon: int) -> None:
    generator = np.random.default_rng(3)
    samples = bars_to_qualify(horizon, 0) - horizon
    final = round(FINAL_SHARE * samples)
    p, y = generator.uniform(0.4, 0.6, final), (generator.uniform(size=final) < 0.5).astype(float)
    assert np.isfinite(calibration_error(p, y, horizon_bars=horizon, seed=1).ece)
    fewer = final - horizon
    assert not np.isfinite(calibration_error(p[:fewer], y[:fewer], horizon_bars=horizon, seed=1).ece)


@pytest.mark.parametrize("n_bars", [300, 1_300])
def test_too_few_to_run_names_also_what_can_qualify(n_bars: int) -> None:
    settings = Settings(features={"higher_timeframes": ()}, model={"horizon_bars": 4})  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match=r"can qualify: it takes about 9,209.*model.horizon_bars = 1, 3,206"):
        run_study(random_bars(n_bars), settings)


def test_a_horizon_of_one_is_not_told_to_take_one() -> None:
    assert "model.horizon_bars" not in few_bars(random_bars(50), 1, 100)
