"""The hub's routes, asked as ASGI: reading changes nothing, steering is recorded with its author, a stream goes on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.fakes.hub_log import HubLog

from kalibre.api._hub_ranges import MOST_BARS
from kalibre.api.app import create_app
from kalibre.api.front import Front
from kalibre.api.routes import pages, stream
from kalibre.core.catalog import part_names
from kalibre.core.clock import ManualClock
from kalibre.core.events import BarClosed, new_event
from kalibre.core.hub_events import Command
from kalibre.core.settings import Settings
from kalibre.hub.checkpoints import checkpoints_of
from kalibre.log import open_log
from kalibre.log.protocol import EventLog

STEP_MS = 900_000
NOW_MS = 1_750_000_000_000 // STEP_MS * STEP_MS
KEY = "BTCUSDT|15m"
ORIGIN = "http://localhost"
LEARNER = part_names("kalibre.learners")[0]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, market={"symbols": ("BTCUSDT", "ETHUSDT")})


@pytest.fixture
def log(settings: Settings) -> Iterator[EventLog]:
    with open_log(settings.log_url) as opened:
        HubLog(opened, now_ms=NOW_MS, n_bars=260).write()
        yield opened


@pytest.fixture
def app(settings: Settings, log: EventLog) -> Front:
    made = create_app(settings, log=log, clock=ManualClock(NOW_MS))
    made.service.hub.draw_once()
    made.service.live.draw_once()
    return made


class Page:
    """A browser that is logged in: it keeps its cookie and sends Origin and token."""

    def __init__(self, app: Front, *, logged_in: bool = True) -> None:
        self.app = app
        sessions = app.service.sessions
        self.cookies: dict[str, str] = {}
        self.headers = {"origin": ORIGIN}
        if logged_in:
            secret = sessions.redeem(sessions.new_login().partition("=")[2])
            assert secret is not None
            session = sessions.find(secret)
            assert session is not None
            self.cookies, self.by = {sessions.cookie: secret}, session.name
            self.headers["x-csrf-token"] = session.csrf

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        async def asked() -> httpx.Response:
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, cookies=self.cookies) as client:
                sent = {**(self.headers if method == "POST" else {}), **headers}
                return await client.request(method, path, json=body, headers=sent)

        return asyncio.run(asked())


def test_the_state_is_everything_at_one_position(app: Front, log: EventLog) -> None:
    page = Page(app)
    state = page.ask("GET", "/hub/state").json()
    assert state["seq"] == state["board"]["seq"] == log.head()
    assert state["chosen"] == KEY
    assert state["you"]["by"] == page.by
    assert state["you"]["csrf"] == page.headers["x-csrf-token"]
    assert [one["symbol"] for one in state["now"]["series"]] == ["BTCUSDT", "ETHUSDT"]
    cells = state["board"]["cells"]
    for name in (
        *(f"{KEY}/bar", f"{KEY}/ensemble", f"{KEY}/league", f"{KEY}/score/online", f"{KEY}/live/online"),
        *(f"{KEY}/gaps", f"{KEY}/quarantine", "worker/api", "bench/reinforcement", "paused/agents"),
    ):
        assert cells[name]["at"] > 0, name
        assert cells[name]["rec"] > 0, name
    rings = state["board"]["rings"]
    assert {"jobs", "alerts", "verdicts", "commands", "checkpoints/online", f"{KEY}/drift"} <= set(rings)
    other = page.ask("GET", "/hub/state?symbol=ETHUSDT").json()
    assert other["chosen"] == "ETHUSDT|15m"
    assert "ETHUSDT|15m/bars" in other["board"]["rings"]
    unknown = page.ask("GET", "/hub/state?symbol=NOPE")
    assert (unknown.status_code, "BTCUSDT" in unknown.json()["error"]["message"]) == (404, True)


def test_reading_changes_nothing(app: Front, log: EventLog) -> None:
    head = log.head()
    paths = [
        path for path, methods in app.description()["paths"].items() if path.startswith("/hub") and "get" in methods
    ]
    assert len(paths) >= 7
    for path in (*paths, "/ml/explain", "/", "/login?token=x", "/ai-learning-hub/monitoring"):
        separator = "&" if "?" in path else "?"
        answer = Page(app).ask("GET", f"{path}{separator}follow=false" if path == "/hub/stream" else path)
        assert answer.status_code == 200, (path, answer.text)
    assert log.head() == head


def test_a_stretch_is_read_from_the_log_and_thinned(app: Front) -> None:
    page = Page(app)
    start = NOW_MS - 200 * STEP_MS
    fine = page.ask("GET", f"/hub/series?from={start}&to={NOW_MS}&points=500").json()
    assert len(fine["bars"]) == fine["bars_read"] == 200
    closes = [bar[0] + STEP_MS for bar in fine["bars"]]
    assert [time_ms for time_ms, _ in fine["forecasts"]["champion"]] == closes
    rough = page.ask("GET", f"/hub/series?from={start}&to={NOW_MS}&points=20").json()
    assert len(rough["bars"]) == 20
    assert len(rough["forecasts"]["champion"]) <= 20
    first = fine["bars"][:10]
    high, low = max(bar[2] for bar in first), min(bar[3] for bar in first)
    assert rough["bars"][0][:5] == [first[0][0], first[0][1], high, low, first[9][4]]
    assert sum(bar[5] for bar in rough["bars"]) == pytest.approx(sum(bar[5] for bar in fine["bars"]))
    newest = page.ask("GET", "/hub/series?points=7").json()
    assert newest["bars"] == fine["bars"][-7:]
    assert max(len(line) for lines in (newest["forecasts"], newest["equity"]) for line in lines.values()) == 7
    assert page.ask("GET", f"/hub/series?from={NOW_MS}&to={start}").status_code == 422
    long = page.ask("GET", f"/hub/series?from=0&to={(MOST_BARS + 1) * STEP_MS}")
    assert (long.status_code, str(MOST_BARS) in long.json()["error"]["message"]) == (422, True)


def test_history_is_what_the_scores_say(app: Front, log: EventLog) -> None:
    scores = log.read(kinds={"score"}, key=f"{KEY}|online")
    found = Page(app).ask("GET", "/hub/history?what=accuracy&forecaster=online").json()
    expected = [[event.event_time, round(event.payload.accuracy, 6)] for event in scores]  # type: ignore[attr-defined]
    assert found["lines"]["online"] == expected
    reward = Page(app).ask("GET", "/hub/history?what=reward&points=10").json()["lines"]
    assert set(reward) >= {"agents", "champion", "online", "reinforcement"}
    assert all(len(line) <= 10 for line in reward.values())
    assert Page(app).ask("GET", "/hub/history?forecaster=nobody").status_code == 404


def test_league_jobs_and_checkpoints_are_listed(app: Front) -> None:
    page = Page(app)
    tables = page.ask("GET", "/hub/league").json()
    assert [one["series"] for one in tables] == [KEY, "ETHUSDT|15m"]
    assert {row["name"] for row in tables[0]["table"]["rows"]} >= {"base rate", "champion", "ensemble"}
    assert [job["state"] for job in page.ask("GET", "/hub/jobs").json()] == ["done", "failed", "running", "queued"]
    kept = page.ask("GET", "/hub/checkpoints").json()
    assert len(kept["online"]) == 18


def test_words_to_a_learner_are_recorded_with_their_author(app: Front, log: EventLog) -> None:
    page = Page(app)
    seen = []
    for verb in ("pause", "resume", "reset"):
        answer = page.ask("POST", "/hub/command", {"learner": LEARNER, "verb": verb, "reason": "because"})
        assert answer.status_code == 200, answer.text
        seen.append(answer.json()["event_time"])
    assert page.ask("POST", "/hub/checkpoint", {"learner": LEARNER}).status_code == 200
    assert seen == sorted(set(seen)), "one time, one event: the clock stands still here"
    words = [event.payload for event in log.read(kinds={"command"}, key=LEARNER)][-4:]
    assert [word.verb for word in words if isinstance(word, Command)] == ["pause", "resume", "reset", "checkpoint"]
    assert {word.by for word in words if isinstance(word, Command)} == {page.by}


def test_a_restore_names_a_checkpoint_that_is_there(app: Front, log: EventLog, settings: Settings) -> None:
    page = Page(app)
    for body, status in (
        ({"learner": LEARNER, "verb": "restore"}, 422),
        ({"learner": LEARNER, "verb": "pause", "checkpoint": "ab"}, 422),
        ({"learner": LEARNER, "verb": "restore", "checkpoint": "ab" * 32}, 404),
        ({"learner": "nobody", "verb": "pause"}, 404),
        ({"learner": LEARNER, "verb": "explode"}, 422),
        ({"learner": LEARNER, "verb": "pause", "by": "me"}, 422),
    ):
        head = log.head()
        answer = page.ask("POST", "/hub/command", body)
        assert answer.status_code == status, (body, answer.text)
        assert answer.json()["error"]["message"]
        assert log.head() == head
    assert checkpoints_of(settings, LEARNER) is not None


def test_who_may_not_operate_changes_nothing(app: Front, log: EventLog) -> None:
    head = log.head()
    posts = {
        "/hub/command": {"learner": LEARNER, "verb": "pause"},
        "/hub/checkpoint": {"learner": LEARNER},
        "/hub/retrain": {"symbol": "BTCUSDT"},
        "/hub/worker": {"name": "api", "action": "stop"},
        "/alerts/test": None,
    }
    stranger, page = Page(app, logged_in=False), Page(app)
    for path, body in posts.items():
        assert stranger.ask("POST", path, body).status_code == 403, path
        assert page.ask("POST", path, body, **{"x-csrf-token": "guessed"}).status_code == 403, path
        assert page.ask("POST", path, body, origin="http://evil.example").status_code == 403, path
        assert page.ask("GET", path).status_code == 405, path
    assert log.head() == head


class Hands:
    """A hub that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def retrain(self, symbol: str, by: str, reason: str) -> str:
        self.asked.append(("retrain", symbol, by, reason))
        return "retrain|1"

    def worker(self, name: str, action: str, by: str) -> str:
        self.asked.append((action, name, by))
        return f"{name}: {action}"

    def test_alert(self, by: str) -> list[dict[str, Any]]:
        self.asked.append(("test", by))
        return [{"target": "json", "ok": True}]


