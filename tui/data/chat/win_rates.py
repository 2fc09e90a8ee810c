"""What votes say of each model: how often it was preferred, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from remote.store.votes import Vote
from tui.data.intervals import wilson_interval


@dataclass(frozen=True)
class WinRate:
    """How a model did against the others in the votes it took part in.

    A vote with a winner is a win of that one over each other, and says nothing of those among each other; a
    vote without is a tie of all. `rate` is wins over comparisons, a tie half a win, so that models of equal
    merit have 50 %, however many panes there were. `low` to `high` is the Wilson score interval of 95 %
    (E. B. Wilson, 1927; recommended for few trials by Brown, Cai and DasGupta, 2001) with n the number of
    votes and not of comparisons: those of one vote are not independent.
    """

    model: str
    votes: int
    wins: int
    """Comparisons, as the next two."""
    ties: int
    losses: int
    all_bad: int
    """Votes in which all answers were bad, which count as ties."""
    rate: float
    low: float
    high: float


def win_rates(votes: Iterable[Vote]) -> list[WinRate]:
    """One row a model, the best first."""
    tallies: dict[str, _Tally] = {}
    for vote in votes:
        names = [answer.model or "unknown" for answer in vote.answers]
        taking_part: set[str] = set()
        for first, second, result in _comparisons(vote, names):
            tallies.setdefault(first, _Tally()).results[result] += 1
            tallies.setdefault(second, _Tally()).results[-result] += 1
            taking_part |= {first, second}
        for name in taking_part:
            tallies[name].votes += 1
            tallies[name].all_bad += vote.all_bad
    rows = [tally.row(name) for name, tally in tallies.items()]
    return sorted(rows, key=lambda row: (-row.rate, -row.votes, row.model))


class _Tally:
    def __init__(self) -> None:
        self.results = {1: 0, 0: 0, -1: 0}
        self.votes = self.all_bad = 0

    def row(self, name: str) -> WinRate:
        wins, ties, losses = self.results[1], self.results[0], self.results[-1]
        rate = (wins + ties / 2) / (wins + ties + losses)
        low, high = wilson_interval(rate, self.votes)
        return WinRate(name, self.votes, wins, ties, losses, self.all_bad, rate, low, high)


def _comparisons(vote: Vote, names: list[str]) -> Iterable[tuple[str, str, int]]:
    """Pairs of different models, and 1 where the first was preferred, 0 for a tie."""
    if vote.winner is None:
        for at, first in enumerate(names):
            yield from ((first, second, 0) for second in names[at + 1 :] if first != second)
        return
    best = names[vote.winner]
    yield from ((best, name, 1) for name in names if name != best)
