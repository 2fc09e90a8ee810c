"""The tokens of an answer as a server tells them: their exact bytes, how likely each was, what else was.

Read from `logprobs` in both of OpenAI's shapes, field by field: what is wrong in it is left out.
"""

import math
import re
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from nanochat.common.fields import real, whole
from nanochat.common.text import valid_text

MAX_GUESSES = 20
"""Alternatives of a token that are kept: no server gives more."""
MAX_SPELLING = 1_000
"""Characters or bytes of one token that are kept."""
_HEX = re.compile(r"bytes:((?:\\x[0-9a-f]{2})+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Guess:
    """A token that may stand at a place, and its log-probability in nats."""

    text: str
    logprob: float

    @property
    def probability(self) -> float:
        return math.exp(min(0.0, self.logprob))


class AnswerToken:
    """A token of an answer's text.

    `text` is what it spells by itself: U+FFFD for bytes that are no UTF-8 without its neighbours'; `raw` is
    exact. `logprob` in nats, None where the server does not say. `top` are the likeliest tokens at its place,
    the likeliest first, itself among them or not. `index` is its place among all tokens of the answer, tool
    calls included, where the server told their ids.
    """

    # A conversation holds tens of thousands: what can be made of the rest is not kept.
    __slots__ = ("_guesses", "_raw", "index", "logprob", "text")

    def __init__(
        self,
        text: str,
        raw: bytes,
        logprob: float | None,
        top: Iterable[Guess] = (),
        index: int | None = None,
    ) -> None:
        self.text, self.logprob, self.index = text, logprob, index
        self._raw = None if raw == text.encode() else raw
        # A plain tuple of texts and numbers is passed over when Python looks for garbage.
        self._guesses: tuple[str | float, ...] = tuple(
            value for guess in top for value in (guess.text, guess.logprob)
        )

    @property
    def raw(self) -> bytes:
        return self.text.encode() if self._raw is None else self._raw

    @property
    def top(self) -> tuple[Guess, ...]:
        flat = self._guesses
        return tuple(Guess(str(flat[at]), float(flat[at + 1])) for at in range(0, len(flat), 2))

    @property
    def probability(self) -> float | None:
        return None if self.logprob is None else math.exp(min(0.0, self.logprob))

    def __repr__(self) -> str:
        return f"AnswerToken({self.text!r}, {self.raw!r}, {self.logprob!r}, {self.top!r}, {self.index!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnswerToken) and repr(self) == repr(other)

    __hash__ = None  # type: ignore[assignment]  # equal ones are made in many places, and none is a key


class TokenList(Sequence[AnswerToken]):
    """A list of tokens that grows at its end. The tokens are made when they are looked at: Python then has
    no object a token to walk over when it looks for garbage."""

    __slots__ = ("_guesses", "_indexes", "_logprobs", "_raws", "_texts")

    def __init__(self, tokens: Iterable[AnswerToken] = ()) -> None:
        self._texts: list[str] = []
        self._raws: list[bytes | None] = []
        self._logprobs = array("d")
        self._guesses: list[tuple[str | float, ...]] = []
        self._indexes = array("q")
        self.extend(tokens)

    def extend(self, tokens: Iterable[AnswerToken]) -> None:
        for token in tokens:
            self._texts.append(token.text)
            self._raws.append(token._raw)
            self._logprobs.append(math.nan if token.logprob is None else token.logprob)
            self._guesses.append(token._guesses)
            self._indexes.append(-1 if token.index is None else token.index)

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, at: int) -> AnswerToken: ...
    @overload
    def __getitem__(self, at: slice) -> list[AnswerToken]: ...
    def __getitem__(self, at: int | slice) -> AnswerToken | list[AnswerToken]:
        if isinstance(at, slice):
            return [self[index] for index in range(*at.indices(len(self)))]
        logprob, index = self._logprobs[at], self._indexes[at]
        token = AnswerToken(
            self._texts[at], b"", None if math.isnan(logprob) else logprob, (), None if index < 0 else index
        )
        token._raw, token._guesses = self._raws[at], self._guesses[at]
        return token

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __repr__(self) -> str:
        return f"TokenList({list(self)!r})"


def read_chat_tokens(logprobs: object) -> Iterator[AnswerToken]:
    """The tokens in `logprobs` of a chat's choice."""
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    for entry in content if isinstance(content, list) else []:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("token"), str):
            continue
        said = _kept(entry["token"])
        top = entry.get("top_logprobs")
        guesses = (read_guess(one) for one in (top if isinstance(top, list) else [])[:MAX_GUESSES])
        yield AnswerToken(
            said,
            _raw(entry.get("bytes"), said),
            real(entry.get("logprob")),
            (guess for guess in guesses if guess is not None),
            whole(entry.get("index"), 0),
        )


def read_legacy_tokens(logprobs: object) -> Iterator[AnswerToken]:
    """The tokens in `logprobs` of a completion's choice: parallel lists."""
    if not isinstance(logprobs, Mapping):
        return
    tokens, chosen, tops = (logprobs.get(n) for n in ("tokens", "token_logprobs", "top_logprobs"))
    for at, spelled in enumerate(tokens if isinstance(tokens, list) else []):
        if not isinstance(spelled, str):
            continue
        raw = spelled_bytes(spelled)
        top = _item(tops, at)
        guesses = [
            Guess(_kept(_text_of(spelled_bytes(name))), logprob)
            for name, value in list(top.items() if isinstance(top, Mapping) else ())[:MAX_GUESSES]
            if isinstance(name, str) and (logprob := real(value)) is not None
        ]
        guesses.sort(key=lambda guess: -guess.logprob)
        yield AnswerToken(_kept(_text_of(raw)), raw[:MAX_SPELLING], real(_item(chosen, at)), guesses)


def read_guess(entry: object) -> Guess | None:
    """A `{"token": …, "logprob": …}`; None where it is none."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("token"), str):
        return None
    logprob = real(entry.get("logprob"))
    return None if logprob is None else Guess(_kept(entry["token"]), logprob)


def read_ids(value: object) -> tuple[int, ...]:
    """A list of token ids; empty where it is none."""
    if not isinstance(value, list):
        return ()
    ids = [whole(item, 0, (1 << 31) - 1) for item in value]
    return () if None in ids else tuple(token for token in ids if token is not None)


def spelled_bytes(spelled: str) -> bytes:
    r"""The bytes of a token as the legacy lists spell it: its text, or `bytes:\xe2\x80`."""
    hexed = _HEX.fullmatch(spelled)
    if hexed is not None:
        return bytes.fromhex(hexed[1].replace("\\x", ""))
    return valid_text(spelled).encode()


def _raw(value: object, said: str) -> bytes:
    """The `bytes` of an entry, else those of its text."""
    if isinstance(value, list) and all(type(byte) is int and 0 <= byte < 256 for byte in value):
        return bytes(value[:MAX_SPELLING])
    return said.encode()


def _text_of(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _kept(said: str) -> str:
    # The same few thousand words come again and again: each is in memory once.
    return sys.intern(valid_text(said)[:MAX_SPELLING])


def _item(values: Any, at: int) -> object:
    return values[at] if isinstance(values, list) and at < len(values) else None
