"""Sending over real sockets: what arrives at each service, what a failure is taken for, and what is never shown."""

from __future__ import annotations

import logging
import re
import time
from typing import Any

import pytest
from tests.fakes.alert_receivers import (
    SLACK_TOKENS,
    TELEGRAM_TOKEN,
    Answer,
    certificates,
    http_receiver,
    mail_server,
    pointing,
    slack_text,
    telegram_text,
)
from tests.unit.alerts.conftest import Services

from kalibre.alerts.dispatch import Note, Outgoing
from kalibre.alerts.messages import Message, compose
from kalibre.alerts.send import Result, send, send_all, send_test
from kalibre.alerts.targets import Target, targets_of
from kalibre.core.clock import ManualClock
from kalibre.core.errors import AlertError, AlertRefusedError, AlertTargetError
from kalibre.core.settings import Settings, load_settings

HOSTILE: Note = {
    **{"key": "k", "seq": 12, "time_ms": 1_704_056_400_000, "level": "critical", "recovered": False},  # type: ignore[typeddict-item]
    "title": "</b><a href='https://evil.example'>BTC</a> <i>& @everyone",
    "cause": "<!channel> <@U024BE7LH> <https://evil.example|log in> [a](https://evil.example) *x* `y` :skull: &lt;",
    "consequence": "orders  wait\nFrom: nobody",
    "mend": "kalibre kill --release && echo 'done' > \"a b\"",
    "times": 1,
    "over_ms": None,
}
SHOWN = compose(Outgoing((HOSTILE,)), "en")
SECRETS = (TELEGRAM_TOKEN, TELEGRAM_TOKEN.split(":")[1], *SLACK_TOKENS, "plantedHookPath", "plantedMailPassword")


def results_of(settings: Settings, message: Message = SHOWN, **other: Any) -> list[Result]:
    return send_all([(target, message) for target in targets_of(settings)], settings.alerts, **other)


def one(settings: Settings, message: Message = SHOWN) -> Result:
    (result,) = results_of(settings, message)
    return result


def test_every_service_takes_an_alert_and_shows_it_as_it_was_written(services: Services) -> None:
    results = results_of(services.settings())
    assert [(result.target, result.verdict) for result in results] == [
        ("1 telegram", "sent"),
        ("2 slack", "sent"),
        ("3 webhook 127.0.0.1", "sent"),
        ("4 e-mail localhost", "sent"),
    ]
    (telegram,) = services.telegram.got
    payload = telegram.json()
    assert (payload["chat_id"], payload["parse_mode"]) == (-1001234, "HTML")
    read = telegram_text(payload["text"])
    assert read.shown.replace("\r\n", "\n") == f"{SHOWN.title}\n{SHOWN.body}"
    assert read.bold == SHOWN.title, "no tag but the one around the title acts"
    assert "<a" not in payload["text"]

    (slack,) = services.slack.got
    assert slack.json()["mrkdwn"] is False
    assert slack.json()["attachments"][0]["color"] == "#A32037"
    assert slack_text(slack) == f"{SHOWN.title}\n{SHOWN.body}", "nothing stands in the brackets that Slack acts on"
    assert "icon_url" not in slack.json(), "no picture is fetched from a server of somebody else's"

    (webhook,) = services.webhook.got
    assert webhook.path.startswith("/plantedHookPath")
    assert webhook.json()["title"] == SHOWN.title
    assert webhook.json()["message"] == SHOWN.body
    assert webhook.json()["type"] == "failure"

    (letter,) = services.mail.letters
    assert letter["Subject"] == SHOWN.title
    assert (letter["From"], letter["To"]) == ("kalibre@example.com", "ada@example.com")
    assert letter.get_content_type() == "text/plain"
    assert letter.get_payload(decode=True).decode().replace("\r\n", "\n").strip() == SHOWN.body  # type: ignore[union-attr]
    assert services.mail.to == ["ada@example.com"]


