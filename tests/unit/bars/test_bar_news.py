"""News on bars: stamped once with what was known at the close, the same live, in batches, and read again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.scripted_source import ScriptedSource
from tests.unit.bars.test_checks import STEP, walk
from tests.unit.bars.test_ingest_live import live

from kalibre.bars import bar_news
from kalibre.bars.bar_news import KnownNews, join_news
from kalibre.bars.calendars import get_calendar
from kalibre.bars.history import load_bars
from kalibre.bars.ingest import ingest_history
from kalibre.bars.news import news_rows
from kalibre.bars.resample import resample
from kalibre.bars.timeline import Timeline
from kalibre.core.bars import Bars
from kalibre.core.clock import ManualClock
from kalibre.core.events import BarClosed, Event, encode_payload, new_event
from kalibre.core.text_events import HeadlineScore
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.sources import open_source

CLOCK = ManualClock(10**13)
ALWAYS = get_calendar("24/7")
N = 60
WALK = walk(N)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


def said(at_ms: int, name: str, impact: float = 0.5, *, asset: str = "X", until_ms: int | None = -(10**12)) -> Event:
    """Return a score that counts from a time."""
    payload = HeadlineScore(
        headline=name,
        story=name,
        asset=asset,
        impact=impact,
        confidence=0.8,
        horizon="intraday",
        model="m",
        trained_until_ms=until_ms,
    )
    return new_event(f"{asset}|{name}|m", at_ms, payload)


def ingest(log: EventLog, bars: Sequence[object], *, refresh: bool = False) -> None:
    source = ScriptedSource({"X": list(bars)})
    ingest_history(log, source, "X", "15m", calendar="24/7", clock=CLOCK, refresh=refresh)


def columns(bars: Bars) -> np.ndarray:  # type: ignore[type-arg]
    zero = np.zeros(len(bars))
    return np.stack([zero if one is None else one for one in (bars.news_impact, bars.news_conf)], axis=1)


def expected(events: Sequence[Event], bars: Bars) -> np.ndarray:  # type: ignore[type-arg]
    return news_rows([(event.event_time, event.payload) for event in events], bars.close_time, {"X": 1.0})  # type: ignore[misc]


def test_bars_are_stamped_with_what_was_known_at_their_close(log: EventLog) -> None:
    told = [said(WALK[20].open_time + 1, "a"), said(WALK[30].open_time + STEP, "b", -0.9)]
    log.append([*told, said(WALK[10].open_time, "c", asset="Y")], writer="news")
    ingest(log, WALK)
    bars = load_bars(log, "X", "15m")
    assert np.array_equal(columns(bars), expected(told, bars))
    assert not columns(bars)[:20].any()
    assert columns(bars)[20, 0] > 0
    assert columns(bars)[30, 0] < columns(bars)[29, 0], "known at the very close"


def test_a_bar_without_news_is_the_same_bytes_as_ever(log: EventLog) -> None:
    ingest(log, WALK)
    payload = log.read(kinds={"bar"})[0].payload
    assert b"news" not in encode_payload(payload)
    assert load_bars(log, "X", "15m").news_conf is None
    prices = b'{"open_time":0,"open":1.0,"high":1.0,"low":1.0,"close":1.0,"volume":1.0'
    old = prices + b',"quote_volume":null,"trades":null,"taker_buy_volume":null}'
    assert encode_payload(msgspec.json.decode(old, type=BarClosed)) == old


@pytest.mark.parametrize("until_ms", [None, WALK[20].open_time + 2])
def test_a_score_that_may_know_the_future_stamps_nothing(log: EventLog, until_ms: int | None) -> None:
    log.append([said(WALK[20].open_time + 1, "a", until_ms=until_ms)], writer="news")
    ingest(log, WALK)
    assert load_bars(log, "X", "15m").news_conf is None
    done = join_news(log, "X", "15m", relevance={"X": 1.0}, calendar=ALWAYS, clock=CLOCK)
    assert (done.bars, done.changed, done.refused_scores) == (N, 0, 1)


def test_a_stored_bar_keeps_its_news_whatever_comes_later(log: EventLog) -> None:
    log.append([said(WALK[20].open_time + 1, "a")], writer="news")
    ingest(log, WALK)
    before, head = load_bars(log, "X", "15m"), log.head()
    log.append([said(WALK[10].open_time, "late", -1.0)], writer="news")
    ingest(log, WALK, refresh=True)
    assert log.head() == head + 1, "read again, nothing was written"
    mended = [*WALK[:25], msgspec.structs.replace(WALK[25], volume=WALK[25].volume + 1), *WALK[26:]]
    ingest(log, mended, refresh=True)
    after = load_bars(log, "X", "15m")
    assert after.volume[25] == before.volume[25] + 1
    assert np.array_equal(columns(after), columns(before))
    assert len(log.read(kinds={"bar"})) == N + 1


def test_an_archive_is_joined_once_and_only_by_request(log: EventLog) -> None:
    ingest(log, WALK)
    told = [said(WALK[20].open_time + 1, "a"), said(WALK[40].open_time + 7, "b", -0.3)]
    log.append(told, writer="news")
    assert load_bars(log, "X", "15m").news_conf is None
    done = join_news(log, "X", "15m", relevance={"X": 1.0}, calendar=ALWAYS, clock=CLOCK, end_ms=WALK[50].open_time)
    assert (done.bars, done.changed) == (50, 30)
    bars = load_bars(log, "X", "15m")
    assert np.array_equal(columns(bars)[:50], expected(told, bars)[:50])
    assert not columns(bars)[50:].any()
    again = join_news(log, "X", "15m", relevance={"X": 1.0}, calendar=ALWAYS, clock=CLOCK, end_ms=WALK[50].open_time)
    assert again.changed == 0


def test_a_live_bar_is_stamped_and_not_doubted_when_it_comes_again(log: EventLog) -> None:
    """A bar repeated by the exchange has no news of its own: that is no correction, and the source is not asked."""
    source = ScriptedSource({"X": WALK})
    ingest_history(log, source, "X", "15m", calendar="24/7", clock=CLOCK, end_ms=40 * STEP)
    log.append([said(WALK[40].open_time + 1, "a")], writer="news")
    source.say("X", *WALK[40:45], WALK[44], *WALK[45:])
    source.asked.clear()
    live(log, source)
    bars = load_bars(log, "X", "15m")
    assert len(log.read(kinds={"bar"})) == len(bars) == N
    assert not log.read(kinds={"quarantine"})
    assert columns(bars)[40:].any(axis=1).all()
    assert source.asked == []


SCORES = st.lists(
    st.tuples(st.integers(-30 * STEP, N * STEP), st.sampled_from("abcde"), st.floats(-1, 1), st.sampled_from("XY")),
    max_size=12,
)


def _events(drawn: Sequence[tuple[int, str, float, str]]) -> list[Event]:
    first = WALK[0].open_time
    found = {(at, name, asset): said(first + at, name, impact, asset=asset) for at, name, impact, asset in drawn}
    return list(found.values())


def _stamps(events: Sequence[Event], cuts: Sequence[int], folder: Path) -> np.ndarray:  # type: ignore[type-arg]
    """Ingest in parts; before each part, the scores that count by its end are recorded."""
    known: set[int] = set()
    with open_log(f"sqlite:///{folder / 'log.sqlite'}") as log:
        for cut in sorted({*cuts, N}):
            end = WALK[cut - 1].open_time + STEP
            now = [event for event in events if event.event_time <= end and id(event) not in known]
            known |= {id(event) for event in now}
            log.append(now, writer="news")
            ingest(log, WALK[:cut])
        return columns(load_bars(log, "X", "15m"))


@given(SCORES, st.lists(st.integers(1, N), max_size=4))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_news_do_not_depend_on_how_bars_come_in(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[int, str, float, str]], cuts: list[int]
) -> None:
    events = _events(drawn)
    bars = Bars.from_rows("X", "15m", WALK)
    wanted = expected([event for event in events if event.payload.asset == "X"], bars)  # type: ignore[attr-defined]
    assert np.array_equal(_stamps(events, cuts, tmp_path_factory.mktemp("parts")), wanted)


def test_a_stamp_that_looks_a_bar_ahead_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted failure: closes that lie a bar too late."""
    right = KnownNews.rows
    ahead = lambda self, log, closes: right(self, log, [close + STEP for close in closes])  # noqa: E731
    monkeypatch.setattr(bar_news.KnownNews, "rows", ahead)
    events = _events([(20 * STEP, "a", 0.7, "X")])
    found = _stamps(events, [N], tmp_path)
    assert not np.array_equal(found, expected(events, Bars.from_rows("X", "15m", WALK)))


