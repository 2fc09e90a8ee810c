"""ARC, grade-school science questions, easy and hard (arXiv 1803.05457)."""

from functools import partial

from nanochat.common.errors import UserError
from nanochat.tasks.base import Conversation, HubTask
from nanochat.tasks.hub import HubSet
from nanochat.tasks.registry import Request, TaskData, TaskSpec
from nanochat.tasks.scoring import ChoiceTask, choice_conversation


class Arc(HubTask, ChoiceTask):
    """`subset` is ARC-Easy or ARC-Challenge. Each row has its own letters: some are digits, some go to E."""

    def __init__(self, data: TaskData, request: Request, subset: str) -> None:
        wanted = HubSet("allenai/ai2_arc", subset, request.split, ("question", "choices", "answerKey"))
        super().__init__(data.hub, wanted, request.start, request.stop, request.step)

    def example(self, index: int) -> Conversation:
        row = self.rows[index]
        letters, choices, answer = row["choices"]["label"], row["choices"]["text"], row["answerKey"]
        if answer not in letters:
            raise UserError(f"ARC item {index}: the answer {answer!r} is none of {letters}")
        return choice_conversation(row["question"], letters, choices, answer)


SPECS = tuple(
    TaskSpec(subset, summary, ("test", "train", "validation"), partial(Arc, subset=subset))
    for subset, summary in (
        ("ARC-Easy", "grade-school science, the easier questions"),
        ("ARC-Challenge", "grade-school science, the harder questions"),
    )
)
