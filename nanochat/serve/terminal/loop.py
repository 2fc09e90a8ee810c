"""The interactive chat: read, answer, again, until the user leaves.

ctrl+c stops an answer and keeps what came. SIGTERM and SIGHUP (the terminal was closed) end the program and
save a conversation that no file has yet.
"""

import asyncio
import contextlib
import os
import signal
import sys
import termios
from collections.abc import Iterator
from typing import TextIO

from nanochat.common.errors import Exit, UserError
from nanochat.common.text import clean_text
from nanochat.serve.answer import Answer
from nanochat.serve.chat import Chat
from nanochat.serve.terminal.commands import Ask, Commands, Edit, Outcome, Quit, Say
from nanochat.serve.terminal.prompt import Prompt
from nanochat.serve.terminal.screen import AnswerScreen, PlainAnswer, is_styled, summary, wrapped


class TerminalChat:
    """Reads from `prompt`, paints answers on `out`, everything else on `err`.

    They are one terminal, or `out` is a pipe: then it gets the answers' text and nothing else.
    """

    def __init__(self, chat: Chat, commands: Commands, prompt: Prompt, out: TextIO, err: TextIO) -> None:
        self.chat, self.commands, self.prompt = chat, commands, prompt
        self._out, self._err = out, err
        self._styled = is_styled(err, os.environ)
        self._signal: int | None = None
        self._answering: asyncio.Task[Answer] | None = None

    async def run(self) -> int:
        """Chats until the user leaves; returns the exit code."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None

        def stop(number: int) -> None:
            self._signal = number
            task.cancel()

        # For as long as the program runs: a ctrl+c that comes as an answer ends must not end the program.
        loop.add_signal_handler(signal.SIGINT, self._stop_answer)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, stop, number)
        try:
            with _type_ahead(sys.stdin):
                await self._chat()
        except asyncio.CancelledError:
            if self._signal is None:
                raise
            task.uncancel()
            self._save_unsaved()
            return 128 + self._signal
        return Exit.OK

    def _stop_answer(self) -> None:
        if self._answering is not None:
            self._answering.cancel()

    async def _chat(self) -> None:
        draft = ""
        while True:
            try:
                line = await self.prompt.read(draft)
            except KeyboardInterrupt:
                if not draft:
                    self._tell("ctrl+d or /quit leaves", dim=True)
                draft = ""
                continue
            except EOFError:
                return
            editing, draft = bool(draft), ""
            if warning := self.prompt.take_warning():
                self._tell(warning)
            try:
                outcome = await self.commands.run(line)
                if isinstance(outcome, Ask) and editing:
                    outcome = Ask(outcome.question, again=True)
                if isinstance(outcome, Quit):
                    return
                draft = await self._act(outcome)
            except UserError as error:
                self._tell(f"error: {error}")

    async def _act(self, outcome: Outcome | None) -> str:
        """Does what was asked for; returns the text that the next line begins with."""
        if isinstance(outcome, Edit):
            return outcome.question
        if isinstance(outcome, Say):
            self._tell(outcome.text)
        elif isinstance(outcome, Ask):
            await self._answer(outcome)
        return ""

    async def _answer(self, ask: Ask) -> None:
        painter: AnswerScreen | PlainAnswer
        if self._out.isatty():
            painter = AnswerScreen(self._out, self._styled)
        else:
            painter = PlainAnswer(self._out, self._err)
        task = asyncio.create_task(
            self.chat.ask(ask.question, painter.show, again=ask.again, new_seed=ask.new_seed)
        )
        self._answering = task
        try:
            await asyncio.wait({task})
        finally:
            self._answering = None
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
            painter.end()
        answer, turns = self.chat.latest, self.chat.conversation.turns
        assert answer is not None
        if len(turns) > 1 and turns[-1].model != turns[-2].model:
            self._tell(f"answered by {answer.model}", dim=True)
        if answer.parts or task.cancelled():
            seed = f" · seed {answer.settings.seed}" if ask.new_seed else ""
            self._tell(summary(answer, self.chat.model.context) + seed, dim=True)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    def _save_unsaved(self) -> None:
        if self.commands.unsaved:
            with contextlib.suppress(OSError):  # the terminal may be gone
                try:
                    self._tell(self.commands.save())
                except UserError as error:
                    self._tell(f"error: {error}")

    def _tell(self, text: str, dim: bool = False) -> None:
        text = clean_text(text)
        if self._err.isatty():
            text = wrapped(text, os.get_terminal_size(self._err.fileno()).columns or 80)
        print(f"\x1b[2m{text}\x1b[22m" if dim and self._styled else text, file=self._err, flush=True)


@contextlib.contextmanager
def _type_ahead(stream: TextIO) -> Iterator[None]:
    """What is typed while an answer comes, enter too, waits for the next line, as in a shell, unseen.

    ctrl+c drops it. While a line is read, and in the user's editor, prompt_toolkit sets the terminal itself.
    """
    try:
        number = stream.fileno()
        before = termios.tcgetattr(number)
    except (termios.error, OSError, ValueError):
        yield  # no terminal
        return
    quiet = before.copy()
    quiet[0] &= ~termios.ICRNL
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(number, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(number, termios.TCSANOW, before)
