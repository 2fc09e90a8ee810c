"""`data build`: a folder of shards that is whole or absent, from any files or the Python's own text."""

import gzip
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from nanochat.common.paths import Layout
from nanochat.data.manifest import built_shard
from nanochat.data.shards import iter_documents, list_shards, split_shards
from nanochat.run.events import read_events
from nanochat.run.stage_run import main


def build(*argv: str | Path) -> int:
    return main("data_build", [str(word) for word in argv])


def corpus(folder: Path, count: int = 40) -> Path:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.txt").write_text(f"document {number} " + "word " * number)
    return folder


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_mixed_files_become_shards(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = corpus(tmp_path / "in")
    (source / "page.html").write_text("<p>a page</p><script>no</script>")
    (source / "more.jsonl").write_text('{"text": "a record"}\n')
    (source / "twin.md").write_bytes((source / "1.txt").read_bytes())
    (source / "packed.txt.gz").write_bytes(gzip.compress(b"packed away"))
    (source / "picture.png").write_bytes(b"\x89PNG\0\0")
    (source / "old.txt").write_bytes(b"caf\xe9")
    assert build(source, "--out", tmp_path / "out") == 0
    found = set(iter_documents(list_shards(tmp_path / "out")))
    assert len(found) == 43
    assert {"a page", "a record", "packed away"} < found
    captured = capsys.readouterr()
    shown = captured.out
    assert "files read as: text 42, JSON lines 1, HTML 1" in shown
    assert captured.err.splitlines() == [
        "warn: 2 of 46 files and records are skipped (4.3 %)",
        "warn: 1 of 44 documents are exact duplicates, dropped (2.3 %)",
    ]
    assert "skipped 1 × binary file" in shown
    assert "skipped 1 × not UTF-8 text" in shown
    assert "1 exact duplicates dropped" in shown
    [run] = layout.runs.iterdir()
    events, _ = read_events(run / "events.jsonl")
    assert events[-1].data["status"] == "succeeded"
    assert events[-1].data["results"]["documents"] == 43
    assert {event.kind for event in events} >= {"stage_start", "metric", "log", "stage_end"}


def test_the_default_folder_is_what_training_reads(layout: Layout, tmp_path: Path) -> None:
    assert build(corpus(tmp_path / "in")) == 0
    assert split_shards(layout.data_dir()).folder == layout.base / "base_data"


def test_real_shards_in_are_the_same_documents_out(layout: Layout, shared_data: Path, tmp_path: Path) -> None:
    shards = list_shards(shared_data / "text")[:2]
    assert build(*shards, "--out", tmp_path / "out", "--shard-chars", "1_000_000") == 0
    assert set(iter_documents(list_shards(tmp_path / "out"))) == set(iter_documents(shards))
    shards = list_shards(tmp_path / "out")
    assert len(shards) > 5
    for path in shards:
        built = built_shard(path)
        assert built is not None and built.documents == pq.ParquetFile(path).metadata.num_rows


def test_a_long_file_is_split_and_nothing_lost(layout: Layout, tmp_path: Path) -> None:
    text = "".join(f"paragraph {number} of the book\n\n" for number in range(2000))
    (tmp_path / "book.txt").write_text(text)
    assert build(tmp_path / "book.txt", "--out", tmp_path / "out", "--doc-chars", "1000") == 0
    pieces = sorted(iter_documents(list_shards(tmp_path / "out")), key=text.index)
    assert "".join(pieces) == text


def test_the_demo_corpus_is_the_pythons_own_text(layout: Layout, tmp_path: Path) -> None:
    started = time.monotonic()
    assert build("--demo", "--out", tmp_path / "out") == 0
    assert time.monotonic() - started < 60
    documents = list(iter_documents(list_shards(tmp_path / "out")))
    assert 5_000_000 < sum(map(len, documents)) < 60_000_000
    whole = "\n".join(documents)
    assert "class JSONDecoder" in whole
    assert "builtins.len\n\nReturn the number of items in a container." in whole
    assert 'The "yield" statement' in whole


def test_equal_input_makes_equal_files(layout: Layout, tmp_path: Path) -> None:
    source = corpus(tmp_path / "in")
    for name in ("a", "b"):
        assert build(source, "--out", tmp_path / name) == 0
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_the_output_inside_the_input_is_not_read(layout: Layout, tmp_path: Path) -> None:
    source = corpus(tmp_path / "in")
    for _ in range(2):
        assert build(source, "--out", source / "shards", "--overwrite") == 0
        assert len(list(iter_documents(list_shards(source / "shards")))) == 40


# -- refusals ----------------------------------------------------------------------------------------


def test_shards_that_are_there_are_kept_unless_told(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert build(corpus(tmp_path / "in"), "--out", out) == 0
    before = (out / "shard_00000.parquet").read_bytes()
    capsys.readouterr()
    assert build(corpus(tmp_path / "other", 5), "--out", out) == 2
    assert "add --overwrite" in one_line(capsys)
    assert (out / "shard_00000.parquet").read_bytes() == before
    assert build(tmp_path / "other", "--out", out, "--overwrite") == 0
    assert len(list(iter_documents(list_shards(out)))) == 5


def test_an_inherited_overwrite_replaces_nothing_that_came_since(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, empty = tmp_path / "out", tmp_path / "empty.txt"
    empty.write_text(" ")
    monkeypatch.setenv("NANOCHAT_RUN_DIR", str(tmp_path / "runs" / "run"))
    assert build(empty, "--out", out, "--overwrite") == 2  # it has started, and has built nothing
    monkeypatch.delenv("NANOCHAT_RUN_DIR")
    assert build(corpus(tmp_path / "in"), "--out", out) == 0
    empty.write_text("text that is there now")
    monkeypatch.setenv("NANOCHAT_RUN_DIR", str(tmp_path / "runs" / "run"))
    monkeypatch.setenv("NANOCHAT_ATTEMPT", "2")
    capsys.readouterr()
    assert build(empty, "--out", out, "--overwrite") == 2
    assert "already holds" in one_line(capsys)
    assert len(list(iter_documents(list_shards(out)))) == 40


def test_other_files_are_never_replaced(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    assert build(corpus(tmp_path / "in"), "--out", tmp_path / "home", "--overwrite") == 2
    assert "thesis.tex" in one_line(capsys)
    assert (tmp_path / "home" / "thesis.tex").exists()


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        ([], "nothing to pack"),
        (["none.txt"], "cannot read none.txt: No such file"),
        (["empty"], "no document came out of the input; it holds no file"),
        (["picture.png"], "no document came out of the input; skipped 1 × binary file"),
        (["single.txt"], "only one distinct document"),
        (["foreign.jsonl"], "foreign.jsonl: jsonl without a text field 'text'; its fields: body"),
        (["single.txt", "--shrad-chars=3"], "did you mean '--shard-chars'"),
        (["single.txt", "--out=single.txt"], "is a file, not a folder"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    layout: Layout,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    complaint: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0")
    (tmp_path / "single.txt").write_text("alone")
    (tmp_path / "foreign.jsonl").write_text('{"body": "x"}\n')
    before = sorted(path.name for path in tmp_path.iterdir())
    assert build(*argv, *([] if any("--out" in word for word in argv) else ["--out", "out"])) == 2
    assert complaint in one_line(capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_full_disk_is_one_line_and_leaves_nothing(
    layout: Layout, tmp_path: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = random.Random(1)
    (tmp_path / "noise.txt").write_text("\n".join(generator.randbytes(60).hex() for _ in range(40_000)))
    assert build(tmp_path / "noise.txt", "--out", small_disk / "out") == 1
    assert "the disk is full" in one_line(capsys)
    assert list(small_disk.iterdir()) == []


def test_a_mount_point_is_refused_before_the_work(
    layout: Layout, tmp_path: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert build(corpus(tmp_path / "in"), "--out", small_disk) == 2
    assert "mount point" in one_line(capsys)


# -- interruption ------------------------------------------------------------------------------------


@pytest.fixture
def slow_input(tmp_path: Path) -> Path:
    """Enough to be busy with for a second or two."""
    generator = random.Random(3)
    vocabulary = [generator.randbytes(4).hex() for _ in range(3000)]
    source = tmp_path / "in"
    source.mkdir()
    for number in range(20):
        text = "\n".join(" ".join(generator.choices(vocabulary, k=12)) for _ in range(20_000))
        (source / f"{number}.txt").write_text(text)
    return source


def start(source: Path, out: Path) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-m", "nanochat.stages.data_build", str(source), "--out", str(out), "--overwrite"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not list(out.parent.glob(f".{out.name}.*.tmp/scratch/*.docs")):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    return child


@pytest.mark.slow
def test_ctrl_c_leaves_nothing(layout: Layout, slow_input: Path, tmp_path: Path) -> None:
    child = start(slow_input, tmp_path / "data" / "out")
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == 4
    assert "Traceback" not in errors
    assert list((tmp_path / "data").iterdir()) == []
    [run] = layout.runs.iterdir()
    assert json.loads((run / "state.json").read_text())["status"] == "stopped"


@pytest.mark.slow
def test_kill_leaves_the_old_shards_and_the_next_build_cleans_up(
    layout: Layout, slow_input: Path, tmp_path: Path
) -> None:
    out = tmp_path / "data" / "out"
    assert build(corpus(tmp_path / "small"), "--out", out) == 0
    child = start(slow_input, out)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert len(list(iter_documents(list_shards(out)))) == 40
    assert len(list(out.parent.iterdir())) == 2
    assert build(tmp_path / "small", "--out", out, "--overwrite") == 0
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("hidden", [".out.replaced", ".out.replaced-4711"], ids=["now", "0.1.0"])
def test_kill_between_the_two_renames_loses_nothing(layout: Layout, tmp_path: Path, hidden: str) -> None:
    """The old folder was moved away, the new one had not come yet."""
    out = tmp_path / "data" / "out"
    source = corpus(tmp_path / "in")
    assert build(source, "--out", out) == 0
    out.rename(out.parent / hidden)
    assert build(source, "--out", out) == 2
    assert len(list(iter_documents(list_shards(out)))) == 40
    assert [path.name for path in out.parent.iterdir()] == ["out"]


@pytest.mark.slow
def test_two_builds_of_one_folder(
    layout: Layout, slow_input: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data" / "out"
    child = start(slow_input, out)
    try:
        assert build(corpus(tmp_path / "small"), "--out", out) == 2
        assert "another process is writing" in one_line(capsys)
    finally:
        child.send_signal(signal.SIGTERM)
        child.communicate()


@pytest.mark.slow
def test_memory_stays_bounded(layout: Layout, tmp_path: Path) -> None:
    """A single file of 300 MB, far over every buffer, within 400 MB in all (Python and pyarrow included)."""
    line = " ".join(str(number) for number in range(2000)) + "\n"
    with (tmp_path / "big.txt").open("w") as file:
        for number in range(300_000_000 // len(line)):
            file.write(f"{number} {line}")
    code = (
        "import re, sys; from nanochat.run.stage_run import main; code = main('data_build', sys.argv[1:])\n"
        "print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1]); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "big.txt"), "--out", str(tmp_path / "out")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert int(shown[-1]) * 1024 < 400e6
    assert sum(pq.ParquetFile(path).metadata.num_rows for path in list_shards(tmp_path / "out")) > 30_000
