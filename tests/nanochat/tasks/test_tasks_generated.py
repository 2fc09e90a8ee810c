"""Tasks that need no download: spelling, arithmetic, identity, and a user's own conversations."""

import json
import random
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.common.paths import Layout
from nanochat.data.sources import Skips
from nanochat.tasks import Conversation, TaskData, make_task
from nanochat.tasks.arithmetic import is_test_question
from nanochat.tasks.customjson import CustomJson, read_conversations
from nanochat.tasks.identity import SHIPPED, IdentityConversations, read_identity
from nanochat.tasks.spellingbee import QUESTIONS, TEST_SEED, item_seed
from nanochat.tokenizer.conversation import check_conversation
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.tools.calculator import calculate

WORDS = [
    "strawberry",
    "mississippi",
    "direct",
    "evaluate",
    "go",
    "aa",
    "rhythm",
    "banana",
    "zebra",
    "onomatopoeia",
]


@pytest.fixture
def data(layout: Layout) -> TaskData:
    (layout.base / "words_alpha.txt").write_text("\n".join(WORDS) + "\n")
    return TaskData.at(layout)


def question(conversation: Conversation) -> str:
    text: str = conversation["messages"][0]["content"]
    return text


def parts(conversation: Conversation) -> list[dict[str, str]]:
    content: list[dict[str, str]] = conversation["messages"][-1]["content"]
    return content


def spoken(conversation: Conversation) -> str:
    """The answer as a model writes it: its text, calls and outputs run together."""
    return "".join(part["text"] for part in parts(conversation))


def check_calls(conversation: Conversation) -> int:
    """Every call's output is what the calculator answers. Returns the number of calls."""
    check_conversation(conversation["messages"])
    calls = 0
    listed = parts(conversation)
    for index, part in enumerate(listed):
        if part["type"] == "python":
            calls += 1
            assert listed[index + 1] == {"type": "python_output", "text": calculate(part["text"])}
    return calls


# -- spelling --------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "test"])
def test_spelling_bee_answers_are_right_in_every_line(data, split):
    letters_of_the_word = 0
    for conversation in make_task("SpellingBee", data, split, size=400):
        assert check_calls(conversation) == 1
        word, letter = re.fullmatch(
            r"'([a-z]+)'\.count\('([a-z])'\)", parts(conversation)[1]["text"]
        ).groups()
        assert word in WORDS and word in question(conversation) and letter in question(conversation)
        count = word.count(letter)
        letters_of_the_word += count > 0
        lines = parts(conversation)[0]["text"].split("\n")
        assert f"{word}:{','.join(word)}" in lines
        counted = [line for line in lines if re.match(r"\d+:", line)]
        assert [line.split()[0] for line in counted] == [f"{i}:{c}" for i, c in enumerate(word, 1)]
        hits = [f" hit! count={n}" for n in range(1, count + 1)]
        assert [line[len(line.split()[0]) :] for line in counted if "hit" in line] == hits
        assert spoken(conversation).endswith(f"#### {count}")
    assert 350 < letters_of_the_word < 400


def test_spelling_bee_draws_in_upstreams_order(data):
    """Word, nine in ten a letter of it, template, case, quotes, question mark: from Random(seed)."""
    for index, conversation in enumerate(make_task("SpellingBee", data, "train", size=200)):
        source = random.Random(index)
        word = source.choice(WORDS)
        letter = source.choice(word) if source.random() < 0.9 else source.choice("abcdefghijklmnopqrstuvwxyz")
        template = source.choice(QUESTIONS)
        if source.random() < 0.3:
            template = template.lower()
        quotes = ("", "'", '"')
        around_letter, around_word = source.choice(quotes), source.choice(quotes)
        expected = template.format(
            letter=around_letter + letter + around_letter, word=around_word + word + around_word
        )
        assert question(conversation) == expected + ("?" if source.random() < 0.5 else "")


def test_questions_are_asked_in_several_scripts(data):
    asked = " ".join(map(question, make_task("SpellingBee", data, "train", size=300)))
    for script in ("[a-z]", "[áéíóúñ¿]", "[а-я]", "[一-鿿]", "[ぁ-ん]", "[가-힣]"):
        assert re.search(script, asked)


