"""Sending: a message to each target at once, each in a thread of its own, each with a verdict of its own."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from kalibre.alerts.guard import Guard, guarded
from kalibre.alerts.messages import Message, check_message, plain
from kalibre.alerts.overheard import overheard
from kalibre.alerts.targets import Target, targets_of
from kalibre.core.clock import Clock, SystemClock
from kalibre.core.errors import AlertError, AlertRefusedError, AlertTargetError
from kalibre.core.settings import AlertSettings, Settings

if TYPE_CHECKING:
    from apprise.plugins.base import NotifyBase

PATIENCE_S = 30.0
"""A target that has not answered by then counts as failed; apprise's own limits are 4 s to connect and 4 s to read."""

Verdict = Literal["sent", "later", "refused", "wrong"]

_CODE = re.compile(r"\berror[=:] ?(\d{3})\b")
_SMTP = re.compile(r"\((\d{3}), b|\brefused: (\d{3})\b")
_TEST = "then `kalibre alerts test`"
_LATER = frozenset({408, 425, 429})
_REFUSED = frozenset({400, 413, 415, 422})
_LOGIN = frozenset({530, 534, 535, 538})
_NO_MAILBOX = frozenset({550, 551, 553})


@dataclass(frozen=True)
class Result:
    """What became of a message at one target.

    `verdict`: `sent`; `later`, it may work when tried again; `refused`, the target does not take this message; `wrong`,
    the target is wrong for good. `detail` says why and what to do, without anything that the address holds.
    """

    target: str
    verdict: Verdict
    detail: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the target took it."""
        return self.verdict == "sent"

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON-able values."""
        return {"ok": self.ok, **asdict(self)}


def send_test(settings: Settings, clock: Clock | None = None) -> list[Result]:
    """Send a test alert to each target of the settings, and report on each; empty if none is set."""
    message = check_message(settings.lang, (clock or SystemClock()).now_ms())
    return send_all([(target, message) for target in targets_of(settings)], settings.alerts)


def send_all(
    pairs: Iterable[tuple[Target, Message]], settings: AlertSettings, *, patience_s: float = PATIENCE_S
) -> list[Result]:
    """Send each message to its target, all at once; one target's failure is nothing to the others."""
    attempts = [_Attempt(target, message, settings) for target, message in pairs]
    deadline = time.monotonic() + patience_s
    return [attempt.result(deadline, patience_s) for attempt in attempts]


def send(target: Target, message: Message, settings: AlertSettings) -> None:
    """Send one message to one target, in the calling thread.

    Raises
    ------
    AlertTargetError
        If the target is wrong for good: unknown address, wrong key, forbidden host, moved away.
    AlertRefusedError
        If the target was reached and did not take this message.
    AlertError
        If it may work when tried again.
    """
    import apprise

    kinds = {
        "info": apprise.NotifyType.INFO,
        "warning": apprise.NotifyType.WARNING,
        "critical": apprise.NotifyType.FAILURE,
    }
    kind = apprise.NotifyType.SUCCESS if message.recovered else kinds[message.level]
    plugin = target.plugin()
    guard = _guard_of(target, plugin, settings)
    # Through Apprise, not plugin.notify: only here does every service escape a title that says it is plain text.
    courier = apprise.Apprise(plugin, asset=plugin.asset)
    with ExitStack() as stack:
        lines = stack.enter_context(overheard())
        if guard is not None:
            stack.enter_context(guarded(guard))
        sent = courier.notify(
            message.body, message.title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT.value
        )
    if sent and guard is not None and not guard.checks:
        raise AlertTargetError(
            f"{target.name}: it was sent past the guard of private addresses; report this with the version of apprise, "
            "and set alerts.allow_private = true to go on"
        )
    if sent:
        return
    raise _failure(target, lines, "" if guard is None else guard.refused)


def _guard_of(target: Target, plugin: NotifyBase, settings: AlertSettings) -> Guard | None:
    """Return the guard that a target's connections are held to; None where none applies."""
    if settings.allow_private or target.is_mail:
        return None
    allow = "set alerts.allow_private = true if you trust it with that"
    if not target.uses_requests:
        raise AlertTargetError(
            f"{target.name}: what {target.scheme}:// connects to cannot be watched, so it might reach private "
            f"addresses; take another service, or {allow}"
        )
    from requests.utils import get_environ_proxies

    if get_environ_proxies(f"https://{plugin.host or 'localhost.invalid'}/"):
        if target.has_fixed_host:
            return None
        raise AlertTargetError(
            f"{target.name}: a proxy is set in the environment, and where it connects to cannot be checked from here; "
            f"name the host in NO_PROXY, or {allow}"
        )
    return Guard(settings.allow_networks)


