"""`kalibre promote | rollback`: what they print."""

from __future__ import annotations

import json

import pytest

from kalibre.cli.models import _tell, promote
from kalibre.core.errors import UsageError
from kalibre.registry.promotion import Promoted

APART = "costs.fee_bps: judged with 4.0, the settings say 10.0"


def test_a_promotion_in_order_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    _tell(Promoted("BTCUSDT|15m", "champion", "M", None, 7), as_json=False)
    assert capsys.readouterr().out == "champion of BTCUSDT|15m: M (before: nobody)\n"


def test_drifted_costs_are_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    done = Promoted("BTCUSDT|15m", "champion", "M", "L", 7, drifted=(APART,))
    _tell(done, as_json=False)
    first, warning, sentence = capsys.readouterr().out.splitlines()
    assert "before: L" in first
    assert warning.startswith("warning: paper trades by the settings")
    assert sentence.strip() == APART
    _tell(done, as_json=True)
    assert json.loads(capsys.readouterr().out)["drifted"] == [APART]


@pytest.mark.parametrize("note", ["", "  "])
def test_a_promotion_without_a_reason_is_refused(note: str) -> None:
    with pytest.raises(UsageError, match=r"kalibre promote M .why you trust it"):
        promote("M", note)
