"""What the Checkpoints screen does with a checkpoint: chat, evaluate, train on, copy, export, delete."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError
from nanochat.common.text import amount, percent, sanitize, size_bytes
from remote.checkpoints.table import Row, depends
from remote.hosts.book import LOCAL
from tui.actions.command_line import checkpoints_line, export_line
from tui.actions.run import copy_text
from tui.data.checkpoints.launch_values import evaluation_request, next_stage_request, resume_request
from tui.keymap import with_keys
from tui.screens.word_filter import WordFilter

if TYPE_CHECKING:
    from remote.checkpoints.lineage import Family
    from remote.checkpoints.saved import SavedCheckpoint
    from tui.data.checkpoints.tree import Line
    from tui.widgets.checkpoints.checkpoint_table import CheckpointTable


class CheckpointActions(WordFilter):
    """A screen with a table of checkpoints."""

    table: CheckpointTable
    rows: list[Row]
    family: Family

    def __init__(self) -> None:
        super().__init__()
        self.copies: dict[str, str] = {}
        """What is said of each copy under way, by the key of its checkpoint and where it goes."""
        self._copying: dict[str, asyncio.Task[object]] = {}

    def line_here(self) -> Line:
        raise NotImplementedError

    def show_detail(self) -> None:
        raise NotImplementedError

    def show_rows_soon(self) -> None:
        raise NotImplementedError

    def _here(self) -> SavedCheckpoint:
        """The checkpoint under the cursor; of a tag the one that its name stands for."""
        return self.line_here().row.one

    # ---- chat, evaluate, train -----------------------------------------------------------------------

    def action_chat(self) -> None:
        one = self._here()
        self.room.chat_with_checkpoint(one.host, one.name)

    def action_evaluate(self) -> None:
        self.room.launch_with(*evaluation_request(self._here()))

    def action_resume(self) -> None:
        self.room.launch_with(*resume_request(self._here()))

    def action_next_stage(self) -> None:
        self.room.launch_with(*next_stage_request(self._here()))

    # ---- copies --------------------------------------------------------------------------------------

    def action_pull(self) -> None:
        one = self._here()
        if one.host == LOCAL:
            raise UserError(
                f"{one.name} is on this machine",
                with_keys("{checkpoints.push} copies it to another host", self.room.keymap),
            )
        self.room.do(self._copy(one, LOCAL))

    def action_push(self) -> None:
        self.room.do(self._push(self._here()))

    async def _push(self, one: SavedCheckpoint) -> None:
        others = [host.name for host in self.room.hosts if host.name != one.host]
        if not others:
            raise UserError("there is no other host", with_keys("{app.hosts} adds one", self.room.keymap))
        told = f"copy {one.name} to"
        to = others[0] if len(others) == 1 else await self.room.ask(told, ", ".join(others)[:200])
        if not to:
            return
        if to not in others:
            raise UserError(f"no host is called '{sanitize(to, 60)}'", f"there are {', '.join(others)}")
        if len(others) == 1 and not await self.room.confirm(
            f"copy {one.name} to {to}?", f"{size_bytes(one.bytes)} are sent there", key="enter", verb="copy"
        ):
            return
        await self._copy(one, to)

    async def _copy(self, one: SavedCheckpoint, to: str) -> None:
        """Copies, whatever screen is in front meanwhile; what is on the way is told below the table."""
        key = f"{one.key} {to}"
        task = asyncio.current_task()
        if key in self.copies or task is None:
            raise UserError(f"{one.name} is being copied to {to}", "it goes on by itself")
        self._copying[key] = task
        self._say_copy(key, one, to, 0, one.bytes)
        try:
            done = await self.room.fleet.checkpoints.copy(
                one, to, lambda now, total: self._say_copy(key, one, to, now, total)
            )
            self.room.say(f"{one.name} is on {to}: {size_bytes(done.bytes)} copied")
        except asyncio.CancelledError:
            self.room.say(f"the copy of {one.name} was ended; begun again it goes on from where it was")
            raise
        finally:
            del self._copying[key], self.copies[key]
            if self.is_running:
                self.table.copying = {}
                self.show_rows_soon()

    def _say_copy(self, key: str, one: SavedCheckpoint, to: str, done: int, total: int) -> None:
        share = percent(done / total if total else 1.0)
        where = "here" if to == LOCAL else f"to {to}"
        told = f"{one.host}:{one.name} {where}: {share} of {size_bytes(total)}"
        if self.copies.get(key) != told:
            self.copies[key] = told
            if self.is_running and self.is_current:
                begins = not self.table.copying
                self.table.copying = {one.key: f"{share} {where}"}
                if begins:
                    self.show_filtered()  # the column that tells it appears
                self.table.refresh()
                self.show_detail()

    def action_cancel(self) -> None:
        if not self._copying:
            self.room.say("nothing is being copied")
        for task in list(self._copying.values()):
            task.cancel()

    # ---- delete --------------------------------------------------------------------------------------

    def action_mark(self) -> None:
        line = self.line_here()
        keys = {line.row.one.key}
        if line.steps:
            keys = {row.one.key for row in self.rows if _tag(row) == line.tag}
        chosen = set(self.table.chosen)
        self.table.chosen = frozenset(chosen - keys if keys <= chosen else chosen | keys)
        self.show_filtered()
        self.table.refresh()
        self.table.action_move(1)

    def action_delete(self) -> None:
        line = self.line_here()
        rows = [row for row in self.rows if row.one.key in self.table.chosen]
        if not rows and line.steps:
            raise UserError(
                f"{line.row.one.name.source}/{line.row.one.name.tag} has {line.steps} steps",
                with_keys("{checkpoints.mark} marks them all, then delete", self.room.keymap),
            )
        rows = rows or [line.row]
        for row in rows:
            if row.users:
                raise UserError(
                    f"{row.one.name} is in use by {'; '.join(row.users)}",
                    "wait for it or end it, then delete",
                )
        self.room.do(self._delete(rows))

    async def _delete(self, rows: list[Row]) -> None:
        """Asks with what depends on them, and deletes one after the other."""
        first = rows[0].one
        word = str(first.name) if len(rows) == 1 else "delete"
        size = size_bytes(sum(row.one.bytes for row in rows))
        lines = [f"{size} on {', '.join(dict.fromkeys(row.one.host for row in rows))}, for good"]
        for row in rows[:6]:
            told = depends(row, self.family)
            lines += [f"· {row.one.name}" if len(rows) > 1 else ""] + [f"  {line}" for line in told]
        if len(rows) > 6:
            lines.append(f"and {len(rows) - 6} more")
        what = str(first.name) if len(rows) == 1 else amount(len(rows), "checkpoint")
        text = sanitized("\n".join(line for line in lines if line))
        if not await self.room.confirm(f"delete {what}?", text, word=word, verb="delete"):
            return
        try:
            for row in rows:
                await self.room.fleet.checkpoints.delete(row.one)
                self.table.chosen = frozenset(self.table.chosen) - {row.one.key}
        finally:
            self.show_rows_soon()  # where one is refused, those before it are gone
        self.room.say(f"deleted {what}: {size} are free again")

    # ---- commands ------------------------------------------------------------------------------------

    def action_export(self) -> None:
        one = self._here()
        self.room.do(
            copy_text(self.room, export_line(one.name, self.room.host(one.host)), "the command to export it")
        )

    def action_copy(self) -> None:
        one = self._here()
        words = ["show", str(one.name) if one.host == LOCAL else f"{one.host}:{one.name}"]
        self.room.do(copy_text(self.room, checkpoints_line(words, str(self.room.layout.base)), "the command"))


def _tag(row: Row) -> tuple[str, str, str]:
    return row.one.host, row.one.name.source, row.one.name.tag


def sanitized(text: str) -> str:
    """Lines, each clean."""
    return "\n".join(sanitize(line, 400) for line in text.split("\n"))
