"""`kalibre demo`: two markets side by side, one real and one with a planted edge, and how the kill switch ends it."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kalibre.cli.base import ConfigOption, JsonOption, emit, settings_of
from kalibre.core.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer()

_MARK = ".kalibre-demo"
_ROWS = ("verdict", "gates passed", "AUC", "calibration error", "Sharpe after costs", "max drawdown", "deflated Sharpe")


@app.command()
def demo(
    folder: Annotated[Path | None, typer.Option("--folder", help="Default: demo in home. Emptied first.")] = None,
    lang: Annotated[str | None, typer.Option("--lang", help="en or tr; default: the settings'.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Judge two markets side by side, trade what qualifies on paper, and stop it with the kill switch."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from kalibre.evaluation.report import write_report
    from kalibre.evaluation.report_words import WORDS
    from kalibre.registry.demonstration import MARKETS, demonstrate

    settings = settings_of(config)
    language = lang or settings.lang
    if language not in WORDS:
        raise UsageError(f"--lang {language!r} is not spoken here: choose one of {', '.join(WORDS)}")
    place = _emptied(folder or settings.home / "demo")
    began = time.monotonic()
    # A process for each market: two cores, two markets, and neither can disturb the other.
    with ProcessPoolExecutor(len(MARKETS), mp_context=get_context("spawn")) as pool:
        running = [
            pool.submit(demonstrate, market, place / market.symbol.lower(), lang=language, say=_say)
            for market in MARKETS
        ]
        outcomes = [one.result() for one in running]
    live = {outcome["study"]["symbol"]: _live(outcome["paper"]) for outcome in outcomes}
    report = write_report([outcome["study"] for outcome in outcomes], place, lang=language, live=live, name="demo")
    seconds = time.monotonic() - began
    summary = [_summary(outcome) for outcome in outcomes]

    def show(console: Console) -> None:
        from rich.table import Table

        table = Table("", *(outcome["title"] for outcome in outcomes), box=None, padding=(0, 3, 0, 0))
        for name in dict.fromkeys(name for row in summary for name in row):
            table.add_row(name, *(row.get(name, "none") for row in summary))
        console.print()
        console.print(table)
        console.print(f"\nreport  {report}\ntook    {seconds:.0f} s", markup=False)

    stages = {outcome["study"]["symbol"]: outcome["seconds"] for outcome in outcomes}
    emit({"markets": summary, "report": report, "seconds": seconds, "stages": stages}, as_json=as_json, show=show)


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _emptied(folder: Path) -> Path:
    """Return the folder, empty; a folder that a demo did not make is left alone."""
    from kalibre.core.settings import make_home

    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).is_file():
        raise UsageError(f"--folder {str(folder)!r} holds something that no demo made: choose an empty folder")
    shutil.rmtree(folder, ignore_errors=True)
    make_home(folder)
    (folder / _MARK).touch()
    return folder


def _live(paper: dict[str, Any]) -> dict[str, str]:
    rows = {"live bars after the study": f"{paper['live_bars']:,}"}
    for role, ledger in paper["ledgers"].items():
        if ledger["fills"] or role == "challenger":
            rows[f"{role} ledger" + (" (shadow)" if role == "challenger" else "")] = (
                f"{ledger['equity']:,.2f} after {ledger['fills']} fills"
            )
    rows["kill switch"] = f"stopped in {paper['stop_ms']:.1f} ms"
    rows["orders before / after the kill"] = (
        f"{paper['orders_before_kill']} / {paper['orders_after_kill']} ({paper['bars_after_kill']} bars came after it)"
    )
    return rows


def _summary(outcome: dict[str, Any]) -> dict[str, str]:
    study, paper = outcome["study"], outcome["paper"]
    forecast, trading = study["walk_forward"]["forecast"], study["walk_forward"]["trading"]
    passed = sum(gate["passed"] for gate in study["gates"])
    figures = (
        "QUALIFIES" if study["qualifies"] else "nothing qualifies",
        f"{passed} of {len(study['gates'])}",
        f"{forecast['auc']:.3f}",
        f"{forecast['ece']:.3f}" if forecast["ece"] is not None else "unknown",
        f"{trading['sharpe']:.2f}",
        f"{100 * trading['max_drawdown']:.1f} %",
        f"{study['significance']['dsr']:.3f}",
    )
    return {**dict(zip(_ROWS, figures, strict=True)), **_live(paper)}
