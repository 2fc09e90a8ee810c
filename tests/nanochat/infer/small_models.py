"""Small models with every part loud, the three ways of decoding, and what a right answer is."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nanochat.infer.decoder import Decoder, PreparedModel
from nanochat.model.architecture import CLASSIC, MODERN, ArchitectureFlags, ModelConfig
from nanochat.model.gpt import GPT, build_model

VOCAB = 50


class _Recorder(TorchDispatchMode):
    """Records operations on real tensors, to run them again on the same memory: what a CUDA graph does.

    All that Python computed between them is fixed by the recording, as it is in a graph.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out


class Recording:
    """A captured step without a GPU."""

    def __init__(self, compute: Callable[[], torch.Tensor]) -> None:
        self._recorder = _Recorder()
        with self._recorder:
            self._result = compute()
        self._first = True

    def replay(self) -> torch.Tensor:
        # Recording has computed it already, where a capture would not have.
        for func, args, kwargs, out in () if self._first else self._recorder.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)
        self._first = False
        return self._result


def by_kernel(model: GPT) -> Decoder:
    """The decoder of a CPU."""
    decoder = Decoder(model)
    assert decoder.backend.startswith("compiled kernel")
    return decoder


def by_torch(model: GPT) -> Decoder:
    """The decoder of other devices, and of machines without the kernel."""
    return Decoder(model, PreparedModel(model, kernel=False))


def by_replay(model: GPT) -> Decoder:
    """The decoder of a GPU."""
    return Decoder(model, capture=Recording)


WAYS = [by_kernel, by_torch, by_replay]


def random_model(seed: int = 0, parts: ArchitectureFlags = MODERN, **sizes: object) -> GPT:
    """Every parameter random, so that no part is silent."""
    base = {
        "sequence_len": 16, "vocab_size": VOCAB, "n_layer": 3, "n_head": 4, "n_kv_head": 2, "n_embd": 32,
        "window_pattern": "SL",
    }  # fmt: skip
    model = build_model(ModelConfig(**(base | sizes), parts=parts), "cpu")  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.5 if parameter.ndim == 1 else 1.0
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return model


def check_greedy(model: GPT, prompt: Sequence[int], tokens: Sequence[int]) -> None:
    """Every token is the full pass's choice, or one whose logit is the same but for rounding."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *tokens[:-1]]]))[0, len(prompt) - 1 :]
    chosen = logits.gather(1, torch.tensor(tokens)[:, None])[:, 0]
    assert (logits.max(-1).values - chosen).max() < 2e-4, (prompt, tokens)


class Bytes:
    """A tokenizer of bytes and the special tokens."""

    names = ("bos", "python_start", "python_end", "output_start", "output_end", "assistant_end")

    def special_id(self, name: str) -> int:
        return 256 + self.names.index(name)

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode()


def chain_model(chain: Sequence[int]) -> GPT:
    """A model that says each token of `chain` after the one before it (each may stand there once)."""
    model = random_model(
        5, CLASSIC, vocab_size=262, n_embd=256, n_layer=1, n_head=2, n_kv_head=2, sequence_len=64
    )
    with torch.no_grad():
        for matrix in (model.blocks[0].attn.c_proj, model.blocks[0].mlp.c_proj, model.lm_head):
            matrix.weight.zero_()
        for before, after in pairwise(chain):
            model.lm_head.weight[after] += model.wte.weight[before]
    return model
