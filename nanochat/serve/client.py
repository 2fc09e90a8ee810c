"""A client of any OpenAI-compatible server: ours, vLLM, llama.cpp, a hosted one.

    async with ChatClient("http://127.0.0.1:8000", api_key) as client:
        async for event in client.stream("sft/d20", messages, AnswerSettings()):
            ...   # Part, Progress, Part, …, Finish

Loads no torch. What a server sends is judged field by field: a wrong one ends in a `UserError`, never in
another exception.
"""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from nanochat.common.errors import Exit, UserError, nearest, one_line
from nanochat.common.fields import json_object, text, whole
from nanochat.serve.answer_stream import AnswerReader, Finish, Progress
from nanochat.serve.answer_tokens import Guess, read_guess
from nanochat.serve.conversation import AnswerSettings, Part
from nanochat.serve.event_stream import read_events

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 600.0
"""How long a server may say nothing: it may be loading a model, or have a queue."""
LIST_SECONDS = 60.0
"""How long it may take for the list of its models, for which it computes nothing."""
BUSY_SECONDS = 30.0
"""How long a server that says it is busy is asked again."""
MAX_BODY_BYTES = 16 << 20
"""The largest answer that is read in one piece."""
OWNER = "nanochat"
"""`owned_by` of the models of our own server."""


class CutError(UserError):
    """An answer that stopped before its end: the connection broke, or no finish_reason came."""


class BusyError(UserError):
    """The server's queue was full, and still is after `BUSY_SECONDS`."""


@dataclass(frozen=True)
class ServedModel:
    """An entry of a server's list of models."""

    id: str
    owner: str = ""
    context: int | None = None
    """Tokens that prompt and answer may have together, where the server says."""
    kind: str = ""
    """"chat" or "base" where the server says: a base model continues text and was not trained to chat."""


@dataclass(frozen=True)
class LensAnswer:
    """What each layer of `model` (on our server with its step) would have said at a place, the likeliest
    tokens first."""

    model: str
    layers: tuple[tuple[Guess, ...], ...]


