"""Logins made beside a running server: used once, for an hour, by hash, and only where nobody else can write."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.serving import running_server

from kalibre.api.logins import ADDRESS, LOGIN_LASTS_MS, Logins, address_of, reachable_at
from kalibre.api.sessions import Sessions
from kalibre.core.clock import ManualClock
from kalibre.core.errors import HubError
from kalibre.core.settings import SCOPES


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "logins"


def test_a_login_of_another_process_opens_one_session_and_no_second(clock: ManualClock, folder: Path) -> None:
    sessions = Sessions(clock, logins=Logins(folder, clock))
    token = Logins(folder, clock).new()
    assert sessions.redeem(token + "x") is None
    assert sessions.redeem("") is None
    secret = sessions.redeem(token)
    assert secret is not None
    found = sessions.find(secret)
    assert found is not None
    assert found.scopes == frozenset(SCOPES)
    assert sessions.redeem(token) is None
    assert list(folder.iterdir()) == []
    assert Sessions(clock).redeem(Logins(folder, clock).new()) is None, "a server that was told of no folder"


def test_a_login_goes_out_after_an_hour_and_is_cleared_away(clock: ManualClock, folder: Path) -> None:
    logins = Logins(folder, clock)
    early, late = logins.new(), logins.new()
    clock.set(1_000 + LOGIN_LASTS_MS - 1)
    assert logins.redeem(early) is not None
    clock.set(1_000 + LOGIN_LASTS_MS)
    assert logins.redeem(late) is None
    forgotten = logins.new()
    clock.set(1_000 + 3 * LOGIN_LASTS_MS)
    logins.new()
    assert len(list(folder.iterdir())) == 1, "one that ended goes as the next is made"
    assert logins.redeem(forgotten) is None
    ahead = logins.new()
    clock.set(1_000)  # a clock that was set back makes no login last for longer
    assert logins.redeem(ahead) is None


def test_what_lies_on_the_disk_is_a_hash_that_its_owner_alone_reads(clock: ManualClock, folder: Path) -> None:
    token = Logins(folder, clock).new()
    (file,) = folder.iterdir()
    assert token not in file.name + file.read_text()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    # Who reads the file has what its name says, and does not get in with that.
    assert Logins(folder, clock).redeem(file.stem) is None
    assert Logins(folder, clock).redeem(token) is not None


@pytest.mark.parametrize("harm", ["file", "folder", "link", "torn", "not a scope", "lasts for ever", "kept"])
def test_what_others_may_have_written_counts_for_nothing(clock: ManualClock, folder: Path, harm: str) -> None:
    logins = Logins(folder, clock)
    token = logins.new()
    (file,) = folder.iterdir()
    match harm:
        case "file":
            file.chmod(0o620)
        case "folder":
            folder.chmod(0o770)
        case "link":
            file.rename(folder.parent / "elsewhere")
            file.symlink_to(folder.parent / "elsewhere")
        case "torn":
            file.write_bytes(file.read_bytes()[:-4])
        case "not a scope":
            file.write_text(json.dumps({"scopes": ["everything"], "ends_ms": 2_000}))
        case "lasts for ever":
            file.write_text(json.dumps({"scopes": ["admin"], "ends_ms": 10**15}))
    assert logins.redeem(token) == (frozenset(SCOPES) if harm == "kept" else None)
    if harm == "folder":
        with pytest.raises(HubError, match="can be written to by others"):
            logins.new()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_login_that_another_user_wrote_counts_for_nothing(clock: ManualClock, folder: Path) -> None:
    logins = Logins(folder, clock)
    token = logins.new()
    (file,) = folder.iterdir()
    os.chown(file, 65_534, 65_534)
    assert logins.redeem(token) is None
    os.chown(file, 0, 0)
    assert logins.redeem(token) is not None


def test_of_many_that_come_at_once_one_gets_in(clock: ManualClock, folder: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            token = Logins(folder, clock).new()
            found = list(pool.map(lambda _, token=token: Logins(folder, clock).redeem(token), range(8)))
            assert sum(one is not None for one in found) == 1


def test_a_token_leads_out_of_no_folder(clock: ManualClock, folder: Path) -> None:
    logins = Logins(folder, clock)
    logins.new()
    (file,) = folder.iterdir()
    file.rename(folder.parent / "elsewhere.json")
    for token in ("../elsewhere", "..%2felsewhere", "\x00", "\ud83d", "a" * 10_000):
        assert logins.redeem(token) is None
    assert (folder.parent / "elsewhere.json").exists()


def test_a_folder_that_cannot_be_made_is_named(clock: ManualClock, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(HubError, match="no login can be written into"):
        Logins(tmp_path / "run" / "logins", clock).new()
    with reachable_at(tmp_path / "run", "http://127.0.0.1:1"):
        pass  # a disk that refuses keeps no server from running


def test_an_address_is_told_while_its_server_lives(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="kalibre hub up"):
        address_of(tmp_path)
    with reachable_at(tmp_path, "http://127.0.0.1:8617"):
        assert address_of(tmp_path) == "http://127.0.0.1:8617"
        with reachable_at(tmp_path, "http://127.0.0.1:9999"):  # a second server of this home
            assert address_of(tmp_path) == "http://127.0.0.1:8617"
        assert address_of(tmp_path) == "http://127.0.0.1:8617"
    with pytest.raises(HubError, match="no server runs"):
        address_of(tmp_path)
    # What a server wrote that was killed is not believed: somebody else may listen there by now.
    (tmp_path / ADDRESS).write_text("http://127.0.0.1:8617")
    with pytest.raises(HubError, match="no server runs"):
        address_of(tmp_path)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def log_in(login: str) -> tuple[int, str]:
    """Post the form of a login address, as the page behind it does."""
    address, _, token = login.partition("/login?token=")
    form = urllib.parse.urlencode({"token": token}).encode()
    request = urllib.request.Request(f"{address}/login", data=form, headers={"Origin": address})
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=30) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("set-cookie", "")


def test_the_command_logs_in_to_a_server_that_runs(tmp_path: Path) -> None:
    config = tmp_path / "kalibre.toml"

    def login() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kalibre", "hub", "login", "--json", "--config", str(config)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with running_server(tmp_path) as server:
        asked = login()
        assert asked.returncode == 0, asked.stderr
        told = json.loads(asked.stdout)
        assert told["address"] == server.address
        assert told["login"].startswith(f"{server.address}/login?token=")
        token = told["login"].partition("=")[2]
        assert all(token.encode() not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
        status, cookie = log_in(told["login"])
        assert (status, "HttpOnly" in cookie) == (303, True)
        you = server.get("/hub/state", key=None, Cookie=cookie.partition(";")[0])["you"]
        assert you["by"].startswith("page:")
        assert log_in(told["login"])[0] == 403
        server.process.send_signal(signal.SIGKILL)
        server.process.wait(30)
        asked = login()
        assert asked.returncode == 1
        assert "no server runs" in json.loads(asked.stdout)["error"]["message"]
