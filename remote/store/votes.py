"""Votes of blind comparisons: kept only here, like tags and notes, and what they say of each model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class VotedAnswer:
    """One of the answers that were compared. `model` is the exact checkpoint where that is known."""

    model: str
    host: str
    text: str
    temperature: float
    top_k: int
    seed: int | None


@dataclass(frozen=True)
class Vote:
    """`winner`: index of the answer that was better; None for a tie, and where all were bad (`all_bad`)."""

    at: float
    """Unix time, s."""
    question: str
    answers: tuple[VotedAnswer, ...]
    winner: int | None
    all_bad: bool = False


@dataclass(frozen=True)
class WinRate:
    """How a model did in all votes it took part in: `rate` counts a tie as half a win.

    `low` to `high` is the 95 % Wilson score interval.
    """

    model: str
    votes: int
    wins: int
    ties: int
    losses: int
    all_bad: int
    rate: float
    low: float
    high: float


def win_rates(votes: Iterable[Vote]) -> list[WinRate]:
    """One row a model, the best first."""
    raise NotImplementedError
