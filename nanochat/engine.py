"""Generation: prefill a prompt once, copy its cache to every sample, decode them together."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nanochat.architecture import ModelConfig
from nanochat.model import GPT
from nanochat.sampling import sample_next


class KVCache:
    """Keys and values of every layer for `rows` sequences of one length, and smear's last embedding.

    Buffers are (rows, capacity, H_kv, D) and grow by doubling.
    """

    def __init__(self, config: ModelConfig, rows: int, capacity: int, like: Tensor) -> None:
        shape = (rows, capacity, config.n_kv_head, config.head_dim)
        self.keys = [like.new_empty(shape) for _ in range(config.n_layer)]
        self.values = [like.new_empty(shape) for _ in range(config.n_layer)]
        self.length = 0
        self.last_embedding: Tensor | None = None

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Stores k and v (rows, T, H_kv, D) after the present length; returns all of the layer's so far.

        The length itself moves once, when the model has passed its last layer.
        """
        end = self.length + k.size(1)
        for buffers, new in ((self.keys, k), (self.values, v)):
            if end > buffers[layer].size(1):
                grown = torch.empty_like(buffers[layer][:, :1]).repeat(1, 2 * end, 1, 1)
                grown[:, : self.length] = buffers[layer][:, : self.length]
                buffers[layer] = grown
            buffers[layer][:, self.length : end] = new
        return self.keys[layer][:, :end], self.values[layer][:, :end]

    def repeat(self, rows: int) -> "KVCache":
        """This cache of one row copied to `rows` rows."""
        copy = object.__new__(KVCache)
        copy.keys = [k.repeat(rows, 1, 1, 1) for k in self.keys]
        copy.values = [v.repeat(rows, 1, 1, 1) for v in self.values]
        copy.length = self.length
        copy.last_embedding = None if self.last_embedding is None else self.last_embedding.repeat(rows, 1, 1)
        return copy


@torch.inference_mode()
def generate(
    model: GPT,
    prompt: Sequence[int],
    *,
    samples: int = 1,
    max_tokens: int,
    temperature: float = 1.0,
    top_k: int = 0,
    seed: int = 42,
    stop: frozenset[int] = frozenset(),
) -> Iterator[list[int | None]]:
    """Yields the next token of each sample, None for those that have ended, until all have.

    A sample ends with a token of `stop` (not yielded) or after `max_tokens`. `prompt` holds at least one
    id. The same seed gives the same samples on the same machine.
    """
    generator = torch.Generator(device=model.device).manual_seed(seed)
    prefill = KVCache(model.config, 1, len(prompt) + max_tokens, model.wte.weight.to(model.compute_dtype)[:1])
    ids = torch.tensor([list(prompt)], device=model.device)
    logits = model.logits(model.hidden(ids, prefill)[:, -1]).repeat(samples, 1)
    cache = prefill.repeat(samples)
    running = [True] * samples
    for count in range(max_tokens):
        tokens = sample_next(logits, temperature, top_k, generator)
        running = [on and token not in stop for on, token in zip(running, tokens.tolist(), strict=True)]
        if not any(running):
            return
        yield [token if on else None for on, token in zip(running, tokens.tolist(), strict=True)]
        if count + 1 < max_tokens:
            logits = model(tokens[:, None], cache=cache)[:, -1]


def generate_batch(
    model: GPT,
    prompt: Sequence[int],
    *,
    samples: int = 1,
    max_tokens: int,
    temperature: float = 1.0,
    top_k: int = 0,
    seed: int = 42,
    stop: frozenset[int] = frozenset(),
) -> list[list[int]]:
    """The tokens of each sample after the prompt, as `generate` gives them."""
    out: list[list[int]] = [[] for _ in range(samples)]
    steps = generate(
        model, prompt, samples=samples, max_tokens=max_tokens, temperature=temperature, top_k=top_k,
        seed=seed, stop=stop,
    )  # fmt: skip
    for row in steps:
        for tokens, token in zip(out, row, strict=True):
            if token is not None:
                tokens.append(token)
    return out
