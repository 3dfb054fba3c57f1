"""The application: the front, and behind it every route group that this folder's `routes` holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kalibre.api.auth import check_bind
from kalibre.api.front import Front, error_body
from kalibre.api.service import Service
from kalibre.core.catalog import parts
from kalibre.core.clock import Clock
from kalibre.core.errors import ApiError, KalibreError, KillSwitchEngagedError
from kalibre.core.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

    from kalibre.log.protocol import EventLog

_ABOUT = """Calibrated forecasts, the policy's word on them, and the kill switch.

Send a key as `X-API-Key`. Scopes: `read`, `predict`, `operate`, `kill`, `admin` (all of them). Every error reads
`{"error": {"type": ..., "message": ...}}`."""


def create_app(settings: Settings, *, log: EventLog | None = None, clock: Clock | None = None) -> Front:
    """Make the server as an ASGI application; its lifespan starts and stops the thread that follows the log.

    Parameters
    ----------
    settings
        Which series to follow, where log and models are, keys and address.
    log
        The log, if it is open already; else the settings say where it is. It is left open then.
    clock
        The machine's clock, unless a test holds it.

    Raises
    ------
    SettingsError
        If the address is public without secrets, or a key's scope is unknown.

    Examples
    --------
    >>> from kalibre.core.settings import Settings
    >>> sorted(create_app(Settings()).service.live.symbols)
    ['BTCUSDT']
    """
    check_bind(settings.api)
    service = Service(settings, log=log, clock=clock)
    return Front(service, _behind(service))


def _behind(service: Service) -> FastAPI:
    from fastapi import FastAPI, HTTPException
    from fastapi.exceptions import RequestValidationError
    from starlette.exceptions import HTTPException as StarletteHTTPException

    from kalibre import __version__

    app = FastAPI(
        title="Kalibre", version=__version__, description=_ABOUT, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    app.state.service = service
    schemas: dict[str, Any] = {}
    for module in parts("kalibre.api.routes").values():
        app.include_router(module.router)
        schemas |= getattr(module, "SCHEMAS", {})
    described = app.openapi

    def openapi() -> dict[str, Any]:
        """Add the forms of the routes that do without pydantic."""
        description = described()
        description["components"]["schemas"] |= schemas
        return description

    app.openapi = openapi  # type: ignore[method-assign]
    app.add_exception_handler(KalibreError, _known_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(StarletteHTTPException, _http_error)
    return app


def _json(status: int, content: bytes, headers: dict[str, str] | None = None) -> Response:
    from fastapi import Response

    return Response(content, status_code=status, media_type="application/json", headers=headers)


async def _known_error(request: Request, error: Exception) -> Response:
    if isinstance(error, ApiError):
        return _json(error.status, error_body(error), dict(error.headers))
    if isinstance(error, KillSwitchEngagedError):
        return _json(409, error_body(error))
    # What the house raises on purpose outside a request's own faults: the log is locked, a model is damaged.
    return _json(503, error_body(error), {"retry-after": "1"})


async def _invalid(request: Request, error: Exception) -> Response:
    found: list[dict[str, Any]] = error.errors()  # type: ignore[attr-defined]
    text = "; ".join(
        f"{'.'.join(map(str, item['loc']))} = {str(item.get('input'))[:60]!r}: {item['msg']}" for item in found
    )
    return _json(422, error_body(ApiError(f"{text}; see /docs for the form", status=422)))


async def _http_error(request: Request, error: Exception) -> Response:
    status: int = error.status_code  # type: ignore[attr-defined]
    headers = {name.lower(): value for name, value in (getattr(error, "headers", None) or {}).items()}
    match status:
        case 404:
            message = f"there is nothing at {request.url.path!r}: see /docs"
        case 405:
            allowed = headers.get("allow", "another method")
            message = f"{request.method} {request.url.path} is not answered: send {allowed}"
            if request.method in ("GET", "HEAD"):
                message += "; reading never changes anything, so what changes state is a POST with a key in X-API-Key"
        case 400 if "parsing the body" in (message := str(getattr(error, "detail", error))):
            message = "the body is no JSON in UTF-8: send it as UTF-8 (not Windows-1254), and check its brackets"
        case _:
            message = str(getattr(error, "detail", error))
    return _json(status, error_body(ApiError(message, status=status)), headers)
