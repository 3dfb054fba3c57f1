"""A polite visitor of other people's servers: asks robots.txt, waits its turn, and asks again only for what is new.

Rules of robots.txt are those of RFC 9309: without the file everything may be read, and while the server cannot give it
(5xx, no answer) nothing. Redirects are followed one by one, each under the rules of its own host. A page met on the way
never leads into a private network, unless the settings name that host.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx

from kalibre.core.errors import (
    RateLimitedError,
    SourceError,
    SourceFormatError,
    SourceRefusedError,
    SourceUnavailableError,
    UsageError,
)

logger = logging.getLogger(__name__)
AGENT = "kalibre-corpus"
_TRIES = 3
_REDIRECTS = 5
_LONGEST_DELAY_S = 60.0
_BUSY = frozenset({429, 503})


class RobotsError(SourceRefusedError):
    """The host's robots.txt asks not to read this."""


class TooLargeError(SourceFormatError):
    """A page holds more than is read."""


@dataclass(frozen=True)
class Page:
    """What a server answered; `content` is None where nothing is new (304)."""

    url: str
    content: bytes | None
    charset: str = ""
    marks: Mapping[str, str] = field(default_factory=dict)
    """ETag and Last-Modified, to ask with the next time."""


@dataclass(frozen=True)
class Politeness:
    """How a visitor behaves.

    Attributes
    ----------
    interval_s
        Seconds between two requests to one host, at least; a longer Crawl-delay of its robots.txt is kept.
    patience_s
        The longest wait that a Retry-After may ask for; beyond it the source gives up until the next build.
    largest_mb
        Size of a page at most.
    timeout_s
        Seconds to wait for a server to go on; a page as a whole may take three times as long.
    """

    interval_s: float
    patience_s: float
    largest_mb: float
    timeout_s: float = 20.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise UsageError(f"{name} {value!r} is out of range: choose more than 0")


