"""`kalibre news follow` as a process: once for cron, on and on, stopped, and killed at any instant."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from tests.fakes.news_site import Site, site
from tests.fakes.wire_feed import serve_feed, serve_kap

from kalibre.core.clock import ISTANBUL
from kalibre.language.headlines.inbox import Inbox
from kalibre.log import open_log

NAMES = "Akbank Garanti Tüpraş Vestel Sasa Petkim Migros Koç Ford Tofaş Şişecam Arçelik".split()


@pytest.fixture
def web() -> Iterator[Site]:
    with site() as running:
        yield running


@pytest.fixture
def home(tmp_path: Path, web: Site) -> Path:
    (tmp_path / "kalibre.toml").write_text('[market]\ncalendar = "XIST"\nsymbols = ["THYAO"]\n', encoding="utf-8")
    (tmp_path / "follow.toml").write_text(
        f'every_s = 5\n[[sources]]\nname = "wire"\nkind = "news"\nlicence = "test"\ninterval_s = 0.001\n'
        f'feeds = ["{web.url}/rss"]\n',
        encoding="utf-8",
    )
    return tmp_path


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "kalibre", "news", "follow", *words]


def ran(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), check=False, cwd=home, capture_output=True, text=True, timeout=120)


def items(count: int, *, dated: bool = True) -> list[tuple[str, str]]:
    """Return headlines of the last minutes, every third one without a time."""
    now = datetime.now(tz=UTC)
    return [
        (
            f"{NAMES[n % len(NAMES)]} kârını yüzde {n} artırdı",
            format_datetime(now - timedelta(minutes=n)) if n % 3 else "",
        )
        for n in range(count)
    ]


def recorded(home: Path) -> tuple[Counter[str], Counter[str]]:
    """Count how often each headline, and each score, stands in the log."""
    with open_log(f"sqlite:///{home / 'kalibre_home' / 'log.sqlite'}") as log:
        events = log.read(kinds={"headline", "headline_score"})
    return (
        Counter(one.payload.text for one in events if one.kind == "headline"),  # type: ignore[attr-defined]
        Counter(one.key for one in events if one.kind == "headline_score"),
    )


def test_once_for_cron(home: Path, web: Site) -> None:
    serve_feed(web, "/rss", *items(4))
    first = ran(home, "--once", "--json")
    assert first.returncode == 0, first.stderr
    said = json.loads(first.stdout)
    assert (said["headlines"], said["scores"], said["waiting"]) == (4, 4, 0)
    assert {one["source"] for one in said["heard"]} == {"wire"}
    again = ran(home, "--once")
    assert again.returncode == 0
    assert "recorded 0 headlines and 0 scores" in again.stdout
    del web.routes["/rss"]
    failed = ran(home, "--once")
    assert failed.returncode == 3
    assert "wire cannot be followed" in failed.stderr
    assert "answers 404" in failed.stdout


def test_the_example_of_the_docs_runs_as_it_stands(home: Path, web: Site) -> None:
    page = (Path(__file__).parents[3] / "docs" / "language.md").read_text(encoding="utf-8")
    (toml,) = [block for block in re.findall(r"^```toml\n(.*?)^```", page, flags=re.M | re.S) if "every_s" in block]
    assert toml.count("https://example.com") == 1
    # The two servers are ours; all else is the example's.
    toml = toml.replace("https://example.com/economy.xml", f"{web.url}/rss")
    (home / "follow.toml").write_text(f'{toml}base = "{web.url}"\ninterval_s = 0.001\n', encoding="utf-8")
    serve_feed(web, "/rss", *items(2))
    today = datetime.now(tz=ISTANBUL)
    row = {
        "publishDate": f"{today:%d.%m.%Y} 00:00:01",
        "kapTitle": "ÖRNEK A.Ş.",
        "subject": "Yeni İş İlişkisi",
        "summary": "Sözleşme imzalandı",
        "disclosureClass": "ODA",
        "disclosureIndex": 7,
    }
    serve_kap(web, {today.date().isoformat(): [row, {**row, "disclosureClass": "FR", "disclosureIndex": 8}]})
    done = ran(home, "follow.toml", "--once", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert {look["name"]: look["new"] for look in said["looks"]} == {"wire": 2, "kap": 1}
    assert said["headlines"] == 3


def test_what_is_wrong_is_told_before_anything_is_asked(home: Path, web: Site) -> None:
    for words, told in (
        (("--once", "--model", "builtin:nothing"), "'builtin:nothing'"),
        (("--once", "--model", ""), "--model is empty"),
        (("none.toml",), "'none.toml' is not there"),
        (("--every", "1"), "--every"),
    ):
        refused = ran(home, *words)
        assert refused.returncode in (1, 2), (words, refused.stderr)
        assert told in refused.stderr
        assert "Traceback" not in refused.stderr
    assert web.asked == []


@pytest.mark.fault
def test_it_goes_on_until_it_is_stopped_and_loses_and_doubles_nothing_when_it_is_killed(home: Path, web: Site) -> None:
    chance = random.Random(5)
    whole = items(120)
    serve_feed(web, "/rss", *whole[:5])
    kills = 0
    for shown in (30, 60, 90, 120):
        running = subprocess.Popen(command("--json"), cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        serve_feed(web, "/rss", *whole[:shown])
        inbox = home / "kalibre_home" / "language" / "following.sqlite"
        before, deadline = len(web.asked), time.monotonic() + 60
        while len(web.asked) < before + 2 and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.6)
        os.kill(running.pid, signal.SIGKILL)
        kills += running.wait() == -signal.SIGKILL
        assert inbox.exists()
    assert kills == 4
    with subprocess.Popen(command("--json"), cwd=home, stdout=subprocess.PIPE, text=True) as last:
        assert last.stdout is not None
        said = json.loads(last.stdout.readline())
        assert said["waiting"] == 0
        last.send_signal(signal.SIGTERM)
        assert last.wait(30) == 0, "asked to stop, it stops"
    headlines, scores = recorded(home)
    assert set(headlines) == {text for text, _ in whole}
    assert set(headlines.values()) == {1}
    assert set(scores.values()) == {1}
    assert len(scores) >= 100
    with closing(Inbox(home / "kalibre_home" / "language" / "following.sqlite")) as kept:
        assert kept.counts() == (120, 0)
        assert kept.standing("news:wire").read_ms > 0
