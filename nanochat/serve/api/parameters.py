"""What clients may ask for: one dataclass an endpoint, checked field by field.

Unknown fields are ignored. A field whose value is wrong, or that would change the answer in a way this server
cannot, is refused by name.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nanochat.infer.sampling import Sampling
from nanochat.serve.api.errors import not_supported, refused, shown
from nanochat.serve.api.fields import MISSING, WRONG_TYPE, Fields, clean
from nanochat.serve.api.messages import Conversation, read_conversation

MAX_SAMPLES = 128
"""OpenAI's bound of `n`."""
MAX_TOP_LOGPROBS = 20
MAX_STOPS = 32
MAX_STOP_LENGTH = 256
MAX_PROMPTS = 2048
MAX_TOKENS = 1 << 20
"""Beyond any model's context, which is the bound that counts."""
COMPLETION_TOKENS = 16
"""What OpenAI's legacy endpoint makes when it is not told how much."""
CHAT_TEMPERATURE, CHAT_TOP_K = 0.8, 50
"""Upstream nanochat's, for a chat request that says nothing of how to sample: small models ramble without."""
SAMPLING_FIELDS = ("temperature", "top_p", "top_k", "min_p")
_ID = re.compile(r"\d{1,9}", re.ASCII)


@dataclass(frozen=True)
class Generating:
    """What all requests for new tokens have in common."""

    model: str
    """Empty: the server's default."""
    sampling: Sampling
    seeded: bool
    """Whether the client gave the seed."""
    samples: int
    max_tokens: int | None
    """None: what the context has left."""
    max_tokens_field: str
    """The name that the client used for it."""
    stops: tuple[str, ...]
    stop_ids: frozenset[int]
    ignore_end: bool
    logprobs: int | None
    """How many alternatives beside the chosen token's log-probability; None: no log-probabilities."""
    stream: bool
    include_usage: bool
    token_ids: bool
    """Whether the answer tells the ids of the prompt and of every new token."""


@dataclass(frozen=True)
class ChatParameters(Generating):
    """A request to `/v1/chat/completions`."""

    conversation: Conversation = field(kw_only=True)


@dataclass(frozen=True)
class CompletionParameters(Generating):
    """A request to `/v1/completions`; a prompt is text or token ids."""

    prompts: tuple[str | list[int], ...] = field(kw_only=True)
    several: bool = field(kw_only=True)
    """Whether the client sent a list of prompts."""
    echo: bool = field(kw_only=True)
    add_bos: bool = field(kw_only=True)

    def sampling_of_a_prompt(self) -> Sampling:
        """How to sample after one of several prompts: without a seed each gets its own, for clients repeat
        a prompt to see it continued in several ways."""
        return self.sampling if self.seeded else replace(self.sampling, seed=_any_seed())


@dataclass(frozen=True)
class TokenizeParameters:
    """A request to `/tokenize`: a prompt, or the messages of a conversation."""

    model: str
    prompt: str | None
    conversation: Conversation | None
    add_bos: bool
    add_generation_prompt: bool
    token_strings: bool


@dataclass(frozen=True)
class DetokenizeParameters:
    """A request to `/detokenize`."""

    model: str
    tokens: list[int]


@dataclass(frozen=True)
class LensParameters:
    """A request to `/v1/lens`."""

    model: str
    prompt: str | list[int]
    add_bos: bool
    top_k: int
    positions: tuple[int, ...] | None
    """The places to report; None: all."""


def chat_parameters(fields: Fields) -> ChatParameters:
    """Checks a chat request. Raises `ApiError`."""
    _refuse_what_is_missing(fields)
    choice = fields["tool_choice"]
    if choice is not None and choice not in ("none", "auto"):
        raise not_supported("tool_choice", "tool_choice: the model cannot be made to call a client's tool")
    logprobs: int | None = None
    if fields.flag("logprobs"):
        logprobs = fields.whole("top_logprobs", 0, 0, MAX_TOP_LOGPROBS)
    elif fields.whole("top_logprobs", 0, 0, MAX_TOP_LOGPROBS):
        raise refused("top_logprobs", "top_logprobs needs logprobs: true")
    named = "max_completion_tokens" if fields.has("max_completion_tokens") else "max_tokens"
    silent = not any(fields.has(name) for name in SAMPLING_FIELDS)
    return ChatParameters(
        **_generating(fields, chat_defaults=silent),
        max_tokens=fields.optional_whole(named, 1, MAX_TOKENS),
        max_tokens_field=named,
        logprobs=logprobs,
        conversation=read_conversation(
            fields, continue_last=fields.flag("continue_final_message"), must_ask=True
        ),
    )