def test_the_hub_is_told_who_asks(app: Front) -> None:
    hands = app.service.hub_actions = Hands()
    page = Page(app)
    assert page.ask("POST", "/hub/retrain", {"symbol": "BTCUSDT", "reason": "drift"}).json() == {"job": "retrain|1"}
    assert page.ask("POST", "/hub/retrain", {"symbol": "NOPE"}).status_code == 404
    answer = page.ask("POST", "/hub/worker", {"name": "api", "action": "restart", "reason": "memory"})
    assert answer.json() == {"detail": "api: restart"}
    assert page.ask("POST", "/alerts/test").json()["results"][0]["ok"] is True
    assert hands.asked == [
        ("retrain", "BTCUSDT", page.by, "drift"),
        ("restart", "api", f"{page.by}: memory"),
        ("test", page.by),
    ]


def test_without_a_hub_it_says_how_to_start_one(app: Front, log: EventLog) -> None:
    head = log.head()
    for path, body in (
        ("/hub/retrain", {"symbol": "BTCUSDT"}),
        ("/hub/worker", {"name": "learners", "action": "stop"}),
    ):
        answer = Page(app).ask("POST", path, body)
        assert (answer.status_code, "kalibre hub up" in answer.json()["error"]["message"]) == (503, True), answer.text
    assert Page(app).ask("POST", "/alerts/test").status_code == 409
    assert log.head() == head


