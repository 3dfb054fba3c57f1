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

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Study = Mapping[str, Any]


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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sections = [_section(study, folder, words, lang, (live or {}).get(study["symbol"])) for study in studies]
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
    return words["verdict_no"].format(failed=len(failed), total=len(study["gates"]))


def _section(
    study: Study, folder: Path, words: Mapping[str, str], lang: str, live: Mapping[str, Any] | None
) -> dict[str, Any]:
    pictures = []
    for picture, figure in _pictures(study, words):
        # A symbol such as BTC/USDT is no file name.
        charts.save_png(figure, folder / f"{re.sub(r'[^A-Za-z0-9._]', '_', study['symbol'])}-{picture.name}.png")
        pictures.append(picture)
    text = "explanation_tr" if lang == "tr" else "explanation"
    return {
        "study": study,
        "verdict": verdict(study, lang),
        "qualifies": study["qualifies"],
        "gates": [{**gate, "text": gate[text]} for gate in study["gates"]],
        "facts": _facts(study, words),
        "windows": _windows(study, words),
        "folds": [_fold_row(fold) for fold in study["folds"]],
        "holes": [(_day(start), _day(end), missing) for start, end, missing in study["holes"]],
        "pictures": pictures,
        "live": live,
    }


def _pictures(study: Study, words: Mapping[str, str]) -> list[tuple[_Picture, Figure]]:
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
            charts.drawdown_chart(time, equity, limit=limit, label=words["drawdown_axis"], limit_name=words["limit"]),
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
    return [
        (_Picture(name, words[f"title_{name}"], words[f"note_{name}"], charts.svg(figure), wide), figure)
        for name, wide, figure in figures
    ]


def _facts(study: Study, words: Mapping[str, str]) -> list[tuple[str, str]]:
    significance = study["significance"]
    forecast = study["walk_forward"]["forecast"]
    low, high = forecast["ece_band"]
    return [
        (words["span"], f"{_day(study['start_ms'])} - {_day(study['end_ms'])}"),
        (words["bars"], f"{study['n_bars']:,} × {study['timeframe']}"),
        (words["columns"], str(len(study["columns"]))),
        (words["horizon"], f"{study['horizon_bars']} × {study['timeframe']} ({study['label']})"),
        (words["ece"], f"{_text(forecast['ece'])} ({words['band']}: {_text(low)} - {_text(high)})"),
        (words["auc"], f"{_text(forecast['auc'])} ({_text(forecast['auc_low'])} - {_text(forecast['auc_high'])})"),
        (words["dsr"], _text(significance["dsr"])),
        (words["pbo"], _text(significance["pbo"])),
        (words["trials"], str(significance["n_trials"])),
        (words["smallest_sharpe"], _text(significance["smallest_passing_sharpe"], 2)),
        (words["history"], study["history_digest"][:12]),
        (words["missing"], f"{study['missing_bars']:,}"),
    ]


def _windows(study: Study, words: Mapping[str, str]) -> list[dict[str, Any]]:
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
                            _text(forecast["auc"]),
                            _text(forecast["log_loss"], 4),
                            _text(forecast["brier"], 4),
                            _text(trading and trading["sharpe"], 2),
                            _percent(trading and trading["total_return"]),
                            _percent(trading and trading["max_drawdown"]),
                            _percent(trading and trading["win_rate"]),
                            _text(trading and trading["n_trades"], 0),
                            _percent(trading and trading["exposure"]),
                        ],
                    }
                    for name, forecast, trading, own in rows
                ],
            }
        )
    return tables


def _fold_row(fold: Study) -> list[str]:
    test = fold["parts"]["test"]
    trading = fold["trading"]
    return [
        str(fold["index"] + 1),
        f"{_day(test['start_ms'])} - {_day(test['end_ms'])}",
        f"{fold['parts']['fit']['n_samples']:,}",
        str(fold["best_round"]),
        fold["calibrator"],
        " / ".join(_text(weight, 2) for weight in fold["class_weights"].values()),
        f"{_text(fold['entry_threshold'])} / {_text(fold['exit_threshold'])}",
        _text(fold["auc"]),
        _text(fold["ece"]),
        _text(trading["sharpe"], 2),
        _percent(trading["total_return"]),
        _percent(trading["max_drawdown"]),
        _text(trading["n_trades"], 0),
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


def _text(value: Any, digits: int = 3) -> str:
    return "–" if value is None else f"{float(value):,.{digits}f}"


def _percent(value: Any) -> str:
    return "–" if value is None else f"{100 * float(value):,.1f} %"


def _day(time_ms: int) -> str:
    return to_text(int(time_ms))[:10]
