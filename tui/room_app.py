"""The app as its screens know it: the data they read, and the questions they ask."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from tui.data.feed import Feed
from tui.data.settings import Settings
from tui.standing_app import StandingApp

if TYPE_CHECKING:
    from remote.fleet.fleet import Fleet
    from remote.hosts.book import Host
    from remote.runs import Change, Link, RunRow
    from remote.store.store import Store
    from remote.transport.base import UnknownHostKey


class RoomApp(StandingApp):
    """An app over one base directory, with its feed of runs. A fleet is made when none is given."""

    def __init__(self, layout: Layout, fleet: Fleet | None = None) -> None:
        super().__init__()
        self.layout = layout
        self.base = layout.base
        self.rows: list[RunRow] = []
        self.links: dict[str, Link] = {}
        self.feed = Feed(layout, fleet, self._on_rows, self._pace)
        self.settings = Settings(layout)
        self.hosts: list[Host] = []
        self.host_problems: list[str] = []
        self.run_key = ""

    @abstractmethod
    def _on_rows(self, rows: list[RunRow], changes: frozenset[Change]) -> None:
        """Called with every run when some have changed."""

    @abstractmethod
    def _pace(self) -> float:
        """Seconds between two such calls, at least."""

    # ---- what screens read ---------------------------------------------------------------------------

    @property
    def fleet(self) -> Fleet:
        """The running fleet. Raises `UserError` in the first moments, when there is none yet."""
        if self.feed.fleet is None:
            raise UserError("still starting", "try again in a second")
        return self.feed.fleet

    @property
    def store(self) -> Store:
        """The store, opened on first use."""
        return self.feed.store

    @property
    def trouble(self) -> str:
        """Why the store cannot be written at present, as one line; empty while all is well."""
        return self.feed.trouble

    @property
    def frozen(self) -> bool:
        """True while the display does not follow the data."""
        return self.feed.frozen

    def host(self, name: str) -> Host:
        """The host called `name`; one that was removed since is known by its name alone."""
        from remote.hosts.book import Host

        return next((host for host in self.hosts if host.name == name), None) or Host(name=name, address=name)

    async def read_hosts(self) -> None:
        """Reads the host book again, after one was added or removed."""
        from remote.hosts.book import HostBook

        self.hosts, self.host_problems = await asyncio.to_thread(HostBook(self.layout).read)

    def silent_hosts(self) -> frozenset[str]:
        """Hosts whose link is not up: what is shown of them may be out of date."""
        hosts = {run.host for run in self.rows}
        return frozenset(name for name in hosts if name not in self.links or self.links[name].status != "up")

    def setting(self, name: str) -> Any:
        """What was remembered under `name`, at this start or an earlier one; None for nothing."""
        return self.settings.get(name)

    def remember(self, name: str, value: Any) -> None:
        """Keeps a JSON value for the next start, in the background; that it cannot be written is said."""
        self.do(asyncio.to_thread(self.settings.set, name, value))

    @property
    def shown_run(self) -> RunRow | None:
        """The run of the Run screen, as last read."""
        return next((run for run in self.rows if run.key == self.run_key), None)

    def listed(self, key: str) -> str:
        """The key under which the run `key` is listed now: its row may have moved to where it runs."""
        if any(run.key == key for run in self.rows):
            return key
        run_id = key.partition("/")[2]
        return next((run.key for run in self.rows if run.run_id == run_id), key)

    def live_run(self) -> RunRow | None:
        """The newest run that is at work, else the first of the newest queue, else None."""
        at_work = next((run for run in self.rows if run.at_work), None)
        queued = next((run for run in self.rows if run.live), None)
        if at_work is not None or queued is None:
            return at_work
        queue = [run for run in self.rows if run.live and run.plan_id == queued.plan_id]
        return min(queue, key=lambda run: run.plan_index) if queued.plan_id else queued

    # ---- what screens ask ----------------------------------------------------------------------------

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` in the background, whatever screen is shown meanwhile; an error it raises is said."""
        self.run_worker(work)

    async def confirm(self, title: str, text: str, *, key: str = "", verb: str, word: str = "") -> bool:
        """Asks before something is lost. While a question is open, a second one is answered with False."""
        from tui.screens.confirm import Confirm

        if isinstance(self.screen, Confirm):
            return False
        return await self.push_screen_wait(Confirm(title, text, key=key, verb=verb, word=word))

    async def ask(self, title: str, placeholder: str = "", value: str = "") -> str | None:
        """Asks for a line of text. While a question is open, a second one is answered with None."""
        from tui.screens.ask import Ask

        if isinstance(self.screen, Ask):
            return None
        return await self.push_screen_wait(Ask(title, placeholder, value))

    async def _ask_host_key(self, unknown: UnknownHostKey) -> bool:
        """Asks whether a host is to be trusted. The question goes away with the connection that asks."""
        from tui.screens.host_key import HostKey

        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def answered(yes: bool | None) -> None:
            if not answer.done():
                answer.set_result(bool(yes))

        def ask() -> None:
            if not answer.done():
                self.push_screen(dialog, answered)

        dialog = HostKey(unknown)
        self.call_later(ask)
        try:
            return await answer
        except asyncio.CancelledError:
            dialog.withdraw()
            raise

    async def open_comparison(self, keys: Sequence[str]) -> None:
        """Shows two to six runs side by side, over the screen in front."""
        from tui.screens.compare import load

        await asyncio.to_thread(load)
        from tui.screens.compare.screen import CompareScreen

        await self.push_screen(CompareScreen(keys))
