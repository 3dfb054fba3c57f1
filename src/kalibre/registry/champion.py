"""Which model acts: follows the promotions in the log, and never asks MLflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from kalibre.core.errors import KalibreError
from kalibre.core.events import Promotion

if TYPE_CHECKING:
    from kalibre.log.protocol import EventLog
    from kalibre.models.acting import Acting

Alias = Literal["champion", "challenger"]
Prepared = TypeVar("Prepared")

_PAGE = 1_000


@dataclass(frozen=True)
class Holder(Generic[Prepared]):
    """One alias of one series: the model that holds it, or why none can act.

    `model_id` None means that no model holds the alias; `prepared` None with a `model_id` that it cannot be loaded, and
    `problem` says why. A model that cannot be loaded is never replaced by the one before: the log says who acts.
    """

    model_id: str | None
    digest: str | None
    prepared: Prepared | None
    problem: str
    since_ms: int
    seq: int


class ChampionFollower(Generic[Prepared]):
    """Keeps the models that hold an alias loaded, by reading the log's promotions.

    `current` is one immutable mapping that is replaced as a whole: who reads it once sees one state, never a mixture.

    Parameters
    ----------
    log
        The log to follow.
    models_dir
        Folder of stored bundles and ensemble versions.
    prepare
        Makes of a verified bundle or ensemble version what the caller works with; its result is loaded once and shared
        by the aliases.

    Examples
    --------
    In a serving process::

        follower = ChampionFollower(log, settings.models_dir, prepare=served)
        follower.poll()
        holder = follower.current.get(("BTCUSDT|15m", "champion"))
    """

    def __init__(self, log: EventLog, models_dir: Path, *, prepare: Callable[[Acting], Prepared]) -> None:
        self._log = log
        self._models_dir = models_dir
        self._prepare = prepare
        self._position = 0
        self.current: Mapping[tuple[str, Alias], Holder[Prepared]] = MappingProxyType({})

    def poll(self, *, upto: int | None = None) -> bool:
        """Read the promotions since the last call, and load what they name.

        A model that could not be loaded is tried again at every call: its folder may arrive late.

        Parameters
        ----------
        upto
            Do not look beyond this position; None looks at everything there is.

        Returns
        -------
        Whether `current` was replaced.
        """
        newest: dict[tuple[str, Alias], tuple[Promotion, int, int]] = {}
        head = self._log.head() if upto is None else upto
        while self._position < head:
            events = self._log.read(after=self._position, upto=head, kinds={"promotion"}, limit=_PAGE)
            for event in events:
                if isinstance(event.payload, Promotion):
                    series = event.key.rpartition("|")[0]
                    newest[series, event.payload.alias] = (event.payload, event.event_time, event.seq)
            self._position = events[-1].seq if len(events) == _PAGE else head
        broken = {place: holder for place, holder in self.current.items() if holder.problem}
        if not newest and not broken:
            return False
        merged = dict(self.current)
        for place, holder in broken.items():
            if place not in newest:
                merged[place] = self._load(holder.model_id, holder.digest, holder.since_ms, holder.seq)
        for place, (promotion, since_ms, seq) in newest.items():
            merged[place] = self._load(promotion.model, promotion.digest, since_ms, seq)
        changed = merged != dict(self.current)
        if changed:
            self.current = MappingProxyType(merged)
        return changed

    def _load(self, model_id: str | None, digest: str | None, since_ms: int, seq: int) -> Holder[Prepared]:
        if model_id is None:
            return Holder(None, None, None, "", since_ms, seq)
        for holder in self.current.values():
            if holder.model_id == model_id and holder.digest == digest and holder.prepared is not None:
                return Holder(model_id, digest, holder.prepared, "", since_ms, seq)
        from kalibre.models.acting import load_acting

        try:
            prepared = self._prepare(load_acting(self._models_dir, model_id, digest))
        except KalibreError as error:
            return Holder(model_id, digest, None, f"model {model_id} cannot be loaded: {error}", since_ms, seq)
        return Holder(model_id, digest, prepared, "", since_ms, seq)
