"""The trading rules once more, as plain as can be: Python floats and branches, no numba, nothing shared with src.

`bugs` plants a named mistake, so that the tests can show that each would be seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

DAY_MS = 86_400_000


@dataclass
class Run:
    action: list[str] = field(default_factory=list)
    cash: list[float] = field(default_factory=list)
    quantity: list[float] = field(default_factory=list)
    equity: list[float] = field(default_factory=list)
    fills: list[tuple[int, str, float, float, float]] = field(default_factory=list)
    """Row, side, quantity, price, fee."""
    n_cancelled: int = 0


def trade(
    open_time: list[int],
    opens: list[float],
    closes: list[float],
    p_up: list[float],
    volatility: list[float],
    funding: list[float],
    *,
    step_ms: int,
    entry: float,
    exit_: float,
    fee_bps: float,
    slippage_bps: float,
    initial_cash: float,
    max_exposure: float,
    risk_per_trade: float,
    daily_loss: float,
    stale_bars: int,
    horizon_bars: int,
    bugs: frozenset[str] = frozenset(),
) -> Run:
    run, cash, quantity, equity = Run(), initial_cash, 0.0, initial_cash
    fee, slippage = fee_bps * 1e-4, slippage_bps * 1e-4
    pending: tuple[str, float, int] | None = None
    today, start_of_day, halted_on = -1, initial_cash, -1
    for t, open_ms in enumerate(open_time):
        price = closes[t - 1] if "fills at the deciding close" in bugs and t else opens[t]
        if pending is not None:
            side, fraction, ordered_ms = pending
            if side == "buy" and open_ms - ordered_ms > stale_bars * step_ms and "buys across holes" not in bugs:
                run.n_cancelled += 1
            elif side == "buy":
                paid = price * (1.0 + slippage)
                spend = cash * fraction
                quantity = spend / (paid * (1.0 + fee))
                cash = cash - spend
                run.fills.append((t, "buy", quantity, paid, quantity * paid * fee))
            else:
                got = price * (1.0 - slippage)
                sale_fee = 0.0 if "fee once" in bugs else fee
                cash = cash + quantity * (got * (1.0 - sale_fee))
                run.fills.append((t, "sell", quantity, got, quantity * got * sale_fee))
                quantity = 0.0
            pending = None
        if "no funding" not in bugs:
            cash -= quantity * closes[t] * funding[t]
        close_ms = open_ms + step_ms
        day = close_ms // DAY_MS if "midnight belongs to tomorrow" in bugs else (close_ms - 1) // DAY_MS
        if day != today:
            today, start_of_day = day, equity
        equity = cash + quantity * closes[t]
        lost = equity < (1.0 - daily_loss) * start_of_day and "no daily loss" not in bugs
        if lost:
            halted_on = day
        p, action = p_up[t], "HOLD"
        if quantity > 0.0:
            gets_out = p < exit_ if "strict exit" in bugs else p <= exit_
            if lost or gets_out:
                action, pending = "EXIT", ("sell", 1.0, close_ms)
        elif p > entry if "strict entry" in bugs else p >= entry:
            known = volatility[t] > 0.0 and math.isfinite(volatility[t])
            if known and halted_on != day:
                root = float(horizon_bars) if "linear horizon" in bugs else math.sqrt(horizon_bars)
                fraction = min(max_exposure, risk_per_trade / (volatility[t] * root))
                action, pending = "ENTRY", ("buy", fraction, close_ms)
        run.action.append(action)
        run.cash.append(cash)
        run.quantity.append(quantity)
        run.equity.append(equity)
    return run
