"""Conversations as files: Markdown for people, in a fixed form, and JSON, which loads back exactly.

    # Chat Dialogue Log

    ## 对话时间
    2025-10-16 18:40:38

    ---

    ## 对话内容

    ### 问题 1
    用户：…
    助手：…

    ---

The Markdown has the questions and the answers' text, no tool calls; control characters, which a terminal or
an editor would act on, are shown as pictures (␛). Where a JSON file of the same name lies beside it and says
the same, that one is loaded. Else turns are found by their headings at the beginning of a line, outside code
fences, numbered from 1.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from nanochat.common.errors import UserError, one_line
from nanochat.common.fields import parse_json, real, safe_json, whole
from nanochat.common.paths import atomic_write_all, make_dir
from nanochat.common.text import show_controls, valid_text
from nanochat.serve.conversation import (
    FINISH_REASONS,
    PART_KINDS,
    AnswerSettings,
    Conversation,
    Part,
    Turn,
)

FOLDER = "cc_dialogue"
FORMAT = "nanochat-conversation"
MAX_FILE_BYTES = 256 << 20
"""The largest log that is read."""
PRIVATE = 0o600

_HEADER = "# Chat Dialogue Log\n\n## 对话时间\n{time}\n\n---\n\n## 对话内容\n"
_TURN = "\n### 问题 {number}\n用户：{question}\n助手：{answer}\n\n---\n"
_HEADER_PATTERN = re.compile(
    r"# Chat Dialogue Log\n\n## 对话时间\n([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8})\n\n---\n\n## 对话内容\n"
)
_ENDS = (".md", ".json")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


# -- Markdown --------------------------------------------------------------------------------------


def to_markdown(conversation: Conversation) -> str:
    """The log in Markdown, with a newline at the end."""
    turns = [
        _TURN.format(
            number=number, question=show_controls(turn.question), answer=show_controls(turn.answer_text)
        )
        for number, turn in enumerate(conversation.turns, 1)
    ]
    return _HEADER.format(time=conversation.started.isoformat(" ", "seconds")) + "".join(turns)


def from_markdown(text: str) -> Conversation:
    """The conversation in a Markdown log. Raises `UserError` when it has not that form."""
    if text.count("\r\n") == text.count("\n"):
        text = text.replace("\r\n", "\n")  # an editor of another system saved it
    header = _HEADER_PATTERN.match(text.removeprefix("\ufeff"))
    if header is None:
        raise UserError("it does not begin as a chat log does", "the first line is # Chat Dialogue Log")
    started = _parse_time(header[1])
    body = header.string[header.end() :]
    if not body.strip():
        return Conversation(started)
    lines = body.split("\n")
    # A fence that an answer left open would hide what follows: then headings count wherever they stand.
    turns = _find_turns(lines, _outside_fences(lines)) or _find_turns(lines, [True] * len(lines))
    if not turns:
        raise UserError(
            "its turns cannot be told apart", "each is ### 问题 N, 用户：…, 助手：…, a blank line, ---"
        )
    return Conversation(started, turns=tuple(turns))


def _outside_fences(lines: list[str]) -> list[bool]:
    """For each line whether it stands outside code fences. A fence may begin after 用户： and 助手：."""
    outside, fence = [], ""
    for line in lines:
        outside.append(not fence)
        match = _FENCE.fullmatch(re.sub(r"^(用户|助手)：", "", line) if not fence else line)
        if match is None:
            continue
        if not fence:
            # An info string with backticks is inline code, no fence (CommonMark 4.5).
            fence = match[1] if match[1][0] == "~" or "`" not in match[2] else ""
        elif match[1].startswith(fence) and not match[2].strip():
            fence = ""
    return outside


def _find_turns(lines: list[str], outside: list[bool]) -> list[Turn]:
    """The turns whose marks stand where `outside` is true; none unless they fill all the lines."""
    starts = list(_headings(lines, outside))
    if not starts or any(line.strip() for line in lines[: starts[0]]):
        return []
    turns = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        while end > start and not lines[end - 1].strip():
            end -= 1
        if lines[end - 1] != "---" or not outside[end - 1] or lines[end - 2]:
            return []
        first, last = start + 1, end - 2
        answers = (i for i in range(first + 1, last) if outside[i] and lines[i].startswith("助手："))
        answer = next(answers, None)
        if answer is None:
            return []
        question_text = "\n".join(lines[first:answer]).removeprefix("用户：")
        answer_text = "\n".join(lines[answer:last]).removeprefix("助手：")
        turns.append(Turn(question_text, (Part("text", answer_text),) if answer_text else ()))
    return turns


def _headings(lines: list[str], outside: list[bool]) -> Iterator[int]:
    """The lines that begin turn 1, 2, 3 …"""
    number = 1
    for at, line in enumerate(lines[:-1]):
        if not outside[at] or line != f"### 问题 {number}" or not lines[at + 1].startswith("用户："):
            continue
        if number == 1 or lines[at - 2 : at] == ["---", ""]:
            yield at
            number += 1


# -- JSON ------------------------------------------------------------------------------------------


def to_json(conversation: Conversation) -> str:
    """The log in JSON. Characters that would act on a terminal are escaped, all others are as they are."""
    document = {
        "format": FORMAT,
        "version": 1,
        "started": conversation.started.isoformat(" ", "seconds"),
        "system": conversation.system,
        "turns": [
            {
                "question": turn.question,
                "answer": [{"type": part.kind, "text": part.text} for part in turn.answer],
                "finish_reason": turn.finish_reason,
                "model": turn.model,
                "settings": vars(turn.settings),
            }
            for turn in conversation.turns
        ],
    }
    return safe_json(document, indent=1) + "\n"


def from_json(raw: bytes | str) -> Conversation:
    """The conversation in a JSON log. Raises `UserError` that names the field that is wrong."""
    try:
        document = parse_json(raw)
    except ValueError as error:
        raise UserError(f"it is no JSON: {one_line(str(error))}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UserError("it is no conversation", f'its "format" is not "{FORMAT}"')
    if document.get("version") != 1:
        raise UserError(f"its version is {document.get('version')!r}", "this nanochat reads version 1")
    turns = document.get("turns")
    if not isinstance(turns, list):
        raise UserError('"turns" is not a list')
    return Conversation(
        _parse_time(_text(document, "started")),
        _text(document, "system"),
        tuple(_read_turn(turn, f"turns[{index}]") for index, turn in enumerate(turns)),
    )


def _read_turn(value: object, where: str) -> Turn:
    if not isinstance(value, dict):
        raise UserError(f"{where} is not an object")
    answer = value.get("answer")
    if not isinstance(answer, list):
        raise UserError(f"{where}.answer is not a list")
    reason = _text(value, "finish_reason", where)
    if reason not in FINISH_REASONS:
        raise UserError(f"{where}.finish_reason is {reason!r}", "one of " + ", ".join(FINISH_REASONS))
    return Turn(
        _text(value, "question", where),
        tuple(_read_part(part, f"{where}.answer[{index}]") for index, part in enumerate(answer)),
        reason,
        _text(value, "model", where),
        _read_settings(value.get("settings"), f"{where}.settings"),
    )


def _read_part(value: object, where: str) -> Part:
    if not isinstance(value, dict):
        raise UserError(f"{where} is not an object")
    kind = value.get("type")
    for known in PART_KINDS:
        if kind == known:
            return Part(known, _text(value, "text", where))
    raise UserError(f"{where}.type is {kind!r}", "one of " + ", ".join(PART_KINDS))


def _read_settings(value: object, where: str) -> AnswerSettings:
    if not isinstance(value, dict):
        raise UserError(f"{where} is not an object")
    reals = {name: real(value.get(name), 0.0) for name in ("temperature", "top_p", "min_p")}
    wholes = {name: whole(value.get(name), 0) for name in ("top_k", "max_tokens")}
    seed = value.get("seed")
    if seed is not None:
        wholes["seed"] = whole(seed)
    for name, number in (reals | wholes).items():
        if number is None:
            raise UserError(f"{where}.{name} is not a number from 0 up")
    return AnswerSettings(**reals, **wholes)  # type: ignore[arg-type]  # None was refused above


def _text(record: dict[str, Any], name: str, where: str = "") -> str:
    value = record.get(name)
    if not isinstance(value, str):
        raise UserError(f"{where + '.' if where else ''}{name} is not a text")
    return valid_text(value)


def _parse_time(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S")
    except ValueError:
        raise UserError(f"'{text[:40]}' is no time", "write it as 2025-10-16 18:40:38") from None


# -- files -----------------------------------------------------------------------------------------


def default_path(folder: Path, conversation: Conversation) -> Path:
    """`folder`/cc_YYYYMMDD_HHMMSS.md by the conversation's start, or the next second that is free."""
    moment = conversation.started
    while any((path := folder / f"cc_{moment:%Y%m%d_%H%M%S}.md").with_suffix(end).exists() for end in _ENDS):
        moment += timedelta(seconds=1)
    return path


