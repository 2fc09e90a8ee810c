"""Chat tasks: multiple choice by the logits of the letters, the others by what the model generates."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from nanochat.common.errors import UserError
from nanochat.common.fields import json_text
from nanochat.evals.item_record import Sample, TranscriptPart, item_key, item_line
from nanochat.evals.records import Record
from nanochat.evals.results import CHAT_CORE
from nanochat.infer.engine import Completion, Engine
from nanochat.infer.sampling import Sampling
from nanochat.infer.scheduler import FinishReason, Request
from nanochat.infer.token_table import token_table
from nanochat.infer.transcript import transcript
from nanochat.model.gpt import GPT
from nanochat.tasks.base import Conversation, Task, last_text, question_text
from nanochat.tasks.registry import TaskData, make_task, task_spec
from nanochat.tasks.scoring import CHAT_CORE_BASELINES, Letters, best_letter
from nanochat.tokenizer.tokenizer import Tokenizer

SEED = 42
"""Of completions, as in upstream nanochat; sample n of an item has random numbers of its own."""
SORT_BATCHES = 64
"""Batches of multiple choice sorted by length together: less padding, and records still come often."""
GENERATE_BATCHES = 8
"""Batches of requests in flight together: rows that finish early are refilled from the others."""


@dataclass(frozen=True)
class GenerationConfig:
    """How the completions of generative tasks are sampled."""

    temperature: float = 0.0
    top_k: int = 50
    max_new_tokens: int = 512
    samples: int = 1


def evaluation_tasks(
    names: Sequence[str], data: TaskData, on_skip: Callable[[str, UserError], None]
) -> dict[str, Task]:
    """The tasks called `names`, by name, in the splits they are evaluated on.

    `ChatCORE`, and no names, stand for those of its six tasks whose data is available; the others are passed
    to `on_skip` with the reason. Raises `UserError` for a named task that is missing or for training only.
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
            on_skip(spec.name, error)
            continue
        if task.eval_type is None:
            raise UserError(f"{spec.name} is for training only: it cannot be evaluated")
        tasks[spec.name] = task
    return tasks


