"""The text of the compiled step: chosen columns become one function that runs bars through their state."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from types import FunctionType

from kalibre.features.base import Column, Plan, Value

HEADER_FLOATS = 10
"""The higher bar in the making: open, high, low, close, volume, quote volume, trades, taker buy volume, news (2)."""
HEADER_INTS = 4
"""Last open time (base) or start of the higher bar; bars taken in; whether a higher bar is in the making; spare."""

PARAMETERS = (
    "step_ms",
    "groups",
    "width",
    "copied",
    "longest",
    "scale_window",
    "scale_at",
    "has_quote",
    "has_trades",
    "has_taker",
    "has_news",
)
"""Fixed integers of an engine, ahead of two (length and anchor, ms) for each higher timeframe."""
PARAMETER_COUNT = len(PARAMETERS)

_TEMPLATE = """\
def run(n, T, OP, HI, LO, CL, VO, QV, NT, TB, NI, NC, P, TABLE, WARM, BOUND, F, I, out):
    z = 0
{unpacked}
    for t in range(n):
        now = T[t]
        b_open = OP[t]
        b_high = HI[t]
        b_low = LO[t]
        b_close = CL[t]
        b_volume = VO[t]
        if not (
            b_low > 0.0 and b_open >= b_low and b_close >= b_low and b_high >= b_open and b_high >= b_close
            and b_high < inf and b_volume >= 0.0 and b_volume < inf and (now > I[0] or I[1] == 0)
        ):
            return t
        b_quote = QV[t * has_quote]
        b_trades = NT[t * has_trades]
        b_taker = TB[t * has_taker]
        b_impact = NI[t * has_news]
        b_conf = NC[t * has_news]
        row = I[1]
        base = t * width
        for job in range(2 * groups - 1):
            g = (job + 1) // 2
            f = g * {floats}
            i = g * {ints}
            if job == 0:
                open = b_open
                high = b_high
                low = b_low
                close = b_close
                volume = b_volume
                quote_volume = b_quote
                trades = b_trades
                taker_buy_volume = b_taker
                news_impact = b_impact
                news_conf = b_conf
                close_time = now + step_ms
                bar_ms = step_ms
                I[0] = now
                {dest_base}
            else:
                span = P[{parameters} + 2 * g]
                start = now - (now - P[{parameters} + 2 * g + 1]) % span
                if job % 2 == 1:
                    # A higher bar whose last base bars never came is closed by the first bar after it.
                    if I[i + 2] == 0 or I[i] == start:
                        continue
                    close_time = I[i] + span
                else:
                    if I[i + 2] == 0:
                        I[i] = start
                        I[i + 2] = 1
                        F[f] = b_open
                        F[f + 1] = b_high
                        F[f + 2] = b_low
                        F[f + 4] = b_volume
                        F[f + 5] = b_quote
                        F[f + 6] = b_trades
                        F[f + 7] = b_taker
                    else:
                        F[f + 1] = max(F[f + 1], b_high)
                        F[f + 2] = min(F[f + 2], b_low)
                        F[f + 4] += b_volume
                        F[f + 5] += b_quote
                        F[f + 6] += b_trades
                        F[f + 7] += b_taker
                    F[f + 3] = b_close
                    F[f + 8] = b_impact
                    F[f + 9] = b_conf
                    if now + step_ms < start + span:
                        continue
                    close_time = start + span
                I[i + 2] = 0
                open = F[f]
                high = F[f + 1]
                low = F[f + 2]
                close = F[f + 3]
                volume = F[f + 4]
                quote_volume = F[f + 5]
                trades = F[f + 6]
                taker_buy_volume = F[f + 7]
                news_impact = F[f + 8]
                news_conf = F[f + 9]
                bar_ms = span
                D = F
                d = f + {latest}
            first = I[i + 1] == 0
            I[i + 1] += 1
            f += {header_floats}
            i += {header_ints}
{body}
        for j in range(copied):
            out[base + TABLE[2 * j]] = F[TABLE[2 * j + 1]]
        if row < longest:
            for j in range(width):
                if row < WARM[j]:
                    out[base + j] = nan
        if scale_window > 0:
            k = row % scale_window
            for j in range(width):
                x = out[base + j]
                lower = BOUND[2 * j]
                upper = BOUND[2 * j + 1]
                if lower == lower:
                    out[base + j] = (x - lower) / (upper - lower)
                    continue
                a = scale_at + 2 * j * (scale_window + 2)
                b = a + scale_window + 2
                if k == 0:
                    F[a] = nan
                    F[b] = nan
                least = F[a] if F[a] < x or x != x else x
                most = F[b] if F[b] > x or x != x else x
                F[a] = least
                F[b] = most
                if k < scale_window - 1:
                    if F[a + 2 + k] < least or least != least:
                        least = F[a + 2 + k]
                    if F[b + 2 + k] > most or most != most:
                        most = F[b + 2 + k]
                F[a + 1 + k] = x
                F[b + 1 + k] = x
                if k == scale_window - 1:
                    low_tail = nan
                    high_tail = nan
                    for s in range(scale_window, 0, -1):
                        if F[a + s] < low_tail or low_tail != low_tail:
                            low_tail = F[a + s]
                        if F[b + s] > high_tail or high_tail != high_tail:
                            high_tail = F[b + s]
                        F[a + s] = low_tail
                        F[b + s] = high_tail
                if row < WARM[j] + scale_window - 1 or x != x:
                    out[base + j] = nan
                elif most > least:
                    out[base + j] = (x - least) / (most - least)
                else:
                    out[base + j] = 0.5
    return n
