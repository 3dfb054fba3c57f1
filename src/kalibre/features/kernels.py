"""The incremental steps that the families share, and how a plan uses them.

A function whose name ends in `_step` is a kernel: plain Python that numba compiles into the fused step, run once for
each bar, state in its slots of two flat arrays, zero at the start. The function of the same name without `_step` puts
it into a plan. What a kernel returns before its window has filled is arbitrary; the engine hides it (warm-up).

Windows are summed and searched in blocks (van Herk 1992; Gil and Werman 1993): the running result of the present block
and the results of every ending of the block before. Nothing is ever subtracted, so there is no drift, a spike leaves
no residue once it has left the window, and what comes out depends on the bars in the window and on nothing else
(but for the last bit, which depends on where blocks begin).
"""

# ruff: noqa: N803  (F and I, the two state arrays, keep the names they have in the generated step)

from __future__ import annotations

import math
from typing import Any

from kalibre.features.base import Plan, Value

Array = Any
"""A flat state array: a NumPy array, or a pointer within the compiled step."""

FADED = 1e-3
"""What an average still weighs of the last movement when `fading_ratio` takes it for nothing; see there."""


def phase_step(F: Array, I: Array, f: int, i: int, n: int) -> int:  # noqa: E741
    """Return the place of the present bar within its block of `n` bars: 0 .. n - 1."""
    k = I[i]
    I[i] = k + 1 if k + 1 < n else 0
    return k  # type: ignore[no-any-return]


def phase(plan: Plan, n: int) -> Value:
    """Place of the bar within its block of `n`; every window of that length shares it."""
    return plan.call(phase_step, n, ints=1)[0]


def lag_step(F: Array, I: Array, f: int, i: int, x: float, n: int, k: int) -> float:  # noqa: E741
    """Return what `x` was `n` bars ago."""
    old = F[f + k]
    F[f + k] = x
    return old  # type: ignore[no-any-return]


def lag(plan: Plan, x: Value, n: int = 1) -> Value:
    """Value of `n` bars ago."""
    return plan.call(lag_step, x, n, phase(plan, n), floats=n, window=n)[0]


def window_sum_step(F: Array, I: Array, f: int, i: int, x: float, n: int, k: int) -> float:  # noqa: E741
    """Return the sum of the last `n` values.

    `F[f]` is the sum of the present block so far. `F[f + 1 + j]` holds, for j < k, the block's j-th value, and for
    j > k the sum of the previous block's values from its j-th on; the last slot stays zero.
    """
    head = F[f] + x
    total = head + F[f + 2 + k]
    F[f + 1 + k] = x
    if k == n - 1:
        tail = 0.0
        for j in range(f + n, f, -1):
            tail += F[j]
            F[j] = tail
        head = 0.0
    F[f] = head
    return total  # type: ignore[no-any-return]


def window_sum(plan: Plan, x: Value, n: int) -> Value:
    """Sum over the last `n` bars."""
    return plan.call(window_sum_step, x, n, phase(plan, n), floats=n + 2, window=n - 1)[0]


def sma(plan: Plan, x: Value, n: int) -> Value:
    """Mean over the last `n` bars."""
    return window_sum(plan, x, n) * (1.0 / n)


def window_max_step(F: Array, I: Array, f: int, i: int, x: float, n: int, k: int) -> float:  # noqa: E741
    """Return the greatest of the last `n` values; laid out as `window_sum_step`, the last slot unused."""
    head = x
    if k > 0 and F[f] > x:
        head = F[f]
    best = head
    if k < n - 1 and F[f + 2 + k] > head:
        best = F[f + 2 + k]
    F[f + 1 + k] = x
    if k == n - 1:
        tail = x
        for j in range(f + n, f, -1):
            tail = F[j] if F[j] > tail else tail
            F[j] = tail
    F[f] = head
    return best


def window_max(plan: Plan, x: Value, n: int) -> Value:
    """Greatest value of the last `n` bars."""
    return plan.call(window_max_step, x, n, phase(plan, n), floats=n + 2, window=n - 1)[0]


def window_min_step(F: Array, I: Array, f: int, i: int, x: float, n: int, k: int) -> float:  # noqa: E741
    """Return the least of the last `n` values."""
    head = x
    if k > 0 and F[f] < x:
        head = F[f]
    best = head
    if k < n - 1 and F[f + 2 + k] < head:
        best = F[f + 2 + k]
    F[f + 1 + k] = x
    if k == n - 1:
        tail = x
        for j in range(f + n, f, -1):
            tail = F[j] if F[j] < tail else tail
            F[j] = tail
    F[f] = head
    return best


def window_min(plan: Plan, x: Value, n: int) -> Value:
    """Least value of the last `n` bars."""
    return plan.call(window_min_step, x, n, phase(plan, n), floats=n + 2, window=n - 1)[0]


def window_variance_step(
    F: Array,
    I: Array,  # noqa: E741
    f: int,
    i: int,
    x: float,
    n: int,
    k: int,
    share: float,
) -> tuple[float, float]:
    """Return the population variance of the last `n` values, and by how much the newest leads their mean.

    Sums run over the distance from an anchor, the last value of the block before, because squares of prices would
    cancel: at 60,000 with a spread of 10, nine digits are gone. The anchor is always within the window: on the last bar
    of a block, when the window is that very block, the sums around its own last value are taken. `F[f]` anchor, then
    two blocks as `window_sum_step`.
    """
    a = f + 1
    b = f + n + 3
    d = x - F[f]
    head1 = F[a] + d
    head2 = F[b] + d * d
    sum1 = head1 + F[a + 2 + k]
    sum2 = head2 + F[b + 2 + k]
    F[a + 1 + k] = x
    if k == n - 1:
        tail1 = 0.0
        tail2 = 0.0
        for j in range(n, 0, -1):
            d = F[a + j] - x
            tail1 += d
            tail2 += d * d
            F[a + j] = tail1
            F[b + j] = tail2
        F[f] = x
        sum1 = tail1
        sum2 = tail2
        head1 = 0.0
        head2 = 0.0
        d = 0.0
    F[a] = head1
    F[b] = head2
    mean = sum1 * share
    variance = sum2 * share - mean * mean
    return variance if variance > 0.0 else 0.0, d - mean


