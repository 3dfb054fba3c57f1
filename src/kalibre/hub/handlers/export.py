"""`export`: writes predictions, metrics or training history into the folder `exports` of home."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

from kalibre.core.errors import HubError, UsageError
from kalibre.core.events import Event
from kalibre.hub.exports import export
from kalibre.hub.job_context import JobContext

_LEFT_BEHIND_S = 24 * 3600.0


class Export:
    """Writes a file named by the job: `what` in `form` (`parquet`), from `start_ms` to `end_ms` if the payload says so.

    A job that was killed writes the same file again; one that is done has its path, rows and size for a result.
    """

    name: ClassVar[str] = "export"

    def run(self, payload: Mapping[str, Any], context: JobContext) -> list[Event]:
        """Write the file; the result says where it is."""
        unknown = set(payload) - {"what", "form", "start_ms", "end_ms", "by", "reason"}
        what, form = payload.get("what", ""), payload.get("form", "parquet")
        times = {name: payload.get(name) for name in ("start_ms", "end_ms")}
        wrong = [f"{name} = {value!r}" for name, value in times.items() if not isinstance(value, int | None)]
        if unknown or wrong:
            raise UsageError(
                f"an export cannot be told {', '.join([*sorted(unknown), *wrong])}: it takes what, form, and start_ms "
                "and end_ms as UTC milliseconds"
            )
        folder = context.settings.home / "exports"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _sweep(folder)
        except OSError as error:
            raise HubError(f"{str(folder)!r} cannot be made: {error}; set KALIBRE_HOME to another folder") from error
        key = context.job.key
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", key)[:80]
        path = folder / f"{what}-{safe}-{sha256(key.encode()).hexdigest()[:8]}.{form}"
        rows = export(context.log, what, form, path, progress=lambda _: context.check(), **times)
        context.result.update(path=str(path), rows=f"{rows}", size_bytes=f"{path.stat().st_size}")
        return []


def _sweep(folder: Path) -> None:
    """Remove what exports that were killed have left behind."""
    for path in folder.glob(".exporting-*"):
        if time.time() - path.stat().st_mtime > _LEFT_BEHIND_S:
            path.unlink(missing_ok=True)


HANDLER = Export()
