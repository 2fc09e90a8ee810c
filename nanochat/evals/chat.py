"""Chat tasks: multiple choice by the letters' logits, the rest by what the model writes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from nanochat.common.errors import UserError
from nanochat.evals.records import Record
from nanochat.infer.engine import Completion, Engine
from nanochat.infer.sampling import Sampling
from nanochat.infer.scheduler import FinishReason, Request
from nanochat.model.gpt import GPT
from nanochat.tasks.base import Conversation, Task, last_text
from nanochat.tasks.registry import TaskData, make_task, task_spec
from nanochat.tasks.scoring import CHAT_CORE_BASELINES, Letters, best_letter
from nanochat.tokenizer.tokenizer import Tokenizer

CHAT_CORE = "ChatCORE"
"""Stands for its six tasks where tasks are named."""
SEED = 42
"""Of sampled answers; sample n of an item has its own stream."""


@dataclass(frozen=True)
class Answering:
    """How generative tasks are answered."""

    temperature: float = 0.0
    top_k: int = 50
    max_new_tokens: int = 512
    samples: int = 1


def judged_tasks(
    names: Sequence[str], data: TaskData, left_out: Callable[[str, UserError], None]
) -> dict[str, Task]:
    """The tasks called `names`, by name, in the splits they are judged on.

    `ChatCORE`, and no names, stand for those of its six whose data is at hand; `left_out` hears of the
    others, and why. Raises `UserError` for a named one that is not there or is for training only.
    """
    tasks: dict[str, Task] = {}
    named = [name for name in names if name.lower() != CHAT_CORE.lower()]
    for name in [*named, *(CHAT_CORE_BASELINES if len(named) < len(names) or not names else ())]:
        spec = task_spec(name)
        if spec.name in tasks:
            continue
        try:
            task = make_task(spec.name, data, "test" if "test" in spec.splits else "")
        except UserError as error:
            if name in named:
                raise
            left_out(spec.name, error)
            continue
        if task.eval_type is None:
            raise UserError(f"{spec.name} is for training only: no answer to it can be judged")
        tasks[spec.name] = task
    return tasks


class ChatJudge:
    """Judges a model on tasks; keep one for all tasks, its weights are prepared once.

    `rows` is the size of a batch: of padded prompts for multiple choice, of running answers otherwise.
    """

    def __init__(
        self, model: GPT, tokenizer: Tokenizer, rows: int = 8, answering: Answering | None = None
    ) -> None:
        self.model, self.tokenizer, self.rows = model, tokenizer, rows
        self.answering = answering or Answering()
        self.engine = Engine(model, tokenizer)
        self._letters = Letters(tokenizer)
        self._stop = tokenizer.answer_ends

    def judge(self, name: str, task: Task, indices: Sequence[int]) -> Iterator[list[Record]]:
        """Records of the items of `task` at `indices`, some at a time; no order is promised.

        Each has task, index, correct, prediction, gold and prompt; multiple choice also `losses`, the
        letters' negative log-probabilities in nats among each other.
        """
        way = self._choices if task.eval_type == "categorical" else self._answers
        return way(name, task, indices)

    def _prompts(self, items: Sequence[Conversation]) -> list[list[int]]:
        return [self.tokenizer.render_for_completion(item["messages"]) for item in items]

    @torch.inference_mode()
    def _choices(self, name: str, task: Task, indices: Sequence[int]) -> Iterator[list[Record]]:
        """The letter with the highest logit right after the prompt, over batches of about equal lengths."""
        window = 64 * self.rows
        for start in range(0, len(indices), window):
            part = indices[start : start + window]
            items = [task[index] for index in part]
            prompts = self._prompts(items)
            order = sorted(range(len(part)), key=lambda i: len(prompts[i]))
            for first in range(0, len(order), self.rows):
                chosen = order[first : first + self.rows]
                scores = self._letter_scores([prompts[i] for i in chosen], [items[i] for i in chosen])
                yield [
                    self._choice_record(name, part[i], items[i], row)
                    for i, row in zip(chosen, scores, strict=True)
                ]

    def _letter_scores(self, prompts: list[list[int]], items: list[Conversation]) -> list[list[float]]:
        """Each row's log-probabilities of its letters, among each other."""
        width = max(map(len, prompts))
        padded = torch.full((len(prompts), width), self.tokenizer.bos_id)
        for row, prompt in zip(padded, prompts, strict=True):
            row[: len(prompt)] = torch.tensor(prompt)
        last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=self.model.device)
        hidden = self.model.hidden(padded.to(self.model.device))
        logits = self.model.logits(hidden[torch.arange(len(prompts), device=last.device), last]).cpu()
        ids = [self._letters.ids(item["letters"]) for item in items]
        return [row[letters].log_softmax(-1).tolist() for row, letters in zip(logits, ids, strict=True)]

    def _choice_record(self, name: str, index: int, item: Conversation, scores: list[float]) -> Record:
        letter = best_letter(scores, item["letters"])
        gold = last_text(item)
        return {
            "task": name, "index": index, "correct": letter == gold, "prediction": letter, "gold": gold,
            "losses": [-score for score in scores], "prompt": _shown(item),
        }  # fmt: skip

    def _answers(self, name: str, task: Task, indices: Sequence[int]) -> Iterator[list[Record]]:
        """What the model writes; right when any of its samples is."""
        how = self.answering
        window = 8 * self.rows
        for start in range(0, len(indices), window):
            part = indices[start : start + window]
            items = [task[index] for index in part]
            requests = [
                Request(
                    prompt, how.max_new_tokens, Sampling(how.temperature, how.top_k, seed=SEED), how.samples,
                    self._stop, self.engine.calculator,
                )
                for prompt in self._prompts(items)
            ]  # fmt: skip
            done = self.engine.complete(requests, self.rows)
            texts = [[written(self.tokenizer, sample) for sample in samples] for samples in done]
            flat = [(item, text) for item, row in zip(items, texts, strict=True) for text in row]
            verdicts = iter(task.evaluate_all([item for item, _ in flat], [text for _, text in flat]))
            records = []
            for index, item, row in zip(part, items, texts, strict=True):
                right = [next(verdicts) for _ in row]
                best = right.index(True) if True in right else 0
                records.append({
                    "task": name, "index": index, "correct": any(right), "prediction": row[best],
                    "gold": last_text(item), "losses": [], "prompt": _shown(item),
                    "samples_correct": sum(right), "samples": len(right),
                })  # fmt: skip
            yield records


def written(tokenizer: Tokenizer, sample: Completion) -> str:
    """What a sample says, without the token that ended it."""
    return tokenizer.decode(
        sample.tokens[:-1] if sample.finish_reason is FinishReason.STOP else sample.tokens
    )


def _shown(item: Conversation) -> str:
    """The user's last message, as text."""
    users = [message["content"] for message in item["messages"] if message["role"] == "user"]
    return str(users[-1]) if users else ""
