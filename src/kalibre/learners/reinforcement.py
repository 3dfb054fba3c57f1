"""Reinforcement: Q-learning over states that a trader would name, read as a forecast, as a policy, or as a table."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from kalibre.core.errors import LearnerError
from kalibre.core.learning import Moment, Sample, Seat
from kalibre.core.protocols import FloatArray, State
from kalibre.core.timeframe import timeframe_ms
from kalibre.learners import _reinforcement_table as table
from kalibre.learners._reinforcement_states import CELL_NAMES, COLUMNS, CORNERS, N_CELLS, Reading, locate, nowhere

if TYPE_CHECKING:
    from kalibre.learners._reinforcement_market import MarketEnv

__all__ = ["LEARNER", "MarketEnv", "Reinforcement"]

_LOG_ODDS_A_DEVIATION = 0.8
"""Log-odds of up a deviation of expected move: half the slope of the normal law at even odds, Q is half believed."""
_NO_BAR = -1
_MASK = (1 << 64) - 1


class Reinforcement:
    """Q-learning that trades a virtual position of its own, long or flat, and says what its states are worth.

    *State*: RSI, sign and slope of the MACD, trend, volatility (`_reinforcement_states`), and what is held. *Actions*:
    BUY, SELL, HOLD at the close, filled at the next open as the paper engine does, `seat.fee` a side. *Reward* of the
    bar that follows: what the account earned after costs, in units of the volatility known at the decision, less
    0.02 times the squared downside. Discount 0.95 a bar.

    What is learnt is Watkins' Q by the visits of each entry, at rate n^-0.85 (Even-Dar and Mansour), never below
    0.002, so that it never stops. Three things make it quick enough for one market's history. An account this small
    moves no prices, so each bar also teaches what the decisions that were not taken would have brought (`hindsight`);
    a bar between two marks of RSI or trend belongs to both by its share (interpolation); and a state that was seldom
    seen speaks with the voice of all states of its trend, until some 300 visits of its own. A trade is preferred only
    if it is better than none by half a standard error: on a market with nothing to find it soon does nothing.

    *Exploration* goes by events, never by time: with probability 4 / (4 + n) at the n-th decision in a state; the
    random number is a function of the seed and the bar's close. It decides what the virtual position tries. With
    hindsight it does not decide what is learnt, and forecasts do not depend on it.

    *Forecast*: how often matured samples rose in this state, drawn (as heavy as 10 samples that do not overlap) to the
    base rate as moved by Q, the worth of being long over being flat here.

    Expect it to fail where what matters is not in its five readings; where the sign of an edge turns within fewer than
    a few hundred bars, as old visits hold it back; where volatility jumps, since rewards are in units of that of the
    last 96 bars; and where edges are smaller than costs, where it is right to do nothing and its forecasts say little
    more than the base rate. Prices are taken to fill without moving: of a position that moves the market it knows
    nothing.

    Parameters
    ----------
    seat
        The series; its columns have to hold `columns`.
    hindsight
        False for plain Q-learning, which learns from what it did alone: it needs some eight times as many bars.

    References
    ----------
    Watkins and Dayan (1992), Q-learning, Machine Learning 8, 279-292. Even-Dar and Mansour (2003), Learning rates for
    Q-learning, JMLR 5, 1-25. Szepesvári and Smart (2004), Interpolation-based Q-learning, ICML 21. Moody and Saffell
    (2001), Learning to trade via direct reinforcement, IEEE Transactions on Neural Networks 12(4), 875-889: rewards
    shaped by downside risk. Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3, SC11: random numbers by
    counter; mixed by SplitMix64 (Steele, Lea and Flood 2014, OOPSLA).

    Examples
    --------
    >>> from kalibre.core.learning import Seat
    >>> seat = Seat(symbol="X", timeframe="1h", horizon_bars=1, columns=Reinforcement.columns, fee=5e-4, seed=1)
    >>> learner = Reinforcement(seat)
    >>> learner.figures()["states"], learner.show()["states"]
    (0.0, [])
    """

    name: ClassVar[str] = "reinforcement"
    role: ClassVar[Literal["forecaster", "annotator"]] = "forecaster"
    columns: ClassVar[tuple[str, ...] | None] = COLUMNS

    def __init__(self, seat: Seat, *, hindsight: bool = True) -> None:
        if missing := [name for name in COLUMNS if name not in seat.columns]:
            raise LearnerError(
                f"{self.name} needs the columns {missing}, which {seat.symbol}'s rows lack: name them in the features"
            )
        self._seed, self._step_ms = seat.seed, timeframe_ms(seat.timeframe)
        self._places = [seat.columns.index(name) for name in COLUMNS]
        self._terms = table.Terms(
            fee=seat.fee,
            discount=0.95,
            aversion=table.AVERSION,
            rate_power=0.85,
            rate_floor=0.002,
            pooling=300.0,
            proof=0.5,
            curiosity=4.0,
            tilt=_LOG_ODDS_A_DEVIATION * math.sqrt(seat.horizon_bars),
            strength=10.0 * seat.horizon_bars,
            hindsight=hindsight,
        )
        self._memory, self._ledger = np.zeros(table.MEMORY_SIZE), np.zeros(table.LEDGER_SIZE)
        self._cells, self._shares = np.zeros((2, CORNERS), dtype=np.int64), np.zeros((2, CORNERS))
        self._known = table.knowledge(self._memory)
        # The arrays stay the same ones as long as the learner lives, so the kernels are told once where they are.
        bound = self._memory, self._cells, self._shares, self._ledger
        self._step: Callable[..., float] = table.step.bind(*bound)  # type: ignore[attr-defined]
        self._mature: Callable[..., None] = table.mature.bind(*bound)  # type: ignore[attr-defined]
        self._last_ms = _NO_BAR

    def predict_proba_one(self, moment: Moment) -> float | None:
        """Learn from the bar that closed, decide what the next open is to bring, and return the chance of up.

        Bars that it was not shown, as while it was paused, are a hole to it like bars that are missing.
        """
        bar = moment.bar
        follows = moment.follows and moment.close_ms - self._last_ms == self._step_ms
        self._last_ms = moment.close_ms
        score = self._step(
            self._terms,
            self._read(moment.row),
            bar.open,
            bar.close,
            follows,
            random_number(self._seed, moment.close_ms),
        )
        return None if math.isnan(score) else score

    def learn_one(self, sample: Sample) -> None:
        """Count what became of the state that the sample's row was in."""
        self._mature(self._read(sample.moment.row), sample.went_up)

    def action(self, row: FloatArray, *, long: bool) -> int:
        """Return what it takes for best at a row, without exploring: 0 HOLD, 1 BUY, 2 SELL."""
        place = nowhere()
        known = locate(place, self._read(row))
        return table.prefer(self._memory, place, self._terms, int(long)) if known else table.HOLD

    def _read(self, row: FloatArray) -> Reading:
        numbers = row.tolist()
        return Reading(*[numbers[place] for place in self._places])

    # --- state --------------------------------------------------------------------------------------------------------

    def state(self) -> State:
        """Return the table, its visits, the outcomes counted, where the last bar was, and the account."""
        return {
            **self._known._asdict(),
            "cells": self._cells[0],
            "shares": self._shares[0],
            "ledger": self._ledger,
            "last_ms": self._last_ms,
        }

    def restore(self, state: State) -> None:
        """Take on a state returned by `state`.

        Raises
        ------
        LearnerError
            If an array is missing, has another shape or type, or names what there is not; nothing has changed then.
        """
        taken: dict[str, Any] = {}
        for name, own in self.state().items():
            given = state.get(name)
            wanted, come = np.asarray(own), np.asarray(given)
            if given is None or wanted.shape != come.shape or wanted.dtype != come.dtype:
                raise LearnerError(
                    f"the state's {name} is {come.dtype} of shape {come.shape}, a {self.name} learner has "
                    f"{wanted.dtype} of shape {wanted.shape}: it is of another learner or version, rebuild from the log"
                )
            taken[name] = come
        # Kernels check no bounds: a number that is no cell would write elsewhere.
        cells = taken["cells"].tolist()
        if not all(0 <= cell < N_CELLS for cell in cells):
            raise LearnerError(f"the state's cells {cells} are not all from 0 to {N_CELLS - 1}: rebuild from the log")
        held = taken["ledger"][[table.HELD, table.WANTS]].tolist()
        if not all(one in (0.0, 1.0) for one in held):
            raise LearnerError(f"the state's ledger holds {held}, not 0 or 1: rebuild from the log")
        for name, own in self.state().items():
            if isinstance(own, np.ndarray):
                own[...] = taken[name]
        self._last_ms = int(taken["last_ms"])

    # --- what people see ----------------------------------------------------------------------------------------------

    def figures(self) -> dict[str, float | None]:
        """Return how its trading and learning go; means are over the newest 500 bars or so.

        `reward` is the shaped reward a bar, `growth_bps` what its account grew by a bar after costs, `td_error` the
        mean absolute temporal difference, `epsilon` the chance of exploring at the newest bar, `states` those visited,
        `position` what it holds (1 long, 0 flat), `trades` its fills so far.
        """
        ledger = self._ledger.tolist()
        learnt = ledger[table.LEARNT] > 0
        return {
            "reward": ledger[table.REWARD] if learnt else None,
            "growth_bps": 1e4 * ledger[table.GROWTH] if ledger[table.BARS] > 0 else None,
            "td_error": ledger[table.ERROR] if learnt else None,
            "epsilon": ledger[table.EPSILON] if self._known.tries.any() else None,
            "states": float((self._known.visits.max(axis=2) > 0).sum()),
            "position": ledger[table.HELD],
            "trades": ledger[table.TRADES],
        }

    def show(self) -> dict[str, Any]:
        """Return the whole Q-table: a row for every state visited, in words.

        `q` is what each action is worth there, in standard deviations of a bar, costs paid and later bars discounted;
        it is what the cell would decide by, drawn to its trend by how seldom it was seen. `visits` are bars, by their
        shares; `up_rate` is how often matured samples rose there (None: none matured), over `samples` of them.
        """
        rows = []
        for cell, words in enumerate(CELL_NAMES):
            for held in (0, 1):
                visits = float(self._known.visits[cell, held].max())
                if visits > 0.0:
                    rows.append({**words, "position": ("flat", "long")[held], **self._row(cell, held, visits)})
        held, wants = self._ledger[[table.HELD, table.WANTS]].astype(int).tolist()
        return {
            "columns": list(COLUMNS),
            "position": ("flat", "long")[held],
            "next": "HOLD" if held == wants else ("SELL", "BUY")[wants],
            "bars": int(self._ledger[table.LEARNT]),
            "states": rows,
        }

    def _row(self, cell: int, held: int, visits: float) -> dict[str, Any]:
        place = nowhere()
        place.cells[:], place.shares[0] = cell, 1.0
        worth = [table.worth(self._memory, place, held, holds, self._terms.pooling) for holds in (0, 1)]
        samples, ups = self._known.ups[cell].tolist()
        return {
            "q": {name: worth[table.wished(action, held)] for action, name in enumerate(table.ACTIONS)},
            "greedy": table.ACTIONS[table.prefer(self._memory, place, self._terms, held)],
            "visits": round(visits, 1),
            "decisions": int(self._known.tries[cell, held]),
            "up_rate": ups / samples if samples > 0 else None,
            "samples": round(samples, 1),
        }


def random_number(seed: int, counter: int) -> float:
    """Return a number in [0, 1) that depends on seed and counter and on nothing else.

    Examples
    --------
    >>> [round(random_number(7, counter), 4) for counter in (1, 2, 1)]
    [0.2393, 0.276, 0.2393]
    """
    return (_mixed(_mixed(seed & _MASK) ^ (counter & _MASK)) >> 11) * 2.0**-53


def _mixed(x: int) -> int:
    """Return SplitMix64's next number after state `x`."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def __getattr__(name: str) -> Any:
    if name == "MarketEnv":
        # Imported when asked for: gymnasium is no part of what a forecast needs.
        from kalibre.learners._reinforcement_market import MarketEnv

        return MarketEnv
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


LEARNER = Reinforcement
