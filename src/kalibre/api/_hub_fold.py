"""How each event changes what the page shows: one small function a kind."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from kalibre.api._hub_board import Board
from kalibre.core import events as said
from kalibre.core import hub_events as hub
from kalibre.core.errors import BarError
from kalibre.core.events import Event, Payload
from kalibre.core.timeframe import timeframe_ms

N_POINTS = 480
"""Newest points of each line: bars, forecasts, equity, regimes."""
N_SIGNALS, N_TRADES, N_DRIFTS, N_VERDICTS, N_CHECKPOINTS, N_JOBS, N_ALERTS, N_COMMANDS, N_GAPS = (
    *(200, 200, 60, 60, 120, 60, 60, 60, 30),
)
LIVE_WINDOW = 200
"""Newest outcomes that the live accuracy, loss and reward are over."""
_CLOSEST = 1e-6
_HIDDEN = "."
"""Rings under this name are for reckoning and are shown to nobody."""

_MOST_GAPS = 20_000

BY_BAR = frozenset(
    {"forecast", "outcome", "ensemble", "annotation", "signal", "fill", "account", "score", "league", "drift"}
)
"""Come with bars: of a long log only those of the newest bars are read."""
BY_COUNT = {
    **dict.fromkeys(("command", "checkpoint", "job", "worker", "alert", "bench", "benched"), 1_000),
    **dict.fromkeys(("model", "promotion", "model_unable", "refusal", "corporate_action"), 300),
    **{"gap": _MOST_GAPS, "quarantine": _MOST_GAPS, "kill": 1, "automation": 1, "tick": 1},
}
"""Come when something happens: so many of the newest are read."""
KINDS = frozenset({"bar", *BY_BAR, *BY_COUNT})


class Fold:
    """Takes events in and keeps a board.

    Parameters
    ----------
    fee
        What one side of a trade costs, as a share of its value: rewards are after costs.
    """

    def __init__(self, board: Board, *, fee: float) -> None:
        self.board = board
        self._fee = fee
        self._gaps: dict[tuple[str, int], said.Gap] = {}
        self.market_lead_ms = 0
        """How far the market's clock (recorded ticks) is ahead of the machine's."""
        self._handlers: dict[type[Payload], Callable[[Event, Any], None]] = {
            said.BarClosed: self._bar,
            said.Forecast: self._forecast,
            said.Outcome: self._outcome,
            said.Signal: self._signal,
            said.Fill: self._fill,
            said.Account: self._account,
            said.Tick: self._tick,
            said.Gap: self._gap,
            said.BarQuarantined: self._quarantined,
            said.Kill: self._plain("kill"),
            said.Automation: self._plain("automation"),
            said.ModelTrained: self._verdict("trained"),
            said.Promotion: self._promotion,
            said.ModelUnable: self._verdict("unable"),
            said.Refusal: self._verdict("refused"),
            said.CorporateAction: self._verdict("corporate action"),
            hub.Annotation: self._annotation,
            hub.EnsembleForecast: self._ensemble,
            hub.League: self._league,
            hub.Score: self._score,
            hub.Drift: self._drift,
            hub.Bench: self._bench,
            hub.Benched: self._benched,
            hub.Command: self._command,
            hub.Checkpoint: self._checkpoint,
            hub.Job: self._job,
            hub.WorkerState: self._worker,
            hub.Alert: self._alert,
        }

    def take(self, event: Event) -> None:
        """Take one event in."""
        handler = self._handlers.get(type(event.payload))
        if handler is not None:
            handler(event, event.payload)

    # --- a series -----------------------------------------------------------------------------------------------------

    def _put(self, event: Event, name: str, value: Any, *, at_ms: int | None = None, by_time: bool = True) -> None:
        self.board.put(
            name,
            value,
            at_ms=event.event_time if at_ms is None else at_ms,
            recorded_ms=event.recorded_at,
            seq=event.seq,
            by_time=by_time,
        )

    def _bar(self, event: Event, bar: said.BarClosed) -> None:
        point = (bar.open_time, bar.open, bar.high, bar.low, bar.close, bar.volume)
        self.board.ring(f"{event.key}/bars", N_POINTS).put(bar.open_time, point, event.seq)
        shown = {"close": bar.close, "open": bar.open, "provenance": event.provenance}
        self._put(event, f"{event.key}/bar", shown, at_ms=bar.open_time + step_of(event.key))

    def _forecast(self, event: Event, forecast: said.Forecast) -> None:
        series, _, name = event.key.rpartition("|")
        self._put(event, f"{series}/forecast/{name}", forecast)
        if forecast.p_up is not None:
            self._foreseen(event, series, name, forecast.p_up)

    def _ensemble(self, event: Event, forecast: hub.EnsembleForecast) -> None:
        series, _, name = event.key.rpartition("|")
        self._put(event, f"{series}/ensemble", forecast)
        if forecast.p_up is not None:
            self._foreseen(event, series, name, forecast.p_up)
            truth = self.board.ring(f"{series}/{_HIDDEN}/truth", N_POINTS).get(event.event_time)
            if truth is not None:
                self._mature(event, series, name, forecast.p_up, truth, told_ms=event.event_time)

    def _foreseen(self, event: Event, series: str, name: str, p_up: float) -> None:
        point = (event.event_time, round(p_up, 5))
        self.board.ring(f"{series}/p/{name}", N_POINTS).put(event.event_time, point, event.seq)

    def _outcome(self, event: Event, outcome: said.Outcome) -> None:
        series, _, name = event.key.rpartition("|")
        told_ms = max(outcome.told_ms, event.event_time)
        right = (outcome.p_up > 0.5) == outcome.went_up
        happened = outcome.p_up if outcome.went_up else 1.0 - outcome.p_up
        self._count(event, series, name, (right, happened, outcome.p_up, outcome.log_return), told_ms)
        # Nobody says the ensemble's outcomes: they are those of its bar.
        truths = self.board.ring(f"{series}/{_HIDDEN}/truth", N_POINTS)
        if truths.get(event.event_time) is None:
            truths.put(event.event_time, outcome.log_return, event.seq)
            foreseen = self.board.ring(f"{series}/p/ensemble", N_POINTS).get(event.event_time)
            if foreseen is not None:
                self._mature(event, series, "ensemble", foreseen[1], outcome.log_return, told_ms=told_ms)

    def _mature(self, event: Event, series: str, name: str, p_up: float, log_return: float, *, told_ms: int) -> None:
        went_up = log_return > 0
        happened = p_up if went_up else 1.0 - p_up
        self._count(event, series, name, ((p_up > 0.5) == went_up, happened, p_up, log_return), told_ms)

    def _count(
        self, event: Event, series: str, name: str, came: tuple[bool, float, float, float], told_ms: int
    ) -> None:
        right, happened, p_up, log_return = came
        ring = self.board.ring(f"{series}/{_HIDDEN}/{name}", LIVE_WINDOW)
        row = (right, -math.log(max(happened, _CLOSEST)), reward_of(p_up, log_return, self._fee))
        ring.put(event.event_time, row, event.seq)
        # What it comes to is worked out when it is asked for: thousands of outcomes may come between two looks.
        self._put(event, f"{series}/live/{name}", Live(ring), at_ms=told_ms)

    def _signal(self, event: Event, signal: said.Signal) -> None:
        series, _, role = event.key.rpartition("|")
        self._put(event, f"{series}/signal/{role}", signal)
        if signal.action != "HOLD":
            point = (event.event_time, signal.action, signal.p_up)
            self.board.ring(f"{series}/signals/{role}", N_SIGNALS).put(event.event_time, point, event.seq)

    def _fill(self, event: Event, fill: said.Fill) -> None:
        series, _, role = event.key.rpartition("|")
        point = (event.event_time, fill.side, fill.price, fill.quantity, fill.fee)
        name = (event.event_time, fill.side)
        self.board.ring(f"{series}/fills/{role}", N_TRADES).put(name, point, event.seq)

    def _account(self, event: Event, account: said.Account) -> None:
        series, _, role = event.key.rpartition("|")
        self._put(event, f"{series}/account/{role}", account)
        point = (event.event_time, round(account.equity, 4))
        self.board.ring(f"{series}/equity/{role}", N_POINTS).put(event.event_time, point, event.seq)

    def _annotation(self, event: Event, note: hub.Annotation) -> None:
        series, _, name = event.key.rpartition("|")
        self._put(event, f"{series}/note/{name}", note)
        if note.label and not note.about:  # of the market, not of a model
            point = (event.event_time, note.label)
            self.board.ring(f"{series}/labels/{name}", N_POINTS).put(event.event_time, point, event.seq)

    def _score(self, event: Event, score: hub.Score) -> None:
        series, _, name = event.key.rpartition("|")
        self._put(event, f"{series}/score/{name}", score)

    def _league(self, event: Event, league: hub.League) -> None:
        self._put(event, f"{event.key}/league", league)

    def _drift(self, event: Event, drift: hub.Drift) -> None:
        # The key names the test last, so that one bar's alarms stand side by side.
        series, _, name = event.key.removesuffix(f"|{drift.test}").rpartition("|")
        point = {"at": event.event_time, "name": name, **_plain(drift)}
        ring = self.board.ring(f"{series}/drift", N_DRIFTS)
        ring.put((event.event_time, name, drift.test), point, event.seq)

    def _tick(self, event: Event, tick: said.Tick) -> None:
        self.market_lead_ms = tick.now_ms - event.recorded_at

    def _gap(self, event: Event, gap: said.Gap) -> None:
        counts = dict(self.board.value(f"{event.key}/gaps") or {"open": 0, "healed": 0, "hole": 0, "missing": 0})
        before = self._gaps.get((event.key, gap.start_ms))
        for one, sign in ((before, -1), (gap, 1)):
            if one is not None:
                counts[one.status] += sign
                counts["missing"] += sign * one.missing_bars * (one.status != "healed")
        if before is not None or len(self._gaps) < _MOST_GAPS:
            self._gaps[event.key, gap.start_ms] = gap
        self.board.ring(f"{event.key}/gaps", N_GAPS).put(gap.start_ms, gap, event.seq)
        self._put(event, f"{event.key}/gaps", counts, by_time=False)

    def _quarantined(self, event: Event, bar: said.BarQuarantined) -> None:
        count = (self.board.value(f"{event.key}/quarantine") or 0) + 1
        point = {"at": event.event_time, "reasons": bar.reasons, "detail": bar.detail, "seq": event.seq}
        self.board.ring(f"{event.key}/quarantine", N_GAPS).put(event.seq, point, event.seq)
        self._put(event, f"{event.key}/quarantine", count, by_time=False)

    # --- the running --------------------------------------------------------------------------------------------------

    def _plain(self, name: str) -> Callable[[Event, Payload], None]:
        return lambda event, payload: self._put(event, name, payload, by_time=False)

    def _verdict(self, what: str) -> Callable[[Event, Payload], None]:
        def take(event: Event, payload: Payload) -> None:
            point = {"what": what, "key": event.key, "at": event.event_time, "seq": event.seq, **_plain(payload)}
            self.board.ring("verdicts", N_VERDICTS, by_id=False).put(event.seq, point, event.seq)

        return take

    def _promotion(self, event: Event, promotion: said.Promotion) -> None:
        series = event.key.rpartition("|")[0]
        self._put(event, f"{series}/model/{promotion.alias}", promotion, by_time=False)
        self._verdict("rolled back" if promotion.rollback else "promoted")(event, promotion)

    def _bench(self, event: Event, bench: hub.Bench) -> None:
        self._put(event, f"bench/{event.key}", bench, by_time=False)

    def _benched(self, event: Event, benched: hub.Benched) -> None:
        self._put(event, f"{event.key}/benched", benched)

    def _command(self, event: Event, command: hub.Command) -> None:
        if command.verb in ("pause", "resume"):
            self._put(event, f"paused/{event.key}", command.verb == "pause", by_time=False)
        point = {"learner": event.key, "at": event.event_time, **_plain(command)}
        self.board.ring("commands", N_COMMANDS, by_id=False).put(event.seq, point, event.seq)

    def _checkpoint(self, event: Event, checkpoint: hub.Checkpoint) -> None:
        point = {"learner": event.key, "at": event.event_time, "rec": event.recorded_at, **_plain(checkpoint)}
        ring = self.board.ring(f"checkpoints/{event.key}", N_CHECKPOINTS)
        ring.put((event.event_time, checkpoint.digest), point, event.seq)

    def _job(self, event: Event, job: hub.Job) -> None:
        point = {"key": event.key, "at": event.event_time, "rec": event.recorded_at, **_plain(job)}
        self.board.ring("jobs", N_JOBS, by_id=False).put(event.key, point, event.seq)

    def _worker(self, event: Event, worker: hub.WorkerState) -> None:
        self._put(event, f"worker/{event.key}", worker, by_time=False)

    def _alert(self, event: Event, alert: hub.Alert) -> None:
        point = {"key": event.key, "at": event.event_time, **_plain(alert)}
        self.board.ring("alerts", N_ALERTS, by_id=False).put(event.key, point, event.seq)


class Live:
    """Accuracy, loss and reward over the newest outcomes of a forecaster, worked out when they are asked for."""

    __slots__ = ("_ring",)

    def __init__(self, ring: Any) -> None:
        self._ring = ring

    def figures(self) -> dict[str, float]:
        """Return them; `reward` is a mean log return after costs."""
        rows = self._ring.values()
        n = len(rows)
        right, loss, reward = (math.fsum(row[place] for row in rows) / n for place in range(3))
        return {"n": n, "accuracy": round(right, 6), "loss": round(loss, 6), "reward": round(reward, 8)}


def reward_of(p_up: float, log_return: float, fee: float) -> float:
    """Return what a forecast earned who went long for its horizon where it was above one half; both sides are paid.

    Examples
    --------
    >>> round(reward_of(0.6, 0.01, 0.0005), 4), reward_of(0.4, -0.02, 0.0005)
    (0.009, 0.0)
    """
    return log_return - 2.0 * fee if p_up > 0.5 else 0.0


@lru_cache(maxsize=256)
def step_of(series: str) -> int:
    """Return the length of a series' bars in milliseconds, by its key; 0 where the key names no timeframe."""
    try:
        return timeframe_ms(series.rpartition("|")[2])
    except BarError:
        return 0


def _plain(payload: Payload) -> dict[str, Any]:
    return {name: getattr(payload, name) for name in payload.__struct_fields__}
