"""Targets: the addresses of the settings, each a service of apprise; what they hold is never shown."""

from __future__ import annotations

import re
import sys
import threading
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from kalibre.alerts.overheard import overheard
from kalibre.core.errors import AlertTargetError
from kalibre.core.settings import Settings

if TYPE_CHECKING:
    from apprise.plugins.base import NotifyBase

_NAMES = {
    **{"tgram": "telegram", "mailto": "e-mail", "mailtos": "e-mail"},
    **{f"{kind}{secure}": "webhook" for kind in ("json", "xml", "form", "http") for secure in ("", "s")},
}
_MAIL = frozenset({"mailto", "mailtos"})
_SHOW_HOST = frozenset({name for name in _NAMES if name != "tgram"})
"""Services whose host is a host; elsewhere a token stands in its place."""
_FIXED = frozenset({"tgram", "slack"})
"""Services whose host apprise knows: no address of the settings leads anywhere else."""


class Target:
    """One address of `alerts.urls`.

    Parameters
    ----------
    url
        The address in apprise's form.
    place
        Its place in the settings, from 1. A target is known by place and service, so that a new token or password
        leaves what waits for it where it is.
    """

    def __init__(self, url: str, place: int) -> None:
        self._url = url
        self._place = place
        self._plugin: NotifyBase | None = None
        self.busy: threading.Thread | None = None
        """The thread of the newest attempt; see send.py."""
        self.scheme = url.partition("://")[0].lower()
        self.name = f"{place} {_NAMES.get(self.scheme, self.scheme)}{_shown_host(url, self.scheme)}"

    @property
    def is_mail(self) -> bool:
        """Whether it speaks SMTP; a mail server often stands in the house, so the guard does not apply."""
        return self.scheme in _MAIL

    @property
    def has_fixed_host(self) -> bool:
        """Whether its host is the service's own, whatever the address says."""
        return self.scheme in _FIXED

    def plugin(self) -> NotifyBase:
        """Return apprise's service for it, made at the first call.

        Raises
        ------
        AlertTargetError
            If apprise cannot make a service of the address.
        """
        if self._plugin is None:
            self._plugin = self._load()
        return self._plugin

    @property
    def uses_requests(self) -> bool:
        """Whether its service sends through requests in the calling thread, where the guard sees each connection."""
        return hasattr(sys.modules[type(self.plugin()).__module__], "requests")

    def hide(self, text: str) -> str:
        """Take everything out of a text that its address holds, except service and host."""
        for secret in self._secrets():
            text = text.replace(secret, "***")
        return text

    def _secrets(self) -> list[str]:
        _, _, rest = self._url.partition("://")
        host = _shown_host(self._url, self.scheme).strip()
        parts = {part for written in (rest, unquote(rest)) for part in re.split(r"[/:@?&=,#]+", written)}
        parts |= {unquote(part) for part in parts} | {rest}
        # Of one or two signs nothing can be told, and half of every sentence would be hidden.
        return sorted((part for part in parts if len(part) > 2 and part.lower() != host), key=len, reverse=True)

    def _load(self) -> NotifyBase:
        import apprise

        asset = apprise.AppriseAsset(
            app_id="Kalibre",
            app_desc="Kalibre",
            app_url="",
            image_url_mask=False,  # no picture from somebody else's server in our messages
            # A redirected POST becomes a GET, and the page that it ends on would count as delivered.
            http_redirects=False,
            interpret_emojis=False,
            storage_mode="memory",
            # Both keep the sending in the thread that asks for it, where the guard stands.
            async_mode=False,
            service_timeout=0,
        )
        with overheard() as lines:
            plugin = apprise.Apprise.instantiate(self._url, asset=asset)
        if plugin is None:
            said = self.hide(lines[-1][1]) if lines else "no such service"
            raise AlertTargetError(
                f"address {self._place} of alerts.urls ({self.scheme}://...) cannot be used: {said}; "
                "https://appriseit.com/services shows the form of each service"
            )
        # An address may ask with ?redirect=yes&retry=5&optional=yes to be led on, to be tried again in here, and that a
        # failure counts as a delivery.
        plugin.redirects, plugin.retry, plugin.optional = False, 0, False
        plugin.overflow_mode = apprise.OverflowMode.SPLIT  # a long digest in parts; by default a service refuses it
        return plugin


def targets_of(settings: Settings) -> list[Target]:
    """Return the targets of the settings, in their order."""
    return [Target(url.get_secret_value(), place) for place, url in enumerate(settings.alerts.urls, start=1)]


def _shown_host(url: str, scheme: str) -> str:
    """Return a blank and the host, where the host is no secret."""
    if scheme not in _SHOW_HOST:
        return ""
    try:
        host = urlsplit(url).hostname
    except ValueError:  # not an address; apprise will say so
        host = None
    return f" {host}" if host else ""
