"""What is done to the turns of panes: ask, ask again, edit, go to a branch, stop, copy, save, look closer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError
from nanochat.common.paths import expanded
from nanochat.common.text import amount, clean_text
from nanochat.serve.chat_log import FOLDER, load, log_files
from tui.data.chat.pane_set import save_log
from tui.screens.chat.parts import ChatPart
from tui.widgets.chat.question_field import QuestionField

if TYPE_CHECKING:
    from nanochat.serve.conversation import Conversation
    from tui.data.chat.pane import Pane
    from tui.data.chat.tree import TurnNode
    from tui.widgets.chat.pane_view import PaneView


class TurnActions(ChatPart):
    """The actions on turns. They go to all panes or to one, as `to_all` says."""

    # ---- asking --------------------------------------------------------------------------------------

    def on_question_field_sent(self, event: QuestionField.Sent) -> None:
        if self.editing is not None:
            self._ask_edited(event.text, *self.editing)
        else:
            panes = self.targeted()
            _check_free(panes)
            for pane in panes:
                if pane.state.kind == "closed":
                    pane.open()
            self.hide_names()
            self.panes.ask(event.text, panes)
        self.field.keep(event.text)
        for view in self.views:
            view.transcript.action_bottom()
        self.tell()
        self.remember()

    def on_question_field_too_long(self, event: QuestionField.TooLong) -> None:
        self.room.say(
            f"{event.characters:,} characters are too long for a question: nothing was pasted", "warning"
        )

    def action_all(self) -> None:
        self.to_all = not self.to_all
        self.tell()
        self.remember()

    def action_again(self) -> None:
        """Asks again, or goes on after a failure."""
        here = self.view_here()
        failed = [pane for pane in self.targeted() if pane.state.kind == "failed"]
        if failed:
            _check_free(failed)
            for pane in failed:
                pane.retry()
        else:
            node = here.transcript.turn
            if node is None:
                raise UserError("nothing has been asked yet")
            twins = self._twins(here.pane, node)
            _check_free(pane for pane, _ in twins)
            self.hide_names()
            for pane, twin in twins:
                pane.regenerate(twin)
        here.transcript.action_bottom()

    def action_edit(self) -> None:
        here = self.view_here()
        node = here.transcript.turn
        if node is None:
            raise UserError("nothing has been asked yet")
        if here.pane.state.is_busy:
            raise UserError("an answer is coming", "stop it first")
        self.editing = here.pane, node
        self.field.set_aside(node.question)
        self.field.focus()
        self.tell()

    def _ask_edited(self, question: str, pane: Pane, node: TurnNode) -> None:
        if pane not in self.panes.panes or node.tree is not pane.tree:
            self.editing = None
            self.tell()
            raise UserError("the turn that was edited is gone", "sent again, it is a new question")
        twins = self._twins(pane, node)
        _check_free(other for other, _ in twins)
        self.hide_names()
        for other, twin in twins:
            other.edit(question, twin)
        self.editing = None

    def _twins(self, pane: Pane, node: TurnNode) -> list[tuple[Pane, TurnNode]]:
        """The turn, and with `to_all` those of the other panes that ask the same at the same place."""
        path = pane.tree.path
        if node not in path or not self.to_all:
            return [(pane, node)]
        place = path.index(node)
        found = [(pane, node)]
        for other in self.targeted():
            theirs = other.tree.path
            same = len(theirs) > place and theirs[place].question == node.question
            if other is not pane and same and not other.state.is_busy and other.state.kind != "closed":
                found.append((other, theirs[place]))
        return found

    def action_branch(self, by: int) -> None:
        here = self.view_here()
        node = here.transcript.turn
        has_branches = node is not None and len(node.siblings) > 1
        found = here.pane.go(by, node if has_branches else None)
        if found is None:
            self.room.say("there is no other branch here: edit a question or ask again to make one")
        here.update()

    def action_stop_answers(self) -> None:
        if not self.panes.stop():
            self.room.say("no answer is coming")

    def action_new(self) -> None:
        panes = self.targeted()
        _check_free(panes)
        self.room.do(self._new(panes))

    async def _new(self, panes: list[Pane]) -> None:
        if not await self.may_lose(panes, "Begin a new conversation?", "begin anew"):
            return
        there = [pane for pane in panes if pane in self.panes.panes]
        _check_free(there)
        for pane in there:
            pane.clear()
        for view in self.views:
            view.update()
        self.field.focus()

    async def may_lose(self, panes: Iterable[Pane], question: str, verb: str) -> bool:
        """Asks, where these panes hold turns that are in no file, whether they may go."""
        unsaved = sum(pane.tree.unsaved for pane in panes)
        told = f"{amount(unsaved, 'turn')} that {'was' if unsaved == 1 else 'were'} not saved would be gone."
        return not unsaved or await self.room.confirm(question, told, key="y", verb=verb)

    # ---- looking -------------------------------------------------------------------------------------

    def action_tokens(self) -> None:
        self.answer_view = "markdown" if self.answer_view == "tokens" else "tokens"
        for view in self.views:
            view.set_view(self.answer_view)
        if self.answer_view == "tokens":
            self.view_here().transcript.focus()

    def action_lens(self) -> None:
        here = self.view_here()
        found = here.transcript.cursor
        if found is None:
            raise UserError("no token is under the cursor", "show the answer as tokens first")
        self.check_names_shown("the lens")
        from tui.screens.chat.lens import LensDialog

        self.app.push_screen(LensDialog(here.pane, *found))

    def action_copy(self) -> None:
        from tui.actions.run import copy_text

        node = self.view_here().transcript.turn
        if node is None or node.answer is None:
            raise UserError("there is no answer to copy yet")
        text = "".join(part.text for part in node.answer.parts if part.kind == "text")
        self.room.do(copy_text(self.room, clean_text(text), "the answer"))

    def action_load(self) -> None:
        self.room.do(self._load_conversation(self.view_here()))

    async def _load_conversation(self, view: PaneView) -> None:
        pane = view.pane
        pane.check_free()
        name = await self.room.ask("go on with a saved conversation", f"a file, by itself in {FOLDER}")
        if not name:
            return
        folder = self.room.layout.base / FOLDER
        conversation, note = await asyncio.to_thread(_load, name, folder)
        if not await self.may_lose([pane], f"Go on with {name} in this pane?", "go on with it"):
            return
        pane.start(conversation)
        view.transcript.action_bottom()
        told = f"{amount(len(conversation.turns), 'turn')} from {name}"
        self.room.say(f"{told} · {note}" if note else told)

    def action_save(self) -> None:
        self.room.do(self._save_conversation(self.view_here().pane))

    async def _save_conversation(self, pane: Pane) -> None:
        if not pane.conversation.turns:
            raise UserError("there is nothing to save yet")
        name = await self.room.ask("save the conversation", f"NAME.md or .json; empty: the next in {FOLDER}")
        if name is None:
            return
        folder = self.room.layout.base / FOLDER
        tree, conversation = pane.tree, pane.conversation
        turns = [node for node in tree.path if node.has_answer and node is not tree.coming]
        saved = await asyncio.to_thread(save_log, conversation, folder, name)
        for node in turns:
            node.is_saved = True
        self.room.say("saved " + " and ".join(self.room.layout.told(file) for file in saved))


def _check_free(panes: Iterable[Pane]) -> None:
    """Before anything is asked: raises `UserError` when an answer is coming in one of them."""
    for pane in panes:
        pane.check_free()


def _load(name: str, folder: Path) -> tuple[Conversation, str]:
    """A saved conversation, by a path from here, else from `folder`, and how it was read."""
    path = log_files(expanded(name))[0]
    return load(path if path.exists() else folder / path)
