"""`kalibre news follow`: feeds followed, their headlines scored and recorded as they come."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kalibre.cli._help import Verb
from kalibre.cli._texts import scored_by
from kalibre.cli.base import (
    EXIT_DEGRADED,
    ConfigOption,
    JsonOption,
    opened_log,
    out,
    settings_of,
    stopped_by_signal,
)
from kalibre.cli.news import ScorerModel, news

if TYPE_CHECKING:
    from rich.console import Console

    from kalibre.language.headlines.following import Heard, Round

app = typer.Typer()
"""Empty: the verb belongs to the group `news`."""

_FILE = Path("follow.toml")
_NAP_S = 0.2


@news.command(cls=Verb)
def follow(
    file: Annotated[
        Path, typer.Argument(help="What to follow: sources as in corpus.toml, of the kinds news and kap.")
    ] = _FILE,
    once: Annotated[bool, typer.Option("--once", help="Look at every source once, and end: for cron.")] = False,
    every: Annotated[
        float | None, typer.Option("--every", min=5, help="Seconds between two looks; default: the file's.")
    ] = None,
    model: ScorerModel = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Follow feeds and KAP: score what is new, and record it in the log, each headline once.

    With --json one object a round. Exit code 3 if, with --once, a source could not be read or headlines wait.
    """
    import msgspec

    from kalibre.bars.calendars import get_calendar
    from kalibre.core.clock import SystemClock
    from kalibre.language.headlines.cache import ScoreCache
    from kalibre.language.headlines.followed import read_followed
    from kalibre.language.headlines.following import Follower
    from kalibre.language.headlines.inbox import Inbox
    from kalibre.language.headlines.scoring import scorer_of

    settings = scored_by(settings_of(config), model)
    followed = read_followed(file)
    if every is not None:
        followed = msgspec.structs.replace(followed, every_s=every)
    scorer = scorer_of(settings)
    # Visits of pages are no news; what a source refuses or brings back is.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="kalibre: %(message)s")
    folder = settings.home / "language"
    clock, console, told = SystemClock(), out(), out(stderr=True)
    with contextlib.ExitStack() as stack:
        inbox = stack.enter_context(contextlib.closing(Inbox(folder / "following.sqlite")))
        stack.enter_context(inbox.alone())
        log, stopped = stack.enter_context(opened_log(settings)), stack.enter_context(stopped_by_signal())
        follower = Follower(
            followed,
            inbox=inbox,
            log=log,
            cache=stack.enter_context(contextlib.closing(ScoreCache(folder / "headlines.sqlite"))),
            scorer=scorer,
            calendar=get_calendar(settings.market.calendar),
            clock=clock,
            universe=settings.language.universe or None,
        )
        if not once and not as_json:
            names = ", ".join(source.name for source in followed.sources)
            told.print(f"following {names} every {followed.every_s:g} s; stop with Ctrl-C", markup=False)
        while True:
            done = follower.round(now=once, stopped=stopped)
            if as_json:
                sys.stdout.write(msgspec.json.encode(done).decode() + "\n")
                sys.stdout.flush()
            else:
                _show(console, done, once=once)
            if once:
                degraded = done.failed or done.waiting or any(look.failed for look in done.looks)
                raise typer.Exit(EXIT_DEGRADED if degraded else 0)
            while not stopped() and clock.now_ms() < follower.next_ms():
                time.sleep(_NAP_S)
            if stopped():
                break


def _show(console: Console, done: Round, *, once: bool) -> None:
    for one in done.heard:
        console.print(_line(one), markup=False)
    if once:
        for look in done.looks:
            left = "".join(f", {count:,} {reason}" for reason, count in sorted(look.left.items()))
            console.print(
                f"{look.name}: {look.new:,} new{left}" + (f"; {look.failed}" if look.failed else ""), markup=False
            )
        waits = f", {done.waiting:,} wait" if done.waiting else ""
        console.print(
            f"recorded {done.headlines:,} headlines and {done.scores:,} scores{waits}"
            + (f"; {done.failed}" if done.failed else ""),
            markup=False,
        )


def _line(one: Heard) -> str:
    from kalibre.core.clock import to_text

    said = one.abstained or ("no asset" if one.asset is None else f"{one.asset} {one.impact:+.2f} {one.horizon or '-'}")
    sure = "" if one.confidence is None else f" {one.confidence:.2f}"
    return f"{to_text(one.known_ms)}  {said}{sure}  {one.text[:160]}  ({one.source})" + (
        f"  [{one.note}]" if one.note else ""
    )
