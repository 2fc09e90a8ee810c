"""The record of one item of an evaluation. A record of version 2, written on one line:

    {"v": 2, "task": "copa", "subject": "", "index": 7, "key": "0f3a…", "correct": true, "losses": [2.1, 3.0],
     "prediction": 0, "gold": 0, "near_tie": false, "choices": ["…", "…"], "prompt": "…", "samples": []}

The long texts come last, so that a table is made from the head of each line. Chat tasks of several choices
have `letters`; schema tasks of CORE a `continuation`, which is what is scored after each of the `choices`.
Version 1, of releases before, has no `v`, `subject`, `key`, `letters` and `choices`, and of its samples only
their number and the text of one.
"""

import hashlib
import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, cast

from nanochat.common import fields
from nanochat.common.text import sanitize

VERSION = 2
PartType = Literal["text", "python", "python_output"]
"""What the model says, an expression it hands to the calculator, and the calculator's result."""
PART_TYPES = ("text", "python", "python_output")
LETTERS = tuple(string.ascii_uppercase)
MOST_LOSS = 1e4
"""Nats of a token, which no model comes to: what lies beyond is no loss."""
SHORT = 80
"""Characters of an answer in a table."""


class TranscriptPart(NamedTuple):
    """A piece of a sampled answer."""

    type: PartType
    text: str


@dataclass(frozen=True)
class Sample:
    """One sampled answer: its text with tool calls spelled out, and in pieces; `tokens` counts all of them.

    Of version 1 there is only a text: no transcript, `finish` "" and no `tokens`.
    """

    text: str
    correct: bool | None
    transcript: tuple[TranscriptPart, ...] = ()
    finish: str = ""
    """"stop" or "length"; "" where unknown."""
    tokens: int | None = None

    def as_json(self) -> dict[str, Any]:
        transcript = [{"type": part.type, "text": part.text} for part in self.transcript]
        return {
            "text": self.text,
            "correct": self.correct,
            "transcript": transcript,
            "finish": self.finish,
            "tokens": self.tokens,
        }


