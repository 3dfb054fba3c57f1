"""Verbs of `kalibre hub` that change something, each recorded: pause, restore, retrain, restart, judge, ..."""

from __future__ import annotations

from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kalibre.cli._help import Verb
from kalibre.cli._hub_watching import LearnerArgument, check_known
from kalibre.cli.base import (
    ConfigOption,
    JsonOption,
    SymbolOption,
    emit,
    opened_log,
    progress,
    settings_of,
    stored_bars,
)
from kalibre.core.errors import HubError, PromotionRefusedError

if TYPE_CHECKING:
    from rich.console import Console

verbs = typer.Typer()

ReasonArgument = Annotated[str, typer.Argument(help="Why; recorded.")]


def _command(
    learner: str,
    verb: Literal["pause", "resume", "reset", "restore", "checkpoint"],
    reason: str,
    *,
    checkpoint: str,
    as_json: bool,
    config: Path | None,
) -> None:
    from kalibre.hub.commands import record_command

    settings = settings_of(config)
    check_known(settings, learner)
    with opened_log(settings) as log:
        event = record_command(log, settings, learner, verb, by=getuser(), reason=reason, checkpoint=checkpoint)
    told = {"learner": learner, "verb": verb, "position": event.seq, "checkpoint": event.payload.checkpoint}  # type: ignore[attr-defined]
    words = f"recorded at {event.seq:,}: {verb} {learner}; it is obeyed at its place among the bars"
    emit(told, as_json=as_json, show=lambda console: console.print(words, markup=False))


@verbs.command(cls=Verb)
def pause(
    learner: LearnerArgument, reason: ReasonArgument = "", as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Let a learner neither learn nor forecast until it is resumed."""
    _command(learner, "pause", reason, checkpoint="", as_json=as_json, config=config)


@verbs.command(cls=Verb)
def resume(
    learner: LearnerArgument, reason: ReasonArgument = "", as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Let a learner that was paused go on."""
    _command(learner, "resume", reason, checkpoint="", as_json=as_json, config=config)


@verbs.command(cls=Verb)
def reset(
    learner: LearnerArgument, reason: ReasonArgument = "", as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Let a learner begin anew, knowing nothing."""
    _command(learner, "reset", reason, checkpoint="", as_json=as_json, config=config)


@verbs.command(cls=Verb)
def restore(
    learner: LearnerArgument,
    checkpoint: Annotated[str, typer.Argument(help="Its digest, the first signs of it, or latest.")],
    reason: ReasonArgument = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Let a learner go on from a checkpoint; what it learnt since is skipped, and the checkpoint is kept for good."""
    _command(learner, "restore", reason, checkpoint=checkpoint, as_json=as_json, config=config)


@verbs.command(cls=Verb)
def checkpoint(
    learner: LearnerArgument, reason: ReasonArgument = "", as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Let the worker of a learner lay down a checkpoint now."""
    _command(learner, "checkpoint", reason, checkpoint="", as_json=as_json, config=config)


@verbs.command(cls=Verb)
def retrain(
    symbol: SymbolOption = None,
    reason: ReasonArgument = "asked for",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Queue the training of a challenger; the gates judge it."""
    from kalibre.core.clock import SystemClock
    from kalibre.log.jobs import Jobs

    settings = settings_of(config, symbols=[symbol] if symbol else None)
    now_ms = SystemClock().now_ms()
    rows = []
    with opened_log(settings) as log:
        for name in settings.market.symbols:
            payload = {"symbol": name, "by": getuser(), "reason": reason}
            rows.append(Jobs(log).enqueue("retrain", f"{name}|{now_ms}", payload, due_ms=now_ms).key)
    words = f"queued: {', '.join(rows)}; `kalibre hub status` shows whether a worker for jobs runs"
    emit({"jobs": rows}, as_json=as_json, show=lambda console: console.print(words, markup=False))


def _supervised(verb: Literal["start", "stop", "restart"], name: str, *, as_json: bool, config: Path | None) -> None:
    from kalibre.hub.control import Request, ask
    from kalibre.hub.up import run_dir

    answer = ask(run_dir(settings_of(config)), Request(verb=verb, worker=name, by=getuser()))
    if not answer.ok:
        raise HubError(answer.detail)
    emit({"detail": answer.detail}, as_json=as_json, show=lambda console: console.print(answer.detail, markup=False))


WorkerArgument = Annotated[str, typer.Argument(help="A worker, as `kalibre hub status` names it.")]


@verbs.command(cls=Verb)
def restart(name: WorkerArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Start a worker anew."""
    _supervised("restart", name, as_json=as_json, config=config)


@verbs.command(cls=Verb)
def stop(name: WorkerArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Stop a worker until it is started again."""
    _supervised("stop", name, as_json=as_json, config=config)


@verbs.command(cls=Verb)
def start(name: WorkerArgument, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Start a worker that was stopped."""
    _supervised("start", name, as_json=as_json, config=config)


@verbs.command(cls=Verb)
def judge(
    symbol: SymbolOption = None,
    promote: Annotated[
        bool, typer.Option("--promote", help="Let the policy follow the ensemble if every gate lets it.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Put the ensemble's recorded forecasts through the gates and store what was found; it acts once promoted."""
    from dataclasses import asdict

    from kalibre.cli.learning import show_verdict, study_summary
    from kalibre.hub.ensemble_judge import check_followed, judge_ensemble
    from kalibre.registry.promotion import promote as let_act
    from kalibre.registry.store import Registry

    settings = settings_of(config)
    chosen = symbol or settings.market.symbols[0]
    check_followed(settings, chosen, settings.market.timeframe)
    promoted, refused = None, None
    with opened_log(settings) as log, progress(as_json=as_json) as report:
        study = judge_ensemble(log, stored_bars(log, settings, chosen), settings, progress=report).study
        model = study["model_id"]
        if promote:
            note = "its recorded forecasts passed the gates"
            try:
                promoted = asdict(let_act(log, Registry(settings), settings, model, note=note, by=getuser()))
            except PromotionRefusedError as error:
                # The verdict is shown before the refusal, which `--json` cannot: it prints one object.
                refused = error
                if as_json:
                    raise

    def show(console: Console) -> None:
        show_verdict(console, study, lang=settings.lang)
        if study["without_champion"]:
            console.print("judged without the champion, which falls silent once the ensemble acts", markup=False)
        console.print(f"version  {model}", markup=False)
        console.print(f"next     kalibre report --model {model}", markup=False)
        if promoted is not None:
            console.print(f"champion of {promoted['series']}: {model}", markup=False)
        elif study["qualifies"]:
            console.print(f'         kalibre promote {model} "why you trust it"', markup=False)

    emit({**study_summary(study), "promoted": promoted}, as_json=as_json, show=show)
    if refused is not None:
        raise refused
