"""The models a server answers for: under which names, loaded when asked for, unloaded when room is needed.

    async with registry.use("sft/d20") as loaded:
        generation = loaded.worker().submit(request)

A name without a step is the checkpoint saved last. Each use looks whether it is still the one that is loaded,
and loads what was saved since: a training can be talked to while it runs.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from nanochat.checkpoint.files import META, Checkpoint
from nanochat.checkpoint.names import CheckpointName, known_names, newest_name, parse_name, resolve_name
from nanochat.common.errors import UserError, nearest
from nanochat.common.paths import Layout
from nanochat.common.text import size_bytes
from nanochat.serve.loaded import LoadedModel, ModelCard
from nanochat.serve.threads import in_thread
from nanochat.serve.worker import Busy

__all__ = ["LoadedModel", "ModelCard", "ModelRegistry", "ModelUnavailable", "ServedName", "UnknownModel"]

LOG = logging.getLogger("nanochat.serve")
ROOM_SECONDS = 10.0
"""How long a model that is asked for waits for another one to become idle, so that it can be unloaded."""
RETRY_SECONDS = 5.0
FAILURE_SECONDS = 10.0
"""How long a checkpoint that could not be loaded is not tried again while it is as it was."""


class _ModelError(UserError):
    """Why a model cannot be used. `base` is the folder that clients are not told of."""

    def __init__(self, message: str, hint: str = "", base: Path | None = None) -> None:
        super().__init__(message, hint)
        self._base = base

    @property
    def told(self) -> str:
        """The error as a client may read it, who may sit anywhere: paths begin in the base directory."""
        if self._base is None:
            return str(self)
        return str(self).replace(f" in {self._base} ", " ").replace(f"{self._base}{os.sep}", "")


class UnknownModel(_ModelError):  # noqa: N818 - what it says to people
    """No model is served under that id; the hint names the nearest."""


class ModelUnavailable(_ModelError):  # noqa: N818
    """A model is served but cannot be loaded: damaged, gone, or larger than the memory there is for it."""


@dataclass(frozen=True)
class ServedName:
    """A model's id and the checkpoint it stands for."""

    id: str
    name: CheckpointName

    @classmethod
    def parse(cls, text: str) -> "ServedName":
        """From `SOURCE/TAG[@STEP]` or `NAME=SOURCE/TAG[@STEP]`. Raises `UserError`."""
        given, equals, rest = text.partition("=")
        if not equals:
            name = parse_name(text)
            return cls(str(name), name)
        if not given.strip() or any(not char.isprintable() for char in given) or len(given) > 200:
            raise UserError(f"'{text[:200]}': the model's name before the = is empty, long or unprintable")
        return cls(given.strip(), parse_name(rest))


class Loader(Protocol):
    """Makes a checkpoint answer."""

    def bytes_needed(self, checkpoint: Checkpoint) -> int:
        """What it takes of each device's memory, or a little more."""

    def load(self, card: ModelCard, checkpoint: Checkpoint) -> LoadedModel:
        """Loads it; blocks. Raises `UserError`."""


Stamp = tuple[int, ...]
"""What changes on disk when a checkpoint is saved or replaced, cheap to read."""


class _Entry:
    """What the registry knows of a model it serves."""

    def __init__(self, served: ServedName, listed: bool = True, named: bool = True) -> None:
        self.served = served
        self.listed = listed
        """Named to clients: not where one asked for one step of a tag."""
        self.named = named
        """Given at the start, not found in the base directory or by a client's request."""
        self.stamp: Stamp = ()
        self.loaded: LoadedModel | None = None
        self.failure: UserError | None = None
        """Why what lay on disk at `stamp` cannot be loaded."""
        self.failed_at = 0.0
        self.refresh: asyncio.Task[None] | None = None


