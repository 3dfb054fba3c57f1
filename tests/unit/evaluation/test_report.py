"""The report: self-contained, verdict first, in both languages, and honest about what is missing."""

from __future__ import annotations

import json
import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kalibre.bars.calendars import get_calendar
from kalibre.core.bars import concat
from kalibre.core.errors import EvaluationError
from kalibre.core.settings import GateSettings, load_settings
from kalibre.evaluation import charts
from kalibre.evaluation.gates import GateFigures, GateWindow, judge
from kalibre.evaluation.report import verdict, write_report
from kalibre.evaluation.report_words import WORDS
from kalibre.evaluation.study import run_study
from kalibre.sources import open_source


@pytest.fixture(scope="module")
def study() -> dict[str, Any]:
    source = open_source("simulated", market="edge", auc=0.65, seed=3, n_bars=9_000)
    bars = concat(list(source.history("EDGE", "15m")))
    kept = np.ones(len(bars), dtype=bool)
    kept[4_000:4_020] = False
    settings = load_settings(model={"folds": 3, "rounds": 60, "threshold_pairs": 100})
    result = run_study(bars[kept], settings, calendar=get_calendar("24/7"), created_at_ms=1_700_000_000_000)
    return json.loads(json.dumps(result.as_dict(), allow_nan=False))


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]


@pytest.mark.parametrize("lang", ["en", "tr"])
def test_one_file_says_everything(study: dict[str, Any], tmp_path: Path, lang: str) -> None:
    path = write_report([study], tmp_path, lang=lang)
    text = path.read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links), (
        "the file must not need anything beside it"
    )
    assert page.tags.count("svg") == 6
    assert len(list(tmp_path.glob("EDGE-*.png"))) == 6
    assert not list(tmp_path.glob("*.part"))
    plain = re.sub(r"\s+", " ", text)
    assert plain.index(WORDS[lang]["title"]) < plain.index('class="verdict') < plain.index("<figure")
    explanation = "explanation_tr" if lang == "tr" else "explanation"
    for gate in study["gates"]:
        assert gate["name"] in text
        told = re.sub(r"(?<=\d)\.(?=\d)", ",", gate[explanation]) if lang == "tr" else gate[explanation]
        assert escape(told, quote=False).replace("'", "&#39;") in text
    for name in ("base_rate", "persistence", "buy_and_hold", "shuffled_labels"):
        assert WORDS[lang][name] in text
    assert study["missing_bars"] == 20
    assert "<td>20</td>" in text