def test_a_recovery_looks_like_one(services: Services) -> None:
    one(services.settings("webhook"), Message("t", "b", "critical", recovered=True))
    assert services.webhook.got[0].json()["type"] == "success"


def test_a_long_digest_arrives_whole_in_parts_that_telegram_takes(services: Services) -> None:
    notes = tuple({**HOSTILE, "title": f"trouble {n} <&>", "cause": "&" * 150} for n in range(60))
    message = compose(Outgoing(notes), "tr")  # type: ignore[arg-type]
    assert one(services.settings("telegram"), message).ok
    assert len(services.telegram.got) > 3
    shown = "".join(telegram_text(got.json()["text"]).shown for got in services.telegram.got)
    assert [int(n) for n in re.findall(r"trouble (\d+) <&>", shown)] == list(range(60))


def test_one_target_that_fails_is_nothing_to_the_others(services: Services) -> None:
    services.slack.always(503)
    services.webhook.answer = lambda request: Answer(hang=True)
    hanging = (services.urls["webhook"], services.urls["webhook"] + "2")
    settings = services.settings("slack", *hanging, "nothing://abcdef", "tgram://short", "telegram", "e-mail")
    began = time.monotonic()
    results = results_of(settings, patience_s=2.5)
    assert time.monotonic() - began < 2 * 2.5, "one after the other"
    assert [result.verdict for result in results] == ["later", "later", "later", "wrong", "wrong", "sent", "sent"]
    assert "did not answer within 2.5 s" in results[1].detail
    assert "address 4 of alerts.urls (nothing://...) cannot be used" in results[3].detail


def test_a_target_that_hangs_gets_no_second_thread(services: Services) -> None:
    services.webhook.answer = lambda request: Answer(hang=True)
    settings = services.settings("webhook")
    targets = targets_of(settings)
    for _ in range(3):
        (result,) = send_all([(targets[0], SHOWN)], settings.alerts, patience_s=0.2)
        assert result.verdict == "later"
    assert "the attempt before still waits" in result.detail
    services.webhook.let_go.set()
    assert targets[0].busy is not None
    assert targets[0].busy.daemon, "it would hold up the end of the process"
    targets[0].busy.join(10)
    assert len(services.webhook.got) == 1


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (301, AlertTargetError, "answered 301: it has moved; put its new address"),
        (400, AlertRefusedError, "answered 400 and does not take the message"),
        (401, AlertTargetError, "answered 401"),
        (403, AlertTargetError, "mend its address or key"),
        (404, AlertTargetError, "answered 404"),
        (408, AlertError, "tried again"),
        (410, AlertTargetError, "answered 410"),
        (413, AlertRefusedError, "answered 413"),
        (429, AlertError, "tried again"),
        (500, AlertError, "tried again"),
        (503, AlertError, "tried again"),
    ],
)
@pytest.mark.parametrize("service", ["slack", "webhook", "telegram"])
def test_what_an_answer_is_taken_for(
    services: Services, service: str, status: int, error: type[AlertError], said: str
) -> None:
    getattr(services, service).always(status, b'{"ok":false,"description":"no"}', Location="/elsewhere")
    settings = services.settings(service)
    with pytest.raises(AlertError, match=said) as caught:
        send(targets_of(settings)[0], SHOWN, settings.alerts)
    assert type(caught.value) is error
    assert not any(secret in str(caught.value) for secret in SECRETS)
    assert all(got.path != "/elsewhere" for got in getattr(services, service).got)


def test_a_chat_that_is_not_there_is_told_with_telegrams_own_words(services: Services) -> None:
    result = one(services.settings(f"tgram://{TELEGRAM_TOKEN}/404"))
    assert result.verdict == "refused"
    assert "chat not found" in result.detail


