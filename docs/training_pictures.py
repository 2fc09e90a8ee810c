"""The pictures of the screens that Tokenizer opens to train: a mask, a sweep, the numbers of the corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from docs.tokenizer_pictures import Take, until

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from tui.app import ControlRoom

SIZES = ("1024", "2048", "4096", "8192", "16384", "32768")
DEPTH = 12


async def take_training(app: ControlRoom, pilot: Pilot[str], out: Path, take: Take) -> None:
    """Over the data of the base directory, which is measured first where that was not done."""
    from nanochat.config.data_options import DataStatsOptions, TokSweepOptions
    from tui.data.tokenizer.chosen import Chosen
    from tui.screens.tokenizer.data_stats import DataStatsScreen
    from tui.screens.tokenizer.mask import MaskScreen
    from tui.screens.tokenizer.sweep import SweepScreen
    from tui.widgets.plot import Plot

    mask = MaskScreen(Chosen())
    await app.push_screen(mask)
    await until(pilot, lambda: bool(mask.view.lines))
    await pilot.press("tab", "right")
    await take(app, pilot, out, "mask", (), ("dark",))
    await pilot.press("escape")
    sweep = SweepScreen(Chosen())
    await app.push_screen(sweep)
    await pilot.pause(1.0)
    if sweep.here is None:
        sweep._start(TokSweepOptions(vocab_sizes=SIZES, depth=DEPTH))
    await until(pilot, lambda: sweep.here is not None and all(plot.frame for plot in sweep.query(Plot)))
    await take(app, pilot, out, "sweep", (), ("dark",))
    await pilot.press("escape")
    data = DataStatsScreen(Chosen())
    await app.push_screen(data)
    await pilot.pause(1.0)
    if data.here is None:
        data._start(DataStatsOptions())
    await until(pilot, lambda: data.here is not None)
    await take(app, pilot, out, "data", (), ("dark",))
    await pilot.press("escape")
