"""W&B's offline runs, as its own package writes them."""

from pathlib import Path

import pytest
from imported import DATA, events, look, nothing_made, one, points, state, take, without_times

from remote.agent.imports import wandb_file


def told_by_wandb(path: Path) -> list[dict[str, str]]:
    """The rows of the history as W&B's own protobuf classes read them."""
    pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    rows = []
    for record, _ in wandb_file.records(path.read_bytes()[wandb_file.HEAD :], wandb_file.HEAD):
        parsed = pb.Record.FromString(record)
        if parsed.WhichOneof("record_type") == "history":
            rows.append({".".join(i.nested_key) or i.key: i.value_json for i in parsed.history.item})
    return rows


@pytest.mark.parametrize("name", ["modern.wandb", "classic.wandb"])
def test_a_run_has_every_figure_that_wandb_reads_from_it(tmp_path: Path, name: str) -> None:
    [run] = one(tmp_path, DATA / name)["runs"]
    assert (run["stage"], run["status"]) == ("base_train", "succeeded")
    found = events(tmp_path, run)
    rows = told_by_wandb(DATA / name)
    assert rows
    for theirs, ours in (("val/bpb", "val/bpb"), ("train/loss", "train/loss"), ("train/dt", "train/dt")):
        want = [(int(row["step"]), float(row[theirs])) for row in rows if theirs in row]
        assert want and points(found, ours) == want
    for theirs, ours in (("total_training_time", "total_time"), ("total_training_flops", "total_flops")):
        want = [(int(row["step"]), float(row[theirs])) for row in rows]
        assert points(found, f"train/{ours}") == want
    times = [float(row["_timestamp"]) for row in rows]
    assert found[1]["t"] == pytest.approx(times[0], abs=1e-3)
    options = found[0]["data"]["options"]
    assert options["depth"] == 1 and options["num_iterations"] == 20 and "_wandb" not in options
    assert found[0]["data"]["total_steps"] == 20


def test_a_half_written_file_is_read_as_far_as_it_goes_and_read_on(tmp_path: Path) -> None:
    raw = (DATA / "modern.wandb").read_bytes()
    whole = without_times(events(tmp_path / "w", one(tmp_path / "w", DATA / "modern.wandb")["runs"][0]))
    file = tmp_path / "run-x.wandb"
    ends = [end for _, end in wandb_file.records(raw[wandb_file.HEAD :], wandb_file.HEAD)]
    middle = ends[len(ends) * 2 // 3]
    file.write_bytes(raw[: middle + 5])
    [half] = one(tmp_path, file)["runs"]
    assert half["status"] == "lost" and half["reason"].startswith("it ends at step ")
    with file.open("ab") as out:
        out.write(raw[middle + 5 :])
    [again] = one(tmp_path, file)["runs"]
    assert again["run_id"] == half["run_id"] and again["status"] == "succeeded"
    assert without_times(events(tmp_path, again)) == whole


def test_a_followed_run_that_has_only_its_header_is_waited_for(tmp_path: Path) -> None:
    """wandb 0.31 writes nothing else before 32 KiB are full or 15 seconds over."""
    raw = (DATA / "modern.wandb").read_bytes()
    file = tmp_path / "run-x.wandb"
    file.write_bytes(raw[: wandb_file.HEAD])
    assert one(tmp_path, file, follow=True)["runs"] == []
    file.write_bytes(raw)
    look(tmp_path)
    [run] = one(tmp_path, file)["runs"]
    assert run["status"] == "succeeded" and run["new_events"] == 0 and run["events"] > 2


def test_a_damaged_file_is_read_up_to_the_damage_which_is_told(tmp_path: Path) -> None:
    raw = bytearray((DATA / "modern.wandb").read_bytes())
    ends = [end for _, end in wandb_file.records(bytes(raw[wandb_file.HEAD :]), wandb_file.HEAD)]
    at = ends[len(ends) * 2 // 3]
    raw[at + 20] ^= 1
    file = tmp_path / "run-x.wandb"
    file.write_bytes(raw)
    [run] = one(tmp_path, file)["runs"]
    assert run["status"] == "lost" and f"damaged at byte {at:,} (its checksum is wrong)" in run["reason"]
    assert state(tmp_path, run)["reason"] == run["reason"] and len(events(tmp_path, run)) > 2


@pytest.mark.parametrize("size", [0, 3, 7, 20, 60])
def test_a_file_without_a_run_leaves_nothing_behind(tmp_path: Path, size: int) -> None:
    file = tmp_path / "run-x.wandb"
    file.write_bytes((DATA / "modern.wandb").read_bytes()[:size])
    answer = take(tmp_path, file)
    assert len(answer["problems"]) == 1 and nothing_made(tmp_path)


def test_keys_of_any_form_are_read_the_slow_way() -> None:
    """Nested keys, long ones and texts do not fit the expression that finds the usual items."""

    def field(number: int, content: bytes) -> bytes:
        head = (number << 3 | 2).to_bytes(1, "big") if number < 16 else b"\x82\x01"
        return head + varint(len(content)) + content

    def varint(value: int) -> bytes:
        out = b""
        while value > 127:
            out += bytes([value & 127 | 128])
            value >>= 7
        return out + bytes([value])

    def item(value: bytes, *keys: str) -> bytes:
        return field(1, b"".join(field(2, key.encode()) for key in keys) + field(16, value))

    from remote.agent.imports.rows import Row, Sink

    row = item(b"7", "step") + item(b"1.5", "a", "b") + item(b"2", "x" * 119) + item(b'"text"', "note")
    row += item(b"0.25", "größe₂") + item(b'"NaN"', "train/loss") + field(2, b"\x08\x07")
    sink = Sink()
    wandb_file.WandbRun({}).take(b"\x08\x01" + field(2, row), sink)
    [metric] = [found for found in sink.found if isinstance(found, Row) and found.kind == "metric"]
    assert metric.step == 7
    assert metric.data == (
        '{"a.b":1.5,"' + "x" * 119 + '":2,"gr\\u00f6\\u00dfe\\u2082":0.25,"train/loss":"NaN"}'
    )
