"""A mirror of what is said about the market in Redis, for other programs: published, streamed, and the newest kept.

For an event of kind `forecast` under `BTCUSDT|15m|online`, with the default prefix:

- channel `kalibre:forecast:BTCUSDT|15m|online`: one message of JSON;
- hash `kalibre:newest:forecast:BTCUSDT|15m|online`: the same as `body`, beside `position`, `event_time`, `revision`;
- stream `kalibre:stream`: every message, its position as id (`1234-0`), trimmed to about the newest `stream_length`.

All three happen in one script, so no reader sees one without the others. A message that is delivered again is published
again (its position tells), streamed once, and takes nothing back: of two messages the one with the later event time
and position is kept. A log that was begun anew counts from 1 again; what an older log left behind gives way to it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from kalibre.core.errors import DeliveryError, SettingsError, UndeliverableError
from kalibre.core.events import Event, Payload
from kalibre.log.protocol import Reader
from kalibre.log.replay import anchor

if TYPE_CHECKING:
    from redis import Redis

KINDS = frozenset({"forecast", "ensemble", "signal"})
"""What other programs are told."""

# A Redis that is full refuses a script at its first write if that one may need memory, and never again after it: so
# whichever write comes first here is one that may.
_DELIVER = """
local origin, position, event_time = ARGV[1], ARGV[2], ARGV[3]
local known = redis.call('HMGET', KEYS[1], 'origin', 'position', 'event_time')
local same = known[1] == origin
local newer = not same
if same then
  newer = tonumber(position) > tonumber(known[2]) and tonumber(event_time) >= tonumber(known[3])
end
if newer then
  redis.call('HSET', KEYS[1], 'origin', origin, 'position', position, 'event_time', event_time,
    'revision', ARGV[4], 'body', ARGV[5])
end
if redis.call('GET', KEYS[3]) ~= origin then
  redis.call('SET', KEYS[3], origin)
  redis.call('DEL', KEYS[2])
end
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)
local streamed = #last == 0 or tonumber(position) > tonumber(string.match(last[1][1], '^%d+'))
if streamed then
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[7], position .. '-0', 'channel', ARGV[6], 'body', ARGV[5])
end
redis.call('PUBLISH', ARGV[6], ARGV[5])
return {newer and 1 or 0, streamed and 1 or 0}
"""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What other programs read: an event with its position in the log, as JSON. Times are UTC ms."""

    position: int
    kind: str
    key: str
    event_time: int
    revision: int
    recorded_at: int
    payload: Payload


class RedisMirror:
    """Delivers events to Redis; its `deliver` is for an `Outbox`.

    No connection is made before the first event, and one that broke is made again: a Redis that is away keeps nobody
    from starting.

    Parameters
    ----------
    url
        `redis://host:6379/0`, `rediss://` with TLS, or `unix:///path/to/socket`.
    log
        The log that the events come from: its first event tells it from one begun anew. Without it every log is taken
        for the same.
    prefix
        What all names in Redis begin with; two hubs on one Redis need two.
    stream_length
        Messages that the stream keeps, about.
    patience_s
        Seconds after which a Redis that does not answer counts as away.

    Raises
    ------
    SettingsError
        If the address cannot be used, or the package `redis` is not installed.
    """

    def __init__(
        self,
        url: str,
        log: Reader | None = None,
        *,
        prefix: str = "kalibre",
        stream_length: int = 10_000,
        patience_s: float = 5.0,
    ) -> None:
        self._client = _client(url, patience_s)
        self._where = _without_password(url)
        self._script = self._client.register_script(_DELIVER)
        self._log, self._origin = log, "" if log is not None else "any"
        self._prefix, self._stream_length = prefix, stream_length

    def deliver(self, event: Event) -> None:
        """Publish an event, stream it, and keep it if it is the newest of its kind and key.

        Parameters
        ----------
        event
            A stored event: `seq` is its position in the log.

        Raises
        ------
        DeliveryError
            If Redis is away, loading, full or read-only: trying again may help.
        UndeliverableError
            If Redis refuses this event, as where another program keeps something else under its key.
        """
        from redis import exceptions as broken

        if self._log is not None and not self._origin:
            self._origin = anchor(self._log, 1)
        name = f"{event.kind}:{event.key}"
        body = msgspec.json.encode(
            Message(
                position=event.seq,
                kind=event.kind,
                key=event.key,
                event_time=event.event_time,
                revision=event.revision,
                recorded_at=event.recorded_at,
                payload=event.payload,
            )
        ).decode()
        keys = [f"{self._prefix}:newest:{name}", f"{self._prefix}:stream", f"{self._prefix}:origin"]
        channel = f"{self._prefix}:{name}"
        values: list[str | int] = [
            self._origin,
            event.seq,
            event.event_time,
            event.revision,
            body,
            channel,
            self._stream_length,
        ]
        away = (
            *(broken.ConnectionError, broken.TimeoutError, broken.ReadOnlyError, broken.OutOfMemoryError),
            *(broken.MasterDownError, broken.ClusterDownError, broken.TryAgainError),
        )
        try:
            self._script(keys=keys, args=values)
        except away as error:
            raise DeliveryError(f"Redis at {self._where} does not take messages now ({error}): see to it") from error
        except broken.RedisError as error:
            raise UndeliverableError(
                f"Redis at {self._where} refuses {event.kind} {event.key!r} at position {event.seq}: {error}"
            ) from error

    def close(self) -> None:
        """Give back the connection."""
        self._client.close()


def _client(url: str, patience_s: float) -> Redis:
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise SettingsError(
            f"hub.redis_url is set ({_without_password(url)}) and the package for it is not installed: "
            "pip install 'kalibre[redis]', or leave it empty"
        ) from error
    options: dict[str, Any] = {"socket_timeout": patience_s, "socket_connect_timeout": patience_s}
    # One more try at once, for a connection that went stale; real patience is the outbox's.
    options |= {"retry": Retry(NoBackoff(), 1), "decode_responses": True, "client_name": "kalibre"}
    try:
        return redis.Redis.from_url(url, **options)
    except (ValueError, TypeError) as error:
        told = str(error).replace(url, _without_password(url))
        raise SettingsError(
            f"hub.redis_url {_without_password(url)!r} cannot be used ({told}): write redis://host:6379/0"
        ) from error


def _without_password(url: str) -> str:
    """Return an address without the password in it.

    Examples
    --------
    >>> _without_password("redis://user:secret@host:6379/0"), _without_password("unix:///run/redis.sock?password=x&db=1")
    ('redis://user:***@host:6379/0', 'unix:///run/redis.sock?password=***&db=1')
    """
    hidden = re.sub(r"(://[^/@:]*):[^@/]*@", r"\1:***@", url)
    return re.sub(r"(password=)[^&]*", r"\1***", hidden)