"""


@dataclass(frozen=True)
class Program:
    """A composed step.

    `floats` and `ints` size one timeframe's state, `latest` says where among the floats a higher timeframe keeps its
    newest values, `places` where each column stands there; `direct` means that base values go straight into the
    output row.
    """

    text: str
    kernels: dict[str, FunctionType]
    floats: int
    ints: int
    latest: int
    places: dict[str, int]
    memory: dict[str, int]
    inputs: dict[str, frozenset[str]]
    direct: bool

    @property
    def digest(self) -> str:
        """Digest of everything that the compiled step is made from: the text, and each kernel as it is loaded."""
        told = sha256(self.text.encode())
        for name in sorted(self.kernels):
            told.update(_kernel_source(self.kernels[name]))
        return told.hexdigest()


def compose(columns: dict[str, tuple[Column, dict[str, int]]], row: dict[str, int]) -> Program:
    """Compose columns into one step.

    Parameters
    ----------
    columns
        Each column's declaration and parameters, by its name without timeframe.
    row
        Where each of them stands in the output row, for those wanted on the base timeframe.
    """
    plan = Plan()
    direct = set(row) == set(columns)
    places = row if direct else {name: place for place, name in enumerate(columns)}
    values: dict[str, Value] = {}
    for name, (column, chosen) in columns.items():
        values[name] = column.build(plan, **chosen)
        # Stored as soon as it is known: what has to wait for the end of the step would wait on the stack.
        plan.lines.append(f"D[d + {places[name]}] = {values[name].name}")
    size = max(places.values(), default=-1) + 1
    latest = HEADER_FLOATS + plan.floats
    dest_base = "D = out\n                d = base" if direct else f"D = F\n                d = {latest}"
    text = _TEMPLATE.format(
        unpacked="\n".join(f"    {name} = P[{k}]" for k, name in enumerate(PARAMETERS)),
        floats=latest + size,
        ints=HEADER_INTS + plan.ints,
        latest=latest,
        header_floats=HEADER_FLOATS,
        header_ints=HEADER_INTS,
        parameters=PARAMETER_COUNT - 2,
        dest_base=dest_base,
        body="\n".join(f"            {line}" for line in plan.lines),
    )
    return Program(
        text=text,
        kernels=plan.kernels,
        floats=latest + size,
        ints=HEADER_INTS + plan.ints,
        latest=latest,
        places=places,
        memory={name: value.memory for name, value in values.items()},
        inputs={name: value.inputs for name, value in values.items()},
        direct=direct,
    )


def _kernel_source(kernel: FunctionType) -> bytes:
    """Return a kernel's code as it is loaded (not as a file has it by now), with the constants it refers to."""
    code = kernel.__code__
    known = {name: kernel.__globals__[name] for name in code.co_names if name in kernel.__globals__}
    parts = (
        kernel.__name__,
        code.co_code.hex(),
        code.co_consts,
        code.co_names,
        code.co_varnames,
        sorted(known.items()),
    )
    return repr(parts).encode()
