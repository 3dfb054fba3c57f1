"""Logging in: an address that works once, a cookie that ends, a proof that no other site can give."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kalibre.api.auth import ApiKeys
from kalibre.api.guard import Guard
from kalibre.api.logins import LOGIN_LASTS_MS
from kalibre.api.sessions import MOST_SESSIONS, SESSION_LASTS_MS, Sessions
from kalibre.core.clock import ManualClock
from kalibre.core.errors import ApiError
from kalibre.core.settings import ApiSettings

HOST = (b"host", b"127.0.0.1:8617")
ORIGIN = (b"origin", b"http://127.0.0.1:8617")


def token_of(path: str) -> str:
    return path.partition("=")[2]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000)


def test_a_token_works_once_and_for_an_hour(clock: ManualClock) -> None:
    sessions = Sessions(clock)
    first, second = token_of(sessions.new_login()), token_of(sessions.new_login())
    secret = sessions.redeem(first)
    assert secret is not None
    assert sessions.redeem(first) is None
    assert sessions.redeem("") is None
    assert sessions.redeem(first + "x") is None
    clock.set(1_000 + LOGIN_LASTS_MS)
    assert sessions.redeem(second) is None
    assert sessions.find(secret) is not None


def test_a_session_ends(clock: ManualClock) -> None:
    sessions = Sessions(clock)
    secret = sessions.open(frozenset({"read", "operate"}))
    found = sessions.find(secret)
    assert found is not None
    assert (found.scopes, found.ends_ms) == ({"read", "operate"}, 1_000 + SESSION_LASTS_MS)
    clock.set(found.ends_ms - 1)
    assert sessions.find(secret) is not None
    clock.set(found.ends_ms)
    assert sessions.find(secret) is None
    again = sessions.open(frozenset({"read"}))
    sessions.close(again)
    assert sessions.find(again) is None


def test_sessions_outlive_a_restart_as_hashes_that_only_their_owner_reads(clock: ManualClock, tmp_path: Path) -> None:
    file = tmp_path / "run" / "sessions.json"
    secret = Sessions(clock, file=file).open(frozenset({"read"}))
    kept = file.read_text()
    assert secret not in kept
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    found = Sessions(clock, file=file).find(secret)
    assert found is not None
    assert found.csrf not in kept
    file.write_text("{torn")
    assert Sessions(clock, file=file).find(secret) is None


def test_sessions_are_bounded(clock: ManualClock) -> None:
    sessions = Sessions(clock)
    secrets = []
    for number in range(MOST_SESSIONS + 5):
        clock.set(1_000 + number)
        secrets.append(sessions.open(frozenset({"read"})))
    alive = [secret for secret in secrets if sessions.find(secret) is not None]
    assert alive == secrets[-MOST_SESSIONS:], "the oldest go first"


def test_two_servers_of_one_machine_do_not_share_a_cookie(clock: ManualClock) -> None:
    one, other = Sessions(clock, place="/a"), Sessions(clock, place="/b")
    secret = one.open(frozenset({"read"}))
    cookie = f"theme=dark; {one.cookie}={secret}; {other.cookie}=nothing".encode()
    assert one.of_cookie(cookie) is not None
    assert other.of_cookie(cookie) is None
    assert one.of_cookie(b"") is None


@pytest.fixture
def door(clock: ManualClock) -> tuple[Guard, Sessions]:
    sessions = Sessions(clock)
    return Guard(ApiSettings(), ApiKeys({"a-long-and-random-key": "read"}), sessions), sessions


def test_a_cookie_alone_only_reads(door: tuple[Guard, Sessions]) -> None:
    guard, sessions = door
    secret = sessions.open(frozenset({"read", "operate"}))
    session = sessions.find(secret)
    assert session is not None
    cookie = (b"cookie", f"{sessions.cookie}={secret}".encode())
    proof = (b"x-csrf-token", session.csrf.encode())
    assert "operate" in guard.admit([HOST, cookie], "GET")
    assert "operate" in guard.admit([HOST, ORIGIN, cookie, proof], "POST")
    for headers in (
        [HOST, cookie],
        [HOST, ORIGIN, cookie],
        [HOST, cookie, proof],
        [HOST, ORIGIN, cookie, (b"x-csrf-token", b"")],
        [HOST, ORIGIN, cookie, (b"x-csrf-token", session.csrf[:-1].encode() + b"x")],
    ):
        with pytest.raises(ApiError, match="X-CSRF-Token") as refused:
            guard.admit(headers, "POST")
        assert refused.value.status == 403
    with pytest.raises(ApiError, match="is not this server"):
        guard.admit([HOST, (b"origin", b"http://evil.example"), cookie, proof], "POST")


def test_a_key_counts_before_a_cookie_and_an_ended_session_is_nobody(
    door: tuple[Guard, Sessions], clock: ManualClock
) -> None:
    guard, sessions = door
    cookie = (b"cookie", f"{sessions.cookie}={sessions.open(frozenset({'admin'}))}".encode())
    assert guard.admit([HOST, cookie, (b"x-api-key", b"a-long-and-random-key")], "POST") == {"read"}
    clock.set(1_000 + SESSION_LASTS_MS)
    assert guard.admit([HOST, cookie], "GET") == frozenset()