@pytest.mark.parametrize(
    ("wanted", "verdict", "said"),
    [
        ({"login": ("bot", "another")}, "wrong", "refused the login"),
        ({"rcpt": "550 5.1.1 no such user"}, "wrong", "knows no such mailbox"),
        ({"rcpt": "451 4.3.0 try later"}, "later", "tried again"),
        ({"data": "552 5.3.4 too big"}, "refused", "does not take the message"),
    ],
)
def test_what_a_mail_server_says_is_taken_for(
    services: Services, wanted: dict[str, Any], verdict: str, said: str
) -> None:
    with mail_server(**{"login": ("bot", "plantedMailPassword"), **wanted}) as mails:
        url = services.urls["e-mail"].replace(str(services.mail.port), str(mails.port))
        result = one(services.settings(url))
    assert (result.verdict, mails.letters if verdict != "refused" else []) == (verdict, [])
    assert said in result.detail
    assert "plantedMailPassword" not in result.detail


def test_nobody_at_home_is_tried_again(services: Services) -> None:
    with http_receiver() as gone:
        port = gone.port
    for url in (f"json://127.0.0.1:{port}/plantedHookPath", f"mailto://bot:plantedMailPassword@localhost:{port}"):
        result = one(services.settings(url))
        assert result.verdict == "later"
        assert "refused" in result.detail
        assert "planted" not in result.detail


def test_a_certificate_that_nobody_vouches_for_is_wrong_for_good(services: Services, tmp_path: Any) -> None:
    other = certificates(tmp_path, "api.telegram.org")
    with http_receiver(tls=other.server) as impostor, pytest.MonkeyPatch.context() as patch:
        pointing(patch, {"api.telegram.org": lambda: ("127.0.0.1", impostor.port)})
        result = one(services.settings("telegram"))
    assert result.verdict == "wrong"
    assert "certificate is not trusted" in result.detail
    assert impostor.got == []
    assert not any(secret in result.detail for secret in SECRETS)


# --- secrets --------------------------------------------------------------------------------------------------------


def test_no_log_line_holds_a_secret_whatever_level_is_listened_to(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("apprise", "urllib3", "requests"):
        caplog.set_level(logging.DEBUG, logger=name)
    for answer in (200, 401, 500):
        services.webhook.always(answer)
        results_of(services.settings())
    text = caplog.text + "".join(result.detail for result in results_of(services.settings("slack://A/B/plantedC")))
    results_of(services.settings("tgram://plantedTok/-1", "json://"))  # what cannot even be loaded is logged too
    assert not any(secret in text + caplog.text for secret in (*SECRETS, "plantedC", "plantedTok"))
    assert "apprise" not in {record.name for record in caplog.records}
    # The same lines are there for whoever sends outside: the silence above is not that of an empty room.
    import requests

    requests.post(f"http://127.0.0.1:{services.webhook.port}/plantedHookPath", timeout=5)
    assert "plantedHookPath" in caplog.text


def test_an_address_is_hidden_in_any_text() -> None:
    url = "json://user:p%40ssword@hooks.example/planted/path?+Authorization=Bearer%20abc"
    hidden = Target(url, 1).hide("user p@ssword p%40ssword planted Bearer abc at hooks.example via " + url)
    for secret in ("user", "p@ss", "p%40", "planted", "abc", "path"):
        assert secret not in hidden
    assert "hooks.example" in hidden


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("tgram://123:abc/-1", "7 telegram"),
        ("slack://a/b/c", "7 slack"),
        ("jsons://u:p@Hooks.Example:8443/x", "7 webhook hooks.example"),
        ("mailtos://u:p@mail.example", "7 e-mail mail.example"),
        ("discord://id/token", "7 discord"),
        ("json://[::1", "7 webhook"),
    ],
)
def test_a_target_is_known_by_its_place_and_service(url: str, name: str) -> None:
    assert Target(url, 7).name == name


