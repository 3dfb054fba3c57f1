"""Catalogues and clocks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kalibre.core.catalog import part, part_names
from kalibre.core.clock import ManualClock, SystemClock, parse_timerange, to_text
from kalibre.core.errors import CatalogError, UsageError


def test_a_new_file_is_a_new_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    for name in ("__init__", "kernels", "_private", "apple", "pear"):
        (folder / f"{name}.py").write_text("TASTE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert part_names("shop") == ("apple", "pear")
    assert part("shop", "pear").TASTE == 1
    assert "shop.apple" not in sys.modules
    with pytest.raises(CatalogError, match="'plum' is not in shop: choose one of apple, pear"):
        part("shop", "plum")


@pytest.mark.parametrize("text", ["2024", "20240101", "2024-2025", "20241301-", "20240101-20230101", "x-y"])
def test_a_timerange_that_is_none_is_quoted(text: str) -> None:
    with pytest.raises(UsageError, match=text):
        parse_timerange(text)


def test_times_are_shown_in_istanbul_and_stored_in_utc() -> None:
    assert parse_timerange("20240101-20240102") == (1_704_067_200_000, 1_704_153_600_000)
    assert to_text(1_704_067_200_000).endswith("03:00")


def test_a_manual_clock_stands_still() -> None:
    clock = ManualClock(5)
    assert (clock.now_ms(), clock.now_ms()) == (5, 5)
    clock.set(9)
    assert clock.now_ms() == 9
    assert SystemClock().now_ms() > 1_700_000_000_000
