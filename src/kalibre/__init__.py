"""Kalibre learns from a market's live stream and lets no model act before it has proved itself."""

from importlib.util import find_spec

__version__ = "0.1.0"

if find_spec("fcntl") is None:
    from kalibre.core.errors import UsageError

    raise UsageError(
        "Kalibre runs on Linux and macOS: this system has no file locks of theirs (fcntl), without which two processes "
        "could write one file; run it there, in a container or under WSL"
    )
