"""What a pane talks to, as a person writes it and as it is kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.checkpoint.names import SOURCES, CheckpointName
from nanochat.common.errors import UserError
from tui.data.chat.target import CheckpointTarget, EndpointTarget, PaneTarget, parse_target, short_name

TAGS = st.from_regex(r"[a-z0-9][a-z0-9:._-]{0,12}", fullmatch=True)
HOSTS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True)
CHECKPOINTS = st.builds(
    lambda host, source, tag, step, run: CheckpointTarget(
        host, CheckpointName(source, tag, step), "" if step is not None else run
    ),
    HOSTS,
    st.sampled_from(SOURCES),
    TAGS,
    st.none() | st.integers(0, 10**9),
    st.just("") | st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True),
)
ENDPOINTS = st.builds(
    EndpointTarget,
    st.sampled_from(["http://127.0.0.1:8000", "https://api.example.com/v1", "http://[::1]:9/v1"]),
    st.sampled_from(["", "qwen3", "Qwen/Qwen3-8B", "my model.gguf"]),
    st.sampled_from(["", "OPENAI_API_KEY"]),
)


@given(CHECKPOINTS | ENDPOINTS)
def test_a_target_is_written_as_it_is_read(target: PaneTarget) -> None:
    assert parse_target(str(target)) == target
    assert short_name(target)


def test_what_people_type() -> None:
    assert parse_target(" sft/d20@650 ") == CheckpointTarget("local", CheckpointName("sft", "d20", 650))
    assert parse_target("box:sft/d20") == CheckpointTarget("box", CheckpointName("sft", "d20"))
    assert str(parse_target("local:sft/d20")) == "sft/d20"
    assert parse_target("box:base/d12 follow r-1").follows == "r-1"  # type: ignore[union-attr]
    assert parse_target("http://127.0.0.1:8000 qwen3 key=MY_KEY") == EndpointTarget(
        "http://127.0.0.1:8000", "qwen3", "MY_KEY"
    )
    assert short_name(parse_target("box:sft/d20")) == "sft/d20 · box"
    assert short_name(parse_target("http://h:1/v1 qwen3")) == "qwen3 · h:1"


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "http://127.0.0.1:8000 MODEL"),
        ("d20", "box:sft/d20@650"),
        ("sft/d20@x", "not a whole number"),
        ("stf/d20", "did you mean 'sft'"),
        ("a b:sft/d20", "is no host's name"),
        ("base/d12@5 follow r1", "does not change"),
        ("base/d12 follow ../x", "is no run's id"),
        ("http://", "is no address"),
        ("http://host:99999", "is no address"),
        ("http://user:secret@host", "would be stored"),
        ("http://host m key=sk-123", "is never stored"),
        ("\x1b]0;x\x07/d20", "no stage"),
    ],
)
def test_a_target_that_is_none_is_told_in_a_line(typed: str, says: str) -> None:
    with pytest.raises(UserError) as told:
        parse_target(typed)
    assert says in str(told.value) and "\x1b" not in str(told.value) and "\n" not in str(told.value)


def test_a_key_comes_from_its_variable_and_is_missed_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    target = EndpointTarget("http://h", "", "CHAT_TEST_KEY")
    with pytest.raises(UserError, match="CHAT_TEST_KEY is not set"):
        target.key()
    monkeypatch.setenv("CHAT_TEST_KEY", "s3cret")
    assert target.key() == "s3cret" and "s3cret" not in str(target)
    assert EndpointTarget("http://h").key() == ""
