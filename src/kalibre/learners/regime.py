"""Regime: which of three regimes the market is in, how long it has been the same, and a plain name for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import LearnerError
from kalibre.core.learning import Moment, Note, Seat
from kalibre.core.protocols import FloatArray, State
from kalibre.learners import _bocpd as bocpd
from kalibre.learners import _hmm as hmm
from kalibre.learners import _regime_fit as fit
from kalibre.learners import _regime_names as names

WINDOW = 16_384
"""Bars that the model is learnt from: the newest."""
FIRST_LEARNT = 256
"""Bars after which it begins to speak."""
REFIT_EVERY = 512
_GROWTH, _ROUNDS = 8, 2
"""The model is learnt again after so many bars, at first already when there is an eighth more of them."""
_LEAST_MOVED = 64
"""Bars with a range that learning needs."""
_SETTLED = 4_096
"""Other beginnings are tried when there is a quarter more bars, from then on when there is half more."""
_CONVINCED = 2 / 3
"""Another state gives the name from this probability on."""
_CLEARLY = 2.0
"""Another beginning is preferred where it is likelier by so many nats: not for a rounding error."""
HAZARD = 1 / 500
_RUNS, _NEGLIGIBLE = 64, 1e-6
RECENT = 20
"""A change counts as recent for so many bars."""
_TRUST = (0.1, 10.0)
"""What is expected of a run's mean is worth so many bars: within these."""
_MEMORY = 1_000.0
"""Bars that the running figures remember."""

_SEEN, _WAITED, _FITS, _FRESH, _SCALE = range(5)
"""Counts: bars seen, bars since the last fit, fits, bar of the next fit from several beginnings; scale (two places)."""
_STATE, _SWITCHES, _COUNTED, _SAID, _SAYINGS = range(6, 11)
"""Running figures: the state that gave the name; decayed, its switches and bars, and log-likelihoods and bars."""
_LENGTH, _EXPECTED, _CHANGE = range(11, 14)
"""What the change-point detection said last."""


