"""The door: what of a request's headers is checked before any route sees it.

A web page on another site can make a browser call a server on this machine. It can neither choose the `Host` that the
browser sends (a name it has re-bound to 127.0.0.1 shows there) nor hide the `Origin`; so both are checked.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING

from kalibre.api.auth import ApiKeys, is_loopback
from kalibre.core.errors import ApiError
from kalibre.core.settings import ApiSettings

if TYPE_CHECKING:
    from kalibre.api.sessions import Session, Sessions

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Most that a request may carry: some 50,000 posted bars."""

_LOOKED_AT = frozenset(
    {b"host", b"origin", b"x-api-key", b"authorization", b"content-length", b"cookie", b"x-csrf-token"}
)


class Guard:
    """Checks Host, Origin, length and key of each request.

    Parameters
    ----------
    api
        Where the server listens and which names it answers to.
    keys
        The keys that it accepts.
    sessions
        The sessions of the page, if there is one.
    """

    def __init__(self, api: ApiSettings, keys: ApiKeys, sessions: Sessions | None = None) -> None:
        self.keys = keys
        self._sessions = sessions
        self._public = not is_loopback(api.host)
        self._names = {"localhost", api.host.lower(), *(name.lower() for name in api.allowed_hosts)}
        self._known_hosts: set[bytes] = set()

    def admit(self, headers: Iterable[tuple[bytes, bytes]], method: str = "GET") -> frozenset[str]:
        """Return what the caller may do.

        Parameters
        ----------
        headers
            Lower-case names and values, as ASGI gives them.
        method
            What is not GET or HEAD and comes with a session's cookie has to prove that the page itself asks.

        Raises
        ------
        ApiError
            400 for a missing or foreign Host, 403 for a foreign Origin or a missing proof, 401 for a wrong key, 413 for
            a long body.
        """
        found: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in _LOOKED_AT:
                if name == b"host" and name in found:
                    raise ApiError("two Host headers: send one", status=400)
                found[name] = value
        host, origin, key = found.get(b"host"), found.get(b"origin"), found.get(b"x-api-key")
        if key is None and found.get(b"authorization", b"")[:7].lower() == b"bearer ":
            key = found[b"authorization"][7:].strip()
        if host not in self._known_hosts:
            self._check_host(host)
        if origin is not None:
            self._check_origin(origin, host or b"")
        if b"content-length" in found:
            check_length(int(found[b"content-length"]))
        if key is None and b"cookie" in found and self._sessions is not None:
            session = self._sessions.of_cookie(found[b"cookie"])
            if session is not None:
                if method not in ("GET", "HEAD"):
                    _check_proof(session, found.get(b"x-csrf-token"), origin)
                return session.scopes
        scopes = self.keys.caller(key)
        if scopes is None:
            raise ApiError(
                "the key in X-API-Key is not one of this server's: see [api.keys] in kalibre.toml, or the key that "
                "`kalibre serve` printed when it started",
                status=401,
                headers=(("www-authenticate", "ApiKey"),),
            )
        return scopes

    def _check_host(self, host: bytes | None) -> None:
        if host is None:
            raise ApiError("no Host header: send the name that you called this server by", status=400)
        name = _host_name(host)
        if not self._accepts(name):
            raise ApiError(
                f"Host {name!r} is not a name of this server: call it as {sorted(self._names)}, or add the name to "
                "api.allowed_hosts",
                status=400,
            )
        if len(self._known_hosts) < 64:
            self._known_hosts.add(host)

    def _accepts(self, name: str) -> bool:
        if name in self._names or is_loopback(name):
            return True
        # A re-bound name is a name: an address as Host cannot come from such an attack.
        return self._public and _is_address(name)

    def _check_origin(self, origin: bytes, host: bytes) -> None:
        scheme, _, place = origin.lower().partition(b"://")
        if scheme not in (b"http", b"https") or place != host.lower():
            raise ApiError(
                f"Origin {origin.decode('latin-1')!r} is not this server ({host.decode('latin-1')}): a page of another "
                "site may not call it",
                status=403,
            )


def check_length(n_bytes: int) -> None:
    """Refuse a body that is longer than anything that a route can use.

    Raises
    ------
    ApiError
        413 with the length and the limit.
    """
    if n_bytes > MAX_BODY_BYTES:
        raise ApiError(
            f"a body of {n_bytes} bytes is longer than {MAX_BODY_BYTES}: send fewer bars or texts at a time", status=413
        )


def _check_proof(session: Session, proof: bytes | None, origin: bytes | None) -> None:
    # A browser names the Origin of every request that changes something: one without is no page of ours.
    if origin is None or proof is None or not hmac.compare_digest(proof, session.csrf.encode()):
        raise ApiError(
            "a session's cookie alone changes nothing: the page sends its token in X-CSRF-Token, with the Origin; load "
            "the page again, or use a key in X-API-Key",
            status=403,
        )


def _host_name(host: bytes) -> str:
    text = host.decode("latin-1").lower().strip()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") <= 1 else text


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def require(scopes: frozenset[str], scope: str) -> None:
    """Refuse a caller who lacks a scope.

    Raises
    ------
    ApiError
        401 without any right at all, 403 with others.
    """
    if scope in scopes:
        return
    if not scopes:
        raise ApiError(
            f"this needs a key with the scope {scope!r}: send it as X-API-Key",
            status=401,
            headers=(("www-authenticate", "ApiKey"),),
        )
    raise ApiError(
        f"this needs the scope {scope!r}, the caller has {', '.join(sorted(scopes))}: use another key in X-API-Key",
        status=403,
    )
