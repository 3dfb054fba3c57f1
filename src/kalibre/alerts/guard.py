"""The guard of webhooks: no connection to an address that is not public, checked where the connection is made.

A check of the host before the request is worth little: the name may resolve to something else a moment later (DNS
rebinding), and a redirect leads on to a host that nobody checked. apprise offers no place to put an adapter of requests
either: each plugin calls `requests.post`, which makes a session of its own. So the guard stands below all of it.

`guarded()` marks the thread that sends. `socket.socket.connect` and `connect_ex`, wrapped once a process, look whether
their thread is marked; if so they refuse an address that is not public, before a packet leaves. The address is the one
that urllib3's resolution gave for this very connection, and nothing is resolved again after the check: there is no gap
for a rebinding, and each hop of a redirect is a connection of its own and checked like the first (redirects are also
switched off in apprise, see targets.py). apprise's plugins send in the thread that calls them; those which use another
way than requests are not let in by targets.py. Threads that are not marked pay one look at a thread-local variable.
A proxy would connect on our behalf, out of the guard's sight: send.py lets no guarded message through one.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

_SHARED = ip_network("100.64.0.0/10")
_NAT64 = ip_network("64:ff9b::/96")
_UNUSUAL = tuple(ip_network(text) for text in ("::/96", "64:ff9b:1::/48", "2001::/32", "fec0::/10"))
"""IPv4-compatible, local NAT64, Teredo and site-local: none of them leads to a public webhook."""


def reserved(address: IPv4Address | IPv6Address) -> str:
    """Say what keeps an address from being public; empty if it is public.

    An IPv6 address that carries an IPv4 one (mapped, 6to4, NAT64) is judged by the one it carries.

    Examples
    --------
    >>> [reserved(ip_address(text)) for text in ("::ffff:127.0.0.1", "169.254.169.254", "100.64.0.1", "fd00::1")]
    ['loopback', 'link-local', 'shared by a carrier', 'private']
    >>> reserved(ip_address("1.1.1.1"))
    ''
    """
    carried = _carried(address) if isinstance(address, IPv6Address) else None
    if carried is not None:
        return reserved(carried)
    kinds = {
        "unspecified": address.is_unspecified,
        "loopback": address.is_loopback,
        "link-local": address.is_link_local,
        "multicast": address.is_multicast,
        "shared by a carrier": address in _SHARED,
        "private": address.is_private,
        "reserved": not address.is_global or address.is_reserved or any(address in network for network in _UNUSUAL),
    }
    return next((name for name, holds in kinds.items() if holds), "")


def _carried(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.sixtofour


class Guard:
    """What one sending thread may connect to, and what was refused to it.

    Parameters
    ----------
    networks
        Networks that may be reached although they are not public.
    """

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks: list[IPv4Network | IPv6Network] = [ip_network(text) for text in networks]
        self.refused = ""
        """Why the newest connection was refused; empty as long as none was."""
        self.checks = 0
        """Connections that were looked at."""

    def check(self, target: Any) -> None:
        """Let a connection pass or refuse it.

        Parameters
        ----------
        target
            As `connect` takes it: (address, port, ...). A name in place of an address is refused as well: it would be
            resolved where nobody looks.

        Raises
        ------
        PermissionError
            If the address is not public and in none of the networks; the message names it.
        """
        self.checks += 1
        try:
            address = ip_address(target[0])
        except (ValueError, TypeError, IndexError):
            self.refused = f"{target!r} is no network address"
            raise PermissionError(errno.EACCES, self.refused) from None
        kind = reserved(address)
        if not kind:
            return
        carried = _carried(address) if isinstance(address, IPv6Address) else None
        if not any((carried or address) in network for network in self._networks):
            self.refused = f"it leads to {address}, which is no public address ({kind})"
            raise PermissionError(errno.EACCES, self.refused)


class _Here(threading.local):
    guard: Guard | None = None


_here = _Here()
_installing = threading.Lock()
_installed = False


@contextlib.contextmanager
def guarded(guard: Guard) -> Iterator[None]:
    """Hold every connection that this thread makes to a guard."""
    _install()
    before, _here.guard = _here.guard, guard
    try:
        yield
    finally:
        _here.guard = before


def _install() -> None:
    """Wrap the two ways in which a socket connects, once a process."""
    global _installed  # noqa: PLW0603
    with _installing:
        if _installed:
            return
        connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

        def checked_connect(self: socket.socket, address: Any, /) -> None:
            if _here.guard is not None:
                _here.guard.check(address)
            connect(self, address)

        def checked_connect_ex(self: socket.socket, address: Any, /) -> int:
            if _here.guard is not None:
                try:
                    _here.guard.check(address)
                except PermissionError:  # this one tells by its return value
                    return errno.EACCES
            return connect_ex(self, address)

        socket.socket.connect = checked_connect  # type: ignore[assignment, method-assign]
        socket.socket.connect_ex = checked_connect_ex  # type: ignore[assignment, method-assign]
        _installed = True