def log_files(path: Path) -> list[Path]:
    """The files that saving to `path` writes: `NAME.md` with `NAME.json` beside it, or `NAME.json` alone.

    A name without an end is one of Markdown. Raises `UserError` for another end.
    """
    if path.suffix == ".json":
        return [path]
    if path.suffix == ".md":
        return [path, path.with_suffix(".json")]
    if not path.suffix:
        return log_files(path.with_name(f"{path.name}.md"))
    raise UserError(f"{path}: a log ends in .md or .json, not {path.suffix}")


def save(conversation: Conversation, path: Path) -> list[Path]:
    """Writes the log; returns its files. All are written or, when the disk is full, none: `UserError`."""
    make_dir(path.parent)
    write = {".md": to_markdown, ".json": to_json}
    files = {file: write[file.suffix](conversation) for file in log_files(path)}
    atomic_write_all(files, PRIVATE)
    return list(files)


def load(path: Path) -> tuple[Conversation, str]:
    """The conversation in a log, and what a person should know of how it was read ("" mostly).

    A name without an end is one of Markdown. Raises `UserError` when the file is missing or no log.
    """
    path = log_files(path)[0]
    text, note = _read(path), ""
    if path.suffix != ".json":
        exact, note = _json_beside(path, text)
        if exact is not None:
            return exact, ""
    try:
        return (from_json(text) if path.suffix == ".json" else from_markdown(text)), note
    except UserError as error:
        raise UserError(f"cannot load {path}: {error.message}", error.hint) from None


def _json_beside(path: Path, markdown: str) -> tuple[Conversation | None, str]:
    """The conversation in the JSON file beside a Markdown log, if it says the same; else why not."""
    beside = path.with_suffix(".json")
    if not beside.exists():
        return None, "read from Markdown: tool calls, settings and the system message are not in it"
    try:
        found = from_json(_read(beside))
    except UserError as error:
        return None, f"read from Markdown, as {beside.name} beside it is no log: {error.message}"
    if to_markdown(found) != markdown:
        return None, f"read from Markdown, as {beside.name} beside it says something else"
    return found, ""


def _read(path: Path) -> str:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise UserError(f"cannot read {path}: it is no file")  # a pipe or a device may never end
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        if len(raw) > MAX_FILE_BYTES:
            raise UserError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB")
        return raw.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: byte {error.start:,}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
