"""Checkpoints: whole or not there, verified, found again; weights files that are not what they say."""

import json
import os
import pickle
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from nanochat.checkpoint import write
from nanochat.checkpoint.files import (
    MODEL,
    OPTIM,
    Checkpoint,
    find_checkpoint,
    list_checkpoints,
    newest_complete,
    sweep,
)
from nanochat.checkpoint.peers import Peer
from nanochat.checkpoint.saver import RetentionPolicy, Saver, prune
from nanochat.checkpoint.weights import load_model, load_weights, read_weights
from nanochat.checkpoint.write import Writer, save_checkpoint
from nanochat.common.errors import UserError
from nanochat.compute.ranks import Ranks
from nanochat.data.dataloader import LoaderState
from nanochat.model.architecture import (
    CLASSIC,
    ArchitectureFlags,
    ModelConfig,
    config_from_checkpoint,
    flags_to_meta,
)
from nanochat.model.gpt import build_model
from nanochat.run.run_directory import process_start
from nanochat.train.loss_scale import LossScale
from nanochat.train.step import LoopState, StepResult

SIZES = {
    "sequence_len": 16, "vocab_size": 50, "n_layer": 2, "n_head": 2, "n_kv_head": 1, "n_embd": 32,
}  # fmt: skip


def save(tag: Path, step: int, value: float = 1.0, **meta: object) -> Checkpoint:
    files = {MODEL: {"w": torch.full((100,), value)}, OPTIM: {"m": torch.full((100,), value)}}
    return save_checkpoint(tag, step, files, {"model_config": {}, "run_id": "run", **meta})


def test_a_saved_checkpoint_comes_back_and_knows_its_files(tmp_path: Path) -> None:
    save(tmp_path / "d4", 7, 3.5)
    found = find_checkpoint(tmp_path)
    assert (found.step, found.path.name) == (7, "step_000007")
    assert found.tensors(MODEL)["w"].tolist() == [3.5] * 100
    assert found.can_resume
    assert not [path for path in (tmp_path / "d4").iterdir() if path.name.startswith(".")]


def test_a_checkpoint_can_be_read_by_whom_its_tag_can(tmp_path: Path) -> None:
    """While it is written its folder is the writer's alone."""
    for mode in (0o755, 0o700):
        tag = tmp_path / f"{mode:o}"
        tag.mkdir(mode)
        assert stat.S_IMODE(save(tag, 1).path.stat().st_mode) == mode


def test_the_same_step_is_replaced(tmp_path: Path) -> None:
    save(tmp_path, 7, 1.0)
    save(tmp_path, 7, 2.0)
    [only] = list_checkpoints(tmp_path)
    assert only.tensors(MODEL)["w"][0] == 2.0


@pytest.mark.parametrize("damage", ["flip", "cut", "missing"])
def test_a_damaged_file_is_noticed_and_the_one_before_is_taken(tmp_path: Path, damage: str) -> None:
    save(tmp_path, 1)
    last = save(tmp_path, 2)
    path = last.path / OPTIM
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(raw if damage == "flip" else raw[:-5])
    with pytest.raises(UserError, match=r"optim\.safetensors"):
        last.tensors(OPTIM)
    whole = newest_complete(tmp_path)
    assert whole is not None
    assert whole.step == (2 if damage == "flip" else 1)


def test_the_newest_of_a_run_is_its_own(tmp_path: Path) -> None:
    save(tmp_path, 100, run_id="old")
    save(tmp_path, 10, run_id="new")
    assert [c.step for c in list_checkpoints(tmp_path)] == [100, 10]
    newest = newest_complete(tmp_path, "old")
    assert newest is not None
    assert newest.step == 100
    assert newest_complete(tmp_path, "other") is None


def test_without_a_tag_the_deepest_is_taken_without_a_step_the_last(tmp_path: Path) -> None:
    for tag in ("d4", "d12", "d6-long", "other"):
        save(tmp_path / tag, 5)
    save(tmp_path / "d12", 9)
    assert find_checkpoint(tmp_path).path == tmp_path / "d12" / "step_000009"
    assert find_checkpoint(tmp_path, "d12", 5).step == 5
    with pytest.raises(UserError, match=r"no checkpoint of step 6 .*there are: 5, 9"):
        find_checkpoint(tmp_path, "d12", 6)
    with pytest.raises(UserError, match="no checkpoint tag 'd5'"):
        find_checkpoint(tmp_path, "d5")
    with pytest.raises(UserError, match=r"no checkpoints in .*train first"):
        find_checkpoint(tmp_path / "nothing")


