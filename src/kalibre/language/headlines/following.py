"""Feeds followed: what is new is put down, scored, and recorded in the log, each headline exactly once.

A look at a source and what becomes of its headlines are two steps with the inbox between them. A feed that fails is
left alone for longer and longer, and keeps no other from being read. When a headline counts from: what its source says,
if that can be; a date alone from the next session on; and where the feed gives no time, or one that is still to come,
from when it was first seen.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from kalibre.bars.calendars import Calendar
from kalibre.core.clock import ISTANBUL, Clock
from kalibre.core.errors import KalibreError, LanguageError, RateLimitedError, SourceError
from kalibre.language.corpus.config import SourceConfig
from kalibre.language.corpus.sources.base import Found, Left
from kalibre.language.headlines.cache import Reuse, ScoreCache
from kalibre.language.headlines.canonical import exact_key
from kalibre.language.headlines.checks import reason_against
from kalibre.language.headlines.contract import is_final
from kalibre.language.headlines.followed import Followed, opened
from kalibre.language.headlines.inbox import Inbox, Item, Standing
from kalibre.language.headlines.publication import known_ms
from kalibre.language.headlines.recording import Published, record
from kalibre.language.headlines.score import Score, abstention
from kalibre.language.headlines.scoring import Scorer, scored
from kalibre.language.text.language_id import detect
from kalibre.log.protocol import EventLog

logger = logging.getLogger(__name__)

_AHEAD_MS: Final = 120_000
"""How far a feed's clock may be ahead of ours before its time is not believed."""
_BATCH: Final = 200
_MOST_TRIES: Final = 50
"""Scores asked for in vain, of an endpoint, before a headline stays without one."""
_LONGEST: Final = 1_000
"""Characters of a headline; what a wire puts behind them is the article."""
_LONGEST_PAUSE_S: Final = 3_600.0


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """A headline that was recorded now, since when it is known (UTC ms), and what was made of it."""

    text: str
    source: str
    published: str
    known_ms: int
    asset: str | None
    impact: float | None
    horizon: str | None
    confidence: float | None
    abstained: str | None
    reused: str
    note: str = ""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A look at one source: new headlines, what could not be read by reason, and what made it end early."""

    name: str
    new: int
    left: dict[str, int]
    failed: str = ""
    next_ms: int = 0


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What one round did; `waiting` headlines are still to be scored, `failed` says what kept them from it."""

    at_ms: int
    looks: list[Look]
    heard: list[Heard]
    headlines: int = 0
    scores: int = 0
    waiting: int = 0
    failed: str = ""


