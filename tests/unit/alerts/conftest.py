"""Receivers that the tests of sending share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.alert_receivers import (
    SLACK_TOKENS,
    TELEGRAM_TOKEN,
    MailServer,
    Receiver,
    certificates,
    http_receiver,
    mail_server,
    pointing,
    slack,
    telegram,
)

from kalibre.core.settings import Settings, load_settings


@dataclass(frozen=True)
class Services:
    telegram: Receiver
    slack: Receiver
    webhook: Receiver
    mail: MailServer

    @property
    def urls(self) -> dict[str, str]:
        return {
            "telegram": f"tgram://{TELEGRAM_TOKEN}/-1001234",
            "slack": f"slack://{'/'.join(SLACK_TOKENS)}",
            "webhook": f"json://127.0.0.1:{self.webhook.port}/plantedHookPath",
            "e-mail": f"mailto://bot:plantedMailPassword@localhost:{self.mail.port}"
            "?from=kalibre@example.com&to=ada@example.com",
        }

    def settings(self, *names: str, **alerts: Any) -> Settings:
        urls = [self.urls.get(name, name) for name in names or tuple(self.urls)]
        return load_settings(alerts={"urls": urls, "allow_private": True, **alerts})


@pytest.fixture(scope="session")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return certificates(tmp_path_factory.mktemp("certificates"), "api.telegram.org", "hooks.slack.com")


@pytest.fixture
def services(certified: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Services]:
    """Run Telegram, Slack, a webhook and a mail server on loopback, under the names that apprise connects to."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certified.authority))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with (
        http_receiver(tls=certified.server, answer=telegram) as telegrams,
        http_receiver(tls=certified.server, answer=slack) as slacks,
        http_receiver() as webhook,
        mail_server(login=("bot", "plantedMailPassword")) as mails,
    ):
        pointing(
            monkeypatch,
            {
                "api.telegram.org": lambda: ("127.0.0.1", telegrams.port),
                "hooks.slack.com": lambda: ("127.0.0.1", slacks.port),
            },
        )
        yield Services(telegrams, slacks, webhook, mails)
