"""From a checkpoint on disk to a model that answers, one copy a device."""

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from nanochat.checkpoint.files import MODEL, Checkpoint
from nanochat.checkpoint.in_use import Use
from nanochat.checkpoint.tokenizer import check_tokenizer, find_tokenizer
from nanochat.checkpoint.weights import load_model
from nanochat.common.errors import UserError, one_line
from nanochat.common.paths import Layout
from nanochat.infer.engine import Engine
from nanochat.infer.lens import lens
from nanochat.infer.prefix_cache import PrefixCache
from nanochat.infer.scheduler import Scheduler
from nanochat.serve.loaded import LoadedModel, ModelCard
from nanochat.serve.worker import ModelWorker

PREFILL_TOKENS = {"cpu": 128}
GPU_PREFILL_TOKENS = 2048
"""Tokens of waiting prompts that a step reads at most while others stream: for as long they stand still, and
the first of several prompts waits for the last. A CPU gains nothing from more of them at once."""


@dataclass(frozen=True)
class Capacity:
    """How much a model serves at once."""

    max_rows: int = 32
    """Answers computed together, on each device."""
    queue: int = 64
    """Answers that may wait for a row, on each device."""
    prefix_bytes: int = 0
    """Of keys and values kept from finished prompts and answers, on each device; 0: none."""


class CheckpointLoader:
    """Loads checkpoints of one base directory onto `devices`."""

    def __init__(
        self,
        layout: Layout,
        devices: Sequence[torch.device],
        dtype: torch.dtype,
        capacity: Capacity,
        tokenizer_dir: str = "",
    ) -> None:
        self.devices = list(devices)
        self._layout, self._dtype, self._capacity = layout, dtype, capacity
        self._tokenizer_dir = tokenizer_dir

    def bytes_needed(self, checkpoint: Checkpoint) -> int:
        """Weights, twice: as they were trained and as decoding reads them; keys and values of a full batch;
        the prefix cache."""
        try:
            if checkpoint.is_upstream:
                weights = checkpoint.path.stat().st_size
            else:
                weights = int(checkpoint.meta["files"][MODEL]["bytes"])
        except (OSError, KeyError) as error:
            raise UserError(f"checkpoint {checkpoint.path} has no weights") from error
        config = checkpoint.meta.get("model_config") or {}
        try:
            kv_channels = config["n_embd"] // config["n_head"] * config["n_kv_head"]
            rows = self._capacity.max_rows * int(
                2 * config["n_layer"] * kv_channels * config["sequence_len"] * 4
            )
        except (KeyError, TypeError, ZeroDivisionError) as error:
            raise UserError(f"the metadata of {checkpoint.path} does not give the model's shape") from error
        return 2 * weights + rows + self._capacity.prefix_bytes

    def load(self, card: ModelCard, checkpoint: Checkpoint) -> LoadedModel:
        """Loads a copy onto each device. Raises `UserError` for a damaged checkpoint, another tokenizer, or
        too little memory."""
        tokenizer = find_tokenizer(checkpoint, self._layout, self._tokenizer_dir)
        models, workers, caches = [], [], []
        use = Use(checkpoint.path, f"server {os.getpid()}, which has it in memory")
        try:
            for replica, device in enumerate(self.devices):
                make_current(device)
                model = load_model(checkpoint, device, self._dtype).eval()
                check_tokenizer(checkpoint, model.config, tokenizer)
                cache = PrefixCache(self._capacity.prefix_bytes) if self._capacity.prefix_bytes else None
                engine = Engine(model)
                engine.generate_batch([tokenizer.bos_id], max_tokens=2)  # or the first client waits for it
                make = _scheduler_factory(engine, self._capacity.max_rows, card.context, cache)
                models.append(model)
                caches.append(cache)
                workers.append(ModelWorker(make, self._capacity.max_rows, self._capacity.queue, replica))
                workers[-1].wait_until_ready()
        # A CPU's allocator raises a plain RuntimeError, and torch.OutOfMemoryError is one.
        except (RuntimeError, MemoryError) as error:
            use.end()
            _close(workers)
            raise UserError(
                f"{card.name} cannot be loaded onto {device}: {one_line(str(error))[:200]}",
                "is there enough memory? give it other rows, another device or --max-memory",
            ) from None
        except UserError:
            use.end()
            _close(workers)
            raise

        def show_layers(replica: int, ids: Sequence[int], top_k: int, places: Sequence[int]) -> Any:
            return lens(models[replica], ids, top_k, places)

        def release() -> None:
            use.end()
            release_memory()

        return LoadedModel(
            card,
            checkpoint,
            tokenizer,
            workers,
            layers=models[0].config.n_layer,
            bytes=self.bytes_needed(checkpoint),
            lens=show_layers,
            devices=[str(device) for device in self.devices],
            prefix_caches=[cache for cache in caches if cache is not None],
            release=release,
        )


def make_current(device: torch.device) -> None:
    """Makes a GPU the calling thread's current one: where its graphs are captured."""
    if device.type == "cuda":
        torch.cuda.set_device(device)


def _scheduler_factory(
    engine: Engine, max_rows: int, context: int, cache: PrefixCache | None
) -> Callable[[], Scheduler]:
    prefill_tokens = PREFILL_TOKENS.get(engine.model.device.type, GPU_PREFILL_TOKENS)

    def make() -> Scheduler:
        make_current(engine.model.device)
        return engine.scheduler(max_rows, context, prefill_tokens, prefix_cache=cache)

    return make


def _close(workers: Sequence[ModelWorker]) -> None:
    for worker in workers:
        worker.close()


def release_memory() -> None:
    """Gives what nothing refers to any more back to the device and to the system."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if sys.platform == "linux" and trim is not None:
        trim(0)  # glibc keeps freed memory of this size otherwise
