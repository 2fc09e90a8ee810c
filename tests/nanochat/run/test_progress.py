"""Log lines of slow tasks inside a stage."""

import pytest

from nanochat.run import progress
from nanochat.run.progress import SLOW_AFTER, SLOW_EVERY, SlowTaskLog


class LogRecorder:
    """Stands in for a run: keeps the lines logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        self.lines.append(line)


def test_a_slow_task_is_logged_now_and_then_and_a_quick_one_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now, run = [0.0], LogRecorder()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    task = SlowTaskLog(run, "validation", 1000, "tokens")  # type: ignore[arg-type]
    for second in range(101):
        now[0] = float(second)
        task.done(10 * second)
    logged_at = [SLOW_AFTER + number * SLOW_EVERY for number in range(4)]
    assert run.lines == [
        f"validation: {10 * second:.0f} of 1,000 tokens, about {left} left"
        for second, left in zip(logged_at, ("1m30s", "1m00s", "30s"), strict=False)
    ]
