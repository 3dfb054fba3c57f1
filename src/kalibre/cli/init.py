"""`kalibre init`: a settings file in which every setting is explained, and the home folder."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kalibre.cli.base import JsonOption, emit
from kalibre.core.errors import SettingsError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console

app = typer.Typer()

_HEADER = """\
# Settings of Kalibre. Every line shows its default: take away the `#` in front of one to change it.
# The environment wins over this file: KALIBRE_MARKET__TIMEFRAME=1h stands for [market] timeframe = "1h".
"""


@app.command(name="init")
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write kalibre.toml.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Put a file that is there aside, and write anew.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a commented kalibre.toml."""
    from kalibre.core.settings import FILE_NAME, Settings

    path = folder / FILE_NAME
    if path.exists() and not force:
        raise SettingsError(f"{str(path)!r} is there already: edit it, or put it aside with --force")
    aside: Path | None = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".toml.part")
        temporary.write_text(commented_toml(Settings), encoding="utf-8")
        if path.exists():  # what a person wrote is never lost, however often --force is given
            taken = (path.with_name(f"{FILE_NAME}.{number}") for number in itertools.count(1))
            aside = next(one for one in taken if not one.exists())
            path.rename(aside)
        temporary.replace(path)
    except OSError as error:
        raise SettingsError(
            f"{str(path)!r} cannot be written ({error}): choose a folder that you may write to"
        ) from error

    def show(console: Console) -> None:
        if aside is not None:
            console.print(f"what was there is now {aside}", markup=False)
        console.print(f"wrote {path}\nnext: kalibre ingest --days 365, then kalibre train", markup=False)

    emit({"path": path, "aside": aside}, as_json=as_json, show=show)


def commented_toml(model: type[BaseModel]) -> str:
    """Write a settings model as TOML in which each line is commented out and explained.

    Examples
    --------
    >>> from kalibre.core.settings import Settings
    >>> '# horizon_bars = 4  # bars until a forecast is checked' in commented_toml(Settings)
    True
    """
    from pydantic import BaseModel

    plain: list[str] = []
    sections: list[str] = []
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            title = (type(default).__doc__ or "").strip().splitlines()[0]
            lines = [
                _line(key, getattr(default, key), type(default).model_fields[key].description)
                for key in type(default).model_fields
            ]
            sections.append("\n".join([f"# {title}", f"[{name}]", *lines]))
        else:
            plain.append(_line(name, default, field.description))
    return _HEADER + "\n" + "\n".join(plain) + "\n\n" + "\n\n".join(sections) + "\n"


def _line(name: str, value: Any, description: str | None) -> str:
    return f"# {name} = {_literal(value)}" + (f"  # {description}" if description else "")


def _literal(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case dict():
            return "{" + ", ".join(f"{key} = {_literal(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(_literal(item) for item in value) + "]"
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
