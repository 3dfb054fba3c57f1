"""Who may do what: keys with scopes, of which only hashes stay in memory, and where a server may listen."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Mapping

from kalibre.core.errors import SettingsError
from kalibre.core.settings import SCOPES, ApiSettings

ANONYMOUS = frozenset({"read", "predict"})
"""What a caller without a key may do while no keys are set, which is only possible on a loopback address."""

_STOPS = frozenset({"kill", "operate", "admin"})
_HASHED = re.compile(r"sha256:[0-9a-f]{64}")
_SHORTEST_KEY = 16
_COMMON = re.compile(
    r"(change.?me|default|secret|password|passw0rd|example|kalibre|your.?key|api.?key|test|demo|admin|x+|0+|1234\d*)"
    r"[-_0-9]*",
    re.IGNORECASE,
)


class ApiKeys:
    """The keys that a server accepts, each with its scopes.

    `admin` includes every other scope. Engaging the kill switch takes `kill`, `operate` or `admin`; releasing it takes
    `admin`.

    Parameters
    ----------
    keys
        Key or `sha256:<hex of the key's sha256>` to comma separated scopes, as in `kalibre.toml`.
    anonymous
        What a caller without a key may do.

    Raises
    ------
    SettingsError
        If a scope is unknown or a key empty; the message quotes the scope and never a key.

    Examples
    --------
    >>> keys = ApiKeys({"a-long-and-random-key": "read,kill"})
    >>> sorted(keys.scopes(b"a-long-and-random-key"))
    ['kill', 'read']
    >>> keys.scopes(b"another") is None
    True
    """

    def __init__(self, keys: Mapping[str, str], *, anonymous: frozenset[str] = frozenset()) -> None:
        self._anonymous = anonymous
        self._scopes_by_hash: dict[bytes, frozenset[str]] = {}
        for key, text in keys.items():
            scopes = {scope.strip() for scope in text.split(",") if scope.strip()}
            if unknown := sorted(scopes - set(SCOPES)):
                raise SettingsError(
                    f"api.keys: scope {unknown[0]!r} is unknown; give some of {', '.join(SCOPES)}, comma separated"
                )
            if not key.strip() or not scopes:
                raise SettingsError('api.keys: a key is empty or has no scopes; write "long-random-key" = "read"')
            self._scopes_by_hash[_digest(key)] = frozenset(SCOPES if "admin" in scopes else scopes)

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._scopes_by_hash)

    def scopes(self, key: bytes) -> frozenset[str] | None:
        """Return the scopes of a key, or None if it is not one of ours; takes equally long whichever it is."""
        digest = hashlib.sha256(key).digest()
        found: frozenset[str] | None = None
        for known, scopes in self._scopes_by_hash.items():
            if hmac.compare_digest(known, digest):
                found = scopes
        return found

    def caller(self, key: bytes | None) -> frozenset[str] | None:
        """Return what a caller may do, with or without a key; None for a wrong key."""
        return self._anonymous if key is None else self.scopes(key)


def keys_of(api: ApiSettings) -> tuple[ApiKeys, str | None]:
    """Return the keys of the settings, or one made for this run alone if none are set.

    A fresh install can so be operated without a default secret; reading stays open to callers without a key, which
    only those on this machine can be (`check_bind`).

    Returns
    -------
    The keys, and the new key to print once, or None.
    """
    if api.keys:
        return ApiKeys(api.keys), None
    key = secrets.token_urlsafe(24)
    return ApiKeys({key: "admin"}, anonymous=ANONYMOUS), key


def may_stop(scopes: frozenset[str]) -> bool:
    """Say whether a caller may engage the kill switch: fewer rights suffice than for releasing it."""
    return not _STOPS.isdisjoint(scopes)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach an address.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_bind(api: ApiSettings) -> None:
    """Refuse to listen where others can connect without secrets of one's own.

    Raises
    ------
    SettingsError
        If the address is not loopback and `public` is off, or a key is missing, short or a common word.
    """
    if is_loopback(api.host):
        return
    if not api.public:
        raise SettingsError(
            f"api.host = {api.host!r} can be reached by others: set api.public = true and keys of your own, "
            "or listen on 127.0.0.1"
        )
    if not api.keys:
        raise SettingsError(
            f"api.host = {api.host!r} can be reached by others and api.keys is empty: set a key, for example "
            f'[api.keys] "{secrets.token_urlsafe(24)}" = "admin"'
        )
    for number, key in enumerate(api.keys, start=1):
        if not _HASHED.fullmatch(key) and (len(key) < _SHORTEST_KEY or _COMMON.fullmatch(key)):
            raise SettingsError(
                f"api.keys: key {number} is shorter than {_SHORTEST_KEY} characters or a common word: a public address "
                f"needs a random one, for example {secrets.token_urlsafe(24)!r}"
            )


def _digest(key: str) -> bytes:
    if _HASHED.fullmatch(key):
        return bytes.fromhex(key.removeprefix("sha256:"))
    return hashlib.sha256(key.encode()).digest()