def completion_parameters(fields: Fields) -> CompletionParameters:
    """Checks a request for completions. Raises `ApiError`."""
    _refuse_what_is_missing(fields)
    if fields.text("suffix"):
        raise not_supported("suffix", "suffix: the model cannot fill in a gap")
    samples = fields.whole("n", 1, 1, MAX_SAMPLES)
    if fields.whole("best_of", samples, 1, MAX_SAMPLES) != samples:
        raise not_supported("best_of", "best_of: only as many samples are made as n asks for")
    prompts, several = _prompts(fields)
    return CompletionParameters(
        **_generating(fields, chat_defaults=False),
        max_tokens=fields.whole("max_tokens", COMPLETION_TOKENS, 0, MAX_TOKENS),
        max_tokens_field="max_tokens",
        logprobs=fields.optional_whole("logprobs", 0, MAX_TOP_LOGPROBS),
        prompts=prompts,
        several=several,
        echo=fields.flag("echo"),
        add_bos=fields.flag("add_special_tokens", True),
    )


def tokenize_parameters(fields: Fields) -> TokenizeParameters:
    """Checks a request to `/tokenize`. Raises `ApiError`."""
    model, strings = fields.text("model"), fields.flag("return_token_strs")
    if fields.has("messages"):
        continued = fields.flag("continue_final_message")
        generation = fields.flag("add_generation_prompt", not continued)
        if continued and generation:
            raise refused(
                "continue_final_message",
                "continue_final_message and add_generation_prompt exclude each other",
            )
        return TokenizeParameters(
            model,
            prompt=None,
            conversation=read_conversation(fields, continue_last=continued, must_ask=False),
            add_bos=False,
            add_generation_prompt=generation,
            token_strings=strings,
        )
    if not isinstance(fields["prompt"], str):
        raise fields.wrong("prompt", "a text", WRONG_TYPE)
    return TokenizeParameters(
        model,
        prompt=fields.text("prompt"),
        conversation=None,
        add_bos=fields.flag("add_special_tokens", True),
        add_generation_prompt=False,
        token_strings=strings,
    )


def detokenize_parameters(fields: Fields) -> DetokenizeParameters:
    """Checks a request to `/detokenize`. Raises `ApiError`."""
    return DetokenizeParameters(fields.text("model"), _ids("tokens", fields["tokens"], empty=True))


def lens_parameters(fields: Fields) -> LensParameters:
    """Checks a request to `/v1/lens`. Raises `ApiError`."""
    prompt: str | list[int]
    if isinstance(fields["prompt"], str):
        prompt = fields.text("prompt")
    else:
        name = "tokens" if fields.has("tokens") else "prompt"
        prompt = _ids(name, fields[name])
    positions = fields["positions"]
    return LensParameters(
        fields.text("model"),
        prompt=prompt,
        add_bos=fields.flag("add_special_tokens", True),
        top_k=fields.whole("top_k", 5, 1, MAX_TOP_LOGPROBS),
        positions=None if positions is None else tuple(_ids("positions", positions, what="place")),
    )


def _generating(fields: Fields, *, chat_defaults: bool) -> dict[str, Any]:
    """The fields that both endpoints share, as arguments of their dataclasses."""
    options = fields.nested("stream_options")
    return {
        "model": fields.text("model"),
        "sampling": _sampling(fields, chat_defaults),
        "seeded": fields.has("seed"),
        "samples": fields.whole("n", 1, 1, MAX_SAMPLES),
        "stops": _stops(fields),
        "stop_ids": frozenset(_ids("stop_token_ids", fields["stop_token_ids"] or [], empty=True)),
        "ignore_end": fields.flag("ignore_eos"),
        "stream": fields.flag("stream"),
        "include_usage": options is not None and options.flag("include_usage"),
        "token_ids": fields.flag("return_token_ids"),
    }


