"""Files and folders whose names are no UTF-8: they cost nothing of what is made from them."""

import json
import os
from pathlib import Path

import pytest
from training_data import TINY, documents, of_kind, runs_of, write_shards

from nanochat.checkpoint.files import find_checkpoint
from nanochat.common.paths import Layout
from nanochat.data.manifest import MANIFEST
from nanochat.run.events import read_events
from nanochat.run.stage_run import main

pytestmark = pytest.mark.slow

STRANGE = os.fsdecode(b"caf\xe9")
"""As Latin-1 spells it; what UTF-8 cannot hold of it is written as U+FFFD."""


def test_from_raw_text_to_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / STRANGE
    here.mkdir()
    for number, text in enumerate(documents(300, 1)):
        (here / f"{STRANGE}{number}.txt").write_text(text)
    write_shards(tmp_path / "parquet", [documents(5, 9)])[0].rename(here / f"{STRANGE}.parquet")
    monkeypatch.chdir(here)
    monkeypatch.delenv("NANOCHAT_RUN_DIR", raising=False)
    base, data = tmp_path / "base", tmp_path / f"data-{STRANGE}"
    common = [f"--base-dir={base}"]
    sizes = ["--shard-chars=40000", "--val-chars=4000"]
    assert main("data_build", [*common, str(here), f"--out={data}", *sizes]) == 0
    assert json.loads((data / MANIFEST).read_bytes())["sources"] == ["caf�"]
    assert main("tok_train", [*common, f"--data-dir={data}", "--vocab-size=300"]) == 0
    training = [f"--data-dir={data}", *TINY, "--num-iterations=1", "--sample-every=-1"]
    assert main("base_train", [*common, *training]) == 0
    saved = find_checkpoint(Layout(base).checkpoints("base"))
    assert saved.meta["user_config"]["data_dir"] == f"{tmp_path}/data-caf�"
    for run in runs_of(base):
        asked = json.loads((run / "run.json").read_bytes())
        assert asked["cwd"] == str(tmp_path / "caf�")
        assert json.loads((run / "state.json").read_bytes())["status"] == "succeeded"
        assert of_kind(read_events(run / "events.jsonl")[0], "stage_end")
