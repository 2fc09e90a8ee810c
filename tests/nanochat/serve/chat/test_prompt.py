"""The input line's memory and its completion."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from nanochat.serve.chat import Chat
from nanochat.serve.client import ChatClient, ServedModel
from nanochat.serve.conversation import AnswerSettings, Conversation
from nanochat.serve.terminal.commands import Commands
from nanochat.serve.terminal.models import ServerModels
from nanochat.serve.terminal.prompt import MAX_HISTORY_BYTES, MAX_REMEMBERED, CommandCompleter, History


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1), max_size=5
    )
)
def test_questions_of_earlier_chats_come_back(
    tmp_path_factory: pytest.TempPathFactory, questions: list[str]
) -> None:
    path = tmp_path_factory.mktemp("history") / "new" / "chat_history"
    history = History(path)
    for question in questions:
        history.store_string(question)
    assert list(History(path).load_history_strings()) == questions[::-1]
    assert not questions or path.stat().st_mode & 0o777 == 0o600


def test_only_the_end_of_a_long_history_is_read(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    history.store_string("old")
    for number in range(MAX_HISTORY_BYTES // MAX_REMEMBERED + 2):
        history.store_string(str(number).ljust(MAX_REMEMBERED, "x"))
    history.store_string("y" * (MAX_REMEMBERED + 1))  # too long to be remembered
    found = list(history.load_history_strings())
    assert found[0].startswith("42x") or found[0].startswith("43x")
    assert "old" not in found
    assert sum(map(len, found)) <= MAX_HISTORY_BYTES


def test_a_damaged_history_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "h").write_bytes(b"+first\n\xff\xfe\x00\n+second\xff\n+line two")
    assert list(History(tmp_path / "h").load_history_strings()) == ["second\ufffd\nline two", "first"]


def test_a_history_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    history = History(tmp_path / "file" / "h")
    history.store_string("a")
    assert list(history.load_history_strings()) == []
    assert history.warning.startswith("questions are not remembered: cannot")


@pytest.fixture
def completer(tmp_path: Path) -> CommandCompleter:
    client = ChatClient("http://127.0.0.1:1")
    chat = Chat(client, ServedModel("m"), AnswerSettings(), Conversation.new())
    (tmp_path / "cc_dialogue").mkdir()
    for name in ("cc_1.md", "cc_1.json", "cc_2.md", "notes.txt"):
        (tmp_path / "cc_dialogue" / name).write_text("")
    table = Commands(chat, ServerModels(client), tmp_path).table
    return CommandCompleter(table, lambda: ["sft/d20", "rl/d20"], tmp_path / "cc_dialogue")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/te", ["/temp"]),
        ("/", "all"),
        ("/model s", ["sft/d20"]),
        ("/model ", ["sft/d20", "rl/d20"]),
        ("/load ", ["cc_2", "cc_1"]),
        ("/load cc_1", ["cc_1"]),
        ("/seed r", ["random"]),
        ("what is /te", []),
        ("/system\n/te", []),
    ],
)
def test_what_may_follow_is_offered(completer: CommandCompleter, line: str, words: object) -> None:
    found = [c.text for c in completer.get_completions(Document(line), CompleteEvent())]
    assert found == (list(completer._table) if words == "all" else words)
