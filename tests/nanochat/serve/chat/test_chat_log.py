"""Chat logs: the Markdown byte for byte, JSON and Markdown read back, a full disk, hostile text."""

import contextlib
import json
import os
import string
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.serve.chat_log import (
    default_path,
    from_json,
    from_markdown,
    load,
    log_files,
    save,
    to_json,
    to_markdown,
)
from nanochat.serve.conversation import (
    FINISH_REASONS,
    PART_KINDS,
    AnswerSettings,
    Conversation,
    Part,
    Turn,
)

STARTED = datetime(2025, 10, 16, 18, 40, 38)
REFERENCE = Conversation(
    STARTED,
    turns=(
        Turn(
            "What does `base_loss` measure?",
            (Part("text", "## Two figures\n- bits per byte on train and val\n- samples"),),
        ),
        Turn("两行的问题\n第二行", (Part("text", '```python\nprint("助手：not a turn")\n```'),)),
    ),
)


def said(*turns: tuple[str, str]) -> Conversation:
    return Conversation(STARTED, turns=tuple(Turn(q, (Part("text", a),) if a else ()) for q, a in turns))


def spoken(conversation: Conversation) -> list[tuple[str, str]]:
    return [(turn.question, turn.answer_text) for turn in conversation.turns]


# -- Markdown --------------------------------------------------------------------------------------


def test_the_markdown_is_the_reference_byte_for_byte(shared_reference: Path) -> None:
    assert to_markdown(REFERENCE).encode() == (shared_reference / "chat-log.md").read_bytes()


def test_the_reference_loads_back(shared_reference: Path) -> None:
    conversation, note = load(shared_reference / "chat-log.md")
    assert conversation == REFERENCE
    assert "read from Markdown" in note


def test_only_questions_and_answers_are_in_the_markdown() -> None:
    answer = (Part("text", "It is "), Part("python", "6*7"), Part("python_output", "42"), Part("text", "42."))
    text = to_markdown(Conversation(STARTED, system="You are brief.", turns=(Turn("6*7?", answer),)))
    assert "用户：6*7?\n助手：It is 42.\n\n---\n" in text
    assert "6*7\n" not in text.replace("6*7?", "")
    assert "brief" not in text


lines = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30).filter(
    lambda line: not line.startswith(("助手：", "###", "---", "```", "~~~"))
)
texts = st.lists(lines, min_size=1, max_size=5).map("\n".join)


@given(st.lists(st.tuples(texts, texts), max_size=4))
def test_markdown_without_marks_of_its_own_loads_back_exactly(turns: list[tuple[str, str]]) -> None:
    conversation = said(*turns)
    assert spoken(from_markdown(to_markdown(conversation))) == turns
    assert from_markdown(to_markdown(conversation)).started == STARTED


marks = st.sampled_from(
    ["---", "", "### 问题 1", "### 问题 2", "用户：x", "助手：y", "```", "```py", "~~~", "a", "## 对话内容"]
)
hostile = st.lists(marks, min_size=1, max_size=12).map("\n".join)


