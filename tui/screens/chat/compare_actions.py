"""Comparing panes: blind mode and votes, the words in which answers differ, a file of prompts for all."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from nanochat.common.errors import UserError
from nanochat.common.paths import expanded
from tui.data.chat.prompt_set import load_prompts
from tui.keymap import hint
from tui.screens.chat.parts import ChatPart
from tui.widgets.chat.telling import LABELS

if TYPE_CHECKING:
    from tui.data.chat.blind import Blind, Verdict
    from tui.data.chat.prompt_set import Prompt


class CompareActions(ChatPart):
    """The actions that compare what panes answer."""

    # ---- blind mode ----------------------------------------------------------------------------------

    def action_blind(self) -> None:
        if self.blind is not None:
            self.end_blind()
            self.run_worker(self.show_panes_anew(), group="use")
            self.room.say("blind mode is over: the names are shown")
            return
        if len(self.panes.panes) < 2:
            raise UserError("blind mode compares panes", "add another one first")
        if any(pane.state.is_busy for pane in self.panes.panes):
            raise UserError("an answer is coming", "wait for it, or stop it")
        from tui.data.chat.blind import Blind

        self.blind = Blind(self.panes.panes)
        self.to_all = True
        self.run_worker(self.show_panes_anew(), group="use")
        said = "blind: the panes are shuffled and their names hidden until you have voted"
        if any(pane.tree.path for pane in self.panes.panes):
            new = hint("chat.new", self.room.keymap)
            said += f"; earlier answers may tell which is which: {new} begins anew"
        self.room.say(said)

    def end_blind(self) -> None:
        """The names are shown again."""
        self.blind = None
        for view in self.views:
            view.hidden = False

    def hide_names(self) -> None:
        """Before another question: after a vote the names are hidden again, in a new order."""
        if self.blind is not None and self.blind.revealed:
            self.blind.shuffle()
            self.run_worker(self.show_panes_anew(), group="use")

    def action_vote(self) -> None:
        blind = self.blind
        if blind is None:
            raise UserError("votes are for blind mode", "begin it first")
        if why := blind.why_no_vote():
            raise UserError(f"nothing to vote on: {why}")
        from tui.screens.chat.vote_dialog import VoteDialog

        def voted(verdict: Verdict | None) -> None:
            if verdict is not None:
                self.run_worker(self._vote(blind, verdict), group="use")

        self.app.push_screen(VoteDialog([view.label for view in self.views]), voted)

    async def _vote(self, blind: Blind, verdict: Verdict) -> None:
        if self.blind is not blind:
            raise UserError("blind mode ended before the vote: it does not count")
        vote = blind.vote(verdict)
        # By the labels as they were voted on: a pane may be closed while the vote is written.
        labelled = list(zip(LABELS, vote.answers, strict=False))
        try:
            await asyncio.to_thread(self.room.store.add_vote, vote)
        except UserError:
            blind.take_back()
            raise
        await self.show_panes_anew()
        self.room.say("voted · " + ", ".join(f"{label} was {answer.model}" for label, answer in labelled))

    def check_names_shown(self, what: str) -> None:
        """Before `what`, which tells what a pane talks to. Raises `UserError` while blind mode hides that."""
        if self.blind is not None and not self.blind.revealed:
            vote, end = (hint(f"chat.{name}", self.room.keymap) for name in ("vote", "blind"))
            raise UserError(
                f"blind mode hides which pane is which, and {what} would tell",
                f"{vote} votes, {end} ends it: then again",
            )

    def action_votes(self) -> None:
        from tui.screens.chat.win_rates import WinRatesScreen

        self.app.push_screen(WinRatesScreen())

    # ---- differences ---------------------------------------------------------------------------------

    def action_diff(self) -> None:
        here = self.view_here()
        answered = [view for view in self.views if view.transcript.turn is not None and view.answer_text()]
        if here not in answered or len(answered) < 2:
            raise UserError("two panes with an answer are needed to compare")
        from tui.screens.chat.diff import DiffScreen, Side

        sides = [Side(view.label, view.name_shown, view.answer_text()) for view in answered]
        self.app.push_screen(DiffScreen(sides, answered.index(here)))

    # ---- prompts -------------------------------------------------------------------------------------

    def action_prompts(self) -> None:
        self.room.do(self._prompts())

    async def _prompts(self) -> None:
        if not self.panes.panes:
            raise UserError("there is no pane to ask", "add one first")
        given = await self.room.ask("a file of prompts", ".txt: one a line, or parts between ---; or .jsonl")
        if not given:
            return
        from tui.screens.chat.prompt_table import PromptTable

        prompts = await asyncio.to_thread(_load, given, self.room.layout.base)
        self.app.push_screen(PromptTable(list(self.panes.panes), prompts, Path(given).name))


def _load(given: str, base: Path) -> list[Prompt]:
    """The prompts of a file, by a path from here, else from the base directory."""
    path = expanded(given)
    return load_prompts(path if path.exists() else base / path)
