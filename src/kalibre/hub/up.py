"""`kalibre hub up`: every worker under the supervisor, by one command."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kalibre.core.errors import KalibreError
from kalibre.core.settings import Settings, make_home
from kalibre.hub.chronicle import Chronicle
from kalibre.hub.last_resort import LastResort
from kalibre.hub.services import niceness
from kalibre.hub.supervisor import Supervisor
from kalibre.hub.worker import groups, members, projections
from kalibre.hub.worker_process import read_beat
from kalibre.hub.worker_spec import WorkerSpec
from kalibre.learners.base import enabled_learners
from kalibre.log.protocol import EventLog

_MB = 1024 * 1024
_LOOK_S = 0.25


def run_dir(settings: Settings) -> Path:
    """Return the folder of heartbeats, of the control socket and of what workers write."""
    return settings.home / "run"


def worker_specs(
    settings: Settings,
    *,
    config: Path | None,
    environment: Mapping[str, str],
    page: bool = True,
    learners: bool = True,
) -> list[WorkerSpec]:
    """Return every worker that the settings ask for.

    Parameters
    ----------
    config
        Settings file that the workers read; None for the one they find.
    environment
        What the command line says instead of the file, as `KALIBRE_*` variables.
    page
        Whether the server and its page run too.
    learners
        Whether the learners run too; elsewhere each then is a worker of its own.
    """
    running = groups(settings)
    if not learners:
        apart = set(enabled_learners(settings))
        running = {name: members for name, members in running.items() if not apart.issuperset(members)}
    names = ["api"] if page else []
    names += ["ingest", *running, "jobs", "outbox"]
    specs = []
    for name in names:
        command = [sys.executable, "-m", "kalibre", "hub", "worker", name]
        if config is not None:
            command += ["--config", str(config.absolute())]
        specs.append(
            WorkerSpec(
                name=name,
                command=command,
                nice=niceness(name, settings),
                memory_limit_bytes=settings.hub.memory_limit_mb * _MB,
                cron_restart=settings.hub.restart_cron or None,
                environment=environment,
                # A training job computes for minutes without a word; its lease, not its pulse, says whether it lives.
                heartbeat_limit_s=60.0 if name == "jobs" else 30.0,
            )
        )
    return specs


def up(
    settings: Settings,
    *,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
    once: bool = False,
    page: bool = True,
    learners: bool = True,
    say: Callable[[str, str], None],
) -> None:
    """Run the hub until SIGINT or SIGTERM or, with `once`, until a replay has been played and everything has read it.

    Parameters
    ----------
    learners
        Whether they run too; without them each is started by whoever watches over it, as PM2 does.
    say
        Is told the name of a worker and each line that it writes.

    Raises
    ------
    HubError
        If a hub already runs on this home.
    """
    make_home(settings.home)
    chronicle = Chronicle(settings, lambda name: _members(name, settings), lambda: _open(settings))
    supervisor = Supervisor(
        worker_specs(settings, config=config, environment=environment or {}, page=page, learners=learners),
        run_dir=run_dir(settings),
        on_state=LastResort(chronicle, settings),
        on_line=say,
    )
    done = threading.Event()
    if once:
        watcher = threading.Thread(target=_stop_when_played, args=(settings, supervisor, done), daemon=True)
        watcher.start()
    try:
        supervisor.run()
    finally:
        done.set()
        chronicle.close()


def _open(settings: Settings) -> EventLog:
    from kalibre.log import open_log

    return open_log(settings.log_url)


def _members(name: str, settings: Settings) -> Sequence[str]:
    try:
        return members(name, settings)
    except KalibreError:  # a service
        return ()


def behind(log: EventLog, readers: Mapping[str, frozenset[str]]) -> dict[str, int]:
    """Return by projection how many positions of what it reads it is behind; those that have read all are left out."""
    found = {}
    for name, reads in readers.items():
        progress, last = log.progress(name), log.last_position(reads)
        position = 0 if progress is None else progress.seq
        if position < last:
            found[name] = last - position
    return found


def readers(settings: Settings) -> dict[str, frozenset[str]]:
    """Return what each projection of the hub reads, by name."""
    return {name: make().reads for name, make in projections(settings).items()}


def _stop_when_played(settings: Settings, supervisor: Supervisor, done: threading.Event) -> None:
    """Stop the supervisor once the source has played to its end and every projection has read everything."""
    reading = readers(settings)
    with _open(settings) as log:
        quiet = 0
        while not done.wait(_LOOK_S):
            beat = read_beat(run_dir(settings) / "ingest.beat")
            played = beat is not None and beat.phase == "played"
            # What one says makes another read on: only when nobody moved for a while is it over.
            quiet = quiet + 1 if played and not behind(log, reading) else 0
            if quiet >= 4:
                supervisor.stop("the replay: it has been played to its end")
                return