class ChatClient:
    """Talks to the server at `url`: `http://host:8000`, or with the path before `/chat/completions`.

    `transport` replaces the network, for a server in this process. Raises `UserError` for a url or key that
    cannot be used.
    """

    def __init__(
        self, url: str, api_key: str = "", *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.base = _base_url(url)
        self.name = "the model" if transport is not None else str(self.base.copy_with(userinfo=b""))
        """The server as messages call it: an address without a password."""
        if not (api_key.isascii() and api_key.isprintable()):
            raise UserError("the API key holds characters that no key has", "was it copied whole?")
        headers = {"User-Agent": "nanochat"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        is_here = self.base.host in ("localhost", "127.0.0.1", "::1")
        self._http = httpx.AsyncClient(
            headers=headers,
            transport=transport,
            timeout=httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
            trust_env=not is_here,  # a proxy leads nowhere from this machine to itself
            verify=not (is_here and self.base.scheme == "http"),  # reading certificates takes 50 ms
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    # -- questions -----------------------------------------------------------------------------------

    async def models(self) -> list[ServedModel]:
        """The models that the server offers, in its order."""
        document = await self._ask("GET", self._url("/models"), seconds=LIST_SECONDS)
        entries = document.get("data")
        found = [_model(entry) for entry in entries] if isinstance(entries, list) else []
        return [model for model in found if model is not None]

    async def model(self, name: str = "") -> ServedModel:
        """The model called `name`, else the first; raises `UserError` with the nearest names."""
        models = await self.models()
        if not models:
            raise UserError(f"{self.name} offers no model", exit_code=Exit.FAILED)
        if not name:
            return models[0]
        for model in models:
            if model.id == name:
                return model
        # Ours loads a checkpoint by any of its names, and lists each under one.
        if any(model.owner == OWNER for model in models):
            return await self._unlisted(name)
        raise UserError(
            f"{self.name} has no model '{name}'", nearest(name, (model.id for model in models)), Exit.FAILED
        )

    async def _unlisted(self, name: str) -> ServedModel:
        """A model of our server that it does not list. Raises `UserError` when there is none."""
        try:
            found = _model(await self._ask("GET", self._url(f"/models/{quote(name, safe='/@:')}")))
        except StatusError as error:
            if error.code in ("model_not_found", "model_unavailable"):
                raise
            found = None
        return found or ServedModel(name, OWNER)

    async def count_tokens(
        self, model: str, prompt: Sequence[Mapping[str, Any]] | str
    ) -> tuple[int, int] | None:
        """Tokens of a prompt, messages or a text, and the model's context; None when the server cannot
        count. `POST /tokenize` in vLLM's form."""
        root = str(self.base).rstrip("/").removesuffix("/v1")
        if isinstance(prompt, str):
            body: dict[str, Any] = {"model": model, "prompt": prompt}
        else:
            body = {"model": model, "messages": list(prompt), "add_generation_prompt": True}
        try:
            document = await self._ask("POST", f"{root}/tokenize", body)
        except StatusError as error:
            if error.status in (404, 405, 501):
                return None
            raise
        count, context = whole(document.get("count"), 0), whole(document.get("max_model_len"), 1)
        return None if count is None or context is None else (count, context)

    async def lens(self, model: str, ids: Sequence[int], top_k: int = 5) -> LensAnswer:
        """What each layer would have said after the last of `ids`. `POST /v1/lens`, which only our server
        has. Raises `UserError`."""
        body = {"model": model, "tokens": list(ids), "positions": [len(ids) - 1], "top_k": top_k}
        document = await self._ask("POST", self._url("/lens"), body)
        places = document.get("places")
        place = places[0] if isinstance(places, list) and places else None
        layers = place.get("layers") if isinstance(place, dict) else None
        if not isinstance(layers, list):
            raise UserError(f"{self.name} gives no layers", "is it a nanochat server?", Exit.FAILED)
        guesses = [[read_guess(one) for one in layer] if isinstance(layer, list) else [] for layer in layers]
        return LensAnswer(
            text(document.get("system_fingerprint")) or model,
            tuple(tuple(guess for guess in layer if guess is not None) for layer in guesses),
        )

    def stream(
        self, model: str, messages: Sequence[Mapping[str, Any]], settings: AnswerSettings, **extra: Any
    ) -> AsyncGenerator[Part | Progress | Finish, None]:
        """The assistant's next message as it comes, then how it ended. Leaving early ends it on the server.

        `extra`: further fields of the request, such as top_k, which is none of OpenAI's. Raises `UserError`
        when the server refuses, `CutError` when the answer breaks off, `BusyError` when it stays busy.
        """
        asked = {"model": model, "messages": list(messages)}
        return self._stream("/chat/completions", asked, settings, extra)

    def complete(
        self, model: str, prompt: str, settings: AnswerSettings, **extra: Any
    ) -> AsyncGenerator[Part | Progress | Finish, None]:
        """What the model writes after `prompt`, a text; else as `stream`. For base models."""
        return self._stream("/completions", {"model": model, "prompt": prompt}, settings, extra)

    async def _stream(
        self, path: str, asked: Mapping[str, Any], settings: AnswerSettings, extra: Mapping[str, Any]
    ) -> AsyncGenerator[Part | Progress | Finish, None]:
        body = {
            **asked,
            "temperature": settings.temperature,
            "max_tokens": settings.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if settings.top_p < 1:
            body["top_p"] = settings.top_p
        if settings.seed is not None:
            body["seed"] = settings.seed
        async with self._response(self._url(path), {**body, **extra}) as response:
            reader = AnswerReader(response.headers)
            if "json" in response.headers.get("content-type", ""):
                for event in reader.whole(await _bounded(response)):
                    yield event
            else:
                async for data in read_events(response.aiter_bytes()):
                    for event in reader.event(data):
                        yield event
                    if reader.done:
                        break
            finish = reader.finish()
            if not reader.begun:
                raise UserError(
                    f"{self.name} does not answer as a server of language models",
                    "is it an OpenAI-compatible server?",
                    Exit.FAILED,
                )
            if finish is None:
                raise CutError(f"{self.name} broke off in the middle of the answer", "ask again", Exit.FAILED)
            yield finish

    # -- HTTP ----------------------------------------------------------------------------------------

    def _url(self, path: str) -> str:
        return str(self.base).rstrip("/") + path

    async def _ask(
        self, method: str, url: str, body: Mapping[str, Any] | None = None, seconds: float = SILENCE_SECONDS
    ) -> dict[str, Any]:
        """The JSON object that the server answers with, no more than `seconds` after the last it said."""
        limits = httpx.Timeout(seconds, connect=CONNECT_SECONDS)
        with _http_errors(self.name, seconds):
            async with self._http.stream(method, url, json=body, timeout=limits) as response:
                raw = await _bounded(response)
        if response.status_code != 200:
            raise _status_error(self.name, response, raw)
        document = json_object(raw)
        if document is None:
            raise UserError(
                f"{url} does not answer with JSON", "is it an OpenAI-compatible server?", Exit.FAILED
            )
        return document

    @asynccontextmanager
    async def _response(self, url: str, body: Mapping[str, Any]) -> AsyncIterator[httpx.Response]:
        """The server's answer to a question, once it is not busy any more."""
        deadline = time.monotonic() + BUSY_SECONDS
        while True:
            with _http_errors(self.name):
                async with self._http.stream("POST", url, json=body) as response:
                    if response.status_code == 200:
                        yield response
                        return
                    raw = await _bounded(response)
            wait = _retry_after(response)
            if response.status_code not in (429, 503) or wait is None:
                raise _status_error(self.name, response, raw)
            if time.monotonic() + wait > deadline:
                raise BusyError(f"{self.name} is busy", f"ask again in {wait:g} s", Exit.FAILED)
            await asyncio.sleep(wait)


class StatusError(UserError):
    """The server refused; `code` is OpenAI's word for why, "" where it gave none."""

    def __init__(self, message: str, hint: str, status: int, code: str) -> None:
        super().__init__(message, hint, Exit.FAILED)
        self.status = status
        self.code = code


@contextmanager
def _http_errors(name: str, seconds: float = SILENCE_SECONDS) -> Iterator[None]:
    """Turns what httpx raises into one line about the server called `name`."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        reason = one_line(str(error)) or "no answer"
        hint = "is the server running, and the address right?"
        if "SSL" in reason:
            hint = "is it https, with a certificate that this machine trusts?"
        raise UserError(f"cannot reach {name}: {reason}", hint, Exit.UNREACHABLE) from None
    except httpx.TimeoutException:
        what = f"{name} said nothing for {seconds:g} s"
        raise CutError(what, "ask again", Exit.FAILED) from None
    except (httpx.TransportError, httpx.DecodingError) as error:
        reason = one_line(str(error)) or type(error).__name__
        raise CutError(f"{name} broke off: {reason}", "ask again", Exit.FAILED) from None


async def _bounded(response: httpx.Response) -> bytes:
    """The body of a response, at most `MAX_BODY_BYTES` of it."""
    raw = bytearray()
    async for chunk in response.aiter_bytes():
        raw += chunk
        if len(raw) > MAX_BODY_BYTES:
            raise UserError(
                f"{response.url} answers with more than {MAX_BODY_BYTES >> 20} MiB", exit_code=Exit.FAILED
            )
    return bytes(raw)


def _status_error(name: str, response: httpx.Response, raw: bytes) -> StatusError:
    """The one line for a refusal, in the server's own words where it has OpenAI's error shape."""
    document = json_object(raw) or {}
    error = document.get("error", document.get("detail", document.get("message")))
    message = error.get("message") if isinstance(error, dict) else error
    said = one_line(message) if isinstance(message, str) else one_line(raw[:200].decode("utf-8", "replace"))
    status = response.status_code
    hint = ""
    if status in (401, 403):
        hint = "give its key with --api-key or NANOCHAT_API_KEY"
    elif 300 <= status < 400:
        hint = f"it points to {response.headers.get('location', 'nowhere')}"
    elif status == 404 and not isinstance(error, dict):
        hint = "does the address need a path, such as /v1?"
    code = error.get("code") if isinstance(error, dict) else ""
    said = said or response.reason_phrase
    # What a model in this process refuses needs no number.
    what = said if "://" not in name else f"{name} answers {status}: {said}"
    return StatusError(what, hint, status, text(code) or "")


def _retry_after(response: httpx.Response) -> float | None:
    """The seconds after which a busy server wants to be asked again; None when it does not say."""
    try:
        seconds = float(response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return max(0.1, seconds) if math.isfinite(seconds) else None


def load_client() -> None:
    """Loads what the first client and its first request import: some 50 ms, for a thread."""
    import anyio

    ChatClient("http://127.0.0.1")
    anyio.run(anyio.sleep, 0)  # what httpx talks through, which loads the rest when it is used first
    for part in (anyio.connect_tcp, anyio.to_thread):
        assert part is not None  # named, so that it is loaded


def _base_url(url: str) -> httpx.URL:
    """The address up to `/v1`, which is added where `url` has no path."""
    try:
        parsed = httpx.URL(url.strip())
    except httpx.InvalidURL as error:
        raise UserError(f"--url '{url[:200]}': {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UserError(f"--url '{url[:200]}' is no address", "write http://127.0.0.1:8000")
    path = parsed.path.rstrip("/").removesuffix("/chat/completions")
    return parsed.copy_with(path=path or "/v1", query=None, fragment=None)


def _model(entry: object) -> ServedModel | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str) or not entry["id"]:
        return None
    return ServedModel(
        entry["id"],
        text(entry.get("owned_by")) or "",
        whole(entry.get("max_model_len"), 1),
        text(entry.get("kind")) or "",
    )
