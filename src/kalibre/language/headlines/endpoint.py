"""Scores by any OpenAI-compatible endpoint: a strict schema, retries, a budget, and every answer recorded.

A headline is untrusted text: it travels as data in a JSON document, the answer has to fit a strict schema, echo the
headline's number and name assets of the universe only. What does not fit is asked again and then abstained on; a score
is never made up from a broken answer. What was answered is recorded for each headline, so that a run that is repeated,
replayed, or was killed in its midst costs nothing twice and gives the same, whatever it is asked beside.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
import msgspec

from kalibre.core.errors import UsageError
from kalibre.language.headlines.answers import Recording
from kalibre.language.headlines.contract import (
    PROMPT_VERSION,
    Line,
    RefusedError,
    UnusableError,
    asked_again,
    body_of,
    in_words,
    knows_no_schemas,
    read_answer,
    score_of,
    tokens_of,
)
from kalibre.language.headlines.score import Score, abstention

_BATCH: Final = 20
_RETRIED: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_CLOSED: Final = frozenset({401, 402, 403, 404, 405})
"""Answers that the next headlines would get as well."""
_LARGEST_BYTES: Final = 4 * 2**20
"""Of one answer: more is no list of scores."""


@dataclass(frozen=True)
class Budget:
    """What may be spent by one recording, all runs and processes together.

    Attributes
    ----------
    requests
        Most calls, retries included; never exceeded.
    tokens
        Tokens, prompt and answer, past which nothing is asked, as the endpoint counts them; estimated (3 characters
        each) where it does not. What one call costs is known after it only.
    """

    requests: int = 1_000
    tokens: int = 2_000_000


class _DownError(UnusableError):
    """The endpoint does not answer, or not us: the next question would fare no better."""


class Endpoint:
    """A scorer behind an OpenAI-compatible address.

    Parameters
    ----------
    base_url
        Up to and without `/chat/completions`, for example `http://127.0.0.1:8000/v1`.
    model
        Its name there.
    universe
        Assets that an answer may name.
    key
        Bearer key; never logged, never part of a message.
    recording
        Where answers are kept; what stands there is not asked again.
    budget
        What may be spent; past it the scorer abstains and says so.
    timeout_s
        Of one call, from the question to the last byte of the answer.
    attempts
        Calls for one batch, the first included.
    sleep
        How to wait between attempts, for tests.

    Raises
    ------
    UsageError
        If the address, the key or the universe cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        universe: Sequence[str],
        key: str = "",
        recording: Recording | None = None,
        budget: Budget | None = None,
        timeout_s: float = 30.0,
        attempts: int = 3,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not _is_address(base_url):
            raise UsageError(f"endpoint {base_url!r} is no address: write it as http://host:port/v1")
        if not universe:
            raise UsageError("an endpoint needs a universe: name at least one asset, for example BIST100")
        if not key.isascii() or not key.isprintable() or " " in key:
            raise UsageError("the endpoint's key holds blanks, line breaks or letters beyond ASCII: copy it again")
        self.version = f"{model}@prompt-{PROMPT_VERSION}"
        self.prompt_version = PROMPT_VERSION
        self._url = base_url.rstrip("/") + "/chat/completions"
        self._model = model
        self._universe = tuple(dict.fromkeys(universe))
        self._recording = recording or Recording()
        self._budget = budget or Budget()
        self._attempts = max(1, attempts)
        self._sleep = sleep
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._timeout_s = timeout_s
        self._in_words = False
        """Whether the server has said that it knows no schemas."""
        # Only spreads the waiting of several clients; no result depends on it.
        self._jitter = random.Random(0)  # noqa: S311

    def score(self, headlines: Sequence[str]) -> list[Score]:
        """Return one score per headline, in order; where the endpoint gave nothing usable, an abstention that says why.

        Parameters
        ----------
        headlines
            Checked texts.
        """
        scores = {place: self._recorded(text) for place, text in enumerate(headlines)}
        asked = [place for place, score in scores.items() if score is None]
        timeout = httpx.Timeout(self._timeout_s, connect=min(self._timeout_s, 10.0))
        down = ""
        with httpx.Client(timeout=timeout, headers=self._headers) as client:
            for start in range(0, len(asked), _BATCH):
                places = asked[start : start + _BATCH]
                texts = [headlines[place] for place in places]
                try:
                    if down:
                        raise UnusableError(f"{down}; not asked again in this run")
                    said = self._batch(client, texts)
                except UnusableError as error:
                    down = down or (str(error) if isinstance(error, _DownError) else "")
                    said = [abstention(str(error), model=self.version) for _ in texts]
                scores.update(zip(places, said, strict=True))
        return [score for score in scores.values() if score is not None]

    def _recorded(self, text: str) -> Score | None:
        """Return what was answered of a headline before, whatever stood beside it then."""
        content = self._recording.line(self._request(body_of(self._model, self._universe, [text])))
        if content is None:
            return None
        try:
            said = msgspec.json.decode(content, type=Line | str)
        except msgspec.MsgspecError:
            said = "the recorded answer cannot be read"
        if isinstance(said, Line):
            return score_of(said, text, model=self.version)
        return abstention(said, model=self.version)

    def _batch(self, client: httpx.Client, texts: Sequence[str]) -> list[Score]:
        body = body_of(self._model, self._universe, texts)
        request = self._request(body)
        whole = self._recording.find(request)
        try:
            lines = self._ask(client, body, request, texts) if whole is None else self._read(whole, texts)
        except RefusedError as error:
            if len(texts) == 1:
                return [abstention(str(error), model=self.version)]
            # One text that it would not read shall not silence the others.
            half = len(texts) // 2
            return self._batch(client, texts[:half]) + self._batch(client, texts[half:])
        return [score_of(line, text, model=self.version) for line, text in zip(lines, texts, strict=True)]

    def _ask(self, client: httpx.Client, body: dict[str, Any], request: str, texts: Sequence[str]) -> list[Line]:
        trouble, asked, down = "", in_words(body) if self._in_words else body, False
        for attempt in range(self._attempts):
            self._pay_request()
            wait = min(8.0, 0.5 * 2**attempt) * (0.5 + self._jitter.random())
            down = True
            try:
                answer, content = self._call(client, asked)
            except httpx.TimeoutException:
                trouble = "endpoint timed out"
            except httpx.HTTPError as error:
                trouble = f"endpoint is unreachable ({type(error).__name__})"
            else:
                if answer.status_code in _RETRIED:
                    trouble = f"endpoint answered {answer.status_code}"
                    wait = _retry_after(answer, wait)
                elif knows_no_schemas(answer.status_code, content) and "response_format" in asked:
                    trouble, asked, down, wait = "endpoint knows no schemas", in_words(body), False, 0.0
                    self._in_words = True
                elif answer.status_code != 200:
                    kind = _DownError if answer.status_code in _CLOSED else UnusableError
                    told = content[:120].decode("utf-8", "replace")
                    raise kind(f"endpoint answered {answer.status_code}: {told!r}")
                else:
                    try:
                        return self._kept(content, body, request, texts)
                    except RefusedError:
                        raise
                    except UnusableError as error:
                        first = in_words(body) if self._in_words else body
                        trouble, asked, down = str(error), asked_again(first, str(error)), False
            if attempt + 1 < self._attempts:
                self._sleep(wait)
        raise (_DownError if down else UnusableError)(f"{trouble}, after {self._attempts} attempts")

    def _call(self, client: httpx.Client, body: dict[str, Any]) -> tuple[httpx.Response, bytes]:
        """Send a question and read the answer, but not for longer than was said, and not without end."""
        began = time.monotonic()
        with client.stream("POST", self._url, json=body) as answer:
            content = bytearray()
            for piece in answer.iter_bytes():
                content += piece
                if time.monotonic() - began > self._timeout_s:
                    raise httpx.ReadTimeout("the answer takes too long")
                if len(content) > _LARGEST_BYTES:
                    break
            return answer, bytes(content)

    def _kept(self, content: bytes, body: dict[str, Any], request: str, texts: Sequence[str]) -> list[Line]:
        """Read an answer, record it whole and by headline, and take what it cost; of nonsense only the latter."""
        tokens = tokens_of(content, body)
        keys = [self._request(body_of(self._model, self._universe, [text])) for text in texts]
        try:
            lines = self._read(content, texts)
        except RefusedError as error:
            # A refusal is an answer: it is kept, and asking again would only cost.
            alone = {keys[0]: msgspec.json.encode(str(error))} if len(texts) == 1 else {}
            self._recording.keep(request, self._model, content, tokens=tokens, lines=alone)
            raise
        except UnusableError:
            self._recording.spend("tokens", tokens)
            raise
        said = {key: msgspec.json.encode(line) for key, line in zip(keys, lines, strict=True)}
        self._recording.keep(request, self._model, content, tokens=tokens, lines=said)
        return lines

    def _read(self, content: bytes, texts: Sequence[str]) -> list[Line]:
        return read_answer(content, len(texts), self._universe)

    def _pay_request(self) -> None:
        if (spent := self._recording.spent("tokens")) >= self._budget.tokens:
            raise UnusableError(f"budget spent: {spent:,} of {self._budget.tokens:,} tokens")
        if not self._recording.take("requests", self._budget.requests):
            spent = self._recording.spent("requests")
            raise UnusableError(f"budget spent: {spent:,} of {self._budget.requests:,} requests")

    def _request(self, body: dict[str, Any]) -> str:
        return hashlib.sha256(msgspec.json.encode([self._url, body], order="deterministic")).hexdigest()


def _is_address(base_url: str) -> bool:
    try:
        url = httpx.URL(base_url)
        return url.scheme in {"http", "https"} and bool(url.host) and (url.port or 80) <= 65_535
    except (httpx.InvalidURL, ValueError, UnicodeError):
        return False


def _retry_after(answer: httpx.Response, otherwise: float) -> float:
    """Return the seconds that the endpoint asks to wait, at most a minute."""
    try:
        return min(60.0, max(0.0, float(answer.headers["retry-after"])))
    except (KeyError, ValueError):
        return otherwise
