"""Records of an evaluation: whose they are, a later attempt that goes on with them, a disk that is full."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from nanochat.compute.ranks import Ranks
from nanochat.evals.records import Record, RecordFile, Records, as_lines

SETUP = {"weights": "a"}


def records(*indices: int, task: str = "task") -> list[Record]:
    return [{"task": task, "index": index, "correct": True} for index in indices]


def indices(path: Path) -> list[int]:
    return [json.loads(line)["index"] for line in path.read_text(encoding="utf-8").splitlines()]


class Told(Ranks):
    """Rank 1 of two in one process: `said` is what rank 0 broadcasts, `others` its part of a gathering."""

    def __init__(self, said: Any, others: list[Record]) -> None:
        super().__init__(1, 2)
        object.__setattr__(self, "said", said)
        object.__setattr__(self, "others", others)

    def broadcast(self, value: Any) -> Any:
        return self.said  # type: ignore[attr-defined]

    def gather(self, value: Any) -> Any:
        return [self.others, value]  # type: ignore[attr-defined]


def test_a_later_attempt_goes_on_with_the_records_of_the_same_model_only(tmp_path: Path) -> None:
    first = Records(tmp_path, "chat", SETUP, Ranks())
    first.add(records(0, 1))
    again = Records(tmp_path, "chat", SETUP, Ranks())
    assert ("task", 1) in again
    assert again.share("task") == records(0, 1)
    other = Records(tmp_path, "chat", {"weights": "b"}, Ranks())
    assert ("task", 1) not in other
    other.add(records(5))
    assert indices(tmp_path / "chat-items.jsonl") == [5]


def test_another_rank_writes_where_rank_0_says_and_nowhere_else(tmp_path: Path) -> None:
    """A rank beside the first has no run directory: items of other runs must not be where it looks."""
    rank = Records(None, "chat", SETUP, Told((tmp_path, {}), records(0, 2)))
    rank.add(records(1, 3))
    assert indices(tmp_path / "chat-items-rank1.jsonl") == [1, 3]
    assert rank.share("task") == records(0, 1, 2, 3)
    nowhere = Records(None, "chat", SETUP, Told((None, {}), []))
    assert ("task", 1) not in nowhere
    nowhere.add(records(1))


def test_rank_0_has_every_item_once_a_killed_group_went_on(tmp_path: Path) -> None:
    Records(tmp_path, "chat", SETUP, Ranks()).add(records(0, 2))
    (tmp_path / "chat-items-rank1.jsonl").write_text(as_lines(records(1, 3)), encoding="utf-8")
    again = Records(tmp_path, "chat", SETUP, Ranks())
    assert again.share("task") == records(0, 1, 2, 3)
    assert sorted(indices(tmp_path / "chat-items.jsonl")) == [0, 1, 2, 3]


def test_a_full_disk_costs_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written in part is taken back, and written with the next."""

    def cut_short(self: RecordFile) -> None:
        with self.path.open("ab") as file:
            file.write(as_lines(records(7))[:20].encode())
        raise OSError(errno.ENOSPC, "No space left on device")

    stored = Records(tmp_path, "core", SETUP, Ranks())
    stored.add(records(0))
    with monkeypatch.context() as patch:
        patch.setattr(RecordFile, "_append", cut_short)
        stored.add(records(1))
        assert stored.trouble == "No space left on device"
    assert stored.share("task") == records(0, 1)
    assert stored.trouble == ""
    assert indices(tmp_path / "core-items.jsonl") == [0, 1]


def test_a_folder_that_cannot_be_made_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "core").write_text("a file")
    stored = Records(tmp_path / "core", "core", SETUP, Ranks())
    stored.add(records(0))
    assert "cannot create the folder" in stored.trouble
    assert stored.share("task") == records(0)


def test_a_record_of_half_a_letter_is_stored(tmp_path: Path) -> None:
    stored = Records(tmp_path, "chat", SETUP, Ranks())
    stored.add([{**records(0)[0], "prompt": "half \ud83d"}])
    assert indices(tmp_path / "chat-items.jsonl") == [0]
