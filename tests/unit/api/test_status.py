"""What `/ml/model/status` and `/healthz` say of a log that was there before the server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from tests.fakes.models import bar_events, random_bars, small_bundle
from tests.fakes.serving import appoint

from kalibre.api.app import create_app
from kalibre.api.front import Front
from kalibre.core.events import CorporateAction, new_event
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
