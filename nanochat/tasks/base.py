"""A task: a sequence of conversations, and for most the evaluation of a model's completions."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

from nanochat.common.errors import UserError
from nanochat.tasks.hub import Hub, HubSet

EvalType = Literal["categorical", "generative"]


class Conversation(TypedDict):
    """One item of a task. The messages end with the assistant's correct answer; the rest is for scoring."""

    messages: list[dict[str, Any]]
    letters: NotRequired[Sequence[str]]
    """Multiple choice: the letters to choose from."""
    choices: NotRequired[Sequence[str]]
    """What the letters stand for, as it is also said in the question."""
    subject: NotRequired[str]
    entry_point: NotRequired[str]
    """HumanEval: the function that `test` calls."""
    test: NotRequired[str]


class Task(ABC):
    """`task[i]` is the i-th conversation of the slice `start:stop:step` of all examples.

    A `stop` beyond the end is the end. Raises `UserError` for an invalid slice.
    """

    eval_type: EvalType | None = None
    """How a model is evaluated on it: by the letters' logits, or by what it generates. None: training
    only."""

    def __init__(self, start: int = 0, stop: int | None = None, step: int = 1) -> None:
        if start < 0 or step < 1 or (stop is not None and stop < start):
            shown = f"{start}:{'' if stop is None else stop}:{step}"
            raise UserError(
                f"the slice {shown} of {type(self).__name__} is invalid", "0 <= start <= stop, step >= 1"
            )
        self.start, self.stop, self.step = start, stop, step
        self.hub_sets: tuple[HubSet, ...] = ()

    @abstractmethod
    def num_examples(self) -> int:
        """The number of examples before slicing."""

    @abstractmethod
    def example(self, index: int) -> Conversation:
        """The conversation `index` (0 … `num_examples()` − 1), the same at every call."""

    def source(self) -> object:
        """What the examples are made from, as JSON can say it: another text anywhere in it is another value.

        None where they come from the code alone.
        """
        return None

    def indices(self) -> range:
        """The indices, before slicing, of the examples in the slice."""
        return range(self.num_examples())[self.start : self.stop : self.step]

    def __len__(self) -> int:
        return len(self.indices())

    def __getitem__(self, index: int) -> Conversation:
        return self.example(self.indices()[index])

    def __iter__(self) -> Iterator[Conversation]:
        return map(self.example, self.indices())

    def evaluate(self, conversation: Conversation, completion: str) -> bool:
        """Whether `completion`, the assistant's letter or its text with tool calls and outputs, is
        correct."""
        raise NotImplementedError(f"{type(self).__name__} is for training only")

    def evaluate_all(self, conversations: Sequence[Conversation], completions: Sequence[str]) -> list[bool]:
        """`evaluate` for each pair; in parallel where a task can."""
        pairs = zip(conversations, completions, strict=True)
        return [self.evaluate(conversation, completion) for conversation, completion in pairs]

    def reward(self, conversation: Conversation, completion: str) -> float:
        """The reward of reinforcement learning: 1 when correct, else 0."""
        return float(self.evaluate(conversation, completion))


class HubTask(Task):
    """A task whose examples are the rows of one data set of the hub, in shuffled order."""

    def __init__(
        self, hub: Hub, wanted: HubSet, start: int = 0, stop: int | None = None, step: int = 1
    ) -> None:
        super().__init__(start, stop, step)
        self.hub_sets = (wanted,)
        self._hub, self.rows = hub, hub.rows(wanted)

    def source(self) -> object:
        return [self._hub.digests(wanted) for wanted in self.hub_sets]

    def num_examples(self) -> int:
        return len(self.rows)


def user(text: str) -> dict[str, Any]:
    """A user's message."""
    return {"role": "user", "content": text}


def assistant(content: str | list[dict[str, str]]) -> dict[str, Any]:
    """An assistant's message: text, or parts of text and tool calls."""
    return {"role": "assistant", "content": content}


def text_part(text: str) -> dict[str, str]:
    """A part of an assistant's message that is text."""
    return {"type": "text", "text": text}


def tool_call(expression: str, result: str) -> list[dict[str, str]]:
    """The two parts of a calculator call: the expression the assistant writes, and the tool's result."""
    return [{"type": "python", "text": expression}, {"type": "python_output", "text": result}]


def question_text(conversation: Conversation) -> str:
    """The text of the user's last message; empty where there is none."""
    users = [message["content"] for message in conversation["messages"] if message["role"] == "user"]
    return str(users[-1]) if users else ""


def last_text(conversation: Conversation) -> str:
    """The text of the last part of the last message, where the correct answer is."""
    content = conversation["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    last: Mapping[str, str] = content[-1]
    return last["text"]
