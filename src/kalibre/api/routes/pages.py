"""The hub's page, what it is made of, and logging in to it. The page speaks to the API like anybody else."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from html import escape
from importlib import resources
from typing import Annotated, NamedTuple
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from kalibre.api.routes.base import service_of
from kalibre.api.sessions import LOGIN_PATH, SESSION_LASTS_MS
from kalibre.core.errors import ApiError

router = APIRouter(include_in_schema=False)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    # With no referrer at all a browser would hide the Origin of the login form too.
    "referrer-policy": "same-origin",
    "cache-control": "no-cache",
}
_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
}


class Asset(NamedTuple):
    """A file of the page: its type, content and mark."""

    kind: str
    content: bytes
    mark: str


@cache
def assets() -> dict[str, Asset]:
    """Return every file that the page may ask for, by name: nothing else of the disk can be reached."""
    found = {}
    for file in resources.files("kalibre.dashboard").iterdir():
        ending = file.name.rpartition(".")[2]
        if ending in _TYPES and file.is_file():
            content = file.read_bytes()
            found[file.name] = Asset(_TYPES[ending], content, f'"{hashlib.sha256(content).hexdigest()[:16]}"')
    return found


@cache
def _template(name: str) -> str:
    return (resources.files("kalibre.dashboard") / name).read_text(encoding="utf-8")


@cache
def words(lang: str) -> dict[str, str]:
    """Return the page's words in a language."""
    read: dict[str, str] = json.loads(assets()[f"words.{lang}.json"].content)
    return read


@router.get("/")
@router.get("/ai-learning-hub/monitoring")
def page(request: Request) -> HTMLResponse:
    """Show the hub."""
    lang = service_of(request).settings.lang
    return HTMLResponse(_filled("page.html", lang, {"lang": lang}), headers=_HEADERS)


@router.get("/page/{name}")
def asset(request: Request, name: str) -> Response:
    """Give a file of the page; a browser that has it is told so."""
    found = assets().get(name)
    if found is None:
        raise ApiError(f"the page has no file {name[:60]!r}", status=404)
    headers = {**_HEADERS, "etag": found.mark}
    if request.headers.get("if-none-match") == found.mark:
        return Response(status_code=304, headers=headers)
    return Response(found.content, headers=headers, media_type=found.kind)


@router.get(LOGIN_PATH)
def login_form(request: Request, token: Annotated[str, Query(max_length=200)] = "") -> HTMLResponse:
    """Show the form that sends the one-time token: looking at the address, as previews do, uses nothing up."""
    return _login(request, token, "", status=200)


@router.post(LOGIN_PATH)
async def login(request: Request) -> Response:
    """Open a session for a one-time token or a key, and set its cookie."""
    service = service_of(request)
    form = parse_qs((await request.body()).decode("utf-8", "replace"))
    token = form.get("token", [""])[0].strip()
    secret = service.sessions.redeem(token)
    if secret is None:
        scopes = service.guard.keys.scopes(token.encode()) if token else None
        if scopes is None:
            return _login(request, "", "login.refused", status=403)
        secret = service.sessions.open(scopes)
    answer = RedirectResponse("/", status_code=303, headers={"cache-control": "no-store"})
    answer.set_cookie(
        service.sessions.cookie,
        secret,
        max_age=SESSION_LASTS_MS // 1000,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


@router.post("/logout")
def logout(request: Request) -> Response:
    """End the session."""
    sessions = service_of(request).sessions
    secret = sessions.secret_in(request.headers.get("cookie", "").encode("latin-1"))
    if secret is not None:
        sessions.close(secret)
    answer = Response(status_code=204)
    answer.delete_cookie(sessions.cookie, path="/", httponly=True, samesite="strict")
    return answer


def _login(request: Request, token: str, problem: str, *, status: int) -> HTMLResponse:
    lang = service_of(request).settings.lang
    said = f'<p role="alert" class="problem">{escape(words(lang)[problem])}</p>' if problem else ""
    values = {"lang": lang, "token": token}
    html = _filled("login.html", lang, values).replace("<!-- problem -->", said)
    return HTMLResponse(html, status_code=status, headers={**_HEADERS, "cache-control": "no-store"})


def _filled(name: str, lang: str, values: dict[str, str]) -> str:
    """Fill `{{key}}` with the words of a language, or with a value; all of it as text."""
    html = _template(name)
    for key, text in {**words(lang), **values}.items():
        html = html.replace("{{" + key + "}}", escape(text))
    return html