def test_the_kill_switch_names_the_session(app: Front, log: EventLog) -> None:
    page = Page(app)
    assert page.ask("POST", "/ml/kill", {"reason": "test"}).json()["by"] == page.by
    assert page.ask("POST", "/ml/kill", {"release": True}).json()["engaged"] is False


# --- the stream -------------------------------------------------------------------------------------------------------


async def frames(app: Front, path: str, count: int, **headers: str) -> list[dict[str, Any]]:
    """Read frames as they are sent, by ASGI itself: a client library would wait for the end of an endless answer."""
    found: list[dict[str, Any]] = []
    done = asyncio.Event()
    path, _, query = path.partition("?")

    async def receive() -> dict[str, Any]:
        if not found or len(found) < count:
            await done.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        for text in message.get("body", b"").decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
            if "data" in lines:
                found.append({**lines, "data": json.loads(lines["data"])})
        if len(found) >= count or (message["type"] == "http.response.body" and not message.get("more_body")):
            done.set()

    sent = {"host": "localhost", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        **{"type": "http", "method": "GET", "path": path, "query_string": query.encode(), "http_version": "1.1"},
        **{"scheme": "http", "server": ("localhost", 80), "client": ("127.0.0.1", 1), "root_path": ""},
        "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
    }
    await asyncio.wait_for(app(scope, receive, send), 20)
    return found