def _spread(plan: Plan, x: Value, n: int) -> tuple[Value, ...]:
    return plan.call(window_variance_step, x, n, phase(plan, n), 1.0 / n, floats=2 * n + 5, outputs=2, window=n - 1)


def window_variance(plan: Plan, x: Value, n: int) -> Value:
    """Population variance over the last `n` bars."""
    return _spread(plan, x, n)[0]


def window_lead(plan: Plan, x: Value, n: int) -> Value:
    """By how much the newest of `n` values leads their mean.

    A difference of differences: where prices move by a tick, `x` less a mean of prices would be the mean's rounding.
    """
    return _spread(plan, x, n)[1]


def ema_step(F: Array, I: Array, f: int, i: int, x: float, alpha: float, first: bool) -> float:  # noqa: E741
    """Return the exponential average, started at the first value."""
    y = F[f] + alpha * (x - F[f])
    if first:
        y = x
    F[f] = y
    return y  # type: ignore[no-any-return]


def exponential(plan: Plan, x: Value, alpha: float) -> Value:
    """Exponential average that takes on `alpha` of each new value."""
    return plan.call(ema_step, x, alpha, plan.let("first"), floats=1, decays=(1.0 - alpha,))[0]


def ema(plan: Plan, x: Value, n: int) -> Value:
    """Exponential average of `n` bars: alpha = 2 / (n + 1)."""
    return exponential(plan, x, 2.0 / (n + 1.0))


def wilder(plan: Plan, x: Value, n: int) -> Value:
    """Wilder's average of `n` bars: alpha = 1 / n."""
    return exponential(plan, x, 1.0 / n)


def previous_close(plan: Plan) -> Value:
    """Close of the bar before; of the first bar its own close, so that nothing is infinite."""
    before = lag(plan, plan.close, 1)
    return plan.let("{} if not first else {}", before, plan.close)


def true_range(plan: Plan) -> Value:
    """Wilder's true range, quote currency."""
    before = previous_close(plan)
    return plan.let("max({}, {}) - min({}, {})", plan.high, before, plan.low, before)


def ratio(plan: Plan, numerator: Value, denominator: Value, otherwise: float = 0.0) -> Value:
    """Quotient, or `otherwise` where the denominator is zero (a market that did not move or trade)."""
    return plan.let("{} / {} if {} != 0.0 else {}", numerator, denominator, denominator, otherwise)


def idle_step(F: Array, I: Array, f: int, i: int, x: float, limit: int) -> int:  # noqa: E741
    """Return for how many bars in a row, the present one included, `x` has been zero: at most `limit` + 1."""
    count = 0
    if x == 0.0:
        count = I[i] + 1 if I[i] <= limit else I[i]
    I[i] = count
    return count


def fading_ratio(
    plan: Plan, numerator: Value, denominator: Value, moved: Value, n: int, otherwise: float = 0.0
) -> Value:
    """Quotient of two averages of `n` bars that both fade where nothing moves; `otherwise` once they have faded.

    Over equal prices such averages shrink together, and their quotient would tell for ever of the last bars that moved:
    a history begun since then knows nothing of those. So it ends once the averages weigh the last movement by less than
    `FADED` (6.9 `n` bars), and the warm-up is so much longer. TA-Lib keeps the quotient until the sum is below 1e-14
    units of the currency.

    Parameters
    ----------
    moved
        What the averages are fed with: not zero at each bar that moved.
    """
    limit = math.ceil(math.log(FADED) / math.log(1.0 - 1.0 / n)) if n > 1 else 0
    idle = plan.call(idle_step, moved, limit, ints=1, window=limit)[0]
    return plan.let(
        "{} / {} if {} <= {} and {} != 0.0 else {}", numerator, denominator, idle, limit, denominator, otherwise
    )


def root(plan: Plan, x: Value) -> Value:
    """Square root."""
    return plan.let("sqrt({})", x)


def logarithm(plan: Plan, x: Value) -> Value:
    """Natural logarithm."""
    return plan.let("log({})", x)


def log_return(plan: Plan) -> Value:
    """Logarithm of close over the close before."""
    return logarithm(plan, plan.close / previous_close(plan))


def efficiency_ratio(plan: Plan, x: Value, n: int) -> Value:
    """Distance travelled over length of the path, 0 to 1 (Kaufman 1995)."""
    path = window_sum(plan, plan.let("abs({})", x - lag(plan, x, 1)), n)
    return ratio(plan, plan.let("abs({})", x - lag(plan, x, n)), path)


def typical_price(plan: Plan) -> Value:
    """Mean of high, low and close."""
    return (plan.high + plan.low + plan.close) * (1.0 / 3.0)


def stochastic(plan: Plan, x: Value, high: Value, low: Value, n: int, level: float = 0.0) -> Value:
    """Place of `x` between the least low and the greatest high of `n` bars, 0 to 100; 0 where they are one.

    `level` is how far apart rounding may put values that are equal.
    """
    least = window_min(plan, low, n)
    spread = window_max(plan, high, n) - least
    return 100.0 * plan.let("{0} / {1} if {1} > {2} else 0.0", x - least, spread, level)
