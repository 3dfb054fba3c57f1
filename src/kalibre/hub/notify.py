"""systemd's way to be told that a service is ready and alive (sd_notify(3)), without a library."""

from __future__ import annotations

import os
import socket

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What systemd sets for the process it started; its children are not to see it."""


def tell(message: str) -> bool:
    """Send systemd a message such as `READY=1`; return whether anybody listens.

    Examples
    --------
    >>> tell("READY=1") if "NOTIFY_SOCKET" not in os.environ else False
    False
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    # A name that begins with @ stands for one in Linux' abstract namespace.
    address = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto(message.encode(), address)
    except OSError:
        return False
    return True
