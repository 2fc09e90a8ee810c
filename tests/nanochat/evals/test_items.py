"""Items files read as columns: both versions, damaged files, records on demand, the search."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.errors import UserError
from nanochat.common.fields import json_text
from nanochat.evals import items as items_module
from nanochat.evals.item_record import TranscriptPart, choice_place, item_key, margin, read_record
from nanochat.evals.item_search import Needle
from nanochat.evals.items import DamagedRecordError, Items, read_items

OLD_CHOICE = {
    "task": "ARC-Easy", "index": 4, "correct": False, "prediction": "A", "gold": "B",
    "losses": [0.5, 1.25], "prompt": "Multiple Choice question: …",
}  # fmt: skip
OLD_SAMPLED = {
    "task": "GSM8K", "index": 0, "correct": True, "prediction": "6\n#### 6", "gold": "#### 6",
    "losses": [], "prompt": "How many?", "samples_correct": 2, "samples": 8,
}  # fmt: skip
OLD_CORE = {
    "task": "copa", "index": 1, "correct": True, "prediction": 1, "gold": 1, "losses": [3.5, 2.0],
    "prompt": "The man … because", "near_tie": True,
}  # fmt: skip
NEW_CORE = {
    "v": 2, "task": "copa", "subject": "", "index": 2, "key": "00ff00ff00ff00ff", "correct": False,
    "losses": [None, 2.0], "prediction": 0, "gold": 1, "near_tie": False, "cropped": 9,
    "choices": ["it rained", "it snowed"], "prompt": "Snow lay because", "samples": [],
}  # fmt: skip
NEW_SAMPLED = {
    "v": 2, "task": "GSM8K", "subject": "", "index": 9, "key": "11ff00ff00ff00ff", "correct": True,
    "losses": [], "prediction": "2+2=4", "gold": "#### 4", "choices": [], "prompt": "2+2?",
    "samples": [
        {"text": "5", "correct": False, "transcript": [{"type": "text", "text": "5"}], "finish": "stop",
         "tokens": 2},
        {"text": "2+2=4", "correct": True, "transcript": [
            {"type": "python", "text": "2+2"}, {"type": "python_output", "text": "4"}, {"type": "image"}],
         "finish": "length", "tokens": 7},
    ],
}  # fmt: skip


def write(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json_text(record, None) + "\n" for record in records), encoding="utf-8")
    return path


def found(items: Items, text: str, most: int = 1) -> list[int]:
    """Of a whole search, slice by slice."""
    rows, start = [], 0
    while start < len(items):
        part = items.search(text, start, most)
        assert start < part.next <= start + most
        rows += part.rows
        start = part.next
    return rows


def test_both_versions_in_one_file_are_columns_and_records(tmp_path: Path) -> None:
    path = write(tmp_path / "items.jsonl", OLD_CHOICE, OLD_SAMPLED, OLD_CORE, NEW_CORE, NEW_SAMPLED)
    items = read_items(path)
    assert items.notes == []
    assert items.tasks() == ["ARC-Easy", "GSM8K", "copa"]
    assert items.index == [4, 0, 1, 2, 9]
    assert items.correct == [False, True, True, False, True]
    assert items.key == [None, None, None, "00ff00ff00ff00ff", "11ff00ff00ff00ff"]
    assert list(items.prediction) == ["A", "6 #### 6", "1", "0", "2+2=4"]
    assert list(items.gold) == ["B", "#### 6", "1", "1", "#### 4"]
    assert list(items.margin) == [0.5 - 1.25, None, 1.5, None, None]
    assert items.prediction[1:3] == ["6 #### 6", "1"]
    assert items.row("copa", 2) == 3
    assert items.row("copa", 7) is None

    choice, sampled, core, new_core, new_sampled = map(items.record, range(5))
    assert (choice.version, choice.gold_choice, choice.predicted_choice, choice.choices) == (1, 1, 0, ())
    assert (sampled.sample_count, sampled.samples_correct, len(sampled.samples)) == (8, 2, 1)
    assert sampled.samples[0].text == "6\n#### 6"
    assert core.near_tie and core.margin == 1.5
    assert new_core.choices == ("it rained", "it snowed")
    assert (new_core.losses, new_core.gold_choice, new_core.cropped) == ((None, 2.0), 1, 9)
    assert new_core.document == NEW_CORE
    assert [sample.correct for sample in new_sampled.samples] == [False, True]
    assert new_sampled.samples[1].transcript == (
        TranscriptPart("python", "2+2"),
        TranscriptPart("python_output", "4"),
    )
    assert (new_sampled.samples[1].finish, new_sampled.samples[1].tokens) == ("length", 7)
    assert (new_sampled.sample_count, new_sampled.samples_correct) == (2, 1)


def test_half_a_file_and_bad_lines_are_said_and_the_rest_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "items.jsonl", OLD_CORE, NEW_CORE)
    whole = path.read_bytes()
    bad = b'{"task": "x", "index": 1}\nnot json\n[1, 2]\n\xff\xfe\n{"task": 3, "index": "a", "correct": 1}\n'
    path.write_bytes(whole[: len(whole) // 3] + b"\n" + bad + whole + whole[:100])
    items = read_items(path)
    assert items.bad_lines == [1, 2, 3, 4, 5, 6]
    assert items.torn
    assert [items.record(row).index for row in range(len(items))] == [1, 2]
    assert items.notes == [
        "6 lines are no records and left out: 1, 2, 3, 4, 5, …",
        "the last line is incomplete and left out: the evaluation still runs, or was killed",
    ]


def test_a_head_that_is_whole_before_a_damaged_text_is_told_when_opened(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    line = json.dumps(OLD_CORE)
    path.write_text(
        line.replace("because", 'bec"ause') + "\n" + line.replace("1", "7", 1) + "\n", encoding="utf-8"
    )
    items = read_items(path)
    with pytest.raises(DamagedRecordError, match=r"the record of copa 1 is damaged"):
        items.record(0)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "the items are gone: there is no "),
        (b"a,b,c\n1,2,3\n", "none of its 2 lines is an item of an evaluation"),
    ],
)
def test_what_is_no_items_file_is_refused_in_one_line(
    tmp_path: Path, content: bytes | None, says: str
) -> None:
    path = tmp_path / "items.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        read_items(path)


def test_a_pipe_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="it is no regular file"):
        read_items(tmp_path / "pipe")


def test_an_empty_file_has_no_items(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_bytes(b"")
    assert len(read_items(tmp_path / "items.jsonl")) == 0


def test_an_item_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    again = {**NEW_CORE, "correct": True, "index": 1}
    items = read_items(write(tmp_path / "items.jsonl", OLD_CORE, OLD_CHOICE, again))
    assert (items.index, items.correct, items.repeated) == ([1, 4], [True, False], 1)
    assert items.record(0).version == 2


def test_another_file_in_its_place_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "items.jsonl", OLD_CORE)
    items = read_items(path)
    write(tmp_path / "other", OLD_CHOICE).replace(path)
    in_place = read_items(write(tmp_path / "in_place.jsonl", OLD_CORE))
    write(tmp_path / "in_place.jsonl", {**OLD_CORE, "index": 7})
    for use in (lambda: items.record(0), lambda: items.search("man"), lambda: in_place.record(0)):
        with pytest.raises(UserError, match="has been written anew since it was opened"):
            use()
    path.unlink()
    with pytest.raises(UserError, match="the items are gone"):
        items.record(0)


def test_lines_of_any_length_and_blocks_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [
        {**OLD_CORE, "index": i, "prompt": "x" * length} for i, length in enumerate((1, 90, 7, 900, 3, 40))
    ]
    path = write(tmp_path / "items.jsonl", *records)
    monkeypatch.setattr(items_module, "MOST_LINE", 600)
    for size in (1, 2, 50, 333, 599):
        monkeypatch.setattr(items_module, "BLOCK", size)
        items = read_items(path)
        assert (items.index, items.bad_lines, items.size) == ([0, 1, 2, 4, 5], [4], path.stat().st_size)
        assert [items.record(row).index for row in range(5)] == items.index


def test_foreign_values_never_raise(tmp_path: Path) -> None:
    for name in NEW_SAMPLED:
        for value in (None, True, -1, 10**30, 1e400, "x\x1b[31m", [], [None, {}], {"a": []}, [[["deep"]]]):
            record = {**NEW_SAMPLED, name: value}
            path = write(tmp_path / "items.jsonl", record, OLD_CORE)
            items = read_items(path)
            for row in range(len(items)):
                assert "\x1b" not in items.task[row] + items.prediction[row] + items.gold[row]
                items.record(row)


# -- the search ------------------------------------------------------------------------------------


def test_the_search_finds_texts_in_any_case_and_nothing_else(tmp_path: Path) -> None:
    records = [
        {**NEW_CORE, "index": 0, "prompt": "Ein Äpfel ασα\nnine", "choices": ["中文", 'say "prompt"']},
        {**NEW_SAMPLED, "index": 1, "subject": "abstract_algebra"},
        {**OLD_CORE, "index": 2, "prompt": "a true thing, 3.5 \\ back"},
    ]
    items = read_items(write(tmp_path / "items.jsonl", *records))
    for text, rows in {
        "äPFEL": [0], "ΑΣ": [0],
        "中文": [0], "prompt": [0], "ine": [0], "nnine": [], "\nnine": [0], "Ein": [0],
        "abstract_Algebra": [1], "2+2=": [1], "python": [], "length": [], "11ff": [],
        "true": [2], "3.5": [2], "\\": [2], "copa": [0, 2], "samples": [], ",": [2], '"': [0], "2": [1],
        "false": [], "null": [], "stop": [],
    }.items():  # fmt: skip
        assert found(items, text) == rows, text


TEXT = st.text(st.sampled_from('abprompt ",.:[]{}\\\n1.5ÄäßИ中true'), max_size=14)


@given(TEXT, TEXT, st.lists(TEXT, max_size=2), TEXT.filter(bool))
def test_the_search_is_what_looking_into_each_text_finds(
    prompt: str, answer: str, choices: list[str], needle: str
) -> None:
    sample = {"text": answer, "correct": False, "transcript": [{"type": "text", "text": answer}]}
    record = {
        **NEW_SAMPLED, "prompt": prompt, "prediction": answer, "choices": choices, "samples": [sample],
    }  # fmt: skip
    line = json_text(record, None).encode()
    texts = ["GSM8K", "", "#### 4", prompt, answer, *choices]
    assert Needle(needle).is_in(line) == any(needle.lower() in text.lower() for text in texts)


# -- keys and margins ------------------------------------------------------------------------------


def test_the_key_is_of_texts_choices_and_gold() -> None:
    key = item_key(["a b"], ["x", "y"], 0)
    assert len(key) == 16 and int(key, 16) >= 0
    others = [
        item_key(["a  b"], ["x", "y"], 0), item_key(["a", "b"], ["x", "y"], 0),
        item_key(["a b"], ["y", "x"], 0), item_key(["a b"], ["x", "y"], 1),
        item_key(["a b"], ["x", "y"], "0"), item_key(["a b", "x", "y"], [], 0),
    ]  # fmt: skip
    assert len({key, *others}) == 7
    assert item_key(["half \ud83d"], [], 0) != key
    assert item_key(["a b"], ["x", "y"], 0) == key == "9f2cbfe650eccd43"


def test_margins_and_places_of_choices() -> None:
    assert choice_place("C", ["B", "C"], [1.0, 2.0]) == 1
    assert choice_place("3", ["1", "2", "3"], [1.0, 2.0, 3.0]) == 2
    assert choice_place("", [], [1.0, 2.0]) is None
    assert choice_place("AB", [], [1.0, 2.0]) is None
    assert choice_place(True, [], [1.0, 2.0]) is None
    assert choice_place(2, [], [1.0, 2.0]) is None
    assert choice_place("word", [], [1.0]) is None
    assert margin([2.0, 1.0, 3.0], 0) == -1.0
    assert margin([2.0, 1.0], None) is None
    assert margin([None, 1.0], 1) is None
    assert margin([-1e308, 1.0], 0) is None and margin([math.nan, 1.0], 0) is None
    odd = read_record({**OLD_CORE, "losses": [-1e308, 1e300, math.nan, 1.5]})
    assert odd is not None and odd.losses == (None, None, None, 1.5)
    assert read_record({"task": "a", "index": 0}) is None
