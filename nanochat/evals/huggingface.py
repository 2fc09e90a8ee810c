"""Models of Hugging Face's transformers as evaluations read them, for their scores through the same code."""

import contextlib
import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nanochat.common.errors import UserError, one_line

CHUNK = 256
"""Places whose logits are handed on at a time."""


class HuggingFaceLM:
    """A causal language model and its tokenizer, from a local folder or what the hub's cache holds.

    Prompts longer than the model's context are cropped from the left to it. Raises `UserError` when
    transformers is not installed or the model cannot be loaded.
    """

    shares = False
    pass_cost = 48
    cuts_at_lines = False

    def __init__(self, path: str, device: torch.device, dtype: torch.dtype) -> None:
        if importlib.util.find_spec("transformers") is None:
            raise UserError("--hf-path needs the package transformers", "pip install transformers")
        transformers: Any = importlib.import_module("transformers")
        self.device = device
        try:
            self._tokenizer = transformers.AutoTokenizer.from_pretrained(path)
            self._model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
        except Exception as error:
            # transformers has a type of error for each way a folder can be incomplete.
            raise UserError(
                f"--hf-path {path}: cannot be loaded: {one_line(str(error))[:300]}",
                "a folder with config.json, weights and a tokenizer, or a model in the hub's cache",
            ) from error
        self._model.to(device).eval()
        self.limit = context_of(self._model.config)
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
    def reading(self) -> Iterator[None]:
        yield

    def logits(
        self, prefixes: Tensor, counts: Sequence[int], tails: Tensor, rows: Tensor, columns: Tensor
    ) -> Iterator[Tensor]:
        """As `LanguageModel` says; there are no prefixes."""
        logits = self._model(input_ids=tails, use_cache=False).logits
        for start in range(0, len(rows), CHUNK):
            part = slice(start, start + CHUNK)
            yield logits[rows[part], columns[part]].float()


def context_of(config: Any) -> int:
    """Tokens the model was made for; without end where its configuration does not say."""
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return 1 << 30


def model_name(path: str) -> str:
    """What results of the model are filed under: a folder's name, a hub's name with `/` as `-`."""
    return Path(path).resolve().name if Path(path).is_dir() else path.replace("/", "-")