class Regime:
    """A hidden Markov model of three states, filtered bar by bar, and how long ago the market last changed.

    Of each bar it sees its volatility and its return over that volatility (`_regime_fit`). The filter is one step a
    bar. The model is learnt by Baum-Welch from the newest 16,384 bars: every 512 bars (at first more often) by a few
    rounds more, and the less often the longer it has learnt from other beginnings as well, of which the likeliest
    counts. The states keep one order, from calm and rising to stormy and falling, so `p_0` means the same before and
    after. What is said of a bar is never revised and knows nothing later.

    Beside it and independent of the states, Bayesian online change-point detection follows the same two numbers: how
    long the distribution has been the same, and how likely it changed within the last 20 bars. What a run may look like
    is told by the model: what varies within states, and between them.

    A name is `calm`, `lively` or `storm`, by where the state's volatility lies between the calmest and the most
    volatile, with `up` or `down` where its drift is beyond chance. Another state gives it once it is twice as likely
    as all others.

    A bar without trade, or one that does not follow the bar before, tells nothing: time passes by one bar, and nothing
    is learnt from it. Time in which nobody trades does not pass.

    Expect it to fail where there are no regimes to find: it then cuts a volatility that moves continuously into three,
    and on real bars that is mostly what it does. Its states last for tens of bars there, they tell of volatility, and
    hardly ever of direction, for no drift is large enough to be seen within a regime's life. Hours of the day are
    regimes to it. Whatever moved before a bar closed is news only then: a switch is seen late by as many bars as it
    takes to tell it from chance, one or two where volatility doubles, tens where only the drift turns. The first
    thousand bars are learnt from too little.

    Parameters
    ----------
    seat
        The series; its columns have to hold `columns`.

    References
    ----------
    Hamilton (1989), A new approach to the economic analysis of nonstationary time series and the business cycle,
    Econometrica 57(2), 357-384. Rabiner (1989), A tutorial on hidden Markov models, Proceedings of the IEEE 77(2),
    257-286. Cappe (2011), Online EM algorithm for hidden Markov models, Journal of Computational and Graphical
    Statistics 20(3), 728-749: the alternative, which keeps no bars, but can try no other beginning and has a step size
    to be chosen. Adams and MacKay (2007), Bayesian online changepoint detection, arXiv:0710.3742. Garman and Klass
    (1980), On the estimation of security price volatilities from historical data, Journal of Business 53(1), 67-78.
    Alizadeh, Brandt and Diebold (2002), Range-based estimation of stochastic volatility models, Journal of Finance
    57(3), 1047-1091.

    Examples
    --------
    >>> from kalibre.core.learning import Seat
    >>> seat = Seat(symbol="X", timeframe="1h", horizon_bars=1, columns=Regime.columns, fee=0.0, seed=1)
    >>> Regime(seat).show()
    {'states': [], 'transitions': [], 'bars': 0, 'needed': 256}
    """

    name: ClassVar[str] = "regime"
    role: ClassVar[Literal["forecaster", "annotator"]] = "annotator"
    columns: ClassVar[tuple[str, ...] | None] = ("log_return_1",)

    def __init__(self, seat: Seat) -> None:
        if "log_return_1" not in seat.columns:
            raise LearnerError(f"regime needs the column 'log_return_1', which {seat.symbol}'s rows lack: add it")
        self._return_at = seat.columns.index("log_return_1")
        self._seed = seat.seed
        self._bars = np.full((WINDOW, 2), math.nan)
        self._model = np.zeros((hmm.N_STATES, hmm.MODEL_COLUMNS))
        self._belief = np.zeros((2, hmm.N_STATES))
        self._runs = bocpd.new_runs(_RUNS)
        self._counts = [0.0] * (_CHANGE + 1)
        self._marks = names.unnamed()
        # These arrays stay the same ones as long as the learner lives, so the kernels are told once where they are.
        self._step: Callable[..., float] = hmm.step.bind(self._model, self._belief)  # type: ignore[attr-defined]
        self._update: Callable[..., tuple[float, ...]] = bocpd.update.bind(self._runs)  # type: ignore[attr-defined]

    def annotate(self, moment: Moment) -> Note | None:
        """Return the regime of a bar; None before there is a model, and where the bar's own return is unknown.

        The values: `p_0` to `p_2`, how likely each state is; `state`, which of them gives the name; `run_length` and
        `expected_run_length`, bars for which the market has been the same, the likeliest number and the mean;
        `change`, how likely it changed within the last 20 bars.
        """
        variance, log_return, told = math.nan, math.nan, float(moment.row[self._return_at])
        if moment.follows:
            variance, log_return = fit.measured(moment.bar, told)
        seen, waited, fits = self._counts[: _FITS + 1]
        self._bars[int(seen) % WINDOW] = variance, log_return
        self._counts[_SEEN], self._counts[_WAITED] = seen + 1.0, waited + 1.0
        if fits:
            self._follow(variance, log_return)
        if not fits or waited + 1.0 >= min(REFIT_EVERY, seen // _GROWTH):
            self._learn(int(seen) + 1)
        return self._note() if self._counts[_FITS] and not math.isnan(told) else None

    def _follow(self, variance: float, log_return: float) -> None:
        """Move the filter and the change-point detection on by a bar."""
        counts = self._counts
        if math.isnan(variance):
            self._step(math.nan, math.nan, math.nan)
            return
        level, lean, weight = fit.seen_one(variance, log_return, self._scale)
        said = self._step(level, lean, weight)
        keep = 1.0 - 1.0 / _MEMORY
        counts[_SAID] = keep * counts[_SAID] + said
        counts[_SAYINGS] = keep * counts[_SAYINGS] + 1.0
        counts[_LENGTH:] = self._update(level, lean, HAZARD, _NEGLIGIBLE, float(RECENT))[1:]

    def _note(self) -> Note:
        counts, belief = self._counts, self._belief[0].tolist()
        state, before = belief.index(max(belief)), int(counts[_STATE])
        if counts[_COUNTED] > 0.0 and belief[state] < _CONVINCED:
            state = before
        keep = 1.0 - 1.0 / _MEMORY
        counts[_SWITCHES] = keep * counts[_SWITCHES] + (counts[_COUNTED] > 0.0 and state != before)
        counts[_COUNTED] = keep * counts[_COUNTED] + 1.0
        counts[_STATE] = float(state)
        length, expected, change = counts[_LENGTH:]
        values = {f"p_{k}": p for k, p in enumerate(belief)}
        values |= {"state": float(state), "run_length": length, "expected_run_length": expected, "change": change}
        return Note(names.name(self._marks, state), values)

    # --- learning -----------------------------------------------------------------------------------------------------

    def _learn(self, n_bars: int) -> None:
        """Learn the model anew from the newest bars, if enough of them moved."""
        counts = self._counts
        counts[_WAITED] = 0.0
        if n_bars < FIRST_LEARNT:
            return
        bars = self._newest(n_bars)
        if np.count_nonzero(bars[:, 0] > 0.0) < _LEAST_MOVED:
            return
        scale = fit.scale_of(bars)
        assert scale is not None  # as some of them moved
        seen = fit.seen_of(bars, scale)
        found = fit.bettered(seen, scale, self._model, _ROUNDS) if counts[_FITS] else None
        if n_bars >= counts[_FRESH]:
            anew = fit.fresh(seen, scale, np.random.default_rng([self._seed, n_bars]))
            if found is None or anew.log_likelihood > found.log_likelihood + _CLEARLY:
                found = anew
            counts[_FRESH] = n_bars + min(n_bars // 4 if n_bars < _SETTLED else n_bars // 2, WINDOW)
        assert found is not None  # the first fit is from several beginnings
        self._model[:], self._belief[0] = found.model, found.belief
        self._marks[:] = names.marked(found.model, scale, self._marks)
        counts[_SCALE:_STATE] = scale
        self._expect()
        counts[_FITS] += 1.0
        if counts[_FITS] == 1.0:  # how long nothing has changed is known from the first word on
            for level, lean, _ in seen[~np.isnan(seen[:, 0])].tolist():
                counts[_LENGTH:] = self._update(level, lean, HAZARD, _NEGLIGIBLE, float(RECENT))[1:]

    @property
    def _scale(self) -> fit.Scale:
        return fit.Scale(self._counts[_SCALE], self._counts[_SCALE + 1])

    def _newest(self, n_bars: int) -> FloatArray:
        if n_bars <= WINDOW:
            return self._bars[:n_bars]
        at = n_bars % WINDOW
        return np.concatenate((self._bars[at:], self._bars[:at]))

    def _expect(self) -> None:
        """Tell the change-point detection what the model knows of runs."""
        model = self._model
        share = model[:, hmm.HELD] / model[:, hmm.HELD].sum()
        means = np.stack([model[:, hmm.MEAN], fit.leans(model, self._scale)], axis=1)
        centre = share @ means
        within = share @ model[:, hmm.VARIANCE : hmm.VARIANCE + 2]
        between = np.clip(share @ (means - centre) ** 2, within / _TRUST[1], within / _TRUST[0])
        bocpd.expect(self._runs, centre, within, between)

    # --- what people see ----------------------------------------------------------------------------------------------

    def figures(self) -> dict[str, float | None]:
        """Return what its learning looks like now; None where unknown.

        `log_likelihood` is what the model said of a bar before it came, in nats, the mean of some 1,000 bars;
        `switches` how often the name's state changed in 100 bars, of the same; `certainty` how likely the likeliest
        state is, `run_length` the expected length of the current run, `fits` how often the model was learnt.
        """
        counts = self._counts
        spoken = counts[_FITS] > 0.0
        return {
            "log_likelihood": counts[_SAID] / counts[_SAYINGS] if counts[_SAYINGS] else None,
            "switches": 100.0 * counts[_SWITCHES] / counts[_COUNTED] if counts[_COUNTED] else None,
            "certainty": float(self._belief[0].max()) if spoken else None,
            "run_length": counts[_EXPECTED] if spoken else None,
            "fits": counts[_FITS],
        }

    def show(self) -> dict[str, Any]:
        """Return the states, calm and rising first, and how they follow each other.

        Of each state: its name, how likely it is now (`p`), volatility and mean log return of a bar, for how many bars
        it lasts on average once begun (`lasts_bars`), and its share of the bars that the model was learnt from.
        """
        counts, model = self._counts, self._model
        table: dict[str, Any] = {"states": [], "transitions": [], "bars": int(counts[_SEEN]), "needed": FIRST_LEARNT}
        if not counts[_FITS]:
            return table
        moves = model[:, hmm.MOVES : hmm.MOVES + hmm.N_STATES]
        share = model[:, hmm.HELD] / model[:, hmm.HELD].sum()
        variance = np.exp(2.0 * (model[:, hmm.MEAN] + model[:, hmm.VARIANCE]))
        drift = model[:, hmm.MEAN + 1] * variance / self._scale.typical
        table["states"] = [
            {
                "name": names.name(self._marks, k),
                "p": float(self._belief[0, k]),
                "volatility": math.sqrt(variance[k]),
                "mean_log_return": float(drift[k]),
                "lasts_bars": 1.0 / max(1.0 - float(moves[k, k]), 1e-12),
                "share": float(share[k]),
            }
            for k in range(hmm.N_STATES)
        ]
        table["transitions"] = moves.tolist()
        length, expected, change = counts[_LENGTH:]
        table["run"] = {"length": int(length), "expected_length": expected, "change": change}
        return table

    # --- state --------------------------------------------------------------------------------------------------------

    def _tables(self) -> dict[str, NDArray[Any]]:
        return {
            "bars": self._bars,
            "model": self._model,
            "belief": self._belief,
            "runs": self._runs,
            "marks": self._marks,
        }

    def state(self) -> State:
        """Return everything that later answers depend on."""
        return {**self._tables(), "counts": np.array(self._counts)}

    def restore(self, state: State) -> None:
        """Take on a state returned by `state`.

        Raises
        ------
        LearnerError
            If it is of another form; nothing has changed then.
        """
        expected: dict[str, NDArray[Any]] = {**self._tables(), "counts": np.array(self._counts)}
        given = {name: np.asarray(state.get(name)) for name in expected}
        for name, kept in expected.items():
            if given[name].shape != kept.shape or given[name].dtype != kept.dtype:
                raise LearnerError(
                    f"the state's {name} are {given[name].dtype} of shape {given[name].shape}, not {kept.dtype} of "
                    f"{kept.shape}: it is of another version or damaged, replay the log"
                )
        for name, kept in self._tables().items():
            np.copyto(kept, given[name])
        self._counts = given["counts"].tolist()


LEARNER = Regime
