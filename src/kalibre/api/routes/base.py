"""What the route groups share: the way to the service, the scopes, the form of an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict

from kalibre.api.guard import require
from kalibre.api.service import Service


class View(BaseModel):
    """Something a route shows."""

    model_config = ConfigDict(frozen=True)


class Command(BaseModel):
    """Something a route is told; a field that it does not know is an error, not a wish unheard."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ErrorDetail(View):
    """What went wrong and what to do about it."""

    type: str
    message: str


class ErrorView(View):
    """The form of every error."""

    error: ErrorDetail


_MEANINGS = {
    400: "The request is malformed: a foreign Host, or no JSON.",
    401: "The key is missing or unknown.",
    403: "The key lacks the scope, or another site's page asks.",
    404: "The symbol is not followed here.",
    405: "Not this method: what changes state is a POST.",
    409: "The state does not allow it.",
    413: "The body is too long.",
    415: "The body is no JSON.",
    422: "A value cannot be used; the message quotes it.",
    429: "Too many at once.",
    503: "Degraded: the log cannot be read, or something that the answer needs is missing or stale.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document the error answers of a route; those of the door (400, 401, 403) and 503 always belong to them."""
    return {
        status: {"model": ErrorView, "description": _MEANINGS[status]}
        for status in sorted({400, 401, 403, 422, 503, *statuses})
    }


def service_of(request: Request) -> Service:
    """Return the service of the application that a request came to."""
    service: Service = request.app.state.service
    return service


def scopes_of(request: Request) -> frozenset[str]:
    """Return what the caller may do, as the front found."""
    scopes: frozenset[str] = request.scope["kalibre.scopes"]
    return scopes


def by_of(request: Request) -> str:
    """Return who asks, for the record: a session of the page by its name, else a key."""
    session = service_of(request).sessions.of_cookie(request.headers.get("cookie", "").encode("latin-1"))
    if session is not None and "x-api-key" not in request.headers and "authorization" not in request.headers:
        return session.name
    return "api:admin" if "admin" in scopes_of(request) else "api"


def needs(scope: str) -> Any:
    """Make a dependency that refuses callers without a scope."""

    def check(request: Request) -> None:
        require(scopes_of(request), scope)

    check.__name__ = f"needs_{scope}"
    dependency: Callable[[Request], None] = check
    return Depends(dependency)
