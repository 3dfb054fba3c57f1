import stat
from pathlib import Path

import pytest

from kalibre.core.clock import ManualClock
from kalibre.core.errors import KillSwitchEngagedError, LogError
from kalibre.core.events import Kill
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.trading.kill_switch import KillSwitch


@pytest.fixture
def log(tmp_path: Path):  # type: ignore[no-untyped-def]
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


def test_released_at_first(log: EventLog, tmp_path: Path) -> None:
    state = KillSwitch(log, tmp_path / "KILL", ManualClock(5)).state()
    assert (state.engaged, state.since_ms, state.file_present) == (False, None, False)


def test_engage_and_release_are_events(log: EventLog, tmp_path: Path) -> None:
    switch = KillSwitch(log, tmp_path / "KILL", ManualClock(5))
    state = switch.engage("ali", "drill", flatten=True)
    assert (state.engaged, state.by, state.reason, state.flatten, state.since_ms) == (True, "ali", "drill", True, 5)
    assert not (tmp_path / "KILL").exists()
    assert not switch.release("ayse").engaged
    kills = log.read(kinds={"kill"})
    assert [(event.payload.engaged, event.payload.by, event.revision) for event in kills] == [  # type: ignore[attr-defined]
        (True, "ali", 0),
        (False, "ayse", 0),
    ]
    # The same millisecond, and yet two commands.
    assert [event.event_time for event in kills] == [5, 6]


def test_file_alone_engages_and_must_go_first(log: EventLog, tmp_path: Path) -> None:
    file = tmp_path / "KILL"
    switch = KillSwitch(log, file, ManualClock(5))
    file.touch()
    state = switch.state()
    assert (state.engaged, state.by, state.file_present) == (True, "kill file", True)
    with pytest.raises(KillSwitchEngagedError, match=r"KILL.*remove it"):
        switch.release("ali")
    switch.engage("ali")
    assert file.exists(), "a file that somebody else made is not ours to take away"
    file.unlink()
    assert switch.state().engaged
    assert not switch.release("ali").engaged


def test_releasing_twice_says_nothing_twice(log: EventLog, tmp_path: Path) -> None:
    switch = KillSwitch(log, tmp_path / "KILL", ManualClock(5))
    switch.release("ali")
    assert log.read(kinds={"kill"}) == []


class Broken:
    """A log that can be read but not written."""

    def latest(self, kind: str, **_: object) -> None:
        return None

    def append(self, *_: object, **__: object) -> None:
        raise LogError("the disk is full")


def test_a_dead_log_leaves_the_file(tmp_path: Path) -> None:
    file = tmp_path / "home" / "KILL"
    switch = KillSwitch(Broken(), file, ManualClock(5))  # type: ignore[arg-type]
    with pytest.raises(LogError, match=r"stopped by the file.*KILL"):
        switch.engage("ali", "do not flatten", flatten=False)
    assert file.read_text() == "stop\n"
    assert switch.state().engaged


def test_a_folder_that_refuses_leaves_the_event(log: EventLog, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    switch = KillSwitch(log, blocked / "KILL", ManualClock(5))
    assert switch.engage("ali").engaged
    assert isinstance(log.read(kinds={"kill"})[0].payload, Kill)
    assert stat.S_ISREG(blocked.stat().st_mode)
