"""The checkpoints of this machine without a server: the server's own application, in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from nanochat.checkpoint.files import find_checkpoint
from nanochat.checkpoint.names import CheckpointName, known_names, parse_name, resolve_name
from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.serve.api.routes import http_error, routes
from nanochat.serve.client import OWNER, ChatClient, ServedModel
from nanochat.serve.devices import pick_one_device, serving_dtype
from nanochat.serve.in_process import InProcessTransport
from nanochat.serve.loading import Capacity, CheckpointLoader
from nanochat.serve.models import ModelRegistry, ServedName

if TYPE_CHECKING:
    from nanochat.serve.loaded import ModelCard

PREFIX_BYTES = 256 << 20
"""Keys and values of earlier turns, of which a question then reads none again."""


class LocalModels:
    """The checkpoints under a base directory; one at a time is in memory.

    A name without a step follows what is saved: a question gets the checkpoint that is the last one then.
    """

    def __init__(self, layout: Layout, loader: CheckpointLoader, name: CheckpointName, where: str) -> None:
        self._layout, self._loader = layout, loader
        self.where = where
        others = [other for other in known_names(layout) if other != name]
        served = [ServedName(str(one), one) for one in (name, *others)]
        self.registry = ModelRegistry(layout, served, loader, 0)
        application = Starlette(routes=routes(self.registry), exception_handlers={HTTPException: http_error})
        self.client = ChatClient("http://model", transport=InProcessTransport(application))

    async def open(self, name: str) -> ServedModel:
        """Loads a checkpoint, "" the one of the beginning. Raises `UserError` for one that cannot chat."""
        card = self.registry.card(str(parse_name(name)) if name else "")
        refuse_base_model(card)
        # Room for this one alone: the one that answered until now is unloaded.
        self.registry.max_bytes = self._loader.bytes_needed(resolve_name(self._layout, card.name))
        async with self.registry.use(card.id) as loaded:
            return ServedModel(card.id, OWNER, loaded.card.context)

    async def names(self) -> list[str]:
        return self.known()

    def known(self) -> list[str]:
        return [str(name) for name in known_names(self._layout) if name.source != "base"]


def refuse_base_model(card: "ModelCard") -> None:
    """Raises `UserError` for a model that was trained on no conversation."""
    if card.kind == "base":
        raise UserError(
            f"{card.name} is a base model: it continues text and was not trained to chat",
            "take a checkpoint of mid, sft or rl, or nanochat probe",
        )


def choose(layout: Layout, source: str, tag: str, step: int) -> CheckpointName:
    """The name that --source, --model-tag and --step give; without a tag the deepest model. Raises
    `UserError`."""
    checkpoint = find_checkpoint(layout.checkpoints(source), tag, step)
    return CheckpointName(source, checkpoint.path.parent.name, None if step < 0 else step)


@asynccontextmanager
async def open_local_models(
    layout: Layout, name: CheckpointName, device_type: str, dtype: str
) -> AsyncIterator[LocalModels]:
    """The checkpoints of a base directory on the device `device_type` ("" is the best there is)."""
    resolve_name(layout, name)
    device = pick_one_device(device_type)
    computes_in = serving_dtype(dtype, device)
    loader = CheckpointLoader(layout, [device], computes_in, Capacity(1, 4, PREFIX_BYTES))
    models = LocalModels(layout, loader, name, f"on {device} in {str(computes_in).removeprefix('torch.')}")
    try:
        yield models
    finally:
        await models.client.aclose()
        await models.registry.close()
