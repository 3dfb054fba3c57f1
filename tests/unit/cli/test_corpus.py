"""`kalibre corpus`: build, stats, inspect, with their exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from kalibre.cli.app import build
from kalibre.core.errors import DatasetError, SettingsError, UsageError

Ask = Callable[..., tuple[int, str]]
NEWS = (
    "Merkez Bankası politika faizini değiştirmedi, kararın ardından dolar kuru sınırlı geriledi.",
    "Havayolu şirketinin ikinci çeyrek kârı beklentilerin üzerinde geldi, hisse güne yükselişle başladı.",
    "Petrol fiyatları arz endişesiyle yükseldi; analistler yılın geri kalanı için temkinli konuştu.",
)


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Return a function that runs a verb in a folder with texts and settings."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("\n".join((*NEWS, "kısa")), encoding="utf-8")
    settings('paths = ["a.txt"]')

    def asked(*words: str) -> tuple[int, str]:
        code = typer.main.get_command(build()).main(list(words), standalone_mode=False) or 0
        shown = capsys.readouterr()
        return code, shown.out

    return asked


def settings(*sources: str) -> None:
    parts = [
        f'[[sources]]\nname = "s{i}"\nkind = "files"\nlicence = "CC0-1.0"\nsplit = "line"\n{one}\n'
        for i, one in enumerate(sources)
    ]
    Path("corpus.toml").write_text('folder = "c"\n' + "".join(parts), encoding="utf-8")


def test_built_twice_counted_and_looked_at(ask: Ask):
    code, shown = ask("corpus", "build")
    assert code == 0
    assert "s0: 4 read, 3 new" in shown
    assert "left out: 1 short" in shown
    code, shown = ask("corpus", "build", "--json")
    assert (code, json.loads(shown)["added"], json.loads(shown)["documents"]) == (0, 0, 3)
    code, shown = ask("corpus", "stats", "--json")
    assert json.loads(shown)["total"]["documents"] == 3
    code, shown = ask("corpus", "stats", "c")
    assert code == 0
    assert "licence CC0-1.0" in shown
    code, shown = ask("corpus", "inspect", "--contains", "PETROL")
    assert NEWS[2] in " ".join(shown.split())
    code, shown = ask("corpus", "inspect", "--json", "-n", "2")
    assert [one["text"] for one in json.loads(shown)["documents"]] == list(NEWS[:2])
    assert "no document" in ask("corpus", "inspect", "--contains", "yok")[1]


def test_some_sources_that_fail_are_degraded_and_all_a_failure(ask: Ask):
    settings('paths = ["a.txt"]', 'paths = ["yok.txt"]')
    code, shown = ask("corpus", "build")
    assert code == 3
    assert "ended early: no file matches" in shown
    settings('paths = ["yok.txt"]')
    assert ask("corpus", "build", "--json")[0] == 1


def test_what_is_wrong_is_said(ask: Ask):
    with pytest.raises(SettingsError, match=r"'yok\.toml' is not there"):
        ask("corpus", "build", "yok.toml")
    with pytest.raises(DatasetError, match="holds no corpus"):
        ask("corpus", "stats", ".")
    with pytest.raises(UsageError, match="is a folder"):
        ask("corpus", "build", ".")


def test_it_says_which_files_were_left_out_and_that_rules_changed(ask: Ask):
    Path("b.txt").write_bytes(b"%PDF-1.7")
    settings('paths = ["a.txt"]', 'paths = ["b.txt"]')
    _, shown = ask("corpus", "build")
    assert "a.txt:4: short" in shown.replace("\n", "")
    assert "b.txt: unreadable" in shown.replace("\n", "")
    text = Path("corpus.toml").read_text(encoding="utf-8")
    changed = text.replace("[[sources]]", "[rules]\nletters = 0.5\n[[sources]]", 1)
    Path("corpus.toml").write_text(changed, encoding="utf-8")
    assert "rules are not those" in ask("corpus", "build")[1]
