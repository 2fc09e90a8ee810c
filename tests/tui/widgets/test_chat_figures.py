"""The line of figures below a pane says what is known, and of the context only what is known of all of it."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from nanochat.serve.answer import Answer
from nanochat.serve.answer_stream import Progress
from nanochat.serve.conversation import AnswerSettings
from tui.data.chat.pane_state import Figures, PaneState
from tui.widgets.chat.telling import figures_text


@pytest.mark.parametrize(
    ("prompt", "tokens", "context", "told"),
    [
        (None, 7, 1000, "● 7 tok"),
        (5, 7, 1000, "● 12/1,000 tokens"),
        (5, None, 1000, "● 5/1,000 tokens"),
        (5, 7, None, "● 12 tokens"),
        (None, None, 1000, "● streaming"),
    ],
)
def test_of_the_context_only_what_is_known_is_told(
    prompt: int | None, tokens: int | None, context: int | None, told: str
) -> None:
    figures = Figures(tokens=tokens, prompt_tokens=prompt)
    pane = SimpleNamespace(
        figures=lambda: figures, context=context, answers_with="", device="", state=PaneState("streaming")
    )
    assert figures_text(cast(Any, pane), 80, False) == told


def test_a_server_that_tells_the_prompts_tokens_at_once_has_them_counted_at_once() -> None:
    answer = Answer("q", AnswerSettings(), "m")
    answer.take(Progress(prompt_ids=(1, 2, 3)), 0.1)
    answer.take(Progress(ids=(4,)), 0.2)
    assert Figures.of(answer).prompt_tokens == 3
