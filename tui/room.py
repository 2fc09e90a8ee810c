"""What screens, widgets and actions use of the app. They know this and not the app, which makes them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from textual.dom import DOMNode

    from nanochat.checkpoint.names import CheckpointName
    from nanochat.common.paths import Layout
    from remote.fleet.fleet import Fleet
    from remote.hosts.book import Host
    from remote.report.write import Written
    from remote.runs import Link, RunRow
    from remote.store.store import Store

Severity = Literal["information", "warning", "error"]
GLYPHS: dict[Severity, str] = {"information": "·", "warning": "!", "error": "✗"}


@dataclass(frozen=True)
class Said:
    """A message: when it was said (unix time, s) and until when it is shown (monotonic time, s)."""

    text: str
    severity: Severity
    at: float
    until: float

    @property
    def glyph(self) -> str:
        """The sign in front, so that the severity does not rest on colour."""
        return GLYPHS[self.severity]

    @property
    def remaining(self) -> float:
        """Seconds for which it is still shown; not above 0 when that is over."""
        return self.until - monotonic()


class Room(Protocol):
    """The app as the rest of `tui` knows it; `tui.app.ControlRoom` is one. A variable `room` holds it."""

    # ---- data ----------------------------------------------------------------------------------------

    @property
    def layout(self) -> Layout:
        """The paths of the base directory."""

    @property
    def rows(self) -> Sequence[RunRow]:
        """Every run, newest first, as last read."""

    @property
    def partial(self) -> bool:
        """True in the first moment, while `rows` are only the newest runs and those that are live."""

    @property
    def links(self) -> Mapping[str, Link]:
        """The state of the connection to each host."""

    @property
    def hosts(self) -> Sequence[Host]:
        """The host book as last read."""

    @property
    def host_problems(self) -> Sequence[str]:
        """What is wrong with entries of the host book that cannot be used, a line each."""

    @property
    def store(self) -> Store:
        """The store on this machine. Reading it blocks: do it in a thread."""

    @property
    def fleet(self) -> Fleet:
        """The running fleet. Raises `UserError` in the first moments, when there is none yet."""

    @property
    def run_key(self) -> str:
        """The key of the run that the Run screen shows, or ""."""

    @property
    def shown_run(self) -> RunRow | None:
        """The run of the Run screen, as last read."""

    @property
    def tabs(self) -> Sequence[tuple[str, str, str]]:
        """Number, name and title of every screen in the top bar."""

    @property
    def keymap(self) -> Mapping[str, str]:
        """The keys that the keymap file remaps, by the id of their action."""

    @property
    def trouble(self) -> str:
        """Why the store cannot be written at present, as one line; empty while all is well."""

    @property
    def frozen(self) -> bool:
        """True while the display does not follow the data."""

    @property
    def readonly(self) -> bool:
        """True when nothing may be started, stopped or changed."""

    @property
    def unicode(self) -> bool:
        """False when plots and the machine panel are drawn in ASCII."""

    def host(self, name: str) -> Host:
        """The host called `name`; one that was removed since is known by its name alone."""

    def silent_hosts(self) -> frozenset[str]:
        """Hosts whose link is not up: what is shown of them may be out of date."""

    async def read_hosts(self) -> None:
        """Reads the host book again, after one was added or removed."""

    async def reread(self) -> None:
        """Reads every run again and updates the screen in front."""

    def setting(self, name: str) -> Any:
        """What was remembered under `name`, at this start or an earlier one; None for nothing."""

    # ---- doing things --------------------------------------------------------------------------------

    def remember(self, name: str, value: Any) -> None:
        """Keeps a JSON value for the next start, in the background; that it cannot be written is said."""

    def say(self, text: str, severity: Severity = "information") -> None:
        """Shows one line for a few seconds. The text is never read as markup."""

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` in the background, whatever screen is shown meanwhile; an error it raises is said.

        Work that comes back to a screen is given to that screen's own `run_worker`: it ends with the screen.
        """

    @property
    def message(self) -> Said | None:
        """The message to show now."""

    def lend_terminal(self) -> AbstractAsyncContextManager[None]:
        """Gives the terminal to another program within the block; the app goes on following its hosts.

        Raises `UserError` where that cannot be done.
        """

    async def confirm(self, title: str, text: str, *, key: str = "", verb: str, word: str = "") -> bool:
        """Asks before something is lost. True when `key` was pressed, or `word` typed and entered.

        Only work given to `do` may await it.
        """

    async def ask(self, title: str, placeholder: str = "", value: str = "") -> str | None:
        """Asks for a line of text, which begins as `value`; None when it is not given.

        Only work given to `do` may await it.
        """

    def open_run(self, key: str, follow: bool = False) -> None:
        """Shows one run. With `follow` the rest of its plan is shown even if it has ended already."""

    async def open_comparison(self, keys: Sequence[str]) -> None:
        """Shows two to six runs side by side."""

    def show_report(self, written: Written) -> None:
        """Opens a report that was written."""

    def chat_with(self, run: RunRow) -> None:
        """Goes to Chat, with a pane on the newest checkpoint of a run."""

    def chat_with_checkpoint(self, host: str, name: CheckpointName) -> None:
        """Goes to Chat, with a pane on a checkpoint of a host."""

    def action_target(self, group: str) -> DOMNode:
        """The screen or widget that runs the actions of a key group: the focused one, else the first."""

    async def action_go(self, name: str) -> None:
        """Goes to the screen called `name` in the top bar."""

    def action_launch(self, host: str = "") -> None:
        """Opens the form that launches one stage, on `host` or on the one that it was left at."""

    def launch_with(self, host: str, stage: str, values: Mapping[str, Any]) -> None:
        """Opens the form that launches one stage, with these options filled in."""

    # ---- Textual's own -------------------------------------------------------------------------------

    def call_from_thread(self, callback: Callable[..., Any], *args: Any) -> Any:
        """Calls `callback` in the event loop and returns its result."""

    def copy_to_clipboard(self, text: str) -> None:
        """Sends `text` to the terminal's clipboard (OSC 52)."""
