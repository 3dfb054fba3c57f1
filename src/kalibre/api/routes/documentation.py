"""`/docs`: every route on one page that needs nothing from the network."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from kalibre.api.pages import documentation_page

router = APIRouter(include_in_schema=False)


@router.get("/docs", response_class=HTMLResponse)
def documentation(request: Request) -> HTMLResponse:
    """Show what `/openapi.json` says, for people; its examples call the server as the reader did."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    # The door has checked the name: it is one of this server's.
    page = documentation_page(request.app.openapi(), address=request.headers["host"])
    return HTMLResponse(page, headers={"content-security-policy": policy})
