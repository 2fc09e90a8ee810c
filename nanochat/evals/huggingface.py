"""Models of Hugging Face's transformers as evaluations read them, to score them by the same code."""

import contextlib
import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nanochat.common.errors import UserError, one_line
from nanochat.evals.batches import BatchInput

CHUNK = 256
"""Positions whose logits are converted to float32 at a time: it bounds the memory."""


class HuggingFaceLM:
    """A causal language model and its tokenizer, from a local folder or the hub's cache.

    Prompts longer than the model's context are cropped from the left to it. Raises `UserError` when
    transformers is not installed or the model cannot be loaded.
    """

    reuses_prefixes = False
    pass_cost = 48
    splits_at_newlines = False

    def __init__(self, path: str, device: torch.device, dtype: torch.dtype) -> None:
        if importlib.util.find_spec("transformers") is None:
            raise UserError("--hf-path needs the package transformers", "pip install transformers")
        transformers: Any = importlib.import_module("transformers")
        self.device = device
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(path)
            self._model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
        except Exception as error:
            # transformers raises many types of error for an incomplete folder.
            raise UserError(
                f"--hf-path {path}: cannot be loaded: {one_line(str(error))[:300]}",
                "a folder with config.json, weights and a tokenizer, or a model in the hub's cache",
            ) from error
        self._model.to(device).eval()
        self.max_tokens = context_length(self._model.config)
        bos = self._tokenizer.bos_token_id
        bos = self._tokenizer.eos_token_id if bos is None else bos
        if bos is None:
            raise UserError(f"--hf-path {path}: its tokenizer has neither a bos nor an eos token")
        self.bos = int(bos)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False, verbose=False)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    @contextlib.contextmanager
    def eager_attention(self) -> Iterator[None]:
        """Does nothing: transformers compiles nothing by itself."""
        yield

    def logits(self, batch: BatchInput) -> Iterator[Tensor]:
        """As in `LanguageModel`; there are no prefixes."""
        logits = self._model(input_ids=batch.tails, use_cache=False).logits  # (R, T, V)
        for start in range(0, len(batch.rows), CHUNK):
            part = slice(start, start + CHUNK)
            yield logits[batch.rows[part], batch.columns[part]].float()  # (n, V)


def context_length(config: Any) -> int:
    """Tokens of the model's context; practically unlimited where its configuration does not say."""
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return 1 << 30


def model_name(path: str) -> str:
    """The name of the model's results: its folder's, or its name on the hub with `-` for `/`."""
    return Path(path).resolve().name if Path(path).is_dir() else path.replace("/", "-")
