"""The control room with a watch over its event loop: `python bench/parts/watched_app.py BASE REPORT`.

Every tenth of a second it writes one JSON line to REPORT: `t`, `cpu` (seconds of processor of the process),
`rss` (bytes), `held` (the most processor time that one turn of the loop took since the last line, in
seconds), `late` (the most that a timer came late), `screen`, `unread` (bytes of event logs) and `whole` (the
points that every plot in sight has drawn). That takes some processor itself: SIGUSR1 ends it.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import TextIO

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from nanochat.common.paths import Layout  # noqa: E402
from tui.app import ControlRoom  # noqa: E402
from tui.data.garbage import IdleCollector  # noqa: E402

TURN = 0.005
LINE = 0.1


class WatchedApp(ControlRoom):
    """The app, and a task beside it that only looks."""

    CSS_PATH = ROOT / "tui" / "app.tcss"

    def __init__(self, layout: Layout, report: TextIO) -> None:
        super().__init__(layout)
        self._report = report
        self._process = psutil.Process()
        self._held = self._late = 0.0

    def on_mount(self) -> None:  # beside the app's own, which Textual calls too
        self._watching = asyncio.create_task(self._watch())
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self._watching.cancel)

    async def _watch(self) -> None:
        written = time.monotonic()
        while True:
            before, thread = time.monotonic(), time.thread_time()
            await asyncio.sleep(TURN)
            now = time.monotonic()
            self._held = max(self._held, time.thread_time() - thread)
            self._late = max(self._late, now - before - TURN)
            if now - written > LINE:
                written = now
                self._write()
                self._held = self._late = 0.0

    def _write(self) -> None:
        times = self._process.cpu_times()
        line = {
            "t": time.time(),
            "cpu": times.user + times.system,
            "rss": self._process.memory_info().rss,
            "held": self._held,
            "late": self._late,
            "screen": getattr(self.screen, "tab", ""),
            "runs": len(self.rows),
            "unread": sum(run.size_bytes - run.read_bytes for run in self.rows),
            "whole": self._drawn(),
        }
        self._report.write(json.dumps(line) + "\n")
        self._report.flush()

    def _drawn(self) -> int:
        """The points of the longest line in each plot in sight, of the plot with the fewest; 0 without."""
        from tui.widgets.plot import Plot

        shown = [plot for plot in self.screen.query(Plot) if plot.region and plot.metric.startswith("train/")]
        frames = [plot.frame for plot in shown]
        drawn = [0 if frame is None or not frame.legends else frame.legends[0].points for frame in frames]
        return min(drawn, default=0)


def main() -> int:
    base, report = sys.argv[1:]
    with Path(report).open("w", encoding="utf-8") as file:
        app = WatchedApp(Layout(Path(base)), file)
        app.feed.store  # noqa: B018 - as the command does
        app.collector = IdleCollector()
        app.run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
