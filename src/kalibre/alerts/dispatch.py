"""What becomes of an alert: sent, held for the quiet hours, held back by the rate, or dropped.

Pure: no clock, no network, no file. The state is a plain dict that JSON can hold, so what was told is still known after
a restart. A *note* is an alert on its way; a *digest* is one message that tells several notes.

- A trouble is told, and again only when `repeat_after_minutes` have passed or when it grows worse.
- What is not critical waits in quiet hours; what is above the rate waits for room. All that waits leaves in one digest.
- A quarter of the rate is kept for critical alerts, so that chatter cannot use up their room.
- `recovered` is told once, and only of a trouble that was told; one that still waits is marked as over instead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypedDict

from kalibre.core.clock import ISTANBUL
from kalibre.core.events import Event
from kalibre.core.hub_events import Alert
from kalibre.core.settings import AlertSettings

HOUR_MS = 3_600_000
MOST_HELD = 500
"""Notes that wait at once; of what is not critical and above, only the number is told."""
MOST_TROUBLES = 2_000

Level = Literal["info", "warning", "critical"]
Action = Literal["send", "hold", "coalesce", "drop"]
RANK: dict[Level, int] = {"info": 0, "warning": 1, "critical": 2}


class Note(TypedDict):
    """An alert on its way: the event's content, how often it came, and when its trouble ended if that was meanwhile."""

    key: str
    seq: int
    time_ms: int
    level: Level
    title: str
    cause: str
    consequence: str
    mend: str
    recovered: bool
    times: int
    over_ms: int | None


class Trouble(TypedDict):
    """A trouble that is not over: the level last told, the worst so far, and when it was last told or put to wait."""

    level: Level
    worst: Level
    told_ms: int
    sent: bool
    repeats: int


class State(TypedDict):
    """All that later decisions need."""

    troubles: dict[str, Trouble]
    held: list[Note]
    left_out: dict[str, int]
    sent_ms: list[int]


