"""Answers on a terminal as they come: text the terminal does not act on, tool calls set apart.

Models and servers may say anything. Control characters are shown as their pictures (␛), and of a line without
an end no more than `LONGEST_LINE` characters are painted: the rest is counted, and is in the log.
"""

import re
import textwrap
from collections.abc import Mapping
from typing import TextIO

from nanochat.common.text import amount, clean_text, duration, number, sanitize
from nanochat.serve.answer import Answer
from nanochat.serve.conversation import Part

LONGEST_LINE = 20_000
_OPEN_SEQUENCE = re.compile(r"(?:\x1b\[?[0-9;:]{0,64}|\r)\Z")
"""What may go on in the next piece: the beginning of a colour sequence, or of a line end."""


class SafeText:
    """Makes the pieces of a text harmless, however they were cut."""

    def __init__(self, longest: int = LONGEST_LINE) -> None:
        self._longest = longest
        self._held = ""
        self._column = 0
        """Characters of the present line so far, those that are not painted too."""

    def feed(self, piece: str) -> str:
        """What to paint for the next piece."""
        text = self._held + piece
        open_end = _OPEN_SEQUENCE.search(text)
        self._held = open_end[0] if open_end else ""
        return self._lines(text[: len(text) - len(self._held)])

    def end(self) -> str:
        """What to paint at the end of the text."""
        held, self._held = self._held, ""
        return self._lines(held) + self._cut_mark()

    def _lines(self, text: str) -> str:
        first, *others = text.replace("\r\n", "\n").split("\n")
        painted = self._bounded(first)
        for line in others:
            painted += self._cut_mark() + "\n"
            self._column = 0
            painted += self._bounded(line)
        return painted

    def _bounded(self, text: str) -> str:
        room = max(0, self._longest - self._column)
        self._column += len(text)
        return clean_text(text[:room])

    def _cut_mark(self) -> str:
        over = self._column - self._longest
        return f" … +{over:,} characters" if over > 0 else ""


class AnswerScreen:
    """Writes one answer to a terminal. `styled`: with colours."""

    def __init__(self, out: TextIO, styled: bool) -> None:
        self._out = out
        self._styled = styled
        self._text = SafeText()
        self._at_line_start = True
        self._in_call = False

    def show(self, part: Part) -> None:
        """Paints the next part at once."""
        if part.kind == "text":
            self._leave_call()
            self._write(self._text.feed(part.text))
        elif part.kind == "python":
            self._leave_call()
            self._end_line()
            self._write(self.dim(f"  ⚙ {sanitize(part.text)}"))
            self._in_call = True
        else:
            arrow = " → " if self._in_call else "  → "
            self._write(self.dim(arrow + sanitize(part.text)))
            self._in_call = True
            self._leave_call()
        self._out.flush()

    def end(self) -> None:
        """Ends the answer, and its last line."""
        self._end_line()
        self._in_call = False
        self._out.flush()

    def dim(self, text: str) -> str:
        return f"\x1b[2m{text}\x1b[22m" if self._styled else text

    def _leave_call(self) -> None:
        if self._in_call:
            self._in_call = False
            self._write("\n")

    def _end_line(self) -> None:
        self._write(self._text.end())
        self._text = SafeText()
        if not self._at_line_start:
            self._write("\n")

    def _write(self, text: str) -> None:
        if text:
            self._out.write(text)
            self._at_line_start = text.endswith("\n")


class PlainAnswer:
    """Writes the text of an answer to one stream and its tool calls, a line each, to another.

    Where a terminal reads the text it is made harmless; in a pipe or a file it is exactly what was said.
    """

    def __init__(self, out: TextIO, aside: TextIO) -> None:
        self._out, self._aside = out, aside
        self._safe = SafeText() if out.isatty() else None
        self._last = "\n"

    def show(self, part: Part) -> None:
        """Writes the next part at once."""
        if part.kind == "text":
            self._write(self._safe.feed(part.text) if self._safe else part.text)
        elif part.kind == "python":
            self._tell(f"⚙ {sanitize(part.text)}")
        else:
            self._tell(f"  → {sanitize(part.text)}")

    def end(self) -> None:
        """Ends the last line of the text."""
        self._write(self._safe.end() if self._safe else "")
        if self._last != "\n":
            self._write("\n")

    def _write(self, text: str) -> None:
        if text:
            self._out.write(text)
            self._out.flush()
            self._last = text[-1]

    def _tell(self, line: str) -> None:
        if self._out.isatty() and self._last != "\n":
            self._write("\n")
        print(line, file=self._aside, flush=True)


def wrapped(text: str, width: int) -> str:
    """Each line of `text` in lines of at most `width` cells, broken between words; a table's lines keep
    their columns."""
    lines = []
    for line in text.split("\n"):
        column = re.search(r"(?<=\S)  +(?=\S)", line)
        indent = " " * column.end() if column and line.startswith("/") else ""
        lines += textwrap.wrap(
            line,
            width,
            subsequent_indent=indent if len(indent) < width // 2 else "",
            replace_whitespace=False,
            drop_whitespace=True,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [""]
    return "\n".join(lines)


def summary(answer: Answer, context: int | None = None) -> str:
    """How an answer went, in one line: tokens, speed, the time to its first token, how it ended."""
    finish, parts = answer.finish, []
    ends = {"stopped": "stopped", "cut": "cut off", "length": "at the limit (/max)"}
    if answer.reason == "length" and answer.room is not None:
        parts.append(f"the context had room for {amount(answer.room, 'token')}")
    elif answer.reason in ends:
        parts.append(ends[answer.reason])
    elif answer.reason == "other" and finish is not None:
        parts.append(sanitize(finish.reason, 40))
    if finish is not None and finish.completion_tokens is not None:
        parts.append(amount(finish.completion_tokens, "token"))
    if answer.tokens_per_second is not None:
        parts.append(f"{number(answer.tokens_per_second)} tokens/s")
    if answer.first_seconds is not None:
        parts.append(f"first after {_milliseconds(answer.first_seconds)}")
    if finish is not None and finish.prompt_tokens is not None:
        reused = f", {finish.cached_tokens:,} of them reused" if finish.cached_tokens else ""
        used = finish.prompt_tokens + (finish.completion_tokens or 0)
        of = f" of {context:,}" if context else ""
        parts.append(f"context {used:,}{of}{reused}")
    return " · ".join(parts)


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 10 else duration(seconds)


def is_styled(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether colours are wanted there (no-color.org)."""
    return stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
