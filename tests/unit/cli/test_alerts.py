"""`kalibre alerts`: what it says of each target, and what it never shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from tests.fakes.alert_receivers import Receiver, http_receiver

from kalibre.cli.app import build
from kalibre.cli.init import commented_toml
from kalibre.core.errors import SettingsError
from kalibre.core.settings import Settings, load_settings

Ask = Callable[..., tuple[int, str]]
SECRET = "plantedSecretPath"


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Return a function that runs a verb in an empty folder and gives back its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def asked(*words: str) -> tuple[int, str]:
        code = typer.main.get_command(build()).main(list(words), standalone_mode=False) or 0
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return asked


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as running:
        yield running


def configure(receiver: Receiver, *services: str, lang: str = "en", private: bool = True) -> None:
    urls = [f"{service}://127.0.0.1:{receiver.port}/{SECRET}" for service in services]
    text = f'lang = "{lang}"\n[alerts]\nurls = {json.dumps(urls)}\nallow_private = {str(private).lower()}\n'
    Path("kalibre.toml").write_text(text)


def test_a_test_alert_reaches_each_target(ask: Ask, receiver: Receiver) -> None:
    configure(receiver, "json", "xml", lang="tr")
    code, shown = ask("alerts", "test")
    assert code == 0
    assert shown.count("took it in") == 2
    by_type = {got.headers["content-type"].partition(";")[0]: got.body for got in receiver.got}
    assert json.loads(by_type.pop("application/json"))["title"] == "Deneme uyarısı"
    assert [("Deneme uyarısı" in body.decode()) for body in by_type.values()] == [True], "two arrive, in either order"


def test_some_that_fail_are_degraded_and_all_that_fail_is_a_failure(ask: Ask, receiver: Receiver) -> None:
    configure(receiver, "json", "nothing")
    code, shown = ask("alerts", "test", "--json")
    assert code == 3
    found = json.loads(shown)
    assert [(one["target"], one["verdict"]) for one in found["results"]] == [
        ("1 webhook 127.0.0.1", "sent"),
        ("2 nothing", "wrong"),
    ]
    assert found["failed"] == 1
    configure(receiver, "json", private=False)
    code, shown = ask("alerts", "test")
    assert code == 1
    assert "alerts.allow_private" in shown


def test_without_a_target_it_says_where_to_name_one(ask: Ask) -> None:
    with pytest.raises(SettingsError, match=r"alerts.urls is empty.*tgram://token/chat"):
        ask("alerts", "test")
    assert "nobody is told" in ask("alerts")[1]


def test_status_shows_targets_and_no_address(ask: Ask, receiver: Receiver) -> None:
    configure(receiver, "json")
    code, shown = ask("alerts", "status")
    assert code == 0
    assert "1 webhook 127.0.0.1" in shown
    assert "0 of 20 messages within an hour; 0 alerts wait" in shown
    assert json.loads(ask("alerts", "--json")[1])["targets"][0]["delivered_ms"] is None
    for words in (("alerts",), ("alerts", "--json"), ("alerts", "test"), ("doctor",)):
        assert SECRET not in ask(*words)[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'urls = "json://h/{SECRET}"', "alerts.urls: .*not shown"),
        (f'urls = ["{SECRET}"]', "alerts.urls: address 1 is not of the form service://rest.*not shown"),
        (f'urls = ["json://h/x", "json:// {SECRET}"]', "address 2 .*not shown"),
        (f'url = "json://h/{SECRET}"', "alerts.url is no setting: did you mean alerts.urls"),
        ('quiet_hours = "23-7"', "alerts.quiet_hours = '23-7': write two times of day as 23:00-07:00"),
        ('quiet_hours = "24:00-07:00"', "write two times of day"),
        ('quiet_hours = "07:00-07:00"', "end as they begin"),
        ('allow_networks = ["10.0.0.1/8"]', "10.0.0.1/8 has host bits set: write it as 10.20.0.0/16"),
        ("per_hour = 0", "alerts.per_hour = 0"),
        ('minimum_level = "loud"', "alerts.minimum_level = 'loud'"),
    ],
)
def test_a_setting_that_cannot_be_used_is_told_without_an_address(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "k.toml"
    path.write_text(f"[alerts]\n{text}\n")
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings(path)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KALIBRE_ALERTS", f'["json://h/{SECRET}"]'),
        ("KALIBRE_ALERTS", f'{{"urls": {{"a": "json://h/{SECRET}"}}}}'),
        ("KALIBRE_ALERTS__URLS", f'["json://h/{SECRET}'),
        ("KALIBRE_ALERTS__URLS", f"mailto://u:p@h?to=a,{SECRET}"),
    ],
)
def test_the_environment_does_not_give_an_address_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert SECRET not in str(caught.value)


def test_addresses_are_in_no_print_of_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KALIBRE_ALERTS__URLS", f"json://h/{SECRET},slack://a/b/{SECRET}")
    settings = load_settings()
    assert [url.get_secret_value() for url in settings.alerts.urls][1] == f"slack://a/b/{SECRET}"
    for printed in (repr(settings), str(settings.model_dump()), settings.model_dump_json(), commented_toml(Settings)):
        assert SECRET not in printed
