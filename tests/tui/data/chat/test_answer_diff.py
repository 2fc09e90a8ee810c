"""The words in which two answers differ."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.data.chat import answer_diff
from tui.data.chat.answer_diff import DiffSpan, diff_words

TEXTS = st.text(st.sampled_from("ab \n.，字🙂_\t"), max_size=30) | st.text(max_size=8)


@pytest.mark.parametrize("most", [4_000_000, 3, 0])
@given(first=TEXTS, second=TEXTS)
def test_each_answer_comes_back_from_its_spans(first: str, second: str, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answer_diff, "MOST_WORK", most)
        spans = diff_words(first, second)
    assert "".join(span.text for span in spans if span.kind != "second") == first
    assert "".join(span.text for span in spans if span.kind != "first") == second
    assert all(a.kind != b.kind for a, b in pairwise(spans))
    if first == second:
        assert all(span.kind == "same" for span in spans)


def test_a_changed_word_is_told_and_nothing_else() -> None:
    assert diff_words("The capital is Paris, I think.", "The capital is Lyon, I think.") == [
        DiffSpan("same", "The capital is"),
        DiffSpan("first", " Paris"),
        DiffSpan("second", " Lyon"),
        DiffSpan("same", ", I think."),
    ]
    assert [span.text for span in diff_words("他在北京", "他在南京") if span.kind == "same"] == ["他在", "京"]
