"""Upstream's console logs, of both eras and every program, as runs of ours."""

import re
import time
from pathlib import Path

import pytest
from imported import (
    BASE,
    CLASSIC,
    DATA,
    RESUMED,
    events,
    nothing_made,
    one,
    points,
    state,
    take,
    without_times,
)

from remote.agent.imports.console import Console
from remote.agent.imports.rows import Sink


@pytest.mark.parametrize(
    ("log", "stage", "steps", "judged"),
    [
        (BASE, "base_train", 20, {"val/bpb": 3}),
        (CLASSIC, "base_train", 20, {"val/bpb": 3}),
        ("modern-sft.log", "chat_sft", 11, {"val/bpb": 4, "chat/ChatCORE": 2, "chat/GSM8K": 2}),
        ("classic-mid.log", "mid_train", 11, {"val/bpb": 4}),
        ("classic-sft.log", "chat_sft", 11, {"val/loss": 4, "chat/MMLU": 2, "chat/ARC-Easy": 2}),
    ],
)
def test_a_training_becomes_a_run_with_our_names(
    tmp_path: Path, log: str, stage: str, steps: int, judged: dict[str, int]
) -> None:
    [run] = one(tmp_path, DATA / log)["runs"]
    assert (run["stage"], run["status"], run["attempts"]) == (stage, "succeeded", 1)
    found = events(tmp_path, run)
    spelled = re.findall(r"^[Ss]tep 0*(\d+).*[Ll]oss: ([\d.]+)", (DATA / log).read_text(), re.MULTILINE)
    told = [(int(step), float(loss)) for step, loss in spelled if "Validation" not in step]
    losses = points(found, "train/loss")
    assert len(losses) == steps and set(losses) <= set(told)
    assert {name: len(points(found, name)) for name in judged} == judged
    assert found[0]["kind"] == "stage_start" and found[-1]["kind"] == "stage_end"
    assert found[-1]["data"]["status"] == "succeeded"
    times = [event["t"] for event in found]
    assert times == sorted(times)


def test_figures_units_samples_and_checkpoints_are_those_of_our_own_log(tmp_path: Path) -> None:
    [run] = one(tmp_path, DATA / BASE)["runs"]
    found = events(tmp_path, run)
    start = found[0]["data"]
    assert start["total_steps"] == 20 and start["info"]["n_layer"] == 1
    assert start["info"]["total_batch_size"] == 256
    first = next(event for event in found if event["kind"] == "metric")
    assert 0 < first["data"]["train/dt"] < 5  # seconds
    assert first["data"]["train/total_tokens"] == 256
    assert first["data"]["train/epoch"] == 1 and "train/mfu" not in first["data"]
    assert points(found, "progress")[-1] == (19, 1)
    samples = [event["data"] for event in found if event["kind"] == "sample"]
    assert len(samples) == 14 and all(sample["prompt"] for sample in samples)
    assert samples[0]["prompt"] == "The capital of France is"
    saved = [event["data"]["step"] for event in found if event["kind"] == "checkpoint"]
    assert saved == [10, 20]


def test_a_reinforcement_run_has_rewards_and_pass_at_k(tmp_path: Path) -> None:
    [run] = one(tmp_path, DATA / "modern-rl.log")["runs"]
    found = events(tmp_path, run)
    assert run["stage"] == "chat_rl" and points(found, "rl/reward") and points(found, "rl/pass@1")
    assert state(tmp_path, run)["status"] == "succeeded"


def test_evaluations_without_steps_are_runs_of_their_own(tmp_path: Path) -> None:
    answer = take(tmp_path, DATA / "modern-eval.log", DATA / "modern-chat-eval.log")
    (core,), (chat,) = (log["runs"] for log in answer["imports"])
    assert (core["stage"], core["status"]) == ("base_eval", "succeeded")
    info = events(tmp_path, core)[0]["data"]["info"]
    assert info["checkpoint"] == "/srv/nanochat/base_checkpoints/core/model_000012.pt"
    assert info["eval"] == ["bpb", "core"]
    figures = {name: value for event in events(tmp_path, core) for name, value in event["data"].items()}
    assert figures["core/core"] == 0.037 and figures["core/copa"] == 0.6667 and figures["val/bpb"] > 3
    assert sum(name.startswith("core/") for name in figures) == 23
    assert (chat["stage"], chat["status"]) == ("chat_eval", "succeeded")
    assert points(events(tmp_path, chat), "chat/ChatCORE") == [(None, 1.0)]


def test_core_within_a_training_has_its_tasks(tmp_path: Path) -> None:
    [run] = one(tmp_path, DATA / "modern-core.log")["runs"]
    [core] = [event for event in events(tmp_path, run) if "core/core" in event["data"]]
    assert core["step"] == 12 and len(core["data"]) == 23


def test_a_resumed_training_is_a_second_attempt_of_the_same_run(tmp_path: Path) -> None:
    log = tmp_path / "both.log"
    whole = (DATA / BASE).read_text()
    cut = whole[: whole.index("step 00014/")]
    log.write_text(cut + (DATA / RESUMED).read_text())
    [run] = one(tmp_path, log)["runs"]
    assert (run["status"], run["attempts"]) == ("succeeded", 2)
    found = events(tmp_path, run)
    starts = [event["data"] for event in found if event["kind"] == "stage_start"]
    assert [start["from_step"] for start in starts] == [0, 10]
    assert [step for step, _ in points(found, "train/loss")] == [*range(14), *range(10, 20)]


