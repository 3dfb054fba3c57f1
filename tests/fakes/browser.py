"""A real Chromium that shows the page: launched once a run, watched for every error and every foreign request."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[2]
SHOTS = ROOT / "out" / "page"
"""Where the run keeps its screenshots."""


def chromium() -> str:
    """Return the path of Chromium; skip without one, but fail where the run has to be whole."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        told = "Chromium is not installed: run `apt-get install chromium`"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)
    return path


@contextmanager
def launched() -> Iterator[Browser]:
    """Launch Debian's Chromium; Playwright's own browsers are not downloaded."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # In a container root has no other sandbox than the container.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page, with everything that went wrong on it."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.wrong: list[str] = []
        self.foreign: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", self._said)
        page.on("request", self._asked)

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"{message.text} ({message.location.get('url', '')})")

    def _asked(self, request: Any) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.address).netloc:
            self.foreign.append(request.url)

    def open(self, path: str = "/") -> Page:
        """Go there and wait until the page can be used."""
        self.page.goto(self.address + path)
        self.page.wait_for_selector("body[data-ready]", timeout=20_000)
        return self.page


@contextmanager
def opened(
    browser: Browser,
    address: str,
    *,
    lang: str = "en",
    theme: str = "light",
    width: int = 1440,
    height: int = 900,
    scale: float = 1.0,
) -> Iterator[Watched]:
    """Open a page of its own, with a fresh profile; at its end nothing may have gone wrong or been asked elsewhere."""
    context = browser.new_context(
        locale="en-GB",
        color_scheme=theme,  # type: ignore[arg-type]
        viewport={"width": width, "height": height},
        device_scale_factor=scale,
    )
    context.add_init_script(f"localStorage.getItem('kalibre.lang') ?? localStorage.setItem('kalibre.lang', '{lang}')")
    try:
        watched = Watched(context.new_page(), address)
        yield watched
        assert watched.foreign == [], f"the page works offline: it asks nobody else, but {watched.foreign}"
        assert watched.wrong == [], watched.wrong
    finally:
        context.close()
