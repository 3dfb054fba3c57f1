"""The page in a real browser: seen, heard, steered by keyboard, cut off, attacked, and looked at on a phone."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from tests.fakes.browser import SHOTS, Watched, launched, opened
from tests.fakes.hub_log import HubLog
from tests.fakes.serving import Server, running_server

from kalibre.core.events import BarQuarantined, Forecast, new_event
from kalibre.core.hub_events import Alert, Command, Job, WorkerState
from kalibre.hub.costs import Cost
from kalibre.hub.worker_process import Heart, mark_ended
from kalibre.log import open_log
from kalibre.log.protocol import EventLog

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

STEP_MS = 900_000
ADMIN = "admin-key-00000000000"
KEY = "BTCUSDT|15m"
MARKETS = '[market]\nsymbols = ["BTCUSDT", "ETHUSDT"]\n[hub]\ngrouping = "apart"'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as running:
        SHOTS.mkdir(parents=True, exist_ok=True)
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def log(home: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{home / 'log.sqlite'}") as opened_log:
        yield opened_log


@pytest.fixture(scope="module")
def made(log: EventLog) -> HubLog:
    hub = HubLog(log, now_ms=int(time.time() * 1000))
    hub.write()
    return hub


@pytest.fixture(scope="module")
def server(home: Path, made: HubLog) -> Iterator[Server]:
    with running_server(home, extra=MARKETS) as running:
        yield running


def logged_in(watched: Watched, key: str = ADMIN) -> Page:
    page = watched.page
    page.goto(f"{watched.address}/login")
    page.fill("input[name=token]", key)
    page.press("input[name=token]", "Enter")
    page.wait_for_selector("body[data-ready]", timeout=20_000)
    return page


# --- seen and heard ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("lang", ["en", "tr"])
@pytest.mark.parametrize("size", [(1440, 900, 1.0), (390, 844, 2.0)], ids=["desktop", "phone"])
def test_it_is_accessible_and_fits(
    browser: Browser, server: Server, lang: str, theme: str, size: tuple[int, int, float]
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    width, height, scale = size
    with opened(browser, server.address, lang=lang, theme=theme, width=width, height=height, scale=scale) as watched:
        page = logged_in(watched)
        page.wait_for_function("() => Number(document.querySelector('#lines').dataset.points) > 0")
        for table in ("#market-table", "#history-table"):
            page.locator(f"{table} summary").click()
            page.wait_for_selector(f"{table} tbody tr")
            assert page.locator(f"{table} tbody tr").count() >= 10
        assert Axe().run(page).response["violations"] == []
        assert page.evaluate("document.documentElement.scrollWidth") == width, "nothing sticks out to the side"
        assert page.evaluate("document.documentElement.lang") == lang
        for table in ("#market-table", "#history-table"):
            page.locator(f"{table} summary").click()
        page.evaluate("scrollTo(0, 0)")
        name = f"{'phone' if width < 500 else 'desktop'}-{theme}-{lang}"
        page.screenshot(path=SHOTS / f"{name}.png", full_page=True)
        page.locator("[data-verb=pause]").first.click()
        assert Axe().run(page).response["violations"] == [], "the dialog too"
        page.keyboard.press("Escape")


def test_the_scan_finds_what_is_planted(browser: Browser, server: Server) -> None:
    """Planted: a picture without words and a text that can hardly be read."""
    from axe_playwright_python.sync_playwright import Axe

    with opened(browser, server.address) as watched:
        page = logged_in(watched)
        page.evaluate(
            "document.querySelector('#market').append(Object.assign(new Image(40, 40), {src: '/page/icon.svg'}))"
        )
        page.evaluate("document.querySelector('#learners-h').style.color = '#eee'")
        found = {one["id"] for one in Axe().run(page).response["violations"]}
        assert {"image-alt", "color-contrast"} <= found


def test_everything_of_the_hub_is_on_it(browser: Browser, server: Server) -> None:
    with opened(browser, server.address) as watched:
        page = logged_in(watched)
        text = page.inner_text("main")
        for said in (
            *("BTCUSDT drift", "reinforcement keeps crashing", "kalibre hub worker reinforcement", "base rate"),
            *("gbm-20260101", "refused", "ece 0.081 is above 0.05", "promoted", "bars missing", "high below low"),
            *("ADWIN", "regime switch", "looking into it", "page:7f3a", "the breaker is open", "benched"),
        ):
            assert said.replace("drift", "").strip() in text, said
        for states in ("online", "error", "restarting", "benched"):
            assert page.locator(f"#learners .chip.{states}").count() >= 1, states
        ages = page.locator("[data-aged]").count()
        assert ages > 40
        assert page.locator("[data-aged] .age").count() >= ages * 0.6
        assert page.locator("#chart").get_attribute("aria-label").startswith("Candles of BTCUSDT 15m: 480 bars")  # type: ignore[union-attr]


def test_languages_themes_markets_and_ranges_are_switched_and_kept(browser: Browser, server: Server) -> None:
    with opened(browser, server.address) as watched:
        page = logged_in(watched)
        page.click("[data-lang=tr]")
        page.wait_for_function("() => document.querySelector('#learners-h').textContent === 'Öğrenenler'")
        page.click("#theme")
        assert page.get_attribute("html", "data-theme") == "light"
        page.click("#theme")
        page.click("[data-act=market][data-name='ETHUSDT|15m']")
        page.wait_for_function(
            "() => document.querySelector('#chart').getAttribute('aria-label').startsWith('ETHUSDT')"
        )
        page.reload()
        page.wait_for_selector("body[data-ready]")
        assert page.get_attribute("html", "data-theme") == "dark"
        assert page.inner_text("#learners-h") == "Öğrenenler"
        assert page.get_attribute("#chart", "aria-label").startswith("ETHUSDT 15m")  # type: ignore[union-attr]
        page.click("[data-act=range][data-name=day]")
        page.wait_for_function("() => document.querySelector('#chart').getAttribute('aria-label').includes(' 96 ')")
        page.click("[data-act=move][data-name=nearer]")
        page.click("[data-act=move][data-name=earlier]")
        page.hover("#chart", position={"x": 200, "y": 100})
        page.wait_for_selector("#reading:not([hidden])")
        assert "O " in page.inner_text("#reading")
        page.click("[data-act=range][data-name=live]")
        page.click("[data-act=history][data-name=reward]")
        page.wait_for_function("() => document.querySelector('#history-note').textContent.includes('toplanmış')")
        page.click("#history-legend [data-name=agents]")
        assert page.get_attribute("#history-legend [data-name=agents]", "aria-pressed") == "false"


# --- steered ----------------------------------------------------------------------------------------------------------


def test_a_learner_is_paused_by_keyboard_alone(browser: Browser, server: Server, log: EventLog) -> None:
    before = log.last_position(["command"])
    with opened(browser, server.address) as watched:
        page = logged_in(watched)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        for _ in range(120):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.dataset.verb") == "pause":
                break
        name = page.evaluate("document.activeElement.dataset.name")
        page.keyboard.press("Enter")
        page.wait_for_selector("#ask[open]")
        assert page.evaluate("document.activeElement.id") == "ask-reason", "the dialog has the focus"
        page.keyboard.press("Escape")
        page.wait_for_selector("#ask:not([open])", state="attached")
        assert log.last_position(["command"]) == before, "nothing happens without a yes"
        assert page.evaluate("[document.activeElement.dataset.verb, document.activeElement.dataset.name]") == [
            "pause",
            name,
        ]
        page.keyboard.press("Enter")
        page.wait_for_selector("#ask[open]")
        page.keyboard.type("a closer look")
        for _ in range(5):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == "ask-yes":
                break
        page.keyboard.press("Enter")
        page.wait_for_selector(f"#learners tr[data-key={name}] .chip.paused")
        assert "a closer look" in page.inner_text("#record")
        assert page.inner_text("#said").startswith("Done")
        event = log.latest("command", key=name)
        assert event is not None
        assert isinstance(event.payload, Command)
        assert (event.payload.verb, event.payload.reason) == ("pause", "a closer look")
        assert event.payload.by.startswith("page:")
        page.click(f"#learners [data-verb=resume][data-name={name}]")
        page.click("#ask-yes")
        page.wait_for_selector(f"#learners tr[data-key={name}] .chip.paused", state="detached")


def test_the_kill_switch_is_engaged_seen_and_released(browser: Browser, server: Server) -> None:
    with opened(browser, server.address) as watched:
        page = logged_in(watched)
        page.click("#kill [data-verb=kill]")
        page.fill("#ask-reason", "test of the page")
        page.click("#ask-yes")
        page.wait_for_selector(".banner.critical")
        assert "test of the page" in page.inner_text(".banner.critical")
        page.click("#kill [data-verb=release]")
        page.click("#ask-yes")
        page.wait_for_selector(".banner.critical", state="detached")


def test_what_cannot_be_done_is_said_in_the_dialog(browser: Browser, server: Server) -> None:
    with opened(browser, server.address) as watched:
        page = logged_in(watched)
        page.click("#jobs [data-verb=retrain]")
        page.click("#ask-yes")
        page.wait_for_function("() => document.querySelector('#ask-problem').textContent.includes('kalibre hub up')")
        assert page.locator("#ask[open]").count() == 1
        watched.wrong = [one for one in watched.wrong if "503" not in one]


def test_a_cookie_without_the_token_changes_nothing(browser: Browser, server: Server, log: EventLog) -> None:
    with opened(browser, server.address) as watched:
        page = logged_in(watched)
        before = log.last_position(["command"])
        post = """(headers) => fetch('/hub/command', {
            method: 'POST', headers: {'content-type': 'application/json', ...headers},
            body: JSON.stringify({learner: 'agents', verb: 'pause'})}).then((answer) => answer.status)"""
        assert page.evaluate(post, {}) == 403
        assert page.evaluate(post, {"x-csrf-token": "0" * 64}) == 403
        assert page.evaluate("document.cookie") == "", "scripts cannot read the session"
        assert log.last_position(["command"]) == before
        watched.wrong = [one for one in watched.wrong if "403" not in one]
        page.click("[data-act=logout]")
        page.wait_for_selector("#banner a[href='/login']")
        watched.wrong = [one for one in watched.wrong if "401" not in one]


def test_the_one_time_address_opens_one_session(browser: Browser, home: Path, tmp_path: Path) -> None:
    with running_server(tmp_path, keys={}, extra=MARKETS) as server:
        found = re.search(r"opens once: (http://\S+)", server.log.read_text())
        assert found is not None
        with opened(browser, server.address) as first:
            page = first.page
            page.goto(found.group(1))
            page.goto(found.group(1))  # looking twice uses nothing up
            page.screenshot(path=SHOTS / "login.png")
            page.click("button")
            page.wait_for_selector("[data-act=logout]")
        with opened(browser, server.address) as second:
            page = second.page
            page.goto(found.group(1))
            page.click("button")
            page.wait_for_selector("[role=alert]")
            second.wrong = [one for one in second.wrong if "403" not in one]
            page = second.open("/")  # reading needs none here
            page.click("[data-verb=kill]")
            assert "log in first" in page.inner_text("#ask-what")


# --- cut off, out of date, attacked -----------------------------------------------------------------------------------


def test_the_stream_goes_on_after_the_server_was_killed(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("KALIBRE_API__PORT", str(port))
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log, contextlib.ExitStack() as stack:
        made = HubLog(log, now_ms=int(time.time() * 1000), n_bars=120)
        made.write()
        server = stack.enter_context(running_server(tmp_path, keys={}, extra=MARKETS))
        watched = stack.enter_context(opened(browser, server.address))
        page = watched.open()
        page.evaluate("window.never_reloaded = true")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        server.process.send_signal(signal.SIGKILL)
        page.wait_for_selector(".lamp.lost")
        assert "connection is lost" in page.inner_text("#banner")
        for _ in range(5):
            made.next_bar()
        again = stack.enter_context(running_server(tmp_path, keys={}, extra=MARKETS))
        assert again.address == server.address
        newest = made.series[0].open_ms - STEP_MS
        page.wait_for_selector(f"#chart[data-last='{newest}']", timeout=30_000)
        assert page.evaluate("window.never_reloaded"), "the page itself came back, by its stream"
        page.locator("#market-table summary").click()
        page.wait_for_selector("#market-table tbody tr")
        opens = [int(one.get_attribute("data-key") or 0) for one in page.locator("#market-table tbody tr").all()]
        assert [a - b for a, b in pairwise(opens)] == [STEP_MS] * (len(opens) - 1), "no hole"
        assert not any("/hub/state" in url for url in asked), "it went on where it was, and did not begin anew"
        watched.wrong = [one for one in watched.wrong if "ERR_" not in one]


def test_what_is_too_old_is_greyed_and_says_so(browser: Browser, tmp_path: Path) -> None:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        HubLog(log, now_ms=int(time.time() * 1000) - 10 * 3_600_000, n_bars=80).write()
    with running_server(tmp_path, keys={}, extra=MARKETS) as server, opened(browser, server.address) as watched:
        page = watched.open()
        page.wait_for_selector(".lamp.linked")
        page.wait_for_selector(".tile.stale")
        assert page.locator(".tile:not(.stale)").count() == 0
        assert "stale" in page.inner_text(".tile.stale >> nth=0")
        assert page.locator("#learners td.stale").count() > 5
        page.screenshot(path=SHOTS / "stale.png")


def test_what_is_fresh_is_not_greyed_until_nothing_is_heard(browser: Browser, server: Server, made: HubLog) -> None:
    with opened(browser, server.address) as watched:
        page = logged_in(watched)
        page.wait_for_selector(".lamp.linked")
        page.wait_for_function("() => document.querySelectorAll('.tile.stale').length === 0")
        watched.page.context.set_offline(True)
        page.evaluate("window.dispatchEvent(new Event('offline'))")
        page.clock.install()
        page.clock.fast_forward(20_000)
        page.wait_for_selector(".tile.stale", timeout=20_000)
        watched.wrong = [one for one in watched.wrong if "ERR_" not in one]


_ATTACK = "<script>window.hit=1</script><img src=x onerror='window.hit=1'>"


def test_a_worker_that_died_is_offline_before_the_log_says_so(
    browser: Browser, server: Server, home: Path, log: EventLog
) -> None:
    """As where the disk is full, and nothing can be recorded."""
    heart = Heart("outbox", home / "run")
    heart.beat(5)
    online = WorkerState(state="online", pid=os.getpid(), restarts=0, reason="")
    log.append([new_event("outbox", int(time.time() * 1000), online)], writer="supervisor")
    chip = "#workers-body tr[data-key=outbox] .chip"
    with opened(browser, server.address) as watched:
        page = logged_in(watched)
        page.wait_for_selector(f"{chip}.online", timeout=10_000)
        mark_ended(home / "run" / "outbox.beat", os.getpid())
        page.wait_for_selector(f"{chip}.offline", timeout=5_000)
    heart.close()


def test_the_league_tells_what_each_costs(browser: Browser, server: Server, home: Path) -> None:
    (home / "run").mkdir(exist_ok=True)
    costs = {"agents": Cost(12.4, 2_500_000), "paper": Cost(0.26, 40_000)}
    (home / "run" / "learners.costs").write_bytes(msgspec.json.encode(costs))
    with opened(browser, server.address) as watched:
        page = logged_in(watched)
        cell = "#league-body tr[data-key={}] td:last-child"
        page.wait_for_function(f"() => document.querySelector('{cell.format('agents')}')?.innerText.includes('12 s')")
        assert "MB" in page.inner_text(cell.format("agents"))
        assert "0.3 s" in page.inner_text(cell.format("champion")), "its model is asked by the paper engine"
        assert page.inner_text(cell.format("online")) == "–", "nothing is known of its cost"


def test_whatever_a_log_holds_is_text(browser: Browser, tmp_path: Path) -> None:
    """Planted: markup in every place that others write."""
    now = int(time.time() * 1000)
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        made = HubLog(log, now_ms=now, n_bars=60, symbols=("BTCUSDT", _ATTACK))
        made.write()
        forecast = {"model": _ATTACK, "role": _ATTACK, "horizon_bars": 4, "score": None, "p_up": None}
        log.append(
            [
                new_event(_ATTACK, now, WorkerState(state="error", reason=_ATTACK)),
                new_event("agents", now, Command(verb="pause", by=_ATTACK, reason=_ATTACK)),
                new_event(f"{KEY}|{_ATTACK}", made.end_ms, Forecast(abstained=_ATTACK, **forecast)),  # type: ignore[arg-type]
                new_event(
                    "a|b", now, Job(job=_ATTACK, state="failed", attempt=1, detail=_ATTACK, result={_ATTACK: _ATTACK})
                ),
                new_event(KEY, now, BarQuarantined(raw={}, reasons=(_ATTACK,), detail=_ATTACK)),
                new_event(
                    "x",
                    now,
                    Alert(level="critical", title=_ATTACK, cause=_ATTACK, consequence=_ATTACK, mend=_ATTACK),
                ),
            ],
            writer="test",
        )
    symbols = MARKETS.replace('"ETHUSDT"', f"'''{_ATTACK}'''")
    with running_server(tmp_path, keys={}, extra=symbols) as server, opened(browser, server.address) as watched:
        page = watched.open()
        for section in ("#workers", "#record", "#learners", "#jobs", "#quality", "#alerts", "#banner", "#markets"):
            assert "<script>" in page.inner_text(section), section
        page.locator("[data-act=market]").nth(1).click()
        page.wait_for_function("() => document.querySelector('#chart').getAttribute('aria-label').includes('<script>')")
        assert page.evaluate("window.hit") is None
        assert page.locator("main img, #banner img, .top #markets img").count() == 0
