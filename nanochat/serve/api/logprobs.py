"""Log-probabilities in the shapes of OpenAI's two endpoints.

They are the model's own, before temperature, bias and filters. Bytes are exact also where a token is no UTF-8
by itself; `token` then shows U+FFFD (chat) or `bytes:\\xe2\\x80` (legacy), as at OpenAI.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nanochat.infer.growing_text import GrowingText
from nanochat.infer.logprobs import TokenLogprobs
from nanochat.infer.text_stream import TextToken
from nanochat.infer.token_table import TokenTable


def chat_logprobs(
    table: TokenTable, tokens: Iterable[TextToken], *, with_index: bool = False
) -> dict[str, Any]:
    """`logprobs` of a chat choice: the tokens of its text with their alternatives; `with_index` adds each
    one's place among the choice's `token_ids`."""
    content = [
        _chat_entry(table, token.new.logprobs) | ({"index": token.index} if with_index else {})
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _chat_entry(table: TokenTable, logprobs: TokenLogprobs | None) -> dict[str, Any]:
    assert logprobs is not None  # the request asked for them
    top = [_chat_token(table, token, logprob) for token, logprob in logprobs.top]
    return {**_chat_token(table, logprobs.token, logprobs.logprob), "top_logprobs": top}


def _chat_token(table: TokenTable, token: int, logprob: float) -> dict[str, Any]:
    raw = table.bytes_of[token]
    return {"token": table.text(token), "logprob": logprob, "bytes": None if raw is None else list(raw)}


@dataclass
class LegacyLogprobs:
    """`logprobs` of a completion's choice: parallel lists, one entry a token."""

    table: TokenTable
    tokens: list[str] = field(default_factory=list)
    token_logprobs: list[float | None] = field(default_factory=list)
    top_logprobs: list[dict[str, float] | None] = field(default_factory=list)
    text_offset: list[int] = field(default_factory=list)

    def add(self, token: int, logprobs: TokenLogprobs | None, offset: int) -> None:
        """Adds a token that begins `offset` characters into the choice's text; a text's first has no
        log-probability."""
        self.tokens.append(self.table.spelling(token))
        self.text_offset.append(offset)
        if logprobs is None:
            self.token_logprobs.append(None)
            self.top_logprobs.append(None)
            return
        self.token_logprobs.append(logprobs.logprob)
        top: dict[str, float] = {}
        for rival, logprob in (*logprobs.top, (logprobs.token, logprobs.logprob)):
            top.setdefault(self.table.spelling(rival), logprob)
        self.top_logprobs.append(top)

    def add_prompt(self, prompt: Sequence[int], found: Sequence[TokenLogprobs | None]) -> None:
        """Adds the tokens of an echoed prompt."""
        offsets = text_offsets(self.table, prompt)
        for token, logprobs, offset in zip(prompt, found, offsets, strict=True):
            self.add(token, logprobs, offset)

    @property
    def document(self) -> dict[str, Any]:
        """As clients get it."""
        return {
            "tokens": self.tokens,
            "token_logprobs": self.token_logprobs,
            "top_logprobs": self.top_logprobs,
            "text_offset": self.text_offset,
        }


def prompt_text(table: TokenTable, prompt: Sequence[int]) -> str:
    """The text of a prompt's tokens; special tokens are none."""
    raws = (table.bytes_of[token] for token in prompt)
    return b"".join(raw for raw in raws if raw is not None).decode("utf-8", "replace")


def text_offsets(table: TokenTable, prompt: Sequence[int]) -> list[int]:
    """For each token the characters of `prompt_text` before its first one."""
    text = GrowingText()
    offsets = []
    for token in prompt:
        raw = table.bytes_of[token]
        offsets.append(text.length if raw is None else text.add(raw)[0])
    return offsets
