"""The panel of agents: what each believes, how votes are weighed, and that the bound on its regret is true."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kalibre.core.bars import Bar, Bars
from kalibre.core.errors import LearnerError
from kalibre.core.learning import Forecaster, Moment, Sample, Seat
from kalibre.features.engine import FeatureEngine, FeatureSpec, all_columns
from kalibre.learners import _agents_votes as votes
from kalibre.learners._agents_panel import PANEL
from kalibre.learners.agents import MEMBERS, Agents

COLUMNS = Agents.columns or ()
LN_N = math.log(len(MEMBERS))
BAR = Bar(open_time=0, open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0)
VOTE: dict[str, Callable[..., float | None]] = {agent.name: agent.vote for agent in PANEL}


def seat(horizon_bars: int = 1, columns: tuple[str, ...] = COLUMNS) -> Seat:
    return Seat(symbol="X", timeframe="1m", horizon_bars=horizon_bars, columns=columns, fee=0.0, seed=1)


def moment(t: int, row: Any) -> Moment:
    row = np.asarray(row, dtype=np.float64)
    row.flags.writeable = False
    return Moment((t + 1) * 60_000, BAR, row, True)


def rows(n: int, seed: int, *, known: float = 0.8) -> Any:
    """Return rows on which agents wake and sleep: made-up indicators, some of them unknown."""
    rng = np.random.default_rng(seed)
    made = rng.normal(size=(n, len(COLUMNS))) * 0.02
    for k, name in enumerate(COLUMNS):
        if name.startswith(("rsi", "mfi", "stochastic", "adx", "plus", "minus")):
            made[:, k] = rng.uniform(0, 100, n)
        elif name.startswith(("donchian", "bollinger")):
            made[:, k] = rng.uniform(-0.2, 1.2, n)
        elif name.startswith("realised"):
            made[:, k] = 0.01
    made[rng.random(made.shape) > known] = np.nan
    return made


def said(panel: Agents) -> list[float | None]:
    return [row["last"] for row in panel.show()["agents"]]


def weights(panel: Agents) -> Any:
    return np.array([row["weight"] for row in panel.show()["agents"]])


class Weigher:
    """Plain Bayes over members who may sleep, in long doubles: the oracle."""

    def __init__(self, n: int) -> None:
        self.weight = np.full(n, np.longdouble(1) / n)

    def mix(self, forecasts: list[float | None]) -> Any:
        awake = np.array([p is not None for p in forecasts])
        p = np.array([0.0 if p is None else p for p in forecasts], dtype=np.longdouble)
        return (self.weight * p)[awake].sum() / self.weight[awake].sum()

    def learn(self, forecasts: list[float | None], *, up: bool) -> None:
        mixed = self.mix(forecasts)
        for i, p in enumerate(forecasts):
            if p is not None:
                self.weight[i] *= (p if up else 1 - p) / (mixed if up else 1 - mixed)


# --- agents -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rises", "falls", "sleeps"),
    [
        ("momentum", (3.0, 0.003), (-3.0, 0.003), (0.1, 0.003)),
        ("breakout", (1.0,), (0.0,), (0.5,)),
        ("macd", (0.001, 0.5), (-0.001, 0.5), None),
        ("mean_variance", (0.001, 0.003), (-0.001, 0.003), None),
        ("volume", (2.0, 0.01, 0.003), (2.0, -0.01, 0.003), (1.0, 0.01, 0.003)),
        ("trend_strength", (30.0, 40.0, 10.0), (30.0, 10.0, 40.0), (20.0, 40.0, 10.0)),
        ("efficiency", (0.6, 2.0), (0.6, -2.0), (0.2, 2.0)),
        ("money_flow", (0.3,), (-0.3,), (0.05,)),
        ("on_balance", (0.5,), (-0.5,), (0.1,)),
        ("taker_flow", (0.2,), (-0.2,), (0.01,)),
        ("reversal", (-0.01, 0.003), (0.01, 0.003), (0.001, 0.003)),
        ("rsi_reversion", (20.0,), (80.0,), (50.0,)),
        ("mfi_reversion", (10.0,), (90.0,), (50.0,)),
        ("bollinger", (-0.1,), (1.1,), (0.5,)),
        ("stochastic", (15.0, 10.0), (85.0, 90.0), (15.0, 18.0)),
        ("vwap_reversion", (-0.05, 0.003), (0.05, 0.003), (0.001, 0.003)),
        ("shock", (0.02, 0.5, -0.01, 0.003), (0.02, 0.5, 0.01, 0.003), (0.005, 0.5, 0.01, 0.003)),
    ],
)
def test_an_agent_votes_by_its_belief_and_sleeps_without_its_setup(
    name: str, rises: tuple[float, ...], falls: tuple[float, ...], sleeps: tuple[float, ...] | None
) -> None:
    up, down = VOTE[name](*rises), VOTE[name](*falls)
    assert up is not None
    assert down is not None
    assert 0.5 < up < 0.8
    assert down == pytest.approx(1.0 - up)
    assert sleeps is None or VOTE[name](*sleeps) is None


def test_every_agent_reads_declared_columns_and_says_what_it_believes() -> None:
    assert {name for agent in PANEL for name in agent.reads} == set(COLUMNS) <= set(all_columns())
    assert len({agent.name for agent in PANEL}) == len(PANEL) >= 10
    assert all(agent.believes.endswith(".") and agent.vote.__doc__ for agent in PANEL)


def test_agents_survive_a_market_in_which_nothing_moves() -> None:
    still = dict.fromkeys(COLUMNS, 0.0)
    for agent in PANEL:
        p = agent.vote(*(still[name] for name in agent.reads))
        assert p is None or 0.0 < p < 1.0


# --- weights ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("horizon", [1, 3])
def test_votes_are_weighed_as_bayes_says(horizon: int) -> None:
    """Bit for bit it cannot be, but to 1e-12 against long doubles, on every lane."""
    panel, made = Agents(seat(horizon)), rows(400, 1)
    rng = np.random.default_rng(2)
    oracles = [Weigher(len(MEMBERS)) for _ in range(horizon)]
    spoken: list[list[float | None]] = []
    moments = [moment(t, row) for t, row in enumerate(made)]
    for t, now in enumerate(moments):
        if t >= horizon:
            up = bool(rng.random() < 0.6)
            panel.learn_one(Sample(moments[t - horizon], 0.5, None, up, 0.0))
            oracles[(t - horizon) % horizon].learn(spoken[t - horizon], up=up)
        p = panel.predict_proba_one(now)
        spoken.append(said(panel))
        assert p == pytest.approx(float(oracles[t % horizon].mix(spoken[-1])), abs=1e-12)
    expected = np.mean([oracle.weight for oracle in oracles], axis=0).astype(np.float64)
    assert weights(panel) == pytest.approx(expected, abs=1e-11)


def test_the_tracker_is_fixed_share_over_all_others() -> None:
    panel, made = Agents(seat()), rows(300, 3)
    share = np.full(len(MEMBERS) - 1, 1.0 / (len(MEMBERS) - 1))
    rng = np.random.default_rng(4)
    for t, row in enumerate(made):
        now = moment(t, row)
        panel.predict_proba_one(now)
        *others, tracker = said(panel)
        awake = np.array([p is not None for p in others])
        p = np.array([0.0 if p is None else p for p in others])
        mass = share[awake].sum()
        assert tracker == pytest.approx((share * p)[awake].sum() / mass, abs=1e-12)
        up = bool(rng.random() < 0.5)
        panel.learn_one(Sample(now, 0.5, None, up, 0.0))
        likely = np.where(awake, share * (p if up else 1 - p), 0.0)
        share = np.where(awake, (1 - 1 / 500) * mass * likely / likely.sum() + mass / 500 / awake.sum(), share)
        assert share.sum() == pytest.approx(1.0)


def test_the_weights_of_the_sleeping_do_not_move() -> None:
    panel = Agents(seat())
    row = np.full(len(COLUMNS), np.nan)
    row[COLUMNS.index("rsi_14")] = 10.0
    before = panel.show()["agents"]
    for t in range(50):
        now = moment(t, row)
        panel.predict_proba_one(now)
        panel.learn_one(Sample(now, 0.5, None, t % 3 != 0, 0.0))
    moved = {a["name"] for a, b in zip(panel.show()["agents"], before, strict=True) if a["weight"] != b["weight"]}
    assert moved == {"rsi_reversion", "coin", "base_rate", "tracker"}
    moved = {a["name"] for a, b in zip(panel.show()["agents"], before, strict=True) if a["lately"] != b["lately"]}
    assert moved == {"rsi_reversion", "coin", "base_rate"}


def adversary(horizon: int, *, lanes: bool) -> float:
    """Return the worst regret, a horizon's part of it, where always the less likely happens.

    Two agents say the contrary of each other, each as firmly as it can, and nobody else has a weight worth naming.
    Without lanes: one set of weights for all bars, in long doubles, that learns each label when it comes.
    """
    two = [MEMBERS.index(name) for name in ("rsi_reversion", "mfi_reversion")]
    prior = np.full(len(MEMBERS), 1e-300)
    prior[two] = 0.5
    panel, single = Agents(seat(horizon)), Weigher(len(MEMBERS))
    table = np.array(panel.state()["table"])
    table[votes.TRUST, : len(PANEL)], table[votes.SURENESS, : len(PANEL)] = 4.0, 1e30
    table[votes.LANES + votes.WEIGHT :: votes.LANE_ROWS, :-1] = np.log(prior)
    panel.restore({**panel.state(), "table": table})
    single.weight = prior.astype(np.longdouble)
    row = np.full(len(COLUMNS), np.nan)
    row[COLUMNS.index("rsi_14")], row[COLUMNS.index("mfi_14")] = 0.0, 100.0
    spoken: list[list[float | None]] = []
    moments = [moment(t, row.copy()) for t in range(600)]
    outcomes: list[bool] = []
    regret = np.zeros(len(MEMBERS))
    for t, now in enumerate(moments):
        if t >= horizon:
            panel.learn_one(Sample(moments[t - horizon], 0.5, None, outcomes[t - horizon], 0.0))
            single.learn(spoken[t - horizon], up=outcomes[t - horizon])
        p = panel.predict_proba_one(now)
        assert p is not None
        spoken.append(said(panel))
        if not lanes:
            p = float(single.mix(spoken[-1]))
        outcomes.append(p < 0.5)
        for i in two:
            own = spoken[-1][i]
            assert own is not None
            regret[i] += math.log(own / p) if outcomes[-1] else math.log((1 - own) / (1 - p))
    return float(regret.max()) / horizon


@pytest.mark.parametrize("horizon", [1, 4, 8])
def test_an_adversary_cannot_break_the_bound(horizon: int) -> None:
    assert adversary(horizon, lanes=True) <= math.log(2.0) + 1e-9


def test_one_set_of_weights_for_late_labels_would_break_it() -> None:
    """What the lanes are for; and the adversary above is one."""
    assert adversary(8, lanes=False) > 3.0 * math.log(2.0)


def test_the_regret_that_is_told_is_the_regret_of_what_was_said() -> None:
    horizon = 2
    panel, made = Agents(seat(horizon)), rows(500, 8)
    rng = np.random.default_rng(9)
    moments, spoken, regret = [moment(t, row) for t, row in enumerate(made)], [], np.zeros(len(MEMBERS))
    mixed: list[float] = []
    for t, now in enumerate(moments):
        if t >= horizon:
            up = bool(rng.random() < 0.7)
            panel.learn_one(Sample(moments[t - horizon], mixed[t - horizon], None, up, 0.0))
            for i, own in enumerate(spoken[t - horizon]):
                p = mixed[t - horizon]
                if own is not None:
                    regret[i] += (math.log(own / p) if up else math.log((1 - own) / (1 - p))) / horizon
        p_now = panel.predict_proba_one(now)
        assert p_now is not None
        mixed.append(p_now)
        spoken.append(said(panel))
    told = panel.figures()
    assert told["regret"] == pytest.approx(regret.max(), abs=1e-9)
    assert told["regret_bound"] == pytest.approx(LN_N)
    shown = [row["regret"] for row in panel.show()["agents"]]
    assert shown == pytest.approx(regret.tolist(), abs=1e-9)


def switched(seed: int, n: int = 1_200) -> tuple[float, float, float]:
    """Return the log-loss after the best agent changed: of the panel, the tracker, and plain weights."""
    panel, plain = Agents(seat()), Weigher(len(MEMBERS) - 1)
    made = rows(2 * n, seed, known=1.0)
    rng = np.random.default_rng(seed + 1_000)
    loss = np.zeros(3)
    best = [COLUMNS.index(name) for name in ("rsi_14", "mfi_14")]
    for t, row in enumerate(made):
        now = moment(t, row)
        truth = 0.75 if row[best[t >= n]] < 50 else 0.25
        up = bool(rng.random() < truth)
        p = panel.predict_proba_one(now)
        assert p is not None
        *others, tracker = said(panel)
        assert tracker is not None
        three = np.array([p, tracker, float(plain.mix(others))])
        if t >= n:
            loss -= np.log(three if up else 1 - three)
        panel.learn_one(Sample(now, p, None, up, 0.0))
        plain.learn(others, up=up)
    return float(loss[0]), float(loss[1]), float(loss[2])


def test_after_a_switch_fixed_share_beats_plain_weights() -> None:
    """A mean over markets, with its interval: above 0 by far."""
    losses = np.array([switched(seed) for seed in range(6)])
    for ours in (0, 1):
        gain = losses[:, 2] - losses[:, ours]
        assert gain.mean() - 2.6 * gain.std(ddof=1) / math.sqrt(len(gain)) > 0.0


# --- as a learner -----------------------------------------------------------------------------------------------------


def test_it_is_a_forecaster_found_by_its_file() -> None:
    from kalibre.learners.base import learner_class

    assert learner_class("agents") is Agents
    assert isinstance(Agents(seat()), Forecaster)


def test_it_abstains_where_nothing_is_known_and_only_there() -> None:
    panel = Agents(seat())
    assert panel.predict_proba_one(moment(0, np.full(len(COLUMNS), np.nan))) is None
    assert said(panel) == [None] * len(MEMBERS)
    assert panel.figures()["awake"] == 0.0
    row = np.full(len(COLUMNS), np.nan)
    row[COLUMNS.index("mfi_14")] = 50.0  # known, and no setup: coin and base rate speak
    assert panel.predict_proba_one(moment(1, row)) == pytest.approx(0.5)
    assert panel.figures()["awake"] == 0.0


def test_what_it_abstained_from_teaches_the_base_rate_only() -> None:
    panel = Agents(seat())
    now = moment(0, np.full(len(COLUMNS), np.nan))
    panel.predict_proba_one(now)
    before = weights(panel)
    for _ in range(300):
        panel.learn_one(Sample(now, None, None, True, 0.0))
    assert (weights(panel) == before).all()
    assert panel.show()["samples"] == 0
    panel.predict_proba_one(moment(1, rows(1, 1)[0]))
    assert panel.show()["agents"][-2]["last"] > 0.8


def test_lost_outcomes_neither_teach_nor_block() -> None:
    """A sample whose outcome nobody can tell never comes: its lane is asked again."""
    panel, made = Agents(seat(4)), rows(200, 6)
    moments = [moment(t, row) for t, row in enumerate(made)]
    taught = 0
    for t, now in enumerate(moments):
        if t >= 4 and t % 5:
            panel.learn_one(Sample(moments[t - 4], 0.5, None, True, 0.0))
            taught += 1
        assert panel.predict_proba_one(now) is not None
    assert panel.show()["samples"] == taught


def test_what_another_said_teaches_nothing_about_the_agents() -> None:
    panel, made = Agents(seat(2)), rows(3, 7)
    panel.predict_proba_one(moment(1, made[1]))
    before = weights(panel)
    panel.learn_one(Sample(moment(0, made[0]), 0.5, None, True, 0.0))
    assert (weights(panel) == before).all()
    panel.learn_one(Sample(moment(1, made[1]), 0.5, None, True, 0.0))
    assert (weights(panel) != before).any()


def test_an_agent_that_is_wrong_loses_its_trust_and_is_never_turned_around() -> None:
    panel = Agents(seat())
    row = np.full(len(COLUMNS), np.nan)
    for t in range(2_000):
        rising = t % 2 == 0
        row[COLUMNS.index("rsi_14")] = 20.0 if rising else 80.0
        now = moment(t, row.copy())
        panel.predict_proba_one(now)
        panel.learn_one(Sample(now, 0.5, None, not rising, 0.0))
    found = {one["name"]: one for one in panel.show()["agents"]}
    assert found["rsi_reversion"]["trust"] == 0.0
    assert found["rsi_reversion"]["last"] == pytest.approx(found["base_rate"]["last"])


def test_a_state_of_another_horizon_or_panel_is_refused_and_changes_nothing() -> None:
    panel, made = Agents(seat(2)), rows(20, 10)
    for t, row in enumerate(made):
        panel.predict_proba_one(moment(t, row))
    before = {key: np.asarray(value).tobytes() for key, value in panel.state().items()}
    with pytest.raises(LearnerError, match=r"table is float64 of shape \(19, 21\), not float64 of \(15, 21\)"):
        panel.restore(Agents(seat(3)).state())
    with pytest.raises(LearnerError, match="'momentum'"):
        panel.restore({**panel.state(), "members": "momentum"})
    with pytest.raises(LearnerError, match="table is int64"):
        panel.restore({**panel.state(), "table": np.zeros((15, 21), dtype=np.int64)})
    assert before == {key: np.asarray(value).tobytes() for key, value in panel.state().items()}


def test_columns_that_are_missing_are_named() -> None:
    with pytest.raises(LearnerError, match="rsi_14"):
        Agents(seat(columns=tuple(name for name in COLUMNS if name != "rsi_14")))


def test_memory_is_bounded() -> None:
    panel, made = Agents(seat(4)), rows(600, 11)
    sizes = set()
    moments = [moment(t, row) for t, row in enumerate(made)]
    for t, now in enumerate(moments):
        if t >= 4:
            panel.learn_one(Sample(moments[t - 4], 0.5, None, t % 2 == 0, 0.0))
        panel.predict_proba_one(now)
        sizes.add(sum(np.asarray(value).nbytes for value in panel.state().values()))
    assert len(sizes) == 1


@pytest.mark.real_data
@pytest.mark.parametrize("horizon", [1, 4])
def test_regret_on_a_real_year_is_within_the_bound(shared_data: Path, horizon: int) -> None:
    import polars as pl

    frame = pl.read_parquet(shared_data / "market" / "crypto" / "BTCUSDT_spot_15m_2024.parquet")
    bars = Bars.from_frame(frame, symbol="BTCUSDT", timeframe="15m")
    made = FeatureEngine(FeatureSpec("15m", columns=COLUMNS)).batch(bars)
    panel = Agents(seat(horizon))
    moments = [moment(t, row) for t, row in enumerate(made)]
    loss = n = 0
    scores: list[float | None] = []
    for t, now in enumerate(moments):
        if t >= horizon:
            past, up = scores[t - horizon], bool(bars.close[t] > bars.close[t - horizon])
            panel.learn_one(Sample(moments[t - horizon], past, None, up, 0.0))
            if past is not None:
                loss, n = loss - math.log(past if up else 1.0 - past), n + 1
        scores.append(panel.predict_proba_one(now))
    told = panel.figures()
    assert told["regret"] is not None
    assert told["regret"] <= LN_N
    assert loss / n == pytest.approx(panel.show()["loss"], rel=1e-9)
    assert loss / n < math.log(2.0)


def test_an_edit_of_any_of_its_files_is_another_version() -> None:
    """The digest of a learner's code follows `kalibre.learners.NAME`, as its files are written."""
    import inspect
    import re

    import kalibre.learners.agents as module

    found = set(re.findall(r"kalibre\.learners\.(\w+)", inspect.getsource(module)))
    assert {path.stem for path in Path(module.__file__).parent.glob("_agents_*.py")} <= found
