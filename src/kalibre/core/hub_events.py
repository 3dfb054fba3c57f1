"""Events of the hub: what learners, their judges, jobs, workers and the people who steer them say.

Kinds that only tell about the running of the hub (`OPERATIONAL`) depend on wall time and on which process lived when;
no projection reads them, so they never alter a result.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from kalibre.core.events import Payload

OPERATIONAL = frozenset({"worker", "checkpoint", "job", "alert", "alert_sent"})
"""About the running, not about the market: two runs over the same inputs may differ in them."""


# --- what learners and their judges say -------------------------------------------------------------------------------


class Annotation(Payload, frozen=True, kw_only=True):
    """Context that an annotator adds to a bar. Key: series|learner; event time: close.

    `label` is a plain name (`calm up`), empty where there is none; `about` what the values are about (a model's id).
    """

    kind = "annotation"
    learner: str
    label: str
    values: dict[str, float]
    about: str = ""
    abstained: str | None = None


class EnsembleForecast(Payload, frozen=True, kw_only=True):
    """What the forecasters say together, once each has spoken. Key: series|ensemble; event time: close."""

    kind = "ensemble"
    horizon_bars: int
    score: float | None
    p_up: float | None
    weights: dict[str, float]
    """Weight of each forecaster that said a probability; they sum to 1."""
    silent: dict[str, str] = msgspec.field(default_factory=dict)
    """Why each of the others said none."""
    abstained: str | None = None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the league: one forecaster or dummy over the window, with 95 % intervals where it can have them.

    `edge` is the mean log-loss of the base-rate dummy less its own, on the same bars: above 0 is better than knowing
    nothing. `marginal` is how much worse the ensemble's log-loss is without it.
    """

    name: str
    n: int
    n_abstained: int
    log_loss: float | None
    brier: float | None
    accuracy: float | None
    ece: float | None
    edge: float | None
    edge_low: float | None
    edge_high: float | None
    marginal: float | None = None
    benched: bool = False
    dummy: bool = False


class League(Payload, frozen=True, kw_only=True):
    """The table at the end of a period. Key: series; event time: end of the period."""

    kind = "league"
    window: int
    rows: tuple[Standing, ...]


class Benched(Payload, frozen=True, kw_only=True):
    """Who is not counted for doing worse than knowing nothing. Key: series; event time: end of the day that was judged.

    It holds for the day after the next one that bars closed in, so that nobody waits for the judge.
    """

    kind = "benched"
    names: tuple[str, ...]
    changes: dict[str, str]
    """Of each who was benched now, or came back, why."""


class Score(Payload, frozen=True, kw_only=True):
    """How the newest matured forecasts turned out. Key: series|forecaster; event time: end of the period.

    Figures are over the `n` newest matured forecasts (at most the league's window), of which `n_new` matured in the
    period. `win_rate` and `sharpe` (a year's) are of being long for the horizon wherever `p_up` is above one half,
    costs paid; None where nothing can be said.
    """

    kind = "score"
    n: int
    n_new: int
    n_abstained: int
    base_rate: float | None
    accuracy: float | None
    precision: float | None
    recall: float | None
    brier: float | None
    log_loss: float | None
    ece: float | None
    win_rate: float | None
    sharpe: float | None


class Drift(Payload, frozen=True, kw_only=True):
    """A drift test gave alarm. Key: series|forecaster|test; event time: close of the bar whose sample gave it.

    `cause` is what lay just before it (`retrain`, `reinitialisation`, `regime switch`, `unknown`), `action` what the
    hub does about it.
    """

    kind = "drift"
    test: Literal["adwin", "page_hinkley", "psi", "ks"]
    statistic: float
    threshold: float
    cause: str
    action: str
    detail: str = ""


class Bench(Payload, frozen=True, kw_only=True):
    """From which bar on nobody waits for a forecaster (or does again). Key: forecaster; event time: that bar's close.

    Said by the supervisor or a person about a worker that has stopped; it holds for bars whose close is at or after the
    event time. Who does worse than the dummies is waited for and not counted: that is said by `benched`.
    """

    kind = "bench"
    benched: bool
    by: str
    reason: str


# --- what people say --------------------------------------------------------------------------------------------------


class Command(Payload, frozen=True, kw_only=True):
    """A person's or a job's word to a learner. Key: learner; event time: wall time of the command.

    `restore` names a checkpoint by its digest: the learner goes on from it, and what it learnt since is skipped.
    `checkpoint` asks its worker to lay one down; the learner itself does not notice.
    """

    kind = "command"
    verb: Literal["pause", "resume", "reset", "restore", "checkpoint"]
    by: str
    reason: str = ""
    checkpoint: str = ""


# --- about the running ------------------------------------------------------------------------------------------------


class Checkpoint(Payload, frozen=True, kw_only=True):
    """A learner's state was laid down. Key: learner; event time: close of the newest bar that it knows."""

    kind = "checkpoint"
    digest: str
    position: int
    size_bytes: int
    reason: Literal["hourly", "events", "demand"]
    metrics: dict[str, float | None]


class Job(Payload, frozen=True, kw_only=True):
    """A job's way. Key: name|idempotency key; event time: when it was due, wall time."""

    kind = "job"
    job: str
    state: Literal["queued", "running", "done", "failed", "skipped"]
    attempt: int
    detail: str = ""
    result: dict[str, str] = msgspec.field(default_factory=dict)


class WorkerState(Payload, frozen=True, kw_only=True):
    """What became of a worker process. Key: worker; event time: wall time."""

    kind = "worker"
    state: Literal["starting", "online", "restarting", "error", "stopped"]
    pid: int = 0
    restarts: int = 0
    reason: str = ""


class Alert(Payload, frozen=True, kw_only=True):
    """Something that a person should know. Key: what it is about, the same for the same trouble; event time: wall time.

    `mend` is the command that mends it. `recovered` says that the trouble of this key is over.
    """

    kind = "alert"
    level: Literal["info", "warning", "critical"]
    title: str
    cause: str
    consequence: str
    mend: str = ""
    recovered: bool = False