# --- private addresses ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["json", "xml", "form", "gotify", "ntfy", "mmost"])
def test_no_webhook_reaches_a_private_address(services: Services, service: str) -> None:
    url = f"{service}://127.0.0.1:{services.webhook.port}/plantedtoken1"
    result = one(services.settings(url, allow_private=False))
    assert result.verdict == "wrong"
    assert "leads to 127.0.0.1, which is no public address (loopback)" in result.detail
    assert services.webhook.got == []
    # It is the guard that held it: without, or with its network allowed, it arrives.
    one(services.settings(url))
    one(services.settings(url, allow_private=False, allow_networks=("127.0.0.0/8",)))
    assert len(services.webhook.got) == 2


def test_a_rebinding_name_gains_nothing(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    port = services.webhook.port
    answers = iter([("127.0.0.1", port)] * 9)
    pointing(monkeypatch, {"rebinding.example": lambda: next(answers)})
    result = one(services.settings(f"json://rebinding.example:{port}/x", allow_private=False))
    assert (result.verdict, services.webhook.got) == ("wrong", [])


@pytest.mark.parametrize("asked", ["", "?redirect=yes"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(services: Services, status: int, asked: str) -> None:
    def lead_on(request: object) -> Answer:
        return Answer(status, headers={"Location": f"http://127.0.0.1:{services.webhook.port}/inside"})

    with http_receiver("127.0.0.2", answer=lead_on) as outside:
        url = f"json://127.0.0.2:{outside.port}/x{asked}"
        for networks in ({"allow_private": True}, {"allow_private": False, "allow_networks": ("127.0.0.2/32",)}):
            result = one(services.settings(url, **networks))
            assert result.verdict == "wrong", "a page that a redirect ends on is no delivery"
        assert len(outside.got) == 2
    assert services.webhook.got == []


def test_an_address_cannot_have_its_failures_counted_as_deliveries(services: Services) -> None:
    services.webhook.always(500)
    url = f"json://127.0.0.1:{services.webhook.port}/x?optional=yes&retry=3&wait=9"
    assert one(services.settings(url)).verdict == "later"
    assert len(services.webhook.got) == 1


def test_a_service_that_the_guard_cannot_watch_is_not_used(services: Services) -> None:
    result = one(services.settings("rsyslog://127.0.0.1", allow_private=False))
    assert result.verdict == "wrong"
    assert "cannot be watched" in result.detail


def test_a_proxy_is_not_asked_to_connect_in_our_place(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    with http_receiver("127.0.0.2") as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.2:{proxy.port}")
        url = f"json://10.0.0.1:{services.webhook.port}/x"
        held = {"allow_private": False, "allow_networks": ("127.0.0.2/32",)}
        assert "proxy" in one(services.settings(url, **held)).detail
        assert proxy.got == []
        assert one(services.settings(url)).ok, "allowed, it goes by the proxy"
        assert len(proxy.got) == 1
        monkeypatch.setenv("no_proxy", "10.0.0.1")
        assert "no public address" in one(services.settings(url, **held)).detail


def test_mail_may_go_to_a_server_in_the_house(services: Services) -> None:
    assert one(services.settings("e-mail", allow_private=False)).ok


# --- the test button ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lang", "title"), [("en", "Test alert"), ("tr", "Deneme uyarısı")])
def test_the_test_button_tries_each_target(services: Services, lang: str, title: str) -> None:
    settings = services.settings("webhook", "slack://A/B/plantedC").model_copy(update={"lang": lang})
    good, bad = send_test(settings, ManualClock(1_704_056_400_000))
    assert good.as_dict()["ok"] is True
    assert bad.as_dict()["ok"] is False
    assert bad.detail.startswith("2 slack answered 403")
    assert services.webhook.got[0].json()["title"] == title
    assert "2024-01-01 00:00" in services.webhook.got[0].json()["message"]


def test_without_a_target_there_is_nothing_to_try() -> None:
    assert send_test(load_settings(alerts={"urls": []})) == []
