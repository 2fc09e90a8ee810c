"""On-policy rollouts: answers sampled from the model as it is, their rewards, and REINFORCE's batches.

For every question n answers are sampled. An answer's advantage is its reward minus the mean over the n, as in
GRPO (arXiv 2402.03300) but not divided by the standard deviation, which would weight easy and hard questions
more (Dr. GRPO, arXiv 2503.20783). Every token the model sampled is trained with it, those of the prompt and
of tools are not. No value network, no ratio clipping, no KL term: the policy that sampled is the policy that
is trained, so importance ratios are 1.
"""

import contextlib
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
    """How answers are sampled: `samples` a question, at most `rows` at a time.

    Temperature 1 samples from the policy itself; the top 50 cut off a tail that is mostly noise in a small
    model. Both are upstream nanochat's.
    """

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
        """Each reward minus the mean over all answers."""
        return [reward - self.mean for reward in self.rewards]


class RolloutGenerator:
    """Samples answers from a model and rewards them.

    Keep one: its weights are prepared once, and again when the model has been trained. `between_steps` is
    called between two steps of decoding and may raise; `during` is entered while answers are sampled.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        config: SamplingConfig,
        between_steps: Callable[[], None],
        during: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self.engine, self.tokenizer, self.config = engine, tokenizer, config
        self.between_steps, self.during = between_steps, during
        self._stop = tokenizer.answer_ends

    def generate(self, task: Task, indices: Sequence[int], salt: str) -> list[Rollout]:
        """Answers to the questions of `task` at `indices`.

        An answer depends on the weights, `salt`, the seed, the question and its own number, not on the
        questions beside it.
        """
        questions = [task[index % len(task)] for index in indices]
        prompts = [self.tokenizer.render_for_completion(question["messages"]) for question in questions]
        requests = [
            self._request(prompt, salt, index) for index, prompt in zip(indices, prompts, strict=True)
        ]
        with self.during():
            sampled = self.engine.complete(requests, self.config.rows, self.between_steps)
        rollouts = []
        for index, question, prompt, completions in zip(indices, questions, prompts, sampled, strict=True):
            texts = [completion_text(self.tokenizer, completion) for completion in completions]
            rewards = [task.reward(question, text) for text in texts]
            rollouts.append(Rollout(index, question, prompt, completions, texts, rewards))
        return rollouts

    def _request(self, prompt: Sequence[int], salt: str, index: int) -> Request:
        config = self.config
        # A hash of its own for each question, so that a resumed run samples what it would have sampled.
        seed = zlib.crc32(f"{config.seed} {salt} {index}".encode())
        return Request(
            prompt,
            config.max_tokens,
            Sampling(config.temperature, config.top_k, seed=seed),
            samples=config.samples,
            stop=self._stop,
            calculator=self.engine.calculator,
        )


class RolloutLoader:
    """An endless iterator of the passes of REINFORCE over `task`, question by question, epoch after epoch.

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
        self.ranks, self.device, self.state = ranks, device, state
        self.on_rollouts, self.train_eos = on_rollouts, train_eos
        self._passes = self._generate_passes()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        return next(self._passes)

    def _generate_passes(self) -> Iterator[Batch]:
        while True:
            first = self.state.position.taken
            step, last = first // self.questions, first + self.questions
            local = range(first + self.ranks.rank, last, self.ranks.world)
            rollouts = self.generator.generate(self.task, local, f"step {step}")
            self.on_rollouts([rollout for part in self.ranks.gather(rollouts) for rollout in part])
            position = Position(epoch=1 + (last - 1) // len(self.task), taken=last)
            self.state = replace(self.state, position=position)
            for rollout in rollouts:
                yield from self._batches(rollout)

    def _batches(self, rollout: Rollout) -> Iterator[Batch]:
        rows = [self.row(rollout.prompt, completion) for completion in rollout.completions]
        for start in range(0, len(rows), self.rows):
            part = rows[start : start + self.rows]
            longest = max(map(len, part))
            # (B, T+1), right-padded with assistant_end as ~id: read by the model, never a target.
            padded = np.full((len(part), longest), ~self._pad, dtype=np.int32)
            for row, tokens in zip(padded, part, strict=True):
                row[: len(tokens)] = tokens
            batch = as_batch(torch.from_numpy(padded), self.device, self.state)
            advantages = torch.tensor(
                rollout.advantages[start : start + self.rows], device=self.device
            )  # (B,)
            # One advantage for all tokens of an answer: the reward scores it as a whole.
            yield replace(batch, weights=advantages[:, None].expand_as(batch.targets))  # (B, T)

    @property
    def _pad(self) -> int:
        return self.generator.tokenizer.special_id("assistant_end")

    def row(self, prompt: Sequence[int], completion: Completion) -> Tokens:
        """Prompt and completion as signed ids (T+1,): a token that is not trained as ~id."""
        sampled = list(completion.sampled)
        if completion.finish_reason is FinishReason.STOP and not self.train_eos:
            sampled[-1] = False
        tokens = np.asarray([*prompt, *completion.tokens], dtype=np.int32)
        trained = np.asarray([False] * len(prompt) + sampled)
        return np.where(trained, tokens, ~tokens).astype(np.int32)


def pass_at(rewards: Sequence[Sequence[float]], k: int) -> tuple[float, float]:
    """pass@k: (share of questions of which one of the first `k` answers is right, its standard error)."""
    hits = [any(reward > 0 for reward in answers[:k]) for answers in rewards]
    share = sum(hits) / len(hits)
    return share, math.sqrt(share * (1 - share) / len(hits))  # of a binomial proportion


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean of independent values and its standard error; 0 for one value."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, 0.0
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)  # unbiased
    return mean, math.sqrt(variance / len(values))
