"""The chat page: its files under fixed names, with the headers that hold a browser to them.

The page runs its own scripts only, asks its own server only, and turns no text into markup: whatever a model
says, the browser has no way to act on it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
"""With the last two, a script that hands a text to `innerHTML` or `eval` fails, ours too."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Chromium else asks a name server about every link of an answer, which tells its owner of the answer.
    "X-DNS-Prefetch-Control": "off",
    # Kept, and asked for again each time: a new version of the server shows at once.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class PageFile:
    """A file as it is sent."""

    content: bytes
    media_type: str
    etag: str


def routes() -> list[Route]:
    """`/` and the files it is made of, `/page/NAME`."""

    async def index(request: Request) -> Response:
        return _response(request, "index.html")

    async def part(request: Request) -> Response:
        return _response(request, request.path_params["name"])

    return [Route("/", index), Route("/page/{name}", part)]


@cache
def page_files() -> dict[str, PageFile]:
    """All files of the page by name."""
    return dict(_read())


def _read() -> Iterator[tuple[str, PageFile]]:
    for file in files("nanochat.serve").joinpath("page").iterdir():
        media_type = MEDIA_TYPES.get(file.name[file.name.rfind(".") :])
        if media_type is not None:
            content = file.read_bytes()
            yield file.name, PageFile(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def _response(request: Request, name: str) -> Response:
    """The file, or 304 where the browser has it."""
    file = page_files().get(name)
    if file is None:
        raise HTTPException(404)
    headers = {**HEADERS, "ETag": file.etag}
    known = request.headers.get("if-none-match", "")
    if file.etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.media_type, headers=headers)
