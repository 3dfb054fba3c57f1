"""The hub's view: what it shows is what the log says, whichever way it came to know it, and it stays small."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.hub_log import HubLog

from kalibre.api import hub_view
from kalibre.api._hub_board import MOST_CELLS, Board, Ring
from kalibre.api._hub_fold import LIVE_WINDOW, N_POINTS, Fold, reward_of
from kalibre.api.hub_view import HubView
from kalibre.core.events import BarClosed, Forecast, Gap, Outcome, new_event
from kalibre.core.hub_events import Command
from kalibre.core.settings import Settings
from kalibre.log import open_log
from kalibre.log.protocol import EventLog

STEP_MS = 900_000
NOW_MS = 1_750_000_000_000 // STEP_MS * STEP_MS
KEY = "BTCUSDT|15m"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, market={"symbols": ("BTCUSDT", "ETHUSDT")})


@pytest.fixture
def log(settings: Settings) -> Iterator[EventLog]:
    with open_log(settings.log_url) as opened:
        yield opened


def _until(holds: Any, *, timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def told(view: HubView, seq: int = 0, series: str = KEY) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(view.since(seq, series))
    return found


def drawn(settings: Settings, log: EventLog) -> HubView:
    view = HubView(settings, lambda: log)
    view.draw_once()
    return view


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 99)), max_size=60), st.integers(1, 8), st.booleans())
def test_a_ring_keeps_the_newest_and_tells_what_is_new(puts: list[tuple[int, int]], size: int, by_id: bool) -> None:
    """Whoever applies what is newer to what it had, has what the ring has."""
    ring = Ring(size, by_id=by_id)
    copy: dict[int, tuple[int, int]] = {}
    seen = 0
    for seq, (name, value) in enumerate(puts, start=1):
        ring.put(name, (name, value), seq)
        if value % 3 == 0 or seq == len(puts):
            whole, points = ring.newer(seen)
            if whole:
                copy = {}
            for point in points:
                if not by_id:
                    copy.pop(point[0], None)
                copy[point[0]] = point
            if by_id:
                copy = dict(sorted(copy.items()))
            copy = dict(list(copy.items())[-size:])
            seen = seq
            assert list(copy.values()) == ring.values()
    assert len(ring) <= size
    if by_id:
        assert (
            ring.values() == [one for _, one in sorted({name: (name, value) for name, value in puts}.items())][-size:]
        )


def test_a_look_at_the_newest_shows_what_following_every_event_shows(settings: Settings, log: EventLog) -> None:
    made = HubLog(log, now_ms=NOW_MS, n_bars=400)
    made.write()
    followed = Board()
    fold = Fold(followed, fee=5e-4)
    for event in log.read():
        fold.take(event)
    followed.seq = log.head()
    view = drawn(settings, log)
    whole = json.loads(hub_view.encode(followed.since(0, lambda name: name.startswith(KEY) and "/./" not in name)))
    seen = told(view)
    assert seen["seq"] == log.head()
    for name, cell in whole["cells"].items():
        assert seen["cells"][name] == cell, name
    for name, ring in whole["rings"].items():
        assert seen["rings"][name]["points"] == ring["points"], name


def test_figures_are_those_of_the_outcomes(settings: Settings, log: EventLog) -> None:
    HubLog(log, now_ms=NOW_MS, n_bars=300).write()
    outcomes = [
        event.payload
        for event in sorted(log.read(kinds={"outcome"}, key=f"{KEY}|online"), key=lambda event: event.event_time)
        if isinstance(event.payload, Outcome)
    ][-LIVE_WINDOW:]
    live = told(drawn(settings, log))["cells"][f"{KEY}/live/online"]["v"]
    right = sum((one.p_up > 0.5) == one.went_up for one in outcomes) / len(outcomes)
    reward = sum(one.log_return - 1e-3 for one in outcomes if one.p_up > 0.5) / len(outcomes)
    assert live["n"] == LIVE_WINDOW
    assert live["accuracy"] == pytest.approx(right, abs=1e-6)
    assert live["reward"] == pytest.approx(reward, abs=1e-8)
    assert f"{KEY}/live/ensemble" in told(drawn(settings, log))["cells"], "joined by time: nobody says its outcomes"
    assert reward_of(0.5, 1.0, 0.1) == 0.0


def test_points_are_bounded_however_long_the_log_is(settings: Settings, log: EventLog) -> None:
    HubLog(log, now_ms=NOW_MS, n_bars=N_POINTS + 120).write()
    seen = told(drawn(settings, log))
    assert len(seen["rings"][f"{KEY}/bars"]["points"]) == N_POINTS
    assert all(len(ring["points"]) <= N_POINTS for ring in seen["rings"].values())
    assert not any("/./" in name for name in seen["rings"])
    assert not any(name.startswith("ETHUSDT") for name in seen["rings"]), "only the series that is looked at"
    assert any(name.startswith("ETHUSDT") for name in seen["cells"])


def test_what_is_newer_than_a_position_is_all_and_only_that(settings: Settings, log: EventLog) -> None:
    made = HubLog(log, now_ms=NOW_MS, n_bars=60)
    made.write()
    before = told(drawn(settings, log))
    made.next_bar()
    view = drawn(settings, log)
    news = told(view, before["seq"])
    assert news["seq"] == log.head()
    assert [len(news["rings"][f"{KEY}/{name}"]["points"]) for name in ("bars", "p/online")] == [1, 1]
    assert news["rings"][f"{KEY}/bars"]["whole"] is False
    assert told(view, news["seq"])["cells"] == {}
    assert told(view, news["seq"] + 999)["cells"] != {}, "a position of another log: everything"


def test_a_back_filled_bar_finds_its_place_and_the_newest_stays(settings: Settings, log: EventLog) -> None:
    def bar(open_ms: int, close: float) -> BarClosed:
        return BarClosed(open_time=open_ms, open=close, high=close, low=close, close=close, volume=1.0)

    times = [NOW_MS + k * STEP_MS for k in range(4)]
    for time_ms in (times[0], times[1], times[3], times[2]):
        log.append([new_event(KEY, time_ms, bar(time_ms, float(time_ms % 1_000_003)))], writer="test")
    log.append([new_event(KEY, times[1], bar(times[1], 7.0))], writer="test")
    forecast = {"model": "m", "role": "online", "horizon_bars": 4, "score": None}
    for time_ms, p_up in ((times[3] + STEP_MS, 0.6), (times[2] + STEP_MS, 0.4)):
        log.append([new_event(f"{KEY}|online", time_ms, Forecast(p_up=p_up, **forecast))], writer="test")
    seen = told(drawn(settings, log))
    bars = seen["rings"][f"{KEY}/bars"]["points"]
    assert [one[0] for one in bars] == times
    assert bars[1][4] == 7.0
    assert seen["cells"][f"{KEY}/bar"]["at"] == times[3] + STEP_MS
    assert seen["cells"][f"{KEY}/forecast/online"]["v"]["p_up"] == 0.6, "an older bar's forecast is not the newest"


def test_gaps_are_counted_as_they_stand_now() -> None:
    board = Board()
    fold = Fold(board, fee=0.0)
    for revision, status in enumerate(("open", "healed")):
        gap = Gap(start_ms=NOW_MS, end_ms=NOW_MS + STEP_MS, missing_bars=3, status=status)  # type: ignore[arg-type]
        fold.take(new_event(KEY, NOW_MS, gap, revision=revision))
        expected = {"open": revision == 0, "healed": revision == 1, "hole": 0, "missing": 3 * (revision == 0)}
        assert board.value(f"{KEY}/gaps") == expected
    assert len(board.ring(f"{KEY}/gaps", 1)) == 1


def test_names_are_bounded() -> None:
    """Planted: a log that holds a forecaster of a new name with every bar."""
    board = Board()
    fold = Fold(board, fee=0.0)
    for number in range(MOST_CELLS + 50):
        forecast = Forecast(model="m", role="r", horizon_bars=1, score=0.5, p_up=0.5)
        fold.take(new_event(f"{KEY}|{number}", NOW_MS, forecast))
    assert len(board.cells) == MOST_CELLS
    assert len(board.rings) <= MOST_CELLS


def test_it_follows_in_its_own_thread_and_wakes_who_listens(settings: Settings, log: EventLog) -> None:
    made = HubLog(log, now_ms=NOW_MS, n_bars=40)
    made.write()
    view, woken = HubView(settings, lambda: log, patience_s=0.05), threading.Event()
    view.start()
    try:
        assert _until(lambda: view.ready)
        deaf = view.listen(woken.set)
        made.next_bar()
        assert woken.wait(5)
        assert _until(lambda: view.seq == log.head())
        log.append([new_event("online", NOW_MS, Command(verb="pause", by="test"))], writer="test")
        assert _until(lambda: view.cell("paused/online") is not None)
        deaf()
        assert view.heartbeat_age_s < 5
    finally:
        view.stop()


def test_far_behind_it_looks_anew_instead_of_running_after(
    settings: Settings, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = HubLog(log, now_ms=NOW_MS, n_bars=30)
    made.write()
    monkeypatch.setattr(hub_view, "_JUMP", 10)
    taken: list[int] = []
    begin = HubView._begin
    monkeypatch.setattr(HubView, "_begin", lambda self, log: taken.append(1) or begin(self, log))
    view = HubView(settings, lambda: log, patience_s=0.05)
    view.start()
    try:
        assert _until(lambda: view.ready)
        made.next_bar()
        assert _until(lambda: view.seq == log.head())
        assert len(taken) == 2
        assert told(view)["cells"][f"{KEY}/bar"]["at"] == NOW_MS + STEP_MS
    finally:
        view.stop()


def test_it_says_when_the_log_cannot_be_read_and_comes_back(
    settings: Settings, log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    HubLog(log, now_ms=NOW_MS, n_bars=10).write()
    broken = threading.Event()
    broken.set()

    def opened() -> EventLog:
        if broken.is_set():
            from kalibre.core.errors import LogUnavailableError

            raise LogUnavailableError("planted: the database is away")
        return log

    view = HubView(settings, opened, retry_s=0.02)
    view.start()
    try:
        assert _until(lambda: "planted" in view.problem)
        assert not view.ready
        broken.clear()
        assert _until(lambda: view.ready and view.problem == "")
        assert sum("planted" in record.message for record in caplog.records) == 1, "told once, tried often"
    finally:
        view.stop()


def test_it_only_reads(settings: Settings, log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a log that lets nobody write."""
    made = HubLog(log, now_ms=NOW_MS, n_bars=20)
    made.write()

    def refused(*arguments: Any, **named: Any) -> Any:
        raise AssertionError("the view writes")

    with open_log(settings.log_url) as own:
        for name in ("append", "transaction"):
            monkeypatch.setattr(own, name, refused)
        view = HubView(settings, lambda: own, patience_s=0.05)
        view.start()
        try:
            assert _until(lambda: view.ready)
            made.next_bar()
            assert _until(lambda: view.seq == log.head())
        finally:
            view.stop()
