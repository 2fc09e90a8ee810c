"""tok_train: reads as much as it is told, saves a whole tokenizer, tells what it measured."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nanochat.checkpoint.tokenizer import tokenizer_meta
from nanochat.checkpoint.write import save_checkpoint
from nanochat.common.paths import Layout
from nanochat.data.expected import expected_bytes
from nanochat.data.shards import iter_documents, list_shards, shard_name, split_shards
from nanochat.run.events import Event, read_events
from nanochat.run.stage_run import main
from nanochat.stages.tok_train import capped, only_tok_train
from nanochat.tokenizer.tokenizer import Tokenizer


def write_shards(folder: Path, *shards: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, texts in enumerate(shards):
        pq.write_table(pa.table({"text": pa.array(texts, pa.string())}), folder / shard_name(number))
    return folder


def events_of(layout: Layout) -> list[Event]:
    [run] = layout.runs.iterdir()
    return read_events(run / "events.jsonl")[0]


@given(
    texts=st.lists(st.text(max_size=20), max_size=20),
    max_chars=st.integers(1, 100),
    doc_cap=st.integers(1, 25),
)
def test_reading_ends_with_the_document_that_passes_the_limit(
    texts: list[str], max_chars: int, doc_cap: int
) -> None:
    read = list(capped(texts, max_chars, doc_cap))
    assert read == [text[:doc_cap] for text in texts[: len(read)]]
    totals = list(accumulate(map(len, read)))
    assert all(total <= max_chars for total in totals[:-1])
    assert len(read) == len(texts) or totals[-1] > max_chars


def test_a_real_corpus(layout: Layout, shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = shared_data / "text"
    assert main("tok_train", [f"--data-dir={data}", "--vocab-size=1024", "--max-chars=3e6"]) == 0
    tokenizer = Tokenizer.load(layout.tokenizer)
    assert tokenizer.vocab_size == 1024
    assert "MB/s" in capsys.readouterr().out
    end = events_of(layout)[-1]
    results = end.data["results"]
    assert end.data["status"] == "succeeded"
    assert 3_000_000 < results["chars"] < 3_010_001
    val = list(iter_documents([list_shards(data)[-1]]))[:200]
    measured = sum(len(t.encode()) for t in val) / sum(len(tokenizer.encode(t)) for t in val)
    assert results["bytes_per_token"] == pytest.approx(measured, rel=0.1)
    assert results["sha256"] == tokenizer.sha256
    metrics = {name for event in events_of(layout) if event.kind == "metric" for name in event.data}
    read = {"tok/documents", "tok/chars", "tok/bytes"}
    assert metrics >= {"progress", "eta_s", "tok/mb_per_sec", "tok/merges", *read}
    last = [event.data for event in events_of(layout) if event.kind == "metric"][-1]
    assert (last["tok/documents"], last["tok/chars"]) == (results["documents"], results["chars"])
    assert last["tok/merges"] == 1024 - 265
    assert last["tok/bytes"] / 1e6 / results["seconds"] == pytest.approx(results["mb_per_sec"], rel=0.01)


def test_only_training_shards_are_read(layout: Layout, tmp_path: Path) -> None:
    data = write_shards(tmp_path / "data", ["aaaa bbbb"] * 3, ["zzzz zzzz"] * 50)
    assert main("tok_train", [f"--data-dir={data}", "--vocab-size=300"]) == 0
    ranks = Tokenizer.load(layout.tokenizer).ranks
    assert b"aaaa" in ranks
    assert b"zz" not in ranks


def test_a_few_footers_tell_how_much_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_shards(tmp_path / "data", *[["some text to read"] * 5] * 8, ["held out"])
    shards = split_shards(data)
    exact = expected_bytes(shards.train[:4])
    opened: list[Path] = []
    real = pq.ParquetFile
    monkeypatch.setattr(pq, "ParquetFile", lambda path, **how: opened.append(path) or real(path, **how))
    assert expected_bytes(shards.train) == 2 * exact  # eight alike
    assert opened == list(shards.train[:4])


def test_another_folder_for_the_tokenizer(layout: Layout, tmp_path: Path) -> None:
    data = write_shards(tmp_path / "data", ["aaaa bbbb"] * 3, ["held out"])
    argv = [f"--data-dir={data}", "--vocab-size=266", f"--tokenizer-dir={tmp_path / 'mine'}"]
    assert main("tok_train", argv) == 0
    assert Tokenizer.load(tmp_path / "mine").vocab_size == 266
    assert not layout.tokenizer.exists()


def test_a_text_without_enough_pairs_is_told_and_not_fatal(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_shards(tmp_path / "data", ["abab"], ["ab"])
    assert main("tok_train", [f"--data-dir={data}", "--vocab-size=1000"]) == 0
    assert "ran out of pairs" in capsys.readouterr().err
    assert any(event.kind == "alert" for event in events_of(layout))
    assert Tokenizer.load(layout.tokenizer).vocab_size == 267


def test_missing_shards_are_told(layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_shards(tmp_path / "data", ["some words here"], ["more"], ["held out"])
    (data / shard_name(0)).unlink()
    assert main("tok_train", [f"--data-dir={data}", "--vocab-size=266"]) == 0
    assert "shards 00000 are missing" in capsys.readouterr().err


@pytest.mark.parametrize("trouble", ["no folder", "one shard", "torn", "foreign", "empty", "tiny vocabulary"])
def test_bad_input_is_one_line(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str], trouble: str
) -> None:
    data, argv = tmp_path / "data", [f"--data-dir={tmp_path / 'data'}"]
    if trouble == "one shard":
        write_shards(data, ["alone"])
    elif trouble != "no folder":
        write_shards(data, [] if trouble == "empty" else ["some text"] * 9, ["held out"])
    if trouble == "torn":
        path = data / shard_name(0)
        path.write_bytes(path.read_bytes()[:-20])
    elif trouble == "foreign":
        pq.write_table(pa.table({"content": ["x"]}), data / shard_name(0))
    elif trouble == "tiny vocabulary":
        argv.append("--vocab-size=265")
    assert main("tok_train", argv) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not layout.tokenizer.exists()


def test_a_stop_while_reading_saves_nothing(layout: Layout, tmp_path: Path, shared_data: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number, path in enumerate(list_shards(shared_data / "text") * 6):
        (data / shard_name(number)).symlink_to(path)
    command = [sys.executable, "-m", "nanochat.stages.tok_train", f"--data-dir={data}"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not any(b'"metric"' in path.read_bytes() for path in layout.runs.glob("*/events.jsonl")):
        assert time.monotonic() < deadline and child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == 4, errors
    assert not layout.tokenizer.exists()
    [run] = layout.runs.iterdir()
    assert json.loads((run / "state.json").read_text())["status"] == "stopped"
    assert os.environ["NANOCHAT_BASE_DIR"] == str(layout.base)


def name_in_checkpoints(layout: Layout, tokenizer: Tokenizer, count: int) -> None:
    """Checkpoints whose metadata says that they were trained with it."""
    for step in range(count):
        files = {"model.safetensors": {"w": torch.ones(1)}}
        save_checkpoint(layout.checkpoints("base") / "d2", step, files, tokenizer_meta(tokenizer))


def test_a_tokenizer_that_checkpoints_name_is_replaced_only_where_asked(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_shards(tmp_path / "data", ["aaaa bbbb cccc dddd"] * 3, ["held out"])
    argv = [f"--data-dir={data}", "--vocab-size=268"]
    assert main("tok_train", argv) == 0
    assert main("tok_train", [*argv[:1], "--vocab-size=266"]) == 0  # nothing names the first
    assert main("tok_train", argv) == 0
    old = Tokenizer.load(layout.tokenizer)
    name_in_checkpoints(layout, old, 3)
    assert main("tok_train", argv) == 0  # the same once more
    capsys.readouterr()
    assert main("tok_train", [*argv[:1], "--vocab-size=267"]) == 2
    assert "3 checkpoints were trained with the tokenizer in" in capsys.readouterr().err
    other = write_shards(tmp_path / "other" / "data", ["eeee ffff gggg hhhh"] * 3, ["held out"])
    assert main("tok_train", [f"--data-dir={other}", "--vocab-size=268"]) == 2  # known once it is trained
    assert Tokenizer.load(layout.tokenizer).fingerprint == old.fingerprint
    assert main("tok_train", [*argv[:1], "--vocab-size=267", "--overwrite"]) == 0
    assert Tokenizer.load(layout.tokenizer).vocab_size == 267
    kept = Tokenizer.load_kept(layout.tokenizer, old.sha256)
    assert kept is not None
    assert kept.fingerprint == old.fingerprint


def test_an_inherited_overwrite_replaces_no_tokenizer_that_came_since(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_shards(tmp_path / "data", ["aaaa bbbb cccc dddd"] * 3, ["held out"])
    argv = [f"--data-dir={data}", "--overwrite"]
    monkeypatch.setenv("NANOCHAT_RUN_DIR", str(tmp_path / "run"))
    assert main("tok_train", [*argv, "--vocab-size=266"]) == 0
    monkeypatch.delenv("NANOCHAT_RUN_DIR")
    assert main("tok_train", [*argv, "--vocab-size=267"]) == 0
    name_in_checkpoints(layout, Tokenizer.load(layout.tokenizer), 1)
    monkeypatch.setenv("NANOCHAT_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("NANOCHAT_ATTEMPT", "2")
    assert main("tok_train", [*argv, "--vocab-size=266"]) == 2
    assert Tokenizer.load(layout.tokenizer).vocab_size == 267


def test_two_at_once_are_not_both_saved(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_shards(tmp_path / "data", ["aaaa bbbb"] * 3, ["held out"])
    with only_tok_train(layout.tokenizer, "the-first"):
        assert main("tok_train", [f"--data-dir={data}", "--vocab-size=266"]) == 2
    assert "run the-first is training the tokenizer" in capsys.readouterr().err
    assert main("tok_train", [f"--data-dir={data}", "--vocab-size=266"]) == 0
