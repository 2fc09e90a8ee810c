"""What the Evals screen opens: items, a difference, a curve, the choice of columns, a form to evaluate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nanochat.common.errors import UserError
from nanochat.common.text import sanitize
from tui.actions.command_line import evals_line
from tui.actions.run import copy_text
from tui.data.evals import board
from tui.keymap import with_keys
from tui.screens.base import ControlScreen

if TYPE_CHECKING:
    from remote.store.evaluations import Evaluation, Kind
    from tui.data.chat.target import PaneTarget
    from tui.data.evals.board import Board
    from tui.widgets.evals.score_table import ScoreTable


class OpenActions(ControlScreen):
    """A screen with a table of scores."""

    table: ScoreTable
    board: Board
    kind: Kind

    @property
    def evaluations(self) -> list[Evaluation]:
        raise NotImplementedError

    @property
    def columns(self) -> list[Evaluation]:
        raise NotImplementedError

    def evaluation_here(self) -> Evaluation | None:
        raise NotImplementedError

    def show_table(self) -> None:
        raise NotImplementedError

    def remember(self) -> None:
        raise NotImplementedError

    def _chosen(self) -> Evaluation:
        """The evaluation under the cursor. Raises `UserError` when there is none."""
        here = self.evaluation_here()
        if here is None:
            raise UserError(
                "there is no evaluation here yet",
                with_keys("{evals.evaluate} evaluates a checkpoint", self.room.keymap),
            )
        return here

    # ---- items ---------------------------------------------------------------------------------------

    def action_open(self) -> None:
        from tui.screens.evals.items import ItemsScreen

        one, row = self._chosen(), self.table.current
        if one.reference:
            raise UserError(f"{board.title(one)} is a published table", "it comes without its items")
        if one.items is None:
            raise UserError(
                f"the items of {board.title(one)} were not kept",
                "evaluate it again to read them item by item",
            )
        task, subject = ("", "") if row is None or row.is_mean else (row.task, row.subject)
        self.app.push_screen(ItemsScreen(one, task, subject, self._others(one)))

    def _others(self, one: Evaluation) -> list[Evaluation]:
        """Evaluations of the same kind that this one can be compared with: the columns first."""
        columns = [other for other in self.columns if other.id != one.id]
        known = {other.id for other in columns} | {one.id}
        more = [other for other in self.evaluations if other.kind == one.kind and other.id not in known]
        return [*columns, *more]

    # ---- difference, curve ---------------------------------------------------------------------------

    def action_difference(self) -> None:
        from tui.screens.evals.chooser import EvaluationPicker
        from tui.screens.evals.difference import DifferenceScreen

        one = self._chosen()
        others = self._others(one)
        if not others:
            raise UserError("there is no other evaluation to compare with", "evaluate another checkpoint")

        def chosen(other: Evaluation | None) -> None:
            if other is not None:
                self.app.push_screen(DifferenceScreen(one, other, others))

        self.app.push_screen(EvaluationPicker(others, f"compare {board.title(one)} with"), chosen)

    def action_curve(self) -> None:
        from tui.screens.evals.curve import CurveScreen

        one = self._chosen()
        if one.step is None:
            raise UserError(f"{board.title(one)} has no steps", "a curve needs checkpoints of a training")
        self.app.push_screen(CurveScreen(one, self.evaluations, self._task_here()))

    def _task_here(self) -> str:
        row = self.table.current
        return "" if row is None or row.is_mean else row.task

    # ---- columns, evaluate, copy ---------------------------------------------------------------------

    def action_columns(self) -> None:
        from tui.screens.evals.chooser import ColumnChooser

        known = [one for one in self.evaluations if one.kind == self.kind]
        if not known:
            self._chosen()

        def chosen(ids: frozenset[int] | None) -> None:
            if ids is not None:
                self.board.choose(self.evaluations, self.kind, ids)
                self.show_table()
                self.remember()

        self.app.push_screen(ColumnChooser(known, {one.id for one in self.columns}), chosen)

    def action_evaluate(self) -> None:
        from tui.data.evals.launch_values import STAGE_OF, evaluation_request
        from tui.screens.evals.evaluate import CheckpointPicker

        here = self.evaluation_here()
        if self.kind == "tokenizer":  # of a folder, whatever checkpoints were trained with it
            self.room.launch_with("" if here is None else here.host, STAGE_OF[self.kind], {})
            return
        settings = {} if here is None else here.settings
        tasks = () if here is None or here.mean is not None else tuple(here.tasks)
        named = here if here is not None and not here.reference and here.step is not None else None

        def chosen(target: PaneTarget | None) -> None:
            request = evaluation_request(self.kind, target, settings, tasks)
            if request is not None:
                self.room.launch_with(*request)

        self.app.push_screen(CheckpointPicker(self.room, "" if named is None else _spelled(named)), chosen)

    def action_copy(self) -> None:
        one = self._chosen()
        words = ["show", board.command_name(one, self.evaluations)]
        line = evals_line(words, one.kind, str(self.room.layout.base))
        self.room.do(copy_text(self.room, line, "the command"))


def _spelled(one: Evaluation) -> str:
    """A checkpoint as it is typed into the picker."""
    host = "" if one.host in ("", "local") else f"{one.host}:"
    return sanitize(f"{host}{one.name}", 200)
