"""Tables of a history, and TensorBoard's event files, judged by the programs they are for."""

import json
import math
import shutil
from pathlib import Path

import pytest
from imported import DATA, events, look, one, points, state, take

from remote.agent.imports import tensorboard_file

TENSORBOARD = DATA / "tensorboard"


def test_the_scalars_are_those_that_tensorboard_reads(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    [run] = one(tmp_path, TENSORBOARD)["runs"]
    found = events(tmp_path, run)
    assert run["attempts"] == 2
    again = next(n for n, event in enumerate(found) if event["data"].get("attempt") == 2)
    assert found[again]["data"]["from_step"] == 20
    theirs = EventAccumulator(str(TENSORBOARD)).Reload()
    for tag in ("train/loss", "val/bpb"):
        ours = [(step, value) for step, value in points(found, tag) if value != "NaN"]
        want = [(event.step, event.value) for event in theirs.Scalars(tag) if not math.isnan(event.value)]
        assert len(ours) == len(want)
        assert ours == [(step, pytest.approx(value, rel=1e-7)) for step, value in want]
    assert points(found, "train/loss")[-1] == (40, "NaN")
    assert points(found, "new") == [(0, 0.1), (10, 0.1), (20, 0.1)]  # the newer form of a scalar
    assert [step for step, _ in points(found[again:], "train/loss")] == list(range(20, 41))


def test_event_files_are_read_on_and_a_second_one_is_found(tmp_path: Path) -> None:
    first, second = sorted(TENSORBOARD.iterdir())
    folder = tmp_path / "tb"
    folder.mkdir()
    raw = first.read_bytes()
    (folder / first.name).write_bytes(raw[:6000])
    [run] = one(tmp_path, folder, follow=True)["runs"]
    assert run["status"] == "running"
    (folder / first.name).write_bytes(raw)
    look(tmp_path)
    assert [step for step, _ in points(events(tmp_path, run), "train/loss")] == list(range(30))
    shutil.copy(second, folder / second.name)
    look(tmp_path)
    steps = [step for step, _ in points(events(tmp_path, run), "train/loss")]
    assert steps == [*range(30), *range(20, 41)]


def test_a_folder_of_several_kinds_gives_all_of_them(tmp_path: Path) -> None:
    """Event files hide neither the runs beside them nor those below, nor does one export hide the next."""
    folder = tmp_path / "logs"
    shutil.copytree(TENSORBOARD, folder)
    shutil.copytree(TENSORBOARD, folder / "below")
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "wandb-history.jsonl").write_text(f'{{"_step": 0, "loss": {len(name)}}}\n' * 2)
    (folder / "run-a.wandb").write_bytes(b"")
    answer = take(tmp_path, folder)
    kinds = [log["kind"] for log in answer["imports"]]
    assert kinds == ["TensorBoard event files", "TensorBoard event files", "table", "table"]
    assert ["run-a.wandb has no figures" in entry["error"] for entry in answer["problems"]] == [True]


def test_what_is_no_run_says_what_it_lacks(tmp_path: Path) -> None:
    table, ours = tmp_path / "x.csv", tmp_path / "ours"
    table.write_text("a,b\n1,2\n")
    (ours / "base_checkpoints").mkdir(parents=True)
    (ours / "runs").mkdir()
    errors = [entry["error"] for entry in take(tmp_path, table, ours)["problems"]]
    assert "no column of steps" in errors[0] and "base directory of ours" in errors[1]


def test_a_damaged_event_file_is_read_up_to_the_damage(tmp_path: Path) -> None:
    raw = bytearray(min(TENSORBOARD.iterdir()).read_bytes())
    raw[2000] ^= 4
    file = tmp_path / "events.out.tfevents.1.node"
    file.write_bytes(raw)
    [run] = one(tmp_path, file)["runs"]
    assert "damaged at byte" in state(tmp_path, run)["reason"] and points(events(tmp_path, run), "train/loss")


def test_the_checksum_is_that_of_the_format() -> None:
    # RFC 3720, B.4: 32 bytes of zeros have the CRC-32C 8A9136AA
    crc = 0x8A9136AA
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert tensorboard_file.masked_crc(bytes(32)) == masked


