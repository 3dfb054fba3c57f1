"""`kalibre demo`: two markets side by side, one real and one with a planted edge, and how the kill switch ends it."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kalibre.cli.base import ConfigOption, JsonOption, emit, settings_of
from kalibre.core.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kalibre.evaluation.report import Numbers

app = typer.Typer()

_MARK = ".kalibre-demo"


@app.command()
def demo(
    folder: Annotated[Path | None, typer.Option("--folder", help="Default: demo in home. Emptied first.")] = None,
    lang: Annotated[str | None, typer.Option("--lang", help="en or tr; default: the settings'.")] = None,
    hub: Annotated[
        bool, typer.Option("--hub/--no-hub", help="Then run the hub on both markets, with its page.")
    ] = True,
    once: Annotated[bool, typer.Option("--once", help="End the hub once it has played everything.")] = False,
    port: Annotated[int, typer.Option("--port", help="Of the page; 0 takes a free one.")] = 0,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Judge two markets side by side, trade what qualifies, stop it by the kill switch; then run the hub on both."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from kalibre.evaluation.report import Numbers, write_report
    from kalibre.registry.demonstration import MARKETS, demonstrate
    from kalibre.registry.demonstration_words import WORDS

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
    words, numbers = WORDS[language], Numbers(language)
    live = {outcome["study"]["symbol"]: _live(outcome["paper"], words, numbers) for outcome in outcomes}
    report = write_report([outcome["study"] for outcome in outcomes], place, lang=language, live=live, name="demo")
    seconds = time.monotonic() - began
    summary = [_summary(outcome, words, numbers) for outcome in outcomes]

    def show(console: Console) -> None:
        from rich.table import Table

        table = Table("", *(outcome["title"] for outcome in outcomes), box=None, padding=(0, 3, 0, 0))
        order = list(words.values())
        for name in sorted({name for row in summary for name in row}, key=order.index):
            table.add_row(name, *(row.get(name, "–") for row in summary))
        console.print()
        console.print(table)
        console.print()
        width = max(len(words["report"]), len(words["took"]))
        console.print(f"{words['report']:<{width}}  {report}", markup=False)
        took = words["seconds"].format(seconds=numbers.text(seconds, 0))
        console.print(f"{words['took']:<{width}}  {took}", markup=False)

    stages = {outcome["study"]["symbol"]: outcome["seconds"] for outcome in outcomes}
    markets = [_figures(outcome) for outcome in outcomes]
    emit({"markets": markets, "report": report, "seconds": seconds, "stages": stages}, as_json=as_json, show=show)
    if hub and not as_json:
        _run_hub(place / "hub", language, port=port, once=once)


def _run_hub(home: Path, lang: str, *, port: int, once: bool) -> None:
    """Let the learners play both markets, and show the page until Ctrl-C."""
    from kalibre.cli.hub import say
    from kalibre.core.settings import make_home
    from kalibre.hub.demonstration import demo_settings
    from kalibre.hub.replays import environment_of
    from kalibre.hub.up import up
    from kalibre.registry.demonstration_words import WORDS

    make_home(home)
    settings = demo_settings(home, lang=lang, port=port, once=once)
    environment = environment_of(settings, ["market", "features", "costs"])
    environment |= {"KALIBRE_LANG": lang, "KALIBRE_API__PORT": str(port)}
    _say(f"\n{WORDS[lang]['hub']}")
    up(settings, environment=environment, once=once, say=say)


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


def _figures(outcome: dict[str, Any]) -> dict[str, Any]:
    """Return what a program wants to know, the same in every language."""
    study = outcome["study"]
    forecast, trading = study["walk_forward"]["forecast"], study["walk_forward"]["trading"]
    return {
        **{name: study[name] for name in ("symbol", "timeframe", "model_id", "qualifies")},
        "gates": {gate["name"]: gate["passed"] for gate in study["gates"]},
        "auc": forecast["auc"],
        "ece": forecast["ece"],
        "sharpe": trading["sharpe"],
        "max_drawdown": trading["max_drawdown"],
        "dsr": study["significance"]["dsr"],
        "paper": outcome["paper"],
    }


def _live(paper: dict[str, Any], words: Mapping[str, str], numbers: Numbers) -> dict[str, str]:
    """Return what happened on paper after the study, as rows that the report and the terminal show alike."""
    rows = {words["live_bars"]: numbers.count(paper["live_bars"])}
    for role, ledger in paper["ledgers"].items():
        equity, fills = numbers.text(ledger["equity"], 2), numbers.count(ledger["fills"])
        rows[words[f"ledger_{role}"]] = words["ledger_value"].format(equity=equity, fills=fills)
    rows[words["kill"]] = words["kill_value"].format(ms=numbers.text(paper["stop_ms"], 1))
    rows[words["orders_before"]] = numbers.count(paper["orders_before_kill"])
    rows[words["orders_after"]] = words["orders_after_value"].format(
        orders=numbers.count(paper["orders_after_kill"]), bars=numbers.count(paper["bars_after_kill"])
    )
    return rows


def _summary(outcome: dict[str, Any], words: Mapping[str, str], numbers: Numbers) -> dict[str, str]:
    figures = _figures(outcome)
    gates = figures["gates"].values()
    return {
        words["verdict"]: words["yes" if figures["qualifies"] else "no"],
        words["gates"]: words["gates_value"].format(passed=sum(gates), gates=len(gates)),
        words["auc"]: numbers.text(figures["auc"]),
        words["ece"]: numbers.text(figures["ece"]),
        words["sharpe"]: numbers.text(figures["sharpe"], 2),
        words["max_drawdown"]: numbers.percent(figures["max_drawdown"]),
        words["dsr"]: numbers.text(figures["dsr"]),
        **_live(figures["paper"], words, numbers),
    }
