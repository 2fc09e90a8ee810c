"""What screens share whose results a command writes: kept under the base directory, one of them shown."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from nanochat.common.paths import expanded
from nanochat.config.options import changed, to_argv
from tui.data.tokenizer.kept import Kept, keep, listed
from tui.screens.base import ControlScreen
from tui.screens.tokenizer import jobs
from tui.screens.tokenizer.job_line import JobLine

if TYPE_CHECKING:
    from nanochat.config.options import Options

Document = TypeVar("Document")


class KeptResults(ControlScreen, Generic[Document]):
    """The newest result is shown first; others by key, and files that are opened beside them."""

    kind: ClassVar[str]
    """The job that makes one; `setting` is where its form is kept."""
    setting: ClassVar[str]
    noun: ClassVar[str]
    """What a result is called."""
    command: ClassVar[tuple[str, ...]]
    """The words of the command that writes one with `--json`."""
    results: ClassVar[str]
    """The folder of the base directory that they are kept in."""

    def __init__(self) -> None:
        super().__init__()
        self.line = JobLine(self.kind, self.groups[0])
        self.known: list[Kept[Document]] = []
        self.at = 0

    @abstractmethod
    def read_result(self, path: Path) -> Document:
        """One result. Blocks on the disk. Raises `UserError`."""

    @abstractmethod
    def show_result(self) -> None:
        """Shows `here`."""

    @property
    def folder(self) -> Path:
        """Where results are kept."""
        return self.room.layout.base / self.results

    @property
    def here(self) -> Kept[Document] | None:
        """The result that is shown."""
        return self.known[self.at] if self.at < len(self.known) else None

    def on_mount(self) -> None:
        self.run_worker(self._read(), group="read", exclusive=True)

    async def _read(self, first: Path | None = None) -> None:
        """Reads what is kept, and shows `first`, else the newest."""
        found, problems = await asyncio.to_thread(listed, self.folder, self.read_result)
        opened = [one for one in self.known if one.path.parent != self.folder]
        self.known = sorted([*found, *opened], key=lambda one: -one.t)
        for line in problems[:3]:
            self.room.say(line, "warning")
        self.at = next((at for at, one in enumerate(self.known) if one.path == first), 0)
        self.show_result()

    def on_job_line_ended(self, event: JobLine.Ended) -> None:
        self.run_worker(self._read(event.kept), group="read", exclusive=True)

    def start(self, options: Options) -> None:
        """Runs the command on this machine, in a process that goes on when this screen is left."""
        self.room.remember(self.setting, changed(options))
        words = [*self.command, f"--base-dir={self.room.layout.base}", *to_argv(options), "--json"]
        folder = self.folder
        self.line.follow(jobs.start(self.room, self.kind, words, lambda printed: keep(folder, printed)))

    # ---- keys ----------------------------------------------------------------------------------------

    def action_go(self, by: int) -> None:
        """An older result, or a newer one."""
        to = self.at + by
        if not 0 <= to < len(self.known):
            self.room.say(f"this is the {'oldest' if by > 0 else 'newest'} {self.noun}")
            return
        self.at = to
        self.show_result()

    def action_run(self) -> None:
        self.run_worker(self.ask_options(), group="ask", exclusive=True)

    @abstractmethod
    async def ask_options(self) -> Any:
        """Opens the command's form, and starts what is chosen."""

    def action_cancel(self) -> None:
        self.line.cancel()

    def action_open(self) -> None:
        self.run_worker(self._open(), group="open")

    async def _open(self) -> None:
        about = f"a file that nanochat {' '.join(self.command)} --json wrote"
        text = await self.room.ask(f"open a {self.noun}", about)
        if not text:
            return
        path = self.located(expanded(text).absolute())
        document = await asyncio.to_thread(self.read_result, path)
        self.known = [one for one in self.known if one.path != path]
        self.known.insert(0, Kept(path, time.time(), document))
        self.at = 0
        self.show_result()

    def located(self, path: Path) -> Path:
        """The file that a person means by `path`."""
        return path
