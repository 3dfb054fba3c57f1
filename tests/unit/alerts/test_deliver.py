"""The dispatcher: at least once and decided once, over restarts, failing targets, full disks and damaged files."""

from __future__ import annotations

import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.alert_receivers import Receiver, http_receiver
from tests.unit.alerts.conftest import Services

from kalibre.alerts import deliver, memory
from kalibre.alerts.deliver import MOST_WAITING, Dispatcher
from kalibre.alerts.dispatch import HOUR_MS, Level
from kalibre.alerts.memory import load_memory, memory_path, read_memory, save_memory
from kalibre.alerts.standing import standing
from kalibre.core.clock import ManualClock
from kalibre.core.errors import AlertError
from kalibre.core.events import Event, Tick
from kalibre.core.hub_events import Alert
from kalibre.core.settings import Settings

NOON = 1_704_056_400_000 + 12 * HOUR_MS
SECOND = 1_000
MINUTE = 60_000


@pytest.fixture
def other() -> Iterator[Receiver]:
    with http_receiver() as running:
        yield running


class Hub:
    """A dispatcher with a clock of its own, that can be started anew on the same file."""

    def __init__(self, settings: Settings, path: Path) -> None:
        self.settings, self.path = settings, path
        self.clock = ManualClock(NOON)
        self.seq = 0
        self.start()

    def start(self) -> None:
        self.dispatcher = Dispatcher(self.settings, self.path, self.clock, patience_s=5)

    def event(self, key: str = "disk", level: Level = "warning", *, over: bool = False) -> Event:
        self.seq += 1
        content = Alert(level=level, title=f"{key} {self.seq}", cause="c", consequence="q", mend="m", recovered=over)
        return Event(kind="alert", key=key, event_time=self.clock.now_ms(), payload=content, seq=self.seq)

    def tell(self, key: str = "disk", level: Level = "warning", *, over: bool = False) -> None:
        self.dispatcher.deliver(self.event(key, level, over=over))

    def wait(self, ms: int) -> None:
        self.clock.set(self.clock.now_ms() + ms)
        self.dispatcher.pump()


@pytest.fixture
def hub(services: Services, tmp_path: Path) -> Hub:
    return Hub(services.settings("webhook"), tmp_path / "home" / "alerts.json")


def titles(receiver: Receiver) -> list[str]:
    return [got.json()["title"] for got in receiver.got]


def test_an_event_is_told_once_however_often_it_comes(hub: Hub, services: Services) -> None:
    event = hub.event()
    for _ in range(3):
        hub.dispatcher.deliver(event)
        hub.start()
    assert titles(services.webhook) == ["WARNING: disk 1"]
    assert hub.dispatcher.position == 1


def test_what_was_told_is_known_after_a_restart(hub: Hub, services: Services) -> None:
    hub.tell()
    hub.start()
    hub.tell()  # a duplicate
    hub.start()
    hub.tell(over=True)
    assert titles(services.webhook) == ["WARNING: disk 1", "RECOVERED: disk 3"]


def test_another_kind_of_event_is_passed_over(hub: Hub, services: Services) -> None:
    hub.dispatcher.deliver(Event(kind="tick", key="clock", event_time=NOON, payload=Tick(now_ms=NOON), seq=9))
    assert hub.dispatcher.position == 0
    assert services.webhook.got == []


def test_a_log_that_was_begun_anew_is_not_taken_for_the_old_one(hub: Hub, services: Services) -> None:
    hub.seq = 5_000
    hub.tell("a")
    hub.seq = 0
    hub.clock.set(NOON + MINUTE)
    hub.tell("b")
    hub.tell("c")
    assert titles(services.webhook) == ["WARNING: a 5001", "WARNING: b 1", "WARNING: c 2"]


def test_the_quiet_hours_digest_leaves_by_itself_and_over_a_restart(services: Services, tmp_path: Path) -> None:
    hub = Hub(services.settings("webhook", quiet_hours="11:00-13:00"), tmp_path / "alerts.json")
    hub.tell("a")
    hub.tell("b")
    hub.tell("fire", "critical")
    hub.start()
    hub.wait(HOUR_MS - 1)
    assert titles(services.webhook) == ["CRITICAL: fire 3"]
    hub.wait(1)
    assert titles(services.webhook)[1:] == ["WARNING: 2 alerts that waited"]
    hub.wait(HOUR_MS)
    assert len(services.webhook.got) == 2


def test_a_target_that_fails_gets_it_later_and_the_others_at_once(
    services: Services, other: Receiver, tmp_path: Path
) -> None:
    hub = Hub(services.settings("webhook", f"json://127.0.0.1:{other.port}/"), tmp_path / "alerts.json")
    services.webhook.always(503)
    hub.tell("a")
    hub.tell("b")
    assert titles(other) == ["WARNING: a 1", "WARNING: b 2"]
    assert len(services.webhook.got) == 1, "it is not hammered"
    hub.wait(14 * SECOND)
    assert len(services.webhook.got) == 1
    hub.wait(SECOND)
    assert len(services.webhook.got) == 2, "after 15 s it is tried again"
    hub.wait(29 * SECOND)
    assert len(services.webhook.got) == 2, "and then after 30 s"
    services.webhook.always(200, b"ok")
    hub.start()  # a restart keeps the queue
    hub.wait(SECOND)
    assert titles(services.webhook)[2:] == ["WARNING: a 1", "WARNING: b 2"]
    assert titles(other) == ["WARNING: a 1", "WARNING: b 2"]


