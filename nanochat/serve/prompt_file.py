"""A file of prompts: text, one prompt a line or blocks between lines `---`, or JSON lines.

{"prompt": "What is 6*7?"}
{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}, {"role": "user",
"content": "What is your name?"}]}
"""

from dataclasses import dataclass
from pathlib import Path

from nanochat.common.errors import UserError
from nanochat.common.fields import json_object
from nanochat.common.text import valid_text
from nanochat.serve.conversation import PART_KINDS, Conversation, Part, Turn

MAX_BYTES = 64 << 20
MAX_PROMPTS = 100_000
SEPARATOR = "---"


@dataclass(frozen=True)
class Prompt:
    """A question, and the conversation that stands before it."""

    question: str
    before: Conversation


def load_prompts(path: Path) -> list[Prompt]:
    """The prompts of a file; `.jsonl` and `.json` hold a JSON object a line, any other text.

    Blocks. Raises `UserError` for what is no prompt, with its line, and for a file without any.
    """
    text = _read(path)
    is_json = path.suffix in (".jsonl", ".json")
    prompts = _json_prompts(text, path) if is_json else [_plain(block) for block in _blocks(text)]
    if not prompts:
        raise UserError(f"{path} holds no prompt", f"one a line, or blocks between lines {SEPARATOR}")
    if len(prompts) > MAX_PROMPTS:
        raise UserError(f"{path} holds {len(prompts):,} prompts, at most {MAX_PROMPTS:,}")
    return prompts


def _read(path: Path) -> str:
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise UserError(f"cannot read {path}: it is no file")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise UserError(f"{path} is larger than {MAX_BYTES >> 20} MiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: byte {error.start:,}") from None


def _plain(question: str) -> Prompt:
    return Prompt(question, Conversation.new())


def _blocks(text: str) -> list[str]:
    """Lines, or where some are `---`, what stands between those; empty ones left out."""
    # Not `splitlines`: a prompt may hold U+2028.
    lines = text.replace("\r\n", "\n").split("\n")
    if not any(line.strip() == SEPARATOR for line in lines):
        return [line.strip() for line in lines if line.strip()]
    blocks: list[list[str]] = [[]]
    for line in lines:
        if line.strip() == SEPARATOR:
            blocks.append([])
        else:
            blocks[-1].append(line)
    return [block for lines in blocks if (block := "\n".join(lines).strip())]


def _json_prompts(text: str, path: Path) -> list[Prompt]:
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        document = json_object(line)
        if document is None:
            raise UserError(f"{path}, line {number}: not a JSON object", 'such as {"prompt": "…"}')
        try:
            found.append(_from_object(document))
        except UserError as error:
            raise UserError(f"{path}, line {number}: {error.message}", error.hint) from None
    return found


def _from_object(document: dict[str, object]) -> Prompt:
    prompt, messages = document.get("prompt"), document.get("messages")
    if isinstance(prompt, str) and prompt.strip():
        return _plain(valid_text(prompt))
    if not isinstance(messages, list) or not messages:
        raise UserError("it has neither a prompt nor messages", 'such as {"prompt": "…"}')
    system, at = "", 0
    first = messages[0]
    if isinstance(first, dict) and first.get("role") == "system":
        system, at = _text(first, 0), 1
    turns = []
    # A conversation that ends with an answer asks its last question again.
    if len(messages) > at and (len(messages) - at) % 2 == 0:
        messages = messages[:-1]
    for place in range(at, len(messages) - 1, 2):
        question, answer = _of_role(messages, place, "user"), _of_role(messages, place + 1, "assistant")
        turns.append(Turn(_text(question, place), _parts(answer, place + 1)))
    last = len(messages) - 1
    asked = _text(_of_role(messages, last, "user"), last)
    return Prompt(asked, Conversation(Conversation.new().started, system, tuple(turns)))


def _of_role(messages: list[object], place: int, role: str) -> dict[str, object]:
    message = messages[place]
    if not isinstance(message, dict) or message.get("role") != role:
        raise UserError(f"messages[{place}] is not the {role}'s", "user and assistant in turn, user last")
    return message


def _text(message: dict[str, object], place: int) -> str:
    text = "".join(part.text for part in _parts(message, place) if part.kind == "text")
    if not text.strip():
        raise UserError(f"messages[{place}] is empty")
    return text


def _parts(message: dict[str, object], place: int) -> tuple[Part, ...]:
    content = message.get("content")
    if isinstance(content, str):
        return (Part("text", valid_text(content)),)
    parts = []
    for entry in content if isinstance(content, list) else [None]:
        kind = entry.get("type") if isinstance(entry, dict) else None
        said = entry.get("text") if isinstance(entry, dict) else None
        known = next((one for one in PART_KINDS if one == kind), None)
        if known is None or not isinstance(said, str):
            raise UserError(
                f"messages[{place}].content is no text", "a text, or parts of " + ", ".join(PART_KINDS)
            )
        parts.append(Part(known, valid_text(said)))
    return tuple(parts)
