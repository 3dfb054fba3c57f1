"""A load generator on bare sockets: keep-alive HTTP/1.1, one request in flight a connection, nothing in between.

Closed loop says how many answers a second a server gives; open loop sends on a schedule whatever the server does, and
counts latency from the scheduled time, so that a stall is paid for by every request that had to wait behind it.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from dataclasses import dataclass

import numpy as np


class Connection:
    """One keep-alive connection with at most one request in flight."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._received = b""

    def send(self, request: bytes) -> None:
        if self.socket.send(request) != len(request):
            raise RuntimeError("the request does not fit into the socket's buffer")

    def answer(self) -> bytes | None:
        """Return the body of the answer once it is whole."""
        chunk = self.socket.recv(65_536)
        if not chunk:
            raise RuntimeError(f"the server closed the connection after {self._received[:200]!r}")
        received = self._received + chunk if self._received else chunk
        end = received.find(b"\r\n\r\n")
        if end < 0:
            self._received = received
            return None
        head = received[:end].lower()
        at = head.index(b"content-length:") + 15
        stop = head.find(b"\r\n", at)
        length = int(head[at : stop if stop > 0 else len(head)])
        if len(received) < end + 4 + length:
            self._received = received
            return None
        self._received = b""
        if not received.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"not 200: {received[:500]!r}")
        return received[end + 4 :]


def request(port: int, path: str, body: bytes) -> bytes:
    """Return a POST as bytes."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


def ask_once(port: int, message: bytes, *, timeout_s: float = 30.0) -> bytes:
    """Send one request and return the answer's body."""
    connection = Connection(port)
    try:
        connection.send(message)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if select.select([connection.socket], [], [], 1.0)[0]:
                body = connection.answer()
                if body is not None:
                    return body
    finally:
        connection.socket.close()
    raise TimeoutError(f"no answer within {timeout_s} s")


@dataclass(frozen=True)
class Rate:
    """Answers a second, and how busy this process was: near 1, the client was the limit and not the server."""

    per_s: float
    client_busy: float


def closed_loop(port: int, message: bytes, *, connections: int, seconds: float) -> Rate:
    """Keep every connection busy for so many seconds."""
    open_ = [Connection(port) for _ in range(connections)]
    by_number = {connection.socket.fileno(): connection for connection in open_}
    poll = select.epoll()
    for number, connection in by_number.items():
        poll.register(number, select.EPOLLIN)
        connection.send(message)
    done = 0
    busy, start = time.process_time(), time.perf_counter()
    end = start + seconds
    while time.perf_counter() < end:
        for number, _ in poll.poll(1.0):
            connection = by_number[number]
            if connection.answer() is not None:
                done += 1
                connection.send(message)
    took = time.perf_counter() - start
    busy = time.process_time() - busy
    for connection in open_:
        connection.socket.close()
    poll.close()
    return Rate(done / took, busy / took)


def open_loop(port: int, message: bytes, *, per_s: int, seconds: float, connections: int) -> np.ndarray:
    """Send on schedule; returns the latency of each request in milliseconds, from its scheduled time."""
    open_ = [Connection(port) for _ in range(connections)]
    by_number = {connection.socket.fileno(): connection for connection in open_}
    poll = select.epoll()
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    # Taken in turn: a server rightly closes a connection that is left idle for some seconds.
    free = deque(by_number)
    total = int(per_s * seconds)
    due_of: dict[int, float] = {}
    latencies = np.empty(total)
    sent = done = 0
    start = time.perf_counter() + 0.05
    while done < total:
        now = time.perf_counter()
        while sent < total and free and start + sent / per_s <= now:
            number = free.popleft()
            due_of[number] = start + sent / per_s
            by_number[number].send(message)
            sent += 1
        next_due = start + sent / per_s if sent < total else now + 1.0
        wait = max(0.0, next_due - time.perf_counter()) if free else 1.0
        for number, _ in poll.poll(wait):
            if by_number[number].answer() is not None:
                latencies[done] = (time.perf_counter() - due_of.pop(number)) * 1e3
                done += 1
                free.append(number)
        if time.perf_counter() > start + seconds + 60:
            raise TimeoutError(f"{total - done} of {total} requests were never answered")
    for connection in open_:
        connection.socket.close()
    poll.close()
    return latencies