def test_a_process_that_dies_before_the_sending_sends_at_its_next_start(
    hub: Hub, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as planted:
        planted.setattr(deliver, "send_all", die)
        with pytest.raises(KeyboardInterrupt):
            hub.tell()
    hub.start()
    hub.dispatcher.deliver(hub.event("other", "info"))
    assert titles(services.webhook) == ["WARNING: disk 1"]


def test_a_process_that_dies_after_the_sending_sends_again(
    hub: Hub, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, saved = deliver.send_all, []

    def send_and_die(*args: Any, **kwargs: Any) -> None:
        saved.append(real(*args, **kwargs))
        raise KeyboardInterrupt

    with monkeypatch.context() as planted:
        planted.setattr(deliver, "send_all", send_and_die)
        with pytest.raises(KeyboardInterrupt):
            hub.tell()
    assert saved[0][0].ok
    hub.start()
    hub.dispatcher.pump()
    assert titles(services.webhook) == ["WARNING: disk 1"] * 2, "at least once"


def test_one_message_that_is_refused_does_not_stop_the_rest(
    hub: Hub, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    services.webhook.always(400)
    hub.tell("a")
    hub.tell("b")
    hub.wait(MINUTE)
    hub.wait(MINUTE)
    assert titles(services.webhook) == ["WARNING: a 1"] * 3
    services.webhook.always(200, b"ok")
    hub.wait(MINUTE)
    assert titles(services.webhook)[3:] == ["WARNING: b 2"]
    assert "does not get 'WARNING: a 1': refused 3 times" in caplog.text


def test_a_target_that_is_wrong_keeps_its_messages_until_it_is_mended(
    hub: Hub, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    services.webhook.always(401)
    for key in "abc":
        hub.tell(key)
    hub.wait(59 * MINUTE)
    assert len(services.webhook.got) == 1, "an hour between two tries of what is wrong for good"
    hub.wait(MINUTE)
    assert len(services.webhook.got) == 2
    assert caplog.text.count("answered 401") == 1, "said once, not at every try"
    services.webhook.always(200, b"ok")
    hub.wait(HOUR_MS)
    assert titles(services.webhook)[2:] == ["WARNING: a 1", "WARNING: b 2", "WARNING: c 3"]


def test_what_is_critical_is_worth_another_try_at_once(hub: Hub, services: Services) -> None:
    services.webhook.always(503)
    for _ in range(6):
        hub.tell("a")
        hub.wait(15 * MINUTE)
    services.webhook.got.clear()
    services.webhook.always(200, b"ok")
    hub.clock.set(hub.clock.now_ms() + SECOND)
    hub.tell("fire", "critical")
    assert titles(services.webhook)[-1].startswith("CRITICAL: fire")


def test_a_clock_set_back_holds_no_target_for_longer_than_an_hour(hub: Hub, services: Services) -> None:
    hub.clock.set(NOON + 100 * HOUR_MS)
    services.webhook.always(503)
    hub.tell()
    services.webhook.always(200, b"ok")
    hub.clock.set(NOON)
    hub.dispatcher.pump()
    assert len(services.webhook.got) == 2


def test_a_day_later_only_what_is_critical_is_still_told(hub: Hub, services: Services) -> None:
    services.webhook.always(503)
    hub.tell("a")
    hub.tell("fire", "critical")
    services.webhook.always(200, b"ok")
    services.webhook.got.clear()
    hub.wait(25 * HOUR_MS)
    assert titles(services.webhook) == ["CRITICAL: fire 2"]


def test_a_queue_is_bounded_and_what_is_critical_goes_last(services: Services, tmp_path: Path) -> None:
    hub = Hub(services.settings("webhook", per_hour=1000), tmp_path / "alerts.json")
    services.webhook.always(503)
    hub.tell("fire", "critical")
    for n in range(MOST_WAITING + 5):
        hub.tell(f"k{n}")
    kept = hub.dispatcher._memory["waiting"]["1 webhook 127.0.0.1"]
    assert len(kept) == MOST_WAITING
    assert kept[0]["level"] == "critical"
    assert hub.dispatcher._memory["health"]["1 webhook 127.0.0.1"]["lost"] == 6


def test_a_new_password_leaves_what_waits_where_it_is(services: Services, tmp_path: Path) -> None:
    old = services.urls["e-mail"].replace("plantedMailPassword", "oldPassword")
    hub = Hub(services.settings(old, "webhook"), tmp_path / "alerts.json")
    hub.tell()
    assert services.mail.letters == []
    hub.settings = services.settings("e-mail")  # and the webhook is taken out
    hub.start()
    hub.wait(HOUR_MS)
    assert [letter["Subject"] for letter in services.mail.letters] == ["WARNING: disk 1"]
    assert "2 webhook 127.0.0.1" not in hub.dispatcher._memory["health"]


def test_without_a_target_nothing_counts_as_told(services: Services, tmp_path: Path) -> None:
    settings = services.settings("webhook")
    alone = settings.model_copy(update={"alerts": settings.alerts.model_copy(update={"urls": ()})})
    hub = Hub(alone, tmp_path / "alerts.json")
    hub.tell()
    assert hub.dispatcher.position == 1
    hub.settings = settings
    hub.start()
    hub.tell()
    assert titles(services.webhook) == ["WARNING: disk 2"]


# --- the file -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"format": 1}', b"[]", b"\xff\xfe", b'{"format":2,"position":0,"newest_ms":0}']
)
def test_a_damaged_file_is_moved_aside_and_alerts_go_on(
    hub: Hub, services: Services, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    hub.tell()
    hub.path.write_bytes(content)
    hub.start()
    assert "moved to alerts.json.broken-1" in caplog.text
    assert hub.path.with_name("alerts.json.broken-1").read_bytes() == content
    hub.path.write_bytes(content)
    hub.start()
    assert hub.path.with_name("alerts.json.broken-2").exists(), "what was moved aside is not written over"
    hub.tell("b")
    assert titles(services.webhook)[-1] == "WARNING: b 2"


def test_a_file_of_a_later_format_is_not_guessed_at(hub: Hub) -> None:
    hub.tell()
    content = json.loads(hub.path.read_bytes())
    hub.path.write_text(json.dumps({**content, "format": 2}))
    with pytest.raises(ValueError, match="is of format 2, this version writes 1"):
        read_memory(hub.path)


def test_a_disk_that_takes_no_more_does_not_silence_alerts(
    hub: Hub, services: Services, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = hub.path.read_bytes() if hub.path.exists() else None
    with monkeypatch.context() as planted:
        planted.setattr(memory.os, "fsync", full)
        hub.tell("disk", "critical")
        hub.tell("disk", "critical")
    assert titles(services.webhook) == ["CRITICAL: disk 1"], "told, and still known in memory"
    assert "No space left on device" in caplog.text
    assert (hub.path.read_bytes() if hub.path.exists() else None) == before, "the file is whole or not there"


def test_a_write_that_is_torn_leaves_the_file_before(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.tell()
    whole = hub.path.read_bytes()

    def torn(descriptor: int) -> None:
        os.ftruncate(descriptor, 10)
        raise OSError("power is gone")

    changed = load_memory(hub.path)
    changed["position"] = 99
    with monkeypatch.context() as planted:
        planted.setattr(memory.os, "fsync", torn)
        with pytest.raises(OSError, match="power"):
            save_memory(hub.path, changed)
    assert hub.path.read_bytes() == whole
    save_memory(hub.path, changed)
    assert load_memory(hub.path)["position"] == 99


def test_the_file_is_for_its_owner_and_holds_no_address(hub: Hub, services: Services) -> None:
    services.webhook.always(401)
    hub.tell()
    assert stat.S_IMODE(hub.path.stat().st_mode) == 0o600
    assert b"planted" not in hub.path.read_bytes()


# --- how it stands --------------------------------------------------------------------------------------------------


def test_standing_tells_of_each_target(services: Services, other: Receiver, tmp_path: Path) -> None:
    settings = services.settings("webhook", f"json://127.0.0.2:{other.port}/", quiet_hours="13:00-14:00")
    hub = Hub(
        settings.model_copy(update={"home": tmp_path}), memory_path(settings.model_copy(update={"home": tmp_path}))
    )
    assert [row.delivered_ms for row in standing(hub.settings, NOON).targets] == [None, None]
    hub.tell("a")
    hub.clock.set(NOON + HOUR_MS)
    hub.tell("b")
    now = standing(hub.settings, NOON + HOUR_MS)
    good, bad = now.targets
    assert (good.delivered_ms, good.failures, good.waiting, good.detail) == (NOON, 0, 0, "")
    assert (bad.delivered_ms, bad.failed_ms, bad.failures, bad.waiting) == (None, NOON + HOUR_MS, 2, 1)
    assert "2 webhook 127.0.0.2" in bad.detail
    assert (now.quiet, now.held, now.sent_within_an_hour, now.open_troubles, now.position) == (
        True,
        1,
        0,
        ("a", "b"),
        2,
    )
    assert json.dumps(now.as_dict())
    memory_path(hub.settings).write_text("{")
    with pytest.raises(AlertError, match="cannot be read"):
        standing(hub.settings, NOON)
    assert memory_path(hub.settings).read_text() == "{", "looking changes nothing"


def test_a_pump_with_nothing_to_do_writes_nothing(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    hub.tell()
    before = hub.path.stat().st_mtime_ns
    hub.wait(MINUTE)
    assert hub.path.stat().st_mtime_ns == before
