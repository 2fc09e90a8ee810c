"""What an evaluation within a training tells of its settings: in the form of `chat_eval`'s."""

import pytest

from nanochat.train.chat import told_limit


@pytest.mark.parametrize(
    ("limits", "told"), [([4, 4], 4), ([-1], -1), ([50, -1, 50], "-1, 50"), ([24, 8], "8, 24")]
)
def test_one_limit_is_told_as_a_number(limits: list[int], told: int | str) -> None:
    assert told_limit(limits) == told
    assert type(told_limit(limits)) is type(told)