@given(st.lists(st.tuples(hostile, hostile), min_size=1, max_size=3))
def test_any_text_loads_back_where_the_json_lies_beside(
    tmp_path_factory: pytest.TempPathFactory, turns: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("log") / "a.md"
    conversation = said(*turns)
    save(conversation, path)
    assert load(path) == (conversation, "")


@given(st.text(st.sampled_from("#-`~用户助手问题：1 2\n"), max_size=200))
def test_markdown_is_read_or_refused_and_never_breaks(body: str) -> None:
    with contextlib.suppress(UserError):
        from_markdown(to_markdown(said()) + body)


def test_marks_inside_a_code_fence_are_text() -> None:
    quoted = "```\n\n---\n\n### 问题 2\n用户：no\n助手：no\n```"
    conversation = said((f"see\n{quoted}", quoted), ("next", "done"))
    assert spoken(from_markdown(to_markdown(conversation))) == spoken(conversation)


def test_a_fence_that_an_answer_left_open_hides_nothing() -> None:
    conversation = said(("code?", "```python\nx = 1"), ("go on", "y = 2"))
    assert spoken(from_markdown(to_markdown(conversation))) == spoken(conversation)


def test_a_markdown_log_saved_with_crlf_loads() -> None:
    text = to_markdown(REFERENCE).replace("\n", "\r\n")
    assert from_markdown(text) == REFERENCE


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "does not begin as a chat log"),
        ("# Something else\n", "does not begin as a chat log"),
        (to_markdown(said()).replace("10-16", "13-16"), "is no time"),
        (to_markdown(said()) + "\n### 问题 2\n用户：a\n助手：b\n\n---\n", "cannot be told apart"),
        (to_markdown(said()) + "\n### 问题 1\n用户：a\n\n---\n", "cannot be told apart"),
        (to_markdown(said()) + "\n### 问题 1\n用户：a\n助手：b\n", "cannot be told apart"),
        (to_markdown(said()) + "\nfirst\n### 问题 1\n用户：a\n助手：b\n\n---\n", "cannot be told apart"),
    ],
)
def test_what_is_no_markdown_log_is_refused(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        from_markdown(text)


def test_a_hostile_answer_is_harmless_in_both_logs() -> None:
    answer = "\x1b]0;owned\x07\x1b[2J\x9b5n\rover \x1b[31mred\x1b[0m" + "x" * 1_000_000 + "\x7f"
    conversation = said(("q\x1b[A", answer))
    for text in (to_markdown(conversation), to_json(conversation)):
        assert not [c for c in text if (ord(c) < 0x20 and c != "\n") or 0x7F <= ord(c) < 0xA0]
    assert from_json(to_json(conversation)) == conversation
    assert from_markdown(to_markdown(conversation)).turns[0].answer_text.startswith("␛]0;owned␇␛[2J")


def test_letters_that_need_marks_keep_them_in_the_markdown() -> None:
    text = "می‌خواهم 👨‍👩‍👧"
    assert text in to_markdown(said((text, text)))


# -- JSON ------------------------------------------------------------------------------------------

numbers = st.floats(0, 1e6, allow_nan=False)
settings = st.builds(
    AnswerSettings,
    temperature=numbers,
    top_k=st.integers(0, 1 << 40),
    top_p=numbers,
    min_p=numbers,
    max_tokens=st.integers(1, 1 << 40),
    seed=st.none() | st.integers(0, (1 << 63) - 1),
)
anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
turns = st.builds(
    Turn,
    question=anything,
    answer=st.lists(st.builds(Part, kind=st.sampled_from(PART_KINDS), text=anything), max_size=4).map(tuple),
    finish_reason=st.sampled_from(FINISH_REASONS),
    model=anything,
    settings=settings,
)
conversations = st.builds(
    Conversation,
    started=st.datetimes().map(lambda moment: moment.replace(microsecond=0)),
    system=anything,
    turns=st.lists(turns, max_size=3).map(tuple),
)


@given(conversations)
def test_json_loads_back_exactly(conversation: Conversation) -> None:
    text = to_json(conversation)
    assert from_json(text) == conversation
    assert from_json(text.encode()) == conversation
    assert json.loads(text)["format"] == "nanochat-conversation"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["turns", "started", "system", "question", "answer", "settings", "type"]),
                inner,
            )
        ),
    )
)
def test_json_of_any_other_form_is_refused(document: object) -> None:
    body = {"format": "nanochat-conversation", "version": 1, "started": "2025-10-16 18:40:38", "system": ""}
    for wrong in (document, {**body, "turns": document}, {**body, "turns": [document]}):
        if wrong == {**body, "turns": []}:
            continue
        with pytest.raises(UserError):
            from_json(json.dumps(wrong))


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("version",), 2, "its version is 2"),
        (("started",), "yesterday", "is no time"),
        (("turns", 0, "question"), 1, r"turns\[0\]\.question is not a text"),
        (("turns", 0, "finish_reason"), "bored", r"turns\[0\]\.finish_reason is 'bored'"),
        (("turns", 0, "answer", 0, "type"), "image", r"turns\[0\]\.answer\[0\]\.type is 'image'"),
        (("turns", 0, "settings", "top_k"), -1, r"turns\[0\]\.settings\.top_k is not a number"),
        (("turns", 0, "settings", "seed"), 1.5, r"turns\[0\]\.settings\.seed is not a number"),
    ],
)
def test_a_wrong_field_is_named(path: tuple[str | int, ...], value: object, says: str) -> None:
    document = json.loads(to_json(REFERENCE))
    at = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    with pytest.raises(UserError, match=says):
        from_json(json.dumps(document))


