"""One line about a command that works in the background: how far it is, or how it ended."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from nanochat.common.errors import UserError
from nanochat.common.text import sanitize
from tui.screens.tokenizer.jobs import job_of

if TYPE_CHECKING:
    from tui.data.tokenizer.command_job import CommandJob
    from tui.room import Room

BAR = 24


class JobLine(Static):
    """Follows the newest command of its `kind`; `group` is that of the key that cancels it."""

    DEFAULT_CSS = """
    JobLine { height: auto; background: $surface; display: none; }
    """

    class Ended(Message):
        """The command ended, and its result was kept."""

        def __init__(self, kept: Path) -> None:
            super().__init__()
            self.kept = kept

    def __init__(self, kind: str, group: str) -> None:
        super().__init__(markup=False)
        self._kind = kind
        self._group = group
        self.job: CommandJob | None = None

    def on_mount(self) -> None:
        job = job_of(cast("Room", self.app), self._kind)
        if job is not None and job.state == "running":
            self.follow(job)

    def on_unmount(self) -> None:
        if self.job is not None:
            self.job.changed = lambda: None

    def follow(self, job: CommandJob) -> None:
        """Shows how far `job` is."""
        self.job = job
        job.changed = self._changed
        self._changed()

    def _changed(self) -> None:
        job = self.job
        if job is None or not self.is_attached:
            return
        self.display = job.state in ("running", "failed")
        if job.state == "running":
            self.update(self._progress(job))
        elif job.state == "failed":
            said = job.remarks[-1] if job.remarks else "the command failed"
            self.update(Content.styled(f" ✗ {sanitize(said, 400)}", "$error"))
        if job.kept is not None:
            self.post_message(self.Ended(job.kept))

    def _progress(self, job: CommandJob) -> Content:
        from tui.keymap import hint

        room = cast("Room", self.app)
        share = job.progress.share
        filled = round(BAR * (share or 0.0))
        full, rest = ("█", "░") if room.unicode else ("#", ".")
        bar = full * filled + rest * (BAR - filled)
        key = hint(f"{self._group}.cancel", room.keymap)
        return Content.assemble(
            (f" {bar} ", "$primary"), (str(job.progress), "bold"), (f" · {key} cancels it", "$muted")
        )

    def cancel(self) -> None:
        """Cancels the command. Raises `UserError` where none is running."""
        if self.job is None or self.job.state != "running":
            raise UserError("nothing is running here")
        self.job.cancel()
