"""Generation from one prompt: prefilled once, continued by any number of samples together.

For many prompts that arrive at different times see `nanochat/infer/scheduler.py`; this is its short form.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nanochat.infer.cuda_graphs import Capture
from nanochat.infer.decoder import Decoder
from nanochat.infer.kvcache import KVCache
from nanochat.infer.prefix_cache import PrefixCache
from nanochat.infer.sampling import Sampling
from nanochat.infer.scheduler import FinishReason, Request, Scheduler
from nanochat.model.gpt import GPT
from nanochat.tools.calculator import Calculator, ToolTokenizer

__all__ = ["Completion", "Engine", "KVCache", "generate", "generate_batch"]


@dataclass
class Completion:
    """One sample of a request: its tokens, the stop token included, and why it ended."""

    tokens: list[int]
    sampled: list[bool]
    """For each token whether the model sampled it; False where a tool wrote it."""
    finish_reason: FinishReason


class Engine:
    """Generates from a model; keep one where you sample often, as its weights are prepared once.

    They are prepared again when the model was trained in between. With a `tokenizer` the model may call the
    calculator. `capture` as for a `Decoder`: by default a CUDA device replays captured steps.
    """

    def __init__(
        self, model: GPT, tokenizer: ToolTokenizer | None = None, capture: Capture | str | None = "auto"
    ) -> None:
        self.model = model
        self.calculator = Calculator(tokenizer) if tokenizer is not None else None
        self.decoder = Decoder(model, capture=capture)
        self._idle: Decoder | None = None

    def scheduler(
        self,
        max_rows: int = 32,
        max_length: int | None = None,
        prefill_tokens: int = 2048,
        prefix_cache: PrefixCache | None = None,
    ) -> Scheduler:
        """An empty running batch over this engine's weights."""
        return Scheduler(self.decoder.new_batch(), max_rows, max_length, prefill_tokens, prefix_cache)

    @contextlib.contextmanager
    def _batch(self, max_rows: int) -> Iterator[Scheduler]:
        """A running batch for one call, reusing the buffers and graphs of the previous call where they are
        free."""
        decoder, self._idle = self._idle or self.decoder.new_batch(), None
        try:
            yield Scheduler(decoder, max_rows)
        finally:
            decoder.clear()
            if decoder.graphs is not None:
                self._idle = decoder

    def generate(
        self,
        prompt: Sequence[int],
        *,
        samples: int = 1,
        max_tokens: int,
        sampling: Sampling | None = None,
        stop: frozenset[int] = frozenset(),
    ) -> Iterator[tuple[list[int | None], list[int]]]:
        """Yields the next token of each sample and its mask (1 sampled, 0 forced by a tool).

        A sample ends with a token of `stop` (yielded), or after `max_tokens`, forced ones included; from then
        on it yields None and 0. Raises `UserError` for an empty prompt or ids outside the vocabulary.
        """
        if max_tokens < 1:
            return
        request = Request(
            prompt,
            max_tokens,
            sampling=sampling or Sampling(),
            samples=samples,
            stop=stop,
            calculator=self.calculator,
        )
        with self._batch(samples) as scheduler:
            scheduler.submit(request)
            while scheduler.busy:
                column: list[int | None] = [None] * samples
                mask = [0] * samples
                for new in scheduler.step():
                    column[new.sample], mask[new.sample] = new.token, int(not new.forced)
                yield column, mask

    def generate_batch(
        self,
        prompt: Sequence[int],
        *,
        samples: int = 1,
        max_tokens: int,
        sampling: Sampling | None = None,
        stop: frozenset[int] = frozenset(),
    ) -> tuple[list[list[int]], list[list[int]]]:
        """The tokens of each sample after the prompt, without the stop token, and their masks."""
        out: list[list[int]] = [[] for _ in range(samples)]
        masks: list[list[int]] = [[] for _ in range(samples)]
        steps = self.generate(prompt, samples=samples, max_tokens=max_tokens, sampling=sampling, stop=stop)
        for column, mask in steps:
            for i, token in enumerate(column):
                if token is not None and token not in stop:
                    out[i].append(token)
                    masks[i].append(mask[i])
        return out, masks

    def complete(
        self, requests: Sequence[Request], max_rows: int = 32, before_step: Callable[[], None] = lambda: None
    ) -> list[list[Completion]]:
        """Every sample of every request, through one running batch. `before_step` is called before each step,
        and may raise to abandon them."""
        with self._batch(max_rows) as scheduler:
            numbers = [scheduler.submit(request) for request in requests]
            completions = {
                number: [Completion([], [], FinishReason.LENGTH) for _ in range(request.samples)]
                for number, request in zip(numbers, requests, strict=True)
            }
            while scheduler.busy:
                before_step()
                for new in scheduler.step():
                    completion = completions[new.request][new.sample]
                    completion.tokens.append(new.token)
                    completion.sampled.append(not new.forced)
                    if new.finish_reason is not None:
                        completion.finish_reason = new.finish_reason
        return [completions[number] for number in numbers]


def generate(
    model: GPT,
    prompt: Sequence[int],
    *,
    samples: int = 1,
    max_tokens: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 42,
    stop: frozenset[int] = frozenset(),
) -> Iterator[list[int | None]]:
    """Yields the next token of each sample, None once it has ended, until all have.

    A sample ends with a token of `stop` (not yielded) or after `max_tokens`. The same seed gives the same
    samples on the same machine. Raises `UserError` for an empty prompt or ids outside the vocabulary.
    """
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    steps = Engine(model).generate(
        prompt, samples=samples, max_tokens=max_tokens, sampling=sampling, stop=stop
    )
    for column, _ in steps:
        shown = [None if token in stop else token for token in column]
        if any(token is not None for token in shown):
            yield shown


def generate_batch(
    model: GPT,
    prompt: Sequence[int],
    *,
    samples: int = 1,
    max_tokens: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 42,
    stop: frozenset[int] = frozenset(),
) -> list[list[int]]:
    """The tokens of each sample after the prompt, as `generate` yields them."""
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    return Engine(model).generate_batch(
        prompt, samples=samples, max_tokens=max_tokens, sampling=sampling, stop=stop
    )[0]
