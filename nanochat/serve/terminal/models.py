"""Where a chat's models come from: a server at an address, or the checkpoints of this machine."""

from typing import Protocol

from nanochat.serve.client import ChatClient, ServedModel


class Models(Protocol):
    """The models that a chat can choose from."""

    client: ChatClient

    @property
    def where(self) -> str:
        """Where they answer, after a model's name: "at http://…", "on cpu in float32"."""

    async def open(self, name: str) -> ServedModel:
        """The model called `name`, ready to answer; "" is the default. Raises `UserError`."""

    async def names(self) -> list[str]:
        """The models there are, asked anew. Raises `UserError`."""

    def known(self) -> list[str]:
        """The same as far as known without waiting."""


class ServerModels:
    """The models of a server."""

    def __init__(self, client: ChatClient) -> None:
        self.client = client
        self._known: list[str] = []

    @property
    def where(self) -> str:
        return f"at {self.client.name}"

    async def open(self, name: str) -> ServedModel:
        model = await self.client.model(name)
        self._known = self._known or await self.names()
        return model

    async def names(self) -> list[str]:
        self._known = [model.id for model in await self.client.models()]
        return self._known

    def known(self) -> list[str]:
        return self._known
