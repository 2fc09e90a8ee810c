"""`POST /chat/completions` as upstream nanochat's web page asks for it, with its limits and its events.

data: {"token": "Hello", "gpu": 0}

data: {"done": true}
"""

import json
import random
from collections.abc import Sequence
from typing import Any

from nanochat.infer.sampling import Sampling
from nanochat.infer.scheduler import Request
from nanochat.infer.text_stream import TextStream
from nanochat.infer.token_table import token_table
from nanochat.serve.api.chat import refuse_base_model
from nanochat.serve.api.endpoint import Reply
from nanochat.serve.api.errors import ApiError, refused
from nanochat.serve.api.fields import Fields
from nanochat.serve.api.generations import Generations
from nanochat.serve.api.parameters import CHAT_TEMPERATURE, CHAT_TOP_K
from nanochat.serve.api.prompts import room_for
from nanochat.serve.models import LoadedModel, ModelRegistry
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.tools.calculator import Calculator

MAX_MESSAGES = 500
MAX_CHARACTERS = 8_000
"""Of one message."""
MAX_CONVERSATION = 32_000
"""Characters of all messages."""
MAX_TOP_K = 200
MAX_NEW_TOKENS = 4096
NEW_TOKENS = 512
"""Where the request does not say."""


async def upstream_chat(registry: ModelRegistry, fields: Fields, reply: Reply) -> None:
    """Streams an answer of the default model."""
    messages = _messages(fields)
    sampling = Sampling(
        temperature=fields.real("temperature", CHAT_TEMPERATURE, 0.0, 2.0),
        top_k=fields.whole("top_k", CHAT_TOP_K, 0, MAX_TOP_K),
        seed=random.getrandbits(62),
    )
    most = fields.whole("max_tokens", NEW_TOKENS, 1, MAX_NEW_TOKENS)
    async with registry.use("") as loaded:
        refuse_base_model(loaded)
        prompt = _render(loaded.tokenizer, messages)
        room = min(most, room_for(loaded, len(prompt), None, "messages", "max_tokens"))
        stream = TextStream(token_table(loaded.tokenizer))
        generations = Generations(loaded, [_request(loaded, prompt, room, sampling)], [[stream]])
        try:
            async for pieces in generations:
                if not reply.begun:
                    await reply.begin_events(generations.headers)
                text = "".join(piece.delta.text for piece in pieces)
                if text:
                    await reply.events(_event({"token": text, "gpu": generations.replica}))
            await reply.end_events(_event({"done": True}))
        finally:
            generations.cancel()


def error_document(error: ApiError) -> dict[str, Any]:
    """An error in the form that upstream's page reads."""
    return {"detail": error.message}


def _request(loaded: LoadedModel, prompt: list[int], room: int, sampling: Sampling) -> Request:
    return Request(
        prompt,
        room,
        sampling=sampling,
        stop=loaded.tokenizer.answer_ends,
        calculator=Calculator(loaded.tokenizer),
    )


def _messages(fields: Fields) -> list[tuple[str, str]]:
    """The role and text of each message, checked as upstream checks them."""
    entries = fields.entries("messages", MAX_MESSAGES)
    if not entries:
        raise refused("messages", "at least one message is required")
    found = []
    for index, entry in enumerate(entries):
        role, text = entry["role"], entry.text("content")
        if not text:
            raise refused("messages", f"message {index} has empty content")
        if len(text) > MAX_CHARACTERS:
            raise refused(
                "messages",
                f"message {index} is too long: {len(text):,} characters, at most {MAX_CHARACTERS:,}",
            )
        if role not in ("user", "assistant"):
            raise refused("messages", f"message {index} has an invalid role: it must be user or assistant")
        found.append((role, text))
    total = sum(len(text) for _, text in found)
    if total > MAX_CONVERSATION:
        raise refused(
            "messages", f"the conversation is too long: {total:,} characters, at most {MAX_CONVERSATION:,}"
        )
    return found


def _render(tokenizer: Tokenizer, messages: Sequence[tuple[str, str]]) -> list[int]:
    """The prompt; roles need not alternate here."""
    ids = [tokenizer.bos_id]
    for role, text in messages:
        start, end = tokenizer.special_id(f"{role}_start"), tokenizer.special_id(f"{role}_end")
        ids += [start, *tokenizer.encode(text), end]
    return [*ids, tokenizer.special_id("assistant_start")]


def _event(document: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(document)}\n\n".encode("ascii")
