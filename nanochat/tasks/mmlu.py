"""MMLU, multiple choice over 57 subjects (arXiv 2009.03300)."""

from nanochat.common.errors import UserError
from nanochat.tasks.base import Conversation, HubTask
from nanochat.tasks.hub import HubSet
from nanochat.tasks.registry import Request, TaskData, TaskSpec
from nanochat.tasks.scoring import ChoiceTask, choice_conversation

LETTERS = ("A", "B", "C", "D")
CLASSIC_AUXILIARY = "auxiliary_train_classic"
"""The auxiliary set as the classic era fetched it: a subset of its own, rows inside a column `train`."""


class Mmlu(HubTask, ChoiceTask):
    """Items carry their `subject`. A folder may hold a stand-in for the auxiliary set."""

    def __init__(self, data: TaskData, request: Request) -> None:
        columns: tuple[str, ...] = ("question", "subject", "choices", "answer")
        subset, split = "all", request.split
        if split == CLASSIC_AUXILIARY:
            subset, split, columns = "auxiliary_train", "train", ("train",)
        self._wrapped = columns == ("train",)
        wanted = HubSet("cais/mmlu", subset, split, columns)
        super().__init__(data.hub, wanted, request.start, request.stop, request.step)

    def example(self, index: int) -> Conversation:
        row = self.rows[index]
        if self._wrapped:
            row = row["train"]
        choices, answer = row["choices"], row["answer"]
        if len(choices) != len(LETTERS) or not 0 <= answer < len(LETTERS):
            raise UserError(
                f"MMLU item {index}: {len(choices)} choices and answer {answer}, where there are 4"
            )
        conversation = choice_conversation(row["question"], LETTERS, choices, LETTERS[answer])
        conversation["subject"] = row["subject"]
        return conversation


SPECS = (
    TaskSpec(
        "MMLU",
        "multiple choice over 57 subjects",
        ("test", "auxiliary_train", "dev", "validation", "auxiliary_train_standin", CLASSIC_AUXILIARY),
        Mmlu,
    ),
)