class ModelRegistry:
    """The models under their ids; the first is the one that "" stands for. Ids that stand for one checkpoint
    share one model in memory. With `serves_all` every checkpoint of the base directory is served by its
    name, and without a first one "" is the newest of the furthest stage.

    At most `max_bytes` of a device's memory hold models: the one used longest ago is unloaded first.
    Everything but loading happens in one event loop.
    """

    def __init__(
        self,
        layout: Layout,
        served: Sequence[ServedName],
        loader: Loader,
        max_bytes: int,
        serves_all: bool = False,
    ) -> None:
        self._layout, self._loader, self.max_bytes = layout, loader, max_bytes
        self.serves_all = serves_all
        self._entries = {one.id: _Entry(one) for one in served}
        if len(self._entries) < len(served):
            twice = next(one.id for one in served if sum(one.id == other.id for other in served) > 1)
            raise UserError(f"two models would be called '{twice}'", "name one with NAME=SOURCE/TAG")
        self._loading = asyncio.Lock()
        self._left = asyncio.Event()
        """Set whenever a model's user leaves."""
        self._retired: list[LoadedModel] = []
        """Replaced by what was saved since, and still answering."""
        self._closing = ""
        self.began = False
        """Whether a model has been loaded: from then on requests are answered, if need be after loading."""

    # -- what there is -----------------------------------------------------------------------------------

    def cards(self) -> list[ModelCard]:
        """Every model served whose checkpoint is there, loaded or not, in the order they were named."""
        found = []
        if self.serves_all:
            for name in known_names(self._layout):
                self._add(name, listed=True)
        for entry in self._entries.values():
            if not entry.listed:
                continue
            try:
                found.append(self._card(entry))
            except UserError as error:
                LOG.debug("%s", error)  # asking for it tells
        return found

    def card(self, model: str) -> ModelCard:
        """The model of that id. Raises `UnknownModel`, and `ModelUnavailable` when its files are gone."""
        return self._card(self._entry(model))

    def loaded(self) -> list[LoadedModel]:
        """The models in memory, each once."""
        held = [entry.loaded for entry in self._entries.values() if entry.loaded is not None]
        return list(dict.fromkeys(held)) + self._retired

    def _card(self, entry: _Entry) -> ModelCard:
        if entry.loaded is not None and stamp_of(entry.loaded.checkpoint) == entry.stamp:
            return entry.loaded.named(entry.served.id).card
        return ModelCard.of(entry.served.id, entry.served.name, self._find(entry))

    def _entry(self, model: str) -> _Entry:
        """The entry of an id, or of a step of a tag that is served whole."""
        entry = self._entries.get(model) if model else self._first()
        if entry is not None:
            return entry
        try:
            name = parse_name(model)
        except UserError:
            name = None
        served = [one.served for one in self._entries.values()]
        if name is not None and (
            self.serves_all
            or any(one.name in (name, CheckpointName(name.source, name.tag)) for one in served)
        ):
            try:
                self._find(_Entry(ServedName(str(name), name)))
            except ModelUnavailable as error:
                raise UnknownModel(error.message, error.hint, self._layout.base) from None
            return self._add(name, listed=self.serves_all and name.step is None)
        raise UnknownModel(f"no model '{model[:200]}' is served here", nearest(model[:200], self._entries))

    def _first(self) -> _Entry:
        """The entry that "" stands for."""
        named = next((entry for entry in self._entries.values() if entry.named), None)
        if named is not None:
            return named
        try:
            return self._add(newest_name(self._layout), listed=True)
        except UserError as error:
            raise UnknownModel(error.message, error.hint, self._layout.base) from None

    def _add(self, name: CheckpointName, listed: bool) -> _Entry:
        """The entry of a name that was not given one at the start."""
        return self._entries.setdefault(str(name), _Entry(ServedName(str(name), name), listed, named=False))

    def _find(self, entry: _Entry) -> Checkpoint:
        """The checkpoint that an entry stands for now. Raises `ModelUnavailable`."""
        try:
            return resolve_name(self._layout, entry.served.name)
        except UserError as error:
            raise ModelUnavailable(error.message, error.hint, self._layout.base) from None

    # -- using and loading --------------------------------------------------------------------------------

    @asynccontextmanager
    async def use(self, model: str) -> AsyncIterator[LoadedModel]:
        """The model of that id, loaded, and not unloaded before the block is left.

        Raises `UnknownModel`, `ModelUnavailable`, and `Busy` when other models leave it no room.
        """
        entry = self._entry(model)
        while not self._is_current(entry):
            if entry.refresh is None:
                entry.refresh = asyncio.create_task(self._refresh(entry))
                entry.refresh.add_done_callback(lambda task: task.cancelled() or task.exception())
            try:
                # A client that leaves does not stop it: others may wait for the same model.
                await asyncio.shield(entry.refresh)
            finally:
                if entry.refresh is not None and entry.refresh.done():
                    entry.refresh = None
            if entry.loaded is not None:
                break
        loaded = entry.loaded
        if loaded is None:
            assert entry.failure is not None
            raise ModelUnavailable(entry.failure.message, entry.failure.hint, self._layout.base)
        loaded.users += 1
        try:
            yield loaded.named(entry.served.id)
        finally:
            loaded.users -= 1
            loaded.last_used = time.monotonic()
            self._left.set()
            if not loaded.users and loaded in self._retired:
                self._retired.remove(loaded)
                await asyncio.shield(in_thread(loaded.close))

    def _is_current(self, entry: _Entry) -> bool:
        """Whether what is loaded, or failed to load, is what lies on disk."""
        if self._closing:
            raise ModelUnavailable(self._closing)
        if entry.loaded is not None:
            return not entry.loaded.broken and stamp_of(entry.loaded.checkpoint) == entry.stamp
        fresh = time.monotonic() - entry.failed_at < FAILURE_SECONDS
        return entry.failure is not None and fresh and self._stamp_now(entry) == entry.stamp

    def _stamp_now(self, entry: _Entry) -> Stamp:
        try:
            return stamp_of(self._find(entry))
        except ModelUnavailable:
            return ()

    async def _refresh(self, entry: _Entry) -> None:
        """Loads what lies on disk, where that is not what is loaded. A usable model stays where it fails."""
        async with self._loading:
            old = entry.loaded if entry.loaded is not None and not entry.loaded.broken else None
            try:
                checkpoint, stamp = await in_thread(lambda: self._find_with_stamp(entry))
                if old is not None and weights_of(old.checkpoint) == weights_of(checkpoint):
                    # Only its metadata changed, or another checkpoint of the folder.
                    old.checkpoint, entry.stamp = checkpoint, stamp
                    return
                await self._take(entry, self._twin(checkpoint) or await self._load(entry, checkpoint))
                entry.stamp, entry.failure = stamp, None
            except UserError as error:
                entry.failure, entry.failed_at = error, time.monotonic()
                entry.stamp = self._stamp_now(entry)
                if entry.loaded is not None and entry.loaded is old:
                    entry.stamp = stamp_of(entry.loaded.checkpoint)
                    LOG.warning("still answering with %s: %s", entry.loaded.card.name, error)
            except Busy:
                if entry.loaded is None or entry.loaded is not old:
                    raise

    def _find_with_stamp(self, entry: _Entry) -> tuple[Checkpoint, Stamp]:
        """The checkpoint, and the state of the disk in which it is that one."""
        checkpoint = self._find(entry)
        while True:
            stamp = stamp_of(checkpoint)
            again = self._find(entry)  # one that was saved before the stamp was taken
            if weights_of(again) == weights_of(checkpoint):
                return checkpoint, stamp
            checkpoint = again

    def _twin(self, checkpoint: Checkpoint) -> LoadedModel | None:
        """The model that another id has loaded from this checkpoint."""
        weights = weights_of(checkpoint)
        held = (entry.loaded for entry in self._entries.values())
        return next(
            (one for one in held if one and not one.broken and weights_of(one.checkpoint) == weights), None
        )

    async def _load(self, entry: _Entry, checkpoint: Checkpoint) -> LoadedModel:
        card = ModelCard.of(entry.served.id, entry.served.name, checkpoint)
        needed = self._loader.bytes_needed(checkpoint)
        if needed > self.max_bytes:
            raise ModelUnavailable(
                f"{card.name} takes {size_bytes(needed)}, and models may take {size_bytes(self.max_bytes)}",
                "raise --max-memory, or lower --max-rows or --prefix-cache",
            )
        await self._make_room(entry, needed)
        loaded = await in_thread(lambda: self._loader.load(card, checkpoint))
        if self._closing:
            await in_thread(loaded.close)
            raise ModelUnavailable(self._closing)
        self.began = True
        return loaded

    async def _take(self, entry: _Entry, loaded: LoadedModel) -> None:
        """Answers with `loaded` from now on; what answers for no id any more goes when its users left."""
        old, entry.loaded = entry.loaded, loaded
        if old is not None and old not in self.loaded():
            self._retired.append(old)
        await self._close_unused()

    async def _make_room(self, entry: _Entry, needed: int) -> None:
        """Unloads idle models until `needed` bytes fit: that which `entry` replaces, then the one used
        longest ago. Waits for one to become idle, but not where what `entry` has loaded can answer
        meanwhile; raises `Busy` when none does."""
        answers = entry.loaded is not None and not entry.loaded.broken
        patience = asyncio.get_running_loop().time() + (0 if answers else ROOM_SECONDS)
        while sum(model.bytes for model in self.loaded()) + needed > self.max_bytes:
            idle = [one for one in self._entries.values() if one.loaded is not None and not one.loaded.users]
            if idle:
                first = min(
                    idle, key=lambda one: (one is not entry, one.loaded.last_used if one.loaded else 0)
                )
                if first.loaded is not None:
                    await self._unload(first.loaded)
                continue
            self._left.clear()
            try:
                async with asyncio.timeout_at(patience):
                    await self._left.wait()
            except TimeoutError:
                raise Busy(RETRY_SECONDS) from None

    async def unload_idle(self, seconds: float) -> None:
        """Unloads the models that nobody has used for that long."""
        async with self._loading:
            for model in self.loaded():
                if not model.users and time.monotonic() - model.last_used > seconds:
                    await self._unload(model)

    async def _unload(self, model: LoadedModel) -> None:
        for entry in self._entries.values():
            if entry.loaded is model:
                entry.loaded = None
        await in_thread(model.close)

    async def _close_unused(self) -> None:
        for old in [model for model in self._retired if not model.users]:
            self._retired.remove(old)
            await in_thread(old.close)

    async def close(self, why: str = "the server ends") -> bool:
        """Ends every model's thread; what still runs fails with `why`. Returns whether all threads ended."""
        self._closing = why
        models = self.loaded()
        for entry in self._entries.values():
            entry.loaded = None
        self._retired.clear()
        ended = await asyncio.gather(*(in_thread(partial(model.close, why)) for model in models))
        return all(ended) and not self._loading.locked()


def stamp_of(checkpoint: Checkpoint) -> Stamp:
    """The state of a checkpoint's folder and file; () when it is gone."""
    marker = checkpoint.path if checkpoint.is_upstream else checkpoint.path / META
    try:
        tag, file = checkpoint.path.parent.stat(), marker.stat()
    except OSError:
        return ()
    return tag.st_mtime_ns, file.st_mtime_ns, file.st_ino, file.st_size


def weights_of(checkpoint: Checkpoint) -> object:
    """Equal for checkpoints with the same weights."""
    if checkpoint.is_upstream:
        return checkpoint.path, stamp_of(checkpoint)[1:]
    return checkpoint.path, checkpoint.saved_at, str(checkpoint.meta.get("files"))