def test_test_and_training_items_never_share_a_seed():
    train = {item_seed("train", index) for index in range(1000)} | {item_seed("train", TEST_SEED - 1)}
    test = {item_seed("test", index) for index in range(1000)}
    assert not {abs(seed) for seed in train} & {abs(seed) for seed in test}
    with pytest.raises(ValueError, match="test seed"):
        item_seed("train", TEST_SEED)


def test_the_next_training_item_is_not_the_test_item(data):
    """Upstream's leak: its test item i was its training item i + 1."""
    train = make_task("SpellingBee", data, "train", size=200)
    test = make_task("SpellingBee", data, "test", size=200)
    assert sum(test[i] == train[i + 1] for i in range(199)) < 5


def test_simple_spelling_is_word_and_letters(data):
    task = make_task("SimpleSpelling", data, "train", size=50)
    shuffled = list(WORDS)
    random.Random(42).shuffle(shuffled)
    for index, conversation in enumerate(task):
        word = random.Random(index).choice(shuffled)
        assert question(conversation) == f"Spell the word: {word}"
        answer = conversation["messages"][1]["content"]
        assert answer == f"{word}:{','.join(word)}"
        assert task.evaluate(conversation, answer) and not task.evaluate(conversation, answer + "x")


def test_spelling_bee_is_judged_by_its_number(data):
    task = make_task("SpellingBee", data)
    assert len(task) == 256
    for conversation in task:
        assert task.evaluate(conversation, spoken(conversation))
        assert not task.evaluate(conversation, "#### 99") and not task.evaluate(conversation, "")


def test_the_real_word_list(layout, shared_data):
    task = make_task("SpellingBee", TaskData.at(layout, words=str(shared_data / "words.txt")), size=100)
    assert len({parts(conversation)[1]["text"] for conversation in task}) > 95


def test_words_of_the_corpus_where_there_is_no_list(layout):
    vocabulary = [f"{a}{b}{c}" for a in "bcdfg" for b in "aeiou" for c in "klmnp"]
    texts = [" ".join(vocabulary), " ".join(vocabulary) + " Once snake_case x1y twice's", "only once"]
    folder = layout.base / "base_data"
    folder.mkdir()
    for number in range(2):
        pq.write_table(pa.table({"text": texts}), folder / f"shard_{number:05d}.parquet")
    task = make_task("SimpleSpelling", TaskData.at(layout), "train", size=2000)
    spelled = {question(conversation).removeprefix("Spell the word: ") for conversation in task}
    assert set(vocabulary) <= spelled <= {*vocabulary, "twice", "only", "once"}


def test_no_words_at_all_says_where_a_list_is_to_be_had(layout):
    with pytest.raises(UserError, match=r"no words to spell: .*words_alpha.txt.*--words"):
        make_task("SpellingBee", TaskData.at(layout))


@pytest.mark.parametrize(
    ("content", "line"), [("apple\nbanana split\n", 2), ("Apple\n", 1), ("a\n\nb\n", 2), ("naïve", 1)]
)
def test_a_word_list_with_a_bad_line_names_it(layout, content, line):
    (layout.base / "words_alpha.txt").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=f"line {line}: .* is not a word"):
        make_task("SpellingBee", TaskData.at(layout))


# -- arithmetic ------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "test"])
def test_arithmetic_is_right_and_in_gsm8ks_form(layout, split):
    task = make_task("Arithmetic", TaskData.at(layout), split, size=500)
    for conversation in task:
        assert check_calls(conversation) in (1, 2)
        listed = parts(conversation)
        assert listed[-1]["text"].endswith(f"#### {listed[-2]['text']}")
        numbers = re.findall(r"\d+", question(conversation))
        used = re.findall(r"\d+", " ".join(part["text"] for part in listed if part["type"] == "python"))
        assert set(numbers) <= set(used)
        assert int(listed[-2]["text"]) >= 0
        assert task.evaluate(conversation, spoken(conversation))
        assert not task.evaluate(conversation, "#### -1")


def test_no_arithmetic_question_of_the_test_is_ever_trained_on(layout):
    data = TaskData.at(layout)
    train = {question(conversation) for conversation in make_task("Arithmetic", data, "train")}
    test = {question(conversation) for conversation in make_task("Arithmetic", data, "test")}
    assert not train & test and len(train) > 7000
    assert all(map(is_test_question, test)) and not any(map(is_test_question, train))


