"""What may be typed instead of a question: /system, /temp, /retry …, a table for help, completion and action.

A command is a word of letters after a slash; `//` at the beginning of a question stands for one slash. The
words quit, exit and clear, alone on a line, do what they do in upstream nanochat.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from nanochat.common.errors import UserError, nearest
from nanochat.common.fields import parse_int
from nanochat.common.paths import expanded
from nanochat.common.text import clean_text, sanitize
from nanochat.serve import chat_log
from nanochat.serve.chat import Chat
from nanochat.serve.conversation import Conversation
from nanochat.serve.terminal.models import Models

MAX_TEMPERATURE = 2.0
MAX_TOKENS = 1 << 20
_COMMAND = re.compile(r"/([A-Za-z?]+)(?:\s+(.*))?", re.DOTALL)
_UPSTREAM_WORDS = {"quit": "/quit", "exit": "/quit", "clear": "/clear"}


@dataclass(frozen=True)
class Ask:
    """A question for the model; `again` replaces the last one and its answer."""

    question: str
    again: bool = False
    new_seed: bool = False


@dataclass(frozen=True)
class Edit:
    """The last question, to be edited and asked in its own place."""

    question: str


@dataclass(frozen=True)
class Say:
    """Lines for the user."""

    text: str


@dataclass(frozen=True)
class Quit:
    """The end of the program."""


Outcome = Ask | Edit | Say | Quit


@dataclass(frozen=True)
class Command:
    """`argument` is shown in the help; `run` gets what was typed after the name."""

    name: str
    argument: str
    help: str
    run: Callable[[str], Awaitable[Outcome]]


class Commands:
    """The commands over a chat. `logs` is where conversations are saved without a name."""

    def __init__(self, chat: Chat, models: Models, logs: Path) -> None:
        self.chat = chat
        self.logs = logs
        self._models = models
        self._own_files: set[Path] = set()
        """Files that this chat wrote or was loaded from: they may be written again."""
        self._path: Path | None = None
        self._saved: Conversation | None = None
        known = (
            Command(
                "/system", "[TEXT|off]", "the system message: what the model is told first", self._system
            ),
            Command("/temp", "[X]", "temperature, 0 to 2; 0: the likeliest token always", self._temp),
            Command("/topk", "[N]", "sample from the N likeliest tokens; 0: from all", self._topk),
            Command("/seed", "[N|random]", "the same seed gives the same answer", self._seed),
            Command("/max", "[N]", "the most tokens of an answer", self._max),
            Command("/model", "[NAME]", "the model to talk to; the conversation stays", self._model),
            Command("/save", "[FILE]", "save as Markdown and JSON; FILE.json: as JSON only", self._save),
            Command("/load", "FILE", "go on with a saved conversation", self._load),
            Command("/retry", "", "ask the last question again, for another answer", self._retry),
            Command("/edit", "", "edit the last question and ask it in its place", self._edit),
            Command("/clear", "", "a new conversation", self._clear),
            Command("/tokens", "", "how much of the context the conversation takes", self._tokens),
            Command("/help", "", "this list", self._help),
            Command("/quit", "", "leave; ctrl+d does, too", self._quit),
        )
        self.table = {command.name: command for command in known}
        self._other_names = {"/exit": "/quit", "/?": "/help", "/h": "/help", "/q": "/quit"}

    async def run(self, line: str) -> Outcome | None:
        """What a typed line means; None for an empty one. Raises `UserError` for a command used wrongly."""
        line = line.strip()
        line = _UPSTREAM_WORDS.get(line.lower(), line)
        if not line:
            return None
        match = _COMMAND.fullmatch(line)
        if match is None:
            return Ask(line.removeprefix("/") if line.startswith("//") else line)
        name = f"/{match[1].lower()}"
        command = self.table.get(self._other_names.get(name, name))
        if command is None:
            raise UserError(
                f"no command is called '{name}'",
                f"{nearest(name, self.table, 1)} A question may begin with //",
            )
        argument = (match[2] or "").strip()
        if argument and not command.argument:
            raise UserError(f"{name} takes nothing after it")
        return await command.run(argument)

    @property
    def unsaved(self) -> bool:
        """Whether there are turns that no file has."""
        return bool(self.chat.conversation.turns) and self.chat.conversation != self._saved

    def save(self, name: str = "") -> str:
        """Saves the conversation; returns what the user is told. Raises `UserError`, and nothing is lost."""
        conversation = self.chat.conversation
        if not conversation.turns:
            raise UserError("there is nothing to save yet")
        if name:
            path = chat_log.log_files(expanded(name))[0].absolute()
        else:
            path = self._path or chat_log.default_path(self.logs, conversation)
        for file in chat_log.log_files(path):
            if file.exists() and file not in self._own_files:
                raise UserError(f"{file} is there already", "choose another name")
        self._own_files |= set(chat_log.save(conversation, path))
        self._path, self._saved = path, conversation
        return f"saved {len(conversation.turns)} {_turns(conversation)} to {path}"

    def load(self, name: str) -> str:
        """Goes on with a saved conversation; returns what the user is told. Raises `UserError`."""
        path = chat_log.log_files(expanded(name))[0]
        if not path.is_absolute() and not path.exists():
            path = self.logs / path
        conversation, note = chat_log.load(path)
        self.chat.start(conversation)
        self.adopt(path, note)
        told = f"{len(conversation.turns)} {_turns(conversation)} from {path}"
        return f"{told}\n{note}" if note else told

    def adopt(self, path: Path, note: str) -> None:
        """The conversation came from the log `path`, and /save writes it there; `note` as from `load`."""
        self._path = chat_log.log_files(path.absolute())[0]
        self._saved = self.chat.conversation
        # Where the Markdown alone was read, a JSON file beside it says something else and is not ours.
        self._own_files |= {self._path} if note else set(chat_log.log_files(self._path))

    # -- settings ------------------------------------------------------------------------------------

    async def _system(self, argument: str) -> Outcome:
        chat = self.chat
        if argument:
            chat.conversation = chat.conversation.with_system("" if argument == "off" else argument)
        system = chat.conversation.system
        return Say(f"system: {clean_text(system)}" if system else "no system message")

    async def _temp(self, argument: str) -> Outcome:
        if argument:
            try:
                temperature = float(argument)
            except ValueError:
                raise UserError(f"/temp {sanitize(argument, 40)}: not a number") from None
            if not 0 <= temperature <= MAX_TEMPERATURE:
                raise UserError(f"/temp {argument}: from 0 to {MAX_TEMPERATURE:g}")
            self.chat.change(temperature=temperature)
        return Say(f"temperature {self.chat.settings.temperature:g}")

    async def _topk(self, argument: str) -> Outcome:
        if argument:
            self.chat.change(top_k=_whole("/topk", argument, 0, MAX_TOKENS))
        top_k = self.chat.settings.top_k
        return Say(f"top-k {top_k}" if top_k else "top-k 0: every token may be sampled")

    async def _seed(self, argument: str) -> Outcome:
        if argument == "random":
            self.chat.change(seed=None)
        elif argument:
            self.chat.change(seed=_whole("/seed", argument, 0, (1 << 63) - 1))
        seed = self.chat.settings.seed
        if seed is not None:
            return Say(f"seed {seed}")
        turns = self.chat.conversation.turns
        last = f"; the last one's was {turns[-1].settings.seed}" if turns else ""
        return Say(f"a new seed for each answer{last}")

    async def _max(self, argument: str) -> Outcome:
        if argument:
            self.chat.change(max_tokens=_whole("/max", argument, 1, MAX_TOKENS))
        return Say(f"at most {self.chat.settings.max_tokens:,} tokens an answer")

    async def _model(self, argument: str) -> Outcome:
        if argument:
            self.chat.use(await self._models.open(argument))
            return Say(f"model {clean_text(self.chat.model.id)}")
        names = [clean_text(name) for name in await self._models.names()]
        return Say("\n".join([f"model {clean_text(self.chat.model.id)}; there are:", *names]))

    # -- the conversation ----------------------------------------------------------------------------

    async def _save(self, argument: str) -> Outcome:
        return Say(self.save(argument))

    async def _load(self, argument: str) -> Outcome:
        if not argument:
            raise UserError("/load needs a file", f"saved ones are in {self.logs}")
        return Say(self.load(argument))

    async def _retry(self, _: str) -> Outcome:
        fixed = self.chat.settings.seed is not None and self.chat.settings.temperature > 0
        return Ask(self.chat.last_question(), again=True, new_seed=fixed)

    async def _edit(self, _: str) -> Outcome:
        return Edit(self.chat.last_question())

    async def _clear(self, _: str) -> Outcome:
        self.chat.start(Conversation.new(self.chat.conversation.system))
        self._path = self._saved = None
        return Say("a new conversation")

    async def _tokens(self, _: str) -> Outcome:
        counted = await self.chat.count_tokens()
        if counted is None:
            raise UserError(f"{self.chat.client.name} does not count tokens")
        count, context = counted
        turns = self.chat.conversation
        left = max(0, context - count)
        told = f"{len(turns.turns)} {_turns(turns)}: {count:,} of {context:,} tokens, {left:,} left"
        return Say(f"{told}; an answer may take {self.chat.settings.max_tokens:,}")

    async def _help(self, _: str) -> Outcome:
        shown = {command: f"{command.name} {command.argument}".strip() for command in self.table.values()}
        width = max(map(len, shown.values()))
        lines = [f"{left:<{width}}  {command.help}" for command, left in shown.items()]
        return Say("\n".join([*lines, "", *KEYS]))

    async def _quit(self, _: str) -> Outcome:
        return Quit()


KEYS = (
    "enter sends · alt+enter or ctrl+j: a new line · tab completes",
    "up and down: what was asked before · ctrl+r searches · ctrl+x ctrl+e: $EDITOR",
    "ctrl+c stops an answer, or empties the line",
)


def _turns(conversation: Conversation) -> str:
    return "turn" if len(conversation.turns) == 1 else "turns"


def _whole(name: str, argument: str, low: int, high: int) -> int:
    try:
        number = parse_int(argument)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None
    if not low <= number <= high:
        raise UserError(f"{name} {number}: from {low} to {high:,}")
    return number
