"""A hub's log as a busy week would leave it: every kind of event that the page shows, with figures that fit together.

The market is a seeded random walk whose next bars are known to this file alone, so forecasters of a declared skill can
be made up; what became of their forecasts, the scores and the league are computed from them and not invented.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from tests.fakes.hub_running import running

from kalibre.core import events as said
from kalibre.core import hub_events as hub
from kalibre.core.events import Event, Payload, new_event, series_key
from kalibre.core.timeframe import timeframe_ms
from kalibre.log.protocol import EventLog

HORIZON = 4
SKILL = {"agents": 0.25, "champion": 0.9, "online": 0.55, "reinforcement": 0.1, "ensemble": 0.8}
DUMMIES = ("base rate", "persistence", "random")
REGIMES = ("calm up", "calm down", "storm")
REASONS = ("rsi_14", "macd_histogram_12_26_9", "realised_volatility_20", "log_return_1", "taker_imbalance_10")
_WINDOW = 200
_COST = 2 * 5e-4
_HOUR_MS = 3_600_000


class _Series:
    """One market and everything that the hub has said of it."""

    def __init__(self, symbol: str, timeframe: str, *, start_ms: int, seed: int) -> None:
        self.symbol, self.key = symbol, series_key(symbol, timeframe)
        self.step_ms = timeframe_ms(timeframe)
        self.open_ms = start_ms
        self.rng = np.random.default_rng([seed, *symbol.encode()])
        self.price = 60_000.0 if symbol.startswith("BTC") else 1_800.0 * (1 + len(symbol) % 7)
        self.coming: deque[float] = deque()
        self.before = self.price
        self.regime = 0
        self.noise: dict[str, float] = {}
        self.said: deque[tuple[int, float, dict[str, float]]] = deque()
        self.matured: dict[str, deque[tuple[float, bool, float]]] = {}
        self.cash, self.quantity, self.pending = 10_000.0, 0.0, ""
        self.n_bars = 0

    def returns(self, n: int) -> list[float]:
        """Look at the next returns, which nobody else can."""
        while len(self.coming) < n:
            if self.rng.random() < 0.06:
                self.regime = int(self.rng.integers(len(REGIMES)))
            drift, sigma = ((2e-4, 0.0018), (-2e-4, 0.0019), (0.0, 0.0045))[self.regime]
            self.coming.append(float(drift + sigma * self.rng.standard_t(5)))
        return list(self.coming)[:n]

    def bar(self) -> Iterator[Event]:
        """Close one bar, and say everything that follows from it."""
        self.returns(1)
        moved = self.coming.popleft()
        opened = self.before = self.price
        self.price *= math.exp(moved)
        spread = [abs(float(one)) for one in self.rng.normal(0, 0.0006, 2)]
        volume = float(self.rng.gamma(4.0, 12.0) * (1 + 200 * abs(moved)))
        close_ms = self.open_ms + self.step_ms
        yield new_event(
            self.key,
            self.open_ms,
            said.BarClosed(
                open_time=self.open_ms,
                open=round(opened, 2),
                high=round(max(opened, self.price) * (1 + spread[0]), 2),
                low=round(min(opened, self.price) * (1 - spread[1]), 2),
                close=round(self.price, 2),
                volume=round(volume, 3),
                taker_buy_volume=round(volume * (0.5 + 40 * moved if abs(moved) < 0.01 else 0.5), 3),
            ),
            provenance="received",
        )
        yield from self._fill(close_ms)
        yield from self._outcomes(close_ms)
        yield from self._forecasts(close_ms)
        yield from self._decide(close_ms)
        self.open_ms, self.n_bars = close_ms, self.n_bars + 1
        if close_ms % _HOUR_MS == 0:
            yield from self._scores(close_ms)

    def _event(self, name: str, time_ms: int, payload: Payload) -> Event:
        return new_event(f"{self.key}|{name}", time_ms, payload)

    def _outcomes(self, close_ms: int) -> Iterator[Event]:
        while self.said and self.said[0][0] <= close_ms - HORIZON * self.step_ms:
            then_ms, price, forecasts = self.said.popleft()
            gain = math.log(self.price / price)
            for name, p_up in forecasts.items():
                kept = self.matured.setdefault(name, deque(maxlen=_WINDOW))
                kept.append((p_up, gain > 0, gain))
                if name not in (*DUMMIES, "ensemble"):
                    outcome = said.Outcome(
                        model=f"{name}-1", p_up=p_up, went_up=gain > 0, log_return=gain, told_ms=close_ms
                    )
                    yield self._event(name, then_ms, outcome)

    def _forecasts(self, close_ms: int) -> Iterator[Event]:
        ahead = sum(self.returns(HORIZON)) / (0.0025 * math.sqrt(HORIZON))
        forecasts = {"base rate": 0.51, "persistence": 0.5 + math.copysign(0.04, self.price - self.before)}
        forecasts["random"] = float(self.rng.uniform(0.3, 0.7))
        for name, skill in SKILL.items():
            self.noise[name] = 0.8 * self.noise.get(name, 0.0) + 0.6 * float(self.rng.normal())
            tilt = 0.28 * skill * ahead + 0.3 * self.noise[name]
            forecasts[name] = round(1 / (1 + math.exp(-tilt)), 6)
        silent = self.n_bars % 37 == 5
        for name in (name for name in SKILL if name != "ensemble"):
            mute = silent and name == "agents"
            forecast = said.Forecast(
                model=f"{name}-1",
                role=name,
                horizon_bars=HORIZON,
                score=None if mute else forecasts[name],
                p_up=None if mute else forecasts[name],
                abstained="no agent is awake" if mute else None,
            )
            yield self._event(name, close_ms, forecast)
            if mute:
                del forecasts[name]
        yield self._event(
            "ensemble",
            close_ms,
            hub.EnsembleForecast(
                horizon_bars=HORIZON,
                score=forecasts["ensemble"],
                p_up=forecasts["ensemble"],
                weights={"champion": 0.55, "online": 0.3, "reinforcement": 0.15},
                silent={"agents": "no agent is awake" if silent else "benched: it does worse than the base rate"},
            ),
        )
        share = [0.08, 0.08, 0.08]
        share[self.regime] = 0.84
        names = ("p_calm_up", "p_calm_down", "p_storm")
        yield self._event(
            "regime",
            close_ms,
            hub.Annotation(learner="regime", label=REGIMES[self.regime], values=dict(zip(names, share, strict=True))),
        )
        contributions = dict(zip(REASONS, np.round(self.rng.normal(0, 0.2, len(REASONS)), 4).tolist(), strict=True))
        yield self._event(
            "explain",
            close_ms,
            hub.Annotation(learner="explain", label="", values=contributions, about="champion-1"),
        )
        self.said.append((close_ms, self.price, forecasts))

    def _decide(self, close_ms: int) -> Iterator[Event]:
        p_up = self.said[-1][2]["champion"]
        action, why = "HOLD", f"p_up {p_up:.4f} is between the exit threshold 0.4500 and the entry threshold 0.5900"
        if p_up >= 0.59 and self.quantity == 0:
            action, why = "ENTRY", f"p_up {p_up:.4f} is at or above the entry threshold 0.5900"
        elif p_up >= 0.59:
            why = f"p_up {p_up:.4f} is at or above the entry threshold 0.5900, and the position is open already"
        elif p_up <= 0.45 and self.quantity == 0:
            why = f"p_up {p_up:.4f} is at or below the exit threshold 0.4500, and there is no position to close"
        elif p_up <= 0.45:
            action, why = "EXIT", f"p_up {p_up:.4f} is at or below the exit threshold 0.4500"
        yield self._event(
            "champion",
            close_ms,
            said.Signal(
                model="champion-1",
                role="champion",
                action=action,  # type: ignore[arg-type]
                p_up=p_up,
                confidence=abs(2 * p_up - 1),
                reasons=(why,),
            ),
        )
        self.pending = {"ENTRY": "buy", "EXIT": "sell"}.get(action, "")
        if self.pending:
            order = said.Order(
                model="champion-1",
                role="champion",
                side=self.pending,
                fraction=0.9,
                reason=why,  # type: ignore[arg-type]
            )
            yield self._event("champion", close_ms, order)
        yield self._event(
            "champion",
            close_ms,
            said.Account(
                role="champion",
                cash=self.cash,
                quantity=self.quantity,
                equity=round(self.cash + self.quantity * self.price, 2),
            ),
        )

    def _fill(self, close_ms: int) -> Iterator[Event]:
        if not self.pending:
            return
        side, self.pending = self.pending, ""
        price = self.price
        quantity = 0.9 * self.cash / price if side == "buy" else self.quantity
        fee = quantity * price * 5e-4
        self.cash += (-quantity if side == "buy" else quantity) * price - fee
        self.quantity += quantity if side == "buy" else -quantity
        yield self._event(
            "champion",
            close_ms - self.step_ms,
            said.Fill(
                model="champion-1",
                role="champion",
                side=side,  # type: ignore[arg-type]
                quantity=quantity,
                price=price,
                fee=fee,
                order_time=close_ms - self.step_ms,
            ),
        )

    def _scores(self, end_ms: int) -> Iterator[Event]:
        rows, base = [], self.matured.get("base rate")
        for name, kept in sorted(self.matured.items()):
            if base is None or len(kept) < 20:
                continue
            p = np.array([one[0] for one in kept])
            up = np.array([one[1] for one in kept], dtype=float)
            gain = np.array([one[2] for one in kept])
            losses = -np.log(np.clip(np.where(up > 0.5, p, 1 - p), 1e-6, 1))
            earned = np.where(p > 0.5, gain - _COST, 0.0)
            base_loss = -np.log(np.where(up > 0.5, 0.51, 0.49))
            lead = base_loss - losses
            half = 1.96 * float(lead.std()) / math.sqrt(len(lead) / HORIZON)
            accuracy, says = float(((p > 0.5) == (up > 0.5)).mean()), p > 0.5
            figures: dict[str, Any] = {
                "accuracy": accuracy,
                "brier": float(((p - up) ** 2).mean()),
                "log_loss": float(losses.mean()),
                "ece": float(abs(p.mean() - up.mean())),
            }
            rows.append(
                hub.Standing(
                    name=name,
                    n=len(kept),
                    n_abstained=int(name == "agents"),
                    edge=float(lead.mean()),
                    edge_low=float(lead.mean()) - half,
                    edge_high=float(lead.mean()) + half,
                    marginal=None if name in (*DUMMIES, "ensemble") else 0.004 * SKILL[name],
                    benched=name == "agents",
                    dummy=name in DUMMIES,
                    **figures,
                )
            )
            if name in DUMMIES:
                continue
            yield self._event(
                name,
                end_ms,
                hub.Score(
                    n=len(kept),
                    n_new=4,
                    n_abstained=int(name == "agents"),
                    base_rate=float(up.mean()),
                    precision=float(up[says].mean()) if says.any() else None,
                    recall=float(says[up > 0.5].mean()) if (up > 0.5).any() else None,
                    win_rate=float((earned[says] > 0).mean()) if says.any() else None,
                    sharpe=float(earned.mean() / earned.std() * math.sqrt(8_760)) if earned.std() > 0 else None,
                    **figures,
                ),
            )
        if rows:
            yield new_event(self.key, end_ms, hub.League(window=_WINDOW, rows=tuple(rows)))


class HubLog:
    """Writes such a log, bar by bar.

    Parameters
    ----------
    now_ms
        The last bar of the history closes at or before it.
    """

    def __init__(
        self,
        log: EventLog,
        *,
        now_ms: int,
        symbols: Sequence[str] = ("BTCUSDT", "ETHUSDT"),
        timeframe: str = "15m",
        n_bars: int = 480,
        seed: int = 1,
    ) -> None:
        step_ms = timeframe_ms(timeframe)
        self.log, self.step_ms, self.end_ms = log, step_ms, now_ms // step_ms * step_ms
        start_ms = self.end_ms - n_bars * step_ms
        self.series = [_Series(symbol, timeframe, start_ms=start_ms, seed=seed) for symbol in symbols]
        self._n_bars = n_bars

    def write(self) -> int:
        """Write the history and everything about the running; return the head."""
        for begin in range(0, self._n_bars, 48):
            events = [event for _ in range(min(48, self._n_bars - begin)) for one in self.series for event in one.bar()]
            self._append(events, self.series[0].open_ms)
        self._append(list(running(self.series[0].key, self.end_ms, self.step_ms)), self.end_ms)
        return self.log.head()

    def next_bar(self, *, at_ms: int | None = None) -> list[Event]:
        """Close one more bar of every series; return what was stored."""
        events = [event for one in self.series for event in one.bar()]
        return self.log.append(events, writer="test", recorded_at_ms=at_ms)

    def _append(self, events: list[Event], at_ms: int) -> None:
        self.log.append(events, writer="test", recorded_at_ms=at_ms)