def test_half_a_surrogate_pair_in_json_cannot_end_the_program() -> None:
    document = json.loads(to_json(REFERENCE))
    document["turns"][0]["question"] = "a\ud83d b"
    assert from_json(json.dumps(document)).turns[0].question == "a\ufffd b"


# -- files -----------------------------------------------------------------------------------------


def test_saving_writes_markdown_with_its_json_beside(tmp_path: Path) -> None:
    assert save(REFERENCE, tmp_path / "new" / "a") == [tmp_path / "new" / "a.md", tmp_path / "new" / "a.json"]
    assert load(tmp_path / "new" / "a.md") == (REFERENCE, "")
    assert load(tmp_path / "new" / "a") == (REFERENCE, "")
    assert load(tmp_path / "new" / "a.json") == (REFERENCE, "")
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()} == {0o600}


def test_a_name_without_a_folder_has_the_time_and_is_never_taken_twice(tmp_path: Path) -> None:
    assert default_path(tmp_path, REFERENCE) == tmp_path / "cc_20251016_184038.md"
    (tmp_path / "cc_20251016_184038.json").write_text("")
    (tmp_path / "cc_20251016_184039.md").write_text("")
    assert default_path(tmp_path, REFERENCE) == tmp_path / "cc_20251016_184040.md"


def test_another_kind_of_file_is_refused() -> None:
    with pytest.raises(UserError, match=r"ends in \.md or \.json"):
        log_files(Path("a.txt"))


def test_a_markdown_log_that_was_edited_is_what_counts(tmp_path: Path) -> None:
    save(REFERENCE, tmp_path / "a.md")
    text = (tmp_path / "a.md").read_text(encoding="utf-8").replace("samples", "examples")
    (tmp_path / "a.md").write_text(text, encoding="utf-8")
    conversation, note = load(tmp_path / "a.md")
    assert conversation.turns[0].answer_text.endswith("- examples")
    assert "a.json beside it says something else" in note


def test_a_damaged_json_beside_is_told(tmp_path: Path) -> None:
    save(REFERENCE, tmp_path / "a.md")
    (tmp_path / "a.json").write_text("{", encoding="utf-8")
    conversation, note = load(tmp_path / "a.md")
    assert conversation == REFERENCE
    assert "a.json beside it is no log" in note


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe", "is not UTF-8 text: byte 0"),
        (b"[]", "cannot load .*no conversation"),
        (None, "cannot read"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=says):
        load(tmp_path / "a.json")


def test_what_is_no_file_is_neither_waited_for_nor_read_without_end(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    (tmp_path / "endless.md").symlink_to("/dev/zero")
    for name in ("pipe.md", "endless.md"):
        with pytest.raises(UserError, match="it is no file"):
            load(tmp_path / name)


def test_a_full_disk_changes_nothing(tmp_path: Path, mount_tmpfs: Callable[[Path, str], Path]) -> None:
    small_disk = mount_tmpfs(tmp_path / "small", "512k")
    save(REFERENCE, small_disk / "a.md")
    before = {path.name: path.read_bytes() for path in small_disk.iterdir()}
    longer = said(*[("q", "a" * 100_000)] * 3)
    with pytest.raises(UserError, match=r"cannot write .*a\.json: No space left on device"):
        save(longer, small_disk / "a.md")  # the Markdown fits, its JSON beside it does not
    assert {path.name: path.read_bytes() for path in small_disk.iterdir()} == before
