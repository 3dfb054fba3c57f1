"""Receivers of alerts on loopback: what apprise sends to Telegram, Slack, webhooks and a mail server, as it arrives.

Covered: the real bytes of apprise 2.x over real sockets (TLS with a certificate of our own for Telegram and Slack,
whose hosts apprise fixes: `pointing` makes their names resolve to loopback), the path that carries the token, the JSON,
and what each service is known to refuse (Telegram: unknown tags, text over 4096; Slack: no JSON, no text). Not covered:
the services themselves, their rate limits, how a client draws a message, STARTTLS and TLS of the mail server.
"""

from __future__ import annotations

import contextlib
import datetime
import email
import html
import ipaddress
import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message as Mail
from email.policy import default
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Received:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    hang: bool = False


@dataclass
class Receiver:
    """A running receiver: its port, what it got, and what it answers (change it at any time)."""

    host: str
    port: int
    got: list[Received]
    answer: Callable[[Received], Answer]
    let_go: threading.Event = field(default_factory=threading.Event)

    def always(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.answer = lambda request: Answer(status, body, headers)


@contextlib.contextmanager
def http_receiver(
    host: str = "127.0.0.1",
    *,
    tls: ssl.SSLContext | None = None,
    answer: Callable[[Received], Answer] | None = None,
) -> Iterator[Receiver]:
    """Run an HTTP server that records each request."""
    receiver = Receiver(host, 0, [], answer or (lambda request: Answer()))

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            got = Received(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            receiver.got.append(got)
            said = receiver.answer(got)
            if said.hang:
                receiver.let_go.wait(30)
            with contextlib.suppress(OSError):  # who sent it may have gone meanwhile
                self.send_response(said.status)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(said.body)))
                self.end_headers()
                self.wfile.write(said.body)

        do_POST = do_GET = do_PUT = _serve  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


# --- services -------------------------------------------------------------------------------------------------------

TELEGRAM_TOKEN = "123456789:AAE-planted_token_of_a_bot"
SLACK_TOKENS = ("T0PLANTED", "B0PLANTED", "plantedSecretTokenC24chrs")
_TELEGRAM_TAGS = frozenset(
    {"b", "strong", "i", "em", "u", "ins", "s", "strike", "del", "span", "tg-spoiler", "a", "tg-emoji", "code", "pre"}
    | {"blockquote"}
)


class _Telegram(HTMLParser):
    """Reads a text as the Bot API does: known tags, closed in order; all else is an error."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.shown = ""
        self.bold = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in _TELEGRAM_TAGS:
            raise ValueError(f"Unsupported start tag {tag!r}")
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            raise ValueError(f"Unexpected end tag {tag!r}")

    def handle_data(self, data: str) -> None:
        self.shown += data
        self.bold += data if "b" in self.open else ""


def telegram_text(text: str) -> _Telegram:
    reader = _Telegram()
    reader.feed(text)
    reader.close()
    if reader.open:
        raise ValueError(f"Can't find end tag of {reader.open[-1]!r}")
    if not 0 < len(reader.shown) <= 4096:
        raise ValueError("message is too long" if reader.shown else "message text is empty")
    return reader


def telegram(request: Received) -> Answer:
    """Answer as https://core.telegram.org/bots/api#sendmessage says."""

    def refuse(status: int, description: str) -> Answer:
        said = {"ok": False, "error_code": status, "description": description}
        return Answer(status, json.dumps(said).encode(), {"Content-Type": "application/json"})

    if request.path != f"/bot{TELEGRAM_TOKEN}/sendMessage":
        return refuse(401, "Unauthorized")
    payload = request.json()
    if payload["chat_id"] == 404:
        return refuse(400, "Bad Request: chat not found")
    if payload["parse_mode"] != "HTML":
        return refuse(400, f"Bad Request: {payload['parse_mode']} is not expected here")
    try:
        telegram_text(payload["text"])
    except ValueError as error:
        return refuse(400, f"Bad Request: can't parse entities: {error}")
    return Answer(200, b'{"ok":true,"result":{"message_id":1}}', {"Content-Type": "application/json"})


