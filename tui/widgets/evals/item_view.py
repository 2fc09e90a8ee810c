"""One item whole: what was asked, the choices with their losses, the answer, and how it was reached.

Of two evaluations of an item both are shown, as A and B. Right and chosen are told by a sign and a word.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len

from nanochat.common.text import amount, clean_text, sanitize
from tui.widgets.chat.lines_view import LinesView
from tui.widgets.chat.sections import Section, TextSection

if TYPE_CHECKING:
    from nanochat.evals.item_record import ItemRecord, Sample, TranscriptPart

TOOL_CAP = 10_000
"""Characters that are shown of one call of a tool."""
CHOICE_WIDTH = 40
"""Cells of a choice's text from which its further lines stand below its first."""
NO_LOSS = "–"


@dataclass(frozen=True)
class Judged:
    """An item as one evaluation judged it; `label` is A or B, "" where there is one alone."""

    label: str
    name: str
    record: ItemRecord


class ItemView(LinesView):
    """The item, from its beginning."""

    def __init__(self) -> None:
        super().__init__(id="item")
        self._judged: Sequence[Judged] = ()
        self._told = ""

    def show(self, judged: Sequence[Judged]) -> None:
        """Shows one item as one or two evaluations judged it."""
        self._judged, self._told = judged, ""
        self.follow = False
        self.rebuild()
        self.scroll_to(y=0, animate=False, force=True)

    def tell(self, line: str) -> None:
        """Shows a line in place of an item that cannot be read."""
        self._judged, self._told = (), line
        self.rebuild()

    def rebuild(self) -> None:
        if self.size.width and self._told:
            section = TextSection(f"✗ {sanitize(self._told, 400)}", self.text_width, "bad", "  ", "  ")
            self.set_sections([section], [section])
        elif self.size.width and self._judged:
            sections = list(item_sections(self._judged, self.text_width))
            self.follow = False
            self.set_sections(sections, sections)


def item_sections(judged: Sequence[Judged], width: int) -> Iterator[Section]:
    """The item's parts, one below the other."""
    first = judged[0].record
    for one in judged:
        yield _verdict(one, width)
    examples, question = split_prompt(first.prompt)
    yield _heading("asked", width)
    yield TextSection(question or "(the prompt is empty)", width, "", "  ", "  ")
    if first.continuation:
        yield _heading("the text whose loss was compared after each context", width)
        yield TextSection(first.continuation, width, "", "  ", "  ")
    if first.choices or first.letters or len(first.losses) > 1:
        sides = " (A, B)" if len(judged) > 1 else ""
        yield _heading(f"choices, with the mean loss of each in nats{sides}", width)
        yield from _choices(judged, width)
    else:
        yield from _answers(judged, width)
    for one in judged:
        for number, sample in enumerate(one.record.samples, 1):
            yield from _sample(one, number, sample, width)
        if not one.record.samples and one.record.sample_count > 1:
            yield _heading(f"{one.label} {amount(one.record.sample_count, 'sample')} were drawn", width)
    if examples:
        yield _heading("before it in the prompt, as examples", width)
        yield TextSection(examples, width, "muted", "  ", "  ")


def split_prompt(prompt: str) -> tuple[str, str]:
    """The examples of a prompt, and what is asked after them: they are joined by blank lines."""
    text = prompt.rstrip("\n")
    examples, _, question = text.rpartition("\n\n")
    return (examples, question) if question.strip() else ("", text)


def _heading(text: str, width: int) -> Section:
    return TextSection(f"\n{text}", width, "heading")


def _verdict(one: Judged, width: int) -> Section:
    record = one.record
    word, look = ("✓ right", "result strong") if record.correct else ("✗ wrong", "bad strong")
    name = f"{one.label} {sanitize(one.name, 80)}: " if one.label else ""
    parts = [f"{name}{word}"]
    if record.sample_count > 1:
        parts.append(f"{record.samples_correct} of {amount(record.sample_count, 'sample')} right")
    if record.near_tie:
        parts.append("a near tie: it rests on less than 0.0001 nats")
    if record.cropped:
        parts.append("the prompt was cropped from the left")
    if record.problem:
        parts.append(f"not scored: {sanitize(record.problem, 200)}")
    if record.version < 2:
        parts.append("a record of version 1: without choices and transcript")
    return TextSection(" · ".join(parts), width, look)