class ChatEvaluator:
    """Evaluates a model on tasks; keep one for all tasks, as its weights are prepared once.

    `rows` is the size of a batch: of padded prompts for multiple choice, of running samples otherwise.
    """

    def __init__(
        self, model: GPT, tokenizer: Tokenizer, rows: int = 8, generation: GenerationConfig | None = None
    ) -> None:
        self.model, self.tokenizer, self.rows = model, tokenizer, rows
        self.generation = generation or GenerationConfig()
        self.engine = Engine(model, tokenizer)
        self._letters = Letters(tokenizer)
        self._stop = tokenizer.answer_ends

    def evaluate(self, name: str, task: Task, indices: Sequence[int]) -> Iterator[list[Record]]:
        """Records of the items of `task` at `indices`, some at a time and in no particular order.

        As item_record.py says; the `losses` of multiple choice are the letters' negative log-probabilities in
        nats, normalised over the item's letters.
        """
        method = self._multiple_choice if task.eval_type == "categorical" else self._generative
        return method(name, task, indices)

    def _prompts(self, items: Sequence[Conversation]) -> list[list[int]]:
        return [self.tokenizer.render_for_completion(item["messages"]) for item in items]

    # -- multiple choice ---------------------------------------------------------------------------

    @torch.inference_mode()
    def _multiple_choice(self, name: str, task: Task, indices: Sequence[int]) -> Iterator[list[Record]]:
        """The letter with the highest logit right after the prompt, over batches of about equal lengths."""
        window = SORT_BATCHES * self.rows
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
        """Each row's log-probabilities of its letters, normalised over them."""
        width = max(map(len, prompts))
        # Padded on the right with bos: attention is causal, so padding does not change what precedes it.
        padded = torch.full((len(prompts), width), self.tokenizer.bos_id)  # (B, T)
        for row, prompt in zip(padded, prompts, strict=True):
            row[: len(prompt)] = torch.tensor(prompt)
        last = torch.tensor([len(prompt) - 1 for prompt in prompts], device=self.model.device)  # (B,)
        hidden = self.model.hidden(padded.to(self.model.device))  # (B, T, C)
        rows = torch.arange(len(prompts), device=last.device)
        logits = self.model.logits(hidden[rows, last]).cpu()  # (B, V)
        ids = [self._letters.ids(item["letters"]) for item in items]
        return [row[letters].log_softmax(-1).tolist() for row, letters in zip(logits, ids, strict=True)]

    def _choice_record(self, name: str, index: int, item: Conversation, scores: list[float]) -> Record:
        letter = best_letter(scores, item["letters"])
        gold = last_text(item)
        return item_line(
            task=name,
            subject=item.get("subject", ""),
            index=index,
            key=conversation_key(item),
            correct=letter == gold,
            losses=[-score for score in scores],
            prediction=letter,
            gold=gold,
            letters=item["letters"],
            choices=item.get("choices", ()),
            prompt=question_text(item),
        )

    # -- generation --------------------------------------------------------------------------------

    def _generative(self, name: str, task: Task, indices: Sequence[int]) -> Iterator[list[Record]]:
        """What the model generates; right when any of its samples is."""
        window = GENERATE_BATCHES * self.rows
        for start in range(0, len(indices), window):
            part = indices[start : start + window]
            items = [task[index] for index in part]
            samples = self._completions(items)
            texts = [[completion_text(self.tokenizer, one) for one in of_item] for of_item in samples]
            pairs = [(item, text) for item, those in zip(items, texts, strict=True) for text in those]
            correct = iter(task.evaluate_all([item for item, _ in pairs], [text for _, text in pairs]))
            yield [
                self._completion_record(
                    name,
                    index,
                    item,
                    [self._sample(*one, next(correct)) for one in zip(of_item, those, strict=True)],
                )
                for index, item, of_item, those in zip(part, items, samples, texts, strict=True)
            ]

    def _completions(self, items: Sequence[Conversation]) -> list[list[Completion]]:
        """The samples of each item."""
        generation = self.generation
        sampling = Sampling(temperature=generation.temperature, top_k=generation.top_k, seed=SEED)
        requests = [
            Request(
                prompt,
                max_tokens=generation.max_new_tokens,
                sampling=sampling,
                samples=generation.samples,
                stop=self._stop,
                calculator=self.engine.calculator,
            )
            for prompt in self._prompts(items)
        ]
        return self.engine.complete(requests, self.rows)

    def _sample(self, completion: Completion, text: str, correct: bool) -> Sample:
        pieces = transcript(token_table(self.tokenizer), completion.tokens, completion.finish_reason)
        parts = tuple(TranscriptPart(*piece) for piece in pieces)
        return Sample(text, correct, parts, completion.finish_reason.value, len(completion.tokens))

    def _completion_record(
        self, name: str, index: int, item: Conversation, samples: Sequence[Sample]
    ) -> Record:
        """The record of an item; its prediction is the first right sample, else the first."""
        right = [sample for sample in samples if sample.correct]
        return item_line(
            task=name,
            subject=item.get("subject", ""),
            index=index,
            key=conversation_key(item),
            correct=bool(right),
            losses=[],
            prediction=(right or samples)[0].text,
            gold=last_text(item),
            choices=[],
            prompt=question_text(item),
            samples=samples,
        )


def conversation_key(item: Conversation) -> str:
    """The key of a chat task's item: of all that is said, and all that an answer is judged by."""
    said = json_text(item["messages"], None)
    judged = [item.get("entry_point", ""), item.get("test", "")]
    return item_key([said, *judged], item.get("letters", ()), last_text(item))


def completion_text(tokenizer: Tokenizer, sample: Completion) -> str:
    """The text of a sample, without the stop token."""
    stopped = sample.finish_reason is FinishReason.STOP
    return tokenizer.decode(sample.tokens[:-1] if stopped else sample.tokens)