def test_a_stream_goes_on_from_a_position(app: Front, log: EventLog) -> None:
    first = asyncio.run(frames(app, "/hub/stream?follow=false", 2))
    assert [one["event"] for one in first] == ["board", "now"]
    assert int(first[0]["id"]) == log.head()
    time_ms, close = NOW_MS, 1.0
    bar = BarClosed(open_time=time_ms, open=close, high=close, low=close, close=close, volume=1.0)
    log.append([new_event(KEY, time_ms, bar)], writer="test")
    app.service.hub.draw_once()
    again = asyncio.run(frames(app, "/hub/stream?follow=false", 2, last_event_id=first[0]["id"]))
    assert list(again[0]["data"]["rings"]) == [f"{KEY}/bars"]
    assert again[0]["data"]["rings"][f"{KEY}/bars"]["points"] == [[time_ms, 1.0, 1.0, 1.0, 1.0, 1.0]]
    nothing_new = asyncio.run(frames(app, f"/hub/stream?follow=false&after={log.head()}", 1))
    assert [one["event"] for one in nothing_new] == ["now"]


def test_a_stream_follows_and_counts_itself(app: Front, log: EventLog) -> None:
    made = HubLog(log, now_ms=NOW_MS, n_bars=1)

    async def followed() -> list[dict[str, Any]]:
        reading = asyncio.ensure_future(frames(app, f"/hub/stream?after={log.head()}", 2))
        await asyncio.sleep(0.2)
        assert app.service.streams == 1
        await asyncio.to_thread(made.next_bar)
        await asyncio.to_thread(app.service.hub.draw_once)
        return await reading

    found = asyncio.run(followed())
    assert [one["event"] for one in found] == ["now", "board"]
    assert int(found[1]["id"]) == log.head()
    assert app.service.streams == 0