# ---- choices -------------------------------------------------------------------------------------------


def _choices(judged: Sequence[Judged], width: int) -> Iterator[Section]:
    first = judged[0].record
    count = max(len(first.choices), len(first.letters), *(len(one.record.losses) for one in judged))
    words = [_words(judged, place) for place in range(count)]
    margin = max(map(cell_len, words), default=0)
    for place in range(count):
        losses = "  ".join(_loss(one, place) for one in judged)
        letter = first.letters[place] if place < len(first.letters) else f"{place}."
        text = first.choices[place] if place < len(first.choices) else ""
        is_gold, is_chosen = first.gold_choice == place, any(_mark(one, place) for one in judged)
        look = "result strong" if is_gold else "bad" if is_chosen else ""
        head = f"  {words[place].ljust(margin)} {losses}  {letter} "
        below = cell_len(head) if width - cell_len(head) >= CHOICE_WIDTH else 6
        yield TextSection(text or " ", width, look, head, " " * below)


def _words(judged: Sequence[Judged], place: int) -> str:
    """What is told of a choice: `✓ gold, ● chosen`."""
    marks = [_mark(one, place) for one in judged]
    return ", ".join(["✓ gold"] * (judged[0].record.gold_choice == place) + [mark for mark in marks if mark])


def _mark(one: Judged, place: int) -> str:
    if one.record.predicted_choice != place:
        return ""
    return f"● {one.label} chose" if one.label else "● chosen"


def _loss(one: Judged, place: int) -> str:
    losses = one.record.losses
    loss = losses[place] if place < len(losses) else None
    return (NO_LOSS if loss is None else f"{loss:.4f}").rjust(8)


def _answers(judged: Sequence[Judged], width: int) -> Iterator[Section]:
    yield _heading("answers", width)
    losses = ", ".join(
        f"{one.label} {one.record.losses[0]:.4f}".strip()
        for one in judged
        if len(one.record.losses) == 1 and one.record.losses[0] is not None
    )
    gold = clean_text(str(judged[0].record.gold)).strip("\n") + (
        f"    (mean loss {losses} nats)" if losses else ""
    )
    yield TextSection(gold, width, "result", "  ✓ gold      ", "    ")
    for one in judged:
        record = one.record
        if record.samples and record.samples[0].transcript:
            continue  # it stands below with its tool calls
        word = f"● {one.label} said" if one.label else "● said"
        text = "(nothing)" if record.prediction in (None, "") else str(record.prediction)
        look = "result" if record.correct else "bad"
        yield TextSection(clean_text(text), width, look, f"  {word.ljust(12)}", "    ")


# ---- samples -------------------------------------------------------------------------------------------


def _sample(one: Judged, number: int, sample: Sample, width: int) -> Iterator[Section]:
    record = one.record
    many = record.sample_count > 1
    title = [f"{one.label} answer" if one.label else "answer"]
    if many:
        title.append(f"sample {number} of {record.sample_count}")
    if many and sample.correct is not None:
        title.append("✓ right" if sample.correct else "✗ wrong")
    if sample.tokens is not None:
        title.append(amount(sample.tokens, "token"))
    if sample.finish:
        title.append("cut at the limit" if sample.finish == "length" else sanitize(sample.finish, 30))
    yield _heading(" · ".join(title), width)
    if not sample.transcript:
        yield TextSection(sample.text or "(empty)", width, "", "  ", "  ")
        return
    for part in sample.transcript:
        yield _part(part, width)


def _part(part: TranscriptPart, width: int) -> Section:
    """What the model said; its tool calls and their results are set apart by a sign and a deeper margin."""
    if part.type == "text":
        return TextSection(part.text.strip("\n") or " ", width, "", "  ", "  ")
    over = len(part.text) - TOOL_CAP
    text = part.text[:TOOL_CAP] + (f" … +{over:,} characters" if over > 0 else "")
    sign, look = ("⚙ calls  ", "tool") if part.type == "python" else ("= result ", "result")
    return TextSection(text, width, look, f"      {sign}", "        ")
