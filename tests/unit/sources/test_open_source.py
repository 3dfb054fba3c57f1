"""Sources by name, and what they share."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from kalibre.core.errors import CatalogError, SourceFormatError, UsageError
from kalibre.sources import open_source, source_names, source_options
from kalibre.sources.base import check_range, check_step, epoch_to_ms, map_columns


def test_the_sources_of_the_issue_are_there() -> None:
    assert {"binance", "ccxt", "files", "postgres", "replay", "sample", "simulated"} <= set(source_names())


def test_unknown_source_unknown_and_missing_options() -> None:
    with pytest.raises(CatalogError, match=r"'binanse'.*binance"):
        open_source("binanse")
    with pytest.raises(UsageError, match=r"no option 'paht'.*path, symbol"):
        open_source("files", paht="x")
    with pytest.raises(UsageError, match="needs the option path"):
        open_source("files")
    assert source_options("files")["timezone"] == "UTC"
    assert not {"clock", "sleep", "asleep", "now_s", "bars"} & {
        o for name in source_names() for o in source_options(name)
    }


def test_listing_sources_is_light() -> None:
    words = (
        "import sys, kalibre.sources as s; s.source_names()\n"
        "[s.source_options(n) for n in ('binance', 'ccxt', 'files', 'postgres', 'replay', 'sample')]\n"
        "print([n for n in ('httpx', 'websockets', 'ccxt', 'psycopg', 'polars', 'pandas') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_surest_heading_wins() -> None:
    found = map_columns(["date", "unix", "o", "h", "l", "c", "v", "Change %"], where="x")
    assert (found["open_time"], found["close"]) == ("unix", "c")


def test_epochs_of_mixed_units() -> None:
    second = 1_735_689_600
    times = np.array([second, second * 10**3, second * 10**6, second * 10**9])
    assert epoch_to_ms(times).tolist() == [second * 1_000] * 4


def test_steps() -> None:
    hours = np.arange(10) * 3_600_000
    check_step(hours[::-1], "1h", where="x")
    check_step(hours[:2], "1d", where="x")
    check_step(np.array([0, 3, 6, 7, 10, 13]) * 60_000, "1m", where="a thin market")
    with pytest.raises(SourceFormatError, match="1h apart, not 15m"):
        check_step(hours, "15m", where="x")
    with pytest.raises(SourceFormatError, match="1h apart, not 1d"):
        check_step(hours, "1d", where="x")


def test_reversed_ranges() -> None:
    check_range(5, 5)
    with pytest.raises(UsageError, match=r"\(3\).*\(5\)"):
        check_range(5, 3)