# -- identity --------------------------------------------------------------------------------------


def test_identity_comes_from_the_template_that_the_user_edits(layout):
    assert "nanochat" in json.dumps(list(make_task("Identity", TaskData.at(layout), size=50)))
    own = SHIPPED.read_text().replace('name = "nanochat"', 'name = "Otto"')
    (layout.base / "identity.toml").write_text(own)
    task = make_task("Identity", TaskData.at(layout))
    said = json.dumps(list(task))
    assert len(task) == 1000 and "Otto" in said and "nanochat" not in said
    for conversation in task:
        check_conversation(conversation["messages"])
        assert len(conversation["messages"]) in (2, 4, 6)
        assert "{" not in json.dumps(conversation["messages"]).replace('{"', "").replace("[{", "")


def test_identity_is_the_same_each_time_and_varied():
    identity = read_identity(SHIPPED)
    first = list(IdentityConversations(identity, 500))
    assert first == list(IdentityConversations(identity, 500))
    assert len({json.dumps(conversation) for conversation in first}) > 250
    asked = {message["content"] for item in first for message in item["messages"][::2]}
    assert asked == {question for topic in identity.topics for question in topic.questions}


GOOD = 'facts = ["f"]\n[about]\nname = "N"\n[[topic]]\nquestions = ["q"]\nanswers = ["{name} {fact}"]\n'


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("{name}", "{nmae}"), "asks for {nmae}.*'name'"),
        (("{fact}", "{fact"), "expected '}'"),
        (("{fact}", "{}"), "asks for {}"),
        (("[about]", "[abuot]"), "unknown key 'abuot'.*'about'"),
        (('name = "N"', "name = 3"), "must give words"),
        (('name = "N"', 'maker = "N"'), "gives no name"),
        (('questions = ["q"]', "questions = []"), "topic 1: questions must be a list"),
        (('answers = ["{name} {fact}"]', "answer = 1"), "topic 1: answers must be a list"),
        (("[[topic]]", "[topic]"), r"has no \[\[topic\]\]"),
        (('facts = ["f"]', "facts = 1"), "facts must be a list"),
        (('facts = ["f"]', ""), "asks for {fact}"),
        (('["q"]', '["q"'), "not valid TOML"),
    ],
)
def test_a_template_that_is_wrong_says_where(tmp_path, change, complaint):
    path = tmp_path / "identity.toml"
    path.write_text(GOOD)
    assert IdentityConversations(read_identity(path), 1)[0]["messages"][1]["content"] == "N f"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(UserError, match=complaint):
        read_identity(path)


# -- a user's own conversations ---------------------------------------------------------------------

FINE = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]


def test_own_conversations_in_both_forms(tmp_path):
    path = tmp_path / "own.jsonl"
    longer = [*FINE, {"role": "user", "content": "漢字?"}, {"role": "assistant", "content": "", "x": 1}]
    lines = [json.dumps(FINE), "", json.dumps({"messages": longer, "source": "me"}, ensure_ascii=False)]
    path.write_text("\n".join(lines), encoding="utf-8")
    task = CustomJson(path)
    assert len(task) == 2 and task[0] == {"messages": FINE}
    assert task[1]["messages"][2:] == [longer[2], {"role": "assistant", "content": ""}]


