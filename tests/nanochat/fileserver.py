"""A real HTTP server on loopback that serves files from memory, and can be told to misbehave."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Misbehaviour:
    """What happens to the next requests of one path, one entry a request; then it behaves."""

    status: int = 200
    cut_after: int = -1
    """Bytes of the body after which the connection is closed."""
    announce_extra: int = 0
    """Added to the announced Content-Length."""
    corrupt: bool = False
    stall: float = 0.0
    """Seconds of silence in the middle of the body."""


@dataclass
class FileServer:
    """`files` by path; `trouble` by path; `requests` is what was asked, with the Range header or "".

    A path is without its query. A HEAD request is asked, and can be troubled, as "HEAD " and the path.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    """More headers of a path's answer. One with a Location is a redirect."""
    token: str = ""
    """Where one is set, every path but `open_paths` needs it."""
    open_paths: str = "/cdn/"
    refusal: dict[str, str] = field(default_factory=dict)
    """Headers of the 401 that answers a request without the token."""
    tokens: list[tuple[str, str]] = field(default_factory=list)
    """What was asked with an Authorization header, and the header."""
    trouble: dict[str, list[Misbehaviour]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    ranges: bool = True
    etags: bool = True
    announce_sha256: bool = False
    address: str = ""
    release: threading.Event = field(default_factory=threading.Event)

    def misbehave(self, path: str, *entries: Misbehaviour) -> None:
        self.trouble.setdefault(path, []).extend(entries)

    def asked(self, path: str) -> list[str]:
        """The Range headers of the requests for `path`, in order."""
        return [header for asked, header in self.requests if asked == path]


def _handler(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self._answer("")

        def do_HEAD(self) -> None:
            self._answer("HEAD ")

        def _answer(self, method: str) -> None:
            path = self.path.partition("?")[0]
            range_header = self.headers.get("Range", "")
            server.requests.append((method + path, range_header))
            if "Authorization" in self.headers:
                server.tokens.append((method + path, self.headers["Authorization"]))
            pending = server.trouble.get(method + path)
            trouble = pending.pop(0) if pending else Misbehaviour()
            known = server.headers.get(path, {})
            if not self._allowed(path):
                self._refuse(401, server.refusal)
            elif trouble.status != 200 or (path not in server.files and "Location" not in known):
                self._refuse(trouble.status if trouble.status != 200 else 404, known)
            elif "Location" in known:
                self._refuse(302, known)
            elif method:
                self._head(server.files[path], known)
            else:
                self._send(server.files[path], range_header, trouble, known)

        def _allowed(self, path: str) -> bool:
            if not server.token or path.startswith(server.open_paths):
                return True
            return self.headers.get("Authorization") == f"Bearer {server.token}"

        def _refuse(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _head(self, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()

        def _send(
            self, content: bytes, range_header: str, trouble: Misbehaviour, headers: dict[str, str]
        ) -> None:
            etag = f'"{hashlib.md5(content).hexdigest()}"'
            start = 0
            matches = self.headers.get("If-Range", etag) == etag
            wanted = re.fullmatch(r"bytes=(\d+)-", range_header)
            if server.ranges and wanted and matches:
                start = int(wanted[1])
                if start >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            if server.etags and "ETag" not in headers:
                self.send_header("ETag", etag)
            if server.announce_sha256:
                self.send_header("X-Linked-ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            body = content[start:]
            self.send_header("Content-Length", str(len(body) + trouble.announce_extra))
            self.end_headers()
            if trouble.corrupt:
                body = body[:-100] + bytes(byte ^ 0xFF for byte in body[-100:])
            end = trouble.cut_after if trouble.cut_after >= 0 else len(body)
            self.wfile.write(body[:end])
            self.wfile.flush()
            if trouble.stall:
                server.release.wait(trouble.stall)
            if trouble.cut_after >= 0 or trouble.announce_extra:
                self.close_connection = True
                self.connection.close()

        def finish(self) -> None:
            with suppress(OSError, ValueError):  # the client hung up, or we did
                super().finish()

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hangs up in the middle is what these tests are about


@contextmanager
def serving() -> Iterator[FileServer]:
    files = FileServer()
    http = _Server(("127.0.0.1", 0), _handler(files))
    files.address = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield files
    finally:
        files.release.set()
        http.shutdown()
        http.server_close()
        thread.join()
