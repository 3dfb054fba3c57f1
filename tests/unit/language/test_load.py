"""`model=`: one string for three tiers, and what it says where there is none."""

import sys
from pathlib import Path

import pytest

from kalibre.core.errors import ModelError, UsageError
from kalibre.language.bundle import LanguageBundle
from kalibre.language.load import load


def test_an_unknown_task_or_family_says_what_there_is() -> None:
    with pytest.raises(UsageError, match="'poetry' is unknown: choose one of sentiment, entities, answering, category"):
        load("poetry")
    with pytest.raises(UsageError, match="'builtin:oracle' is not shipped for 'sentiment'; shipped are"):
        load("sentiment", "builtin:oracle")


@pytest.mark.parametrize("model", ["", "a b", "../up/there", "x/y/z", "builtin", "/nowhere"])
def test_a_string_that_names_nothing_is_refused(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A bare word could be a hub's id: without transformers it ends there, without a network later.
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises((UsageError, ModelError), match=r"say builtin:fast|is no model"):
        load("sentiment", model)


def test_a_hub_id_needs_transformers_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match="needs the packages transformers and torch"):
        load("sentiment", "owner/name")


def test_a_bundle_of_another_task_is_refused(tmp_path: Path) -> None:
    folder = LanguageBundle("category", "encoder", {"settings.json": b"{}"}, {}).save(tmp_path)
    with pytest.raises(ModelError, match="is a model for 'category', not for 'sentiment'"):
        load("sentiment", str(folder))
    with pytest.raises(ModelError, match="settings"):
        load("category", str(folder))