def test_what_a_killed_writer_left_is_cleared_and_what_it_replaced_returns(tmp_path: Path) -> None:
    save(tmp_path, 3)
    (tmp_path / ".step_000004.999.tmp").mkdir()
    (tmp_path / ".step_000002.deleted").mkdir()
    (tmp_path / ".step_000001.doomed").mkdir()  # version 0.1.0's name
    (tmp_path / "step_000003").rename(tmp_path / ".step_000003.replaced")
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step_000003"]
    assert newest_complete(tmp_path) is not None


def two_ranks(token: str) -> tuple[Writer, Writer]:
    return Writer(0, 2, token), Writer(1, 2, token)


def part(tag: Path, step: int, writer: Writer, **meta: object) -> Checkpoint:
    """What one of two ranks writes of a checkpoint."""
    name = MODEL if writer.rank == 0 else "optim_rank1.safetensors"
    return save_checkpoint(tag, step, {name: {"w": torch.ones(100)}}, {"run_id": "run", **meta}, writer)


def test_pruning_and_sweeping_leave_the_files_of_a_save_under_way(tmp_path: Path) -> None:
    """Rank 1 has written its part of step 2 while rank 0 is still busy with step 1."""
    save(tmp_path, 0)
    save(tmp_path, 1)
    main, other = two_ranks("a")
    part(tmp_path, 2, other, dataloader_state_dict={"rank": 1})
    sweep(tmp_path)
    assert [path.name for path in prune(tmp_path, "run", RetentionPolicy(last=1))] == ["step_000000"]
    assert newest_complete(tmp_path) is not None
    saved = part(tmp_path, 2, main, dataloader_state_dict={"rank": 0})
    assert set(saved.meta["files"]) == {MODEL, "optim_rank1.safetensors"}
    assert [loader["rank"] for loader in saved.meta["dataloader_states"]] == [0, 1]
    saved.check_files()


def test_a_failed_rank_is_known_at_once(tmp_path: Path) -> None:
    """Also when rank 0 has not begun: its sweep leaves the report, and it does not wait for the part."""
    main, other = two_ranks("a")
    with pytest.raises(UserError, match="are needed and"):
        too_much = {"optim_rank1.safetensors": {"m": torch.empty(1, device="meta").expand(1 << 50)}}
        save_checkpoint(tmp_path, 2, too_much, {}, other)
    with pytest.raises(UserError, match=r"rank 1: .* are needed and"):
        part(tmp_path, 2, main)
    other.release()
    assert save(tmp_path, 2).step == 2  # with another token: nothing of the failed save is taken for it
    assert [path.name for path in tmp_path.iterdir()] == ["step_000002"]


@pytest.mark.parametrize("error", [RuntimeError("CUDA error"), MemoryError(), UserError("cannot create")])
def test_a_failed_rank_is_known_at_once_whatever_it_failed_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Also before it has made the folder, and where its error says nothing."""
    main, other = two_ranks("a")
    with monkeypatch.context() as patch:
        if isinstance(error, UserError):
            patch.setattr(write, "make_dir", raising(error))
        else:
            patch.setattr(write, "_check_free_space", raising(error))
        with pytest.raises(type(error)):
            part(tmp_path, 2, other)
    monkeypatch.setattr(write, "PARTS_TIMEOUT", 0.0)
    with pytest.raises(UserError, match=f"rank 1: {str(error) or type(error).__name__}"):
        part(tmp_path, 2, main)
    other.release()


def test_a_rank_that_was_killed_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its part counts where it had written it."""
    monkeypatch.setattr(write, "PARTS_TIMEOUT", 0.0)
    here = Peer.here()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        living = Peer(here.machine, process.pid, process_start(process.pid))
        peers = (here, living)
        with pytest.raises(UserError, match="rank 1 has not written its part"):
            part(tmp_path, 2, Writer(0, 2, "a", peers))
        other = Writer(1, 2, "b", peers)
        part(tmp_path, 3, other)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and nobody has asked yet
        with pytest.raises(UserError, match="rank 1 has ended without writing its part"):
            part(tmp_path, 2, Writer(0, 2, "a", peers))
    with pytest.raises(UserError, match="rank 1 has ended without writing its part"):
        part(tmp_path, 2, Writer(0, 2, "a", peers))
    assert part(tmp_path, 3, Writer(0, 2, "b", peers)).ranks == 2
    other.release()
    with pytest.raises(UserError, match="has not written"):
        part(tmp_path, 2, Writer(0, 2, "a", (here, replace(living, machine="another"))))


