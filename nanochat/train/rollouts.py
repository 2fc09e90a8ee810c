"""On-policy rollouts: samples of the model as it is, their rewards, and the batches of REINFORCE from them.

For every question n answers are drawn. An answer's advantage is its reward less the mean over the n; every
token the model drew is trained with it, those of the prompt and of tools are not. There is no baseline
network, no clipping and no divergence term: the policy that sampled is the policy that is trained.
"""

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch

from nanochat.compute.ranks import Ranks
from nanochat.data.dataloader import Batch, LoaderState, Position, as_batch
from nanochat.data.packing import Tokens
from nanochat.evals.chat import completion_text
from nanochat.infer.engine import Completion, Engine
from nanochat.infer.sampling import Sampling
from nanochat.infer.scheduler import FinishReason, Request
from nanochat.tasks.base import Conversation, Task
from nanochat.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class SamplingConfig:
    """How answers are drawn: `samples` a question, at most `rows` at a time."""

    samples: int
    max_tokens: int
    temperature: float = 1.0
    top_k: int = 50
    seed: int = 42
    rows: int = 64


@dataclass(frozen=True)
class Rollout:
    """The answers to one question, with their rewards."""

    index: int
    question: Conversation
    prompt: list[int]
    completions: list[Completion]
    texts: list[str]
    rewards: list[float]

    @property
    def mean(self) -> float:
        return sum(self.rewards) / len(self.rewards)

    @property
    def advantages(self) -> list[float]:
        """Each reward less the mean over all answers."""
        return [reward - self.mean for reward in self.rewards]


class RolloutGenerator:
    """Draws answers from a model and rewards them. Keep one: its weights are prepared once, and anew when the
    model has been trained."""

    def __init__(
        self, engine: Engine, tokenizer: Tokenizer, sampling: SamplingConfig, between: Callable[[], None]
    ) -> None:
        self.engine, self.tokenizer, self.sampling, self.between = engine, tokenizer, sampling, between
        self._stop = tokenizer.answer_ends

    def generate(self, task: Task, indices: Sequence[int], salt: str) -> list[Rollout]:
        """Answers to the questions of `task` at `indices`.

        An answer depends on the weights, `salt`, the seed, the question and its own number, not on the
        questions beside it.
        """
        sampling = self.sampling
        questions = [task[index % len(task)] for index in indices]
        prompts = [self.tokenizer.render_for_completion(question["messages"]) for question in questions]
        requests = [
            Request(
                prompt, sampling.max_tokens,
                Sampling(
                    sampling.temperature, sampling.top_k,
                    seed=zlib.crc32(f"{sampling.seed} {salt} {index}".encode()),
                ),
                sampling.samples, self._stop, self.engine.calculator,
            )
            for index, prompt in zip(indices, prompts, strict=True)
        ]  # fmt: skip
        done = self.engine.complete(requests, sampling.rows, self.between)
        rollouts = []
        for index, question, prompt, answers in zip(indices, questions, prompts, done, strict=True):
            texts = [completion_text(self.tokenizer, answer) for answer in answers]
            rewards = [task.reward(question, text) for text in texts]
            rollouts.append(Rollout(index, question, prompt, answers, texts, rewards))
        return rollouts


class RolloutLoader:
    """An endless iterator of the passes of REINFORCE over `task`, question by question and so round again.

    At the first pass of a step the model answers the step's questions (those of this rank: every world-th),
    and `on_rollouts` gets the rollouts of all ranks. A pass is `rows` answers to one question: inputs and
    targets (B, T), a target −1 where it is not trained, and as weights (B, T) the advantages. `train_eos`:
    the token that ends an answer is trained too.
    """

    def __init__(
        self,
        generator: RolloutGenerator,
        task: Task,
        *,
        questions: int,
        rows: int,
        ranks: Ranks,
        device: torch.device,
        state: LoaderState,
        on_rollouts: Callable[[list[Rollout]], None],
        train_eos: bool = True,
    ) -> None:
        self.generator, self.task, self.questions, self.rows = generator, task, questions, rows
        self.ranks, self.device, self.state, self.on_rollouts, self.train_eos = (
            ranks,
            device,
            state,
            on_rollouts,
            train_eos,
        )
        self._passes = self._generate_passes()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        return next(self._passes)

    def _generate_passes(self) -> Iterator[Batch]:
        while True:
            first = self.state.position.taken
            step, last = first // self.questions, first + self.questions
            mine = range(first + self.ranks.rank, last, self.ranks.world)
            rollouts = self.generator.generate(self.task, mine, f"step {step}")
            self.on_rollouts([rollout for part in self.ranks.gather(rollouts) for rollout in part])
            self.state = replace(
                self.state, position=Position(epoch=1 + (last - 1) // len(self.task), taken=last)
            )
            for rollout in rollouts:
                yield from self._batches(rollout)

    def _batches(self, rollout: Rollout) -> Iterator[Batch]:
        rows = [self.row(rollout.prompt, answer) for answer in rollout.completions]
        for start in range(0, len(rows), self.rows):
            part = rows[start : start + self.rows]
            padded = np.full((len(part), max(map(len, part))), ~self._pad, dtype=np.int32)
            for row, tokens in zip(padded, part, strict=True):
                row[: len(tokens)] = tokens
            batch = as_batch(torch.from_numpy(padded), self.device, self.state)
            advantages = torch.tensor(rollout.advantages[start : start + self.rows], device=self.device)
            yield replace(batch, weights=advantages[:, None].expand_as(batch.targets))

    @property
    def _pad(self) -> int:
        return self.generator.tokenizer.special_id("assistant_end")

    def row(self, prompt: Sequence[int], answer: Completion) -> Tokens:
        """Prompt and answer as signed ids: a token that is not trained as ~id."""
        drawn = list(answer.sampled)
        if answer.finish_reason is FinishReason.STOP and not self.train_eos:
            drawn[-1] = False
        tokens = np.asarray([*prompt, *answer.tokens], dtype=np.int32)
        trained = np.asarray([False] * len(prompt) + drawn)
        return np.where(trained, tokens, ~tokens).astype(np.int32)


def pass_at(rewards: Sequence[Sequence[float]], k: int) -> tuple[float, float]:
    """(share of questions of which one of the first `k` answers is right, its standard error)."""
    hits = [any(reward > 0 for reward in answers[:k]) for answers in rewards]
    share = sum(hits) / len(hits)
    return share, math.sqrt(share * (1 - share) / len(hits))


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean of independent values and its standard error; 0 for one value."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, 0.0
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))