def test_a_history_of_pandas_and_a_page_of_wandb_are_tables(tmp_path: Path) -> None:
    import pandas as pd

    history, page = tmp_path / "history.csv", tmp_path / "page.csv"
    rows = {"_step": [0, 1, 2], "_timestamp": [1.7e9, 1.7e9 + 1, 1.7e9 + 2], "step": [0, 10, 20]}
    pd.DataFrame({**rows, "train/loss": [3.5, 3.25, math.nan], "val_bpb": [math.nan, 1.5, 1]}).to_csv(history)
    page.write_text(
        '"Step","run-1 - train/loss","run-1 - train/loss__MIN"\n"0","3.5","3.5"\n"100","2.5","2.5"'
    )
    first, second = (log["runs"][0] for log in take(tmp_path, history, page)["imports"])
    found = events(tmp_path, first)
    assert points(found, "train/loss") == [(0, 3.5), (10, 3.25)]
    assert points(found, "val/bpb") == [(10, 1.5), (20, 1)]
    assert (first["status"], first["reason"]) == (
        "succeeded", "it ends at step 20; how it ended is not told there",
    )  # fmt: skip
    assert found[1]["t"] == 1.7e9
    assert points(events(tmp_path, second), "train/loss") == [(0, 3.5), (100, 2.5)]


def test_json_lines_and_a_json_array_are_tables(tmp_path: Path) -> None:
    rows = [
        {"_step": 0, "_timestamp": 1.7e9, "train/loss": 3.5, "centered_results": {"copa": 0.25}},
        {"_step": 1, "_timestamp": 1.7e9 + 1, "train/loss": math.nan, "core_metric": 0.2, "note": "x"},
    ]
    lines, array = tmp_path / "wandb-history.jsonl", tmp_path / "history.json"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{half a row\n")
    array.write_text(json.dumps(rows))
    answer = take(tmp_path, lines, array)
    assert answer["imports"][0]["passed_over"] == 1
    for log in answer["imports"]:
        found = events(tmp_path, log["runs"][0])
        assert points(found, "core/core") == [(1, 0.2)]
        assert points(found, "core/copa_centered") == [(0, 0.25)]
        assert points(found, "train/loss") == [(0, 3.5), (1, "NaN")]


def test_a_table_that_grows_is_read_on(tmp_path: Path) -> None:
    table = tmp_path / "history.csv"
    table.write_text("_step,train/loss\n0,3\n1,2")
    [run] = one(tmp_path, table, follow=True)["runs"]
    with table.open("a") as file:
        file.write(".5\n2,1\n")
    look(tmp_path)
    assert points(events(tmp_path, run), "train/loss") == [(0, 3), (1, 2.5), (2, 1)]


def test_what_is_no_log_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\0\1\2" * 100)
    (tmp_path / "b.json").write_text('[{"a": 1}')
    (tmp_path / "c.csv").write_text("_step,train/loss\n")
    (tmp_path / "folder").mkdir()
    answer = take(tmp_path / "base", *sorted(tmp_path.iterdir()))
    told = [problem["error"] for problem in answer["problems"]]
    assert len(told) == 4 and not answer["imports"] and all("\n" not in line for line in told)
    assert "no log" in told[0] and "cut off" in told[1] and "no figures" in told[2]
    assert "name one of its files" in told[3]


def test_a_step_of_another_name_is_taken_where_there_is_no_other(tmp_path: Path) -> None:
    alone, beside = tmp_path / "alone.csv", tmp_path / "beside.csv"
    alone.write_text("global_step,loss\n5,3\n6,2\n")
    beside.write_text("global_step,step,_step,loss\n5,50,0,3\n6,60,1,2\n")
    first, second = (log["runs"][0] for log in take(tmp_path, alone, beside)["imports"])
    assert points(events(tmp_path, first), "loss") == [(5, 3), (6, 2)]
    assert points(events(tmp_path, second), "loss") == [(50, 3), (60, 2)]
