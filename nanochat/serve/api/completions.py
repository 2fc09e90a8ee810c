"""`POST /v1/completions`: what a model writes after each of some prompts, the prompt itself too if asked."""

import asyncio
from typing import Any

from nanochat.infer.logprobs import TokenLogprobs
from nanochat.infer.scheduler import Request
from nanochat.infer.text_stream import Delta, TextStream
from nanochat.infer.token_table import token_table
from nanochat.serve.api.chat import calls_field, ends, head
from nanochat.serve.api.endpoint import Reply
from nanochat.serve.api.errors import refused
from nanochat.serve.api.fields import Fields
from nanochat.serve.api.generations import Generations, Piece, send
from nanochat.serve.api.logprobs import LegacyLogprobs, prompt_text
from nanochat.serve.api.parameters import CompletionParameters, check_ids, completion_parameters
from nanochat.serve.api.prompts import encode_prompt, room_for
from nanochat.serve.api.sse import DONE, Chunks, TextChunks
from nanochat.serve.models import LoadedModel, ModelRegistry
from nanochat.tools.calculator import Calculator

MAX_CHOICES = 4096
"""Prompts times samples."""


async def completions(registry: ModelRegistry, fields: Fields, reply: Reply) -> None:
    """Answers a request for completions."""
    wanted = completion_parameters(fields)
    if len(wanted.prompts) * wanted.samples > MAX_CHOICES:
        raise refused("n", f"n: {len(wanted.prompts):,} prompts of {wanted.samples} are over {MAX_CHOICES:,}")
    async with registry.use(wanted.model) as loaded:
        answer = _Answer(loaded, wanted)
        await answer.read_prompts()
        await send(answer, Generations(loaded, answer.requests, answer.streams), reply, stream=wanted.stream)


class _Answer:
    """The prompts of one request and their choices as they grow."""

    def __init__(self, loaded: LoadedModel, wanted: CompletionParameters) -> None:
        self._loaded, self._wanted = loaded, wanted
        self._table = token_table(loaded.tokenizer)
        self._stop = ends(loaded, wanted)
        self._chats = loaded.card.kind == "chat"
        self.requests: list[Request] = []
        self.streams: list[list[TextStream]] = []
        """By prompt, then by sample."""
        self._echoes: list[str] = []
        """The text that each prompt's choices begin with."""

    async def read_prompts(self) -> None:
        """Encodes every prompt and makes its request. Raises `ApiError` for one that does not fit."""
        wanted = self._wanted
        for index, prompt in enumerate(wanted.prompts):
            param = f"prompt[{index}]" if wanted.several else "prompt"
            if isinstance(prompt, str):
                ids = await encode_prompt(self._loaded, prompt, param, wanted.add_bos)
                await asyncio.sleep(0)  # of thousands, none is long enough for a thread of its own
            else:
                ids = prompt
                check_ids(param, ids, self._loaded.tokenizer.vocab_size)
            if not ids:
                raise refused(param, f"{param} holds no token: leave add_special_tokens on for bos")
            room = room_for(self._loaded, len(ids), wanted.max_tokens, param, wanted.max_tokens_field)
            text = prompt if isinstance(prompt, str) else prompt_text(self._table, ids)
            self._echoes.append(text if wanted.echo else "")
            self.requests.append(self._request(ids, room))
            self.streams.append([self._stream() for _ in range(wanted.samples)])

    def _request(self, ids: list[int], room: int) -> Request:
        wanted = self._wanted
        return Request(
            ids,
            room,
            sampling=wanted.sampling_of_a_prompt(),
            samples=wanted.samples,
            stop=self._stop,
            calculator=Calculator(self._loaded.tokenizer) if self._chats else None,
            logprobs=wanted.logprobs,
            prompt_logprobs=wanted.logprobs if wanted.echo else None,
        )

    def _stream(self) -> TextStream:
        return TextStream(
            self._table,
            self._wanted.stops,
            tools=self._chats,
            keep_tokens=self._wanted.logprobs is not None,
            keep_end=True,
        )

    # -- answers -------------------------------------------------------------------------------------

    async def send_whole(self, generations: Generations, reply: Reply) -> None:
        choices = [[Delta() for _ in streams] for streams in self.streams]
        async for pieces in generations:
            for piece in pieces:
                choices[piece.prompt][piece.sample].extend(piece.delta)
        found = [
            self._choice(generations, Piece(prompt, sample, choice), first=True)
            for prompt, samples in enumerate(choices)
            for sample, choice in enumerate(samples)
        ]
        document = {
            **head("text_completion", "cmpl", self._loaded),
            "choices": found,
            "usage": generations.usage(),
        }
        await reply.json(document, generations.headers)

    async def send_stream(self, generations: Generations, reply: Reply) -> None:
        tail = {"usage": None} if self._wanted.include_usage else {}
        chunks = Chunks(head("text_completion", "cmpl", self._loaded), tail)
        texts = TextChunks(chunks, _text_choice)
        told: set[tuple[int, int]] = set()
        async for pieces in generations:
            parts = []
            for piece in pieces:
                first = (piece.prompt, piece.sample) not in told
                if piece.delta.is_text and not first and not self._wanted.token_ids:
                    parts.append(texts.chunk(self._number(piece), piece.delta.text))
                elif piece.delta or first or (self._wanted.token_ids and piece.delta.ids):
                    told.add((piece.prompt, piece.sample))
                    parts.append(chunks.chunk(self._choice(generations, piece, first=first)))
            if not reply.begun:
                await reply.begin_events(generations.headers)
            if parts:
                await reply.events(b"".join(parts))
        last = chunks.usage(generations.usage()) if self._wanted.include_usage else b""
        await reply.end_events(last + DONE)

    def _number(self, piece: Piece) -> int:
        return piece.prompt * self._wanted.samples + piece.sample

    def _choice(self, generations: Generations, piece: Piece, *, first: bool) -> dict[str, Any]:
        """A choice, or the part of it that a chunk tells; the first part begins with the echo."""
        delta, echo = piece.delta, self._echoes[piece.prompt]
        logprobs: LegacyLogprobs | None = None
        ids: dict[str, Any] = {}
        if self._wanted.logprobs is not None:
            logprobs = LegacyLogprobs(self._table)
            if first and self._wanted.echo:
                logprobs.add_prompt(
                    self.requests[piece.prompt].prompt, self._scores(generations, piece.prompt)
                )
            for token in delta.tokens:
                logprobs.add(token.new.token, token.new.logprobs, len(echo) + token.offset)
        if self._wanted.token_ids:
            ids = {"token_ids": delta.ids}
            if first:
                ids["prompt_token_ids"] = list(generations.prompt(piece.prompt))
        reason = None if delta.finish_reason is None else str(delta.finish_reason)
        told = None if logprobs is None else logprobs.document
        return {
            **_text_choice(self._number(piece), (echo if first else "") + delta.text, told, reason),
            **calls_field(delta.calls),
            **ids,
        }

    def _scores(self, generations: Generations, prompt: int) -> list[TokenLogprobs | None]:
        started = generations.started(prompt)
        assert started is not None and started.prompt_logprobs is not None  # it was asked for
        return started.prompt_logprobs


def _text_choice(
    index: int, text: str, logprobs: dict[str, Any] | None = None, finish_reason: str | None = None
) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}
