"""A resume on other data: told with both, and the best of the old text is no best of the new one."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from training_data import TINY, documents, events_of, make_base, of_kind, write_shards

from nanochat.checkpoint.files import MODEL, OPTIM, find_checkpoint, list_checkpoints
from nanochat.checkpoint.saver import RetentionPolicy, prune
from nanochat.checkpoint.write import save_checkpoint
from nanochat.data.fingerprint import shards_fingerprint
from nanochat.data.shards import split_shards
from nanochat.run.stage_run import main
from nanochat.tasks.fingerprint import tasks_fingerprint
from nanochat.tasks.identity import SHIPPED
from nanochat.tasks.mixture import make_mixture, parse_part
from nanochat.tasks.registry import TaskData

pytestmark = pytest.mark.slow


def test_other_sizes_names_or_another_build_are_another_fingerprint(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_shards(folder, [documents(20, 1), documents(20, 2), documents(9, 3)])
    seen = [shards_fingerprint(split_shards(folder))]
    assert shards_fingerprint(split_shards(folder)) == seen[0]
    (folder / "build.json").write_text("{}")
    seen.append(shards_fingerprint(split_shards(folder)))
    write_shards(folder, [documents(21, 1)])
    seen.append(shards_fingerprint(split_shards(folder)))
    (folder / "shard_00001.parquet").rename(folder / "shard_00009.parquet")
    seen.append(shards_fingerprint(split_shards(folder)))
    assert len({one["sha256"] for one in seen}) == 4


def test_other_conversations_of_the_same_number_are_another_fingerprint(tmp_path: Path) -> None:
    from nanochat.common.paths import Layout

    data = TaskData.at(Layout(tmp_path), offline=True)
    one, same, other = (
        tasks_fingerprint("x", [make_mixture([parse_part(part)], data)])
        for part in ("Arithmetic:40", "Arithmetic:40", "Arithmetic/test:40")
    )
    assert one == same
    assert one["sha256"] != other["sha256"]


def test_one_line_that_differs_anywhere_is_another_fingerprint(tmp_path: Path, shared_data: Path) -> None:
    from nanochat.common.paths import Layout

    lines = [
        [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "x"}] for n in range(500)
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, lines)))
    words = [f"{a}{b}{c}" for a in "abcdefgh" for b in "aeiou" for c in "klmnop"]
    (tmp_path / "words.txt").write_text("\n".join(words))
    (tmp_path / "who.toml").write_text(SHIPPED.read_text(encoding="utf-8"))
    shutil.copytree(shared_data / "hub", tmp_path / "hub")
    parts = [parse_part(part) for part in ("CustomJSON", "SimpleSpelling:3000", "Identity:3000", "GSM8K")]

    def seen() -> str:
        data = TaskData.at(
            Layout(tmp_path), offline=True, folder=str(tmp_path / "hub"), words=str(tmp_path / "words.txt"),
            identity=str(tmp_path / "who.toml"), conversations=str(tmp_path / "own.jsonl"),
        )  # fmt: skip
        return str(tasks_fingerprint("x", [make_mixture(parts, data)])["sha256"])

    found = [seen()]
    assert seen() == found[0]
    for name, old, new in (
        ("own.jsonl", '"123?"', '"321?"'),
        ("words.txt", "hup", "hip"),
        ("who.toml", "?", "!"),
    ):
        path = tmp_path / name
        path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
        found.append(seen())
    [rows] = (tmp_path / "hub/openai/gsm8k/main/train").glob("*.parquet")
    table = pq.read_table(rows)
    changed = [*table["answer"].to_pylist()[:-1], "#### 7"]
    at = table.column_names.index("answer")
    pq.write_table(table.set_column(at, "answer", pa.array(changed)), rows)
    found.append(seen())
    assert len(set(found)) == 5


def test_the_best_is_of_the_present_data(tmp_path: Path) -> None:
    def save(step: int, bpb: float, data: dict[str, Any]) -> None:
        files = {MODEL: {"w": torch.ones(1)}, OPTIM: {"m": torch.ones(1)}}
        about = {"run_id": "run", "val_bpb": bpb, "figures": {"val/bpb": bpb}, "data": data}
        save_checkpoint(tmp_path, step, files, about)

    for step, bpb, name in ((1, 0.5, "old"), (2, 1.5, "new"), (3, 1.7, "new"), (4, 1.9, "new")):
        save(step, bpb, {"sha256": name})
    prune(tmp_path, "run", RetentionPolicy(1, best=True))
    assert [checkpoint.step for checkpoint in list_checkpoints(tmp_path)] == [2, 4]


def test_a_resume_on_other_data_alerts_with_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NANOCHAT_RUN_DIR", raising=False)
    base = make_base(tmp_path)
    options = [f"--base-dir={base}", *TINY, "--sample-every=-1", "--eval-every=2"]
    assert main("base_train", [*options, "--num-iterations=2"]) == 0
    first = find_checkpoint(base / "base_checkpoints").meta
    write_shards(base / "other", [documents(300, 5), documents(300, 6), documents(90, 7)])
    more = ["--num-iterations=4", "--resume", f"--data-dir={base / 'other'}"]
    assert main("base_train", [*options, *more]) == 0
    last = find_checkpoint(base / "base_checkpoints").meta
    assert last["data"]["name"] == "other"
    [alert] = [e.data for e in of_kind(events_of(base), "alert") if e.data["what"] == "other_data"]
    assert first["data"]["sha256"][:12] in str(alert["message"])
    assert last["data"]["sha256"][:12] in str(alert["message"])
    seen = [e.data["val/bpb"] for e in of_kind(events_of(base), "eval") if "val/bpb" in e.data]
    assert last["loop_state"]["min_val_bpb"] == min(map(float, seen))  # type: ignore[arg-type]
