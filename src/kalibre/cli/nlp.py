"""`kalibre nlp ...`: text models trained, judged on any file, and asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kalibre.cli._help import Verb, Verbs
from kalibre.cli._texts import check_day, check_model, texts_of
from kalibre.cli.base import ConfigOption, JsonOption, emit, settings_of
from kalibre.core.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kalibre.core.settings import Settings

app = typer.Typer()
nlp = typer.Typer(cls=Verbs, no_args_is_help=True, help="Turkish text: train models, judge them on any file, ask them.")
app.add_typer(nlp, name="nlp")

Task = Literal["sentiment", "entities", "answering", "category"]
TaskArgument = Annotated[Task, typer.Argument(help="What the model does.")]
TextModel = Annotated[
    str | None,
    typer.Option("--model", "-m", help="builtin:fast, builtin:encoder, a folder, or a hub id; default: the settings'."),
]
Types = Annotated[
    str | None, typer.Option("--types", help="Entities: the file's types and ours, as ORG=ORGANIZATION,LOC=LOCATION.")
]


@nlp.command(cls=Verb)
def predict(
    task: TaskArgument,
    texts: Annotated[list[str] | None, typer.Argument(help="Texts in quotes; for answering, questions.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="CSV, JSON lines (text) or plain lines to read.")
    ] = None,
    passage: Annotated[
        Path | None, typer.Option("--passage", help="Answering: a text file to answer from; default: the index.")
    ] = None,
    model: TextModel = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Read texts: sentiment, entities, category, or answers to questions."""
    settings = settings_of(config)
    asked = texts_of(texts)
    if file is not None:
        from kalibre.language.rows import read_rows

        asked += [row["text"] for row in read_rows(file, ("text",), also={"text": ("question", "title", "headline")})]
    if not asked:
        raise UsageError(f'there is no text: give one in quotes, or a file with --file, as in nlp predict {task} "..."')
    chosen = _model(task, settings, model)
    results = _answers(settings, chosen, asked, passage) if task == "answering" else _said(task, chosen, asked)

    def show(console: Console) -> None:
        for text, result in zip(asked, results, strict=True):
            console.print(text[:200].replace("\n", " "), style="bold", markup=False)
            for line in _lines(task, result):
                console.print(f"  {line}", markup=False)

    emit({"task": task, "model": chosen.version, "results": results}, as_json=as_json, show=show)


