"""`kalibre corpus`: build a corpus of Turkish text, count what it holds, look at its documents."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kalibre.cli.base import EXIT_DEGRADED, EXIT_FAILED, JsonOption, emit, progress

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer()

_DEFAULT = Path("corpus.toml")
_EXAMPLES = 5
"""Of what was left out, for people to see where."""


@app.command()
def corpus(
    what: Annotated[Literal["build", "inspect", "stats"], typer.Argument(help="What to do.")],
    place: Annotated[Path, typer.Argument(help="Settings of the corpus (corpus.toml), or its folder.")] = _DEFAULT,
    source: Annotated[str, typer.Option("--source", help="inspect: only documents of this source.")] = "",
    contains: Annotated[str, typer.Option("--contains", help="inspect: only with this inside, or an id.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="inspect: how many documents.")] = 5,
    seed: Annotated[int | None, typer.Option("--seed", help="inspect: draw them by chance, with this seed.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Build a corpus from the sources of corpus.toml, count what it holds, or look at documents."""
    if what == "build":
        _build(place, as_json=as_json)
    elif what == "stats":
        _stats(_folder(place), as_json=as_json)
    else:
        _inspect(_folder(place), source, contains, limit, seed, as_json=as_json)


def _folder(place: Path) -> Path:
    from kalibre.language.corpus.config import read_config

    return place if place.is_dir() else read_config(place).folder


def _build(place: Path, *, as_json: bool) -> None:
    import msgspec

    from kalibre.core.errors import UsageError
    from kalibre.language.corpus.build import build
    from kalibre.language.corpus.config import read_config

    if place.is_dir():
        raise UsageError(f"{str(place)!r} is a folder: name the settings that a corpus is built from (corpus.toml)")
    config = read_config(place)
    with progress(as_json=as_json) as report:
        told = build(config, report=report)

    def show(console: Console) -> None:
        for one in told.sources:
            said = f"{one.name}: {one.found:,} read, {one.added:,} new, {one.exact_duplicates:,} known"
            console.print(f"{said}, {one.near_duplicates:,} nearly known", markup=False)
            for name, counts in (("left out", one.left), ("masked", one.masked)):
                if counts:
                    listed = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
                    console.print(f"  {name}: {listed}", markup=False)
            for left in one.examples[:_EXAMPLES]:
                why = f"{left.reason}, {left.detail}" if left.detail else left.reason
                console.print(f"    {left.where}: {why}", markup=False)
            if len(one.examples) > _EXAMPLES:
                console.print("    more of them with --json", markup=False)
            if one.failed:
                console.print(f"  ended early: {one.failed}", markup=False)
        held = f"{told.documents:,} documents, {told.characters:,} characters, {told.shards} shards"
        console.print(f"{told.folder}: {held}; {told.added:,} new in {told.seconds:.1f} s", markup=False)
        if told.note:
            console.print(told.note, markup=False)

    emit({**msgspec.to_builtins(told), "added": told.added}, as_json=as_json, show=show)
    if told.failed:
        raise typer.Exit(EXIT_FAILED if len(told.failed) == len(told.sources) else EXIT_DEGRADED)


def _stats(folder: Path, *, as_json: bool) -> None:
    import msgspec

    from kalibre.language.corpus.inspection import stats

    with progress(as_json=as_json) as report:
        told = stats(folder, report=report)

    def show(console: Console) -> None:
        from rich.table import Table

        table = Table("documents", "characters", "words", "from", "to", "of")
        rows = [("all", told.total)]
        for name, tallies in (("source", told.sources), ("licence", told.licences), ("language", told.languages)):
            rows += [(f"{name} {key}", one) for key, one in sorted(tallies.items())]
        for name, one in rows:
            table.add_row(f"{one.documents:,}", f"{one.characters:,}", f"{one.words:,}", one.first, one.last, name)
        console.print(table)
        lengths = ", ".join(f"{share} {length:,}" for share, length in told.lengths.items())
        console.print(f"{told.shards} shards, {told.bytes:,} bytes; characters a document: {lengths}", markup=False)

    emit(msgspec.to_builtins(told), as_json=as_json, show=show)


def _inspect(folder: Path, source: str, contains: str, limit: int, seed: int | None, *, as_json: bool) -> None:
    import msgspec

    from kalibre.language.corpus.inspection import inspect

    found = inspect(folder, source=source, contains=contains, limit=limit, seed=seed)

    def show(console: Console) -> None:
        for one in found:
            console.print(f"{one.id}  {one.source}  {one.licence}  {one.date}  {one.url}", markup=False, style="bold")
            if one.title:
                console.print(one.title, markup=False)
            console.print(one.text if len(one.text) <= 600 else one.text[:600] + " ...", markup=False)
            console.print()
        if not found:
            console.print("no document is like that")

    emit({"documents": msgspec.to_builtins(found)}, as_json=as_json, show=show)
