"""Conversations that teach a model who it is, generated from a small template that the user edits."""

import random
import string
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nanochat.common.errors import UserError, nearest
from nanochat.common.fields import parse_toml
from nanochat.common.files import regular_text
from nanochat.tasks.base import Conversation, Task, assistant, user
from nanochat.tasks.registry import Request, TaskData, TaskSpec

DEFAULT_NAME = "identity.toml"
SHIPPED = Path(__file__).with_name("identity.toml")
DEFAULT_SIZE = 1000
_MORE_TURNS = 0.3
"""Probability that another question follows."""


@dataclass(frozen=True)
class Topic:
    """Questions with the same meaning, and answers that fit each of them."""

    questions: tuple[str, ...]
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Identity:
    """The content of a template."""

    about: dict[str, str]
    facts: tuple[str, ...]
    topics: tuple[Topic, ...]


def read_identity(path: Path) -> Identity:
    """Reads a template. Raises `UserError` that names the mistake in it."""
    try:
        data = parse_toml(regular_text(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"cannot read the identity template {path}: {reason}", f"copy {SHIPPED}") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid TOML: {error}") from error
    unknown = sorted(data.keys() - {"about", "facts", "topic"})
    if unknown:
        raise UserError(
            f"{path}: unknown key '{unknown[0]}'", nearest(unknown[0], ("about", "facts", "topic"))
        )
    about = data.get("about")
    if not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
        raise UserError(f'{path}: [about] must give words, such as name = "…"')
    if not isinstance(about.get("name"), str):
        raise UserError(f"{path}: [about] gives no name")
    facts = _texts(data, "facts", str(path)) if "facts" in data else ()
    topics = data.get("topic")
    if not isinstance(topics, list) or not topics:
        raise UserError(f"{path} has no [[topic]]", "a topic has questions and answers")
    identity = Identity(
        about, facts, tuple(_topic(topic, f"{path}, topic {n}") for n, topic in enumerate(topics, 1))
    )
    _check_placeholders(identity, str(path))
    return identity


def _topic(topic: Any, where: str) -> Topic:
    if not isinstance(topic, dict):
        raise UserError(f"{where} is not a table", "write [[topic]] above its questions and answers")
    return Topic(_texts(topic, "questions", where), _texts(topic, "answers", where))


def _texts(table: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    texts = table.get(key)
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise UserError(f"{where}: {key} must be a list of texts, at least one")
    return tuple(texts)


def _check_placeholders(identity: Identity, where: str) -> None:
    known = {*identity.about, *(("fact",) if identity.facts else ())}
    for topic in identity.topics:
        for text in (*topic.questions, *topic.answers):
            try:
                names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
            except ValueError as error:
                raise UserError(f"{where}: {text!r}: {error}", "write a brace in text as {{ or }}") from error
            for name in names:
                if name not in known:
                    raise UserError(f"{where}: {text!r} asks for {{{name}}}", nearest(name, known))


class IdentityConversations(Task):
    """`size` conversations of one to three exchanges on distinct topics, each from its own seed."""

    def __init__(
        self,
        identity: Identity,
        size: int = DEFAULT_SIZE,
        start: int = 0,
        stop: int | None = None,
        step: int = 1,
    ) -> None:
        super().__init__(start, stop, step)
        self._identity, self._size = identity, size

    def num_examples(self) -> int:
        return self._size

    def source(self) -> object:
        return asdict(self._identity)

    def example(self, index: int) -> Conversation:
        source = random.Random(index)
        turns = 1 + (source.random() < _MORE_TURNS) + (source.random() < _MORE_TURNS)
        topics = source.sample(self._identity.topics, min(turns, len(self._identity.topics)))
        messages: list[dict[str, Any]] = []
        for topic in topics:
            question, answer = source.choice(topic.questions), source.choice(topic.answers)
            words = dict(self._identity.about)
            if self._identity.facts:
                words["fact"] = source.choice(self._identity.facts)
            messages += [user(question.format(**words)), assistant(answer.format(**words))]
        return {"messages": messages}


def _build(data: TaskData, request: Request) -> Task:
    path = data.path(data.identity, DEFAULT_NAME)
    if not data.identity and not path.is_file():
        path = SHIPPED
    size = request.size or DEFAULT_SIZE
    return IdentityConversations(read_identity(path), size, request.start, request.stop, request.step)


SPECS = (TaskSpec("Identity", "who the model says it is, from a template you edit", ("train",), _build),)