def slack(request: Received) -> Answer:
    """Answer as https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks says."""
    if request.path != "/services/" + "/".join(SLACK_TOKENS):
        return Answer(403, b"invalid_token")
    try:
        attachments = request.json()["attachments"]
    except (ValueError, KeyError):
        return Answer(400, b"invalid_payload")
    return Answer(200, b"ok") if attachments[0]["text"] else Answer(400, b"no_text")


def slack_text(request: Received) -> str:
    """Return what a reader sees; a mention or link that Slack would act on shows as `{...}`."""
    attachment = request.json()["attachments"][0]
    text = f"{attachment['title']}\n{attachment['text']}"
    return html.unescape(text.replace("<", "{").replace(">", "}"))


# --- mail -----------------------------------------------------------------------------------------------------------


@dataclass
class MailServer:
    port: int
    letters: list[Mail]
    to: list[str]
    login: tuple[str, str] | None = None
    rcpt: str = "250 ok"
    data: str = "250 ok"
    refused_logins: int = 0


@contextlib.contextmanager
def mail_server(**wanted: Any) -> Iterator[MailServer]:
    """Run an SMTP server (RFC 5321, AUTH PLAIN) that keeps what it gets."""
    mails = MailServer(0, [], [], **wanted)

    class Handler(socketserver.StreamRequestHandler):
        def say(self, line: str) -> None:
            self.wfile.write(line.encode() + b"\r\n")

        def handle(self) -> None:
            self.say("220 loopback ESMTP")
            while line := self.rfile.readline().decode().strip():
                match line.split()[0].upper():
                    case "EHLO" | "HELO":
                        self.wfile.write(b"250-loopback\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH PLAIN\r\n")
                    case "AUTH":
                        self.say(self.authenticated(line))
                    case "RCPT":
                        mails.to.append(line.partition("<")[2].rstrip(">"))
                        self.say(mails.rcpt)
                    case "DATA":
                        self.say("354 go on")
                        raw = b""
                        while (part := self.rfile.readline()) != b".\r\n":
                            raw += part[1:] if part.startswith(b"..") else part
                        mails.letters.append(email.message_from_bytes(raw, policy=default))
                        self.say(mails.data)
                    case "QUIT":
                        self.say("221 bye")
                        return
                    case _:
                        self.say("250 ok")

        def authenticated(self, line: str) -> str:
            import base64

            given = tuple(base64.b64decode(line.split()[2]).decode().split("\0")[1:])
            if given == mails.login:
                return "235 2.7.0 welcome"
            mails.refused_logins += 1
            return "535 5.7.8 Username and Password not accepted"

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        mails.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield mails
        finally:
            server.shutdown()
            thread.join(5)


# --- names and certificates -----------------------------------------------------------------------------------------


def pointing(monkeypatch: pytest.MonkeyPatch, names: Mapping[str, Callable[[], tuple[str, int | None]]]) -> list[str]:
    """Let names resolve to what their function says at each call (a port replaces the asked one); return who asked."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in names:
            return real(host, port, *args, **kwargs)
        asked.append(name)
        address, other_port = names[name]()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        rest = (0, 0) if family == socket.AF_INET6 else ()
        where = (address, other_port or int(port), *rest)
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


@dataclass(frozen=True)
class Certificates:
    authority: Path
    server: ssl.SSLContext


def certificates(folder: Path, *names: str) -> Certificates:
    """Make an authority of our own and a server certificate by it for some names."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.UTC)

    def subject(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def begin(name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
        )

    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = (
        begin(subject("authority of a test"), subject("authority of a test"), authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    also = [x509.DNSName(name) for name in names] + [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = (
        begin(subject(names[0]), authority.subject, server_key)
        .add_extension(x509.SubjectAlternativeName(also), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "authority.pem").write_bytes(authority.public_bytes(pem))
    key = server_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(key + server.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return Certificates(folder / "authority.pem", context)
