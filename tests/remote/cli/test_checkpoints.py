"""`nanochat checkpoints` as a person and a script see it, over real checkpoints of this machine."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from nanochat.checkpoint.in_use import using
from nanochat.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture
def base(tmp_path: Path, shared_reference: Path) -> Path:
    """Upstream nanochat's modern checkpoint, and a second step of it."""
    shutil.copytree(shared_reference / "checkpoints" / "modern", tmp_path, dirs_exist_ok=True)
    tag = tmp_path / "base_checkpoints" / "d2"
    for path in (tag, *tag.iterdir()):
        path.chmod(0o755)
    shutil.copy(tag / "model_000300.pt", tag / "model_000100.pt")
    shutil.copy(tag / "meta_000300.json", tag / "meta_000100.json")
    return tmp_path


def test_the_same_rows_in_every_form_and_all_about_one(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = f"--base-dir={base}"
    assert main(["checkpoints", "ls", "--json", where]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["checkpoint"] for one in told] == ["base/d2@300", "base/d2@100"]
    meta = json.loads((base / "base_checkpoints/d2/meta_000300.json").read_text())
    assert told[0]["bpb"] == meta["val_bpb"] and told[0]["parameters"] > 1e6 and not told[0]["optimizer"]
    assert main(["checkpoints", "--csv", where]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [float(row["bpb"]) for row in rows] == [one["bpb"] for one in told]
    assert main(["checkpoints", "ls", "base/d2@100", "--md", where]) == 0
    assert capsys.readouterr().out.count("base/d2@") == 1
    assert main(["checkpoints", "show", "base/d2", where]) == 0
    shown = capsys.readouterr().out
    assert "base/d2@300 on local" in shown and "modern" in shown and "do not record the text" in shown
    assert main(["checkpoints", "show", "base/d2@100", "--json", where]) == 0
    assert json.loads(capsys.readouterr().out)["files"].keys() == {"model_000100.pt", "meta_000100.json"}


def test_deleting_tells_what_depends_on_it_and_leaves_what_is_in_use(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where, tag = f"--base-dir={base}", base / "base_checkpoints" / "d2"
    assert main(["checkpoints", "delete", "base/d2@100", where]) == 2  # nobody can answer
    assert "add --yes" in capsys.readouterr().err
    assert main(["checkpoints", "delete", "base/d2", "--yes", where]) == 2
    assert "names no step" in capsys.readouterr().err
    with using(tag / "model_000100.pt", "server 12"):
        assert main(["checkpoints", "delete", "base/d2@100", "--yes", where]) == 1
    assert "in use by server 12" in capsys.readouterr().err
    assert main(["checkpoints", "delete", "base/d2@100", "--yes", where]) == 0
    said = capsys.readouterr()
    assert "deleted 1 checkpoint" in said.out and "no other host" not in said.err.partition("base/d2@100")[0]
    assert sorted(path.name for path in tag.iterdir()) == ["meta_000300.json", "model_000300.pt"]


def test_what_is_not_there_is_one_line(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = f"--base-dir={base}"
    for words, line in (
        (["show", "base/d2@7"], "there are steps 300, 100"),
        (["show", "base/d3"], "did you mean 'base/d2'"),
        (["show", "far:base/d2"], "far"),
        (["ls", "x"], "SOURCE/TAG"),
        (["pull", "base/d2"], "no other host to pull from"),
        (["push", "base/d2", "nowhere"], "nowhere"),
    ):
        assert main(["checkpoints", *words, where]) == 2, words
        err = capsys.readouterr().err
        assert line in err and "Traceback" not in err and err.count("\n") == 1, words
    assert main(["checkpoints", "ls", f"--base-dir={base / 'empty'}"]) == 0
