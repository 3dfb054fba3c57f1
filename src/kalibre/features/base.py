"""How a column is declared, and the plan in which chosen columns become one fused step.

A family (one file of this folder) lists `Column`s. A column's `build` writes its formula over `Value`s: results of
other values, or of *kernels* (the incremental steps of `kernels.py` and of the family itself). A `Plan` collects the
formulas of all chosen columns, computes what they share once, gives each kernel its place in two flat state arrays, and
knows how many earlier bars each value depends on: the warm-up is derived from the formula, not guessed beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from types import FunctionType
from typing import Any

from kalibre.core.errors import FeatureError

FORGOTTEN = 1e-16
"""A recursive value has forgotten its start when that weighs less than this: below the rounding of a double."""

LONGEST_HIGHER = 50
"""Longest window that the default set computes on higher timeframes: it costs 16 times as many rows on 4h over 15m."""

INPUTS = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "trades",
    "taker_buy_volume",
    "news_impact",
    "news_conf",
    "close_time",
    "bar_ms",
)
OPTIONAL_INPUTS = frozenset({"quote_volume", "trades", "taker_buy_volume"})
NEWS_INPUTS = frozenset({"news_impact", "news_conf"})
"""0 where the bars say nothing: no news is a fact, not a gap."""


@cache
def bars_to_forget(decays: tuple[float, ...]) -> int:
    """Count the bars after which a cascade of exponential averages has forgotten how it was started.

    Parameters
    ----------
    decays
        What each stage keeps of itself per bar (`1 - alpha`), first stage first; each in (0, 1).

    Examples
    --------
    >>> bars_to_forget(()), bars_to_forget((0.5,)), bars_to_forget((13 / 14,))
    (0, 54, 498)
    """
    errors = [1.0] * len(decays)
    bars = 0
    while any(error > FORGOTTEN for error in errors):
        into = 0.0
        for stage, decay in enumerate(decays):
            into = decay * errors[stage] + (1.0 - decay) * into
            errors[stage] = into
        bars += 1
    return bars


@dataclass(frozen=True, eq=False)
class Value:
    """A number of the present bar within a plan: a variable of the fused step.

    `window` and `decays` say how far back it reaches: that many bars exactly, and then through a cascade of exponential
    averages. Arithmetic on values writes further lines of the step.
    """

    plan: Plan
    name: str
    window: int = 0
    decays: tuple[float, ...] = ()
    inputs: frozenset[str] = frozenset()

    @property
    def memory(self) -> int:
        """Number of bars before the present one on which the value depends."""
        return self.window + bars_to_forget(self.decays)

    def __add__(self, other: Operand) -> Value:
        return self.plan.let("{} + {}", self, other)

    def __radd__(self, other: Operand) -> Value:
        return self.plan.let("{} + {}", other, self)

    def __sub__(self, other: Operand) -> Value:
        return self.plan.let("{} - {}", self, other)

    def __rsub__(self, other: Operand) -> Value:
        return self.plan.let("{} - {}", other, self)

    def __mul__(self, other: Operand) -> Value:
        return self.plan.let("{} * {}", self, other)

    def __rmul__(self, other: Operand) -> Value:
        return self.plan.let("{} * {}", other, self)

    def __truediv__(self, other: Operand) -> Value:
        return self.plan.let("{} / {}", self, other)

    def __rtruediv__(self, other: Operand) -> Value:
        return self.plan.let("{} / {}", other, self)

    def __neg__(self) -> Value:
        return self.plan.let("-{}", self)


Operand = Value | float | int
Kernel = Callable[..., Any]


def reach(values: tuple[Operand, ...]) -> tuple[int, tuple[float, ...], frozenset[str]]:
    """Return how far back a result of these values reaches (window, decays) and the inputs it reads."""
    known = [value for value in values if isinstance(value, Value)]
    inputs = frozenset[str]().union(*(value.inputs for value in known))
    window = max((value.window for value in known), default=0)
    decays = max((value.decays for value in known), key=bars_to_forget, default=())
    return window, decays, inputs


@dataclass
class Plan:
    """The fused step as it is being written: its lines, and the size of its state."""

    lines: list[str] = field(default_factory=list)
    floats: int = 0
    ints: int = 0
    kernels: dict[str, FunctionType] = field(default_factory=dict)
    _known: dict[str, tuple[Value, ...]] = field(default_factory=dict)

    def input(self, name: str) -> Value:
        """Return a number of the bar itself: one of `INPUTS`."""
        if name not in INPUTS:
            raise FeatureError(f"input {name!r} is unknown: a bar has {', '.join(INPUTS)}")
        return Value(self, name, inputs=frozenset({name}))

    def __getattr__(self, name: str) -> Value:
        """Offer the bar's numbers as attributes: `plan.close`."""
        if name in INPUTS:
            return self.input(name)
        raise AttributeError(name)

    def let(self, expression: str, *operands: Operand) -> Value:
        """Write a line without state, once however often it is asked for; `{}` stands for each operand in turn."""
        text = expression.format(*(_text(operand) for operand in operands))
        window, decays, inputs = reach(operands)
        return self._line(text, text, 1, window, decays, inputs)[0]

    def call(
        self,
        kernel: Kernel,
        *operands: Operand,
        floats: int = 0,
        ints: int = 0,
        outputs: int = 1,
        window: int = 0,
        decays: tuple[float, ...] = (),
        present: Value | None = None,
    ) -> tuple[Value, ...]:
        """Write a call of a kernel with state of its own, once for the same operands.

        Parameters
        ----------
        kernel
            A plain function `kernel(F, I, f, i, *operands)`: its floats are `F[f:f + floats]`, its integers
            `I[i:i + ints]`, zero at the start. It calls nothing but `math` and Python's own arithmetic.
        floats, ints
            Size of its state.
        outputs
            How many numbers it returns.
        window, decays
            How much further back than its operands the result reaches.
        present
            The operand, if any, that the kernel uses at once and does not remember.
        """
        name = kernel.__name__
        text = f"{name}({', '.join(_text(operand) for operand in operands)})"
        if text not in self._known:
            if self.kernels.setdefault(name, kernel) is not kernel:  # type: ignore[arg-type]
                raise FeatureError(f"two kernels are called {name!r}: rename one")
            arguments = ["F", "I", f"f + {self.floats}", f"i + {self.ints}"]
            # `+ z` keeps integers ordinary: numba would compile a kernel anew for every literal it is called with.
            arguments += [f"{x} + z" if type(x) is int else _text(x) for x in operands]
            self.floats += floats
            self.ints += ints
            before, stages, inputs = reach(tuple(x for x in operands if x is not present))
            past = Value(self, "", before + window, stages + decays, inputs)
            call = f"{name}({', '.join(arguments)})"
            return self._line(text, call, outputs, *reach((past,) if present is None else (past, present)))
        return self._known[text]

    def _line(
        self, key: str, text: str, outputs: int, window: int, decays: tuple[float, ...], inputs: frozenset[str]
    ) -> tuple[Value, ...]:
        if key not in self._known:
            start = len(self._known)
            names = [f"v{start}" if outputs == 1 else f"v{start}_{k}" for k in range(outputs)]
            self.lines.append(f"{', '.join(names)} = {text}")
            self._known[key] = tuple(Value(self, name, window, decays, inputs) for name in names)
        return self._known[key]


