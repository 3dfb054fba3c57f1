"""`kalibre promote | rollback`: which model acts."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kalibre.cli.base import ConfigOption, JsonOption, SymbolOption, TimeframeOption, emit, opened_log, settings_of
from kalibre.core.errors import UsageError

if TYPE_CHECKING:
    from kalibre.registry.promotion import Promoted

app = typer.Typer()


@app.command()
def promote(
    model: Annotated[str, typer.Argument(help="Model id, as `kalibre train` or `kalibre hub judge` prints it.")],
    note: Annotated[str, typer.Argument(help="Why; recorded with the promotion.")],
    challenger: Annotated[
        bool, typer.Option("--challenger", help="Run it in shadow, on a paper ledger of its own; asks no gate.")
    ] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Let a model act if every gate lets it; else say which refused and run it in shadow."""
    if not note.strip():
        raise UsageError(f'NOTE {note!r} says nothing: `kalibre promote {model} "why you trust it"` records why')
    from kalibre.models.ensemble_version import is_ensemble
    from kalibre.registry.promotion import promote as let_act
    from kalibre.registry.store import Registry

    settings = settings_of(config)
    alias: Literal["champion", "challenger"] = "challenger" if challenger else "champion"
    made_of = None
    if is_ensemble(model):
        from kalibre.hub.ensemble import forecasters_of

        made_of = forecasters_of(settings)
    with opened_log(settings) as log:
        done = let_act(
            log, Registry(settings), settings, model, note=note, by=_user(), alias=alias, forecasters=made_of
        )
    _tell(done, as_json=as_json)


@app.command()
def rollback(
    symbol: SymbolOption = None,
    timeframe: TimeframeOption = None,
    note: Annotated[str, typer.Option("--note", help="Why; recorded.")] = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Take the last promotion back: the champion before it acts again, or none does."""
    from kalibre.registry.promotion import rollback as take_back
    from kalibre.registry.store import Registry

    settings = settings_of(config, symbols=[symbol] if symbol else None, timeframe=timeframe)
    chosen = settings.market.symbols[0]
    with opened_log(settings) as log:
        done = take_back(log, Registry(settings), settings, symbol=chosen, by=_user(), note=note)
    _tell(done, as_json=as_json)


def _user() -> str:
    from getpass import getuser

    return getuser()


def _tell(done: Promoted, *, as_json: bool) -> None:
    before = f" (before: {done.previous or 'nobody'})"
    lines = [f"{done.alias} of {done.series}: {done.model_id or 'nobody, the policy holds'}{before}"]
    if done.drifted:
        lines.append("warning: paper trades by the settings, which are not what the model was judged with:")
        lines.extend(f"  {sentence}" for sentence in done.drifted)
    if done.registry_problem:
        lines.append(f"MLflow is behind: {done.registry_problem}")
    emit(asdict(done), as_json=as_json, show=lambda console: console.print("\n".join(lines), markup=False))
