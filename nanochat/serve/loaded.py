"""A model in memory that answers: its copies, its tokenizer, and what it says of itself."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nanochat.checkpoint.files import Checkpoint
from nanochat.checkpoint.names import CheckpointName
from nanochat.common.errors import UserError
from nanochat.serve.worker import ModelWorker
from nanochat.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class ModelCard:
    """What a client learns of a model."""

    id: str
    name: CheckpointName
    """With the step."""
    kind: str
    """"chat", or "base" for a model that continues text and was trained on no conversation."""
    context: int
    """Tokens of prompt and answer together."""

    @classmethod
    def of(cls, model_id: str, name: CheckpointName, checkpoint: Checkpoint) -> "ModelCard":
        """The card of a checkpoint, from its metadata. Raises `UserError` when that has no configuration."""
        config = checkpoint.meta.get("model_config")
        context = config.get("sequence_len") if isinstance(config, dict) else None
        if not isinstance(context, int) or isinstance(context, bool) or context < 2:
            raise UserError(f"the metadata of {checkpoint.path} does not say how long its context is")
        kind = "base" if name.source == "base" else "chat"
        return cls(model_id, CheckpointName(name.source, name.tag, checkpoint.step), kind, context)


class LoadedModel:
    """A checkpoint in memory, one copy a device.

    `lens` computes, of token ids, a number k and places, what each layer would have said there
    (`nanochat.infer.lens`); it runs in the thread of the least busy copy. `bytes` is what one device holds of
    it.
    """

    def __init__(
        self,
        card: ModelCard,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        workers: Sequence[ModelWorker],
        *,
        layers: int,
        bytes: int,
        lens: Callable[[int, Sequence[int], int, Sequence[int]], Any],
        devices: Sequence[str] = ("cpu",),
        prefix_caches: Sequence[Any] = (),
        release: Callable[[], None] = lambda: None,
    ) -> None:
        self.card, self.checkpoint, self.tokenizer = card, checkpoint, tokenizer
        self.workers, self.devices, self.prefix_caches = list(workers), list(devices), list(prefix_caches)
        self.layers, self.bytes = layers, bytes
        self.users = 0
        self.last_used = time.monotonic()
        self._lens: Callable[[int, Sequence[int], int, Sequence[int]], Any] | None = lens
        self._release = release

    def named(self, model_id: str) -> "LoadedModel":
        """This model as one of the ids that it is served under tells of it."""
        if model_id == self.card.id:
            return self
        other = copy.copy(self)
        other.card = replace(self.card, id=model_id)
        return other

    def worker(self) -> ModelWorker:
        """The copy with the fewest samples at work."""
        return min((one for one in self.workers if not one.closed), key=_load, default=self.workers[0])

    @property
    def broken(self) -> bool:
        """Whether no copy takes requests any more."""
        return all(worker.closed for worker in self.workers)

    async def lens(self, ids: Sequence[int], top_k: int, places: Sequence[int]) -> Any:
        """Per one of `places` and layer the `top_k` likeliest tokens with log-probabilities."""
        worker, lens = self.worker(), self._lens
        if lens is None:
            raise UserError(f"{self.card.id} was unloaded")
        return await worker.call(lambda: lens(worker.replica, ids, top_k, places))

    def close(self, why: str = "the model was unloaded") -> bool:
        """Ends its threads and gives its memory back; blocks. Returns whether all threads ended."""
        ended = [worker.close(why) for worker in self.workers]
        self._lens = None
        self.prefix_caches.clear()
        self._release()
        return all(ended)


def _load(worker: ModelWorker) -> int:
    return worker.load
