"""The book of trials: distinct ones raise the bar, the same one does not, and one bar more wipes no slate."""

from __future__ import annotations

import numpy as np
import pytest

from kalibre.bars.calendars import get_calendar
from kalibre.bars.resample import resample
from kalibre.core.bars import Bars
from kalibre.core.events import Look, Trial
from kalibre.evaluation.trials import TrialBook, config_digest, daily_returns, effective_number, history_digest
from kalibre.log import open_log
from kalibre.sources.simulated import Simulated

DAY = 86_400_000


@pytest.fixture
def log(tmp_path):
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


@pytest.fixture
def bars() -> Bars:
    return next(Simulated(n_bars=6000, seed=1).history("SIM", "15m"))


def _record(book: TrialBook, bars: Bars, config: str, returns) -> tuple[int, float, float]:
    tried = book.record(config, bars.close_time[-4000:], returns, float(returns.mean() / returns.std()))
    return tried.n_trials, tried.effective, tried.sharpe_std


def _returns(seed: int):
    return np.random.default_rng(seed).normal(0, 0.001, 4000)


def test_the_digest_follows_every_column_and_not_the_name(bars):
    same = Bars(**{**vars(bars), "symbol": "OTHER"})
    assert history_digest(same) == history_digest(bars)
    for column in ("open_time", "close", "volume", "taker_buy_volume"):
        values = getattr(bars, column).copy()
        values[17] += 1
        assert history_digest(Bars(**{**vars(bars), column: values})) != history_digest(bars)
    assert history_digest(Bars(**{**vars(bars), "trades": None})) != history_digest(bars)


def test_distinct_trials_count_and_the_same_one_does_not(log, bars):
    book = TrialBook(bars, log)
    assert _record(book, bars, "a", _returns(1))[:2] == (1, 1.0)
    assert _record(book, bars, "a", _returns(1))[:2] == (1, 1.0)
    n_trials, effective, _ = _record(book, bars, "b", _returns(2))
    assert n_trials == 2
    assert effective == pytest.approx(2.0, abs=0.3)
    assert len(log.read(kinds={"trial"})) == 2
    numbers = [event.event_time for event in log.read(kinds={"trial"})]
    assert numbers == [1, 2]


def test_trials_are_remembered_by_the_log_over_runs(tmp_path, bars):
    url = f"sqlite:///{tmp_path / 'kept.sqlite'}"
    for k in range(5):
        with open_log(url) as log:
            n_trials = _record(TrialBook(bars, log), bars, f"config {k}", _returns(k))[0]
    assert n_trials == 5


def test_one_bar_more_or_less_does_not_wipe_the_slate(log, bars):
    _record(TrialBook(bars, log), bars, "a", _returns(1))
    longer = next(Simulated(n_bars=6001, seed=1).history("SIM", "15m"))
    assert _record(TrialBook(longer, log), longer, "b", _returns(2))[0] == 2
    assert _record(TrialBook(bars[1:], log), bars, "c", _returns(3))[0] == 3


def test_another_market_or_another_time_has_a_book_of_its_own(log, bars):
    _record(TrialBook(bars, log), bars, "a", _returns(1))
    other = next(Simulated(n_bars=6000, seed=1).history("OTHER", "15m"))
    assert _record(TrialBook(other, log), other, "b", _returns(2))[0] == 1
    later = next(Simulated(n_bars=6000, seed=1, start_ms=int(bars.close_time[-1]) + 900_000).history("SIM", "15m"))
    assert _record(TrialBook(later, log), later, "c", _returns(3))[0] == 1


def test_trials_that_are_alike_weigh_less_than_their_number(log, bars):
    book = TrialBook(bars, log)
    base = _returns(1)
    for k in range(10):
        n_trials, effective, _ = _record(book, bars, f"twin {k}", base + 0.0002 * _returns(50 + k) / 0.001)
    assert n_trials == 10
    assert 1.0 < effective < 2.0


def test_the_same_returns_under_another_name_are_one_trial(log, bars):
    book = TrialBook(bars, log)
    for name in ("one", "two", "three"):
        _, effective, _ = _record(book, bars, name, _returns(1))
    assert effective == pytest.approx(1.0)


def test_the_spread_of_trials_never_falls_below_sampling_error(log, bars):
    book = TrialBook(bars, log)
    assert _record(book, bars, "a", _returns(1))[2] == pytest.approx(1 / np.sqrt(4000))
    assert _record(book, bars, "b", _returns(1))[2] == pytest.approx(1 / np.sqrt(4000))
    lucky = _returns(2) + 0.0005
    assert _record(book, bars, "c", lucky)[2] > 0.2


