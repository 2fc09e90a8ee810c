"""A user's own conversations: JSON lines or one JSON array, maybe compressed, in any common form.

A line is `[{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}, …]`, or one of the forms
of `own_formats`. A line that cannot be read is left out, and counted by reason with the first of each.
"""

import io
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from nanochat.common.errors import UserError
from nanochat.common.files import open_regular
from nanochat.data.json_records import MAX_LINE, array_values, as_utf8, parse
from nanochat.data.sources import Skips
from nanochat.data.unpacked import BUFFER, Damaged, compression, unpacked
from nanochat.tasks.base import Conversation, Task
from nanochat.tasks.own_formats import Messages, Unreadable, conversation
from nanochat.tasks.registry import Request, TaskData, TaskSpec

DEFAULT_NAME = "identity_conversations.jsonl"
ALERT_SHARE = 0.01
"""More than this fraction left out is an alert."""
_FORM = "one JSON list of messages a line"


class CustomJson(Task):
    """The conversations of a file, in its order; `skips` counts those left out.

    Raises `UserError` that names the file where there is none, with the first bad line.
    """

    def __init__(self, path: Path, start: int = 0, stop: int | None = None, step: int = 1) -> None:
        super().__init__(start, stop, step)
        self.skips = Skips()
        self._conversations = read_conversations(path, self.skips)

    def num_examples(self) -> int:
        return len(self._conversations)

    def source(self) -> object:
        return self._conversations

    def example(self, index: int) -> Conversation:
        return {"messages": self._conversations[index]}


def read_conversations(path: Path, skips: Skips) -> list[Messages]:
    """Every conversation of the file that can be read; the others are counted in `skips`, by reason.

    Raises `UserError` that names the file, and the first bad line where none can be read.
    """
    found: list[Messages] = []
    first_bad = ""
    try:
        for where, value in json_values(path):
            try:
                if isinstance(value, Unreadable):
                    raise value
                found.append(conversation(value))
            except Unreadable as error:
                first_bad = first_bad or f"{where}: {error.detail}"
                skips.add(error.reason, f"{where}: {error.detail}")
    except OSError as error:
        raise UserError(
            f"cannot read the conversations in {path}: {error.strerror}",
            f"{_FORM}; name the file with --conversations",
        ) from error
    except Damaged as error:
        raise UserError(f"{path}: damaged {error.kind}, after {len(found):,} conversations") from error
    if not found:
        complaint = f"{path}, {first_bad}" if first_bad else f"{path} holds no conversation"
        raise UserError(complaint, f"a line is {_EXAMPLE}" if first_bad else _FORM)
    return found


_EXAMPLE = '[{"role": "user", "content": …}, …]'


def json_values(path: Path) -> Iterator[tuple[str, object]]:
    """Each line's JSON value, or the array's, with where it is; an `Unreadable` for what is not JSON.

    Raises `OSError` and `Damaged` while it reads.
    """
    raw: io.BufferedReader = io.BufferedReader(open_regular(path).detach(), BUFFER)
    with closing(raw), closing(as_utf8(unpacked(raw, compression(path, raw)))) as stream:
        first = stream.peek(BUFFER).removeprefix(b"\xef\xbb\xbf").lstrip()
        if first.startswith(b"[") and not _is_conversation(first):
            for number, value in enumerate(array_values(stream), 1):
                broken = value is None
                yield f"record {number}", Unreadable("no valid JSON") if broken else value
            return
        number = 0
        while line := stream.readline(MAX_LINE):
            number += 1
            if len(line) == MAX_LINE and not line.endswith(b"\n"):
                while line and not line.endswith(b"\n"):
                    line = stream.readline(MAX_LINE)
                yield f"line {number}", Unreadable(f"a line over {MAX_LINE >> 20} MiB")
            elif line.strip():
                yield f"line {number}", _value(line.removeprefix(b"\xef\xbb\xbf"))


def _value(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return Unreadable("no valid JSON", f"no valid JSON: {error}")


def _is_conversation(head: bytes) -> bool:
    """Whether a file that begins with this `[` is lines, each a list of messages: not one array of all.

    A first line that is longer than `head` is one: arrays of everything on one line begin with an object that
    has a list of messages, or with a list.
    """
    line, end, _ = head.partition(b"\n")
    value = parse(line)
    if isinstance(value, list):
        return not value or (isinstance(value[0], dict) and bool({"role", "from"} & value[0].keys()))
    start = head[1:].lstrip()
    if end or not start.startswith(b"{"):
        return not start.startswith((b"{", b"[")) and bool(start)
    key = start[1:].lstrip()
    return key.startswith((b'"role"', b'"from"', b'"content"', b'"value"'))


def report_skipped(data: TaskData, path: Path, skips: Skips, found: int) -> None:
    """Says once what was left out of `path`; an alert when it is more than 1 %."""
    for line in skips.lines():
        data.note(f"{path}: {line}")
    of = found + skips.total
    if skips.total > ALERT_SHARE * of:
        count = f"{skips.total:,} of {of:,} conversations ({100 * skips.total / of:.1f} %)"
        data.alert("conversations_skipped", f"{path}: {count} cannot be read and are left out")


def _build(data: TaskData, request: Request) -> Task:
    path = data.path(data.conversations, DEFAULT_NAME)
    task = CustomJson(path, request.start, request.stop, request.step)
    report_skipped(data, path, task.skips, task.num_examples())
    return task


SPECS = (TaskSpec("CustomJSON", "your own conversations from a file of JSON", ("train",), _build),)
