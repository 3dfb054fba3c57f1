"""The order of bars, whatever comes in: laws of `Sequence`."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kalibre.core.bars import Bar
from kalibre.sources.binance.sequence import Delivery, Sequence

STEP = 10


def bar(index: int, volume: float = 1.0) -> Bar:
    return Bar(open_time=index * STEP, open=1, high=1, low=1, close=1, volume=volume)


def fold(deliveries: list[Delivery]) -> dict[int, Bar]:
    """Return the last word on each bar; fail if one came twice unchanged, or a new one out of order."""
    known: dict[int, Bar] = {}
    for item, _ in deliveries:
        time = item.open_time
        assert known.get(time) != item, f"{time} twice"
        assert time in known or time > max(known, default=-1), f"{time} out of order"
        known[time] = item
    return known


@given(st.lists(st.integers(0, 15), max_size=40), st.lists(st.integers(0, 15), max_size=5))
def test_any_arrival_and_one_heal_give_every_bar_once_in_order(arrivals: list[int], heals_after: list[int]) -> None:
    history = [bar(i) for i in range(16)]
    sequence = Sequence(0, STEP)
    out: list[Delivery] = []
    for position, index in enumerate(arrivals):
        out += sequence.live(history[index], told_ms=(index + 1) * STEP)
        if position in heals_after:
            newest = max(arrivals[: position + 1])
            sequence.begin_healing()
            out += sequence.healed(history[: newest + 1], complete_upto=(newest + 1) * STEP)
    out += sequence.healed(history, complete_upto=16 * STEP)
    assert fold(out) == {item.open_time: item for item in history}
    assert sequence.hole is None


@given(st.data())
def test_corrections_end_at_the_exchanges_last_word(data: st.DataObject) -> None:
    """Events carry the exchange's time; they may be lost, doubled and swapped, REST is asked now and then."""
    truth: dict[int, Bar] = {}
    sequence = Sequence(0, STEP)
    out: list[Delivery] = []
    events: list[tuple[Bar, int]] = []
    now = 0
    for _ in range(data.draw(st.integers(1, 25))):
        now += 1
        index = data.draw(st.integers(0, 5))
        if index * STEP in truth or index == len(truth):
            truth[index * STEP] = bar(index, volume=float(now))
            events.append((truth[index * STEP], now))
        if events and data.draw(st.booleans()):
            item, told = events.pop(data.draw(st.integers(0, len(events) - 1)))
            out += sequence.live(item, told_ms=told)
        if truth and data.draw(st.integers(0, 4)) == 0:
            sequence.begin_healing()
            asked, snapshot = now, [truth[time] for time in sorted(truth)]
            if events and data.draw(st.booleans()):  # an event overtakes the answer
                item, told = events.pop()
                out += sequence.live(item, told_ms=told)
            out += sequence.healed(snapshot, complete_upto=asked)
    sequence.begin_healing()
    out += sequence.healed([truth[time] for time in sorted(truth)], complete_upto=now)
    known: dict[int, Bar] = {item.open_time: item for item, _ in out}
    assert known == truth


def test_what_rest_lacks_is_believed_missing_only_upto_its_time() -> None:
    sequence = Sequence(0, STEP)
    assert sequence.live(bar(4), told_ms=50) == []
    assert sequence.missing([bar(0)], complete_upto=30) == [10, 20]
    out = sequence.healed([bar(0)], complete_upto=30)
    assert [item.open_time for item, _ in out] == [0]
    assert (sequence.known_upto, sequence.hole) == (30, (30, 40))
    out = sequence.healed([], complete_upto=50)
    assert [(item.open_time, how) for item, how in out] == [(40, "received")]


def test_a_bar_that_was_believed_missing_is_delivered_when_it_comes_after_all() -> None:
    sequence = Sequence(0, STEP)
    sequence.healed([bar(0), bar(2)], complete_upto=30)
    assert [item.open_time for item, _ in sequence.live(bar(1), told_ms=99)] == [10]
    assert sequence.live(bar(1), told_ms=100) == []


def test_a_stream_newer_than_rests_answer_stands_and_asks_again() -> None:
    sequence = Sequence(0, STEP)
    sequence.live(bar(0), told_ms=10)
    sequence.begin_healing()
    corrected = msgspec.structs.replace(bar(0), volume=9.0)
    assert sequence.live(corrected, told_ms=15) == [(corrected, "received")]
    assert sequence.healed([bar(0)], complete_upto=12) == []
    assert sequence.in_doubt
    sequence.begin_healing()
    assert sequence.healed([corrected], complete_upto=20) == []
    assert not sequence.in_doubt


def test_memory_is_bounded() -> None:
    sequence = Sequence(0, STEP, memory=5)
    for index in range(100):
        sequence.live(bar(index), told_ms=index * STEP + STEP)
    assert len(sequence._delivered) == len(sequence._told_ms) == 5


def test_bars_before_the_beginning_are_none_of_its_business() -> None:
    sequence = Sequence(50, STEP)
    assert sequence.live(bar(2), told_ms=60) == []
    assert sequence.healed([bar(2)], complete_upto=50) == []


def test_an_event_older_than_rests_answer_does_not_undo_it() -> None:
    sequence = Sequence(0, STEP)
    corrected = msgspec.structs.replace(bar(0), volume=9.0)
    assert sequence.healed([corrected], complete_upto=20) == [(corrected, "backfilled")]
    assert sequence.live(bar(0), told_ms=19) == []
    assert sequence.live(bar(0), told_ms=21) == [(bar(0), "received")]
