"""A site on loopback that answers as it is told, and remembers what it was asked."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]
Route = Answer | Callable[[Mapping[str, str], bytes], Answer]

PARAGRAPHS = (
    "Borsa İstanbul'da BIST 100 endeksi güne yükselişle başladı ve bankacılık hisseleri alıcılı seyretti.",
    "Analistler, Merkez Bankasının açıklayacağı faiz kararının piyasaların yönü üzerinde etkili olacağını söyledi.",
    "Şirketlerin ikinci çeyrek kârları beklentilerin üzerinde geldi, yatırımcılar temettü açıklamalarını bekliyor.",
)


class Site:
    """What the server answers: `routes` by path, 404 for the rest. `asked` lists (method, path, headers, body)."""

    def __init__(self) -> None:
        self.routes: dict[str, Route] = {}
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = ""

    def paths(self) -> list[str]:
        """Return the paths asked for, in order."""
        return [path for _, path, _, _ in self.asked]

    def page(self, path: str, title: str, *paragraphs: str, charset: str = "utf-8", told: str = "") -> None:
        """Serve an article."""
        body = "".join(f"<p>{one}</p>" for one in paragraphs or PARAGRAPHS)
        html = (
            f"<html><head><title>{title}</title></head><body><nav><a href='/'>Ana sayfa</a></nav>"
            f"<article><h1>{title}</h1>{body}</article><footer>Tüm hakları saklıdır</footer></body></html>"
        )
        self.routes[path] = (200, {"content-type": f"text/html{told}"}, html.encode(charset))

    def feed(self, path: str, *links: str, **headers: str) -> None:
        """Serve an RSS feed of links."""
        items = "".join(
            f"<item><title>Haber {i}</title><link>{link}</link><guid>{link}</guid>"
            f"<pubDate>Thu, 28 Nov 2024 0{i}:00:00 +0300</pubDate>"
            f"<description>&lt;b&gt;Özet&lt;/b&gt; {i}</description></item>"
            for i, link in enumerate(links)
        )
        xml = (
            f'<?xml version="1.0" encoding="UTF-8"?><rss version="2.0"><channel><title>t</title>{items}</channel></rss>'
        )
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = xml.encode()

        def answer(asked: Mapping[str, str], body: bytes) -> Answer:
            if named.get("etag") and asked.get("if-none-match") == named["etag"]:
                return 304, named, b""
            return 200, {"content-type": "application/rss+xml", **named}, content

        self.routes[path] = answer


@contextmanager
def site() -> Iterator[Site]:
    """Run a site for the time of the block."""
    told = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {key.lower(): value for key, value in self.headers.items()}
            told.asked.append((self.command, self.path, headers, body))
            route = told.routes.get(self.path, (404, {}, b""))
            status, sent, content = route(headers, body) if callable(route) else route
            try:
                self.send_response(status)
                for name, value in sent.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except ConnectionError:
                self.close_connection = True

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            if not isinstance(sys.exc_info()[1], ConnectionError):  # a visitor that has seen enough hangs up
                super().handle_error(request, client_address)

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
