"""What keeps the app standing: no error ends it, every message is one line, a shell borrows the terminal."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from textual.app import App, SuspendNotSupported
from textual.content import Content
from textual.css.query import NoMatches
from textual.events import InputEvent
from textual.markup import MarkupError
from textual.message import Message
from textual.timer import Timer
from textual.worker import WorkerFailed

from nanochat.common.errors import UserError
from tui.data.messages import Messages
from tui.driver import PromptDriver
from tui.room import Said
from tui.widgets.message_line import MessageLine

if TYPE_CHECKING:
    from textual.dom import DOMNode
    from textual.widget import Widget

    from tui.room import Severity


class StandingApp(App[str]):
    """An app that a mistake does not end.

    Textual ends the app when a handler, an action, a timer or a worker raises. Here a `UserError` becomes one
    line, and any other exception one line that names the file with its traceback, under the folder `base`.
    """

    base: Path

    def __init__(self) -> None:
        super().__init__(driver_class=PromptDriver)
        self.messages = Messages()
        self.unexpected: list[BaseException] = []
        self.lent = False
        self.last_input = monotonic()
        self._closed_down = False
        self._kept: dict[str, str] = {}
        self._message_timer: Timer | None = None

    # ---- errors --------------------------------------------------------------------------------------

    async def _dispatch_message(self, message: Message) -> None:
        """Handles one message of the app's own queue. Textual would leave its loop at an exception."""
        if isinstance(message, InputEvent):
            self.last_input = monotonic()
        try:
            await super()._dispatch_message(message)
        except Exception as error:
            self._handle_exception(error)

    def _register_child(self, parent: DOMNode, child: Widget, before: int | None, after: int | None) -> None:
        """Gives each widget and screen the same guard before it starts to handle messages."""
        dispatch = child._dispatch_message

        async def guarded(message: Message) -> None:
            try:
                await dispatch(message)
            except Exception as error:
                self._handle_exception(error)

        child.__dict__.setdefault("_dispatch_message", guarded)
        super()._register_child(parent, child, before, after)

    async def _shutdown(self) -> None:
        self._closed_down = True
        await super()._shutdown()

    def _handle_exception(self, error: Exception) -> None:
        """Called by Textual, and by the guards above, with whatever was raised anywhere in the app."""
        if isinstance(error, WorkerFailed) and isinstance(error.error, Exception):
            error = error.error
        if self._exit or self._closed_down:
            # A worker that comes back to a screen half closed finds its widgets gone, and nobody to read it.
            if not isinstance(error, (UserError, NoMatches)):
                self._keep(error)
        elif not self._running or not self.screen_stack:
            self._end_before_start(error)
        elif isinstance(error, UserError):
            self.say(str(error), "error")
        else:
            kept = self._keep(error)
            self.say(f"unexpected error, kept in {kept} · {type(error).__name__}: {error}", "error")

    def _end_before_start(self, error: Exception) -> None:
        """There is no screen to say it on: the app ends with one line."""
        if isinstance(error, UserError):
            self.exit(return_code=error.exit_code, message=f"nanochat: {error}")
        else:
            kept = self._keep(error)
            said = f"nanochat: unexpected error, kept in {kept} · {type(error).__name__}: {error}"
            self.exit(return_code=1, message=said)

    def _keep(self, error: Exception) -> str:
        """Keeps the traceback, once for each place in the code that fails; returns where."""
        from tui.data.error_report import keep_traceback

        self.unexpected.append(error)
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{type(error).__name__} {frames[-1].filename}:{frames[-1].lineno}" if frames else repr(error)
        if place not in self._kept:
            where = f"screen {type(self.screen).__name__}" if self.screen_stack else "no screen"
            path = keep_traceback(error, self.base, where)
            self._kept[place] = str(path) if path else "no file: no folder can be written"
        return self._kept[place]

    # ---- messages ------------------------------------------------------------------------------------

    def say(self, text: str, severity: Severity = "information") -> None:
        """Shows one line for some seconds, an error longer. The text is never read as markup."""
        self.messages.add(text, severity)
        self._show_message()

    def notify(
        self,
        message: str,
        *,
        title: str = "",
        severity: Severity = "information",
        timeout: float | None = None,
        markup: bool = True,
    ) -> None:
        """What Textual itself has to say comes on the same line."""
        try:
            text = Content.from_markup(message).plain if markup else message
        except MarkupError:
            text = message
        self.call_later(self.say, f"{title}: {text}" if title else text, severity)

    @property
    def message(self) -> Said | None:
        """The message to show now."""
        return self.messages.current()

    def _show_message(self) -> None:
        """Draws the message line of the screen in front, and again when the message's time is over."""
        if self._message_timer is not None:
            self._message_timer.stop()
            self._message_timer = None
        if not self._running or not self.screen_stack:
            return
        said = self.message
        if said is not None:
            self._message_timer = self.set_timer(said.remaining + 0.05, self._show_message)
        screen = self.screen
        line = next(iter(screen.query(MessageLine)), None)
        if line is not None:
            line.show()
        elif said is not None and not screen.is_mounted:
            screen.call_after_refresh(self._show_message)
        elif said is not None:
            screen.mount(MessageLine(over=True))

    # ---- the terminal --------------------------------------------------------------------------------

    @asynccontextmanager
    async def lend_terminal(self) -> AsyncIterator[None]:
        """Gives the terminal to another program within the block. The app goes on following its hosts.

        Raises `UserError` where the terminal cannot be given away.
        """
        failure: BaseException | None = None
        # ctrl+c belongs to the other program. A handler, unlike SIG_IGN, is not handed down to it.
        interrupt = signal.signal(signal.SIGINT, lambda *_: None)
        self.lent = True
        try:
            with (
                self.batch_update(),
                self.suspend(),
            ):  # nothing may be painted into the other program's screen
                try:
                    yield
                except BaseException as error:  # suspend() comes back only when its block ends normally
                    failure = error
        except SuspendNotSupported:
            raise UserError("this terminal cannot be given to a shell", "open one beside it") from None
        finally:
            self.lent = False
            signal.signal(signal.SIGINT, interrupt)
        self.screen.refresh(layout=True)  # what became dirty within the batch is painted now
        if failure is not None:
            raise failure

    def bell(self) -> None:
        """Rings, unless another program has the terminal."""
        if not self.lent:
            super().bell()

    def action_suspend(self) -> None:
        """Stops the app as ctrl+z does everywhere; `fg` in the shell brings it back."""
        if os.getpgrp() == os.getsid(0):
            self.say("no shell started the control room: there is none to go back to", "warning")
        else:
            self.action_suspend_process()

    def on_mount(self) -> None:
        self.app_resume_signal.subscribe(self, lambda _app: self.refresh(layout=True))
        self.screen_change_signal.subscribe(self, lambda _screen: self.call_later(self._show_message))
