"""Figures of one worker, written by its thread and read by `/metrics` in another."""

from collections import deque
from dataclasses import dataclass, field

FIRST_TOKEN_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds in seconds, as Prometheus' clients choose them, without the infinite one."""
RATE_SECONDS = 10.0
"""Span that the rate of tokens is taken over."""


@dataclass
class WorkerFigures:
    """Counters since the worker began. Each is written by one thread, so that none needs a lock."""

    rows: int = 0
    """Samples that have a row now."""
    requests: int = 0
    refused: int = 0
    """Requests that found the queue full."""
    failures: int = 0
    """Steps that failed."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Of the prompts' tokens, those that the prefix cache spared."""
    generated_tokens: int = 0
    first_token_counts: list[int] = field(default_factory=lambda: [0] * (len(FIRST_TOKEN_BUCKETS) + 1))
    """Answers by the bucket of their time to first token; the last one is without bound."""
    first_token_seconds: float = 0.0
    """Sum of the times to first token."""
    _marks: deque[tuple[float, int]] = field(default_factory=deque)
    """(monotonic seconds, tokens so far), one about every tenth of `RATE_SECONDS`."""

    def read(self, prompt: int, cached: int) -> None:
        """Counts a prompt that has been read."""
        self.prompt_tokens += prompt
        self.cached_tokens += cached

    def first_token(self, seconds: float) -> None:
        """Counts a request's first token, that many seconds after it was submitted."""
        bucket = sum(seconds > bound for bound in FIRST_TOKEN_BUCKETS)
        self.first_token_counts[bucket] += 1
        self.first_token_seconds += seconds

    def generated(self, tokens: int, now: float) -> None:
        """Counts the tokens of a step."""
        if not self._marks or now - self._marks[-1][0] > RATE_SECONDS / 10:
            self._marks.append((now, self.generated_tokens))
            while now - self._marks[0][0] > RATE_SECONDS:
                self._marks.popleft()
        self.generated_tokens += tokens

    def tokens_per_second(self, now: float) -> float:
        """Over the last ten seconds."""
        marks = [mark for mark in list(self._marks) if now - mark[0] <= RATE_SECONDS]
        if not marks:
            return 0.0
        at, before = marks[0]
        return (self.generated_tokens - before) / max(now - at, RATE_SECONDS / 10)
