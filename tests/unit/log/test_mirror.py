"""The mirror: the same bars as the log's, whatever happens to its files."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalibre.core.bars import Bars
from kalibre.core.clock import ManualClock
from kalibre.core.events import BarClosed, Event, new_event, series_key
from kalibre.log import mirror as module
from kalibre.log import open_log
from kalibre.log.mirror import Mirror
from kalibre.log.protocol import EventLog

KEY = series_key("BTCUSDT", "1m")


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make parts of ten bars instead of thousands, so that a few bars show everything."""
    monkeypatch.setattr(module, "_PART_FROM", 10)
    monkeypatch.setattr(module, "_MOST_PARTS", 3)
    monkeypatch.setattr(module, "_CHUNK", 7)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1)


@pytest.fixture
def log(tmp_path: Path, clock: ManualClock) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}", clock=clock) as opened:
        yield opened


def bar(minute: int, close: float = 2.0, *, trades: float | None = 3.0, key: str = KEY) -> Event:
    time = minute * 60_000
    payload = BarClosed(open_time=time, open=2.0, high=9.0, low=1.0, close=close, volume=minute + 0.1, trades=trades)
    return new_event(key, time, payload)


def from_log(log: EventLog, *, as_of: int | None = None) -> Bars:
    events = log.read(kinds={"bar"}, key=KEY, newest_revision=True, as_of=as_of)
    rows = [event.payload.bar() for event in events if isinstance(event.payload, BarClosed)]
    return Bars.from_rows("BTCUSDT", "1m", sorted(rows, key=lambda row: row.open_time))


def same(one: Bars, other: Bars) -> bool:
    columns = ("open_time", "open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_volume")
    pairs = [(getattr(one, name), getattr(other, name)) for name in columns]
    return all((a is None and b is None) or (a is not None and np.array_equal(a, b)) for a, b in pairs)


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("mirror/*/part-*.parquet"))


def test_it_grows_with_the_log_and_says_the_same(log: EventLog, tmp_path: Path) -> None:
    mirror = Mirror(log, tmp_path / "mirror")
    assert len(mirror.bars("BTCUSDT", "1m")) == 0
    counts = []
    for start in range(0, 120, 12):
        log.append([bar(minute) for minute in range(start, start + 12)], writer="s")
        log.append([bar(start, key="OTHER|1m")], writer="s")
        assert same(mirror.bars("BTCUSDT", "1m"), from_log(log))
        counts.append(len(parts(tmp_path)))
    assert counts == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1]  # merged whenever there are too many
    before = parts(tmp_path)
    log.append([bar(500)], writer="s")
    assert len(mirror.bars("BTCUSDT", "1m")) == 121  # the newest comes from the log itself
    assert parts(tmp_path) == before


def test_late_and_revised_bars_take_their_place(log: EventLog, tmp_path: Path, clock: ManualClock) -> None:
    mirror = Mirror(log, tmp_path / "mirror")
    log.append([bar(minute) for minute in range(12)], writer="s")
    mirror.bars("BTCUSDT", "1m")
    clock.set(50)
    log.append([bar(3, close=3.0), bar(20), bar(15, trades=None), bar(3, close=4.0)], writer="s")
    found = mirror.bars("BTCUSDT", "1m")
    assert same(found, from_log(log))
    assert found.close[3] == 4.0
    assert found.trades is None  # one bar does not know them
    assert same(mirror.bars("BTCUSDT", "1m", as_of=49), from_log(log, as_of=49))
    part = mirror.bars("BTCUSDT", "1m", start_ms=2 * 60_000, end_ms=5 * 60_000)
    assert part.close.tolist() == [2.0, 4.0, 2.0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 15), st.sampled_from([2.0, 3.0, 4.0])), max_size=14), max_size=6))
def test_any_order_of_bars_gives_what_the_log_says(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[int, float]]]
) -> None:
    folder = tmp_path_factory.mktemp("m")
    with open_log(f"sqlite:///{folder / 'log.sqlite'}") as log:
        mirror = Mirror(log, folder / "mirror")
        for batch in batches:
            log.append([bar(minute, close) for minute, close in batch], writer="s")
            assert same(mirror.bars("BTCUSDT", "1m"), from_log(log))


@pytest.mark.parametrize("damage", ["flip", "cut", "delete", "index", "index-cut", "foreign-index", "list-index"])
def test_a_torn_mirror_is_seen_and_built_again(
    log: EventLog, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    log.append([bar(minute) for minute in range(25)], writer="s")
    mirror = Mirror(log, tmp_path / "mirror")
    mirror.bars("BTCUSDT", "1m")
    part, index = parts(tmp_path)[0], next((tmp_path / "mirror").glob("*/index.json"))
    raw = part.read_bytes()
    match damage:
        case "flip":
            part.write_bytes(raw[:200] + bytes([raw[200] ^ 1]) + raw[201:])
        case "cut":
            part.write_bytes(raw[: len(raw) // 2])
        case "delete":
            part.unlink()
        case "index":
            index.write_text("{")
        case "index-cut":
            index.write_bytes(index.read_bytes()[:-60])
        case "foreign-index":
            index.write_text(index.read_text().replace('"position": 25', '"position": 24'))
        case "list-index":
            index.write_text("[]")
    with caplog.at_level(logging.WARNING):
        assert same(mirror.bars("BTCUSDT", "1m"), from_log(log))
    assert "is built again" in caplog.text
    caplog.clear()
    assert same(mirror.bars("BTCUSDT", "1m"), from_log(log))
    assert caplog.text == ""  # mended
    mirror.rebuild("BTCUSDT", "1m")
    assert same(mirror.bars("BTCUSDT", "1m"), from_log(log))


def test_a_mirror_of_another_log_is_not_believed(
    log: EventLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log.append([bar(minute) for minute in range(25)], writer="s")
    Mirror(log, tmp_path / "mirror").bars("BTCUSDT", "1m")
    with open_log(f"sqlite:///{tmp_path / 'other.sqlite'}") as other:
        other.append([bar(minute, close=3.0) for minute in range(25)], writer="s")
        assert same(Mirror(other, tmp_path / "mirror").bars("BTCUSDT", "1m"), from_log(other))
    assert "another event at position 25" in caplog.text


def test_a_folder_that_cannot_be_written_costs_only_speed(
    log: EventLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log.append([bar(minute) for minute in range(25)], writer="s")
    (tmp_path / "mirror").write_text("a file, where a folder is wanted")
    assert same(Mirror(log, tmp_path / "mirror").bars("BTCUSDT", "1m"), from_log(log))
    assert "cannot be written" in caplog.text


def test_a_torn_mirror_that_nobody_may_lock_is_read_from_the_log(log: EventLog, tmp_path: Path) -> None:
    log.append([bar(minute) for minute in range(25)], writer="s")
    mirror = Mirror(log, tmp_path / "mirror")
    mirror.bars("BTCUSDT", "1m")
    (folder,) = (tmp_path / "mirror").iterdir()
    (folder / "index.json").write_text("torn")
    (folder / ".lock").unlink()
    (folder / ".lock").mkdir()  # no right to write is nothing to root: a folder in its place is
    assert same(mirror.bars("BTCUSDT", "1m"), from_log(log))