@dataclass(frozen=True)
class Rules:
    """What the settings ask for."""

    minimum_level: Level = "warning"
    quiet_minutes: tuple[int, int] | None = None
    per_hour: int = 20
    window_ms: int = HOUR_MS

    @classmethod
    def of(cls, settings: AlertSettings) -> Rules:
        """Take the rules from the settings."""
        return cls(
            minimum_level=settings.minimum_level,
            quiet_minutes=settings.quiet_minutes,
            per_hour=settings.per_hour,
            window_ms=settings.repeat_after_minutes * 60_000,
        )

    def quiet_at(self, now_ms: int) -> bool:
        """Say whether a time lies in the quiet hours, by Istanbul's clock.

        Examples
        --------
        >>> night = Rules(quiet_minutes=(23 * 60, 7 * 60))
        >>> midnight = 1_704_056_400_000  # 2024-01-01 00:00 in Istanbul
        >>> night.quiet_at(midnight), night.quiet_at(midnight + 7 * 3_600_000)
        (True, False)
        """
        if self.quiet_minutes is None:
            return False
        moment = datetime.fromtimestamp(now_ms / 1000, tz=ISTANBUL)
        minute = moment.hour * 60 + moment.minute
        begin, end = self.quiet_minutes
        return begin <= minute < end if begin < end else minute >= begin or minute < end

    def room(self, level: Level) -> int:
        """Return how many messages of an hour a level may bring it to."""
        kept = max(1, self.per_hour // 4) if self.per_hour > 1 else 0
        return self.per_hour if level == "critical" else self.per_hour - kept


@dataclass(frozen=True)
class Outgoing:
    """One message: a note, or a digest of several and of how many more there were by level."""

    notes: tuple[Note, ...]
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def level(self) -> Level:
        """The worst level of what it tells."""
        return max((note["level"] for note in self.notes), key=RANK.__getitem__)


@dataclass(frozen=True)
class Step:
    """What follows: the new state, what leaves now in this order, and what became of the event and why."""

    state: State
    messages: tuple[Outgoing, ...]
    action: Action | None = None
    reason: str = ""


def empty() -> State:
    """Return the state before the first alert."""
    return {"troubles": {}, "held": [], "left_out": {}, "sent_ms": []}


def note_of(event: Event) -> Note:
    """Take the content of an alert event."""
    alert = event.payload
    assert isinstance(alert, Alert)
    return {
        "key": event.key,
        "seq": event.seq,
        "time_ms": event.event_time,
        "level": alert.level,
        "title": alert.title,
        "cause": alert.cause,
        "consequence": alert.consequence,
        "mend": alert.mend,
        "recovered": alert.recovered,
        "times": 1,
        "over_ms": None,
    }


def step(state: State, now_ms: int, rules: Rules, event: Event | None = None) -> Step:
    """Decide: first about what waits, then about an event, if there is one.

    Parameters
    ----------
    state
        As the step before left it; it is not changed.
    now_ms
        The time now, UTC milliseconds. A clock that was set back counts what lies in its future as of now.
    event
        An alert event; None only looks whether something that waits may leave.
    """
    state = _aged(state, now_ms)
    due = _release(state, now_ms, rules)
    messages = [] if due is None else [due]
    if event is None:
        return Step(state, tuple(messages))
    note = note_of(event)
    judge = _judge_recovery if note["recovered"] else _judge_trouble
    action, reason = judge(state, note, now_ms, rules)
    if action == "send":
        messages.append(Outgoing((note,)))
    return Step(state, tuple(messages), action, reason)


def _aged(state: State, now_ms: int) -> State:
    """Copy a state, without what is too old to matter."""
    troubles: dict[str, Trouble] = {
        key: {**trouble, "told_ms": min(trouble["told_ms"], now_ms)} for key, trouble in state["troubles"].items()
    }
    while len(troubles) > MOST_TROUBLES:  # the mildest, then the oldest
        del troubles[min(troubles, key=lambda key: (RANK[troubles[key]["worst"]], troubles[key]["told_ms"]))]
    return {
        "troubles": troubles,
        "held": list(state["held"]),
        "left_out": dict(state["left_out"]),
        "sent_ms": [min(sent, now_ms) for sent in state["sent_ms"] if sent > now_ms - HOUR_MS],
    }


def _release(state: State, now_ms: int, rules: Rules) -> Outgoing | None:
    """Let out, as one message, what waits and may leave now."""
    quiet = rules.quiet_at(now_ms)
    due: list[Note] = []
    staying: list[Note] = []
    for note in state["held"]:
        (staying if quiet and note["level"] != "critical" else due).append(note)
    if not due:
        return None
    digest = Outgoing(tuple(due), {} if quiet else state["left_out"])
    if len(state["sent_ms"]) >= rules.room(digest.level):
        return None
    state["sent_ms"].append(now_ms)
    state["held"] = staying
    if not quiet:
        state["left_out"] = {}
    for note in due:
        trouble = state["troubles"].get(note["key"])
        if trouble is not None and not note["recovered"] and note["over_ms"] is None:
            state["troubles"][note["key"]] = {**trouble, "sent": True, "told_ms": now_ms}
    return digest


def _judge_trouble(state: State, note: Note, now_ms: int, rules: Rules) -> tuple[Action, str]:
    key, level = note["key"], note["level"]
    if RANK[level] < RANK[rules.minimum_level]:
        return "drop", f"below {rules.minimum_level}"
    known = state["troubles"].get(key)
    for place, held in enumerate(state["held"]):
        if (held["key"], held["level"], held["recovered"]) == (key, level, False):
            state["held"][place] = {**held, "times": held["times"] + 1, "over_ms": None}
            if known is None:
                state["troubles"][key] = _trouble(level, level, now_ms, sent=False)
            return "drop", "the same waits already"
    if known is not None and RANK[level] <= RANK[known["level"]] and now_ms - known["told_ms"] < rules.window_ms:
        state["troubles"][key] = {**known, "repeats": known["repeats"] + 1}
        return "drop", "told before, and not long ago"
    if known is not None:
        note["times"] += known["repeats"]
    action, reason = _place(state, note, now_ms, rules)
    worst = level if known is None else max(level, known["worst"], key=RANK.__getitem__)
    sent = action == "send" or (known is not None and known["sent"])
    state["troubles"][key] = _trouble(level, worst, now_ms, sent=sent)
    return action, reason


def _trouble(level: Level, worst: Level, told_ms: int, *, sent: bool) -> Trouble:
    return {"level": level, "worst": worst, "told_ms": told_ms, "sent": sent, "repeats": 0}


def _judge_recovery(state: State, note: Note, now_ms: int, rules: Rules) -> tuple[Action, str]:
    key = note["key"]
    trouble = state["troubles"].pop(key, None)
    if trouble is None:
        return "drop", "no trouble of this key was told"
    waits = False
    for place, held in enumerate(state["held"]):
        if held["key"] == key and not held["recovered"] and held["over_ms"] is None:
            state["held"][place] = {**held, "over_ms": note["time_ms"]}
            waits = True
    if not trouble["sent"]:
        return ("coalesce", "told with its trouble, which waits") if waits else ("drop", "its trouble was only counted")
    # Whoever was woken by a critical alert is told that it is over, in quiet hours too.
    note["level"] = trouble["worst"]
    return _place(state, note, now_ms, rules, keep=not waits)


def _place(state: State, note: Note, now_ms: int, rules: Rules, *, keep: bool = True) -> tuple[Action, str]:
    """Send a note if hours and rate allow it, else let it wait (unless what waits tells it already)."""
    action: Action
    if note["level"] != "critical" and rules.quiet_at(now_ms):
        action, reason = "hold", "quiet hours"
    elif len(state["sent_ms"]) >= rules.room(note["level"]):
        action, reason = "coalesce", f"{len(state['sent_ms'])} messages within an hour"
    else:
        state["sent_ms"].append(now_ms)
        return "send", ""
    if keep and note["level"] != "critical" and len(state["held"]) >= MOST_HELD:
        state["left_out"][note["level"]] = state["left_out"].get(note["level"], 0) + 1
    elif keep:
        state["held"].append(note)
    return action, reason