class Visitor:
    """Reads pages.

    Parameters
    ----------
    politeness
        How it behaves.
    hosts
        Hosts of the settings: they may be private addresses.
    wait, now
        For tests: how to wait, and the time in seconds.
    """

    def __init__(
        self,
        politeness: Politeness,
        *,
        hosts: frozenset[str],
        wait: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval, self._patience = politeness.interval_s, politeness.patience_s
        self._largest, self._timeout = int(politeness.largest_mb * 2**20), politeness.timeout_s
        self._hosts, self._wait, self._now = hosts, wait, now
        self._client = httpx.Client(timeout=self._timeout, headers={"user-agent": f"{AGENT}/1"}, trust_env=False)
        self._robots: dict[str, Any] = {}
        self._next: dict[str, float] = {}

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def get(self, url: str, *, marks: Mapping[str, str] | None = None, post: Any = None) -> Page:
        """Read a page, or with `post` send JSON and read the answer.

        Parameters
        ----------
        url
            Its address, http or https.
        marks
            What the last answer brought: the server then says whether anything is new.
        post
            JSON to send.

        Raises
        ------
        RobotsError
            If robots.txt asks not to.
        TooLargeError
            If it is larger than is read.
        RateLimitedError
            If the server asks for more patience than there is.
        SourceUnavailableError
            If it does not answer, or with an error.
        """
        headers = {}
        if marks:
            headers = {"if-none-match": marks.get("etag", ""), "if-modified-since": marks.get("last-modified", "")}
        at = url
        for _ in range(_REDIRECTS + 1):
            self._check(at)
            status, found, content = self._asked(at, {key: value for key, value in headers.items() if value}, post)
            if status in {301, 302, 303, 307, 308} and "location" in found:
                at = joined(at, found["location"])
                continue
            if status == 304:
                return Page(at, None, marks=dict(marks or {}))
            if status != 200:
                raise SourceUnavailableError(f"{at!r} answers {status}: it may be gone, or not open to programs")
            kept = {name: found[name] for name in ("etag", "last-modified") if name in found}
            return Page(at, content, found.charset or "", kept)
        raise SourceUnavailableError(f"{url!r} redirects more than {_REDIRECTS} times: correct the address")

    # --- rules --------------------------------------------------------------------------------------------------------

    def _check(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            readable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            readable = False
        if not readable or not parts.hostname:
            raise SourceFormatError(f"{url!r} is no address of a page: it needs http or https and a host")
        if parts.hostname not in self._hosts and _is_private(parts.hostname):
            raise SourceRefusedError(f"{url!r} leads into a private network: name its host in the settings to read it")
        rules = self._rules(f"{parts.scheme}://{parts.netloc}")
        if rules is None or not rules.can_fetch(url, AGENT):
            raise RobotsError(f"robots.txt of {parts.netloc!r} asks programs not to read {url!r}: it is left out")

    def _rules(self, site: str) -> Any:
        from protego import Protego

        if site not in self._robots:
            try:
                status, _, content = self._asked(f"{site}/robots.txt", {}, None, robots=True)
            except SourceUnavailableError:
                status, content = 599, b""
            # None: the rules cannot be known now, so nothing may be read.
            self._robots[site] = (
                None if status >= 500 else Protego.parse(content.decode("utf-8", "replace") if status == 200 else "")
            )
        return self._robots[site]

    def _turn(self, site: str) -> None:
        """Wait until the host may be asked again."""
        rules = self._robots.get(site)
        told = float(rules.crawl_delay(AGENT) or 0.0) if rules else 0.0
        pause = self._next.get(site, 0.0) - self._now()
        if pause > 0:
            self._wait(pause)
        self._next[site] = self._now() + max(self._interval, min(told, _LONGEST_DELAY_S))

    # --- one request --------------------------------------------------------------------------------------------------

    def _asked(
        self, url: str, headers: Mapping[str, str], post: Any, *, robots: bool = False
    ) -> tuple[int, _Headers, bytes]:
        parts = urlsplit(url)
        site = f"{parts.scheme}://{parts.netloc}"
        said = ""
        for attempt in range(_TRIES):
            self._turn(site)
            try:
                answer, content = self._once(url, headers, post)
            except (httpx.RequestError, httpx.InvalidURL, UnicodeError) as error:
                said = f"does not answer ({type(error).__name__}: {error})"
                self._wait(2.0**attempt)
                continue
            if answer.status_code in _BUSY:
                self._be_patient(url, answer, attempt)
                said = f"answers {answer.status_code}"
                continue
            if answer.status_code >= 500 and not robots:
                said = f"answers {answer.status_code}"
                self._wait(2.0**attempt)
                continue
            return answer.status_code, _Headers(answer), content
        raise SourceUnavailableError(f"{url!r} {said}, {_TRIES} times: try again later")

    def _once(self, url: str, headers: Mapping[str, str], post: Any) -> tuple[httpx.Response, bytes]:
        with self._client.stream("GET" if post is None else "POST", url, headers=headers, json=post) as answer:
            content = bytearray()
            began = time.monotonic()
            for piece in answer.iter_bytes():
                content += piece
                if time.monotonic() - began > 3 * self._timeout:
                    raise httpx.ReadTimeout(f"it took longer than {3 * self._timeout:g} s")
                if len(content) > self._largest:
                    raise TooLargeError(f"{url!r} holds more than {self._largest / 2**20:g} MB: it is left out")
            return answer, bytes(content)

    def _be_patient(self, url: str, answer: httpx.Response, attempt: int) -> None:
        asked = _seconds(answer.headers.get("retry-after", "")) or 2.0**attempt
        if asked > self._patience:
            raise RateLimitedError(
                f"{url!r} asks to come back in {asked:.0f} s, patience is {self._patience:.0f} s: build again later",
                retry_after_s=asked,
            )
        logger.info("%s asks to wait %.0f s", url, asked)
        self._wait(asked)


class _Headers(dict[str, str]):
    """The headers of an answer in lower case, with the encoding it declares."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__({key.lower(): value for key, value in answer.headers.items()})
        self.charset = answer.charset_encoding


def _seconds(told: str) -> float:
    """Return what a Retry-After asks for: seconds, or a moment."""
    if told.strip().isdigit():
        return float(told)
    try:
        return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
    except (ValueError, TypeError, IndexError):
        return 0.0


def _is_private(host: str) -> bool:
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False  # it will not answer either
    return any(not ipaddress.ip_address(str(address).partition("%")[0]).is_global for address in addresses)


def joined(base: str, link: str) -> str:
    """Return where a link of a page leads; a link that is none stays as it is, and is refused when it is read."""
    try:
        return urljoin(base, link)
    except ValueError:
        return link


def reason_of(error: SourceError) -> str:
    """Name in a word or two why a page was left out."""
    if isinstance(error, RobotsError):
        return "robots"
    if isinstance(error, TooLargeError):
        return "too large"
    if isinstance(error, SourceFormatError):
        return "unreadable"
    return "refused" if isinstance(error, SourceRefusedError) else "unavailable"
