"""The line that questions are typed in: several lines, history that lasts, completion of commands."""

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TextIO

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import create_output
from prompt_toolkit.styles import Style

from nanochat.common.errors import UserError
from nanochat.common.paths import make_dir
from nanochat.common.text import clean_text, sanitize, valid_text
from nanochat.serve.terminal.commands import Command

HISTORY_FILE = "chat_history"
MAX_HISTORY_BYTES = 4 << 20
"""How much of the history file's end is read: tens of thousands of questions."""
MAX_REMEMBERED = 100_000
"""Characters of a question that the history remembers."""
STYLE = Style.from_dict({"prompt": "bold", "bottom-toolbar": "noreverse #888888"})


class History(FileHistory):
    """Questions of earlier chats, in a file that only its owner can read.

    A file that cannot be written is a `warning`, and costs nothing else.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self.warning = ""

    def load_history_strings(self) -> Iterable[str]:
        """The questions, the newest first."""
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - MAX_HISTORY_BYTES))
                raw = file.read()
        except OSError:
            return []
        found: list[str] = []
        lines: list[str] = []
        for line in [*raw.decode("utf-8", "replace").split("\n"), ""]:
            if line.startswith("+"):
                lines.append(line[1:])
            elif lines:
                found.append("\n".join(lines))
                lines = []
        return reversed(found)

    def store_string(self, string: str) -> None:
        if len(string) > MAX_REMEMBERED:
            return
        try:
            make_dir(self._path.parent)
            os.close(os.open(self._path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, stat.S_IRUSR | stat.S_IWUSR))
            super().store_string(valid_text(string))
        except (OSError, UserError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self.warning = f"questions are not remembered: cannot write {self._path}: {reason}"


class CommandCompleter(Completer):
    """Completes commands and what may stand after them: model names, saved conversations."""

    def __init__(
        self, table: Mapping[str, Command], model_names: Callable[[], list[str]], logs: Path
    ) -> None:
        self._table = table
        self._model_names = model_names
        self._logs = logs
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        line = document.text_before_cursor
        if not line.startswith("/") or "\n" in line:
            return
        name, space, argument = line.partition(" ")
        if not space:
            for command in self._table.values():
                if command.name.startswith(name):
                    yield Completion(
                        command.name,
                        -len(name),
                        display=f"{command.name} {command.argument}".strip(),
                        display_meta=command.help,
                    )
            return
        for word in self._words(name):
            if word.startswith(argument):
                yield Completion(word, -len(argument), display=sanitize(word, 80))
        if name in ("/load", "/save") and argument:
            inner = Document(argument, len(argument))
            yield from self._paths.get_completions(inner, complete_event)

    def _words(self, name: str) -> list[str]:
        """The words that may stand after a command."""
        if name == "/model":
            return self._model_names()
        if name == "/load":
            return self._saved()
        return {"/seed": ["random"], "/system": ["off"]}.get(name, [])

    def _saved(self) -> list[str]:
        """The names of saved conversations, the newest first."""
        try:
            names = {path.stem for path in self._logs.iterdir() if path.suffix in (".md", ".json")}
        except OSError:
            return []
        return sorted(names, reverse=True)


class Prompt:
    """Reads questions and commands. `status` is shown below the line."""

    def __init__(
        self, completer: Completer, history: History, status: Callable[[], str], stream: TextIO
    ) -> None:
        self._status, self._history, self._warned = status, history, False
        self._session: PromptSession[str] = PromptSession(
            multiline=True,
            prompt_continuation=lambda width, *_: " " * width,
            history=history,
            completer=completer,
            complete_while_typing=Condition(self._is_command),
            key_bindings=_keys(),
            enable_open_in_editor=True,
            enable_suspend=True,
            tempfile_suffix=".md",
            style=STYLE,
            bottom_toolbar=lambda: [("class:bottom-toolbar", clean_text(self._status()))],
            output=create_output(stream),
        )

    async def read(self, text: str = "") -> str:
        """What the user typed; `text` is there to be edited.

        Raises `KeyboardInterrupt` for the key ctrl+c, `EOFError` for ctrl+d on an empty line.
        """
        shown = FormattedText([("class:prompt", "you › ")])
        return valid_text(await self._session.prompt_async(shown, default=text, handle_sigint=False))

    def take_warning(self) -> str:
        """What the user should know, once: "" mostly. Told between two lines, it cannot stand in one."""
        if self._warned or not self._history.warning:
            return ""
        self._warned = True
        return self._history.warning

    def _is_command(self) -> bool:
        return self._session.default_buffer.text.startswith("/")


def _keys() -> KeyBindings:
    keys = KeyBindings()
    typing = has_focus(DEFAULT_BUFFER)  # enter also ends a search in the history

    @keys.add("enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        state = event.current_buffer.complete_state
        if state is not None and state.current_completion is not None:
            event.current_buffer.complete_state = None  # chosen in the menu: not sent yet
        else:
            event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter", filter=typing)
    @keys.add("c-j", filter=typing)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
