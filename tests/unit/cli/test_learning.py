"""`kalibre backtest`: what it prints says first whether it can prove anything."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from kalibre.cli.learning import _show_backtest

LATER_MS = 1_704_067_200_000
FIGURES: dict[str, Any] = {
    **{"total_return": 0.123, "sharpe": 1.5, "max_drawdown": 0.04, "turnover": 12.34, "exposure": 0.25},
    **{"win_rate": 0.6, "n_trades": 1_234},
}


def shown(seen: int, later_ms: int | None, lang: str = "en", note: str = "") -> str:
    outcome = {
        **{"model": "M", "bars": 5_760, "bars_seen_by_its_study": seen, **FIGURES},
        "buy_and_hold": {**FIGURES, "total_return": -0.5, "n_trades": 0},
        "funding": {"bars_due": 0, "bars_charged": 0, "paid": 0.0, "charged_in_study": False, "note": note},
    }
    out = io.StringIO()
    _show_backtest(Console(file=out, width=120), outcome, later_ms=later_ms, lang=lang)
    return out.getvalue()


@pytest.mark.parametrize(
    ("seen", "later_ms", "lang", "said"),
    [
        (5_760, None, "en", "In sample: the model's study saw all 5,760 bars, so these figures prove nothing."),
        (5_760, None, "tr", "Örneklem içinde"),
        (5_000, LATER_MS, "en", "saw 5,000 of the 5,760 bars; only bars from 2024-01-01 03:00 on can tell"),
        (5_000, LATER_MS, "tr", "Kısmen örneklem içinde"),
        (0, LATER_MS, "en", "Out of sample"),
        (0, LATER_MS, "tr", "Örneklem dışında"),
    ],
)
def test_what_the_study_had_seen_is_said_first(seen: int, later_ms: int | None, lang: str, said: str) -> None:
    assert said in shown(seen, later_ms, lang).splitlines()[1]


def test_figures_stand_beside_buy_and_hold_with_their_units() -> None:
    rows = {line[:30].strip(): line[30:].split() for line in shown(0, LATER_MS).splitlines()[2:]}
    assert rows["Return"] == ["12.3%", "-50.0%"]
    assert rows["Turnover, times equity a year"] == ["12.3", "12.3"]
    assert rows["Win rate"] == ["60.0%", "-"], "of no closed trade there is no share that won"
    assert rows["Trades"] == ["1,234", "0"]


def test_what_funding_cost_or_why_it_is_not_known_is_told() -> None:
    assert "no rate is recorded" in shown(0, None, note="no rate is recorded from x").splitlines()[-1]
