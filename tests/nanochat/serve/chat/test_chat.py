"""A chat without its terminal: what becomes of answers that end, stop, break, and are asked for again."""

import asyncio
from pathlib import Path

import pytest
from stub_server import DONE, END, StubServer, chunk, error, text, usage

from nanochat.common.errors import UserError
from nanochat.serve.chat import Chat
from nanochat.serve.client import ChatClient
from nanochat.serve.conversation import AnswerSettings, Conversation, Part
from nanochat.serve.terminal.commands import Ask, Commands, Edit, Quit, Say
from nanochat.serve.terminal.models import ServerModels
from nanochat.serve.terminal.screen import summary


async def make_chat(stub: StubServer, **settings: int) -> Chat:
    client = ChatClient(stub.url)
    return Chat(client, await client.model(), AnswerSettings(**settings), Conversation.new())  # type: ignore[arg-type]


async def make_commands(stub: StubServer, tmp_path: Path, **settings: int) -> Commands:
    chat = await make_chat(stub, **settings)
    return Commands(chat, ServerModels(chat.client), tmp_path / "cc_dialogue")


def spoken(chat: Chat) -> list[tuple[str, str, str]]:
    return [(turn.question, turn.answer_text, turn.finish_reason) for turn in chat.conversation.turns]


# -- answers ---------------------------------------------------------------------------------------


async def test_a_question_carries_the_conversation_before_it(stub: StubServer) -> None:
    chat = await make_chat(stub)
    chat.conversation = Conversation.new("Be brief.")
    await chat.ask("one")
    await chat.ask("two")
    assert stub.requests[1]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": "two"},
    ]
    assert spoken(chat) == [("one", "one", "stop"), ("two", "two", "stop")]


async def test_the_seed_of_an_answer_is_kept_so_that_it_can_be_made_again(stub: StubServer) -> None:
    chat = await make_chat(stub)
    await chat.ask("a")
    await chat.ask("b")
    seeds = [turn.settings.seed for turn in chat.conversation.turns]
    assert [request["seed"] for request in stub.requests] == seeds
    assert len(set(seeds)) == 2
    chat.change(seed=7)
    await chat.ask("c")
    assert stub.requests[2]["seed"] == 7


async def test_tool_calls_go_back_to_our_server_as_parts_and_to_others_as_text(stub: StubServer) -> None:
    call = {"arguments": "6*7", "output": "42", "offset": 3}
    stub.answer = lambda body: [text("It "), chunk(delta={"executed_tools": [call]}), text("is 42."), END]
    chat = await make_chat(stub)
    await chat.ask("6*7?")
    await chat.ask("sure?")
    assert stub.requests[1]["messages"][1]["content"] == [
        {"type": "text", "text": "It "},
        {"type": "python", "text": "6*7"},
        {"type": "python_output", "text": "42"},
        {"type": "text", "text": "is 42."},
    ]
    stub.models = [{"id": "other", "owned_by": "somebody"}]
    chat.use(await chat.client.model())
    await chat.ask("really?")
    assert stub.requests[2]["messages"][1]["content"] == "It is 42."


async def test_other_servers_get_the_fields_of_openai_unless_the_user_chose_more(stub: StubServer) -> None:
    chat = await make_chat(stub)
    await chat.ask("ours")
    assert stub.requests[-1]["top_k"] == 50
    stub.models = [{"id": "other", "owned_by": "somebody"}]
    chat.use(await chat.client.model())
    await chat.ask("theirs")
    assert not {"top_k", "min_p"} & stub.requests[-1].keys()
    chat.change(top_k=5)
    await chat.ask("theirs, with top-k")
    assert stub.requests[-1]["top_k"] == 5


async def test_a_stopped_answer_keeps_what_came(stub: StubServer) -> None:
    stub.answer = lambda body: [text("as far "), text("as this"), 30.0, END]
    chat = await make_chat(stub)
    came = asyncio.Event()
    task = asyncio.create_task(chat.ask("go", lambda part: came.set() if "this" in part.text else None))
    await came.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert spoken(chat) == [("go", "as far as this", "stopped")]
    assert chat.latest is not None and summary(chat.latest).startswith("stopped")


async def test_a_cut_answer_keeps_what_came_and_says_so(stub: StubServer) -> None:
    stub.answer = lambda body: [text("half")]
    chat = await make_chat(stub)
    with pytest.raises(UserError, match="broke off"):
        await chat.ask("go")
    assert spoken(chat) == [("go", "half", "cut")]


