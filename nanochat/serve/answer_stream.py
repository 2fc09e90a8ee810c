"""From what an OpenAI-compatible server sends to the parts of an answer, and how it ended."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nanochat.common.errors import Exit, UserError, one_line
from nanochat.common.fields import json_object, real, text, whole
from nanochat.common.text import valid_text
from nanochat.serve.answer_tokens import AnswerToken, read_chat_tokens, read_ids, read_legacy_tokens
from nanochat.serve.conversation import Part

DONE = "[DONE]"
MAX_ANSWER = 64 << 20
"""Characters of an answer that are taken: a server that never stops must not fill the memory."""


@dataclass(frozen=True)
class Progress:
    """What a server tells of the tokens of an answer while it comes, where it does."""

    tokens: tuple[AnswerToken, ...] = ()
    """New tokens of the text, with their probabilities."""
    ids: tuple[int, ...] = ()
    """New tokens by their ids, tool calls included."""
    total: int | None = None
    """Tokens made so far."""
    prompt_ids: tuple[int, ...] = ()
    fingerprint: str = ""
    """See `Finish.fingerprint`; told once."""
    is_thinking: bool = False
    """Whether the model thinks aloud, which is no part of its answer."""


@dataclass(frozen=True)
class Finish:
    """How an answer ended. None where the server did not say."""

    reason: str
    """stop, length, or a word of the server's own."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    """Tokens of the prompt that the server did not have to read again."""
    queue_ms: float | None = None
    fingerprint: str = ""
    """What exactly answered; our server's is the checkpoint's name with its step."""


class AnswerReader:
    """Reads the events of one answer, or a whole one; `headers` are those of the response."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers
        self._reason = ""
        self._fingerprint = ""
        self._usage: Mapping[str, Any] = {}
        self._length = 0
        """Characters of text so far."""
        self.begun = False
        """Whether anything came."""
        self.done = False
        """Whether the server said that nothing follows."""

    def event(self, data: str) -> Iterator[Part | Progress]:
        """What one event of a stream tells. Raises `UserError` for an error that the server sends in it."""
        self.begun = True
        if data.strip() == DONE:
            self.done = True
            return
        document = json_object(data)
        if document is None:
            raise UserError(f"the server sent an event that is no JSON: {data[:80]}", exit_code=Exit.FAILED)
        yield from self._document(document, "delta")

    def whole(self, raw: bytes) -> Iterator[Part | Progress]:
        """What an answer tells that came in one piece, from a server that does not stream."""
        self.begun = True
        document = json_object(raw)
        if document is None:
            raise UserError("the server's answer is no JSON", exit_code=Exit.FAILED)
        yield from self._document(document, "message")

    def finish(self) -> Finish | None:
        """How the answer ended; None when it broke off: no finish_reason came."""
        if not self._reason:
            return None
        details = self._usage.get("prompt_tokens_details")
        cached = whole(details.get("cached_tokens"), 0) if isinstance(details, dict) else None
        return Finish(
            self._reason,
            whole(self._usage.get("prompt_tokens"), 0),
            whole(self._usage.get("completion_tokens"), 0),
            cached if cached is not None else whole(_header(self._headers, "x-prefix-cached-tokens"), 0),
            _header(self._headers, "x-queue-time-ms"),
            self._fingerprint,
        )

    def _document(self, document: Mapping[str, Any], body: str) -> Iterator[Part | Progress]:
        error = document.get("error")
        if error:
            message = error.get("message") if isinstance(error, dict) else error
            raise UserError(f"the server failed: {one_line(str(message))}", exit_code=Exit.FAILED)
        if isinstance(document.get("usage"), dict):
            self._usage = document["usage"]
        choices = document.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            self._fingerprint = text(document.get("system_fingerprint")) or self._fingerprint
            return
        message = choice.get(body)
        if not isinstance(message, dict):  # a completion has a text and no message
            message = {"content": choice["text"]} if isinstance(choice.get("text"), str) else {}
        progress = self._progress(document, choice, message)
        if progress != _NOTHING:
            yield progress
        yield from self._parts(message)
        self._reason = text(choice.get("finish_reason"), 40) or self._reason

    def _progress(
        self, document: Mapping[str, Any], choice: Mapping[str, Any], message: Mapping[str, Any]
    ) -> Progress:
        fingerprint = text(document.get("system_fingerprint")) or ""
        is_new = fingerprint not in ("", self._fingerprint)
        self._fingerprint = fingerprint or self._fingerprint
        logprobs = choice.get("logprobs")
        tokens = (*read_chat_tokens(logprobs), *read_legacy_tokens(logprobs)) if logprobs else ()
        # vLLM and llama.cpp say `reasoning_content`, vLLM of late and OpenRouter `reasoning`.
        thoughts = message.get("reasoning_content") or message.get("reasoning")
        is_thinking = isinstance(thoughts, str) and not message.get("content")
        return Progress(
            tokens=() if is_thinking else tokens,
            ids=read_ids(choice.get("token_ids")),
            total=_total(document),
            prompt_ids=read_ids(document.get("prompt_token_ids") or choice.get("prompt_token_ids")),
            fingerprint=fingerprint if is_new else "",
            is_thinking=is_thinking,
        )

    def _parts(self, message: Mapping[str, Any]) -> Iterator[Part]:
        """Its text, cut where calls of the calculator stand in it."""
        content = message.get("content")
        said = valid_text(content) if isinstance(content, str) else ""
        tools = message.get("executed_tools")
        for call in tools if isinstance(tools, list) else []:
            if not isinstance(call, dict) or not isinstance(call.get("arguments"), str):
                continue
            place = whole(call.get("offset"), 0)
            cut = max(0, min(len(said), (place or 0) - self._length))
            yield from self._text(said[:cut])
            said = said[cut:]
            yield Part("python", valid_text(call["arguments"]))
            if isinstance(call.get("output"), str):
                yield Part("python_output", valid_text(call["output"]))
        yield from self._text(said)

    def _text(self, said: str) -> Iterator[Part]:
        self._length += len(said)
        if self._length > MAX_ANSWER:
            raise UserError(f"the answer has more than {MAX_ANSWER:,} characters", exit_code=Exit.FAILED)
        if said:
            yield Part("text", said)


_NOTHING = Progress()


def _total(document: Mapping[str, Any]) -> int | None:
    """Tokens so far as vLLM (`continuous_usage_stats`) and llama.cpp (`timings_per_token`) tell them."""
    usage, timings = document.get("usage"), document.get("timings")
    if isinstance(timings, dict):
        return whole(timings.get("predicted_n"), 0)
    return whole(usage.get("completion_tokens"), 0) if isinstance(usage, dict) else None


def _header(headers: Mapping[str, str], name: str) -> float | None:
    """The number in a header; None when there is none."""
    try:
        return real(float(headers.get(name, "")), 0.0)
    except ValueError:
        return None
