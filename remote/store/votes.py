"""Votes of blind comparisons: kept only here, like tags and notes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from nanochat.common import fields
from nanochat.common.text import valid_text
from remote.store.database import Database

MOST_TEXT = 200_000
"""Characters of a question and of an answer that are kept."""


@dataclass(frozen=True)
class VotedAnswer:
    """One of the answers that were compared. `model` is the exact checkpoint where that is known, `host` ""
    for a server outside of the host book."""

    model: str
    host: str
    text: str
    temperature: float
    top_k: int
    seed: int | None


@dataclass(frozen=True)
class Vote:
    """`winner`: index of the answer that was better; None where none was, and where all were bad
    (`all_bad`)."""

    at: float
    """Unix time, s."""
    question: str
    answers: tuple[VotedAnswer, ...]
    winner: int | None
    all_bad: bool = False


class Votes:
    """The part of a store that holds votes."""

    _database: Database

    def add_vote(self, vote: Vote) -> int:
        """Keeps a vote; returns its number. Raises `UserError` when the store cannot be written."""
        answers = [asdict(answer) | {"text": _kept(answer.text)} for answer in vote.answers]
        with self._database.write() as db:
            cursor = db.execute(
                "INSERT INTO votes (t, question, answers, winner, all_bad) VALUES (?, ?, ?, ?, ?)",
                (vote.at, _kept(vote.question), json.dumps(answers), vote.winner, vote.all_bad),
            )
            return int(cursor.lastrowid or 0)

    def remove_vote(self, number: int) -> None:
        """Takes a vote back."""
        with self._database.write() as db:
            db.execute("DELETE FROM votes WHERE id = ?", (number,))

    def votes(self) -> list[Vote]:
        """Every vote, in the order of voting; one that cannot be read is left out."""
        with self._database.using():
            rows = (
                self._database.connection()
                .execute("SELECT t, question, answers, winner, all_bad FROM votes ORDER BY id")
                .fetchall()
            )
        found = [_vote(*row) for row in rows]
        return [vote for vote in found if vote is not None]


def _vote(at: float, question: str, answers: str, winner: int | None, all_bad: int) -> Vote | None:
    try:
        entries = fields.parse_json(answers)
    except ValueError:
        return None
    read = [_answer(entry) for entry in entries] if isinstance(entries, list) else []
    known = [answer for answer in read if answer is not None]
    is_whole = len(known) == len(read) >= 2 and (winner is None or 0 <= winner < len(read))
    return Vote(at, question, tuple(known), winner, bool(all_bad)) if is_whole else None


def _answer(entry: object) -> VotedAnswer | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("text"), str):
        return None
    model, host = fields.text(entry.get("model")), fields.text(entry.get("host"))
    temperature, top_k = fields.real(entry.get("temperature")), fields.whole(entry.get("top_k"))
    if model is None or host is None or temperature is None or top_k is None:
        return None
    return VotedAnswer(model, host, entry["text"], temperature, top_k, fields.whole(entry.get("seed")))


def _kept(text: str) -> str:
    return valid_text(text[:MOST_TEXT])
