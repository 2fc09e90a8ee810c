"""One pane of the Chat screen: what it talks to, its turns, and the answer that comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from nanochat.serve.conversation import AnswerSettings, Conversation
from tui.data.chat.target import PaneTarget
from tui.data.chat.tree import TurnNode, TurnTree

if TYPE_CHECKING:
    from tui.data.chat.lens import LensReading

PaneStateKind = Literal["closed", "opening", "choosing", "idle", "waiting", "streaming", "failed"]


@dataclass(frozen=True)
class PaneState:
    """What a pane does. `line` says for a person: what it waits for (opening), what went wrong (failed).

    closed: not connected yet. choosing: a training is at work on the host, and `Pane.offers` are to be chosen
    from with `open(device)`. waiting: asked, nothing has come. failed: `retry()` goes on.
    """

    kind: PaneStateKind
    line: str = ""

    @property
    def is_busy(self) -> bool:
        """Whether something is under way that `stop()` ends."""
        return self.kind in ("opening", "waiting", "streaming")


@dataclass(frozen=True)
class Figures:
    """Live figures of an answer; None where they are not known (yet).

    Tokens are counted by what the server says of each, never by the pieces of text they come in: a server
    that says nothing until the end has no speed until then.
    """

    tokens: int | None = None
    tokens_per_second: float | None = None
    """Of the tokens after the first piece."""
    first_token_seconds: float | None = None
    """From sending the question to the first piece of the answer."""
    seconds: float | None = None
    """From sending to the end, or until now."""
    queue_ms: float | None = None
    """Time in the server's queue."""
    cached_tokens: int | None = None
    """Tokens of the prompt that the server did not have to read again."""
    prompt_tokens: int | None = None


class Pane:
    """Made by `PaneSet.add`. Everything but `lens` returns at once; what goes on shows in `state`, and
    `version` grows with every change. Not thread-safe: everything happens in the event loop."""

    target: PaneTarget
    settings: AnswerSettings
    """Assign a new one to change it for the next answer."""
    system: str
    """The system message, "" for none."""
    tree: TurnTree
    state: PaneState
    version: int
    offers: Sequence[object]
    """`remote.fleet.services.DeviceOffer`s to choose from while the state is `choosing`."""
    device: str
    """Where the checkpoint is served: "cpu", "cuda:0", "" while unknown and for endpoints."""
    answers_with: str
    """What gave the last answer: the exact checkpoint (`sft/d20@650`) on our server, else the model's id."""
    news: str
    """One line about the pane that is no failure: "now step 1,200", "this server tells no probabilities"."""
    context: int | None
    """Tokens that prompt and answer may have together, where known."""
    has_probabilities: bool | None
    """Whether the server tells token probabilities; None before the first answer."""
    has_lens: bool
    """Whether `lens` works: only on our own server."""

    # ---- connecting ----------------------------------------------------------------------------------

    def open(self, device: str | None = None) -> None:
        """Connects, and on a host starts the service and loads the checkpoint; `state` says what it waits
        for. `device`: of the offers, where the state is `choosing`."""

    def use(self, target: PaneTarget) -> None:
        """Talks to something else from now on; the turns stay. Opens it."""

    async def close(self) -> None:
        """Ends what is under way and the connection."""

    # ---- talking -------------------------------------------------------------------------------------

    def ask(self, question: str) -> TurnNode:
        """Asks after the path's last turn. A question during an answer raises `UserError`; one while the pane
        opens is asked when it is open."""
        raise NotImplementedError

    def regenerate(self, node: TurnNode | None = None) -> TurnNode:
        """Asks the question of `node` (by default the last turn) again, as a sibling, with a new seed.
        Raises `UserError` when nothing was asked, or an answer is coming."""
        raise NotImplementedError

    def edit(self, question: str, node: TurnNode | None = None) -> TurnNode:
        """Asks `question` in place of that of `node` (by default the last turn), as a sibling."""
        raise NotImplementedError

    def retry(self) -> None:
        """Goes on after a failure: opens again, and asks again what got no answer."""

    def stop(self) -> None:
        """Ends the answer, or the opening, that is under way; what came of it stays."""

    def clear(self) -> None:
        """Begins a new conversation."""

    def go(self, offset: int, node: TurnNode | None = None) -> TurnNode | None:
        """See `TurnTree.go`. Raises `UserError` during an answer."""
        raise NotImplementedError

    # ---- reading -------------------------------------------------------------------------------------

    def figures(self, node: TurnNode | None = None) -> Figures:
        """Of the answer of `node`, by default the last turn. Constant time."""
        raise NotImplementedError

    @property
    def conversation(self) -> Conversation:
        """The path shown, with the system message."""
        raise NotImplementedError

    async def lens(self, node: TurnNode, token: int) -> LensReading:
        """What each layer would have said at the place of `node.answer.tokens[token]`.

        Raises `UserError` where the server has no lens or did not tell the tokens.
        """
        raise NotImplementedError
