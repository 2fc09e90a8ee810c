"""Who may ask: the key that clients send, and where a server may listen without one."""

import hashlib
import hmac
import ipaddress
import os

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from nanochat.common.errors import UserError
from nanochat.common.paths import expanded
from nanochat.config.serve_options import KEY_VARIABLE
from nanochat.serve.api.errors import ApiError

OPEN_PATHS = {"/health", "/"}
"""What a balancer asks, which has no key, and the chat page, which asks for one."""
OPEN_FOLDER = "/page/"
"""The files of the chat page."""
MAX_KEY_FILE = 1 << 16
LOOPBACK_NAMES = {"localhost", "127.0.0.1", "::1"}


def read_key(option: str, file: str) -> str:
    """The key: of `--api-key`, else the first line of `--api-key-file`, else of the environment; "" for none.

    Raises `UserError` when the file cannot be read, or the key cannot be sent in a header.
    """
    if option and file:
        raise UserError("--api-key and --api-key-file both give a key", "give one of them")
    where, key = ("--api-key", option) if option else (KEY_VARIABLE, os.environ.get(KEY_VARIABLE, ""))
    if file:
        where = f"--api-key-file {file}"
        path = expanded(file)
        try:
            if path.exists() and not path.is_file():  # a pipe would be waited for
                raise UserError(f"{where}: it is no file")
            with path.open("rb") as opened:
                lines = opened.read(MAX_KEY_FILE).decode("utf-8", "replace").splitlines()
        except OSError as error:
            raise UserError(f"{where}: {error.strerror}") from error
        key = lines[0].strip() if lines else ""
        if not key:
            raise UserError(f"{where}: its first line is empty")
    if any(not "!" <= char <= "~" for char in key):
        raise UserError(f"{where}: a key is made of printable ASCII characters without spaces")
    return key


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_access(host: str, key: str, auth: bool) -> None:
    """Raises `UserError` where others than this machine's users could ask without a key."""
    if key and not auth:
        raise UserError(
            "--no-auth asks for no key, and a key is given", f"drop one; {KEY_VARIABLE} counts too"
        )
    if not key and auth and not is_loopback(host):
        raise UserError(
            f"--host {host} lets other machines ask, and there is no key",
            f"set {KEY_VARIABLE}, or say --no-auth to let everybody ask",
        )


class RequireKey:
    """Refuses requests without the key, in OpenAI's shape. Keys are compared in constant time."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._digest = _digest(key.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _is_open(scope["path"]) or self._has_key(scope):
            await self._app(scope, receive, send)
            return
        error = ApiError(
            401,
            "the API key is missing or wrong: send it as 'Authorization: Bearer KEY'",
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )
        response = JSONResponse(error.document, error.status, error.headers)
        await response(scope, receive, send)

    def _has_key(self, scope: Scope) -> bool:
        sent = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, key = sent.partition(b" ")
        # Digests have one length, so that not even the key's length shows in the time.
        return scheme.lower() == b"bearer" and hmac.compare_digest(_digest(key.strip()), self._digest)


class OwnNamesOnly:
    """Refuses requests that reach this machine by a name that is not its own, in OpenAI's shape.

    Requests that name none are let in: no browser sends one, and health checks of HTTP/1.0 do.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._names = LOOPBACK_NAMES | {host.strip("[]").lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent = [value for name, value in scope.get("headers", ()) if name == b"host"]
        named = sent[0].decode("latin-1") if sent else ""
        if scope["type"] != "http" or not sent or _host_name(named) in self._names:
            await self._app(scope, receive, send)
            return
        error = ApiError(
            400,
            f"this server has no key and answers to localhost and 127.0.0.1 only, not to '{named[:100]}': "
            f"start it with {KEY_VARIABLE} set to be asked by other names",
            code="invalid_host",
        )
        response = JSONResponse(error.document, error.status)
        await response(scope, receive, send)


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDER)


def _host_name(header: str) -> str:
    """The name or address in a Host header, without port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
