"""A year of real bars through the whole hub: < 120 s on two cores, linear in bars and in symbols."""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl
from benchmarks._hub_runs import Run, print_parts, replay

_CRYPTO = Path(__file__).resolve().parents[2] / "shared" / "data" / "market" / "crypto"
_YEAR = _CRYPTO / "BTCUSDT_spot_15m_2024.parquet"
_FOUR = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT")
_BAR_S = 120.0
_LINEAR = 1.35
"""Most that a bar may cost more in the longer or wider run than in the shorter, in CPU seconds."""


def _first_half(folder: Path) -> Path:
    frame = pl.read_parquet(_YEAR)
    path = folder / "BTCUSDT_15m.parquet"
    frame.head(len(frame) // 2).write_parquet(path)
    return path


def _four(folder: Path) -> Path:
    place = folder / "four"
    place.mkdir()
    for symbol in _FOUR:
        source = _CRYPTO / f"{symbol}_perp_15m_365d_to_2025-06.parquet"
        pl.read_parquet(source).write_parquet(place / f"{symbol}_15m.parquet")
    return place


def _row(name: str, run: Run) -> None:
    each = 1e6 * run.cpu_s / run.bars
    print(f"{name:<28}{run.bars:>9,}{run.events:>11,}{run.seconds:>9.1f}{run.cpu_s:>9.1f}{each:>13,.0f}")


def main() -> int:
    if not _YEAR.is_file():
        print("real data not found: ../shared/data is absent; nothing was measured")
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        half = replay(_first_half(folder), ["BTCUSDT"], "15m")
        year = replay(_YEAR, ["BTCUSDT"], "15m")
        four_path = _four(folder)
        one = replay(four_path, ["BTCUSDT"], "15m")
        four = replay(four_path, list(_FOUR), "15m")
    print(f"{'':<28}{'bars':>9}{'events':>11}{'wall s':>9}{'CPU s':>9}{'CPU us/bar':>13}")
    for label, run in (("half a year, 1 symbol", half), ("a year, 1 symbol", year)):
        _row(label, run)
    for label, run in (("perpetuals, 1 symbol", one), ("perpetuals, 4 symbols", four)):
        _row(label, run)
    print("\na year, by part:")
    print_parts(year)
    # What every start costs (imports, compiled code) is paid once: the cost of a bar is that of the further ones.
    in_bars = (year.cpu_s / year.bars) / (half.cpu_s / half.bars)
    in_symbols = (four.cpu_s / four.bars) / (one.cpu_s / one.bars)
    bars_hold = {
        f"a year in {year.seconds:.0f} s (bar: < {_BAR_S:.0f})": year.seconds < _BAR_S,
        f"cost of a bar, a year over half: {in_bars:.2f} (bar: <= {_LINEAR})": in_bars <= _LINEAR,
        f"cost of a bar, 4 symbols over 1: {in_symbols:.2f} (bar: <= {_LINEAR})": in_symbols <= _LINEAR,
    }
    print()
    for words, holds in bars_hold.items():
        print(f"{'holds ' if holds else 'MISSED'} {words}")
    return 0 if all(bars_hold.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