@dataclass(frozen=True)
class ItemRecord:
    """One item as it was evaluated. Texts are as the model wrote them: clean them before they are shown.

    `gold` and `prediction` are a place in `choices` (CORE), one of `letters` (chat tasks), or a text.
    `losses` are nats of each choice, None where it has no tokens of its own.
    """

    version: int
    task: str
    subject: str
    """Of MMLU; "" of other tasks."""
    index: int
    key: str | None
    """See `item_key`. None in version 1."""
    prompt: str
    choices: tuple[str, ...]
    letters: tuple[str, ...]
    losses: tuple[float | None, ...]
    gold: int | str
    prediction: int | str | None
    correct: bool
    samples: tuple[Sample, ...]
    sample_count: int
    """How many were drawn; version 1 kept one of them."""
    samples_correct: int
    continuation: str = ""
    """Of a schema task: the text whose loss was compared after each of the contexts in `choices`."""
    near_tie: bool = False
    """Whether the verdict depends on a difference too small to trust."""
    cropped: int = 0
    """Tokens cropped from the left of the prompt, as the model cannot read more."""
    problem: str = ""
    """Why the item could not be scored; "" where it was."""
    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The record as it is in the file."""

    @property
    def gold_choice(self) -> int | None:
        """The place of the right answer among the choices; None for a task without."""
        return choice_place(self.gold, self.letters, self.losses)

    @property
    def predicted_choice(self) -> int | None:
        """The place among the choices of what the model chose."""
        return choice_place(self.prediction, self.letters, self.losses)

    @property
    def margin(self) -> float | None:
        """As `margin`, of this item."""
        return margin(self.losses, self.gold_choice)


def item_key(texts: Sequence[str], choices: Sequence[str], gold: int | str) -> str:
    """16 hex digits of the sha256 of an item as it is asked: its rendered texts with all few-shot examples,
    its choices, the right answer. The same item has the same key whatever model or tokenizer reads it."""
    spelled = fields.json_text([list(texts), list(choices), gold], None)
    return hashlib.sha256(spelled.encode()).hexdigest()[:16]


def item_line(
    *,
    task: str,
    index: int,
    key: str,
    correct: bool,
    losses: Sequence[float | None],
    prediction: int | str | None,
    gold: int | str,
    prompt: str,
    choices: Sequence[str],
    subject: str = "",
    letters: Sequence[str] = (),
    near_tie: bool | None = None,
    cropped: int = 0,
    problem: str = "",
    continuation: str = "",
    samples: Sequence[Sample] = (),
) -> dict[str, Any]:
    """A record of version 2 as it is written: what a table shows first, the long texts last. Fields that say
    nothing of most items are left out of them."""
    head = {
        "v": VERSION, "task": task, "subject": subject, "index": index, "key": key, "correct": correct,
        "losses": list(losses), "prediction": prediction, "gold": gold,
    }  # fmt: skip
    odd = {"letters": list(letters), "cropped": cropped, "problem": problem}
    tail = {"choices": list(choices), "prompt": prompt, "samples": [sample.as_json() for sample in samples]}
    if near_tie is not None:
        head["near_tie"] = near_tie
    head |= {name: value for name, value in odd.items() if value}
    return head | tail | ({"continuation": continuation} if continuation else {})


def choice_place(answer: object, letters: object, losses: object) -> int | None:
    """The place of an answer among the choices: a number is one, a letter stands for one (for A, B, C … in
    version 1, which has no letters). None for the answer of a task without choices."""
    if not isinstance(losses, list | tuple) or len(losses) < 2:
        return None
    if type(answer) is str:
        known = letters if isinstance(letters, list | tuple) and letters else LETTERS
        place = known.index(answer) if answer in known else -1
    else:
        place = answer if type(answer) is int else -1
    return place if 0 <= place < len(losses) else None


def margin(losses: object, gold: int | None) -> float | None:
    """Nats: the least loss of a wrong choice less that of the right one, positive when it is chosen."""
    if gold is None or not isinstance(losses, list | tuple):
        return None
    right = losses[gold]
    wrong = [loss for place, loss in enumerate(losses) if place != gold and type(loss) is float]
    found = min(wrong) - right if wrong and type(right) is float else math.nan
    return found if abs(found) <= MOST_LOSS else None


def short(answer: object) -> str:
    """An answer as one short clean line."""
    if type(answer) is str:
        # Most are: a check of the rest takes twenty times as long.
        if len(answer) <= SHORT and answer.isascii() and answer.isprintable():
            return answer
        line = " ".join(answer[: 8 * SHORT].split())
        return sanitize(line if len(line) <= SHORT else line[: SHORT - 1] + "…", 4 * SHORT)
    return str(answer)[:SHORT] if isinstance(answer, int) else ""


def read_record(document: Mapping[str, Any]) -> ItemRecord | None:
    """The record in a line of either version, each field checked; None when it is none."""
    task, index, correct = (
        document.get("task"),
        fields.whole(document.get("index"), 0),
        document.get("correct"),
    )
    if not isinstance(task, str) or index is None or not isinstance(correct, bool):
        return None
    prediction = _answer(document.get("prediction"))
    samples, count, right = _samples(document, prediction, correct)
    key = document.get("key")
    return ItemRecord(
        version=fields.whole(document.get("v"), 1) or 1,
        task=task,
        subject=_text(document.get("subject")),
        index=index,
        key=key if isinstance(key, str) else None,
        prompt=_text(document.get("prompt")),
        choices=_texts(document.get("choices")),
        letters=_texts(document.get("letters")),
        losses=tuple(fields.real(loss, -MOST_LOSS, MOST_LOSS) for loss in _list(document.get("losses"))),
        gold=gold if (gold := _answer(document.get("gold"))) is not None else "",
        prediction=prediction,
        correct=correct,
        samples=samples,
        sample_count=count,
        samples_correct=right,
        continuation=_text(document.get("continuation")),
        near_tie=document.get("near_tie") is True,
        cropped=fields.whole(document.get("cropped"), 0) or 0,
        problem=_text(document.get("problem")),
        document=document,
    )


def _samples(
    document: Mapping[str, Any], prediction: object, correct: bool
) -> tuple[tuple[Sample, ...], int, int]:
    """The samples that were kept, how many there were, and how many of those were right."""
    said = document.get("samples")
    if isinstance(said, list):
        samples = tuple(_sample(one) for one in said if isinstance(one, dict))
        return samples, len(samples), sum(bool(sample.correct) for sample in samples)
    count = fields.whole(said, 0) or 0
    kept = (Sample(prediction, correct),) if count and isinstance(prediction, str) else ()
    return kept, count, fields.whole(document.get("samples_correct"), 0) or 0


def _sample(said: Mapping[str, Any]) -> Sample:
    correct = said.get("correct")
    parts = (part for part in _list(said.get("transcript")) if isinstance(part, dict))
    return Sample(
        _text(said.get("text")),
        correct if isinstance(correct, bool) else None,
        tuple(
            TranscriptPart(cast(PartType, part["type"]), _text(part.get("text")))
            for part in parts
            if part.get("type") in PART_TYPES
        ),
        _text(said.get("finish")),
        fields.whole(said.get("tokens"), 0),
    )


def _answer(value: object) -> int | str | None:
    return value if isinstance(value, str) else fields.whole(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(_text, _list(value)))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
