"""The server around the API: its socket, its application, and how it ends.

A stop (SIGTERM, ctrl+c, a terminal that closes) closes the socket and lets what streams finish for
`DRAIN_SECONDS`; what is left then ends with an error its client can read. A second one ends at once.
"""

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import sys
from collections.abc import Callable, Generator, Sequence
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from nanochat.common.errors import UserError
from nanochat.serve import metrics, page_files
from nanochat.serve.access import OwnNamesOnly, RequireKey, is_loopback
from nanochat.serve.api.routes import http_error, routes
from nanochat.serve.models import ModelRegistry

DRAIN_SECONDS = 10.0
STOP_SECONDS = 1
"""After those ten: for the last words to reach their clients."""
KEEP_ALIVE_SECONDS = 120
"""How long an idle connection stays open: longer than clients and proxies keep theirs for the next request
(httpx 5, aiohttp 15, Go 90). With uvicorn's 5 a request now and then meets a connection that is closing."""
BACKLOG = 2048
IDLE_CHECK_SECONDS = 15.0
LOGGERS = ("nanochat.serve", "uvicorn.error", "uvicorn.access", "asyncio")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def build_app(registry: ModelRegistry, host: str, key: str, origins: Sequence[str]) -> Starlette:
    """The API and what operators ask, behind the key where there is one, and the chat page.

    Web pages are let in by their `origins` only. A server of this machine's own users, without a key, answers
    to its own names only: a page could else reach it by a name of its own that leads here (DNS rebinding).
    """
    # Outermost first: a browser's question whether it may ask carries no key.
    middleware = []
    if origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(origins),
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=["X-Queue-Time-Ms", "X-Prefix-Cached-Tokens", "Retry-After"],
            )
        )
    if key:
        middleware.append(Middleware(RequireKey, key=key))
    elif is_loopback(host):
        middleware.append(Middleware(OwnNamesOnly, host=host))
    return Starlette(
        routes=[*page_files.routes(), *metrics.routes(registry), *routes(registry)],
        middleware=middleware,
        exception_handlers={HTTPException: http_error},
    )


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises `UserError` when the address is taken or not this machine's."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host {host}: no such address", "such as 127.0.0.1, or 0.0.0.0 for all") from error
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(BACKLOG)  # two may bind one port, and only one listen
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"port {port} of {host} is taken",
                "stop what listens there, or take another: --port 0 finds one",
            ) from None
        what = {errno.EACCES: "is not allowed", errno.EADDRNOTAVAIL: "is no address of this machine"}
        said = what.get(error.errno or 0, error.strerror)
        raise UserError(
            f"listening at {host}, port {port}: {said}", "choose others with --host, --port"
        ) from None
    return opened


def url_of(opened: socket.socket) -> str:
    """The address that a client of this machine connects to."""
    host, port = opened.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn's server that says nothing itself, ends with our exit code, and lets models drain."""

    def __init__(self, config: uvicorn.Config, registry: ModelRegistry) -> None:
        super().__init__(config)
        self._registry = registry

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Ends in order on a signal. uvicorn's own raises it again: the exit code would be lost."""
        # nohup has a closing terminal ignored, and that stays so.
        ours = [
            number
            for number in SIGNALS
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
        ]
        before = {number: signal.signal(number, self.handle_exit) for number in ours}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        loop = asyncio.get_running_loop()
        ending: list[asyncio.Task[bool]] = []
        timer = loop.call_later(
            DRAIN_SECONDS, lambda: ending.append(loop.create_task(self._registry.close()))
        )
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()
            await asyncio.gather(*ending)


async def serve(
    registry: ModelRegistry,
    app: Starlette,
    opened: socket.socket,
    say_ready: Callable[[], None],
    access_log: bool,
    idle_seconds: float | None = None,
) -> bool:
    """Answers until a stop; `say_ready` is called once the first model is loaded, at once where every
    checkpoint is served. Models that nobody asks for `idle_seconds` are unloaded.

    Raises `UserError` when that cannot be. Returns whether every thread has ended.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=access_log,
        lifespan="off",
        ws="none",
        http="auto",  # httptools; where that cannot be installed, h11 does the same in Python
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(DRAIN_SECONDS + STOP_SECONDS),
    )
    server = _Server(config, registry)
    tidying = asyncio.create_task(_unload_idle(registry, idle_seconds)) if idle_seconds else None
    serving = asyncio.create_task(server.serve(sockets=[opened]))
    try:
        loading = asyncio.create_task(_load_first(registry))
        await asyncio.wait({serving, loading}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()  # its error
            say_ready()
        else:
            loading.cancel()
    except BaseException:
        server.should_exit = True
        raise
    finally:
        await serving
        if tidying is not None:
            tidying.cancel()
        ended = await registry.close()
    return ended


async def _load_first(registry: ModelRegistry) -> None:
    """The model that "" stands for, or none where every checkpoint is served: those wait to be asked for."""
    if registry.serves_all:
        registry.began = True
        return
    async with registry.use(""):
        pass


async def _unload_idle(registry: ModelRegistry, seconds: float) -> None:
    while True:
        await asyncio.sleep(min(IDLE_CHECK_SECONDS, seconds / 4))
        await registry.unload_idle(seconds)


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """False for uvicorn's traceback of a request that it cancels at a stop, of a client that never read."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def log_to_stderr(access_log: bool) -> None:
    """Warnings of the server, and requests where they are wanted: to stderr, never into stdout."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("nanochat: %(message)s"))
    handler.addFilter(_is_no_cancellation)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO if name == "uvicorn.access" and access_log else logging.WARNING)
