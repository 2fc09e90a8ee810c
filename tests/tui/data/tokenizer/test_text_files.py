"""Where a text comes from, and which the field takes."""

import json
from pathlib import Path

import pytest

from nanochat.common.errors import UserError
from tui.data.tokenizer.document import MOST_BYTES, document, read_document, why_not_written
from tui.data.tokenizer.panes import restored


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("plain\n한국어 👨\u200d👩\u200d👧\t", ""),
        ("one\r\ntwo\r\n", ""),
        ("one\r\ntwo\n", "several ways"),
        ("old\rmac", "several ways"),
        ("\x1b[31m", "control"),
        ("\u202eevil", "control"),
        ("x" * 10_001, "a line of more than 10,000"),
        ("x\n" * 10_001, "longer than 20,000"),
    ],
)
def test_which_texts_are_written_in_the_field(text: str, why: str) -> None:
    found = why_not_written(text)
    assert bool(found) == bool(why) and why in found


def test_a_text_file_is_read_and_remembered_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("한글\n" * 10_000, encoding="utf-8")
    found = read_document(path)
    assert found.name == "long.txt" and found.file == str(path) and "longer" in found.why
    assert found.text == "한글\n" * 10_000


def test_bad_files_are_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "bin").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")
    (tmp_path / "zeros").write_bytes(b"text\0text")
    (tmp_path / "huge").write_bytes(b"")
    with (tmp_path / "huge").open("r+b") as file:
        file.truncate(MOST_BYTES + 1)
    for name, words in [
        ("bin", "no text in UTF-8: byte 0 is 0x89"),
        ("zeros", "zero bytes"),
        ("huge", "16"),
        ("missing", "no such file"),
        (".", "not a file"),
        ("a" * 5_000, "cannot be read"),
        ("nul\0name", "cannot be read|no such file"),
    ]:
        with pytest.raises(UserError, match=words):
            read_document(tmp_path / name)


def test_what_was_kept_may_be_anything() -> None:
    assert [pane.spec for pane in restored([{"spec": "gpt2"}, {"spec": ""}, 7, {"spec": 1}, {}])] == ["gpt2"]
    assert restored(json.loads('{"spec": "x"}')) == [] and restored(None) == []
    assert len(restored([{"spec": str(number)} for number in range(9)])) == 4
    assert restored([{"spec": "a", "pattern": 3}]) == []
    assert document("x").why == ""
