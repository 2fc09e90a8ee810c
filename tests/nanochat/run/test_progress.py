"""Progress and patience: how far a stage tells it is."""

import pytest

from nanochat.run import progress
from nanochat.run.progress import PATIENCE_EVERY, PATIENCE_SECONDS, Patience


class Told:
    """Stands in for a run: keeps the lines logged."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, line: str) -> None:
        self.lines.append(line)


def test_a_long_wait_is_told_now_and_then_and_a_short_one_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now, run = [0.0], Told()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    patience = Patience(run, "validation", 1000, "tokens")  # type: ignore[arg-type]
    for second in range(101):
        now[0] = float(second)
        patience.done(10 * second)
    told_at = [PATIENCE_SECONDS + number * PATIENCE_EVERY for number in range(4)]
    assert run.lines == [
        f"validation: {10 * second:.0f} of 1,000 tokens, about {left} left"
        for second, left in zip(told_at, ("1m30s", "1m00s", "30s"), strict=False)
    ]