def _text(operand: Operand) -> str:
    if isinstance(operand, Value):
        return operand.name
    return repr(operand)


@dataclass(frozen=True)
class Column:
    """One column, or one for each choice of its parameters: `rsi_{window}` is `rsi_14`, `rsi_21`, ...

    Attributes
    ----------
    pattern
        Its name; a parameter in braces stands for a whole number of at least 1.
    doc
        What it says, with its unit.
    build
        `build(plan, **parameters)` writes its formula and returns its value.
    defaults
        The parameters that belong to the default set, one tuple for each column; empty for none.
    level
        It is a price or a volume as such. Such columns exist by name, for people and for comparison with TA-Lib, but
        are no default: a model of prices near 40,000 knows nothing about prices near 90,000.
    higher
        Its default columns (of at most `LONGEST_HIGHER` bars) are also computed on the higher timeframes. Only windowed
        columns say so: an exponential average of 4h bars needs months to forget how it was started.
    bounds
        Least and greatest value, where there are such; scaling uses them instead of a trailing window.
    talib
        The TA-Lib function that computes the same, for people who know that name.
    least
        The smallest sensible value of every parameter.
    """

    pattern: str
    doc: str
    build: Callable[..., Value]
    defaults: tuple[tuple[int, ...], ...] = ((),)
    level: bool = False
    higher: bool = False
    bounds: tuple[float, float] | None = None
    talib: str = ""
    least: int = 2

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of its parameters, in the order in which its name holds them."""
        return tuple(re.findall(r"\{(\w+)\}", self.pattern))

    def name(self, values: tuple[int, ...]) -> str:
        """Return the column's name for one choice of its parameters."""
        return self.pattern.format(**dict(zip(self.parameters, values, strict=True)))

    def match(self, name: str) -> dict[str, int] | None:
        """Return the parameters for which the column has this name, or None."""
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[1-9]\\d{0,4})", self.pattern)
        found = re.fullmatch(pattern, name)
        return None if found is None else {key: int(value) for key, value in found.groupdict().items()}


@dataclass(frozen=True)
class Family:
    """The columns of one file; `doc` says in a line what they have in common."""

    doc: str
    columns: tuple[Column, ...]
