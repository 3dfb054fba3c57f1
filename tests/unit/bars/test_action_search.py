"""Corporate actions as bars come in: written before the bar they explain, the same in whatever pieces it came."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.scripted_source import ScriptedSource

from kalibre.bars.action_search import WRITER, ActionSearch
from kalibre.bars.calendars import breaks_limit, get_calendar, session_start, sessions_between
from kalibre.bars.history import load_actions, load_bars, undecided_actions
from kalibre.bars.ingest import heal_gaps, ingest_history, ingest_live
from kalibre.bars.live import LiveSettings
from kalibre.bars.report import IngestReport
from kalibre.bars.timeline import Timeline
from kalibre.core.bars import Bar
from kalibre.core.clock import ManualClock
from kalibre.core.errors import SourceUnavailableError
from kalibre.core.events import BarClosed, CorporateAction, Event, new_event
from kalibre.log import open_log
from kalibre.log.protocol import EventLog

XIST = get_calendar("XIST")
DAYS = XIST.expected_opens("1d", 1_672_531_200_000, 1_704_067_200_000)
CLOCK = ManualClock(10**13)
SETTINGS = LiveSettings(poll_s=0.005, retry_ms=0, heal_patience_s=5.0, backfill_bars=0)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


def share(
    n: int = 60,
    *,
    splits: Mapping[int, float] | None = None,
    nights: Mapping[int, float] | None = None,
    timeframe: str = "1d",
    seed: int = 3,
) -> list[Bar]:
    """Return bars as they are traded: `splits` by session, and `nights` whose move is given (open over close)."""
    rng = np.random.default_rng(seed)
    opens = XIST.expected_opens(timeframe, int(DAYS[0]), int(DAYS[n - 1]) + 86_400_000)
    sessions = (np.searchsorted(DAYS, opens, side="right") - 1).tolist()
    price, scale, bars, before = 90.0, 1.0, [], -1
    for time, session in zip(opens.tolist(), sessions, strict=True):
        if session != before:
            scale *= (splits or {}).get(session, 1.0)
            price *= (nights or {}).get(session, math.exp(rng.normal(0, 0.004)))
            before = session
        close = price * math.exp(rng.normal(0, 0.012 if timeframe == "1d" else 0.004))
        high, low = max(price, close) * 1.002, min(price, close) * 0.998
        traded = {"open": price, "high": high, "low": low, "close": close}
        volume = 1e6 * math.exp(rng.normal(0, 0.2)) * scale
        bars.append(Bar(open_time=time, volume=volume, **{name: one / scale for name, one in traded.items()}))
        price = close
    return bars


def ingest(log: EventLog, source: ScriptedSource, timeframe: str = "1d", **options: object) -> IngestReport:
    return ingest_history(log, source, "X", timeframe, calendar="XIST", clock=CLOCK, **options)  # type: ignore[arg-type]


def live(log: EventLog, source: ScriptedSource, timeframe: str = "1d") -> IngestReport:
    running = ingest_live(
        log, source, ["X"], timeframe, calendar="XIST", clock=CLOCK, should_stop=lambda: False, settings=SETTINGS
    )
    return asyncio.run(asyncio.wait_for(running, 30))["X"]


def said(log: EventLog) -> list[tuple[int, int, str, float]]:
    """(session, revision, status, factor) of every action, in the order of the log."""
    return [
        (int(np.searchsorted(DAYS, e.event_time)), e.revision, e.payload.status, round(e.payload.factor, 2))
        for e in log.read(kinds={"corporate_action"})
        if isinstance(e.payload, CorporateAction)
    ]


def unexplained(events: Sequence[Event], timeframe: str = "1d", *, decided: bool = True) -> list[int]:
    """Return sessions that open beyond the limit with no action (`decided`: none confirmed) before them in the log."""
    first: dict[int, tuple[int, Bar]] = {}
    last: dict[int, Bar] = {}
    known: dict[int, int] = {}
    for event in events:
        match event.payload:
            case BarClosed() as bar if event.key == f"X|{timeframe}":
                row = bar.bar()
                day = int(XIST.session_date(np.array([event.event_time]))[0])
                first.setdefault(day, (event.seq, row))
                last[day] = row
            case CorporateAction(status=status) if status == "confirmed" or not decided:
                known.setdefault(event.event_time, event.seq)
    days = sorted(first)
    wrong = []
    for before, day in pairwise(days):
        seq, bar = first[day]
        overnight, move = (math.log(x / last[before].close) for x in (bar.open, bar.close))
        between = sessions_between(XIST, last[before].open_time, bar.open_time)
        if breaks_limit(overnight, move, between, 0.1) and known.get(session_start(XIST, day), seq) >= seq:
            wrong.append(int(np.searchsorted(DAYS, day * 86_400_000)))
    return wrong


# --- live -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "dropped"), [(3.0, ()), (1.15, ()), (3.0, (49, 50)), (1.15, (50, 51)), (3.0, (52,))]
)
def test_a_live_action_is_confirmed_before_its_bar_with_bars_dropped_around_it(
    log: EventLog, factor: float, dropped: tuple[int, ...]
) -> None:
    bars = share(splits={50: factor}, nights={50: 1.002})
    source = ScriptedSource({"X": bars}, timeframe="1d")
    ingest(log, source, end_ms=bars[48].open_time)
    source.say("X", *(bar for i, bar in enumerate(bars[48:], 48) if i not in dropped))
    report = live(log, source)
    assert unexplained(log.read()) == []
    assert [(session, status) for session, _, status, _ in said(log)] == [(50, "detected"), (50, "confirmed")]
    assert said(log)[1][3] == factor
    assert report.actions == [f"{day(50)} confirmed factor {factor:g}"]
    assert not report.quarantined
    assert list(load_bars(log, "X", "1d", adjusted=False)) == bars
    adjusted = load_bars(log, "X", "1d")
    assert np.abs(np.diff(np.log(adjusted.close))).max() < 0.08
    line = Timeline("X", "1d", keep=100)
    for event in log.read():
        line.take(event)
        assert line.undecided_ms is None  # never a moment in which trading has to hold
    assert line.bars() == list(adjusted)


def day(session: int) -> str:
    return str(np.datetime64(int(DAYS[session]), "ms"))[:10]


def test_a_live_intraday_action_holds_trading_until_three_sessions_confirm_it(log: EventLog) -> None:
    bars = share(splits={40: 3.0}, nights={40: 1.002}, timeframe="1h")
    source = ScriptedSource({"X": bars}, timeframe="1h")
    ingest(log, source, "1h", end_ms=int(DAYS[39]))
    source.say("X", *(bar for bar in bars if bar.open_time >= DAYS[39]))
    live(log, source, "1h")
    assert said(log) == [(40, 0, "detected", 2.99), (40, 1, "confirmed", 3.0)]
    assert unexplained(log.read(), "1h", decided=False) == []
    line, frozen = Timeline("X", "1h", keep=10_000), set()
    for event in log.read():
        line.take(event)
        if line.undecided_ms is not None and event.kind == "bar":
            frozen.add(int(np.searchsorted(DAYS, event.event_time, side="right")) - 1)
    assert frozen == {40, 41, 42}
    assert np.abs(np.diff(np.log(load_bars(log, "X", "1h").close))).max() < 0.08


def test_the_series_of_a_symbol_share_one_action(log: EventLog) -> None:
    options = {"splits": {40: 3.0, 50: 2.0}, "nights": {40: 1.002, 50: 0.998}}
    hourly, daily = share(timeframe="1h", **options), share(**options)  # type: ignore[arg-type]
    ingest(log, ScriptedSource({"X": hourly}, timeframe="1h"), "1h", end_ms=int(DAYS[51]))
    assert [one[:3] for one in said(log)] == [(40, 0, "detected"), (40, 1, "confirmed"), (50, 0, "detected")]
    ingest(log, ScriptedSource({"X": daily}, timeframe="1d"))  # knows enough to settle what the hours could not yet
    ingest(log, ScriptedSource({"X": hourly}, timeframe="1h"), "1h")
    assert [one[:3] for one in said(log)][3:] == [(50, 1, "confirmed")]
    for timeframe in ("1h", "1d"):
        assert np.abs(np.diff(np.log(load_bars(log, "X", timeframe).close))).max() < 0.08


# --- what is none -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeframe", ["1d", "1h"])
@pytest.mark.parametrize("ratio", [0.901, 1.099])
def test_a_real_move_to_the_limit_is_no_action(log: EventLog, timeframe: str, ratio: float) -> None:
    bars = share(nights={45: ratio, 46: ratio}, timeframe=timeframe)
    source = ScriptedSource({"X": bars}, timeframe=timeframe)
    ingest(log, source, timeframe, end_ms=int(DAYS[44]))
    source.say("X", *(bar for bar in bars if bar.open_time >= DAYS[44]))
    live(log, source, timeframe)
    assert said(log) == []
    assert list(load_bars(log, "X", timeframe)) == bars


def test_what_a_pause_allows_is_rejected_with_the_reason(log: EventLog) -> None:
    bars = share(nights={45: 1.36})
    source = ScriptedSource({"X": bars[:44] + bars[45:]}, timeframe="1d")  # one session without trading before it
    ingest(log, source)
    assert [one[:3] for one in said(log)] == [(45, 0, "detected"), (45, 1, "rejected")]
    assert "2 sessions after it: such a pause allows the limit 2 times" in newest(log).evidence


def test_an_open_beyond_the_limit_that_the_session_takes_back_is_rejected(log: EventLog) -> None:
    bars = share(nights={45: 0.87}, timeframe="1h")
    at = next(i for i, bar in enumerate(bars) if bar.open_time >= DAYS[45])
    back = [times(bar, 1.09) if i > at else bar for i, bar in enumerate(bars)]
    ingest(log, ScriptedSource({"X": back}, timeframe="1h"), "1h")
    assert [one[:3] for one in said(log)] == [(45, 0, "detected"), (45, 1, "rejected")]
    assert "within the limit: a trade's doing" in newest(log).evidence


def times(bar: Bar, factor: float) -> Bar:
    prices = {name: getattr(bar, name) * factor for name in ("open", "high", "low", "close")}
    return Bar(open_time=bar.open_time, volume=bar.volume, **prices)


def newest(log: EventLog) -> CorporateAction:
    event = log.latest("corporate_action")
    assert event is not None
    assert isinstance(event.payload, CorporateAction)
    return event.payload


def test_an_impossible_move_that_is_no_factor_waits_for_a_person(log: EventLog) -> None:
    ingest(log, ScriptedSource({"X": share(nights={45: 1.31})}, timeframe="1d"))
    assert [one[:3] for one in said(log)] == [(45, 0, "detected"), (45, 1, "detected")]
    assert [one.event_time for one in undecided_actions(log, "X")] == [int(DAYS[45])]
    assert load_actions(log, "X") == []


def test_too_short_a_history_leaves_it_to_a_person(log: EventLog) -> None:
    ingest(log, ScriptedSource({"X": share(20, splits={3: 2.0})}, timeframe="1d"))
    assert [one[:3] for one in said(log)] == [(3, 0, "detected"), (3, 1, "detected")]
    assert "only 3 session(s)" in newest(log).evidence


# --- what a person decided --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["confirmed", "rejected"])
def test_what_a_person_decided_is_never_overwritten(log: EventLog, status: str) -> None:
    bars = share(splits={45: 3.0}, timeframe="1h")
    source = ScriptedSource({"X": bars}, timeframe="1h")
    ingest(log, source, "1h", end_ms=int(DAYS[46]))
    word = CorporateAction(factor=2.5, status=status, evidence=f"{status} by ayse")  # type: ignore[arg-type]
    log.append([new_event("X", int(DAYS[45]), word)], writer="person")
    ingest(log, source, "1h")
    ingest(log, ScriptedSource({"X": share(splits={45: 3.0})}, timeframe="1d"), refresh=True)
    ingest(log, source, "1h", refresh=True)
    assert [one[1:3] for one in said(log)] == [(0, "detected"), (1, status)]


def test_an_action_announced_beforehand_is_not_found_again(log: EventLog) -> None:
    word = CorporateAction(factor=3.0, status="confirmed", evidence="added by ayse")
    holiday = int(DAYS[45]) - 86_400_000  # a person may name a day on which nothing is traded
    assert holiday not in DAYS
    log.append([new_event("X", holiday, word)], writer="person")
    ingest(log, ScriptedSource({"X": share(splits={45: 3.0})}, timeframe="1d"))
    assert len(said(log)) == 1
    assert np.abs(np.diff(np.log(load_bars(log, "X", "1d").close))).max() < 0.08


@pytest.mark.parametrize("timeframe", ["1d", "1h"])
def test_an_announced_action_keeps_no_bar_waiting(log: EventLog, timeframe: str) -> None:
    bars = share(splits={45: 3.0}, nights={45: 1.01}, timeframe=timeframe)
    source = ScriptedSource({"X": bars}, timeframe=timeframe)
    ingest(log, source, timeframe, end_ms=int(DAYS[45]))
    log.append([new_event("X", int(DAYS[45]), CorporateAction(factor=3.0, status="confirmed"))], writer="person:ayse")
    first = next(bar for bar in bars if bar.open_time >= DAYS[45])
    source.say("X", first)
    report = live(log, source, timeframe)
    assert (report.bars_written, report.held) == (1, ())
    assert load_bars(log, "X", timeframe, adjusted=False)[-1] == first


def test_an_announced_action_that_the_prices_do_not_show_is_doubted_aloud(
    log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.append([new_event("X", int(DAYS[45]), CorporateAction(factor=3.0, status="confirmed"))], writer="person:ayse")
    ingest(log, ScriptedSource({"X": share()}, timeframe="1d", chunk=5))
    assert caplog.text.count(f"the corporate action of {day(45)} has factor 3") == 1
    assert f"`kalibre actions reject X {day(45)}` takes it back" in caplog.text
    assert len(said(log)) == 1


# --- in any pieces ----------------------------------------------------------------------------------------------------

ROUGH = {"splits": {30: 3.0, 41: 1.15, 55: 0.5}, "nights": {20: 0.901, 30: 1.001, 41: 0.999, 47: 1.31, 55: 1.0}}


def content(log: EventLog) -> list[tuple[object, object]]:
    assert log.check() == []
    return sorted((event.identity, repr(event.payload)) for event in log.read() if event.kind != "tick")


@pytest.fixture(scope="module")
def at_once(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[object, object]]]:
    found = {}
    for timeframe in ("1d", "1h"):
        with open_log(f"sqlite:///{tmp_path_factory.mktemp('once')}/{timeframe}.sqlite") as log:
            ingest(log, ScriptedSource({"X": rough(timeframe)}, timeframe=timeframe, chunk=10_000), timeframe)
            found[timeframe] = content(log)
            wanted = {30: "confirmed", 41: "confirmed", 47: "detected", 55: "confirmed"}
            assert {session: status for session, _, status, _ in said(log)} == wanted
    return found


def rough(timeframe: str) -> list[Bar]:
    return share(66, timeframe=timeframe, **ROUGH)  # type: ignore[arg-type]


@given(st.sampled_from(["1d", "1h"]), st.integers(2, 30), st.lists(st.integers(0, 65), max_size=3), st.booleans())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_whatever_pieces_it_comes_the_events_are_the_same(
    tmp_path: Path, at_once: dict[str, list[tuple[object, object]]], timeframe: str, chunk: int, cuts: list[int],
    rising: bool,
) -> None:  # fmt: skip
    chunk *= 1 if timeframe == "1d" else 8
    source = ScriptedSource({"X": rough(timeframe)}, timeframe=timeframe, chunk=chunk)
    path = tmp_path / "log.sqlite"
    path.unlink(missing_ok=True)
    with open_log(f"sqlite:///{path}") as log:
        for cut in sorted(cuts) if rising else cuts:
            ingest(log, source, timeframe, end_ms=int(DAYS[cut]) + 1)
        broken(source, chunk_at=len(cuts) + 1)
        with contextlib.suppress(SourceUnavailableError):  # it may be through before that
            ingest(log, source, timeframe)
        del source.history  # type: ignore[method-assign]
        ingest(log, source, timeframe)
        head = log.head()
        ingest(log, source, timeframe)
        ingest(log, source, timeframe, refresh=True)
        assert log.head() == head
        assert content(log) == at_once[timeframe]


def broken(source: ScriptedSource, *, chunk_at: int) -> None:
    """Let the history break off after some chunks."""
    whole = source.history

    def history(symbol: str, timeframe: str, **span: int | None):  # type: ignore[no-untyped-def]
        for i, chunk in enumerate(whole(symbol, timeframe, **span)):
            if i == chunk_at:
                raise SourceUnavailableError("the line broke")
            yield chunk

    source.history = history  # type: ignore[method-assign, assignment]


@given(st.integers(1, 65), st.integers(3, 40))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_longer_history_ingested_later_ends_the_same(
    tmp_path: Path, at_once: dict[str, list[tuple[object, object]]], start: int, chunk: int
) -> None:
    """Older bars come after newer ones: what was said too early about the first sessions is taken back or kept."""
    path = tmp_path / "log.sqlite"
    path.unlink(missing_ok=True)
    source = ScriptedSource({"X": rough("1d")}, timeframe="1d", chunk=chunk)
    with open_log(f"sqlite:///{path}") as log:
        ingest(log, source, start_ms=int(DAYS[start]))
        ingest(log, source, start_ms=int(DAYS[0]))
        ends = {session: (status, factor) for session, _, status, factor in said(log)}
        assert {s: e[0] for s, e in ends.items()} == {30: "confirmed", 41: "confirmed", 47: "detected", 55: "confirmed"}


def test_live_says_the_same_as_history(log: EventLog, at_once: dict[str, list[tuple[object, object]]]) -> None:
    bars = rough("1h")
    source = ScriptedSource({"X": bars}, timeframe="1h")
    ingest(log, source, "1h", end_ms=int(DAYS[10]))
    source.say("X", *(bar for bar in bars if bar.open_time >= DAYS[10]))
    live(log, source, "1h")
    assert content(log) == at_once["1h"]


def test_a_split_whose_session_was_missing_moves_to_its_day_when_the_bars_come(log: EventLog) -> None:
    bars = share(splits={45: 4.0})
    source = ScriptedSource({"X": bars}, timeframe="1d")
    for session in (44, 45):
        source.hidden["X", bars[session].open_time] = 3
    ingest(log, source)
    assert [one[:3] for one in said(log)][-1] == (46, 1, "confirmed")
    for _ in range(2):  # the first time the source has them as little as before
        heal_gaps(log, source, "X", "1d", calendar="XIST", clock=CLOCK)
    assert [(one.event_time, one.action.factor) for one in load_actions(log, "X")] == [(int(DAYS[45]), 4.0)]
    assert {(session, status) for session, _, status, _ in said(log)[2:]} == {
        (45, "detected"),
        (45, "confirmed"),
        (46, "rejected"),
    }
    assert list(load_bars(log, "X", "1d", adjusted=False)) == bars
    assert np.abs(np.diff(np.log(load_bars(log, "X", "1d").close))).max() < 0.08


# --- other exchanges, and the planted failure -------------------------------------------------------------------------


def test_where_nothing_limits_a_move_only_the_finding_is_written(log: EventLog) -> None:
    days = get_calendar("XNYS").expected_opens("1d", 1_672_531_200_000, 1_704_067_200_000)
    bars = [
        Bar(open_time=int(time), volume=bar.volume, open=bar.open, high=bar.high, low=bar.low, close=bar.close)
        for time, bar in zip(days, share(splits={45: 4.0}, nights={30: 0.82}), strict=False)
    ]
    source = ScriptedSource({"X": bars}, timeframe="1d", chunk=7)
    ingest_history(log, source, "X", "1d", calendar="XNYS", clock=CLOCK)
    [action] = log.read(kinds={"corporate_action"})
    assert (action.event_time, action.revision, newest(log).status) == (int(days[45]), 0, "confirmed")
    [bar] = log.read(kinds={"bar"}, start_ms=int(days[45]), end_ms=int(days[45]) + 1)
    assert action.seq < bar.seq


def test_an_exchange_that_opens_on_the_day_before_in_utc_has_one_start_for_all_its_series() -> None:
    wellington = get_calendar("XNZE")
    daily = wellington.expected_opens("1d", 1_704_067_200_000, 1_706_745_600_000)
    hours = wellington.expected_opens("1h", 1_704_067_200_000, 1_706_745_600_000)
    for time in daily.tolist()[1:]:
        start = session_start(wellington, time // 86_400_000)
        of_day = wellington.session_date(hours) * 86_400_000
        assert (hours[of_day < time] < start).all()
        assert (hours[of_day >= time] >= start).all()
        assert (daily[daily < time] < start).all()


def test_an_ingest_that_forgets_the_action_is_caught(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = share(splits={45: 3.0}, nights={45: 1.002})

    def forget(self: ActionSearch, log: EventLog, events: Sequence[Event]) -> list[Event]:
        return list(events)

    with monkeypatch.context() as planted:
        planted.setattr(ActionSearch, "explain", forget)
        planted.setattr(ActionSearch, "settle", lambda self, log: [])
        ingest(log, ScriptedSource({"X": bars}, timeframe="1d"))
    assert unexplained(log.read()) == [45]
    # And one that says it too late: the next reading mends the scale, but the bar was there before.
    ingest(log, ScriptedSource({"X": bars}, timeframe="1d"), refresh=True)
    assert [one.event_time for one in load_actions(log, "X")] == [int(DAYS[45])]
    assert unexplained(log.read()) == [45]
    assert all(event.writer == WRITER for event in log.read(kinds={"corporate_action"}))
