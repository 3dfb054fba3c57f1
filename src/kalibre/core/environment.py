"""What pydantic-settings leaves open: lists in `KALIBRE_*` as people write them, and faults told without secrets."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from kalibre.core.errors import SettingsError

_SECRET = (
    ("api", "keys"),
    ("log", "url"),
    ("registry_url",),
    ("market", "source_options"),
    ("alerts", "urls"),
    ("hub", "redis_url"),
)
"""Settings that hold keys or passwords: what they say, down to their own names, is never printed."""

_FORMS = {
    "keys": """'{"long-random-key": "read,predict"}'""",
    "urls": """'["tgram://token/chat","mailto://user:password@example.com"]'""",
    "source_options": """'{"path": "bars.csv"}'""",
}


class Environment(EnvSettingsSource):
    """Reads `KALIBRE_*`; a list may be written as `THYAO,GARAN` as well as in JSON."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """Read a value that is no plain text or number.

        Raises
        ------
        SettingsError
            If it can be read neither way; the message names the variable and shows the form, and quotes no value: it
            may hold keys.
        """
        listed = field is not None and get_origin(field.annotation) is tuple
        try:
            decoded = super().decode_complex_value(field_name, field, value)
        except ValueError as error:
            if listed and not value.lstrip().startswith(("[", "{")):
                return _parts(value)
            form = _FORMS.get(field_name, """'["first","second"]'""" if listed else """'{"name": "value"}'""")
            raise SettingsError(f"{self._variable(field_name, value)} is not JSON: write it as {form}") from error
        return decoded if isinstance(decoded, list) or not listed else _parts(value)

    def _variable(self, field_name: str, value: str) -> str:
        names = (name for name, text in self.env_vars.items() if text == value and name.endswith(field_name.lower()))
        return next(names, field_name).upper()


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def faults(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    """Tell each fault of some settings by name, with what was written unless it may be a secret.

    A name that no setting has is told with the one that was probably meant.
    """
    for item in error.errors(include_url=False):
        place, said = item["loc"], item["msg"].removeprefix("Value error, ")
        secret = next((known for known in _SECRET if place[: len(known)] == known), None)
        if secret is not None:
            yield f"{'.'.join(secret)}: {said} (what it holds is not shown)"
        elif item["type"] == "extra_forbidden":
            yield f"{'.'.join(map(str, place))} is no setting{_meant(place, model)}"
        elif not place:  # of several settings: the message names them, and the input would be all there are
            yield said
        elif isinstance(item.get("input"), Mapping | BaseModel) or place in {("api",), ("alerts",)}:
            yield f"{'.'.join(map(str, place))}: {said}"
        else:
            yield f"{'.'.join(map(str, place))} = {item.get('input')!r}: {said}"


def _meant(place: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """Return a question for the setting that was probably meant; empty if none is near."""
    names = list(_names(model))
    written = ".".join(map(str, place))
    last = written.rpartition(".")[2]
    section = written.rpartition(".")[0]
    inside = [name for name in names if section and name.rpartition(".")[0] == section]
    near = difflib.get_close_matches(written, inside, n=1, cutoff=0.85)
    # Then the same name elsewhere: `symbols` above all sections is `market.symbols`.
    near += [name for name in names if name.rpartition(".")[2] == last]
    near += difflib.get_close_matches(written, names, n=1, cutoff=0.7)
    by_last = {name.rpartition(".")[2]: name for name in names}
    near += [by_last[one] for one in difflib.get_close_matches(last, by_last, n=1, cutoff=0.7)]
    return f": did you mean {near[0]}?" if near else "; `kalibre init` writes a file with every setting"


def _names(model: type[BaseModel], above: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _names(inner, f"{above}{name}.")
        yield f"{above}{name}"
