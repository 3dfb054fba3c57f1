"""Settings: file, environment and their order; unknown names and wrong values are quoted."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from kalibre.cli.init import commented_toml, init
from kalibre.core.catalog import part_names
from kalibre.core.errors import SettingsError
from kalibre.core.settings import ModelSettings, Settings, load_settings
from kalibre.core.timeframe import timeframes_above
from kalibre.features.engine import FeatureSpec
from kalibre.models.gradient_boosting import METRICS


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
        ("[features]\nscale_window = 1", "scale_window = 1: .*no range to scale by.*at least 2"),
        ('[features]\nhigher_timeframes = ["1h", "4x"]', "'4x' is not a count"),
        ('[features]\nhigher_timeframes = ["1h", "1h"]', "named twice"),
        ('[features]\nhigher_timeframes = ["100m"]', "'100m' are not made of whole bars of market.timeframe '15m'"),
        ('[model]\nlabel = "dierction"', "label = 'dierction': .*direction, triple_barrier"),
        ('[model]\nmetric = "f1"', "metric = 'f1': .*'binary_logloss' or 'auc'"),
        ("[market]\nsource = 'bloomberg'", "source = 'bloomberg': .*binance"),
        ("[market]\nsymbols = []", r"symbols = \[\]"),
        ("[market]\nsymbols = ['A|15m']", r"'A\|15m' is no symbol"),
        ("[market]\nsymbols = [' ']", "' ' is no symbol"),
        ("[market]\nsymbols = ['A', 'A']", "named twice"),
        ("[gates]\nmin_sharpe = nan", "min_sharpe = nan: .*finite"),
        ("[risk]\ninitial_cash = inf", "initial_cash = inf: .*finite"),
        ('lang = "de"', "lang = 'de': .*'tr' or 'en'"),
    ],
)
def test_what_cannot_be_used_is_quoted(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "k.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=said):
        load_settings(path)


def test_what_is_accepted_is_what_the_parts_accept() -> None:
    assert get_args(ModelSettings.model_fields["metric"].annotation) == METRICS
    for label in part_names("kalibre.labels"):
        assert load_settings(model={"label": label}).model.label == label
    for window in (0, 2, 500):
        settings = load_settings(features={"scale_window": window})
        assert FeatureSpec(settings.market.timeframe, scale_window=settings.features.scale_window).names


@pytest.mark.parametrize("timeframe", ["1m", "15m", "1h", "4h", "1d", "1w"])
def test_the_default_higher_timeframes_suit_every_base(timeframe: str) -> None:
    settings = load_settings(market={"timeframe": timeframe})
    assert FeatureSpec(timeframe, higher_timeframes=timeframes_above(timeframe, settings.features.higher_timeframes))


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


SECRET = "a-very-long-and-secret-key"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("KALIBRE_API__KEYS", f'{{"{SECRET}": ["read"]}}', "api.keys: .*not shown"),
        ("KALIBRE_API__KEYS", f'{{"{SECRET}": "raed"}}', "scope 'raed' is unknown; give some of read, predict"),
        ("KALIBRE_API__KEYS", SECRET, 'KALIBRE_API__KEYS is not JSON: write it as \'{"long-random-key": "read'),
        ("KALIBRE_API", f'["{SECRET}"]', "api: Input should be"),
        ("KALIBRE_API__KEYZ", SECRET, "api.keyz is no setting: did you mean api.keys"),
        ("KALIBRE_LOG", f'{{"url": ["postgresql://u:{SECRET}@h/d"]}}', "log.url: .*not shown"),
        ("KALIBRE_MARKET__SOURCE_OPTIONS", f'"{SECRET}"', "market.source_options: .*not shown"),
        ("KALIBRE_MARKET__SOURCE_OPTIONS", f"url={SECRET}", 'SOURCE_OPTIONS is not JSON: write it as \'{"path"'),
    ],
)
def test_no_secret_is_ever_printed(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings()
    assert SECRET not in str(caught.value)


def test_a_fault_of_several_settings_does_not_print_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KALIBRE_API__KEYS", f'{{"{SECRET}": "read"}}')
    monkeypatch.setenv("KALIBRE_FEATURES__HIGHER_TIMEFRAMES", "100m")
    with pytest.raises(SettingsError, match="not made of whole bars") as caught:
        load_settings()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", ["THYAO", "THYAO,GARAN", " THYAO , GARAN ,", '["THYAO","GARAN"]', "1,2", "1"])
def test_a_list_in_the_environment_is_written_as_people_write_lists(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("KALIBRE_MARKET__SYMBOLS", text)
    expected = [part.strip(' []"') for part in text.split(",")]
    assert load_settings().market.symbols == tuple(part for part in expected if part)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('symbols = ["A"]', "symbols is no setting: did you mean market.symbols?"),
        ('[market]\nsymbol = "A"', "market.symbol is no setting: did you mean market.symbols?"),
        ("[gates]\nmax_eec = 0.1", "did you mean gates.max_ece?"),
        ("[modle]\nfolds = 3", "modle is no setting: did you mean model?"),
        ("zzz = 1", "zzz is no setting; `kalibre init` writes"),
    ],
)
def test_a_name_that_is_no_setting_is_told_with_the_one_that_was_meant(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "k.toml").write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path / "k.toml")
    assert said in str(caught.value)


def test_writing_anew_keeps_what_a_person_wrote(tmp_path: Path) -> None:
    path = tmp_path / "kalibre.toml"
    for text in ("first = 1", "second = 2"):
        path.write_text(text)
        init(tmp_path, force=True, as_json=True)
    assert [(tmp_path / f"kalibre.toml.{n}").read_text() for n in (1, 2)] == ["first = 1", "second = 2"]
    assert load_settings(path).model_dump() == load_settings().model_dump()
    with pytest.raises(SettingsError, match="put it aside with --force"):
        init(tmp_path)


def test_a_broken_file_is_mended_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "k.toml").write_text("[market]\nsource = binance\n")
    with pytest.raises(SettingsError, match=r"line 2.*mend that line") as caught:
        load_settings(tmp_path / "k.toml")
    assert "--force" not in str(caught.value)
