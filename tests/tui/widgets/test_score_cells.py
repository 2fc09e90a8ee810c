"""A score reads the same in the app, in the report and in `nanochat evals show`."""

import pytest

from remote.evaluation_tables import Row, cell_text, figure_text, single_table
from remote.store.evaluations import TaskFigure
from tui.data.evals.scores import ScoreRow
from tui.widgets.evals.score_cells import NARROWEST, score_pieces


@pytest.mark.parametrize("value", [0.0, 0.34567, 0.99996, 1.0, -0.05304, 0.5])
@pytest.mark.parametrize("is_mean", [False, True])
def test_a_score_has_the_same_digits_everywhere(value: float, is_mean: bool) -> None:
    figure = TaskFigure(None if is_mean else value, value if is_mean else None, 0.01234, 100)
    row = Row("copa", "", "", (figure,), is_mean=is_mean)
    told = cell_text(row, figure)
    shown = single_table("core", [row])[1][0]
    score = ScoreRow("copa", "copa", figures={1: figure}, is_mean=is_mean).score(1, "accuracy")
    for width in (NARROWEST, 16, 30):
        cell = "".join(text for text, _ in score_pieces(score, width, unicode=True))
        assert len(cell) == width and cell.split("±")[0].split()[0] == figure_text(value)
    assert told == f"{figure_text(value)} ±0.0123" and figure_text(value) in shown