class _Words(HTMLParser):
    """Collects what a reader sees, style and the names of the feature columns in the pictures left out."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = 0
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag == "style"

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.seen.append(data)


def _seen(study: dict[str, Any], folder: Path, lang: str) -> str:
    reader = _Words()
    reader.feed(write_report([study], folder, lang=lang).read_text(encoding="utf-8"))
    return re.sub(r"\s+", " ", " ".join(reader.seen))


def _worst(study: dict[str, Any]) -> dict[str, Any]:
    """Every gate failed, every dummy unbeaten, every word of a kind used once."""
    poor = GateWindow(0.2, 0.45, 0.4, -0.1, -0.2, -1.0, 0.5)
    names = ("base_rate", "persistence", "buy_and_hold", "shuffled_labels")
    figures = GateFigures(
        poor, poor, dsr=0.1, n_trials=9, n_trades=300, dirty_columns=3, unbeaten=names, final_seen=True
    )
    kinds = ("isotonic", "platt", "identity")
    return {
        **study,
        "gates": [verdict.as_dict() for verdict in judge(figures, GateSettings())],
        "folds": [{**fold, "calibrator": kind} for fold, kind in zip(study["folds"], kinds, strict=True)],
        "label": "triple_barrier",
    }


def test_a_turkish_report_holds_no_english(study: dict[str, Any], tmp_path: Path) -> None:
    turkish = _seen(_worst(study), tmp_path, "tr")
    for key, english in WORDS["en"].items():
        for part in re.split(r"{\w+}", english):
            phrase = part.strip(" .,:%×()")
            if len(phrase) > 3 and phrase.lower() not in WORDS["tr"][key].lower():
                assert not re.search(rf"\b{re.escape(phrase)}\b", turkish, re.IGNORECASE), (key, phrase)
    for code in ("isotonic", "platt ", "identity", "triple_barrier", "direction", "buy_and_hold", "shuffled", "ece "):
        assert code not in turkish.replace("ECE ", "").replace("Platt ", ""), code
    assert "izotonik" in turkish
    assert "üç bariyer" in turkish
    assert "geçilemeyen: taban oran, süreklilik, al ve tut, karıştırılmış etiket" in turkish


def test_every_gate_has_a_turkish_name(study: dict[str, Any]) -> None:
    for gate in _worst(study)["gates"]:
        assert f"gate_{gate['name']}" in WORDS["tr"]


def test_turkish_numbers_have_a_decimal_comma_everywhere(study: dict[str, Any], tmp_path: Path) -> None:
    turkish = _seen(study, tmp_path, "tr").replace(study["model_id"], "")
    # A point stands in thousands only, and no thousand begins with 0.
    assert re.findall(r"\d\.\d(?!\d\d(?!\d))|\b0\.\d|\d %(?!-?\d)", turkish) == []
    assert "8.980 × 15m" in turkish
    assert re.search(r"%\d+,\d", turkish)
    assert "8,980 × 15m" in _seen(study, tmp_path, "en")


def test_the_report_says_what_funding_cost_or_that_none_was_recorded(study: dict[str, Any], tmp_path: Path) -> None:
    assert _seen(study, tmp_path, "en").count("no funding recorded") == 2
    assert "kayıtlı fonlama yok" in _seen(study, tmp_path, "tr")
    paid = {"bars_due": 1_200, "bars_charged": 310, "paid": 42.125}
    received = {"bars_due": 12, "bars_charged": 3, "paid": -5.0}
    funded = {
        **study,
        "walk_forward": {**study["walk_forward"], "funding": paid},
        "final": {**study["final"], "funding": received},
    }
    english, turkish = _seen(funded, tmp_path, "en"), _seen(funded, tmp_path, "tr")
    assert "at 310 of the 1,200 closes where a rate was due: 42.12 paid, 0.42 % of the starting cash" in english
    assert "at 3 of the 12 closes where a rate was due: 5.00 received, 0.05 % of the starting cash" in english
    assert "1.200 kapanışın 310 tanesinde pozisyon vardı: 42,12 ödendi, başlangıç nakdinin %0,42 kadarı" in turkish
    assert "5,00 alındı" in turkish
    gap = {**funded, "funding_missing": [[1_704_067_200_000, 1_706_745_600_000]]}
    assert "holding looks free 2024-01-01 - 2024-02-01" in _seen(gap, tmp_path, "en")
    # A study of before funding was charged has no such entry.
    old = {key: value for key, value in study["walk_forward"].items() if key != "funding"}
    assert "no funding recorded" in _seen({**study, "walk_forward": old}, tmp_path, "en")


def test_verdicts_count_the_gates_that_failed(study: dict[str, Any]) -> None:
    gates = [{**gate, "passed": True} for gate in study["gates"]]
    assert study["model_id"] in verdict({**study, "gates": gates})
    gates[2]["passed"] = gates[5]["passed"] = False
    assert f"2 of {len(gates)}" in verdict({**study, "gates": gates})
    assert "runs in shadow" in verdict({**study, "gates": gates})
    assert "goes on in the league" in verdict({**study, "gates": gates, "model_id": "ensemble-0123456789ab"})


def test_two_markets_stand_side_by_side(study: dict[str, Any], tmp_path: Path) -> None:
    live = {"OTHER": {"stopped in": "3 ms <b>"}}
    path = write_report([study, {**study, "symbol": "OTHER"}], tmp_path, live=live, name="both")
    text = path.read_text(encoding="utf-8")
    assert WORDS["en"]["compare"] in text
    assert "3 ms &lt;b&gt;" in text
    assert text.count('class="verdict') == 2


def test_odd_symbols_and_no_chosen_pair_are_shown_too(study: dict[str, Any], tmp_path: Path) -> None:
    none_chosen = {**study, "symbol": "BTC/USDT", "thresholds": {**study["thresholds"], "chosen": None}}
    write_report([none_chosen], tmp_path)
    assert (tmp_path / "BTC_USDT-thresholds.png").stat().st_size > 5_000


def test_what_cannot_be_written_is_refused(study: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="at least one study"):
        write_report([], tmp_path)
    with pytest.raises(EvaluationError, match="'de' is not spoken"):
        write_report([study], tmp_path, lang="de")
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(EvaluationError, match="choose another folder"):
        write_report([study], blocked / "below")


def test_both_languages_have_the_same_words() -> None:
    assert WORDS["en"].keys() == WORDS["tr"].keys()
    for key, english in WORDS["en"].items():
        assert sorted(re.findall(r"{(\w+)}", english)) == sorted(re.findall(r"{(\w+)}", WORDS["tr"][key]))


def test_thinning_keeps_first_last_and_every_fall() -> None:
    rows = charts.thinned(50_000)
    assert (rows[0], rows[-1]) == (0, 49_999)
    assert len(rows) <= 1_200
    equity = np.ones(50_000)
    equity[31_337] = 0.5
    figure = charts.drawdown_chart(np.arange(50_000), equity, limit=0.15, label="", limit_label="limit")
    lowest = min(float(path.vertices[:, 1].min()) for path in figure.axes[0].collections[0].get_paths())
    assert lowest == pytest.approx(-50.0)
