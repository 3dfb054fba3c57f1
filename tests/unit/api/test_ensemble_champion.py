"""A server whose champion is the ensemble: it repeats what was recorded, computes nothing, and is in good health."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.ensemble_led import in_step, led_version, words_of
from tests.fakes.models import START_MS, bar_events, random_bars
from tests.fakes.trading import SERIES, STEP_MS

from kalibre.api.answers import Standing
from kalibre.api.exposition import exposition
from kalibre.api.posted import answer_features
from kalibre.api.posted import read as posted
from kalibre.api.routes.health import health
from kalibre.api.routes.model import status
from kalibre.api.service import Service
from kalibre.core.clock import ManualClock
from kalibre.core.events import Event, Promotion, new_event
from kalibre.core.settings import Settings
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.log.runner import Runner
from kalibre.models.ensemble_version import store_ensemble
from kalibre.trading.paper import paper_projection

N_BARS = 60
VERSION = led_version()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    market: Any = {"symbols": ("BTCUSDT",), "timeframe": "15m"}
    made = Settings(home=tmp_path, market=market, features={"higher_timeframes": ()})
    store_ensemble(made.models_dir, VERSION)
    return made


@pytest.fixture
def log(settings: Settings) -> Iterator[EventLog]:
    with open_log(settings.log_url) as opened:
        payload = Promotion(model=VERSION.model_id, digest=VERSION.digest, alias="champion", previous=None, by="me")
        opened.append([new_event(f"{SERIES}|champion", START_MS, payload)], writer="registry")
        yield opened


def served(log: EventLog, settings: Settings, events: list[Event]) -> Service:
    """Return what answers once paper has read these events."""
    log.append(events, writer="hub")
    runner = Runner(log, paper_projection(settings), snapshots_dir=None)
    runner.recover()
    runner.catch_up()
    service = Service(settings, log=log, clock=ManualClock(START_MS + N_BARS * STEP_MS + 1_000))
    service.live.draw_once()
    return service


class Asked:
    """A request as the routes read it, and the response that they mark."""

    status_code = 200

    def __init__(self, service: Service) -> None:
        self.app = self
        self.state = self
        self.service = service


@pytest.fixture
def spoken() -> list[Event]:
    bars = bar_events(random_bars(N_BARS, seed=9))
    return in_step(bars, words_of(bars, seed=2))


def test_predict_repeats_what_was_recorded(log: EventLog, settings: Settings, spoken: list[Event]) -> None:
    service = served(log, settings, spoken)
    answer = service.predict("BTCUSDT")
    recorded: Any = log.latest("signal", key=f"{SERIES}|champion").payload
    said: Any = log.latest("ensemble").payload
    assert said.p_up is not None
    assert (answer.model, answer.p_up, answer.signal) == (VERSION.model_id, said.p_up, recorded.action)
    assert answer.reasons == list(recorded.reasons)
    assert (answer.policy.entry_threshold, answer.horizon_bars) == (0.6, 4)


def test_a_word_that_is_on_its_way_holds_and_is_no_illness(
    log: EventLog, settings: Settings, spoken: list[Event]
) -> None:
    service = served(log, settings, spoken[:-1])
    answer = service.predict("BTCUSDT")
    assert (answer.signal, answer.p_up, answer.model) == ("HOLD", None, VERSION.model_id)
    assert "on its way" in answer.reasons[0]
    standing = service.live.picture.series["BTCUSDT"].roles["champion"]
    assert standing.on_its_way
    assert not standing.vacant


def test_an_ensemble_that_does_not_speak_is_told(log: EventLog, settings: Settings, spoken: list[Event]) -> None:
    bars = [event for event in spoken if event.kind == "bar"]
    service = served(log, settings, spoken[:40] + [event for event in bars if event not in spoken[:40]])
    standing = service.live.picture.series["BTCUSDT"].roles["champion"]
    assert not standing.on_its_way
    assert "waits for the word of the ensemble" in service.predict("BTCUSDT").reasons[0]


def test_it_cannot_be_asked_about_anything_else(log: EventLog, settings: Settings, spoken: list[Event]) -> None:
    service = served(log, settings, spoken)
    answer = answer_features(service, posted(b'{"symbol": "BTCUSDT", "features": [1.0, 2.0]}'))
    assert (answer.signal, answer.p_up) == ("HOLD", None)
    assert "cannot be asked about anything else" in answer.reasons[0]


def test_status_health_and_metrics_name_it(log: EventLog, settings: Settings, spoken: list[Event]) -> None:
    service = served(log, settings, spoken)
    asked: Any = Asked(service)
    champion = status(asked).symbols["BTCUSDT"].champion
    assert champion.problem is None
    assert champion.model is not None
    assert (champion.model.model, champion.model.digest) == (VERSION.model_id, VERSION.digest)
    assert len(champion.model.gates) == len(VERSION.gates)
    assert champion.model.columns == []
    well = health(asked, asked)
    assert (asked.status_code, well.reasons) == (200, [])
    assert well.models["BTCUSDT"].champion == VERSION.model_id
    assert f'model="{VERSION.model_id}"' in exposition(service)


def test_a_version_that_cannot_be_loaded_is_told_and_nothing_falls(
    log: EventLog, settings: Settings, spoken: list[Event]
) -> None:
    (settings.models_dir / VERSION.model_id / "ensemble.json").write_text("{}")
    service = served(log, settings, spoken)
    standing = service.live.picture.series["BTCUSDT"].roles["champion"]
    assert isinstance(standing, Standing)
    assert standing.model is None
    assert service.predict("BTCUSDT").signal == "HOLD"
    assert "damaged" in service.predict("BTCUSDT").reasons[0]
