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
    """`files` by path; `trouble` by path; `requests` is what was asked, with the Range header or ""."""

    files: dict[str, bytes] = field(default_factory=dict)
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
            range_header = self.headers.get("Range", "")
            server.requests.append((self.path, range_header))
            pending = server.trouble.get(self.path)
            trouble = pending.pop(0) if pending else Misbehaviour()
            if trouble.status != 200 or self.path not in server.files:
                self.send_error(trouble.status if trouble.status != 200 else 404)
                return
            self._send(server.files[self.path], range_header, trouble)

        def _send(self, content: bytes, range_header: str, trouble: Misbehaviour) -> None:
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
            if server.etags:
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
