"""In-context questions as CORE asks them (DCLM, arXiv 2406.11794): prompts, few-shot examples, scored spans.

A question becomes one or several token sequences and in each the span [start, end) that is scored:
the choices after their common prefix, a shared continuation after each context, or a text to predict.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nanochat.evals.bundle import OPTIONS, CoreTask, Row
from nanochat.evals.item_record import item_key

EXAMPLE_SEED = 1234
"""Upstream nanochat's: with other seeds every prompt would have other examples."""

Ids = NDArray[np.int64]
"""(T,) token ids."""


@dataclass
class Item:
    """One question as token sequences, which begin with bos; `problem` says why it cannot be scored."""

    index: int
    prompt: str
    gold: int | str
    sequences: list[Ids] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Of each sequence the tokens [start, end) whose loss counts."""
    cropped: int = 0
    """Tokens cropped from the left of the longest sequence."""
    problem: str = ""
    choices: Sequence[str] = ()
    """Of a schema task the contexts."""
    continuation: str = ""
    """Of a schema task: the text that follows each context."""
    key: str = ""
    """See `item_key`."""


def draw_examples(index: int, rows: int, shots: int) -> list[int]:
    """Which other rows are the solved examples of row `index`, in the order of the prompt."""
    # `sample` picks by position, so this is what sampling the list of all other rows would give.
    drawn = random.Random(EXAMPLE_SEED + index).sample(range(rows - 1), shots)
    return [i if i < index else i + 1 for i in drawn]


def render_example(task: CoreTask, row: Row) -> str:
    """A solved example with the blank line that ends it."""
    if task.kind == "multiple_choice":
        text = f"{row['query']}{task.delimiter}{row['choices'][row['gold']]}"
    elif task.kind == "schema":
        text = f"{row['context_options'][row['gold']]}{task.delimiter}{row['continuation']}"
    else:
        text = f"{row['context'].strip()}{task.delimiter}{row['continuation']}"
    return text + "\n\n"


def render_question(task: CoreTask, row: Row) -> list[str]:
    """The question: one text a choice or context; or the text without and with its continuation."""
    if task.kind == "multiple_choice":
        return [f"{row['query']}{task.delimiter}{choice}" for choice in row["choices"]]
    if task.kind == "schema":
        return [f"{context}{task.delimiter}{row['continuation']}" for context in row["context_options"]]
    text = f"{row['context'].strip()}{task.delimiter}"
    return [text, text + row["continuation"]]


def prompt_text(task: CoreTask, row: Row, examples: str) -> str:
    """The text before the part that is scored, for the records; of a schema task with the right context."""
    if task.kind == "multiple_choice":
        return f"{examples}{row['query']}{task.delimiter}"
    if task.kind == "schema":
        return f"{examples}{row['context_options'][row['gold']]}{task.delimiter}"
    return (examples + render_question(task, row)[0]).strip()


class PromptBuilder:
    """Builds the items of one task.

    `encode` returns a text's ids without bos. `splits_at_newlines` says that the tokenizer never joins a
    newline with what follows, unless that is white space: each example is then encoded once for all the
    prompts it is drawn into.
    """

    def __init__(
        self,
        task: CoreTask,
        rows: Sequence[Row],
        encode: Callable[[str], ArrayLike],
        bos: int,
        *,
        splits_at_newlines: bool = False,
        max_tokens: int = 1 << 62,
    ) -> None:
        self.task, self.rows, self.max_tokens = task, rows, max_tokens
        self._encode, self._splits_at_newlines = encode, splits_at_newlines
        self._bos = np.array([bos], dtype=np.int64)
        self._encoded: dict[str, Ids] = {}

    def item(self, index: int) -> Item:
        """The question of row `index`."""
        task, row = self.task, self.rows[index]
        drawn = draw_examples(index, len(self.rows), task.shots) if task.shots else []
        examples = [render_example(task, self.rows[i]) for i in drawn]
        gold = row["continuation"] if task.kind == "language_modeling" else row["gold"]
        item = Item(index, prompt_text(task, row, "".join(examples)), gold)
        questions = render_question(task, row)
        item.choices = row[OPTIONS[task.kind]] if task.kind in OPTIONS else ()
        item.continuation = row["continuation"] if task.kind == "schema" else ""
        item.key = item_key([*examples, *questions], item.choices, gold)
        if task.kind == "language_modeling":
            self._add_continuation(item, examples, questions)
        else:
            self._add_options(item, examples, questions)
        crop(item, self.max_tokens)
        return item

    def _add_options(self, item: Item, examples: list[str], questions: list[str]) -> None:
        """A sequence an option; scored is what differs, or in a schema task the continuation they share."""
        item.sequences = [self._ids([*examples, question]) for question in questions]
        ends = [len(ids) for ids in item.sequences]
        if self.task.kind == "multiple_choice":
            starts = [common_length(item.sequences)] * len(ends)
        else:
            shared = common_length([ids[::-1] for ids in item.sequences])
            starts = [end - shared for end in ends]
        item.spans = list(zip(starts, ends, strict=True))

    def _add_continuation(self, item: Item, examples: list[str], questions: list[str]) -> None:
        """One sequence, scored over its continuation.

        As in upstream nanochat the prompt without the continuation is stripped as a whole, which drops the
        delimiter's trailing space; the full one is not.
        """
        stripped = questions[0].strip()
        text = "".join(examples)
        # Here stripping the question alone gives the same text, and examples are not encoded again.
        if text.lstrip() == text and stripped and stripped[0] == questions[0][0]:
            without = self._ids([*examples, stripped])
        else:
            without = self._ids([(text + questions[0]).strip()])
        whole = self._ids([*examples, questions[1]])
        if len(without) >= len(whole) or not np.array_equal(without, whole[: len(without)]):
            item.problem = "the prompt's tokens do not begin those of prompt and continuation"
            return
        item.sequences, item.spans = [whole], [(len(without), len(whole))]

    def _ids(self, pieces: list[str]) -> Ids:
        """bos and the ids of the joined pieces, of which all but the last are examples."""
        if not self._splits_at_newlines:
            return np.concatenate((self._bos, np.array(self._encode("".join(pieces)), dtype=np.int64)))
        parts, text = [self._bos], ""
        for i, piece in enumerate(pieces):
            text += piece
            if i + 1 < len(pieces) and pieces[i + 1][:1].strip():
                ids = self._encoded.get(text)
                if ids is None:
                    ids = self._encoded[text] = np.array(self._encode(text), dtype=np.int64)
                parts.append(ids)
                text = ""
        parts.append(np.array(self._encode(text), dtype=np.int64))
        return np.concatenate(parts)


def common_length(sequences: Sequence[Ids]) -> int:
    """How many leading tokens all sequences share."""
    shortest = min(map(len, sequences))
    first = sequences[0][:shortest]
    differs = np.zeros(shortest, dtype=bool)
    for ids in sequences[1:]:
        differs |= ids[:shortest] != first
    return int(differs.argmax()) if differs.any() else shortest


def crop(item: Item, limit: int) -> None:
    """Keeps the last `limit` tokens of each sequence; a span never loses its end."""
    for i, ids in enumerate(item.sequences):
        extra = len(ids) - limit
        if extra > 0:
            start, end = item.spans[i]
            item.sequences[i] = ids[extra:]
            item.spans[i] = (max(start - extra, min(1, end - start)), end - extra)
            item.cropped = max(item.cropped, extra)
