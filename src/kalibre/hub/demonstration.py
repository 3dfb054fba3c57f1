"""The hub of `make demo`: both demonstration markets side by side, on the hours of the real one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from kalibre.core.bars import OPTIONAL, Bars, concat
from kalibre.core.settings import Settings, load_settings
from kalibre.sources import open_source

REAL, PLANTED = "EURUSD", "EDGE"
TIMEFRAME = "1h"
_SLOW_BARS = 300
"""Bars that are played one by one at the end, so that there is something to watch."""
_SLOW_SPEED = "1800x"


def markets() -> tuple[Bars, Bars]:
    """Return the real market, and the simulated one with a planted edge on the same hours."""
    real = concat(list(open_source("sample").history(REAL, TIMEFRAME)))
    planted_source = open_source("simulated", market="edge", auc=0.65, seed=11, n_bars=len(real))
    planted = concat(list(planted_source.history(PLANTED, TIMEFRAME)))
    return real, replace(planted, open_time=real.open_time)


def write_markets(folder: Path) -> tuple[Path, int]:
    """Write both as files; return their folder, and when the last bars begin that are played one by one."""
    folder.mkdir(parents=True, exist_ok=True)
    both = markets()
    for bars in both:
        columns: dict[str, Any] = {
            name: getattr(bars, name) for name in ("open_time", "open", "high", "low", "close", "volume")
        }
        columns |= {name: value for name in OPTIONAL if (value := getattr(bars, name)) is not None}
        pl.DataFrame(columns).write_parquet(folder / f"{bars.symbol}_{TIMEFRAME}.parquet")
    return folder, int(both[0].open_time[-_SLOW_BARS])


def demo_settings(home: Path, *, lang: str, port: int, once: bool) -> Settings:
    """Return the settings under which the hub of the demonstration runs, its bars written below its home.

    Parameters
    ----------
    once
        Play all of it at full speed; else the last bars one by one.
    """
    folder, slows_at_ms = write_markets(home / "bars")
    options: dict[str, Any] = {"source": "files", "source_options": {"path": str(folder.absolute())}, "speed": "max"}
    if not once:
        options |= {"slows_at_ms": slows_at_ms, "slow_speed": _SLOW_SPEED}
    return load_settings(
        home=home.absolute(),
        lang=lang,
        registry_url="",
        log={"url": ""},
        market={
            "source": "replay",
            "source_options": options,
            "symbols": (REAL, PLANTED),
            "timeframe": TIMEFRAME,
            "calendar": "forex",
        },
        features={"higher_timeframes": ("4h",)},
        costs={"fee_bps": 0.2, "slippage_bps": 0.5},
        api={"port": port},
        hub={"checkpoint_copies": ""},
    )