def _failure(target: Target, lines: Sequence[tuple[int, str]], refused: str) -> AlertError:
    """Make the error that says why a message was not taken, and whether trying again can help."""
    if refused:
        return AlertTargetError(
            f"{target.name}: {refused}; webhooks may not reach it unless its network is in alerts.allow_networks or "
            "alerts.allow_private is true"
        )
    said = [line for level, line in lines if level >= logging.WARNING] or [line for _, line in lines] or ["no reason"]
    exceptions = [line.partition("xception: ")[2] or line for _, line in lines if "xception" in line or "Error" in line]
    reason = plain(target.hide("; ".join([said[-1].rstrip("."), *exceptions[-1:]])), 400)
    codes = [int(code) for _, line in lines for code in _CODE.findall(line)]
    replies = [int(one or other) for _, line in lines for one, other in _SMTP.findall(line)]
    if any("CERTIFICATE_VERIFY_FAILED" in line for _, line in lines):
        return AlertTargetError(f"{target.name}: its certificate is not trusted ({reason}); mend it, {_TEST}")
    if codes:
        return _by_status(target.name, codes[-1], reason)
    if replies:
        return _by_reply(target.name, replies[-1], reason)
    return AlertError(f"{target.name}: {reason}; it is tried again")


def _by_status(name: str, code: int, reason: str) -> AlertError:
    if code in _REFUSED:
        return AlertRefusedError(f"{name} answered {code} and does not take the message ({reason}); see {_TEST[5:]}")
    if 300 <= code < 400:
        return AlertTargetError(f"{name} answered {code}: it has moved; put its new address in alerts.urls, {_TEST}")
    if 400 <= code < 500 and code not in _LATER:
        return AlertTargetError(f"{name} answered {code} ({reason}); mend its address or key in alerts.urls, {_TEST}")
    return AlertError(f"{name} answered {code} ({reason}); it is tried again")


def _by_reply(name: str, code: int, reason: str) -> AlertError:
    if code in _LOGIN:
        return AlertTargetError(f"{name} refused the login ({reason}); mend it in alerts.urls, {_TEST}")
    if code in _NO_MAILBOX:
        return AlertTargetError(f"{name} knows no such mailbox ({reason}); mend it in alerts.urls, {_TEST}")
    if code >= 500:
        return AlertRefusedError(f"{name} does not take the message ({reason}); see {_TEST[5:]}")
    return AlertError(f"{name}: {reason}; it is tried again")


class _Attempt:
    """One message on its way to one target, in a thread of its own.

    The thread is a daemon: apprise limits each read, not their sum, so a server that sends a byte now and then could
    hold it for ever, and neither the other targets nor the end of the process may wait for that.
    """

    def __init__(self, target: Target, message: Message, settings: AlertSettings) -> None:
        self._target = target
        self._began = time.monotonic()
        self._seconds = 0.0
        # Until the thread says otherwise: one that dies of something unheard of has not sent anything.
        self._error: AlertError | None = AlertError(f"{target.name}: the attempt broke off; it is tried again")
        self._thread = threading.Thread(
            target=self._run, args=(message, settings), name=f"alert {target.name}", daemon=True
        )
        # A target that hangs gets no second thread as long as the first one hangs.
        self._hangs = target.busy is not None and target.busy.is_alive()
        if not self._hangs:
            target.busy = self._thread
            self._thread.start()

    def _run(self, message: Message, settings: AlertSettings) -> None:
        try:
            send(self._target, message, settings)
            self._error = None
        except AlertError as error:
            self._error = error
        except Exception as error:  # noqa: BLE001  (a thread has nobody to raise it to)
            said = plain(self._target.hide(f"{type(error).__name__}: {error}"), 400)
            self._error = AlertError(f"{self._target.name}: the attempt broke off ({said}); it is tried again")
        self._seconds = time.monotonic() - self._began

    def result(self, deadline: float, patience_s: float) -> Result:
        name = self._target.name
        if self._hangs:
            return Result(name, "later", f"{name}: the attempt before still waits for its answer", 0.0)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            detail = f"{name} did not answer within {patience_s:g} s; it is tried again"
            return Result(name, "later", detail, time.monotonic() - self._began)
        if self._error is None:
            return Result(name, "sent", "", self._seconds)
        verdicts: dict[type[AlertError], Verdict] = {AlertTargetError: "wrong", AlertRefusedError: "refused"}
        return Result(name, verdicts.get(type(self._error), "later"), str(self._error), self._seconds)
