"""`kalibre serve`: the server as a process. It says where it listens, and ends cleanly on SIGINT and SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING

from kalibre.api.app import create_app
from kalibre.api.logins import reachable_at
from kalibre.core.errors import SettingsError
from kalibre.core.settings import Settings

if TYPE_CHECKING:
    from types import FrameType

    from uvicorn import Server

    from kalibre.api.front import Front

_BACKLOG = 512
_BEAT_S = 0.5
GRACE_S = 5
"""Seconds that open requests and streams get when the server is told to end."""


def serve(
    settings: Settings,
    *,
    announce: Callable[[str], None] | None = None,
    as_json: bool = False,
    beat: Callable[[int], None] | None = None,
    login: Callable[[str, str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Parameters
    ----------
    settings
        `api.port` 0 takes a free port.
    announce
        Is told line by line where the server listens and how to call it; by default they go to stderr.
    as_json
        Print one JSON object of `address` and `key` (null where keys are set) on stdout as well.
    beat
        Is told twice a second, by the loop that answers, how far the log has been read: a loop that hangs stops.
    login
        Is told the address and the address by which a person logs in once.

    Raises
    ------
    SettingsError
        If the address is public without secrets, or the port is taken, out of reach or not ours to open.
    """
    app = create_app(settings)
    listener = bind(settings.api.host, settings.api.port)
    say = announce or _to_stderr
    host, port = listener.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    say(f"listening on {address} (documentation: {address}/docs); stop with Ctrl-C")
    if app.service.session_key is not None:
        say(
            "no keys are set in [api.keys]: reading needs none, what changes state takes this run's own key\n"
            f"  X-API-Key: {app.service.session_key}\n"
            f"or a session of the page, which this address opens once: {address}{app.service.sessions.new_login()}"
        )
    if as_json:
        sys.stdout.write(json.dumps({"address": address, "key": app.service.session_key}) + "\n")
        sys.stdout.flush()
    if login is not None:
        login(address, f"{address}{app.service.sessions.new_login()}")
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    with reachable_at(settings.home / "run", address):
        _run(_server(app), listener, None if beat is None else _beating(app, beat))


def bind(host: str, port: int) -> socket.socket:
    """Open the address to listen on, before anything else is started.

    Raises
    ------
    SettingsError
        If the port is busy, privileged or the address not this machine's; the message quotes it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
        # From here on who connects waits a moment instead of being turned away.
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        advice = {
            errno.EADDRINUSE: "another program listens there: stop it or set api.port to a free one (0 takes any)",
            errno.EACCES: "ports below 1024 need rights: set api.port to one above",
            errno.EADDRNOTAVAIL: "this machine has no such address: set api.host to 127.0.0.1",
        }.get(error.errno or 0, f"{error}: set api.host and api.port to an address of this machine")
        raise SettingsError(f"cannot listen on {host}:{port}: {advice}") from error
    listener.set_inheritable(False)
    return listener


def _server(app: Front) -> Server:
    import uvicorn

    from kalibre.api.hot import HotWire, protocol

    class CalmServer(uvicorn.Server):
        """Ends on a signal with exit code 0, where uvicorn would raise the signal again after it has shut down."""

        @contextlib.contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            before = {number: signal.signal(number, self._end) for number in (signal.SIGINT, signal.SIGTERM)}
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

        def _end(self, number: int, frame: FrameType | None) -> None:
            # Asked a second time it does not wait for open requests any longer.
            self.force_exit = self.should_exit
            self.should_exit = True
            app.service.closing = True

    return CalmServer(
        uvicorn.Config(
            app,
            http=protocol(HotWire(app.service)),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_S,
            backlog=_BACKLOG,
        )
    )


async def _beating(app: Front, beat: Callable[[int], None]) -> None:
    while True:
        beat(app.service.live.picture.seq)
        await asyncio.sleep(_BEAT_S)


def _run(server: Server, listener: socket.socket, beating: Coroutine[None, None, None] | None) -> None:
    import uvloop

    async def run() -> None:
        heart = None if beating is None else asyncio.create_task(beating, name="heart")
        await server.serve(sockets=[listener])
        if heart is not None:
            heart.cancel()

    # A thread that computes (a fold, a posted history) hands the interpreter over after half a millisecond, not five.
    sys.setswitchinterval(0.0005)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
