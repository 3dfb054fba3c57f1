"""The mirror in a real Redis: published, streamed and kept at once; away, restarted, full; a log begun anew."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes.redis_server import RedisServer, binary_or_skip, running

from kalibre.core.errors import DeliveryError, SettingsError, UndeliverableError
from kalibre.core.events import Event, Forecast, Signal, new_event
from kalibre.core.hub_events import EnsembleForecast
from kalibre.log import failpoints, open_log
from kalibre.log.outbox import Outbox
from kalibre.log.protocol import EventLog
from kalibre.log.redis_mirror import KINDS, RedisMirror

KEY = "BTCUSDT|15m|online"
NEWEST = f"kalibre:newest:forecast:{KEY}"
FAR_MS = 10**13


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running() as started:
        yield started


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    connected = redis.Redis(port=server.port, decode_responses=True)
    connected.flushall()
    yield connected
    connected.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


@pytest.fixture
def mirror(server: RedisServer, log: EventLog) -> Iterator[RedisMirror]:
    made = RedisMirror(server.url, log)
    yield made
    made.close()


def forecast(time: int, p_up: float = 0.5, *, seq: int = 0, key: str = KEY) -> Event:
    payload = Forecast(model="m", role="online", horizon_bars=4, score=p_up, p_up=p_up)
    return Event(kind="forecast", key=key, event_time=time, payload=payload, seq=seq, recorded_at=time + 5)


def test_every_kind_is_published_streamed_and_kept(client: redis.Redis, log: EventLog, mirror: RedisMirror) -> None:
    events = [
        forecast(10, 0.6),
        new_event(
            "BTCUSDT|15m|ensemble", 10, EnsembleForecast(horizon_bars=4, score=0.5, p_up=0.5, weights={"a": 1.0})
        ),
        new_event(
            "BTCUSDT|15m|champion", 10, Signal(model="m", role="champion", action="ENTRY", p_up=0.7, confidence=0.4)
        ),
    ]
    stored = log.append(events, writer="x")
    assert {event.kind for event in stored} == KINDS
    with client.pubsub() as listener:
        listener.psubscribe("kalibre:*")
        assert listener.get_message(timeout=5)["type"] == "psubscribe"
        for event in stored:
            mirror.deliver(event)
        heard = [listener.get_message(timeout=5) for _ in stored]
    assert [message["channel"] for message in heard] == [f"kalibre:{event.kind}:{event.key}" for event in stored]
    for event, message in zip(stored, heard, strict=True):
        body = json.loads(message["data"])
        assert body["position"] == event.seq
        assert (body["kind"], body["key"], body["event_time"]) == (event.kind, event.key, event.event_time)
        kept = client.hgetall(f"kalibre:newest:{event.kind}:{event.key}")
        assert kept["body"] == message["data"]
        assert (kept["position"], kept["event_time"]) == (f"{event.seq}", "10")
    assert json.loads(heard[0]["data"])["payload"]["p_up"] == 0.6
    assert json.loads(heard[2]["data"])["payload"]["action"] == "ENTRY"
    assert [number for number, _ in client.xrange("kalibre:stream")] == ["1-0", "2-0", "3-0"]


def test_an_older_word_never_takes_the_place_of_a_newer_one(client: redis.Redis, mirror: RedisMirror) -> None:
    for seq, time in ((5, 100), (4, 100), (5, 100), (6, 90), (3, 200)):
        mirror.deliver(forecast(time, seq / 10, seq=seq))
        assert client.hmget(NEWEST, "position", "event_time") == ["5", "100"]
    mirror.deliver(forecast(100, 0.7, seq=7))  # a revision of the newest bar's
    assert client.hget(NEWEST, "position") == "7"
    assert [number for number, _ in client.xrange("kalibre:stream")] == ["5-0", "6-0", "7-0"]


def test_a_mirror_that_only_sets_would_be_caught(client: redis.Redis) -> None:
    """The planted bug: no comparison. The law below sees the older word."""
    for seq in (5, 4):
        client.hset(NEWEST, "position", f"{seq}")
    assert client.hget(NEWEST, "position") == "4"


@settings(max_examples=40, deadline=None)
@given(orders=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 5)), min_size=1, max_size=12))
def test_whatever_the_order_of_delivery_the_kept_one_only_moves_on(
    server: RedisServer, orders: list[tuple[int, int]]
) -> None:
    times = dict(orders)
    with redis.Redis(port=server.port, decode_responses=True) as client:
        client.flushall()
        mirror = RedisMirror(server.url)
        before = (0, 0)
        for seq, _ in orders:
            mirror.deliver(forecast(times[seq], seq=seq))
            position, time = (int(value) for value in client.hmget(NEWEST, "position", "event_time"))
            assert position >= before[0]
            assert time >= before[1]
            before = (position, time)
        mirror.close()


def test_two_mirrors_at_once_keep_the_newest(server: RedisServer, client: redis.Redis) -> None:
    def bring(numbers: range) -> None:
        mirror = RedisMirror(server.url)
        for seq in numbers:
            mirror.deliver(forecast(seq, seq=seq))
        mirror.close()

    threads = [threading.Thread(target=bring, args=(range(1 + k, 400, 4),)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.hget(NEWEST, "position") == "399"
    ids = [int(number.partition("-")[0]) for number, _ in client.xrange("kalibre:stream")]
    assert ids == sorted(ids)
    assert ids[-1] == 399


def test_the_stream_stays_bounded(server: RedisServer, client: redis.Redis, log: EventLog) -> None:
    mirror = RedisMirror(server.url, log, stream_length=100)
    for seq in range(1, 1_501):
        mirror.deliver(forecast(seq, seq=seq))
    mirror.close()
    assert 100 <= client.xlen("kalibre:stream") <= 300
    assert client.xrevrange("kalibre:stream", count=1)[0][0] == "1500-0"


def test_a_log_that_was_begun_anew_is_not_held_up_by_the_old_one(
    server: RedisServer, client: redis.Redis, tmp_path: Path, log: EventLog, mirror: RedisMirror
) -> None:
    for event in log.append([forecast(time) for time in range(1_000, 1_009)], writer="x"):
        mirror.deliver(event)
    assert client.hget(NEWEST, "position") == "9"
    with open_log(f"sqlite:///{tmp_path / 'new.sqlite'}") as other:
        (event,) = other.append([forecast(500, 0.9)], writer="x")
        renewed = RedisMirror(server.url, other)
        renewed.deliver(event)
        renewed.close()
    assert client.hmget(NEWEST, "position", "event_time") == ["1", "500"]
    assert [number for number, _ in client.xrange("kalibre:stream")] == ["1-0"]


def test_two_prefixes_share_a_redis(server: RedisServer, client: redis.Redis) -> None:
    for prefix in ("a", "b"):
        mirror = RedisMirror(server.url, prefix=prefix)
        mirror.deliver(forecast(1, seq=1))
        mirror.close()
    assert sorted(client.keys("*")) == sorted(
        f"{prefix}:{name}" for prefix in "ab" for name in (f"newest:forecast:{KEY}", "origin", "stream")
    )


def test_redis_away_waits_and_comes_back_without_a_restart(log: EventLog) -> None:
    server = RedisServer(binary_or_skip())
    try:
        mirror = RedisMirror(server.url, log, patience_s=0.5)  # nobody listens yet, and it starts all the same
        box = Outbox(log, "redis", KINDS, mirror.deliver, first_pause_s=0.001, longest_pause_s=0.01)
        box.step()
        log.append([forecast(1), forecast(2)], writer="learner", recorded_at_ms=FAR_MS)
        box.step()
        assert "does not take messages now" in box.trouble
        log.append([forecast(3)], writer="learner", recorded_at_ms=FAR_MS)  # learning goes on
        for life in range(2):
            server.start()
            _until_delivered(box, 3 + life)
            with redis.Redis(port=server.port, decode_responses=True) as client:
                assert client.hget(NEWEST, "position") == f"{log.head()}"
            server.kill()
            log.append([forecast(4 + life)], writer="learner", recorded_at_ms=FAR_MS)
            box.step()
            assert box.trouble
        mirror.close()
    finally:
        server.stop()


def _until_delivered(box: Outbox, count: int) -> None:
    for _ in itertools.takewhile(lambda _: box.counts.delivered < count, range(10_000)):
        box.step()
        threading.Event().wait(0.001)
    assert box.counts.delivered == count


def test_a_full_redis_is_waited_for_and_a_foreign_key_is_passed_over(client: redis.Redis, mirror: RedisMirror) -> None:
    client.set(NEWEST, "another program's")
    with pytest.raises(
        UndeliverableError, match=f"refuses forecast '{KEY.replace('|', '.')}' at position 1: WRONGTYPE"
    ):
        mirror.deliver(forecast(1, seq=1))
    client.delete(NEWEST)
    client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(DeliveryError, match="does not take messages now"):
            deque((mirror.deliver(forecast(1, seq=seq, key=f"{seq}")) for seq in range(2, 20_000)), maxlen=0)
        before = client.info("memory")["used_memory"]
        with pytest.raises(DeliveryError):  # nothing of it was done, so nothing has grown
            mirror.deliver(forecast(1, seq=10**6))
        assert client.info("memory")["used_memory"] < before + 100_000
    finally:
        client.config_set("maxmemory", "0")
    mirror.deliver(forecast(1, seq=10**6))


def test_killed_between_delivery_and_offset_a_subscriber_hears_it_again(
    server: RedisServer, client: redis.Redis, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'killed.sqlite'}"
    with open_log(url) as log:
        Outbox(log, "redis", KINDS, print).step()
        log.append([forecast(1), forecast(2)], writer="x", recorded_at_ms=FAR_MS)
    with client.pubsub() as listener:
        listener.subscribe(f"kalibre:forecast:{KEY}")
        assert listener.get_message(timeout=5)["type"] == "subscribe"
        for place, ended in (("outbox.delivered:2", -signal.SIGKILL), ("", 0)):
            child = os.fork()
            if child == 0:
                failpoints.arm(place)
                with open_log(url) as log:
                    Outbox(log, "redis", KINDS, RedisMirror(server.url, log).deliver).step()
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == ended
        heard = [json.loads(listener.get_message(timeout=5)["data"])["position"] for _ in range(4)]
    assert heard == [1, 2, 1, 2]
    assert [number for number, _ in client.xrange("kalibre:stream")] == ["1-0", "2-0"], "the stream has each once"


@pytest.mark.parametrize("url", ["http://host", "redis://user:hunter2@host:port/0", "nonsense"])
def test_an_address_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="cannot be used") as caught:
        RedisMirror(url)
    assert "hunter2" not in str(caught.value)


def test_a_password_stays_out_of_what_is_said(log: EventLog) -> None:
    mirror = RedisMirror("redis://user:hunter2@127.0.0.1:1/0", log, patience_s=0.2)
    with pytest.raises(DeliveryError, match="does not take messages") as caught:
        mirror.deliver(forecast(1, seq=1))
    mirror.close()
    assert "hunter2" not in str(caught.value)


def test_without_the_package_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(SettingsError, match=r"pip install 'kalibre\[redis\]'"):
        RedisMirror("redis://localhost/0")


def test_a_message_has_the_form_that_is_written_down(client: redis.Redis, mirror: RedisMirror) -> None:
    mirror.deliver(forecast(7, 0.25, seq=3))
    expected: dict[str, Any] = {
        "position": 3,
        "kind": "forecast",
        "key": KEY,
        "event_time": 7,
        "revision": 0,
        "recorded_at": 12,
        "payload": {
            "model": "m",
            "role": "online",
            "horizon_bars": 4,
            "score": 0.25,
            "p_up": 0.25,
            "abstained": None,
            "label": "direction",
            "late": False,
        },
    }
    assert json.loads(client.hget(NEWEST, "body") or "") == expected