def _sampling(fields: Fields, chat_defaults: bool) -> Sampling:
    """How to sample; without a seed each request gets one of its own."""
    top_k = fields.whole("top_k", CHAT_TOP_K if chat_defaults else 0, -1, MAX_TOKENS)
    return Sampling(
        temperature=fields.real("temperature", CHAT_TEMPERATURE if chat_defaults else 1.0, 0.0, 2.0),
        top_k=max(0, top_k),
        top_p=fields.real("top_p", 1.0, 0.0, 1.0, above=True),
        min_p=fields.real("min_p", 0.0, 0.0, 1.0),
        logit_bias=_logit_bias(fields),
        seed=fields.whole("seed", _any_seed()),
    )


def _any_seed() -> int:
    return random.getrandbits(62)


def _logit_bias(fields: Fields) -> dict[int, float]:
    biases = fields.nested("logit_bias")
    if biases is None:
        return {}
    found = {}
    for name in fields["logit_bias"]:
        if not _ID.fullmatch(name):
            raise refused("logit_bias", f"logit_bias: {shown(name)} is not a token id")
        found[int(name)] = biases.real(name, 0.0, -100.0, 100.0)
    return found


def _stops(fields: Fields) -> tuple[str, ...]:
    value = fields["stop"]
    if value is None:
        return ()
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise fields.wrong("stop", "a text or a list of texts", WRONG_TYPE)
    if len(stops) > MAX_STOPS:
        raise refused("stop", f"stop has {len(stops):,} texts, at most {MAX_STOPS}")
    if any(not 0 < len(stop) <= MAX_STOP_LENGTH for stop in stops):
        raise refused("stop", f"stop: each text has 1 to {MAX_STOP_LENGTH} characters")
    return tuple(dict.fromkeys(stops))


def _prompts(fields: Fields) -> tuple[tuple[str | list[int], ...], bool]:
    """The prompts, and whether there was a list of them. A list of numbers is one prompt of token ids."""
    value = fields["prompt"]
    if isinstance(value, str):
        return (clean(value),), False
    if not isinstance(value, list):
        code = MISSING if value is None else WRONG_TYPE
        raise fields.wrong("prompt", "a text, a list of texts, token ids, or a list of lists of them", code)
    if not value:
        raise refused("prompt", "prompt is an empty list")
    if isinstance(value[0], int | float):
        return (_ids("prompt", value),), False
    if len(value) > MAX_PROMPTS:
        raise refused("prompt", f"prompt has {len(value):,} entries, at most {MAX_PROMPTS:,}")
    if all(isinstance(item, str) for item in value):
        return tuple(clean(item) for item in value), True
    return tuple(_ids(f"prompt[{index}]", item) for index, item in enumerate(value)), True


def _ids(name: str, value: object, *, empty: bool = False, what: str = "token id") -> list[int]:
    """A list of token ids, or of other whole numbers as small; whether there are such is for later."""
    if not isinstance(value, list):
        if value is None:
            raise refused(name, f"{name} is missing: it should be a list of {what}s", MISSING)
        raise refused(name, f"{name}: {shown(value)} is not a list of {what}s", WRONG_TYPE)
    if not value and not empty:
        raise refused(name, f"{name} is an empty list: it should hold a {what}")
    if len(value) > MAX_TOKENS:
        raise refused(name, f"{name} has {len(value):,} {what}s, at most {MAX_TOKENS:,}")
    for index, item in enumerate(value):
        if type(item) is not int or not 0 <= item < 1 << 31:
            raise refused(f"{name}[{index}]", f"{name}[{index}]: {shown(item)} is not a {what}", WRONG_TYPE)
    return value


def _refuse_what_is_missing(fields: Fields) -> None:
    """Refuses known requests that would change the answer and that this server cannot follow."""
    for name in ("presence_penalty", "frequency_penalty"):
        if not fields.is_zero(name):
            raise not_supported(name, f"{name} is not supported: leave it out, or 0")
    penalty = fields["repetition_penalty"]
    if penalty is not None and penalty != 1:
        raise not_supported("repetition_penalty", "repetition_penalty is not supported: leave it out, or 1")
    wanted = fields.nested("response_format")
    if wanted is not None and wanted["type"] != "text":
        raise not_supported("response_format", "response_format: the model cannot be held to a format")


def check_ids(name: str, ids: Sequence[int], vocab_size: int) -> None:
    """Raises `ApiError` for the first id that the model's vocabulary has not."""
    if ids and max(ids) >= vocab_size:
        index = next(index for index, token in enumerate(ids) if token >= vocab_size)
        raise refused(name, f"{name}: token {ids[index]:,} is outside the vocabulary of {vocab_size:,}")
