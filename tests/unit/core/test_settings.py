"""Settings: file, environment and their order; unknown names and wrong values are quoted."""

from __future__ import annotations

from pathlib import Path

import pytest

from kalibre.cli.init import commented_toml
from kalibre.core.errors import SettingsError
from kalibre.core.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KALIBRE_CONFIG", raising=False)


def test_defaults_need_no_file() -> None:
    settings = load_settings()
    assert settings.log_url == "sqlite:///kalibre_home/log.sqlite"
    assert settings.gates.max_ece == 0.05
    assert settings.api.host == "127.0.0.1"


def test_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kalibre.toml").write_text('lang = "tr"\n[market]\ntimeframe = "1h"\nsymbols = ["THYAO"]\n')
    monkeypatch.setenv("KALIBRE_MARKET__TIMEFRAME", "4h")
    settings = load_settings()
    assert (settings.lang, settings.market.timeframe, settings.market.symbols) == ("tr", "4h", ("THYAO",))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[market]\ntimeframe = "15x"', "15x"),
        ("[gates]\nmax_eec = 0.1", "max_eec"),
        ("[risk]\ndaily_loss = 7", "daily_loss = 7"),
        ("[api]\nport = 99999", "99999"),
        ("colour = 1", "colour"),
        ("[market", "is not TOML"),
    ],
)
def test_what_cannot_be_used_is_quoted(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "k.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=said):
        load_settings(path)


def test_a_missing_file_is_named_only_when_it_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="kalibre init"):
        load_settings(tmp_path / "none.toml")


def test_init_writes_every_setting_and_its_lines_can_be_used(tmp_path: Path) -> None:
    text = commented_toml(Settings)
    for name, field in Settings.model_fields.items():
        assert name in text
        for inner in getattr(field.annotation, "model_fields", {}):
            assert f"# {inner} = " in text
    # Uncommented, the file must say exactly the defaults.
    path = tmp_path / "all.toml"
    lines = [
        line[2:] if line.startswith("# ") and " = " in line.split("  #")[0] else line for line in text.splitlines()
    ]
    path.write_text("\n".join(line for line in lines if "stands for" not in line))
    assert load_settings(path).model_dump() == load_settings().model_dump()
