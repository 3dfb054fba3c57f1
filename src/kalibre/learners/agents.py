"""Agents: a panel of simple traders' beliefs, each voting where its setup is there, weighed by how right they were."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

import kalibre.learners._agents_votes as votes
from kalibre.core.errors import LearnerError
from kalibre.core.learning import Moment, Sample, Seat
from kalibre.core.protocols import State
from kalibre.learners._agents_panel import PANEL

_COIN, _BASE_RATE, _TRACKER = "coin", "base_rate", "tracker"
MEMBERS = (*(agent.name for agent in PANEL), _COIN, _BASE_RATE, _TRACKER)
"""Everyone whose forecast is weighed, in order."""

_BELIEFS = {
    **{agent.name: agent.believes for agent in PANEL},
    _COIN: "Nobody can know.",
    _BASE_RATE: "It rises as often as it lately did.",
    _TRACKER: "Who was right lately is right now.",
}
_SWITCHING = 1 / 500
"""How often the tracker expects another agent to be the best: once in so many samples."""
_MEMORY, _TRUST_MEMORY = 2_000.0, 20_000.0
_TRUST, _SURENESS = 0.5, 3.0
"""Agents are half believed at first, as surely as some hundred samples would tell."""
_BASE_SAMPLES = 100.0


class Agents:
    """A panel of agents whose mixture forecasts; in log-loss it is hardly worse than the best of them.

    Each agent is a rule of thumb with a probability of its own (`_agents_panel`), or sleeps. What it leans to, in
    log-odds beside the base rate, counts as much as its *trust*, a factor of at least 0 that is learnt slowly: who is
    wrong is not believed, but never turned around. A coin and the base rate are always awake, and so is the *tracker*,
    the fixed-share mixture of all of these: of a weight, it passes a five-hundredth on to all who are awake after each
    sample, so that it can follow when another becomes the best.

    The forecast is the Bayes mixture of whoever is awake. A weight is multiplied by the probability that its member
    gave to what happened, over the mixture's, so the weights of the sleeping do not move. Therefore the log-loss of
    what was said is, for every member and whatever the market does, at most ln N above that member's own over the
    samples it was awake for; N counts the members. Since the tracker is a member, the fixed-share bound holds as well,
    ln N above the tracker's own: for any sequence of T samples and k switches between agents who are awake just then,
    the loss of that sequence plus (k + 1) ln(N - 1) + k ln(1/a) + (T - k) ln(1/(1 - a)), with a = 1/500.

    Labels come `horizon_bars` later. To keep the bound true for what was really said, there are as many sets of weights
    (lanes), asked in turn, each again only when it knows what became of its last forecast. It holds for each lane, so
    counting each sample as the `horizon_bars`-th part of one, it holds for all of them together.

    Expect it to fail where no rule of thumb is worth anything: it then says little more than the base rate. It cannot
    see that two agents together know what neither does, and a truth that changes its side within a few hundred bars is
    over before the tracker believes it.

    Parameters
    ----------
    seat
        The series; its columns have to hold `columns`.

    References
    ----------
    Herbster and Warmuth (1998), Tracking the best expert, Machine Learning 32, 151-178. Freund, Schapire, Singer and
    Warmuth (1997), Using and combining predictors that specialize, STOC 29, 334-343. Joulani, György and Szepesvári
    (2013), Online learning under delayed feedback, ICML 30: lanes.

    Examples
    --------
    >>> from kalibre.core.learning import Seat
    >>> seat = Seat(symbol="X", timeframe="1h", horizon_bars=1, columns=Agents.columns, fee=0.0, seed=1)
    >>> panel = Agents(seat)
    >>> [row["name"] for row in panel.show()["agents"][-3:]]
    ['coin', 'base_rate', 'tracker']
    """

    name: ClassVar[str] = "agents"
    role: ClassVar[Literal["forecaster", "annotator"]] = "forecaster"
    columns: ClassVar[tuple[str, ...] | None] = tuple(dict.fromkeys(name for agent in PANEL for name in agent.reads))

    def __init__(self, seat: Seat) -> None:
        if missing := sorted(set(self.columns or ()) - set(seat.columns)):
            raise LearnerError(f"agents need the columns {missing}, which {seat.symbol}'s rows lack: add them")
        self._asked = [(agent.vote, [seat.columns.index(name) for name in agent.reads]) for agent in PANEL]
        n_agents, members = len(PANEL), len(MEMBERS)
        self._table = table = np.zeros((votes.LANES + votes.LANE_ROWS * seat.horizon_bars, members + 1))
        table[votes.TRUST, :n_agents], table[votes.SURENESS, :n_agents] = _TRUST, _SURENESS
        table[votes.COURSE, :2] = _BASE_SAMPLES / 2.0, _BASE_SAMPLES
        table[votes.VOTES] = table[votes.LAST] = math.nan
        self._lane_rows(votes.WEIGHT)[:, :-1] = -math.log(members)
        self._lane_rows(votes.SHARE)[:, :-2] = 1.0 / (members - 1)
        self._votes = table[votes.VOTES, :n_agents]
        # The table stays the same one as long as the learner lives, so the kernels are told once where it is.
        self._forecast: Callable[..., float] = votes.forecast.bind(table)  # type: ignore[attr-defined]
        self._learn: Callable[..., bool] = votes.learn.bind(table)  # type: ignore[attr-defined]

    def predict_proba_one(self, moment: Moment) -> float | None:
        """Return the mixture of who is awake; None where no agent can read its features."""
        row = moment.row.tolist()
        known = False
        odds = []
        for vote, places in self._asked:
            read = [row[place] for place in places]
            p = None
            if math.isfinite(sum(read)):
                known = True
                p = vote(*read)
            odds.append(math.nan if p is None else math.log(p / (1.0 - p)))
        self._votes[:] = odds
        if not known:
            self._table[votes.LAST] = math.nan
            return None
        return self._forecast(moment.close_ms)

    def learn_one(self, sample: Sample) -> None:
        """Weigh everybody by what became of what they said then."""
        self._learn(sample.moment.close_ms, float(sample.went_up), _SWITCHING, _MEMORY, _TRUST_MEMORY)

    def figures(self) -> dict[str, float | None]:
        """Return `loss`, `regret` against the best member and its `bound`, `entropy` of the weights, who is `awake`.

        `loss` is the log-loss of the newest samples, about 2,000 of them that do not overlap. `regret` counts each
        sample as the `horizon_bars`-th part of one, in nats; it is never above `regret_bound`.
        """
        recent, samples = self._table[votes.COURSE, 2:4].tolist()
        weight = self._weights()
        return {
            "loss": recent / samples if samples else None,
            "regret": float(self._regret().max()) if samples else None,
            "regret_bound": math.log(len(MEMBERS)),
            "entropy": float(-(weight * np.log(np.maximum(weight, 1e-300))).sum()),
            "awake": float(np.isfinite(self._votes).sum()),
        }

    def show(self) -> dict[str, Any]:
        """Return every member: what it believes, its weight, loss, and what it said last (None: it slept)."""
        table = self._table.tolist()
        loss, awake, last = table[votes.LOSS], table[votes.AWAKE], table[votes.LAST]
        trust = [*table[votes.TRUST][: len(PANEL)], None, None, None]
        weight, regret = self._weights().tolist(), self._regret().tolist()
        lately = [*self._lane_rows(votes.SHARE)[:, :-2].mean(axis=0).tolist(), None]
        agents = [
            {
                "name": name,
                "believes": _BELIEFS[name],
                "weight": weight[i],
                "lately": lately[i],
                "trust": trust[i],
                "loss": loss[i] / awake[i] if awake[i] else None,
                "regret": regret[i],
                "awake": int(awake[i]),
                "last": None if math.isnan(last[i]) else last[i],
            }
            for i, name in enumerate(MEMBERS)
        ]
        total, samples = table[votes.COURSE][4:6]
        return {"agents": agents, "samples": int(samples), "loss": total / samples if samples else None}

    def _lane_rows(self, which: int) -> NDArray[np.float64]:
        """Return one of the rows of every lane, shape (n_lanes, n_members + 1)."""
        return self._table[votes.LANES + which :: votes.LANE_ROWS]

    def _weights(self) -> NDArray[np.float64]:
        weights: NDArray[np.float64] = np.exp(self._lane_rows(votes.WEIGHT)[:, :-1]).mean(axis=0)
        return weights

    def _regret(self) -> NDArray[np.float64]:
        """Return how much more log-loss was said than each member's own while it was awake: Bayes' weights tell."""
        regret: NDArray[np.float64] = self._lane_rows(votes.WEIGHT)[:, :-1].mean(axis=0) + math.log(len(MEMBERS))
        return regret

    def state(self) -> State:
        """Return everything that later answers depend on."""
        return {"members": "|".join(MEMBERS), "table": self._table}

    def restore(self, state: State) -> None:
        """Take on a state returned by `state`.

        Raises
        ------
        LearnerError
            If it is of another panel or horizon; nothing has changed then.
        """
        if state.get("members") != "|".join(MEMBERS):
            raise LearnerError(f"the state is of the panel {state.get('members')!r}, not of this one: replay the log")
        given, kept = np.asarray(state.get("table")), self._table
        if given.shape != kept.shape or given.dtype != kept.dtype:
            raise LearnerError(
                f"the state's table is {given.dtype} of shape {given.shape}, not {kept.dtype} of {kept.shape}: it is "
                "of another horizon or damaged, replay the log"
            )
        np.copyto(kept, given)


LEARNER = Agents
