"""Prompts as token ids that fit: text encoded, ids checked, the context's room shared out."""

import asyncio
from collections.abc import Callable

from nanochat.infer.token_table import token_table
from nanochat.serve.api.errors import ApiError, refused
from nanochat.serve.api.messages import Conversation
from nanochat.serve.models import LoadedModel

LONG_TEXT = 8_000
"""Characters from which on a text is encoded in a thread: what other clients stream must not wait for it."""


async def encode_prompt(loaded: LoadedModel, text: str, param: str, bos: bool) -> list[int]:
    """The ids of a prompt. Raises `ApiError` for one that cannot fit, before all of it is encoded."""
    check_length(loaded, len(text), param)
    return await aside(len(text), lambda: loaded.tokenizer.encode(text, bos=bos))


async def render_prompt(
    loaded: LoadedModel, conversation: Conversation, generation_prompt: bool
) -> list[int]:
    """The ids of a conversation. Raises `ApiError` for one that cannot fit, before all of it is encoded."""
    check_length(loaded, conversation.characters, "messages")
    return await aside(
        conversation.characters, lambda: conversation.render(loaded.tokenizer, generation_prompt)
    )


async def aside(characters: int, work: Callable[[], list[int]]) -> list[int]:
    """The result of encoding that many characters, in a thread where that takes long."""
    return await asyncio.to_thread(work) if characters > LONG_TEXT else work()


def check_length(loaded: LoadedModel, characters: int, param: str) -> None:
    """Raises `ApiError` when a text is too long for the context even in the longest tokens there are."""
    context = loaded.card.context
    least = characters // token_table(loaded.tokenizer).longest
    if least > context:
        raise overflow(param, least, context, new=0, at_least=True)


def room_for(loaded: LoadedModel, prompt: int, wanted: int | None, param: str, wanted_field: str) -> int:
    """How many tokens to generate after a prompt of that many: `wanted`, None for what the context has left.

    Raises `ApiError` that says by how much they overflow the context.
    """
    left = loaded.card.context - prompt
    if wanted is None and left > 0:
        return left
    if wanted is not None and wanted <= left:
        return wanted
    if left <= 0:
        raise overflow(param, prompt, loaded.card.context, new=0 if wanted == 0 else 1)
    over = (wanted or 0) - left
    raise refused(
        wanted_field,
        f"{wanted_field}: {prompt:,} tokens of prompt and {wanted:,} new ones are {over:,} more than the "
        f"model's context of {loaded.card.context:,}: ask for {left:,} at most, or shorten the prompt",
        "context_length_exceeded",
    )


def overflow(param: str, prompt: int, context: int, *, new: int = 1, at_least: bool = False) -> ApiError:
    """The error for a prompt that leaves no room for `new` tokens, one or none."""
    more = "at least " if at_least else ""
    return refused(
        param,
        f"{param}: the prompt has {more}{prompt:,} tokens, {more}{prompt + new - context:,} too many for the "
        f"model's context of {context:,}{' with one new token' if new else ''}",
        "context_length_exceeded",
    )
