"""Resuming: from which checkpoint, and what of it makes the next step the one that would have come."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from nanochat.checkpoint.files import (
    MODEL,
    Checkpoint,
    find_checkpoint,
    newest_complete,
    optimizer_file,
    random_state,
    restore_random_state,
    state_file,
)
from nanochat.checkpoint.started_from import started_from
from nanochat.checkpoint.tokenizer import find_tokenizer, is_tokenizer_of
from nanochat.common.errors import UserError, one_line
from nanochat.compute.ranks import Ranks
from nanochat.config.train_options import TrainingOptions
from nanochat.data.dataloader import LoaderState, Position
from nanochat.data.fingerprint import describe
from nanochat.model.architecture import ModelConfig
from nanochat.model.gpt import GPT
from nanochat.run.stage_run import StageRun
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.train.optimizer import MuonAdamW
from nanochat.train.step import LoopState


def resume_point(tag: Path, run: StageRun, *, step: int, newest: bool) -> Checkpoint | None:
    """The checkpoint that training resumes from; None to start from the first step.

    A later attempt of the same run resumes from that run's own newest, or from what its first attempt did,
    whatever its options say: it inherits them, they are no new wish. Else `step` ≥ 0 names one, and `newest`
    takes the last complete one of the tag. Raises `UserError` when the one asked for does not exist.
    """
    if run.attempt > 1 and (own := newest_complete(tag, run.run_id) or started_from(run)) is not None:
        return own
    if step >= 0:
        found = find_checkpoint(tag.parent, tag.name, step)
        if not found.can_resume:
            raise UserError(f"{found.path} has no optimizer state to resume from", "use it as --init-from")
        found.check_files()
        return found
    if newest:
        last = newest_complete(tag)
        if last is None:
            raise UserError(f"--resume: no complete checkpoint in {tag}", "start without --resume")
        return last
    return None


def newest_of_run(folder: Path, run_id: str) -> Checkpoint | None:
    """The last saved checkpoint of a run that training can resume from, under any tag of `folder`."""
    tags = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    found = [own for tag in tags if run_id and (own := newest_complete(tag, run_id)) is not None]
    return max(found, key=lambda own: own.saved_at, default=None)


def named_tokenizer(options: TrainingOptions, attempt: int, resumed: bool) -> str:
    """The folder of the tokenizer that the options ask for; "" for the checkpoint's own.

    A later attempt inherits its options: where it has a checkpoint to resume from, that one's counts.
    """
    return "" if resumed and attempt > 1 else options.tokenizer_dir


def other_data(found: Checkpoint, data: Mapping[str, Any]) -> str:
    """What to alert of when `found` was trained on other data than `data`, a fingerprint; else "".

    Version 0.1.0 recorded none.
    """
    before = found.meta.get("data")
    if not isinstance(before, dict) or before.get("sha256") == data["sha256"]:
        return ""
    return (
        f"{found.path} was trained on {describe(before)}, this goes on with {describe(data)}: bits per byte "
        "of the two cannot be compared, the best starts anew"
    )


def forget_best_of_other_data(found: Checkpoint | None, data: Mapping[str, Any], state: LoopState) -> None:
    """Drops the bits per byte of another text than that of the checkpoint it resumes from, if any."""
    if found is not None and other_data(found, data):
        state.val_bpb = state.min_val_bpb = None


def training_tokenizer(
    options: TrainingOptions, run: StageRun, ranks: Ranks, resumed: Checkpoint | None
) -> Tokenizer:
    """The tokenizer the options name, or the one that the checkpoint it resumes from was trained with."""
    if resumed is None:
        return Tokenizer.load(run.layout.tokenizer_dir(options.tokenizer_dir))
    named = named_tokenizer(options, ranks.broadcast(run.attempt), resumed=True)
    return find_tokenizer(resumed, run.layout, named)


def check_same_model(found: Checkpoint, config: ModelConfig) -> None:
    """Raises `UserError` when the checkpoint's sizes are not those of `config`."""
    saved, wanted = found.meta.get("model_config", {}), config.to_meta()
    for name, value in wanted.items():
        if saved.get(name) != value:
            raise UserError(
                f"{found.path} is a model with {name} {saved.get(name)}, the options ask for {value}",
                "give the options it was trained with, or another --model-tag",
            )


def restore_training(
    found: Checkpoint, tokenizer: Tokenizer, optimizer: MuonAdamW, shard_by: str = "batches"
) -> LoopState:
    """Loop state, optimizer, loader and random generators as they were when `found` was saved.

    Where the text is sharded so that reading cannot resume exactly (see `resumes_exactly`), it resumes at the
    row group after the one rank 0 was in; weights and optimizer are the same. Raises `UserError` when it was
    trained with another tokenizer or a file is damaged.
    """
    meta = dict(found.meta)
    if not is_tokenizer_of(meta, tokenizer):
        raise UserError(
            f"{found.path} was trained with another tokenizer than the present one",
            "its token ids stand for other text: restore that tokenizer, or start without resuming",
        )
    try:
        return _restore(found, optimizer, shard_by)
    except (TypeError, ValueError, AttributeError, LookupError, OverflowError) as error:
        raise UserError(
            f"the metadata of {found.path} is damaged: {type(error).__name__} {one_line(str(error))[:80]}",
            "resume from another step",
        ) from error


def _restore(found: Checkpoint, optimizer: MuonAdamW, shard_by: str) -> LoopState:
    meta, ranks = dict(found.meta), optimizer.ranks
    states = [found.tensors(name) for name in found.optimizer_files]
    optimizer.load_state_tensors(states, int(meta["optimizer_steps"]))
    # Each rank has a random state of its own; another number of ranks starts with fresh ones.
    if found.ranks == ranks.world:
        restore_random_state(found.tensors(state_file(ranks.rank)))
    if resumes_exactly(found, ranks, shard_by):
        # Sharded by batches, all ranks are at the same place of the text.
        own = ranks.rank if shard_by == "row-groups" else 0
        loaders = meta.get("dataloader_states") or [meta["dataloader_state_dict"]]
        loader = LoaderState.restore(loaders[own], found.tensors(state_file(own)))
    else:
        # The next row group: a part of this one was trained on, and which is not known for every rank.
        at = meta["dataloader_state_dict"]
        loader = LoaderState(Position(int(at["pq_idx"]), int(at["rg_idx"]) + 1, int(at["epoch"])))
    return LoopState.restore(found.step, meta, loader)


def resumes_exactly(found: Checkpoint, ranks: Ranks, shard_by: str) -> bool:
    """Whether the next batch is the one that would have come.

    Text sharded by batches resumes on any number of processes; text sharded by row groups only on as many as
    before.
    """
    saved = found.meta.get("user_config", {})
    before = saved.get("shard_by") or saved.get("data_split", "batches")  # data_split: version 0.1.0
    one_text = (before == "batches" or found.ranks == 1) and (shard_by == "batches" or ranks.world == 1)
    return one_text or (before == shard_by and found.ranks == ranks.world)


def training_files(model: GPT, optimizer: MuonAdamW, loader: LoaderState) -> dict[str, dict[str, Tensor]]:
    """This rank's tensors of a checkpoint that training can resume from, by file."""
    ranks = optimizer.ranks
    files: dict[str, dict[str, Tensor]] = {MODEL: dict(model.state_dict())} if ranks.is_main else {}
    return files | {
        optimizer_file(ranks.rank, ranks.world): optimizer.state_tensors(),
        state_file(ranks.rank): loader.to_tensors() | random_state(),
    }