def test_effective_number_of_independent_trials_is_their_number():
    rng = np.random.default_rng(0)
    trials = [
        Trial(config=str(k), sharpe=0.0, n_returns=1, daily_returns=tuple(rng.normal(size=3000))) for k in range(6)
    ]
    assert effective_number(trials) == pytest.approx(6.0, abs=0.1)
    assert effective_number([]) == 0.0


def test_trials_on_days_that_hardly_meet_count_as_independent():
    days = tuple(np.random.default_rng(0).normal(size=40))
    first = Trial(config="a", sharpe=0.0, n_returns=1, daily_returns=days)
    second = Trial(config="b", sharpe=0.0, n_returns=1, start_ms=30 * DAY, daily_returns=days)
    assert effective_number([first, second]) == 2.0


def test_daily_returns_add_up_and_keep_empty_days():
    first, sums = daily_returns(np.array([0, 3, 2 * DAY], dtype=np.int64), np.array([1.0, 2.0, 4.0]))
    assert first == 0
    assert sums.tolist() == [3.0, 0.0, 4.0]


def test_a_window_is_unseen_once(log, bars):
    book = TrialBook(bars, log)
    start, end = int(bars.close_time[-1000]), int(bars.close_time[-1])
    assert book.look(start, end, "a") is False
    assert book.look(start, end, "a") is True
    assert TrialBook(bars, log).look(start, end, "b") is True
    assert [event.payload.model for event in log.read(kinds={"look"})] == ["a", "b"]


def test_a_window_that_shares_one_bar_with_a_seen_one_is_seen(log, bars):
    end = int(bars.close_time[-1000])
    TrialBook(bars[:-999], log).look(int(bars.close_time[-2000]), end, "a")
    book = TrialBook(bars, log)
    assert book.look(end, int(bars.close_time[-1]), "b") is True
    other = TrialBook(next(Simulated(n_bars=6000, seed=1).history("OTHER", "15m")), log)
    assert other.look(end + 900_000, int(bars.close_time[-1]), "b") is False


def test_what_a_walk_forward_has_shown_is_no_untouched_final_window(log, bars):
    """Study A tests on bars 2,000 to 3,999; study B, on a shorter timerange, would judge on bars that A has shown."""
    shown = slice(2_000, 4_000)
    TrialBook(bars, log).record("a", bars.close_time[shown], _returns(1)[:2_000], 0.0)
    assert TrialBook(bars[:4_000], log).look(int(bars.close_time[3_200]), int(bars.close_time[3_999]), "b") is True
    assert TrialBook(bars, log).look(int(bars.close_time[4_000]), int(bars.close_time[-1]), "a") is False


def test_the_day_on_which_a_trial_begins_is_not_all_shown(log, bars):
    start = next(k for k in range(3_000, 3_200) if bars.close_time[k] % DAY == DAY // 2)
    TrialBook(bars, log).record("a", bars.close_time[start:], _returns(1)[: len(bars) - start], 0.0)
    before = int(bars.close_time[start - 1])
    assert TrialBook(bars[:start], log).look(before - DAY // 4, before, "b") is False


def test_another_timeframe_wipes_no_slate(log, bars):
    hours = resample(bars, "1h", get_calendar("24/7"))
    start, end = int(bars.close_time[-1000]), int(bars.close_time[-1])
    book = TrialBook(bars, log)
    _record(book, bars, "a", _returns(1))
    assert book.look(start, end, "a") is True  # the trial's own window
    later = TrialBook(hours, log)
    assert later.look(start, end, "b") is True
    n = len(hours) // 2
    tried = later.record("b", hours.close_time[-n:], _returns(2)[:n], 0.05)
    assert tried.n_trials == 2
    sharpe = float(_returns(1).mean() / _returns(1).std())
    assert tried.sharpe_std == pytest.approx(max(np.std([sharpe * 2, 0.05], ddof=1), 1 / np.sqrt(n)), rel=0.02)


def test_the_look_is_in_the_log_before_anything_is_answered(log, bars):
    TrialBook(bars, log).look(1, 2, "a")
    (event,) = log.read(kinds={"look"})
    assert event.payload == Look(start_ms=1, end_ms=2, model="a", series="SIM|15m")
    assert event.key == history_digest(bars)


def test_without_a_log_nothing_is_remembered(bars):
    book = TrialBook(bars, None)
    assert book.look(1, 2, "a") is False
    assert book.look(1, 2, "a") is False
    assert book.shown() == []
    assert _record(book, bars, "a", _returns(1))[0] == 1


def test_config_digest_tells_configurations_apart():
    assert config_digest({"a": 1}) != config_digest({"a": 2})
    assert config_digest({"a": {"x": 1, "y": 2}}) == config_digest({"a": {"y": 2, "x": 1}})
