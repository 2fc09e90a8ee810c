"""What the user can do to a run from any screen: pin, stop, resume, copy its command, open a shell."""

from __future__ import annotations

import asyncio
import shlex
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError
from nanochat.common.text import sanitize
from remote.transport.login_shell import script_line
from tui.actions import clipboard
from tui.actions.command_line import quote, reproduce

if TYPE_CHECKING:
    from remote.runs import RunRow
    from tui.room import Room


async def pin(room: Room, run: RunRow) -> None:
    """Pins a run to the top of the table, or unpins it."""
    await asyncio.to_thread(room.store.pin, run.key, not run.pinned)
    await room.reread()


async def stop(room: Room, run: RunRow) -> None:
    """Stops the run after the user has confirmed it."""
    if not run.live:
        room.say(f"{sanitize(run.label)} has ended already", "warning")
        return
    if await room.confirm(
        f"Stop {_describe(run)}?",
        "The stage is asked to save and exit (SIGINT); after 20 s it is forced to. If it does not save, "
        "everything after its last checkpoint is lost. Runs that need it will not start.",
        key="y",
        verb="stop it",
    ):
        await room.fleet.stop(run.key)
        room.say(f"■ {sanitize(run.label)}: asked to stop")


def _describe(run: RunRow) -> str:
    name = run.label
    return sanitize(f"{run.stage} of {name}" if name != run.stage else name) + f" on {sanitize(run.host)}"


async def resume(room: Room, run: RunRow) -> None:
    """Starts a new attempt of an ended run after the user has confirmed it."""
    if run.live:
        room.say(f"{sanitize(run.label)} is still {run.status}", "warning")
        return
    if await room.confirm(
        f"Resume {_describe(run)}?",
        "A new attempt starts in the same run directory. A training stage resumes from its newest complete "
        "checkpoint, or starts over if there is none; later points of the old attempt are superseded.",
        key="y",
        verb="resume it",
    ):
        await room.fleet.resume(run.key)
        room.say(f"● {sanitize(run.label)}: a new attempt starts")


async def copy_command(room: Room, run: RunRow) -> None:
    """Copies the command that reproduces the run, and says where it went."""
    await copy_text(room, reproduce(run, room.host(run.host)), "the command")


async def copy_text(room: Room, text: str, what: str) -> None:
    """Copies `text` and says where it went."""
    place = await asyncio.to_thread(
        clipboard.copy,
        text,
        lambda value: room.call_from_thread(room.copy_to_clipboard, value),
        room.layout.base,
    )
    room.say(f"{what} is on {place}" if not place.startswith("/") else f"{what} is in {place}")


async def open_shell(room: Room, run: RunRow) -> None:
    """Lends the terminal to a shell in the run's directory, until that exits."""
    await shell_on(room, run.host, f"runs/{run.run_id}")


async def shell_on(room: Room, name: str, folder: str = "") -> None:
    """A shell in `folder` under the host's base directory, on this machine or through ssh.

    `NANOCHAT_BASE_DIR` is set in it, so that a `nanochat` command there sees the same runs.
    """
    argv, shown = shell_command(room, name, folder)
    async with room.lend_terminal():
        print(f"\n{shlex.join(shown)}\nexit returns to the control room\n", flush=True)
        try:
            process = await asyncio.create_subprocess_exec(*argv)
        except OSError as error:
            raise UserError(f"cannot start {argv[0]}: {error.strerror}") from error
        code = await process.wait()
    if code not in (0, 130):
        room.say(f"the shell exited with {code}", "warning")


def shell_command(room: Room, name: str, folder: str = "") -> tuple[list[str], list[str]]:
    """The command of such a shell, and how it is shown to a person."""
    host = room.host(name)
    where = f"{host.base_dir.rstrip('/')}/{folder}".rstrip("/")
    inside = (
        f"NANOCHAT_BASE_DIR={quote(host.base_dir)}; export NANOCHAT_BASE_DIR; "
        f'cd {quote(where)} && exec "${{SHELL:-/bin/sh}}" -i'
    )
    if host.kind != "ssh":
        return ["sh", "-c", inside], ["sh", "-c", inside]
    ssh = ["ssh", "-t", *_ssh_options(room, name), "--", host.address]
    # The login shell there may be fish or csh, which read such a line otherwise than sh does.
    return [*ssh, script_line(inside)], [*ssh, inside]


def _ssh_options(room: Room, name: str) -> list[str]:
    from remote.transport.ssh_config import config_word

    host = room.host(name)
    options = ["-o", f"UserKnownHostsFile={config_word(str(room.layout.known_hosts))} ~/.ssh/known_hosts"]
    if host.port:
        options += ["-p", str(host.port)]
    if host.user:
        options += ["-l", host.user]
    if host.key:
        options += ["-i", host.key]
    return options
