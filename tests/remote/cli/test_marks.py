"""`nanochat runs tag|untag|note|archive|unarchive` and `ls --filter`, over a store alone."""

import json
from pathlib import Path

import pytest

from nanochat.common.errors import UserError
from remote.cli.marks import mark
from remote.cli.runs import _chosen, list_runs, runs_parser
from remote.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store.sqlite")
    for name, status, depth in (("one", "failed", 4), ("two", "succeeded", 20), ("live", "running", 12)):
        run = {"run_id": f"r-{name}", "name": name, "stage": "base_train", "options": {"depth": depth}}
        store.ingest_state("gone", run, {"status": status})
    return store


def said(store: Store, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    mark(store, runs_parser().parse_args(words))
    return capsys.readouterr().out


def listed(store: Store, *words: str) -> list[str]:
    return [run.name for run in _chosen(store.runs(), runs_parser().parse_args(["ls", *words]))]


def test_tags_and_notes_are_written_kept_and_taken_away(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(store, capsys, "tag", "one", "paper", "#best") == "r-one: #best #paper\n"
    assert said(store, capsys, "note", "one", "to", "keep\x1b") == "r-one: #best #paper to keep␛\n"
    assert said(store, capsys, "untag", "one", "best") == "r-one: #paper to keep␛\n"
    assert said(store, capsys, "note", "one") == "r-one: #paper\n"
    assert listed(store, "--filter", "tag:paper") == ["one"]


@pytest.mark.parametrize(
    "words", [["tag", "one", 'a"b'], ["tag", "one", "a", "(b)"], ["untag", "one", "x" * 90]]
)
def test_what_is_no_tag_is_one_line_and_changes_nothing(store: Store, words: list[str]) -> None:
    with pytest.raises(UserError, match="tag"):
        mark(store, runs_parser().parse_args(words))
    assert not any(run.tags for run in store.runs())


def test_archived_runs_are_left_out_of_the_list(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert "r-one: archived" in said(store, capsys, "archive", "one", "two")
    assert listed(store) == ["live"]
    assert listed(store, "--filter", "is:archived") == ["two", "one"]
    assert listed(store, "--all") == ["two", "one", "live"]
    said(store, capsys, "unarchive", "two")
    assert listed(store) == ["two", "live"]
    with pytest.raises(UserError, match="only ended runs are archived"):
        said(store, capsys, "archive", "two", "live")
    assert listed(store) == ["two", "live"]


def test_the_list_takes_the_filter_of_the_screen(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(store, "--filter", "config.depth>4 not status:live") == ["two"]
    assert listed(store, "--filter", "one or depth", "--status", "failed") == ["one"]
    with pytest.raises(UserError, match="did you mean 'status'"):
        listed(store, "--filter", "statsu:failed")
    given = runs_parser().parse_args(["ls", "--filter", "config.depth>4 grad_norm<1"])
    assert _chosen([], given) == []
    list_runs([run for run in store.runs() if run.name == "two"], as_json=True)
    (row,) = json.loads(capsys.readouterr().out)
    assert row["archived"] is False