def raising(error: Exception) -> Callable[..., None]:
    """A function that raises `error`."""

    def fail(*_: object) -> None:
        raise error

    return fail


def test_the_part_of_a_killed_rank_is_not_taken_for_a_later_save(tmp_path: Path) -> None:
    """The same step again, as after a resume: what rank 1 wrote before is swept, and rank 0 waits for it
    anew."""
    _, other = two_ranks("a")
    part(tmp_path, 2, other, round=1)
    other.release()  # as its death does
    main, again = two_ranks("b")
    part(tmp_path, 2, again, round=2, dataloader_state_dict={"round": 2})
    saved = part(tmp_path, 2, main)
    assert saved.meta["dataloader_states"][1] == {"round": 2}
    again.release()
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step_000002"]


WRITERS = """
import os, sys, torch
from pathlib import Path
from nanochat.checkpoint.write import save_checkpoint
tensors = {f"w{i}": torch.ones(200_000) * i for i in range(8)}
for line in sys.stdin:
    if (writer := os.fork()) != 0:
        print("killed by", os.WTERMSIG(os.waitpid(writer, 0)[1]), flush=True)
        continue
    print(os.getpid(), flush=True)
    for step in range(1, 10_000):
        save_checkpoint(Path(sys.argv[1]), step % 3,
                        {"model.safetensors": tensors, "optim.safetensors": tensors}, {"round": step})
        print(step, flush=True)
"""
"""A writer for each line it reads: importing torch once serves them all."""


@pytest.mark.slow
def test_kill_9_at_any_moment_leaves_whole_checkpoints(tmp_path: Path) -> None:
    """A writer saves over the same three steps without pause and is killed at odd moments."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITERS, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as writers:  # fmt: skip
        assert writers.stdin is not None
        assert writers.stdout is not None
        for attempt in range(6):
            writers.stdin.write("another\n")
            writers.stdin.flush()
            writer = int(writers.stdout.readline())
            for _ in range(3):
                writers.stdout.readline()
            time.sleep(0.007 * attempt)
            os.kill(writer, signal.SIGKILL)
            while not (line := writers.stdout.readline()).startswith("killed"):
                assert line
            assert line == "killed by 9\n"
            sweep(tmp_path)
            found = list_checkpoints(tmp_path)
            assert len(found) == 3
            for checkpoint in found:
                assert checkpoint.tensors(MODEL)["w5"][0] == 5
            assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
        writers.stdin.close()


@pytest.fixture
def small_disk(tmp_path: Path, mount_tmpfs: Callable[[Path, str], Path]) -> Path:
    """A file system of 2 MB."""
    return mount_tmpfs(tmp_path / "small", "2m")


def test_a_save_in_the_background_is_of_the_step_it_was_begun_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late its thread comes to write: weights, counts and averages have gone on by then."""
    gone_on = threading.Event()

    def late(*args: Any) -> Checkpoint:
        assert gone_on.wait(30)
        return save_checkpoint(*args)

    monkeypatch.setattr("nanochat.checkpoint.saver.save_checkpoint", late)
    saver = Saver(tmp_path / "d2", Ranks(), RetentionPolicy(), "run")
    state, weights = LoopState(loss_scale=LossScale(8.0)), torch.zeros(3)
    state.loss.update(0, StepResult(4.0, 1.0, True, LoaderState(), 1))
    told = {"model_config": {}, "loop_state": state.to_meta()}
    expected = json.loads(json.dumps(told))
    saver.save_async(1, {MODEL: {"w": weights}}, told)
    state.loss.update(1, StepResult(3.0, 1.0, True, LoaderState(), 1))
    told["model_config"]["n_layer"] = 2
    weights += 1
    gone_on.set()
    saved = saver.poll(wait=True)
    assert isinstance(saved, Checkpoint)
    assert {key: saved.meta[key] for key in expected} == expected
    assert torch.equal(saved.tensors(MODEL)["w"], torch.zeros(3))