async def test_an_answer_asked_for_again_replaces_the_old_one_once_it_comes(stub: StubServer) -> None:
    chat = await make_chat(stub)
    await chat.ask("one")
    await chat.ask("two")
    stub.answer = lambda body: error(500, "broken")
    with pytest.raises(UserError):
        await chat.ask("two", again=True)
    assert spoken(chat) == [("one", "one", "stop"), ("two", "two", "stop")]
    stub.answer = lambda body: [text("new"), END]
    await chat.ask(chat.last_question(), again=True)
    assert spoken(chat) == [("one", "one", "stop"), ("two", "new", "stop")]


async def test_a_question_that_nothing_came_of_can_be_asked_again(stub: StubServer) -> None:
    chat = await make_chat(stub)
    await chat.ask("one")
    stub.answer = lambda body: error(500, "broken")
    for again in (False, True, True):
        with pytest.raises(UserError):
            await chat.ask("two", again=again)
    assert spoken(chat) == [("one", "one", "stop")]
    assert chat.last_question() == "two"
    stub.answer = lambda body: [text("now"), END]
    await chat.ask("two", again=True)
    assert spoken(chat) == [("one", "one", "stop"), ("two", "now", "stop")]


async def test_an_answer_fits_what_the_context_has_left(stub: StubServer) -> None:
    def refuse_long(body: dict[str, int]) -> object:
        if body["max_tokens"] > 998:
            return error(400, "does not fit", code="context_length_exceeded")
        return [text("short"), chunk(delta={}, finish_reason="length"), usage(2, 1), DONE]

    stub.answer = refuse_long  # type: ignore[assignment]
    chat = await make_chat(stub, max_tokens=5_000)
    answer = await chat.ask("hello there")
    assert (answer.room, answer.reason) == (998, "length")
    assert "the context had room for 998 tokens" in summary(answer)
    chat.conversation = Conversation.new("word " * 1_000)
    with pytest.raises(UserError, match="does not fit"):
        await chat.ask("hello there")


# -- commands --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ("", None),
        ("  ", None),
        ("hello", Ask("hello")),
        ("two\nlines", Ask("two\nlines")),
        ("//temp is a command", Ask("/temp is a command")),
        ("/etc/hosts says what?", Ask("/etc/hosts says what?")),
        ("quit", Quit()),
        ("/quit", Quit()),
        ("/EXIT", Quit()),
        ("/temp", Say("temperature 0.6")),
        ("/temp 0", Say("temperature 0")),
        ("/topk 0", Say("top-k 0: every token may be sampled")),
        ("/topk 5_0", Say("top-k 50")),
        ("/max 12", Say("at most 12 tokens an answer")),
        ("/seed 5", Say("seed 5")),
        ("/seed random", Say("a new seed for each answer")),
        ("/system", Say("no system message")),
        ("/system Be\nbrief.", Say("system: Be\nbrief.")),
    ],
)
async def test_a_line_means(stub: StubServer, tmp_path: Path, line: str, outcome: object) -> None:
    assert await (await make_commands(stub, tmp_path)).run(line) == outcome


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("/tmep 1", "did you mean '/temp'"),
        ("/temp hot", "not a number"),
        ("/temp 3", "from 0 to 2"),
        ("/temp nan", "from 0 to 2"),
        ("/topk -1", "from 0 to"),
        ("/max 0", "from 1 to"),
        ("/seed 99999999999999999999", "64 bits"),
        ("/retry", "nothing has been asked yet"),
        ("/edit", "nothing has been asked yet"),
        ("/save", "nothing to save yet"),
        ("/load", "needs a file"),
        ("/load nowhere", "cannot read"),
        ("/clear all", "takes nothing after it"),
        ("/model big/one@x", "no model"),
    ],
)
async def test_a_command_used_wrongly_is_one_line(
    stub: StubServer, tmp_path: Path, line: str, says: str
) -> None:
    stub.models[0]["owned_by"] = "somebody"
    with pytest.raises(UserError, match=says) as caught:
        await (await make_commands(stub, tmp_path)).run(line)
    assert "\n" not in str(caught.value)