def test_a_restart_without_a_word_goes_on_from_its_step(tmp_path: Path) -> None:
    log = tmp_path / "again.log"
    lines = [line for line in (DATA / CLASSIC).read_text().splitlines() if line.startswith("step ")]
    log.write_text("\n".join([*lines[:12], *lines[5:]]) + "\n")
    [run] = one(tmp_path, log)["runs"]
    starts = [event for event in events(tmp_path, run) if event["kind"] == "stage_start"]
    assert [start["data"]["from_step"] for start in starts] == [0, 5]
    assert (run["status"], run["reason"]) == ("lost", "it ends at step 19 of 20")
    # As of our runs: the time of the attempt before is not counted twice.
    assert state(tmp_path, run)["started_at"] == pytest.approx(starts[1]["t"], abs=0.001)
    assert starts[1]["t"] > starts[0]["t"]


def test_programs_in_one_log_are_runs_in_their_order(tmp_path: Path) -> None:
    log = tmp_path / "speedrun.log"
    parts = [BASE, "modern-eval.log", "modern-sft.log", "modern-chat-eval.log", BASE]
    texts = [(DATA / part).read_text() for part in parts]
    texts[-1] = texts[-1][: texts[-1].index("step 00007/")]
    log.write_text("".join(texts))
    runs = one(tmp_path, log)["runs"]
    assert [run["stage"] for run in runs] == [
        "base_train",
        "base_eval",
        "chat_sft",
        "chat_eval",
        "base_train",
    ]
    assert [run["status"] for run in runs] == ["succeeded"] * 4 + ["lost"]
    assert runs[-1]["reason"] == "it ends at step 6 of 20"
    alone = [one(tmp_path / str(n), DATA / part)["runs"][0] for n, part in enumerate(parts[:-1])]
    for n, (run, single) in enumerate(zip(runs, alone, strict=False)):
        mine, other = without_times(events(tmp_path, run)), without_times(events(tmp_path / str(n), single))
        assert mine == other, run


def test_a_program_that_dies_has_its_error_as_the_reason(tmp_path: Path) -> None:
    log = tmp_path / "died.log"
    whole = (DATA / BASE).read_text()
    trace = 'Traceback (most recent call last):\n  File "x.py", line 1\nRuntimeError: CUDA out of memory\n'
    log.write_text(whole[: whole.index("step 00014/")] + trace)
    [run] = one(tmp_path, log)["runs"]
    assert (run["status"], run["reason"]) == ("failed", "RuntimeError: CUDA out of memory")


def test_a_loss_that_is_no_number_is_told(tmp_path: Path) -> None:
    log = tmp_path / "nan.log"
    log.write_text((DATA / BASE).read_text().replace("loss: 8.31", "loss: nan | x: 8.31"))
    [run] = one(tmp_path, log)["runs"]
    found = events(tmp_path, run)
    assert points(found, "train/loss")[0] == (0, "NaN")
    assert any(event["kind"] == "alert" and event["data"]["what"] == "non_finite" for event in found)


def test_a_log_without_steps_leaves_nothing_behind(tmp_path: Path) -> None:
    empty, other = tmp_path / "empty.log", tmp_path / "other.log"
    empty.write_text("")
    other.write_text("Vocab size: 65,536\nEpoch 1: loss 0.3\nall done\n")
    answer = take(tmp_path, empty, other, tmp_path / "absent.log")
    told = [problem["error"] for problem in answer["problems"]]
    assert len(told) == 3 and not answer["imports"]
    assert all("no step of upstream nanochat" in line for line in told[:2]) and "No such file" in told[2]
    assert all("\n" not in line for line in told) and nothing_made(tmp_path)


def test_lines_of_any_length_and_control_characters_are_borne() -> None:
    sink = Sink()
    lines = [
        "x" * 100_000,
        "\x1b[31mstep\r",
        "step 99999999999999999999/1 (1%) | loss: 1 |",
        "<|bos|>" + "y" * 50_000,
    ]
    reader = Console({})
    reader.feed([*lines, *lines], sink)
    reader.finish(sink)
    assert not sink.found


@pytest.mark.parametrize("label", ["[rank0]: ", "[default0]:", "0: ", "\r"])
def test_labels_of_launchers_and_carriage_returns_make_no_difference(tmp_path: Path, label: str) -> None:
    log = tmp_path / "labelled.log"
    lines = (DATA / CLASSIC).read_text().splitlines()
    log.write_text("".join(f"{line}\r\n" if label == "\r" else f"{label}{line}\n" for line in lines))
    [run], [plain] = (
        one(tmp_path / name, path)["runs"] for name, path in (("a", log), ("b", DATA / CLASSIC))
    )
    ours, theirs = (events(tmp_path / name, told) for name, told in (("a", run), ("b", plain)))
    for metric in ("train/loss", "train/total_tokens", "val/bpb"):
        assert points(ours, metric) == points(theirs, metric) != []
    assert run["status"] == plain["status"] == "succeeded"


def test_a_copied_log_is_as_old_as_its_logger_says(tmp_path: Path) -> None:
    log, future = tmp_path / "copy.log", tmp_path / "future.log"
    text = (DATA / BASE).read_text()
    log.write_text(text)  # its own time is now
    future.write_text(text.replace("2026-11-30", "2999-11-30"))  # no time of this zone
    [run], [other] = (one(tmp_path / name, path)["runs"] for name, path in (("a", log), ("b", future)))
    found = events(tmp_path / "a", run)
    stamp = time.mktime(time.strptime("2026-11-30 18:34:41", "%Y-%m-%d %H:%M:%S"))
    if stamp < log.stat().st_mtime:
        assert abs(found[0]["t"] - stamp) < 5
    assert abs(events(tmp_path / "b", other)[-1]["t"] - future.stat().st_mtime) < 60
