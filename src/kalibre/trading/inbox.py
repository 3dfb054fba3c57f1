"""The inbox of one series: while the ensemble is champion, a bar waits for its word, and all that follows waits behind.

The ensemble speaks of a bar after everybody else has, some time after the paper engine has read the bar; how long
after, and what is recorded in between, differs from run to run. So that no result depends on it, bar and word are
joined by the bar's close, and everything is decided in the order in which the log has bars, ticks and commands.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

from kalibre.core import events as said
from kalibre.core.events import Event, decode_payload, encode_payload, new_event
from kalibre.core.hub_events import EnsembleForecast
from kalibre.models.ensemble_version import is_ensemble
from kalibre.trading.desk import CHAMPION, Desk
from kalibre.trading.ensemble_word import STANDS

_Stored = list[tuple[str, str, int, int, msgspec.Raw]]


class Inbox:
    """Gives a desk its events in the order of the log, and makes a bar wait for the ensemble's word on it.

    Where the ensemble is not champion nothing waits. Where it is, the champion's forecast of a new bar, which abstains,
    is said at once, because the ensemble itself waits for it; the bar is decided once the ensemble has spoken of it or
    of a later one. Whatever comes meanwhile, a promotion or a rollback too, takes its turn behind it.

    A command that engages the kill switch takes its turn as well, and yet nothing is ordered after it: while a bar
    waits nothing is decided, and a bar that was still waiting when the command came is decided as under it. That is the
    one thing that depends on who was faster, as it has to be; the log keeps who was.

    What waits is kept in the state: it is as much as the ensemble lags behind. One that is not there at all
    (no hub runs) is waited for without end, and `kalibre doctor` says so.

    Parameters
    ----------
    desk
        Decides, event by event.
    stale_bars
        Age in bars, by the newest tick, from which a bar is old news when it comes.
    """

    def __init__(self, desk: Desk, *, stale_bars: int) -> None:
        self._desk, self._stale_bars = desk, stale_bars
        self._queue: deque[tuple[Event, str]] = deque()
        """What waits, oldest first, each with its text for the state; the first one is a bar."""
        self._kills: deque[said.Kill] = deque()
        """Commands among it that engage the kill switch."""
        self._words: dict[int, EnsembleForecast] = {}
        """What the ensemble said, by close; of the newest bar decided and later ones."""
        self._spoken_ms = -1
        """Close of the newest bar that the ensemble has spoken of."""
        # As of the newest event that has come, whatever waits.
        self._champion: str | None = None
        self._led = False
        """Whether that is an ensemble."""
        self._newest_ms = -1
        self._now_ms = 0

    def take(self, event: Event) -> list[Event]:
        """Take an event in, as the log has it next, and return what follows from it and from what it set free."""
        if isinstance(event.payload, EnsembleForecast):
            return self._hear(event, event.payload)
        told = self._note(event)
        if self._queue or (self._led and self._has_to_wait(event)):
            self._append(event)
            return told
        emitted = self._pass_on(event)
        return told + emitted if told else emitted

    def _note(self, event: Event) -> list[Event]:
        """Note what has come; return what is said of it before its turn."""
        payload = event.payload
        if isinstance(payload, said.BarClosed):
            if payload.open_time > self._newest_ms:
                self._newest_ms = payload.open_time
                if self._led:
                    return [self._stand_by(event, self._close_ms(payload))]
        elif isinstance(payload, said.Tick):
            self._now_ms = max(self._now_ms, payload.now_ms)
        elif isinstance(payload, said.Promotion) and payload.alias == CHAMPION:
            self._champion, self._led = payload.model, is_ensemble(payload.model)
        return []

    def _stand_by(self, event: Event, close_ms: int) -> Event:
        """Return the champion's forecast of a bar that the ensemble is going to speak of."""
        late = (self._now_ms - close_ms) / self._desk.series.step_ms > self._stale_bars
        forecast = said.Forecast(
            model=self._champion or "",
            role=CHAMPION,
            horizon_bars=1,
            score=None,
            p_up=None,
            abstained=STANDS,
            late=late,
        )
        return new_event(f"{self._desk.series.key}|{CHAMPION}", close_ms, forecast, revision=event.revision)

    def _has_to_wait(self, event: Event) -> bool:
        """Say whether an event whose turn it is waits for a word of the ensemble; the bar's own or, passed over, none.

        An older bar than the newest decides nothing, and a correction is decided by the word on the bar as it came.
        """
        if not isinstance(event.payload, said.BarClosed) or not is_ensemble(self._desk.champion):
            return False
        close_ms = self._close_ms(event.payload)
        is_known = close_ms in self._words or self._spoken_ms > close_ms
        return not is_known and event.payload.open_time >= self._desk.newest_ms

    def _close_ms(self, bar: said.BarClosed) -> int:
        return bar.open_time + self._desk.series.step_ms

    def _append(self, event: Event) -> None:
        self._queue.append((event, _text(event)))
        if isinstance(event.payload, said.Kill) and event.payload.engaged:
            self._kills.append(event.payload)

    def _pass_on(self, event: Event) -> list[Event]:
        """Let the desk take an event whose turn it is."""
        if not (self._words or self._kills) or not isinstance(event.payload, said.BarClosed):
            return self._desk.take(event)
        word = self._words.get(self._close_ms(event.payload))
        # Whatever kill waits came after this bar: it stands before it.
        emitted = self._desk.decide(event, event.payload, word, self._kills[0] if self._kills else None)
        for close_ms in [close_ms for close_ms in self._words if close_ms <= self._desk.newest_ms]:
            del self._words[close_ms]
        return emitted

    def _hear(self, event: Event, word: EnsembleForecast) -> list[Event]:
        """Take in what the ensemble said at first of a bar, and go on from there."""
        if event.revision:
            return []
        close_ms = event.event_time
        if close_ms > self._desk.newest_ms:
            self._words.setdefault(close_ms, word)
        self._spoken_ms = max(self._spoken_ms, close_ms)
        emitted: list[Event] = []
        while self._queue and not self._has_to_wait(self._queue[0][0]):
            freed, _ = self._queue.popleft()
            if isinstance(freed.payload, said.Kill) and freed.payload.engaged:
                self._kills.popleft()
            emitted += self._pass_on(freed)
        return emitted

    # --- state --------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return everything that later emissions depend on, the desk's included."""
        return {
            "inbox.waiting": f"[{','.join([text for _, text in self._queue])}]",
            "inbox.words": msgspec.json.encode([*self._words.items()]).decode(),
            "inbox.spoken_ms": self._spoken_ms,
            **self._desk.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take on a state returned by `state`."""
        self._desk.restore(state)
        self._words = dict(msgspec.json.decode(state["inbox.words"], type=list[tuple[int, EnsembleForecast]]))
        self._spoken_ms = int(state["inbox.spoken_ms"])
        self._queue.clear()
        self._kills.clear()
        self._champion, self._led = self._desk.champion, is_ensemble(self._desk.champion)
        self._newest_ms, self._now_ms = self._desk.newest_ms, self._desk.now_ms
        for kind, key, time, revision, content in msgspec.json.decode(state["inbox.waiting"], type=_Stored):
            event = new_event(key, time, decode_payload(kind, bytes(content)), revision=revision)
            self._note(event)
            self._append(event)


def _text(event: Event) -> str:
    content = msgspec.Raw(encode_payload(event.payload))
    return msgspec.json.encode((event.kind, event.key, event.event_time, event.revision, content)).decode()