async def test_settings_by_command_are_those_of_the_next_answer(stub: StubServer, tmp_path: Path) -> None:
    commands = await make_commands(stub, tmp_path)
    for line in ("/temp 0.25", "/topk 7", "/max 9", "/seed 11", "/system Be brief."):
        await commands.run(line)
    await commands.chat.ask("hi")
    sent = stub.requests[-1]
    assert (sent["temperature"], sent["top_k"], sent["max_tokens"], sent["seed"]) == (0.25, 7, 9, 11)
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    await commands.run("/system off")
    await commands.chat.ask("hi")
    assert stub.requests[-1]["messages"][0]["role"] == "user"


async def test_retry_with_a_fixed_seed_takes_another_one(stub: StubServer, tmp_path: Path) -> None:
    commands = await make_commands(stub, tmp_path, seed=5)
    await commands.chat.ask("again?")
    assert await commands.run("/retry") == Ask("again?", again=True, new_seed=True)
    await commands.run("/temp 0")
    assert await commands.run("/retry") == Ask("again?", again=True)
    assert await commands.run("/edit") == Edit("again?")


async def test_tokens_tells_how_much_of_the_context_is_taken(stub: StubServer, tmp_path: Path) -> None:
    commands = await make_commands(stub, tmp_path)
    await commands.chat.ask("three words here")
    assert await commands.run("/tokens") == Say("1 turn: 6 of 1,000 tokens, 994 left; an answer may take 256")


async def test_help_names_every_command_and_model_every_model(stub: StubServer, tmp_path: Path) -> None:
    commands = await make_commands(stub, tmp_path)
    said = await commands.run("/help")
    assert isinstance(said, Say)
    wanted = "/system /temp /topk /seed /max /model /save /load /retry /edit /clear /tokens /help"
    assert all(f"{name} " in said.text for name in wanted.split())
    assert max(map(len, said.text.splitlines())) < 80  # a terminal wraps in the middle of words
    stub.models.append({"id": "\x1b[2Jevil"})
    assert await commands.run("/model") == Say("model stub/small; there are:\nstub/small\n␛[2Jevil")


async def test_save_load_and_clear(stub: StubServer, tmp_path: Path) -> None:
    commands = await make_commands(stub, tmp_path)
    await commands.run("/system Be brief.")
    await commands.chat.ask("one")
    assert commands.unsaved
    said = commands.save()
    assert not commands.unsaved
    files = sorted(path.name for path in (tmp_path / "cc_dialogue").iterdir())
    stem = commands.chat.conversation.started.strftime("cc_%Y%m%d_%H%M%S")
    assert files == [f"{stem}.json", f"{stem}.md"]
    assert f"{stem}.md" in said
    await commands.chat.ask("two")
    commands.save()  # the same files again
    assert len(list((tmp_path / "cc_dialogue").iterdir())) == 2
    saved = commands.chat.conversation
    await commands.run("/clear")
    assert commands.chat.conversation.turns == ()
    assert commands.chat.conversation.system == "Be brief."
    await commands.run(f"/load {stem}")
    assert commands.chat.conversation == saved
    await commands.chat.ask("three")
    commands.save()
    assert len(list((tmp_path / "cc_dialogue").iterdir())) == 2


async def test_another_file_is_never_overwritten(stub: StubServer, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("mine")
    commands = await make_commands(stub, tmp_path)
    await commands.chat.ask("one")
    with pytest.raises(UserError, match="is there already"):
        await commands.run(f"/save {tmp_path / 'notes.md'}")
    assert (tmp_path / "notes.md").read_text() == "mine"
    with pytest.raises(UserError, match="ends in"):
        await commands.run(f"/save {tmp_path / 'notes.txt'}")
    await commands.run(f"/save {tmp_path / 'a b'}")
    assert (tmp_path / "a b.json").exists()


async def test_a_disk_without_room_loses_nothing(stub: StubServer, tmp_path: Path, mount_tmpfs) -> None:
    commands = await make_commands(stub, mount_tmpfs(tmp_path / "small", "64k"))
    await commands.chat.ask("x" * 100_000)
    with pytest.raises(UserError, match="No space left"):
        commands.save()
    assert commands.unsaved
    assert commands.save(str(tmp_path / "elsewhere")).startswith("saved 1 turn")


async def test_a_question_keeps_a_part_of_the_old_conversation(stub: StubServer, tmp_path: Path) -> None:
    commands = await make_commands(stub, tmp_path)
    commands.chat.start(Conversation.new())
    assert commands.chat.before_last().turns == ()
    await commands.chat.ask("one")
    assert commands.chat.conversation.turns[0].answer == (Part("text", "one"),)
