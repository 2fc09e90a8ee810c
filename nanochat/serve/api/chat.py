"""`POST /v1/chat/completions`: the assistant's next message, whole or as it is made."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

from nanochat.infer.scheduler import FinishReason, Request
from nanochat.infer.text_stream import Delta, TextStream, ToolCall
from nanochat.infer.token_table import TokenTable, token_table
from nanochat.serve.api.endpoint import Reply
from nanochat.serve.api.errors import refused
from nanochat.serve.api.fields import Fields
from nanochat.serve.api.generations import Generations, Piece, send
from nanochat.serve.api.logprobs import chat_logprobs
from nanochat.serve.api.parameters import ChatParameters, Generating, chat_parameters, check_ids
from nanochat.serve.api.prompts import render_prompt, room_for
from nanochat.serve.api.sse import DONE, Chunks, TextChunks
from nanochat.serve.models import LoadedModel, ModelRegistry
from nanochat.tools.calculator import Calculator


async def chat_completions(registry: ModelRegistry, fields: Fields, reply: Reply) -> None:
    """Answers a chat request."""
    wanted = chat_parameters(fields)
    async with registry.use(wanted.model) as loaded:
        refuse_base_model(loaded)
        prompt = await render_prompt(loaded, wanted.conversation, generation_prompt=True)
        room = room_for(loaded, len(prompt), wanted.max_tokens, "messages", wanted.max_tokens_field)
        request = Request(
            prompt,
            room,
            sampling=wanted.sampling,
            samples=wanted.samples,
            stop=ends(loaded, wanted),
            calculator=Calculator(loaded.tokenizer),
            logprobs=wanted.logprobs,
        )
        answer = _Answer(loaded, wanted)
        await send(answer, Generations(loaded, [request], [answer.streams]), reply, stream=wanted.stream)


def refuse_base_model(loaded: LoadedModel) -> None:
    """Raises `ApiError` for a model that has learned no conversations."""
    if loaded.card.kind != "chat":
        raise refused(
            "model",
            f"{loaded.card.id} is a base model: it continues text and was not trained to chat. "
            "Ask /v1/completions, or take a checkpoint of mid, sft or rl",
            "model_is_not_a_chat_model",
        )


def ends(loaded: LoadedModel, wanted: Generating) -> frozenset[int]:
    """The tokens that end a sample. Raises `ApiError` for ids that the vocabulary has not."""
    check_ids("stop_token_ids", sorted(wanted.stop_ids), loaded.tokenizer.vocab_size)
    check_ids("logit_bias", sorted(wanted.sampling.logit_bias), loaded.tokenizer.vocab_size)
    return wanted.stop_ids if wanted.ignore_end else wanted.stop_ids | loaded.tokenizer.answer_ends


def head(kind: str, prefix: str, loaded: LoadedModel) -> dict[str, Any]:
    """The fields that begin an answer and each of its chunks; the fingerprint is the checkpoint."""
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": loaded.card.id,
        "system_fingerprint": str(loaded.card.name),
    }


def calls_field(calls: list[ToolCall]) -> dict[str, Any]:
    """The field of its own that holds the calculator's calls; nothing where there were none."""
    return {"executed_tools": [call.document for call in calls]} if calls else {}


class _Answer:
    """The choices of one request as they grow."""

    def __init__(self, loaded: LoadedModel, wanted: ChatParameters) -> None:
        self._loaded, self._wanted = loaded, wanted
        self._table: TokenTable = token_table(loaded.tokenizer)
        self.streams = [
            TextStream(self._table, wanted.stops, keep_tokens=wanted.logprobs is not None)
            for _ in range(wanted.samples)
        ]

    async def send_whole(self, generations: Generations, reply: Reply) -> None:
        choices = [Delta() for _ in self.streams]
        async for pieces in generations:
            for piece in pieces:
                choices[piece.sample].extend(piece.delta)
        document = {
            **head("chat.completion", "chatcmpl", self._loaded),
            **self._prompt_ids(generations),
            "choices": [self._choice(index, choice) for index, choice in enumerate(choices)],
            "usage": generations.usage(),
        }
        await reply.json(document, generations.headers)

    def _choice(self, index: int, choice: Delta) -> dict[str, Any]:
        message = {
            "role": "assistant",
            "content": choice.text,
            "refusal": None,
            **calls_field(choice.calls),
        }
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs(choice),
            "finish_reason": _reason(choice),
            **self._ids(choice),
        }

    def _logprobs(self, delta: Delta) -> dict[str, Any] | None:
        if self._wanted.logprobs is None:
            return None
        return chat_logprobs(self._table, delta.tokens, with_index=self._wanted.token_ids)

    def _ids(self, delta: Delta) -> dict[str, Any]:
        return {"token_ids": delta.ids} if self._wanted.token_ids else {}

    def _prompt_ids(self, generations: Generations) -> dict[str, Any]:
        return {"prompt_token_ids": list(generations.prompt(0))} if self._wanted.token_ids else {}

    async def send_stream(self, generations: Generations, reply: Reply) -> None:
        tail = {"usage": None} if self._wanted.include_usage else {}
        chunks = Chunks(head("chat.completion.chunk", "chatcmpl", self._loaded), tail)
        texts = TextChunks(chunks, lambda index, text: _stream_choice(index, {"content": text}))
        told: set[int] = set()
        async for pieces in generations:
            first = iter(() if told else (self._prompt_ids(generations),))
            parts: list[bytes] = []
            for piece in pieces:
                if piece.delta.is_text and piece.sample in told and not self._wanted.token_ids:
                    parts.append(texts.chunk(piece.sample, piece.delta.text))
                elif self._is_news(piece, told):
                    choices = self._stream_choices(piece, told)
                    parts += [chunks.chunk(choice, next(first, None)) for choice in choices]
            data = b"".join(parts)
            if not reply.begun:
                await reply.begin_events(generations.headers)
            if data:
                await reply.events(data)
        last = chunks.usage(generations.usage()) if self._wanted.include_usage else b""
        await reply.end_events(last + DONE)

    def _is_news(self, piece: Piece, told: set[int]) -> bool:
        """Whether a piece is told: tokens of a tool alone are no news, but for their ids."""
        has_ids = self._wanted.token_ids and bool(piece.delta.ids)
        return bool(piece.delta) or has_ids or piece.sample not in told

    def _stream_choices(self, piece: Piece, told: set[int]) -> Iterator[dict[str, Any]]:
        """The choices of the chunks that tell a piece: the role first, the end last, each in its own."""
        delta = piece.delta
        if piece.sample not in told:
            told.add(piece.sample)
            yield _stream_choice(piece.sample, {"role": "assistant", "content": ""})
        ids = self._ids(delta)
        if delta.text or delta.calls or delta.tokens or ids.get("token_ids"):
            content = {"content": delta.text} if delta.text or delta.tokens else {}
            logprobs = self._logprobs(delta) if delta.tokens else None
            yield _stream_choice(piece.sample, {**content, **calls_field(delta.calls)}, logprobs) | ids
        if delta.finish_reason is not None:
            yield _stream_choice(piece.sample, {}, None, _reason(delta))


def _stream_choice(
    index: int,
    delta: dict[str, Any],
    logprobs: dict[str, Any] | None = None,
    finish_reason: str | None = None,
) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}


def _reason(delta: Delta) -> str:
    return str(delta.finish_reason or FinishReason.LENGTH)