@pytest.mark.parametrize("lies", [False, True])
def test_a_full_disk_loses_no_checkpoint(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, lies: bool
) -> None:
    """Seen beforehand, or only while writing (quotas do not show in the free space)."""
    tag = small_disk / "d4"
    save(tag, 1)
    if lies:
        total = shutil.disk_usage(tag)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: total._replace(free=1 << 40))
    big = {MODEL: {"w": torch.ones(300_000)}, OPTIM: {"m": torch.ones(600_000)}}
    with pytest.raises(
        UserError, match=r"cannot save the checkpoint .*earlier checkpoints are untouched"
    ) as error:
        save_checkpoint(tag, 2, big, {})
    assert error.value.exit_code == 1
    assert [path.name for path in tag.iterdir()] == ["step_000001"]
    assert list_checkpoints(tag)[0].tensors(MODEL)["w"][0] == 1.0


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch exploded",)


def test_a_pt_file_that_wants_to_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"w": torch.ones(3), "x": Bomb()}, tmp_path / "model.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Bomb()))
    for name in ("model.pt", "plain.pt"):
        with pytest.raises(UserError, match="is refused"):
            read_weights(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    model = build_model(ModelConfig(**SIZES), "cpu")
    model.init_weights(1)
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    load_weights(model, {**weights}, "file")
    with pytest.raises(UserError, match=r"lm_head\.weight has shape \(64, 16\).*\(64, 32\)"):
        load_weights(model, {**weights, "lm_head.weight": torch.ones(64, 16)}, "file")
    with pytest.raises(UserError, match="weights that this model lacks: extra"):
        load_weights(model, {**weights, "extra": torch.ones(1)}, "file")
    del weights["lm_head.weight"]
    with pytest.raises(UserError, match=r"lm_head\.weight is missing"):
        load_weights(model, weights, "file")


def test_a_safetensors_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"w": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="not a complete weights file"):
        read_weights(path)
    with pytest.raises(UserError, match="no weights file"):
        read_weights(tmp_path / "none.safetensors")


def test_eras_are_told_apart_by_keys_and_config() -> None:
    assert config_from_checkpoint(SIZES, ["lm_head.weight"]).parts == CLASSIC
    between = config_from_checkpoint(SIZES, ["lm_head.weight", "value_embeds.1.weight", "x0_lambdas"])
    assert between.window_pattern == "L"
    assert between.parts == ArchitectureFlags(smear=False, backout=False)
    with pytest.raises(UserError, match="lacks n_embd"):
        config_from_checkpoint({k: v for k, v in SIZES.items() if k != "n_embd"}, [])


def test_files_of_the_months_between_get_neutral_layer_scales(tmp_path: Path) -> None:
    """An upstream file with compiled names and no resid λs: they are 1."""
    config = ModelConfig(**SIZES, parts=ArchitectureFlags(smear=False, backout=False))
    model = build_model(config, "cpu")
    model.init_weights(1)
    weights = {f"_orig_mod.{n}": p.detach() for n, p in model.named_parameters() if n != "resid_lambdas"}
    folder = tmp_path / "d2"
    folder.mkdir()
    torch.save(weights, folder / "model_000010.pt")
    (folder / "meta_000010.json").write_text(json.dumps({"step": 10, "model_config": SIZES}))
    loaded = load_model(find_checkpoint(tmp_path))
    assert loaded.resid_lambdas.tolist() == [1.0, 1.0]
    assert torch.equal(loaded.wte.weight, model.wte.weight)


@pytest.mark.parametrize(
    "parts", [ArchitectureFlags(), CLASSIC, ArchitectureFlags(backout=False, qk_gain=1.0)]
)
def test_our_own_models_come_back_with_their_parts(tmp_path: Path, parts: ArchitectureFlags) -> None:
    model = build_model(ModelConfig(**SIZES, parts=parts), "cpu")
    model.init_weights(2)
    meta = {"model_config": model.config.to_meta(), "parts": flags_to_meta(parts)}
    save_checkpoint(tmp_path / "d2", 1, {MODEL: dict(model.state_dict())}, meta)
    loaded = load_model(find_checkpoint(tmp_path))
    assert loaded.config.parts == parts
    ids = torch.arange(12)[None]
    assert torch.equal(loaded(ids), model(ids))
