"""The report: one self-contained HTML file and its pictures as PNGs, verdict first, in English or Turkish.

It reads a study as plain data (`StudyResult.as_dict()`), so a stored study can be shown again years later.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kalibre.core.clock import to_text
from kalibre.core.errors import EvaluationError
from kalibre.evaluation import charts
from kalibre.evaluation.report_words import WORDS
from kalibre.models.ensemble_version import is_ensemble

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Study = Mapping[str, Any]


@dataclass(frozen=True)
class Numbers:
    """Numbers as a language writes them: 1,234.5 and 12.3 % in English, 1.234,5 and %12,3 in Turkish.

    Examples
    --------
    >>> Numbers("en").text(1234.5, 1), Numbers("tr").text(1234.5, 1), Numbers("tr").percent(-0.123)
    ('1,234.5', '1.234,5', '%-12,3')
    """

    lang: str

    def text(self, value: Any, digits: int = 3) -> str:
        """Return a number with so many digits, a dash where it is unknown."""
        return "–" if value is None else self._written(f"{float(value):,.{digits}f}")

    def percent(self, value: Any, digits: int = 1) -> str:
        """Return a fraction as per cent."""
        if value is None:
            return "–"
        written = self._written(f"{100 * float(value):,.{digits}f}")
        return f"%{written}" if self.lang == "tr" else f"{written} %"

    def count(self, value: int) -> str:
        """Return a whole number."""
        return self._written(f"{value:,}")

    def _written(self, number: str) -> str:
        return number.translate(_TURKISH) if self.lang == "tr" else number


_TURKISH = str.maketrans(".,", ",.")


@dataclass(frozen=True)
class _Picture:
    name: str
    title: str
    note: str
    svg: str
    wide: bool


def write_report(
    studies: Sequence[Study],
    folder: Path,
    *,
    lang: str = "en",
    live: Mapping[str, Mapping[str, Any]] | None = None,
    name: str = "report",
) -> Path:
    """Write one HTML file for one study or several side by side, and a PNG for each picture.

    Parameters
    ----------
    studies
        Each as `StudyResult.as_dict()` returns it.
    folder
        Made if it is not there; holds `<name>.html` and `<symbol>-<picture>.png`.
    lang
        `en` or `tr`.
    live
        By symbol, what happened on paper after the study: rows of the live panel, as text.

    Raises
    ------
    EvaluationError
        If there is no study, the language is unknown, or the folder cannot be written; the message quotes it.
    """
    if not studies:
        raise EvaluationError("a report needs at least one study: run `kalibre train` first")
    if lang not in WORDS:
        raise EvaluationError(f"language {lang!r} is not spoken here: choose one of {', '.join(WORDS)}")
    words = WORDS[lang]
    numbers = Numbers(lang)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sections = [_section(study, folder, words, numbers, (live or {}).get(study["symbol"])) for study in studies]
        path = folder / f"{name}.html"
        temporary = path.with_suffix(".html.part")
        temporary.write_text(_render(sections, words, lang), encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise EvaluationError(f"report cannot be written to {str(folder)!r}: {error}; choose another folder") from error
    return path


def verdict(study: Study, lang: str = "en") -> str:
    """Return the verdict in one sentence of plain words."""
    words = WORDS[lang]
    failed = [gate for gate in study["gates"] if not gate["passed"]]
    if not failed:
        return words["verdict_yes"].format(model=study["model_id"], passed=len(study["gates"]))
    refused = "verdict_no_ensemble" if is_ensemble(study["model_id"]) else "verdict_no"
    return words[refused].format(failed=len(failed), total=len(study["gates"]))


def _section(
    study: Study, folder: Path, words: Mapping[str, str], numbers: Numbers, live: Mapping[str, Any] | None
) -> dict[str, Any]:
    pictures = []
    for name, wide, figure in _figures(study, words, numbers):
        if numbers.lang == "tr":
            charts.decimal_comma(figure)
        picture = _Picture(name, words[f"title_{name}"], words[f"note_{name}"], charts.svg(figure), wide)
        # A symbol such as BTC/USDT is no file name.
        charts.save_png(figure, folder / f"{re.sub(r'[^A-Za-z0-9._]', '_', study['symbol'])}-{picture.name}.png")
        pictures.append(picture)
    passed = sum(gate["passed"] for gate in study["gates"])
    return {
        "study": study,
        "verdict": verdict(study, numbers.lang),
        "qualifies": study["qualifies"],
        "n_bars": numbers.count(study["n_bars"]),
        "ece": numbers.text(study["walk_forward"]["forecast"]["ece"]),
        "dsr": numbers.text(study["significance"]["dsr"]),
        "n_gates": f"{passed} / {len(study['gates'])}",
        "gates": [_gate_row(gate, words, numbers) for gate in study["gates"]],
        "facts": _facts(study, words, numbers),
        "windows": _windows(study, words, numbers),
        "folds": [_fold_row(fold, words, numbers) for fold in study["folds"]],
        "holes": [(_day(start), _day(end), numbers.count(missing)) for start, end, missing in study["holes"]],
        "pictures": pictures,
        "live": live,
    }


def _gate_row(gate: Study, words: Mapping[str, str], numbers: Numbers) -> dict[str, Any]:
    text = gate["explanation"]
    if numbers.lang == "tr":
        # The sentence was written when the study was made; its numbers are brought to the page's notation.
        text = re.sub(r"(?<=\d)\.(?=\d)", ",", gate["explanation_tr"])
    return {**gate, "title": words.get(f"gate_{gate['name']}", gate["name"]), "text": text}


def _figures(study: Study, words: Mapping[str, str], numbers: Numbers) -> list[tuple[str, bool, Figure]]:
    curve = study["walk_forward"]["curve"]
    time = np.asarray(curve["time_ms"], dtype=np.int64)
    equity = np.asarray(curve["equity"], dtype=float)
    hold = np.asarray(curve["buy_and_hold"], dtype=float)
    limit = study["settings"]["gates"]["max_drawdown"]
    figures: list[tuple[str, bool, Figure]] = [
        (
            "equity",
            True,
            charts.equity_chart(
                time, equity, hold, names=(words["policy"], words["buy_and_hold"]), label=words["equity_axis"]
            ),
        ),
        (
            "drawdown",
            True,
            charts.drawdown_chart(
                time,
                equity,
                limit=limit,
                label=words["drawdown_axis"],
                limit_label=f"{words['limit']} {numbers.percent(limit, 0)}",
            ),
        ),
    ]
    bins = study["walk_forward"]["forecast"]["reliability"]
    if bins:
        columns = {key: np.array([row[key] for row in bins], dtype=float) for key in bins[0]}
        figures.append(
            (
                "reliability",
                False,
                charts.reliability_chart(
                    columns["forecast"],
                    columns["observed"],
                    columns["band_low"],
                    columns["band_high"],
                    labels=(words["forecast_axis"], words["observed_axis"], words["band"]),
                ),
            )
        )
    thresholds = study["thresholds"]
    entries, exits = np.asarray(thresholds["entries"], float), np.asarray(thresholds["exits"], float)
    sharpe = np.array([[np.nan if cell is None else cell for cell in row] for row in thresholds["sharpe"]], float)
    figures.append(
        (
            "thresholds",
            False,
            charts.threshold_chart(
                entries,
                exits,
                sharpe,
                chosen=thresholds["chosen"],
                labels=(words["entry_axis"], words["exit_axis"], words["sharpe"]),
            ),
        )
    )
    figures.append(("importance", False, charts.importance_chart(study["importance"], label=words["importance_axis"])))
    folds = study["folds"]
    fold_sharpe = np.array([_number(fold["trading"]["sharpe"]) for fold in folds])
    names = [str(fold["index"] + 1) for fold in folds]
    bar = study["settings"]["gates"]["min_sharpe"]
    figures.append(("folds", False, charts.fold_chart(names, fold_sharpe, label=words["sharpe"], bar=bar)))
    return figures


def _facts(study: Study, words: Mapping[str, str], numbers: Numbers) -> list[tuple[str, str]]:
    text = numbers.text
    significance = study["significance"]
    forecast = study["walk_forward"]["forecast"]
    low, high = forecast["ece_band"]
    label = words.get(f"label_{study['label']}", study["label"])
    return [
        (words["span"], f"{_day(study['start_ms'])} - {_day(study['end_ms'])}"),
        (words["bars"], f"{numbers.count(study['n_bars'])} × {study['timeframe']}"),
        (words["columns"], str(len(study["columns"]))),
        (words["horizon"], f"{study['horizon_bars']} × {study['timeframe']} ({label})"),
        (words["ece"], f"{text(forecast['ece'])} ({words['band']}: {text(low)} - {text(high)})"),
        (words["auc"], f"{text(forecast['auc'])} ({text(forecast['auc_low'])} - {text(forecast['auc_high'])})"),
        (words["dsr"], text(significance["dsr"])),
        (words["pbo"], text(significance["pbo"])),
        (words["trials"], numbers.count(significance["n_trials"])),
        (words["smallest_sharpe"], text(significance["smallest_passing_sharpe"], 2)),
        (words["history"], study["history_digest"][:12]),
        (words["missing"], numbers.count(study["missing_bars"])),
        *(
            (f"{words['funding']} ({words[window['name']]})", _funding(study, window, words, numbers))
            for window in (study["walk_forward"], study["final"])
            if window is not None
        ),
        *(
            (words["funding_missing"], f"{_day(start)} - {_day(end)}")
            for start, end in study.get("funding_missing", ())
        ),
    ]


def _funding(study: Study, window: Study, words: Mapping[str, str], numbers: Numbers) -> str:
    """Say what holding a perpetual cost; studies from before funding was charged have no such entry."""
    charged = window.get("funding")
    if charged is None:
        return words["funding_none"]
    paid = charged["paid"]
    return words["funding_received" if paid < 0 else "funding_paid"].format(
        charged=numbers.count(charged["bars_charged"]),
        due=numbers.count(charged["bars_due"]),
        paid=numbers.text(abs(paid), 2),
        share=numbers.percent(abs(paid) / study["settings"]["risk"]["initial_cash"], 2),
    )


def _windows(study: Study, words: Mapping[str, str], numbers: Numbers) -> list[dict[str, Any]]:
    text, percent = numbers.text, numbers.percent
    tables = []
    for window in (study["walk_forward"], study["final"]):
        if window is None:
            continue
        rows = [(words["model"], window["forecast"], window["trading"], True)]
        rows += [(words[dummy["name"]], dummy, dummy["trading"], False) for dummy in window["dummies"]]
        tables.append(
            {
                "title": words[f"window_{window['name']}"],
                "span": f"{_day(window['start_ms'])} - {_day(window['end_ms'])}",
                "rows": [
                    {
                        "name": name,
                        "own": own,
                        "cells": [
                            text(forecast["auc"]),
                            text(forecast["log_loss"], 4),
                            text(forecast["brier"], 4),
                            text(trading and trading["sharpe"], 2),
                            percent(trading and trading["total_return"]),
                            percent(trading and trading["max_drawdown"]),
                            # A share of no closed trade is no share: buy and hold never sells.
                            percent(trading["win_rate"] if trading and trading["n_trades"] else None),
                            text(trading and trading["n_trades"], 0),
                            percent(trading and trading["exposure"]),
                        ],
                    }
                    for name, forecast, trading, own in rows
                ],
            }
        )
    return tables


def _fold_row(fold: Study, words: Mapping[str, str], numbers: Numbers) -> list[str]:
    text, percent = numbers.text, numbers.percent
    test = fold["parts"]["test"]
    trading = fold["trading"]
    return [
        str(fold["index"] + 1),
        f"{_day(test['start_ms'])} - {_day(test['end_ms'])}",
        numbers.count(fold["parts"]["fit"]["n_samples"]),
        str(fold["best_round"]),
        words.get(f"calibrator_{fold['calibrator']}", fold["calibrator"]),
        " / ".join(text(weight, 2) for weight in fold["class_weights"].values()),
        f"{text(fold['entry_threshold'])} / {text(fold['exit_threshold'])}",
        text(fold["auc"]),
        text(fold["ece"]),
        text(trading["sharpe"], 2),
        percent(trading["total_return"]),
        percent(trading["max_drawdown"]),
        text(trading["n_trades"], 0),
    ]


def _render(sections: Sequence[Mapping[str, Any]], words: Mapping[str, str], lang: str) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("kalibre.evaluation", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(sections=sections, w=words, lang=lang)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _day(time_ms: int) -> str:
    return to_text(int(time_ms))[:10]
