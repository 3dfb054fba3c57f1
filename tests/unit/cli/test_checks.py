"""`kalibre verify | doctor`: what each proves, refuses and advises, on a real log with a real stored model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.fakes.models import bar_events, random_bars, small_bundle

from kalibre.cli.app import build
from kalibre.core.errors import KalibreError, LogError, RegistryError, UsageError
from kalibre.core.settings import Settings
from kalibre.evaluation.pipeline import LABEL_COLUMNS, MODEL_COLUMNS, SIZING
from kalibre.log import open_log
from kalibre.models.bundle import ModelBundle

COLUMNS = ("log_return_1", "range_relative")
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return small_bundle(columns=COLUMNS)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: ModelBundle) -> Settings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KALIBRE_FEATURES__HIGHER_TIMEFRAMES", "[]")
    settings = Settings()
    bundle.save(settings.models_dir)
    with open_log(settings.log_url) as log:
        log.append(bar_events(random_bars(1_400)), writer="ingest")
    return settings


@pytest.fixture
def ask(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Return a function that runs a verb in this process and gives back its exit code and its JSON."""

    def asked(*words: str) -> tuple[int, Any]:
        code = typer.main.get_command(build()).main([*words, "--json"], standalone_mode=False) or 0
        return code, json.loads(capsys.readouterr().out)

    return asked


def test_without_a_model_the_settings_columns_volatility_and_labels_are_proved(ask: Ask) -> None:
    code, found = ask("verify", "features")
    assert (code, found["clean"], found["model"]) == (0, True, None)
    assert {SIZING, *LABEL_COLUMNS} <= set(found["columns"])
    assert not set(MODEL_COLUMNS) & set(found["columns"])


def test_with_a_model_its_whole_pipeline_is_proved(ask: Ask, bundle: ModelBundle) -> None:
    code, found = ask("verify", "features", "--model", bundle.model_id)
    assert (code, found["clean"], found["model"]) == (0, True, bundle.model_id)
    assert list(found["columns"]) == [*COLUMNS, SIZING, *LABEL_COLUMNS, *MODEL_COLUMNS]
    assert found["columns"]["p_up"]["known"] > 1_300


def test_a_leak_in_the_pipeline_of_a_model_fails_the_command(
    ask: Ask, bundle: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = ModelBundle.score
    monkeypatch.setattr(ModelBundle, "score", lambda self, values: honest(self, values) * (1 - 1e-6 * len(values)))
    code, found = ask("verify", "features", "--model", bundle.model_id)
    assert (code, found["clean"]) == (1, False)
    assert found["columns"]["score"]["mismatched"] > 0
    assert found["columns"]["log_return_1"]["mismatched"] == 0


@pytest.mark.parametrize(
    ("words", "said", "error"),
    [
        (("verify", "log", "--model", "X"), "`kalibre verify log`", UsageError),
        (("verify", "features", "--model", "X", "--function", "a:b"), "--function", UsageError),
        (("verify", "features", "--model", "X"), "'X'", RegistryError),
        (("verify", "features", "--model", "ID", "--symbol", "ETHUSDT"), "'ETHUSDT'", UsageError),
        (("verify", "features", "--model", "ID", "--timeframe", "1h"), "'1h'", UsageError),
        (("verify", "state"), "never read this log.*run `kalibre paper` first", LogError),
    ],
)
def test_what_cannot_be_verified_is_refused_in_words(
    words: tuple[str, ...], said: str, error: type[KalibreError], ask: Ask, bundle: ModelBundle
) -> None:
    with pytest.raises(error, match=said):
        ask(*(bundle.model_id if word == "ID" else word for word in words))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return [1, 2]", "'mine:f' returned a list: .*columns by name"),
        ("return None", "returned a NoneType"),
        ("return {'x': bars.close / nothing}", r"failed on 1,400 bars: NameError: .*'nothing'.*line 2\)"),
        ("return {'x': bars.close[1_399]}", "column 'x'|shape"),
        ("return {'x': ['a'] * len(bars)}", "column 'x' is no array of numbers"),
        ("return {'x': bars.close[:, None]}", r"column x has shape .1400, 1."),
        ("return {'x': bars.close * 0 + bars.close[1_000]}", "IndexError.*shorter histories"),
    ],
)
def test_a_function_that_is_none_is_told_in_its_own_words(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    Path("mine.py").write_text(f"def f(bars):\n    {body}\n")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    with pytest.raises(KalibreError, match=said):
        ask("verify", "features", "--function", "mine:f")


def test_state_is_proved_once_paper_ran_and_other_settings_want_another_run(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask("paper")[0] == 0
    code, found = ask("verify", "state")
    assert (code, found["equal"]) == (0, True)
    monkeypatch.setenv("KALIBRE_COSTS__FEE_BPS", "9")
    with pytest.raises(LogError, match="run `kalibre paper`, which reads it anew"):
        ask("verify", "state")
    ask("paper")
    assert ask("verify", "state")[1]["equal"] is True


@pytest.mark.parametrize(
    ("name", "value", "part", "said"),
    [
        ("KALIBRE_MARKET__CALENDAR", "XISTANBUL", "calendar", "'XISTANBUL' is unknown"),
        ("KALIBRE_MARKET__SOURCE", "files", "source", "needs the option path"),
        ("KALIBRE_MARKET__SOURCE_OPTIONS", '{"pahts": "x"}', "source", "no option 'pahts'"),
        ("KALIBRE_MARKET__SOURCE_OPTIONS", '{"timeout_s": "long"}', "source", "options (timeout_s)"),
        ("KALIBRE_API__HOST", "0.0.0.0", "server", "'0.0.0.0' can be reached by others"),
        ("KALIBRE_HOME", "bundle_file/below", "home", "bundle_file' is no folder"),
    ],
)
def test_the_doctor_objects_to_what_would_fail_later(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, name: str, value: str, part: str, said: str
) -> None:
    Path("bundle_file").touch()
    assert [f["part"] for f in ask("doctor")[1]["findings"] if f["level"] == "broken"] == []
    monkeypatch.setenv(name, value)
    (found,) = [f for f in ask("doctor")[1]["findings"] if f["part"] == part]
    assert found["level"] in {"broken", "degraded"}
    assert said in found["found"]
    assert found["mend"]


def test_a_home_that_is_not_there_yet_is_made_below_what_is(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KALIBRE_HOME", "a/b/c")
    (found,) = [f for f in ask("doctor")[1]["findings"] if f["part"] == "home"]
    assert found["level"] == "ok"


def test_the_doctor_sends_a_stale_series_back_to_where_it_came_from(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def mend() -> str:
        (found,) = [f for f in ask("doctor")[1]["findings"] if f["part"] == "bars BTCUSDT"]
        assert found["level"] == "degraded"
        return str(found["mend"])

    assert "--follow" in mend()
    assert "--path FILE" in mend(), "the log does not say whether a history came from a file"
    Path("bars.csv").touch()
    monkeypatch.setenv("KALIBRE_MARKET__SOURCE", "files")
    monkeypatch.setenv("KALIBRE_MARKET__SOURCE_OPTIONS", '{"path": "bars.csv"}')
    assert mend() == "kalibre ingest --symbol BTCUSDT --timeframe 15m"