@nlp.command(cls=Verb)
def evaluate(
    task: TaskArgument,
    file: Annotated[Path, typer.Argument(help="CSV/JSON lines (text, label), IOB2 CoNLL, or SQuAD-shaped JSON.")],
    types: Types = None,
    model: TextModel = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap.")] = 7,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Judge a model on a file of your own, with 95 % bootstrap intervals."""
    from kalibre.language.files import evaluate_file, types_of

    settings = settings_of(config)
    chosen = _model(task, settings, model)
    figures = evaluate_file(task, file, chosen, types=types_of(types), seed=seed)

    def show(console: Console) -> None:
        console.print(f"{task} of {file.name} by {chosen.version}", style="bold", markup=False)
        for name, value in _flat(figures):
            console.print(f"  {name:<34} {value}", markup=False)

    emit({"task": task, "model": chosen.version, "file": str(file), **figures}, as_json=as_json, show=show)


@nlp.command(cls=Verb)
def train(
    task: TaskArgument,
    file: Annotated[Path, typer.Argument(help="CSV/JSON lines (text, label), IOB2 CoNLL, or SQuAD-shaped JSON.")],
    family: Annotated[Literal["fast", "encoder"], typer.Option("--family", help="What is trained.")] = "fast",
    encoder: Annotated[
        str, typer.Option("--encoder", help="What --family encoder tunes: builtin:gemma, a folder or a hub id.")
    ] = "builtin:encoder",
    types: Types = None,
    licence: Annotated[
        str, typer.Option("--licence", help="Of the training texts, for the model's card.")
    ] = "not said",
    until: Annotated[
        str, typer.Option("--until", help="Date of the newest training text, for news backtest: 2024-05-31.")
    ] = "",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of everything that is drawn.")] = 7,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Train a model on a file of your own, store it, and register it in MLflow."""
    from kalibre.cli.base import out
    from kalibre.core.clock import SystemClock
    from kalibre.language.files import train_file, types_of
    from kalibre.registry.store import Registry
    from kalibre.registry.text_models import register_text_model

    settings = settings_of(config)
    card = {"licence": licence, **({"trained_until": until} if check_day(until) else {})}
    told = out(stderr=True)
    bundle = train_file(
        task,
        file,
        family=family,
        encoder=encoder,
        types=types_of(types),
        seed=seed,
        card=card,
        say=lambda line: None if as_json else told.print(line, markup=False),
    )
    folder = bundle.save(settings.home / "language" / "models")
    version = register_text_model(Registry(settings), folder, made_at_ms=SystemClock().now_ms())

    def show(console: Console) -> None:
        console.print(f"{bundle.version}, version {version} of kalibre.text.{task} in MLflow", markup=False)
        for name, value in _flat(bundle.card.get("figures", {})):
            console.print(f"  {name:<34} {value}", markup=False)
        console.print(f"next: kalibre nlp predict {task} --model {folder} ...", markup=False)

    emit(
        {"model": bundle.version, "folder": folder, "version": version, "card": dict(bundle.card)},
        as_json=as_json,
        show=show,
    )


@nlp.command(cls=Verb)
def index(
    files: Annotated[list[Path], typer.Argument(help="Text files, JSON lines (text, title, source, date) or folders.")],
    folder: Annotated[Path | None, typer.Option("--folder", help="Where it goes; default: the settings'.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Index documents, so that questions are answered from them; a new index takes the old one's place."""
    from kalibre.language.answering.library import build_library, index_folder

    settings = settings_of(config)
    target = folder or index_folder(settings)
    found = build_library(files, target)

    def show(console: Console) -> None:
        console.print(f"{found['documents']:,} documents, {found['passages']:,} passages in {target}", markup=False)
        console.print('next: kalibre nlp predict answering "..."', markup=False)

    emit({**found, "folder": target}, as_json=as_json, show=show)


def _model(task: Task, settings: Settings, model: str | None) -> Any:
    from kalibre.language.load import load

    return load(task, check_model(model) or str(getattr(settings.language, task, "builtin:fast")))


def _said(task: Task, model: Any, texts: list[str]) -> list[Any]:
    import msgspec

    if task == "category":
        return [
            {
                "label": one.label,
                "probabilities": one.probabilities and dict(zip(model.classes, one.probabilities, strict=True)),
                "abstained": one.abstained,
            }
            for one in model.predict(texts)
        ]
    found: list[Any] = msgspec.to_builtins(model.predict(texts))
    return found


def _answers(settings: Settings, reader: Any, questions: list[str], passage: Path | None) -> list[Any]:
    import msgspec

    from kalibre.language.answering.answerer import Answerer
    from kalibre.language.answering.library import index_of_text, open_library
    from kalibre.language.rows import read_text

    found = open_library(settings) if passage is None else index_of_text(read_text(passage), title=passage.name)
    answerer = Answerer(found, reader, precision=settings.language.answer_precision)
    answered: list[Any] = msgspec.to_builtins([answerer.answer(question) for question in questions])
    return answered


def _lines(task: Task, result: Any) -> list[str]:
    match task:
        case "sentiment":
            shares = result["probabilities"]
            said = result["label"] or f"abstains: {result['abstained']}"
            told = "" if shares is None else "  " + " / ".join(f"{share:.2f}" for share in shares)
            return [said + told, *(f"{one['asset']} {one['impact']:+.2f}" for one in result["assets"])]
        case "category":
            if result["label"] is None:
                return [f"abstains: {result['abstained']}"]
            return [f"{result['label']}  {max(result['probabilities'].values()):.2f}"]
        case "entities":
            return [
                f"{one['start']:>4}-{one['end']:<4} {one['type']:<13} {one['text']}"
                + (f"  = {one['link']}" if one["link"] else "")
                for one in result
            ] or ["no names"]
    if result["text"] is None:
        return [f"no answer: {result['abstained']}"]
    passage = result["passage"]
    source = " · ".join(part for part in (passage["title"], passage["source"], passage["date"]) if part)
    return [f"{result['text']}  {result['probability']:.2f}", f"source: {source or '-'}"]


def _flat(figures: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Lay nested figures out as lines; a value with its interval is one line."""
    lines: list[tuple[str, str]] = []
    for key, value in figures.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            if {"value", "low", "high"} <= set(value) and value["value"] is not None:
                lines.append((name, f"{value['value']:.4f}  [{value['low']:.4f}, {value['high']:.4f}]"))
            else:
                lines += _flat(value, f"{name}.")
        elif isinstance(value, float):
            lines.append((name, f"{value:.4f}"))
        else:
            lines.append((name, "-" if value is None else str(value)))
    return lines
