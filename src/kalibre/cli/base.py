"""What the verbs share: options, settings, output on stdout (text or JSON), logs and progress on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kalibre.core.errors import KalibreError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from kalibre.core.bars import Bars
    from kalibre.core.settings import Settings
    from kalibre.log.protocol import EventLog

EXIT_FAILED = 1
EXIT_DEGRADED = 3
EXIT_KILLED = 4
EXIT_INTERRUPTED = 130

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of text.")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="Settings file; default: kalibre.toml here.")]
SymbolOption = Annotated[str | None, typer.Option("--symbol", "-s", help="Symbol; default: the first of the settings.")]
SymbolsOption = Annotated[list[str] | None, typer.Option("--symbol", "-s", help="Symbol; may be given several times.")]
TimeframeOption = Annotated[str | None, typer.Option("--timeframe", "-t", help="Timeframe, for example 15m.")]
TimerangeOption = Annotated[str | None, typer.Option("--timerange", help="UTC days, for example 20240101-20240601.")]
DaysOption = Annotated[int | None, typer.Option("--days", min=1, help="Only the last so many days.")]
ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="Model id; default: champion, else the newest.")]


def settings_of(config: Path | None, *, symbols: list[str] | None = None, timeframe: str | None = None) -> Settings:
    """Load the settings, with what the command line says instead of the file."""
    from kalibre.core.settings import load_settings

    market: dict[str, Any] = {}
    if symbols:
        market["symbols"] = tuple(symbols)
    if timeframe:
        market["timeframe"] = timeframe
    return load_settings(config, **({"market": market} if market else {}))


@contextlib.contextmanager
def opened_log(settings: Settings) -> Iterator[EventLog]:
    """Open the log of the settings, and close it whatever happens."""
    from kalibre.core.settings import make_home
    from kalibre.log import open_log

    if not settings.log.url:
        make_home(settings.home)
    log = open_log(settings.log_url)
    try:
        yield log
    finally:
        log.close()


def time_bounds(timerange: str | None, days: int | None, *, newest_ms: int) -> tuple[int | None, int | None]:
    """Return start and end in UTC ms from `--timerange` or `--days` (counted back from `newest_ms`)."""
    from kalibre.core.clock import parse_timerange
    from kalibre.core.timeframe import DAY_MS

    if timerange is not None and days is not None:
        raise UsageError(f"--timerange {timerange!r} and --days {days} exclude each other: give one")
    if timerange is not None:
        return parse_timerange(timerange)
    return (None if days is None else newest_ms - days * DAY_MS), None


def stored_bars(
    log: EventLog,
    settings: Settings,
    symbol: str,
    *,
    timeframe: str | None = None,
    timerange: str | None = None,
    days: int | None = None,
) -> Bars:
    """Load a stored series in its forward scale; warns of undecided corporate actions in it.

    Where no bar is stored, the error says which command fetches them.
    """
    from kalibre.bars.history import load_bars, undecided_actions
    from kalibre.core.clock import to_text
    from kalibre.core.errors import DatasetError

    chosen = timeframe or settings.market.timeframe
    mirror = settings.home / "mirror"
    bars = load_bars(log, symbol, chosen, mirror_dir=mirror)
    if not len(bars):
        raise DatasetError(
            f"the log holds no bar of {symbol!r} {chosen}: run `kalibre ingest --symbol {symbol} --timeframe {chosen}`"
        )
    start_ms, end_ms = time_bounds(timerange, days, newest_ms=int(bars.close_time[-1]))
    chosen_bars = bars.between(start_ms, end_ms)
    if not len(chosen_bars):
        raise DatasetError(
            f"no bar of {symbol!r} {chosen} lies in {timerange or f'the last {days} days'}: the log holds "
            f"{to_text(int(bars.open_time[0]))} to {to_text(int(bars.open_time[-1]))}"
        )
    first, last = int(chosen_bars.open_time[0]), int(chosen_bars.open_time[-1])
    for event_time, action in undecided_actions(log, symbol):
        if first < event_time <= last:
            told = f"{symbol} {to_text(event_time)[:10]}"
            sys.stderr.write(
                f"kalibre: warning: a corporate action of {told} (factor {action.factor:.4g}) is undecided, and prices "
                f"from it on are read as they were traded: `kalibre actions confirm {told}` or "
                f"`kalibre actions reject {told}`\n"
            )
    return chosen_bars


def out(*, stderr: bool = False) -> Console:
    """Return a console: stdout for what was asked for, stderr for everything else."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=not sys.stdout.isatty())


def emit(result: Mapping[str, Any], *, as_json: bool, show: Callable[[Console], None]) -> None:
    """Print a result: as one JSON object, or by `show` as text."""
    if as_json:
        import msgspec

        # msgspec writes NaN as null, which JSON needs; the standard encoder would write an invalid NaN.
        sys.stdout.write(msgspec.json.encode(dict(result), enc_hook=_plain).decode() + "\n")
    else:
        show(out())


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    # msgspec's own way to be told that a type has no JSON form: it names the type in its error.
    raise NotImplementedError(type(value))


def fail(error: KalibreError, *, as_json: bool) -> int:
    """Tell the user what went wrong; return the exit code."""
    if as_json:
        sys.stdout.write(
            json.dumps({"error": {"type": type(error).__name__, "message": str(error)}}, ensure_ascii=False) + "\n"
        )
    sys.stderr.write(f"kalibre: {error}\n")
    return error.exit_code


@contextlib.contextmanager
def progress(*, as_json: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show progress on stderr; yields `report(stage, done, total)`. Silent with `--json` and without a terminal."""
    if as_json or not sys.stderr.isatty():
        yield lambda stage, done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=out(stderr=True), transient=True) as bar:
        tasks: dict[str, Any] = {}

        def report(stage: str, done: int, total: int) -> None:
            task = tasks.setdefault(stage, bar.add_task(stage, total=total)) if stage not in tasks else tasks[stage]
            bar.update(task, completed=done, total=total)

        yield report


@contextlib.contextmanager
def stopped_by_signal() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGINT or SIGTERM has come; the first one asks, a second one kills."""
    import signal
    from types import FrameType

    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
