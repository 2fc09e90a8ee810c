"""From the tokens of one sample to what a client sees: text, tool calls apart, and why it ended.

Text leaves in whole characters. Bytes that are no UTF-8 become U+FFFD, as in any decoder; only a character
that was still unfinished where its text ends is left out. Text that may turn out to begin a stop string is
held back until that is known. Special tokens are never text, nor is anything between those of a tool call.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from nanochat.infer.growing_text import GrowingText
from nanochat.infer.scheduler import FinishReason, NewToken
from nanochat.infer.token_table import TokenTable


@dataclass(frozen=True)
class ToolCall:
    """A call of the calculator that the model made, and what the server answered."""

    index: int
    expression: str
    output: str | None
    """None where the expression has no result, or the sample ended before it."""
    offset: int
    """Characters of text before the call."""

    @property
    def document(self) -> dict[str, object]:
        """As clients get it, in the form that Groq gives to tools that the server has run."""
        return {
            "index": self.index,
            "type": "calculator",
            "arguments": self.expression,
            "output": self.output,
            "offset": self.offset,
        }


@dataclass(frozen=True)
class TextToken:
    """A token of the text, with the characters before its first one, and the tokens of the sample before
    it, those of tools included."""

    new: NewToken
    offset: int
    index: int = 0


@dataclass
class Delta:
    """What has become known since the last one."""

    text: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    tokens: list[TextToken] = field(default_factory=list)
    """Those of `text`, where they are kept."""
    ids: list[int] = field(default_factory=list)
    """All that came, those of tools and the one that ended the sample included."""
    finish_reason: FinishReason | None = None

    def extend(self, later: "Delta") -> None:
        """Adds what has become known since."""
        self.text += later.text
        self.calls += later.calls
        self.tokens += later.tokens
        self.ids += later.ids
        self.finish_reason = later.finish_reason or self.finish_reason

    @property
    def is_text(self) -> bool:
        """Whether it tells text and nothing else but ids."""
        return bool(self.text) and not (self.calls or self.tokens or self.finish_reason is not None)

    def __bool__(self) -> bool:
        return bool(self.text or self.calls or self.tokens or self.finish_reason is not None)


class _In(Enum):
    """Where in an answer the next token stands."""

    TEXT = auto()
    EXPRESSION = auto()
    CALLED = auto()
    """Right after an expression: its output, if it has one, comes next."""
    OUTPUT = auto()


class TextStream:
    """One sample's tokens in, deltas out.

    `stops`: texts that end the sample and are left out with all that follows. `tools`: whether tool calls are
    set apart; a model that knows none has only text. `keep_tokens`: whether deltas hold the tokens, for
    their log-probabilities; with `keep_end` the special token that ended the sample is one of them.
    """

    def __init__(
        self,
        table: TokenTable,
        stops: Sequence[str] = (),
        *,
        tools: bool = True,
        keep_tokens: bool = False,
        keep_end: bool = False,
    ) -> None:
        self._table, self._stops = table, StopStrings(stops) if stops else None
        self._tools, self._keep_tokens, self._keep_end = tools, keep_tokens, keep_end
        names = ("python_start", "python_end", "output_start", "output_end")
        self._python_start, self._python_end, self._output_start, self._output_end = map(table.special, names)
        self._text = GrowingText()
        self._place = _In.TEXT
        self._expression, self._output = bytearray(), bytearray()
        self._call_count = 0
        self._held = ""
        self._released = 0
        self._tokens: list[TextToken] = []
        """Kept tokens whose text has not left."""
        self._delta = Delta()
        self.count = 0
        """Tokens of the sample so far, those of tools and the last one included."""
        self.ended = False

    def add_all(self, news: Sequence[NewToken]) -> None:
        """Takes the sample's next tokens as `add` does; mere text is decoded at once, which costs a tenth."""
        ids = [new.token for new in news]
        raws = [self._table.bytes_of[token] for token in ids]
        whole = [raw for raw in raws if raw is not None]
        watched = self._keep_tokens or self._stops is not None
        if self.ended or watched or self._place is not _In.TEXT or len(whole) < len(raws):
            for new in news:
                self.add(new)
            return
        self.count += len(ids)
        self._delta.ids += ids
        self._let(self._text.add_all(b"".join(whole)))
        reason = news[-1].finish_reason
        if reason is not None:
            self.end(reason)

    def add(self, new: NewToken) -> None:
        """Takes the sample's next token; those after a stop string are ignored."""
        if self.ended:
            return
        self.count += 1
        self._delta.ids.append(new.token)
        raw = self._table.bytes_of[new.token]
        if raw is None:
            self._special(new)
        elif self._place is _In.EXPRESSION:
            self._expression += raw
        elif self._place is _In.OUTPUT:
            self._output += raw
        else:
            self._end_call()
            self._add_text(new, raw)
        if new.finish_reason is not None and not self.ended:
            self.end(new.finish_reason)
            if self._keep_tokens and self._keep_end and raw is None:
                self._tokens.append(TextToken(new, self._released, self.count - 1))

    def end(self, reason: FinishReason) -> None:
        """No token follows."""
        self._end_text()
        self.ended = True
        self._end_call()
        self._delta.finish_reason = reason

    def take(self) -> Delta:
        """What has become known since the last call."""
        delta, self._delta = self._delta, Delta()
        if self._tokens:
            # A token is told with its first character, not before: a stop string may still cut it off.
            leave = [token for token in self._tokens if self.ended or token.offset < self._released]
            self._tokens = self._tokens[len(leave) :]
            delta.tokens = leave
        return delta

    def _add_text(self, new: NewToken, raw: bytes) -> None:
        offset, piece = self._text.add(raw)
        if self._keep_tokens:
            self._tokens.append(TextToken(new, offset, self.count - 1))
        if piece:
            self._release(self._held + piece)

    def _release(self, text: str) -> None:
        """Lets out `text`, the rest that was held back and what is new, as far as stop strings allow."""
        keep = len(text)
        if self._stops is not None:
            cut = self._stops.find(text)
            if cut is not None:
                self._let(text[:cut])
                self._tokens = [token for token in self._tokens if token.offset < self._released]
                self._held = ""
                self.ended = True
                self._delta.finish_reason = FinishReason.STOP
                return
            keep -= self._stops.overlap(text)
        self._let(text[:keep])
        self._held = text[keep:]

    def _let(self, text: str) -> None:
        self._delta.text += text
        self._released += len(text)

    def _end_text(self) -> None:
        """The text so far is whole: nothing that follows completes a character or a stop string."""
        self._text.drop_unfinished()
        if self._held:
            self._let(self._held)
            self._held = ""

    def _special(self, new: NewToken) -> None:
        token = new.token
        self._end_text()
        if not self._tools:
            return
        if token == self._python_start:
            self._end_call()
            self._expression.clear()
            self._place = _In.EXPRESSION
        elif token == self._python_end and self._place is _In.EXPRESSION:
            self._place = _In.CALLED
        elif token == self._output_start and self._place in (_In.TEXT, _In.CALLED):
            self._place = _In.OUTPUT
        elif token == self._output_end and self._place is _In.OUTPUT:
            self._end_call()

    def _end_call(self) -> None:
        """Tells the call that is under way, if any."""
        if self._place in (_In.CALLED, _In.OUTPUT) or (self._place is _In.EXPRESSION and self.ended):
            output = self._output.decode("utf-8", "replace") if self._place is _In.OUTPUT else None
            expression = self._expression.decode("utf-8", "replace")
            self._delta.calls.append(ToolCall(self._call_count, expression, output, self._released))
            self._call_count += 1
        self._expression.clear()
        self._output.clear()
        self._place = _In.TEXT


class StopStrings:
    """Texts to look for as a text grows."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._longest = max(map(len, stops))

    def find(self, text: str) -> int | None:
        """Where the stop string begins that is complete first, the longest of those that end there."""
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        return min(found)[1] if found else None

    def overlap(self, text: str) -> int:
        """Characters at the end of `text` that may begin a stop string."""
        tail = text[1 - self._longest :] if self._longest > 1 else ""
        for start in range(len(tail)):
            rest = tail[start:]
            if any(len(rest) < len(stop) and stop.startswith(rest) for stop in self._stops):
                return len(rest)
        return 0
