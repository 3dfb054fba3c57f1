"""A real PostgreSQL of our own: private folder, private socket, no TCP; it can be killed and started again.

The binaries come from the wheel `pgserver`, or from the system. Only the binaries: what pgserver's own Python does as
root (adding a system user, a shared lock file) is not for a test to do. PostgreSQL refuses to run as root, so there it
runs as `nobody`.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

_START_S = 60.0


def find_binaries() -> Path | None:
    """Return the folder with `initdb` and `postgres`, or None."""
    spec = importlib.util.find_spec("pgserver")
    candidates = (
        [Path(place) / "pginstall" / "bin" for place in (spec.submodule_search_locations or ())] if spec else []
    )
    found = shutil.which("postgres")
    candidates += [Path(found).resolve().parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((path for path in candidates if (path / "initdb").is_file() and (path / "postgres").is_file()), None)


def binaries_or_skip() -> Path:
    """Return the folder of binaries; without it skip, but under CI fail: there the tests must run."""
    found = find_binaries()
    if found is None:
        words = "no PostgreSQL found: pip install pgserver, or put postgres on the PATH"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(words)
        pytest.skip(words)
    return found


class Postgres:
    """A PostgreSQL server of our own, started by `start` and ended by `stop` or `kill`."""

    def __init__(self, binaries: Path, *, fsync: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kalibre-pg-"))
        self._binaries = binaries
        self.cluster = self.folder / "cluster"
        self._fsync = fsync
        self._server: subprocess.Popen[bytes] | None = None
        # Not "user=": Popen would keep root's supplementary groups.
        self._as: dict[str, Any] = {"cwd": self.folder, "env": {**os.environ, "LC_ALL": "C", "TZ": "UTC"}}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self._as |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            if not _reachable(binaries):  # for example below a home folder that `nobody` cannot look into
                self._binaries = Path(shutil.copytree(binaries.parent, self.folder / "install")) / "bin"
        self._run("initdb", "-D", str(self.cluster), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
        self.databases = 0

    def url(self, database: str = "postgres") -> str:
        """Return the address of a database."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        import psycopg

        command = [str(self._binaries / "postgres"), "-D", str(self.cluster), "-k", str(self.folder)]
        command += ["-c", "listen_addresses=", "-c", f"fsync={'on' if self._fsync else 'off'}"]
        command += ["-c", "max_connections=50", "-c", "shared_buffers=32MB", "-c", "autovacuum=off"]
        deadline = time.monotonic() + _START_S
        with (self.folder / "log").open("ab") as log:
            while True:
                if self._server is None or self._server.poll() is not None:
                    # After a kill its children hold the shared memory for a moment: it then refuses and is asked again.
                    self._server = subprocess.Popen(
                        command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, **self._as
                    )
                try:
                    psycopg.connect(self.url(), connect_timeout=5).close()
                except psycopg.OperationalError as error:
                    if time.monotonic() > deadline:
                        words = (self.folder / "log").read_text(errors="replace")[-2000:]
                        raise RuntimeError(f"PostgreSQL does not start: {error}\n{words}") from error
                    time.sleep(0.02)
                else:
                    return

    def kill(self) -> None:
        """Kill the postmaster with SIGKILL and wait for its end; its children notice and go."""
        assert self._server is not None
        self._server.send_signal(signal.SIGKILL)
        self._server.wait()

    def wait_until_gone(self) -> None:
        """Wait until the children of a killed postmaster have gone too: only then the disk holds still."""
        import psutil

        while any(str(self.cluster) in _command_or_cwd(process) for process in psutil.process_iter()):
            time.sleep(0.01)

    def copy_cluster(self) -> Path:
        """Copy what is on the disk, with its owner; the server must be gone."""
        copy = self.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        subprocess.run(["cp", "-a", str(self.cluster), str(copy)], check=True)
        return copy

    def stop(self) -> None:
        """Stop at once and remove everything."""
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(signal.SIGQUIT)
            try:
                self._server.wait(10)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def new_database(self, *, drop_others: bool = False) -> str:
        """Create an empty database and return its address; a restart after a kill takes longer the more there are."""
        import psycopg

        with psycopg.connect(self.url(), autocommit=True) as connection:
            for number in range(1, self.databases + 1) if drop_others else ():
                connection.execute(f"DROP DATABASE IF EXISTS log_{number} WITH (FORCE)")  # type: ignore[arg-type]
            self.databases += 1
            name = f"log_{self.databases}"
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        return self.url(name)

    def _run(self, name: str, *arguments: str) -> None:
        command = [str(self._binaries / name), *arguments]
        done = subprocess.run(command, capture_output=True, check=False, **self._as)
        if done.returncode:
            raise RuntimeError(f"{name} failed: {done.stderr.decode(errors='replace')}")


def _reachable(folder: Path) -> bool:
    """Say whether everybody may walk into a folder."""
    return all(path.stat().st_mode & 0o005 == 0o005 for path in (folder, *folder.parents))


def _command_or_cwd(process: Any) -> str:
    """Return where a process works; PostgreSQL's children work in the cluster's folder."""
    import psutil

    try:
        return f"{process.cwd()}" if process.name() == "postgres" else ""
    except psutil.Error:
        return ""
