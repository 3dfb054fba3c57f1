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
from kalibre.language.corpus.sources._answer import Headers, Unpacked, is_plain, seconds, shown
from kalibre.language.corpus.sources.base import needed

logger = logging.getLogger(__name__)
AGENT = "kalibre-corpus"
_TRIES = 3
_REDIRECTS = 5
_LONGEST_DELAY_S = 60.0
_LONGEST_S = 100_000.0
_BUSY = frozenset({429, 503})
_MOVED = frozenset({301, 302, 303, 307, 308})
_GONE = frozenset(range(400, 500)) - {408, 425, 429}
_RULES_BYTES = 500 * 1024
"""Of robots.txt, as RFC 9309 asks; the rest is not read."""
_RULES_S, _NO_RULES_S = 86_400.0, 600.0
"""How long rules hold, and how long it holds that they could not be had."""


class RobotsError(SourceRefusedError):
    """The host's robots.txt asks not to read this."""


class GoneError(SourceUnavailableError):
    """The server says that there is no such page, or not for programs: asking again cannot help."""


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
            if not 0 < value <= _LONGEST_S:
                raise UsageError(f"{name} {value!r} is out of range: choose more than 0, up to {_LONGEST_S:.0f}")


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
        headers = {"user-agent": f"{AGENT}/1", "accept-encoding": "gzip"}
        self._client = httpx.Client(timeout=self._timeout, headers=headers, trust_env=False)
        self._robots: dict[str, tuple[Any, float]] = {}
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
        told = {"if-none-match": "etag", "if-modified-since": "last-modified"}
        headers = {name: str((marks or {}).get(mark, "")) for name, mark in told.items()}
        headers = {name: value for name, value in headers.items() if value and is_plain(value)}
        at = url
        for _ in range(_REDIRECTS + 1):
            self._check(at)
            status, found, content = self._asked(at, headers, post)
            if status in _MOVED and "location" in found:
                at = joined(at, found["location"])
                post = None if status == 303 else post
                continue
            if status == 304:
                return Page(at, None, marks=dict(marks or {}))
            if status != 200:
                error = GoneError if status in _GONE else SourceUnavailableError
                raise error(f"{shown(at)!r} answers {status}: it may be gone, or not open to programs")
            kept = {name: found[name] for name in told.values() if is_plain(found.get(name, ""))}
            return Page(at, content, found.charset or "", kept)
        raise SourceUnavailableError(f"{shown(url)!r} redirects more than {_REDIRECTS} times: correct the address")

    # --- rules --------------------------------------------------------------------------------------------------------

    def _check(self, url: str) -> None:
        site = self._site(url)
        rules = self._rules(site)
        if rules is None or not rules.can_fetch(url, AGENT):
            raise RobotsError(f"robots.txt of {shown(site)!r} asks programs not to read {shown(url)!r}: it is left out")

    def _site(self, url: str) -> str:
        """Return whose rules hold for an address, if it is one that may be asked."""
        try:
            parts = urlsplit(url)
            readable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            readable = False
        if not readable or not parts.hostname:
            raise SourceFormatError(f"{url[:300]!r} is no address of a page: it needs http or https and a host")
        if parts.hostname not in self._hosts and _is_private(parts.hostname):
            raise SourceRefusedError(f"{shown(url)!r} leads into a private network: name its host in the settings")
        return f"{parts.scheme}://{parts.netloc}"

    def _rules(self, site: str) -> Any:
        """Return the rules of a site; None where they cannot be known now, so that nothing may be read."""
        rules, until = self._robots.get(site, (None, -1.0))
        if until < self._now():
            rules = self._read_rules(site)
            self._robots[site] = rules, self._now() + (_NO_RULES_S if rules is None else _RULES_S)
        return rules

    def _read_rules(self, site: str) -> Any:
        protego = needed("protego").Protego
        at, status, content = f"{site}/robots.txt", 404, b""
        for _ in range(_REDIRECTS + 1):
            try:
                self._site(at)
                status, found, content = self._asked(at, {}, None, robots=True)
            except (SourceUnavailableError, SourceFormatError):
                return None
            if status not in _MOVED or "location" not in found:
                break
            at = joined(at, found["location"])
        if status >= 500:
            return None
        try:
            return protego.parse(content.decode("utf-8", "replace") if 200 <= status < 300 else "")
        except Exception:  # noqa: BLE001  (what is no robots.txt fails in any way, and then says nothing)
            return protego.parse("")

    def _turn(self, site: str) -> None:
        """Wait until the host may be asked again."""
        rules, _ = self._robots.get(site, (None, 0.0))
        told = float(rules.crawl_delay(AGENT) or 0.0) if rules else 0.0
        pause = self._next.get(site, 0.0) - self._now()
        if pause > 0:
            self._wait(pause)
        self._next[site] = self._now() + max(self._interval, min(told, _LONGEST_DELAY_S))

    # --- one request --------------------------------------------------------------------------------------------------

    def _asked(
        self, url: str, headers: Mapping[str, str], post: Any, *, robots: bool = False
    ) -> tuple[int, Headers, bytes]:
        parts = urlsplit(url)
        site = f"{parts.scheme}://{parts.netloc}"
        said = ""
        for attempt in range(_TRIES):
            self._turn(site)
            try:
                answer, content = self._once(url, headers, post, robots=robots)
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
            return answer.status_code, Headers(answer), content
        raise SourceUnavailableError(f"{shown(url)!r} {said}, {_TRIES} times: try again later")

    def _once(self, url: str, headers: Mapping[str, str], post: Any, *, robots: bool) -> tuple[httpx.Response, bytes]:
        largest = _RULES_BYTES if robots else self._largest
        with self._client.stream("GET" if post is None else "POST", url, headers=headers, json=post) as answer:
            if not answer.is_success:
                return answer, b""
            unpacked = Unpacked(answer.headers.get("content-encoding", ""))
            content = bytearray()
            began = time.monotonic()
            for piece in answer.iter_raw():
                if time.monotonic() - began > 3 * self._timeout:
                    raise httpx.ReadTimeout(f"it took longer than {3 * self._timeout:g} s")
                content += unpacked.more(piece, largest + 1 - len(content))
                if len(content) > largest and robots:
                    return answer, bytes(content[:largest])
                if len(content) > largest:
                    raise TooLargeError(f"{shown(url)!r} holds more than {largest / 2**20:g} MB: it is left out")
            unpacked.check()
            return answer, bytes(content)

    def _be_patient(self, url: str, answer: httpx.Response, attempt: int) -> None:
        asked = seconds(answer.headers.get("retry-after", "")) or 2.0**attempt
        if asked > self._patience:
            raise RateLimitedError(
                f"{shown(url)!r} asks to come back in {asked:.0f} s, patience is {self._patience:.0f} s: try later",
                retry_after_s=asked,
            )
        logger.info("%s asks to wait %.0f s", shown(url), asked)
        self._wait(asked)


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
    if isinstance(error, GoneError):
        return "gone"
    if isinstance(error, SourceFormatError):
        return "unreadable"
    return "refused" if isinstance(error, SourceRefusedError) else "unavailable"
