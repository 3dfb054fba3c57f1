"""The hot wire takes whole, plain requests for predict that the door lets in, and leaves every other to uvicorn."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalibre.api.answers import Decided
from kalibre.api.folds import Ledger
from kalibre.api.hot import HotWire
from kalibre.api.service import Service
from kalibre.core.events import Account, Event, Order, OrderCancelled, Signal, new_event
from kalibre.core.settings import Settings

KEY = "q7Jw-4zK9tR2mXbV8sLd"
BODY = b'{"symbol": "BTCUSDT", "features": [1.0]}'


@pytest.fixture(scope="module")
def wire() -> HotWire:
    return HotWire(Service(Settings(api={"keys": {KEY: "predict", "reader-0123456789": "read"}})))


def post(*more: str, key: str = KEY, first: str = "POST /ml/predict HTTP/1.1", length: int = len(BODY)) -> bytes:
    lines = [first, "Host: localhost:8617", f"X-API-Key: {key}", f"Content-Length: {length}", *more, "", ""]
    return "\r\n".join(lines).encode()


def test_a_whole_request_is_answered_the_first_time_and_ever_after(wire: HotWire) -> None:
    for _ in range(3):
        answer = wire.answer(post() + BODY)
        assert answer is not None
        head, _, content = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert f"content-length: {len(content)}".encode() in head
        assert json.loads(content)["signal"] == "HOLD"
    wrong = b'{"symbol": "NOPE", "features": [1.0]}'
    refused = wire.answer(post(length=len(wrong)) + wrong)
    assert refused is not None
    assert refused.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"BTCUSDT" in refused
    listed = wire.answer(
        b"GET /ml/predict?symbol=BTCUSDT HTTP/1.1\r\nHost: localhost\r\nX-API-Key: reader-0123456789\r\n\r\n"
    )
    assert listed is not None
    assert json.loads(listed.partition(b"\r\n\r\n")[2])["symbol"] == "BTCUSDT"


@pytest.mark.parametrize(
    "received",
    [
        b"",
        post()[:-2],
        post(),
        post() + BODY[:-1],
        post() + BODY + b" ",
        post() + BODY + post() + BODY,
        post("Transfer-Encoding: chunked") + BODY,
        post("Expect: 100-continue") + BODY,
        post("Connection: close") + BODY,
        post("Upgrade: h2c") + BODY,
        post("Content-Length: 7") + BODY,
        post("Host: localhost") + BODY,
        post("Origin: https://evil.example") + BODY,
        post(f"Content-Length: {len(BODY)}") + BODY,
        post("bad header") + BODY,
        post(key="wrong") + BODY,
        post(key="reader-0123456789") + BODY,
        post(first="POST /ml/predict HTTP/1.0") + BODY,
        post(first="POST /ml/predict/ HTTP/1.1") + BODY,
        post(first="POST /ml/kill HTTP/1.1") + BODY,
        post(first="PUT /ml/predict HTTP/1.1") + BODY,
        post(first="POST  /ml/predict HTTP/1.1") + BODY,
        post(first="POST /ml/predict ") + BODY,
        post("X: " + "y" * 5000) + BODY,
        post(length=-1) + BODY,
        b"GET /ml/predict?shadow=maybe HTTP/1.1\r\nHost: localhost\r\nX-API-Key: reader-0123456789\r\n\r\n",
        post().replace(b"\r\n", b"\n") + BODY,
    ],
    ids=range(27),
)
def test_anything_else_goes_the_ordinary_way(wire: HotWire, received: bytes) -> None:
    for _ in range(2):
        assert wire.answer(received) is None


@given(st.binary(max_size=200), st.integers(0, 60))
def test_no_bytes_can_break_it(tail: bytes, cut: int) -> None:
    answer = _shared_wire.answer(post()[: len(post()) - cut] + tail)
    assert answer is None or answer.startswith(b"HTTP/1.1 ")


_shared_wire = HotWire(Service(Settings(api={"keys": {KEY: "predict"}})))


def test_no_key_stays_in_memory(wire: HotWire) -> None:
    wire.answer(post() + BODY)
    assert KEY not in repr(vars(wire))
    assert KEY.encode() not in b"".join(wire._known)


def test_heads_do_not_pile_up(wire: HotWire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kalibre.api.hot._MOST_HEADS", 8)
    for number in range(50):
        assert wire.answer(post(f"X-Number: {number}") + BODY) is not None
        assert len(wire._known) <= 8


CLOSE = 900_000


def said(payload: Any, time_ms: int) -> Event:
    return new_event("BTCUSDT|15m|champion", time_ms, payload)


def test_a_ledger_stands_where_the_paper_engine_left_it() -> None:
    ledger = Ledger()
    assert ledger.holding(CLOSE) is None
    flat = Account(role="champion", cash=1.0, quantity=0.0, equity=1.0)
    long = Account(role="champion", cash=0.0, quantity=1.0, equity=1.0)
    buy = Order(model="m", role="champion", side="buy", fraction=1.0, reason="")
    sell = Order(model="m", role="champion", side="sell", fraction=1.0, reason="")
    for event in (said(buy, CLOSE), said(flat, CLOSE)):
        ledger.take(event)
    # At its own bar the order is only pending; at the next bar's open it has filled.
    assert ledger.holding(CLOSE) is False
    assert ledger.holding(2 * CLOSE) is True
    ledger.take(said(OrderCancelled(role="champion", reason=""), CLOSE))
    assert ledger.holding(2 * CLOSE) is False
    for event in (said(long, 2 * CLOSE), said(sell, 3 * CLOSE), said(long, 3 * CLOSE)):
        ledger.take(event)
    assert ledger.holding(4 * CLOSE) is False
    signal = Signal(model="m", role="champion", action="EXIT", p_up=0.1, confidence=0.8, reasons=("why",))
    ledger.take(said(signal, 3 * CLOSE))
    assert ledger.decided(3 * CLOSE, "m") == Decided("EXIT", 0.1, ("why",))
    assert ledger.decided(3 * CLOSE, "another") is None
    assert ledger.decided(4 * CLOSE, "m") is None
