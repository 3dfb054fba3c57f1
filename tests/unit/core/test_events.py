"""Payloads: canonical bytes, round trips, and nothing lost in silence."""

from __future__ import annotations

import math
import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalibre.core.errors import LogError
from kalibre.core.events import (
    BarClosed,
    Fill,
    Forecast,
    Refusal,
    decode_payload,
    encode_payload,
    new_event,
    payload_types,
    series_key,
)

prices = st.floats(min_value=1e-12, max_value=1e12, allow_nan=False)


def test_every_payload_names_its_own_kind() -> None:
    kinds = [cls.kind for cls in payload_types().values()]
    assert all(kinds)
    assert len(set(kinds)) == len(kinds)
    assert {"bar", "kill", "order", "promotion", "look"} <= set(kinds)


@given(prices, prices, st.integers(0, 2**53))
def test_a_bar_comes_back_bit_for_bit(price: float, volume: float, time: int) -> None:
    bar = BarClosed(open_time=time, open=price, high=price, low=price, close=price, volume=volume)
    assert decode_payload("bar", encode_payload(bar)) == bar


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_would_lose_is_refused(value: float) -> None:
    payload = Forecast(model="m", role="champion", horizon_bars=4, score=value, p_up=0.5)
    with pytest.raises(LogError, match=r"NaN or infinity.*None"):
        encode_payload(payload)
    assert b"null" in encode_payload(msgspec.structs.replace(payload, score=None))


def test_the_same_content_is_the_same_bytes() -> None:
    one = Refusal(model="m", failed={"ece": "0.08 > 0.05", "auc": "0.49"})
    other = Refusal(model="m", failed={"auc": "0.49", "ece": "0.08 > 0.05"})
    assert encode_payload(one) == encode_payload(other)


def test_unknown_kinds_and_foreign_content_are_named() -> None:
    with pytest.raises(LogError, match="'dream' is unknown"):
        decode_payload("dream", b"{}")
    with pytest.raises(LogError, match="does not fit"):
        decode_payload("fill", b'{"model": 3}')


def test_new_event_takes_its_kind_from_the_payload() -> None:
    fill = Fill(model="m", role="champion", side="buy", quantity=1, price=2, fee=0.1, order_time=5)
    event = new_event(series_key("BTCUSDT", "15m") + "|champion", 900_000, fill)
    assert event.identity == ("fill", "BTCUSDT|15m|champion", 900_000, 0)
    assert event.seq == 0


def test_payload_fields_hold_only_what_json_can_say() -> None:
    for cls in payload_types().values():
        for hint in typing.get_type_hints(cls).values():
            assert "ndarray" not in str(hint)
            assert "Any" not in str(hint)
