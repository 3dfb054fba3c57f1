"""What a learner must offer, and what it is shown: one bar's close at a time, and each sample once its horizon is over.

A learner is one file of `learners/`; the class that it names `LEARNER` is found by the file. It knows no log and no
clock: `kalibre.learners.base` reads the log for it, keeps its features, matures and calibrates its forecasts, and lets
it abstain where prices are in doubt. One learner object belongs to one series.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import msgspec

from kalibre.core.bars import Bar
from kalibre.core.events import Event
from kalibre.core.protocols import FloatArray, State


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """What a learner is made for.

    `columns` names the numbers of a row, in order. `fee` is what one side of a trade costs as a share of its value,
    slippage included. `seed` belongs to this learner and series alone: the only source of randomness.
    """

    symbol: str
    timeframe: str
    horizon_bars: int
    columns: tuple[str, ...]
    fee: float
    seed: int
    load_model: Callable[[str, str | None], Any] | None = None
    """Loads a model's bundle by id and digest, for who explains one."""


class Moment(NamedTuple):
    """A bar's close as a learner meets it: everything here was known then.

    `row` has shape (n_columns,), NaN where a feature is unknown; it is read-only. Prices are in the series' scale.
    `follows` says that no bar is missing between this one and the one before.
    """

    close_ms: int
    bar: Bar
    row: FloatArray
    follows: bool


class Sample(NamedTuple):
    """A moment whose horizon has passed: what was said then, and what became of it.

    `score` is what the learner said (None: it abstained), `p_up` what was made of it by calibration (None: not yet).
    """

    moment: Moment
    score: float | None
    p_up: float | None
    went_up: bool
    log_return: float


class Note(NamedTuple):
    """What an annotator says of a bar: a plain name, figures by name, and what they are about (a model's id)."""

    label: str
    values: dict[str, float]
    about: str = ""


@runtime_checkable
class Learner(Protocol):
    """What forecasters and annotators share.

    Attributes
    ----------
    name
        Its file's name.
    role
        `forecaster` or `annotator`.
    columns
        The features of its rows; None for the default set of the settings. Levels (`sma_20`) may be named as well.
    """

    name: ClassVar[str]
    role: ClassVar[Literal["forecaster", "annotator"]]
    columns: ClassVar[tuple[str, ...] | None]

    def __init__(self, seat: Seat) -> None:
        """Begin knowing nothing."""
        ...

    def state(self) -> State:
        """Return everything that later answers depend on; arrays may be live, who keeps them copies them."""
        ...

    def restore(self, state: State) -> None:
        """Take on a state returned by `state` of a learner for the same seat.

        Raises
        ------
        LearnerError
            If it does not fit; nothing has changed then.
        """
        ...

    def figures(self) -> dict[str, float | None]:
        """Return what its training looks like now, by name (`loss`, `reward`, `trees`, ...); None where unknown."""
        ...

    def show(self) -> dict[str, Any]:
        """Return what it has learnt in a form that a person can read, as plain JSON types."""
        ...


@runtime_checkable
class Forecaster(Learner, Protocol):
    """A learner that says how likely the close after the horizon is above this one."""

    def predict_proba_one(self, moment: Moment) -> float | None:
        """Return the uncalibrated probability of up, in [0, 1]; None to abstain, as where a feature it needs is NaN.

        Called exactly once for every bar, in order, before anything about it has matured.
        """
        ...

    def learn_one(self, sample: Sample) -> None:
        """Learn from a sample whose horizon has passed; in order, each once, abstentions too."""
        ...


@runtime_checkable
class Annotator(Learner, Protocol):
    """A learner that adds context and stands outside league and ensemble."""

    def annotate(self, moment: Moment) -> Note | None:
        """Return what it makes of a bar; None to abstain. Called exactly once for every bar, in order."""
        ...


@runtime_checkable
class Attentive(Protocol):
    """A learner that reads further kinds of events, such as promotions, and may want other features from then on."""

    also_reads: ClassVar[frozenset[str]]

    def take(self, event: Event) -> None:
        """Take in an event of one of these kinds."""
        ...

    @property
    def spec(self) -> Mapping[str, Any] | None:
        """The features of its rows from now on, as `FeatureSpec.as_dict` says them; None for those of `columns`."""
        ...
