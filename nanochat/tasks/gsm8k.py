"""GSM8K, word problems of school arithmetic with calculator calls (arXiv 2110.14168)."""

import re

from nanochat.tasks.base import Conversation, HubTask, assistant, text_part, tool_call, user
from nanochat.tasks.hub import HubSet
from nanochat.tasks.registry import Request, TaskData, TaskSpec
from nanochat.tasks.scoring import NumberTask

_CALL = re.compile(r"(<<[^>]+>>)")


class Gsm8k(HubTask, NumberTask):
    """Each `<<expression=result>>` of a solution is a call of the calculator and its answer."""

    def __init__(self, data: TaskData, request: Request) -> None:
        wanted = HubSet("openai/gsm8k", "main", request.split, ("question", "answer"))
        super().__init__(data.hub, wanted, request.start, request.stop, request.step)

    def example(self, index: int) -> Conversation:
        row = self.rows[index]
        return {"messages": [user(row["question"]), assistant(solution_parts(row["answer"]))]}


def solution_parts(solution: str) -> list[dict[str, str]]:
    """A solution as parts of text and tool calls, empty texts between them kept.

    Expression and result part at the last `=`; a call without one has an empty result.
    """
    parts: list[dict[str, str]] = []
    for piece in _CALL.split(solution):
        if _CALL.fullmatch(piece):
            left, equals, right = piece[2:-2].rpartition("=")
            parts += tool_call(left, right) if equals else tool_call(right, "")
        else:
            parts.append(text_part(piece))
    return parts


SPECS = (
    TaskSpec("GSM8K", "word problems of school arithmetic, with a calculator", ("test", "train"), Gsm8k),
)