def test_every_reader_of_bars_brings_the_news_along(log: EventLog, tmp_path: Path) -> None:
    log.append([said(WALK[20].open_time + 1, "a"), said(WALK[40].open_time + 7, "b", -0.3)], writer="news")
    ingest(log, WALK)
    bars = load_bars(log, "X", "15m")
    for other in (
        load_bars(log, "X", "15m", mirror_dir=tmp_path / "mirror"),
        Bars.from_rows("X", "15m", list(bars)),
        Bars.from_frame(bars.to_frame(), symbol="X", timeframe="15m"),
        _line(log).history(),
    ):
        assert np.array_equal(columns(other), columns(bars))
    hours = resample(bars, "1h")
    at = np.searchsorted(bars.close_time, hours.close_time)
    assert np.array_equal(columns(hours), columns(bars)[at])


def _line(log: EventLog) -> Timeline:
    line = Timeline("X", "15m", keep=200)
    for event in log.read(kinds={"bar"}):
        line.take(event)
    return line


def test_a_replay_of_another_log_is_stamped_as_that_was(log: EventLog, tmp_path: Path) -> None:
    told = [said(WALK[20].open_time + 1, "a"), said(WALK[40].open_time + 7, "b", -0.3)]
    log.append(told, writer="news")
    ingest(log, WALK)
    url = f"sqlite:///{tmp_path / 'other.sqlite'}"
    source = open_source("replay", log_url=f"sqlite:///{tmp_path / 'log.sqlite'}")
    with open_log(url) as other:
        for _ in range(2):
            ingest_history(other, source, "X", "15m", calendar="24/7", clock=CLOCK)
        assert np.array_equal(columns(load_bars(other, "X", "15m")), columns(load_bars(log, "X", "15m")))
        assert len(other.read(kinds={"headline_score"})) == 2


def test_asking_for_older_bars_reads_older_scores(log: EventLog) -> None:
    log.append([said(WALK[2].open_time + 1, "a"), said(WALK[50].open_time + 1, "b")], writer="news")
    news = KnownNews({"X": 1.0})
    late = 400 * 96 * STEP + WALK[0].open_time
    assert not news.rows(log, [late]).any()
    assert news.rows(log, [WALK[2].open_time + STEP])[0, 0] > 0