def test_who_takes_nothing_is_let_go(app: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a browser that stops reading."""
    monkeypatch.setattr(stream, "PATIENCE_S", 0.1)

    async def stuck() -> None:
        async def receive() -> dict[str, Any]:
            await asyncio.sleep(3600)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if len(message.get("body", b"")) > 1_000:
                await asyncio.sleep(3600)

        scope = {
            **{"type": "http", "method": "GET", "path": "/hub/stream", "query_string": b"", "http_version": "1.1"},
            **{"scheme": "http", "server": ("localhost", 80), "client": ("127.0.0.1", 1), "root_path": ""},
            "headers": [(b"host", b"localhost")],
        }
        await asyncio.wait_for(app(scope, receive, send), 10)

    asyncio.run(stuck())
    assert app.service.streams == 0


def test_a_position_that_is_none_is_refused(app: Front) -> None:
    answer = Page(app).ask("GET", "/hub/stream?follow=false", **{"last-event-id": "yesterday"})
    assert (answer.status_code, "yesterday" in answer.json()["error"]["message"]) == (422, True)


# --- the page's files and logging in ----------------------------------------------------------------------------------


def test_nothing_but_the_page_files_can_be_reached(app: Front) -> None:
    page = Page(app, logged_in=False)
    for name, asset in pages.assets().items():
        answer = page.ask("GET", f"/page/{name}")
        assert (answer.status_code, answer.content) == (200, asset.content)
        assert page.ask("GET", f"/page/{name}", **{"if-none-match": asset.mark}).status_code == 304
    for name in ("__init__.py", "page.html", "..%2f__init__.py", "%2e%2e/app.py", "nothing.js"):
        assert page.ask("GET", f"/page/{name}").status_code == 404, name
    policy = page.ask("GET", "/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_the_page_is_shown_where_reading_takes_a_key(settings: Settings, log: EventLog) -> None:
    keyed = settings.model_copy(update={"api": settings.api.model_copy(update={"keys": {"k" * 24: "read"}})})
    page = Page(create_app(keyed, log=log), logged_in=False)
    assert page.ask("GET", "/").status_code == 200
    assert page.ask("GET", "/page/app.js").status_code == 200
    assert page.ask("GET", "/hub/state").status_code == 401
    assert page.ask("GET", "/hub/stream?follow=false").status_code == 401


def test_looking_at_the_login_uses_nothing_up_and_a_token_works_once(app: Front) -> None:
    path = app.service.sessions.new_login()
    token = path.partition("=")[2]
    page = Page(app, logged_in=False)
    form = f"token={token}".encode()
    for _ in range(3):
        assert token in page.ask("GET", path).text

    async def posted(origin: str) -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as client:
            return await client.post(
                "/login", content=form, headers={"origin": origin, "content-type": "application/x-www-form-urlencoded"}
            )

    assert asyncio.run(posted("http://evil.example")).status_code == 403
    first = asyncio.run(posted(ORIGIN))
    assert (first.status_code, first.headers["location"]) == (303, "/")
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert token not in cookie
    again = asyncio.run(posted(ORIGIN))
    assert again.status_code == 403
    assert "set-cookie" not in again.headers
    assert 'role="alert"' in again.text


def test_a_key_opens_a_session_with_its_own_scopes(settings: Settings, log: EventLog) -> None:
    key = "a-long-and-random-key-0"
    keyed = settings.model_copy(update={"api": settings.api.model_copy(update={"keys": {key: "read,kill"}})})
    app = create_app(keyed, log=log)

    async def posted() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=ORIGIN) as client:
            await client.post("/login", content=f"token={key}".encode(), headers={"origin": ORIGIN})
            return await client.get("/ml/model/status")

    assert asyncio.run(posted()).status_code == 200
    assert app.service.session_key is None


def test_what_a_token_holds_is_text(app: Front) -> None:
    shown = Page(app).ask("GET", "/login?token=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").text
    assert "<script>alert" not in shown
    assert "&lt;script&gt;" in shown


def test_logging_out_ends_the_session(app: Front) -> None:
    page = Page(app)
    assert page.ask("POST", "/logout").status_code == 204
    assert page.ask("GET", "/hub/state").json()["you"]["csrf"] is None
    assert page.ask("POST", "/hub/command", {"learner": LEARNER, "verb": "pause"}).status_code == 403


def test_an_explanation_comes_with_its_words(app: Front) -> None:
    for lang in ("en", "tr"):
        found = Page(app).ask("GET", f"/ml/explain?symbol=BTCUSDT&lang={lang}").json()
        assert found["about"] == "champion-1"
        assert list(found["values"]) == sorted(found["values"], key=lambda name: -abs(found["values"][name]))
        if "explain" in part_names("kalibre.learners"):
            assert found["words"]


def test_what_comes_with_a_cookie_is_not_remembered_by_its_head(settings: Settings, log: EventLog) -> None:
    """A head that the hot wire knows would be let in after its session has ended."""
    from kalibre.api.hot import HotWire

    app = create_app(settings, log=log)
    app.service.live.draw_once()
    page = Page(app)
    cookie = "; ".join(f"{name}={value}" for name, value in page.cookies.items())
    head = "GET /ml/predict HTTP/1.1\r\nHost: localhost\r\n"
    wire = HotWire(app.service)
    assert wire.answer(f"{head}\r\n".encode()) is not None
    assert wire.answer(f"{head}Cookie: {cookie}\r\n\r\n".encode()) is None
