"""The two tables of the Compare screen: settings side by side, and figures at equal places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from remote.comparison.settings import Setting
from tui.plots.compare_figures import FigureRow, FigureTable
from tui.widgets.columns import Cell, Column
from tui.widgets.table import VirtualTable

WHERE = {"cursor": "▸", "common": "=", "kept": "◆", "end": "⇥"}
LEGEND = "= last common  ▸ cursor  ◆ kept  ⇥ own end"
"""What place a row is of."""


class SettingsTable(VirtualTable[Setting]):
    """A row a setting, those that differ marked and first."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(_setting_columns("AB"), _setting_cells, _setting_key, empty="reading…", id=id)

    def show_settings(self, found: Sequence[Setting], letters: str, only_differences: bool) -> None:
        """Shows settings under the letters of the runs."""
        columns = _setting_columns(letters)
        if [column.name for column in columns] != [column.name for column in self.columns]:
            self.columns = columns
            self.refresh()
        self.empty = "no setting differs" if only_differences and found else "nothing is known of them yet"
        self.show([one for one in found if one.differs or not only_differences])


def _setting_columns(letters: str) -> list[Column]:
    values = [Column(f"value {at}", letter, 6, grow=2, rank=1, ideal=14) for at, letter in enumerate(letters)]
    return [
        Column("differs", "", 1),
        Column("name", "setting", 12, ideal=24, grow=1, frozen=True),
        *values,
        Column("section", "of", 7, rank=2),
    ]


def _setting_key(one: Setting) -> str:
    return f"{one.section} {one.name}"


def _setting_cells(one: Setting) -> Mapping[str, Cell]:
    role = "" if one.differs else "muted"
    cells: dict[str, Cell] = {
        "differs": ("≠" if one.differs else "", "accent"),
        "name": (one.name, "strong" if one.differs else "muted"),
        "section": (one.section, "muted"),
    }
    return cells | {f"value {at}": (text, role) for at, text in enumerate(one.shown())}


class FiguresTable(VirtualTable[FigureRow]):
    """A row a metric and place: the value of every run there, and how far it lies from the first run's."""

    def __init__(self, id: str | None = None) -> None:
        super().__init__(_figure_columns(("A", "B")), self._row_cells, lambda row: row.key, id=id)
        self.empty = "reading…"
        self._runs = 2

    def show_figures(self, table: FigureTable) -> None:
        """Shows newer figures."""
        columns = _figure_columns(table.letters)
        if [column.title for column in columns] != [column.title for column in self.columns]:
            self.columns = columns
            self.refresh()
        self._runs = len(table.letters)
        self.empty = table.notes[-1] if table.notes else "no metric that two of them have"
        self.show(table.rows)

    def _row_cells(self, row: FigureRow) -> Mapping[str, Cell]:
        metric, at, *rest = row.cells
        values, differences = rest[: self._runs], rest[self._runs :]
        cells: dict[str, Cell] = {
            "metric": (metric, "strong" if row.where in ("common", "cursor") else ""),
            "at": (at, "muted"),
            "where": (WHERE[row.where], "accent" if row.where == "cursor" else "muted"),
        }
        # Of a mean with its band the mean stands alone where both do not fit.
        cells |= {f"value {number}": (text, "", text.partition(" ")[0]) for number, text in enumerate(values)}
        return cells | {
            f"difference {number}": (text, "live" if text not in ("", "0") else "muted")
            for number, text in enumerate(differences, 1)
        }


def _figure_columns(letters: Sequence[str]) -> list[Column]:
    values = [
        Column(f"value {at}", letter, 8, "right", rank=1, ideal=10 if len(letter) == 1 else 22)
        for at, letter in enumerate(letters)
    ]
    differences = [
        Column(f"difference {at}", f"{letter}-{letters[0]}", 9, "right", rank=2, ideal=10)
        for at, letter in enumerate(letters[1:], 1)
    ]
    return [
        Column("where", "", 1, frozen=True),
        Column("metric", "metric", 12, grow=1, ideal=20, frozen=True),
        *values,
        *differences,
        Column("at", "at", 9, "right", rank=2, ideal=12),
    ]