class Follower:
    """Follows feeds.

    Parameters
    ----------
    followed
        What.
    inbox, log, cache
        Where headlines, events and scores are kept.
    scorer, universe
        Who scores, and for which assets (None: all).
    calendar
        Whose sessions count for a date alone.
    clock
        The machine's, unless a test holds it.
    """

    def __init__(
        self,
        followed: Followed,
        *,
        inbox: Inbox,
        log: EventLog,
        cache: ScoreCache,
        scorer: Scorer,
        calendar: Calendar,
        clock: Clock,
        universe: Sequence[str] | None = None,
    ) -> None:
        self._followed, self._inbox, self._log, self._cache = followed, inbox, log, cache
        self._scorer, self._calendar, self._clock, self._universe = scorer, calendar, clock, universe
        self._misses, self._asks_ms = 0, 0

    def round(self, *, now: bool = False, stopped: Callable[[], bool] = lambda: False) -> Round:
        """Look at every source whose turn it is (with `now` at all), and score and record what it brought.

        Parameters
        ----------
        now
            Look at every source, whosever turn it is.
        stopped
            Asked before each source: whether to end here.
        """
        at_ms = self._clock.now_ms()
        asking = now or self._asks_ms <= at_ms
        looks: list[Look] = []
        heard: list[Heard] = []
        headlines = scores = 0
        failed = ""
        turns: list[SourceConfig | None] = [None, *self._followed.sources]
        for source in turns:
            if stopped():
                break
            # First what waits from before; then source by source: a slow one does not delay what others brought.
            if source is not None:
                standing = self._standing(source)
                if not now and standing.next_ms > self._clock.now_ms():
                    continue
                looks.append(self._look(source, standing))
                if failed or not looks[-1].new:
                    continue
            try:
                while items := self._inbox.waiting(_BATCH, untried=not asking):
                    done, counted, unsettled = self._record(items, asking=asking)
                    heard += done
                    headlines, scores = headlines + counted[0], scores + counted[1]
                    asking = self._pause(unsettled) if asking else False
            except KalibreError as error:
                # The log is locked, the disk full: what waits is still there in the next round.
                failed = str(error)
                logger.warning("headlines wait: %s", failed)
        waiting = self._inbox.counts()[1]
        return Round(
            at_ms=at_ms, looks=looks, heard=heard, headlines=headlines, scores=scores, waiting=waiting, failed=failed
        )

    def _pause(self, unsettled: int) -> bool:
        """Say whether to go on asking; a scorer that left headlines unsettled is left alone for longer and longer."""
        if not unsettled:
            self._misses = 0
            return True
        self._misses += 1
        pause_s = min(_LONGEST_PAUSE_S, self._followed.every_s * 2.0 ** min(self._misses, 12))
        self._asks_ms = self._clock.now_ms() + round(1000 * pause_s)
        logger.warning("%s says nothing of %d headlines, asked again later", self._scorer.version, unsettled)
        return False

    def next_ms(self) -> int:
        """Return when the next source has its turn."""
        return min(self._standing(source).next_ms for source in self._followed.sources)

    # --- looking ------------------------------------------------------------------------------------------------------

    def _standing(self, source: SourceConfig) -> Standing:
        return self._inbox.standing(f"{source.kind}:{source.name}")

    def _look(self, source: SourceConfig, before: Standing) -> Look:
        memory: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(before.memory))
        tried_ms = self._clock.now_ms()
        items: list[Item] = []
        left: dict[str, int] = {}
        failed, silent, wait_s = "", "", self._followed.every_s
        try:
            today = datetime.fromtimestamp(tried_ms / 1000, tz=ISTANBUL).date().isoformat()
            for found in opened(source, today=today).read(memory):
                if isinstance(found, Left):
                    left[found.reason] = left.get(found.reason, 0) + 1
                    logger.info("%s: %s left out (%s)", source.name, found.where, found.detail or found.reason)
                    silent = silent or (found.detail or found.reason if _is_feed(found, source) else "")
                elif (item := self._item(source, found)) is not None:
                    items.append(item)
        except SourceError as error:
            failed = str(error)
            wait_s = min(_LONGEST_PAUSE_S, self._followed.every_s * 2.0 ** min(before.failures + 1, 12))
            if isinstance(error, RateLimitedError):
                wait_s = max(wait_s, error.retry_after_s or 0.0)
        trouble = failed or silent
        if trouble and not before.trouble:
            logger.warning("%s cannot be followed: %s", source.name, trouble)
        elif before.trouble and not trouble:
            logger.warning("%s is back", source.name)
        standing = Standing(
            name=before.name,
            memory=memory,
            tried_ms=tried_ms,
            read_ms=before.read_ms if trouble else tried_ms,
            next_ms=self._clock.now_ms() + round(1000 * wait_s),
            failures=before.failures + 1 if failed else 0,
            trouble=trouble,
            headlines=before.headlines,
        )
        new = self._inbox.take(items, standing)
        return Look(name=source.name, new=new, left=left, failed=trouble, next_ms=standing.next_ms)

    def _item(self, source: SourceConfig, found: Found) -> Item | None:
        """Make a headline of what a source has; None where it has no words at all to show.

        The subject of an announcement is a form's name ("material event"): what it says is its summary.
        """
        first, _, rest = found.text.partition("\n")
        parts = [found.title or first, *([rest] if source.kind == "kap" else [])]
        text = _cut(" - ".join(part for part in (" ".join(one.split()) for one in parts) if part))
        if not text:
            return None
        seen_ms = self._clock.now_ms()
        published, note = self._published(found.date, seen_ms)
        # Read again, it is the same item, whatever time the feed gives it by then.
        place = found.url or found.date
        name = hashlib.sha256(f"{source.name}\n{place}\n{exact_key(text)}".encode("utf-8", "replace")).hexdigest()[:32]
        stale = seen_ms - known_ms(published, self._calendar) > 3_600_000 * self._followed.oldest_h
        return Item(name, source.name, text, found.url, published, note, seen_ms, stale)

    def _published(self, told: str, seen_ms: int) -> tuple[str, str]:
        """Return since when a headline is known, as `known_ms` takes it, and why that is not what its source says."""
        seen = datetime.fromtimestamp(seen_ms / 1000, tz=UTC).isoformat(timespec="milliseconds")
        if not told:
            return seen, "its feed gives no time: known from when it was first seen"
        try:
            moment = known_ms(told if "T" in told else f"{told}T00:00:00", self._calendar)
            known_ms(told, self._calendar)
        except LanguageError:
            return seen, f"its feed says {told[:40]!r}, which is no time: known from when it was first seen"
        if moment > seen_ms + _AHEAD_MS:
            return seen, f"its feed says {told}, which is still to come: known from when it was first seen"
        return told, ""

    # --- recording ----------------------------------------------------------------------------------------------------

    def _record(self, items: Sequence[Item], *, asking: bool) -> tuple[list[Heard], tuple[int, int], int]:
        """Score and record items; return what was heard, how many events are new, and how many have to be asked again.

        Of those the headline is recorded at once, the score when there is one: recorded again, a headline is the same.
        """
        results = {one.id: self._unscored(one, asking) for one in items}
        asked = [one for one in items if results[one.id] is None]
        said = scored([one.text for one in asked], universe=self._universe, scorer=self._scorer, cache=self._cache)
        found = dict(zip((one.id for one in asked), said, strict=True))
        whole = [found.get(one.id) or (results[one.id] or abstention("", model=""), "") for one in items]
        # Who said nothing knows no language either, and a headline must not change with who was asked.
        settled: list[tuple[Score, Reuse]] = [
            (replace(score, language=detect(one.text)[0]), reuse)
            for one, (score, reuse) in zip(items, whole, strict=True)
        ]
        stored = record(
            self._log,
            [Published(one.text, one.published, one.source, one.url) for one in items],
            settled,
            calendar=self._calendar,
            live_at_ms=self._clock.now_ms(),
        )
        again = [one for one, (score, _) in zip(items, settled, strict=True) if self._unsettled(one, score)]
        waits = {one.id for one in again}
        done = [one for one in items if one.id not in waits]
        self._inbox.settle(done, again)
        heard = [
            _heard(one, known_ms(one.published, self._calendar), *said)
            for one, said in zip(items, settled, strict=True)
            if one.id not in waits
        ]
        return heard, (stored.headlines, stored.scores), len(again)

    def _unscored(self, item: Item, asking: bool) -> Score | None:
        """Return the abstention on an item that is not scored now, None where it is."""
        why = ""
        if item.stale:
            why = f"no news: older than {self._followed.oldest_h:g} hours when it was first seen"
        elif not asking:
            why = "endpoint is left alone for a while"
        return abstention(why, model=self._scorer.version) if why else None

    def _unsettled(self, item: Item, score: Score) -> bool:
        """Say whether an endpoint may still say something: it was down, or its budget spent."""
        if not self._scorer.prompt_version or item.stale or score.abstained is None or is_final(score.abstained):
            return False
        young = self._clock.now_ms() - item.seen_ms < 3_600_000 * self._followed.oldest_h
        return young and item.tries + 1 < _MOST_TRIES and reason_against(item.text) is None


def _is_feed(left: Left, source: SourceConfig) -> bool:
    """Say whether it is a feed itself that could not be read, and not what it points at."""
    where = urlsplit(left.where)
    feeds = [urlsplit(str(one)) for one in source.options.get("feeds", ())]
    return any((one.hostname, one.path) == (where.hostname, where.path) for one in feeds)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST].rpartition(" ")[0] or text[:_LONGEST]


def _heard(item: Item, known: int, score: Score, reused: str) -> Heard:
    return Heard(
        text=item.text,
        source=item.source,
        published=item.published,
        known_ms=known,
        asset=score.asset,
        impact=score.impact,
        horizon=score.horizon,
        confidence=score.confidence,
        abstained=score.abstained,
        reused=reused,
        note=item.note,
    )
