"""From a target to a server that answers for it: the service on a host, or the address as it is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from nanochat.common.errors import UserError
from nanochat.serve.client import OWNER, ChatClient, ServedModel, StatusError
from tui.data.chat.target import CheckpointTarget, EndpointTarget, PaneTarget

ROOM_SECONDS = 2.0
"""How long a pane waits before it asks again for memory that other models hold."""
BUSY = 429

Waiting = Callable[[str], None]
"""Hears in one line what is waited for."""


class OpenService(Protocol):
    """What a service tells: see `remote.fleet.services.Service`."""

    @property
    def url(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def device(self) -> str: ...


class ServiceSource(Protocol):
    """What the panes need of `remote.fleet.services.Services`."""

    async def open(self, host: str, device: str | None, waiting: Waiting) -> Any: ...
    def why_ended(self, service: Any) -> str: ...


@dataclass(frozen=True)
class Connection:
    """A server and the model of it that a pane talks to."""

    client: ChatClient
    model: ServedModel
    device: str
    """Where a checkpoint is served; "" for endpoints."""
    why_ended: Callable[[], str] = lambda: ""
    """A line about why the service is gone; "" while it is there, and for endpoints."""

    @property
    def is_ours(self) -> bool:
        """Whether it is a nanochat server, which has a lens."""
        return self.model.owner == OWNER

    @property
    def is_base(self) -> bool:
        """Whether the model continues text and was not trained to chat."""
        return self.model.kind == "base"


async def connect(
    target: PaneTarget, services: ServiceSource | None, device: str | None, waiting: Waiting
) -> Connection:
    """Connects to a target, loading its checkpoint. Raises `UserError`, and what `services.open` raises."""
    if isinstance(target, EndpointTarget):
        return await _connect_endpoint(target, waiting)
    return await _connect_checkpoint(target, services, device, waiting)


async def _connect_endpoint(target: EndpointTarget, waiting: Waiting) -> Connection:
    # For https it reads the certificates that this machine trusts, for 50 ms.
    client = await asyncio.to_thread(ChatClient, target.url, target.key())
    try:
        waiting(f"connecting to {client.name}")
        return Connection(client, await client.model(target.model), "")
    except BaseException:
        await client.aclose()
        raise


async def _connect_checkpoint(
    target: CheckpointTarget, services: ServiceSource | None, device: str | None, waiting: Waiting
) -> Connection:
    if services is None:
        raise UserError("no host can be reached yet", "try again in a moment")
    waiting(f"connecting to {target.host}")
    service: OpenService = await services.open(target.host, device, waiting)
    client = ChatClient(service.url, service.key)
    client.name = f"the server on {target.host}"  # a port of this machine says nothing to a person
    try:
        waiting(f"loading {target.name} on {target.host} ({service.device})")
        model = await client.model(str(target.name))
        model = await _loaded(client, model, waiting)
        return Connection(client, model, service.device, partial(services.why_ended, service))
    except BaseException:
        await client.aclose()
        raise


async def _loaded(client: ChatClient, model: ServedModel, waiting: Waiting) -> ServedModel:
    """The model once it is in memory, which a count of tokens needs as an answer does."""
    prompt = "a" if model.kind == "base" else [{"role": "user", "content": "a"}]
    while True:
        try:
            counted = await client.count_tokens(model.id, prompt)
            break
        except StatusError as error:
            if error.status != BUSY:
                raise
            waiting(f"waiting for memory: other models are at work ({error.message})")
            await asyncio.sleep(ROOM_SECONDS)
    context = counted[1] if counted else model.context
    return ServedModel(model.id, model.owner, context, model.kind)