def test_real_conversations_are_read(layout, shared_data):
    path = shared_data / "conversations" / "train.jsonl"
    assert len(make_task("CustomJSON", TaskData.at(layout, conversations=str(path)))) == 12_289


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "no valid JSON"),
        ("[" * 100_000, "no valid JSON"),
        ("3", "no list of messages"),
        ('{"text": "a"}', "no list of messages"),
        ("[]", "0 messages"),
        (json.dumps(FINE[:1]), "1 messages"),
        (json.dumps(FINE[::-1]), "turn 0 is from 'assistant'"),
        (json.dumps([FINE[0], FINE[0]]), "turn 1 is from 'user'"),
        (json.dumps([*FINE, {"role": "system", "content": "s"}]), "message 2 is a system message"),
        (json.dumps([{"role": "system", "content": "s"}, FINE[0]]), "a system and a user message, and no"),
        (json.dumps([FINE[0], {"role": "tool", "content": "s"}]), "turn 1 is from 'tool'"),
        (
            json.dumps([FINE[0], {"role": "assistant", "content": [{"type": "image_url"}]}]),
            "message 1 has no content that is text: a content part of the kind 'image_url'",
        ),
        (json.dumps([FINE[0], {"role": "assistant"}]), "message 1 has no content"),
        (json.dumps([FINE[0], {"content": "a"}]), "message 1 has no role"),
        (json.dumps([FINE[0], "ho"]), "message 1 has no content"),
        (b'["\xff"]', "no valid JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, complaint):
    path = tmp_path / "own.jsonl"
    raw = line if isinstance(line, bytes) else line.encode()
    path.write_bytes(b"\n\n" + raw + b"\n")
    with pytest.raises(UserError, match=f"own.jsonl, (line 3|record 1): {complaint}") as caught:
        read_conversations(path, Skips())
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    path.write_bytes(json.dumps(FINE).encode() + b"\n\n" + raw + b"\n")
    skips = Skips()
    assert read_conversations(path, skips) == [FINE]
    assert skips.total == 1 and next(iter(skips.examples.values())).startswith("line 3: ")


@given(st.binary(max_size=60))
def test_noise_never_gives_a_traceback(tmp_path_factory, noise):
    path = tmp_path_factory.getbasetemp() / "noise.jsonl"
    path.write_bytes(noise)
    with pytest.raises(UserError):
        read_conversations(path, Skips())


def test_a_missing_or_empty_file(tmp_path: Path):
    with pytest.raises(UserError, match="No such file"):
        read_conversations(tmp_path / "none.jsonl", Skips())
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(UserError, match="holds no conversation"):
        read_conversations(tmp_path / "empty.jsonl", Skips())


# -- the command -----------------------------------------------------------------------------------


def test_the_command_lists_shows_and_fetches(layout, shared_data, capsys, tmp_path):
    from nanochat.cli import main

    assert main(["tasks", "ls"]) == 0
    assert "GSM8K" in capsys.readouterr().out
    assert main(["tasks", "show", "arithmetic", "-n", "1", "--start", "4", "--split", "train"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("-- 4\nuser: ") and re.search(r"<<\S+=\d+>>", shown) and "\n#### " in shown
    assert main(["tasks", "show", "GSM8K", "-n", "2", "--json", "--task-data", str(shared_data / "hub")]) == 0
    assert [len(json.loads(line)["messages"]) for line in capsys.readouterr().out.splitlines()] == [2, 2]
    own = tmp_path / "own.jsonl"
    said = "\x9b31m \x1b[2J \u202egnp \x7f ok"
    own.write_text(json.dumps([{"role": "user", "content": said}, {"role": "assistant", "content": "x"}]))
    for form in ([], ["--json"]):
        assert main(["tasks", "show", "CustomJSON", *form, f"--conversations={own}"]) == 0
        shown = capsys.readouterr().out
        assert not set(shown) & set(said) - set("31m [2Jgnp ok")
    assert json.loads(shown)["messages"][0]["content"] == said
    tokenizer = Tokenizer.train_from_iterator(["ok ok ok"], 266)
    tokenizer.save(tmp_path / "tok")
    words = ["tasks", "show", "CustomJSON", f"--conversations={own}", "--tokens"]
    words += [f"--tokenizer-dir={tmp_path / 'tok'}", "--max-tokens=20"]
    ids, mask = tokenizer.render_conversation(json.loads(own.read_text()), 20)
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["ids"], found["mask"], found["roles"][:2]) == (ids, mask, ["document", "user"])
    assert (found["cut"], found["cut_trained"]) == (7, 2)
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "20 tokens, 0 of them trained; 7 cut away, 2 of them trained" in shown
    assert len(shown.splitlines()) == 22 and not set(shown) & set(said) - set("31m [2Jgnp ok")
    assert main([*words[:-1], "--max-tokens=0"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["tasks", "fetch", "GSM8K", "ARC-Easy", "--task-data", str(shared_data / "hub")]) == 0
    assert "660 conversations" in capsys.readouterr().out
    assert main(["tasks", "fetch", "SmolTalk", "--offline"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("nanochat: error: ") and error.count("\n") == 1
