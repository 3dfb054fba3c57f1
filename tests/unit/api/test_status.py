"""What `/ml/model/status` and `/healthz` say of a log that was there before the server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import msgspec
import pytest
from tests.fakes.models import bar_events, random_bars, small_bundle
from tests.fakes.serving import appoint

from kalibre.api.app import create_app
from kalibre.api.exposition import exposition
from kalibre.api.front import Front
from kalibre.api.live import LiveView
from kalibre.api.service import predict_once
from kalibre.core.errors import LogCorruptError, LogUnavailableError
from kalibre.core.events import CorporateAction, Kill, new_event
from kalibre.core.settings import Settings
from kalibre.log import open_log
from kalibre.log.protocol import EventLog

COLUMNS = ("realised_volatility_20", "log_return_1")
KEY = {"X-API-Key": "q7Jw-4zK9tR2mXbV8sLd"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, api={"keys": {KEY["X-API-Key"]: "read"}})


@pytest.fixture
def log(settings: Settings) -> Iterator[EventLog]:
    with open_log(settings.log_url) as opened:
        opened.append(bar_events(random_bars(60)), writer="test")
        yield opened


def ask(settings: Settings, log: EventLog, path: str) -> Any:
    """Return what the whole application, started in this process, answers."""
    app = create_app(settings, log=log)
    app.service.live.start()
    try:
        assert app.service.live.wait_for(log.head(), timeout_s=60)
        return asyncio.run(asked(app, path))
    finally:
        app.service.live.stop()


async def asked(app: Front, path: str) -> Any:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=KEY) as client:
        return (await client.get(path)).json()


def test_the_status_says_what_a_model_was_judged_with_and_what_has_drifted(settings: Settings, log: EventLog) -> None:
    bundle = small_bundle(columns=COLUMNS)
    appoint(log, settings, bundle)
    appoint(log, settings, replace(bundle, label="triple_barrier", funded=True), "challenger")
    symbols = ask(settings, log, "/ml/model/status")["symbols"]["BTCUSDT"]
    champion, challenger = symbols["champion"]["model"], symbols["challenger"]["model"]
    assert (champion["label"], champion["funded"], champion["warnings"]) == ("direction", False, [])
    assert (challenger["label"], challenger["funded"]) == ("triple_barrier", True)
    costs = settings.costs.model_copy(update={"fee_bps": 77.0})
    risk = settings.risk.model_copy(update={"max_exposure": 0.25})
    changed = settings.model_copy(update={"costs": costs, "risk": risk})
    warned = ask(changed, log, "/ml/model/status")["symbols"]["BTCUSDT"]["champion"]["model"]["warnings"]
    assert len(warned) == 2
    assert "fee_bps" in warned[0]
    assert "77.0" in warned[0]
    assert "max_exposure" in warned[1]


def test_before_the_log_was_read_nothing_is_claimed(settings: Settings, log: EventLog) -> None:
    """Planted: a kill in the log that the server, still starting, cannot know of."""
    log.append([new_event("kill", 1, Kill(engaged=True, by="me"))], writer="test")
    app = create_app(settings, log=log)
    health = asyncio.run(asked(app, "/healthz"))
    assert health["status"] == "degraded"
    assert (health["kill"]["engaged"], health["automation_running"]) == (None, None)
    assert not any("holds no bars" in reason for reason in health["reasons"])
    status = asyncio.run(asked(app, "/automation/status"))
    assert (status["killed"], status["running"]) == (None, None)
    assert "\nkalibre_kill_engaged " not in exposition(app.service)
    settings.kill_file.touch()
    assert asyncio.run(asked(app, "/healthz"))["kill"]["engaged"] is True, "the file needs no log"
    settings.kill_file.unlink()
    app.service.live.draw_once()
    health = asyncio.run(asked(app, "/healthz"))
    assert (health["kill"]["engaged"], health["automation_running"]) == (True, True)
    assert "\nkalibre_kill_engaged 1" in exposition(app.service)


def test_the_bare_address_is_the_page_and_leads_to_the_documentation(settings: Settings, log: EventLog) -> None:
    async def without_key(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=create_app(settings, log=log))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path)

    answer = asyncio.run(without_key("/"))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert 'href="/docs"' in answer.text


def test_a_damaged_log_ends_a_single_forecast_at_once(
    settings: Settings, log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    """Planted: a log whose head can be read and whose bars cannot."""
    log.append(bar_events(random_bars(3_000)), writer="test")
    appoint(log, settings, small_bundle(columns=COLUMNS))  # whose features need the bars before the newest
    log.close()
    path = settings.home / "log.sqlite"
    pages = bytearray(path.read_bytes())
    pages[len(pages) // 4 : len(pages) // 2] = b"\xff" * (len(pages) // 2 - len(pages) // 4)
    path.write_bytes(pages)
    with pytest.raises(LogCorruptError):
        predict_once(settings, "BTCUSDT")
    assert caplog.records == []


def test_a_problem_that_stays_is_logged_once(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    asked_for, third = [], Event()

    def broken() -> EventLog:
        asked_for.append(1)
        if len(asked_for) == 3:
            third.set()
        raise LogUnavailableError("the database is away")

    live = LiveView(settings, broken, retry_s=0.001)
    live.start()
    assert third.wait(30)
    live.stop()
    assert [record.getMessage() for record in caplog.records].count(
        "live view: the log cannot be read: the database is away"
    ) == 1


@pytest.mark.parametrize("status", ["detected", "confirmed", "rejected"])
def test_an_action_from_before_the_start_is_known(settings: Settings, log: EventLog, status: str) -> None:
    at_ms = int(random_bars(60).open_time[50])
    action = msgspec.convert({"factor": 2.0, "status": status}, CorporateAction)
    log.append([new_event("BTCUSDT", at_ms, action)], writer="test")
    appoint(log, settings, small_bundle(columns=COLUMNS))
    health = ask(settings, log, "/healthz")
    held = [reason for reason in health["reasons"] if "kalibre actions confirm" in reason]
    assert len(held) == (status == "detected")
    answer = ask(settings, log, "/ml/predict?symbol=BTCUSDT")
    assert (held[:1] == [reason for reason in answer["reasons"] if "corporate action" in reason]) or not held
    assert answer["signal"] == "HOLD"
