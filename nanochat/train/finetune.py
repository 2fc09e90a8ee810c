"""Training on conversations: what midtraining and supervised fine-tuning are.

A stage gives its defaults, one `Recipe` an era, and its own mixtures; the rest is here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from nanochat.common.errors import UserError
from nanochat.compute.device import setup_runtime
from nanochat.config.chat_options import ConversationOptions
from nanochat.data.conversations import (
    ConversationLoader,
    ConversationStream,
    PackedConversations,
    PaddedConversations,
)
from nanochat.data.dataloader import LoaderState, Prefetcher
from nanochat.data.packing import Tokens
from nanochat.evals.chat import evaluation_tasks
from nanochat.run.stage_run import StageRun
from nanochat.tasks.base import Task
from nanochat.tasks.fingerprint import tasks_fingerprint
from nanochat.tasks.mixture import Mixture, MixturePart, make_mixture, parse_part
from nanochat.tasks.registry import TaskData, task_spec
from nanochat.train.chat import (
    ChatValidation,
    Rates,
    StartingPoint,
    find_starting_point,
    make_optimizer,
    make_training,
    report_start,
    resolve,
    warm_start,
)
from nanochat.train.loop import Periodic, Training, TrainingLength, check_batch
from nanochat.train.schedule import classic_momentum, progress_multiplier
from nanochat.train.step import LoopState
from nanochat.train.targets import check_targets
from nanochat.train.validation import ValidationSet

LOADERS: dict[str, type[ConversationLoader]] = {
    "packed": PackedConversations,
    "stream": ConversationStream,
    "padded": PaddedConversations,
}
BASE_RATES = {"modern": Rates(0.3, 0.004, 0.02), "classic": Rates(0.2, 0.004, 0.02)}
"""For checkpoints that do not say theirs: upstream nanochat's defaults of each era."""
DEFAULT_TOTAL_BATCH = 524_288
"""Tokens in an optimizer step, 2¹⁹, where the checkpoint does not say: upstream nanochat's default."""


@dataclass(frozen=True)
class Recipe:
    """The defaults of a stage in one era."""

    rows: str
    """How rows are made, one of `LOADERS`."""
    warm_start: bool
    """Whether the optimizer's state of the checkpoint is loaded."""
    init_lr_frac: float
    """Peak learning rates as a fraction of the base rates."""
    warmdown_ratio: float
    momentum: Callable[[int], float] = classic_momentum
    """Muon's, by the step."""


@dataclass(frozen=True)
class Conversations:
    """What a fine-tuning reads: the mixture it trains on, the one it is validated on, and their rows."""

    parts: list[MixturePart]
    train: Mixture
    val: Mixture
    rows: str

    def loader(
        self,
        mixture: Mixture,
        options: ConversationOptions,
        start: StartingPoint,
        *,
        state: LoopState | None = None,
        shard: tuple[int, int] = (0, 1),
    ) -> ConversationLoader:
        """Batches of `mixture` from `state` on; `shard` (rank, world) takes one of every `world`."""
        return LOADERS[self.rows](
            start.tokenizer,
            mixture,
            options.device_batch_size,
            options.max_seq_len,
            device=start.model.device,
            state=state.loader if state else None,
            interleave=shard,
        )


def train(
    options: ConversationOptions,
    run: StageRun,
    target: str,
    *,
    recipe: Recipe,
    mixture: Sequence[str],
    val_mixture: Sequence[str],
) -> dict[str, float | int | str]:
    """The stage that writes checkpoints of `target`; recipe and mixtures are its defaults."""
    # 1. Where it runs, from which checkpoint, with which sizes and rates.
    runtime = setup_runtime(options.device_type, options.dtype)
    start = find_starting_point(options, run, runtime, options.source, target)
    options = resolve_options(options, start, recipe)
    accumulation = micro_batches(options, runtime.world)

    # 2. On which conversations.
    data = TaskData.of_stage(options, run)
    conversations = open_conversations(options, data, mixture, val_mixture)

    plain = conversations.loader(conversations.train, options, start)

    # 3. With which optimizer: fresh, or warm from the checkpoint.
    optimizer = make_optimizer(options, start, runtime, options.init_lr_frac)
    warm = options.load_optimizer and not start.resumed and warm_start(start, optimizer)
    job = make_training(
        options,
        run,
        runtime,
        start,
        optimizer,
        length=training_length(options, plain),
        accumulation=accumulation,
        batch=batch_size(options),
        metadata={
            "device_batch_size": options.device_batch_size,
            "max_seq_len": options.max_seq_len,
            "total_batch_size": options.total_batch_size,
            "source": target,
            "mixture": [str(part) for part in conversations.parts],
            "conversations": len(conversations.train),
            "rows": options.rows,
            "data": tasks_fingerprint(
                ", ".join(map(str, conversations.parts)), [conversations.train, conversations.val]
            ),
        },
    )
    report_start(job, start, start_info(options, conversations, accumulation))
    log_plan(job, options, conversations)
    check_targets(run, plain, options.max_seq_len)
    if warm:
        run.log("the optimizer continues from the checkpoint's state")
    elif options.load_optimizer and not start.resumed:
        run.log(f"{start.checkpoint.path} has no optimizer state: the optimizer starts fresh")

    # 4. What is evaluated, and how often.
    # Rows of one batch: at least 8 to keep the device busy, at most 32 so that caches of long answers fit.
    rows = min(32, max(8, options.device_batch_size))
    chat = ChatValidation(job, chat_tasks(options, run, data), rows)
    periodic = periodic_tasks(job, options, start, conversations, chat)

    # 5. Train.
    shard = (runtime.rank, runtime.world)
    loader = conversations.loader(conversations.train, options, start, state=job.state, shard=shard)
    batches = Prefetcher(loader)
    try:
        last = job.train(
            batches,
            lambda: schedule(job, options, recipe),
            periodic,
            save_every=options.save_every,
            grad_clip=options.grad_clip,
        )
    finally:
        batches.close()
    return job.results(last) | reading_results(job.state.loader) | chat.results


def reading_results(state: LoaderState) -> dict[str, float | int | str]:
    """What became of the conversations: the share of tokens cut away, and the epoch."""
    if not state.tokens_taken:
        return {}
    return {"cropped_percent": 100 * state.tokens_cut / state.tokens_taken, "epoch": state.position.epoch}


def resolve_options(
    options: ConversationOptions, start: StartingPoint, recipe: Recipe
) -> ConversationOptions:
    """`options` with what was left open as the checkpoint was trained, or as the recipe of the era says."""
    rates = BASE_RATES[options.era]
    rows = recipe.rows if options.rows == "auto" else options.rows
    warm = recipe.warm_start if options.load_optimizer is None else options.load_optimizer
    options = replace(options, rows=rows, load_optimizer=warm)
    options = resolve(
        options,
        start.trained_with,
        {
            "max_seq_len": start.model.config.sequence_len,
            "total_batch_size": DEFAULT_TOTAL_BATCH,
            "embedding_lr": rates.embedding_lr,
            "unembedding_lr": rates.unembedding_lr,
            "matrix_lr": rates.matrix_lr,
            "scalar_lr": rates.scalar_lr,
        },
    )
    # A padded row is one conversation, not a whole context: pretraining's number of rows says nothing here.
    padded = rows == "padded"
    options = resolve(
        options, {} if padded else start.trained_with, {"device_batch_size": 4 if padded else 32}
    )
    defaults = {"init_lr_frac": recipe.init_lr_frac, "warmdown_ratio": recipe.warmdown_ratio}
    return resolve(options, {}, defaults)


def open_conversations(
    options: ConversationOptions, data: TaskData, mixture: Sequence[str], val_mixture: Sequence[str]
) -> Conversations:
    """The mixtures asked for, else the stage's own."""
    parts = [parse_part(text) for text in options.mixture or mixture]
    val_parts = validation_parts(options, parts, val_mixture)
    return Conversations(parts, make_mixture(parts, data), make_mixture(val_parts, data), rows=options.rows)


def micro_batches(options: ConversationOptions, world: int) -> int:
    """Micro-batches of a rank in an optimizer step. Raises `UserError` when they do not fill it exactly."""
    rows = options.device_batch_size
    if options.rows == "padded":
        wanted = options.target_examples_per_step
        if wanted % (rows * world):
            ranks = f" × {world} processes" if world > 1 else ""
            raise UserError(
                f"{wanted} conversations a step are not a multiple of {rows} rows{ranks}",
                f"give --target-examples-per-step {max(1, round(wanted / (rows * world))) * rows * world}",
            )
        return wanted // (rows * world)
    check_batch(rows, options.max_seq_len, options.total_batch_size, world)
    return options.total_batch_size // (rows * options.max_seq_len * world)


def batch_size(options: ConversationOptions) -> str:
    """The size of an optimizer step, for people."""
    if options.rows == "padded":
        return f"{options.target_examples_per_step:,} conversations"
    return f"{options.total_batch_size:,} tokens"


def training_length(options: ConversationOptions, loader: ConversationLoader) -> TrainingLength:
    """As many steps as asked for, else until each conversation has been trained on once."""
    if options.num_iterations > 0:
        return TrainingLength.of_steps(options.num_iterations)
    if options.rows == "padded":
        steps = loader.size // options.target_examples_per_step
        if not steps:
            raise UserError(
                f"{loader.size} conversations are less than one step of {options.target_examples_per_step}",
                f"give --target-examples-per-step {options.device_batch_size}, or more conversations",
            )
        return TrainingLength.of_steps(steps)
    # How many steps packed rows make is only known once they are packed.
    return TrainingLength(lambda state: loader.progress(state.loader))


def validation_parts(
    options: ConversationOptions, parts: Sequence[MixturePart], val_mixture: Sequence[str]
) -> list[MixturePart]:
    """The validation mixture: asked for, the stage's own, or the test splits of the tasks trained on."""
    if options.val_mixture:
        return [parse_part(text) for text in options.val_mixture]
    if not options.mixture:
        return [parse_part(text) for text in val_mixture]
    names = {part.name: None for part in parts if part.split != "test"}
    return [MixturePart(name, "test") for name in names if "test" in task_spec(name).splits]


# -- on the way ------------------------------------------------------------------------------------


def periodic_tasks(
    job: Training,
    options: ConversationOptions,
    start: StartingPoint,
    conversations: Conversations,
    chat: ChatValidation,
) -> list[Periodic]:
    """Bits per byte, the chat tasks and samples."""
    periodic: list[Periodic] = []
    if len(conversations.val):
        validation = ValidationSet(
            lambda: one_epoch(conversations.loader(conversations.val, options, start)),
            max(1, options.eval_tokens // (options.device_batch_size * options.max_seq_len)),
            torch.tensor(start.tokenizer.token_bytes, device=job.runtime.device),
        )
        periodic.append(Periodic(options.eval_every, lambda: validation.evaluate(job), at_start=True))
    else:
        job.run.log("no validation conversations, so no bits per byte (give some with --val-mixture)")
    if chat.tasks:
        evaluate = partial(chat.chat_core, partial(max_items, options))
        periodic.append(Periodic(options.chatcore_every, evaluate))
    periodic.append(Periodic(options.sample_every, chat.sample))
    return periodic


def chat_tasks(options: ConversationOptions, run: StageRun, data: TaskData) -> dict[str, Task]:
    """The tasks evaluated during training; those of ChatCORE whose data is missing are skipped and logged."""
    if options.chatcore_every <= 0:
        return {}

    def skipped(name: str, error: UserError) -> None:
        run.log(f"{name} is not evaluated during training: {error}")

    return evaluation_tasks(options.chatcore_tasks, data, skipped)


def max_items(options: ConversationOptions, task: Task) -> int:
    """How many items of a task are evaluated during training."""
    return options.chatcore_max_cat if task.eval_type == "categorical" else options.chatcore_max_sample


def one_epoch(loader: ConversationLoader) -> Iterator[Tokens]:
    """Batches of rows until each conversation was placed once."""
    while loader.progress(loader.state) < 1:
        yield loader.next_rows()


def schedule(job: Training, options: ConversationOptions, recipe: Recipe) -> None:
    """Sets this step's learning rates and momentum."""
    multiplier = progress_multiplier(
        job.progress, options.warmup_ratio, options.warmdown_ratio, options.final_lr_frac
    )
    job.optimizer.schedule(multiplier, recipe.momentum(job.state.step), options.weight_decay)


# -- the start, for people -------------------------------------------------------------------------


def start_info(
    options: ConversationOptions, conversations: Conversations, accumulation: int
) -> dict[str, Any]:
    """What `stage_start` says of the conversations and the batch."""
    tasks = parts_with_tasks(conversations.parts, conversations.train)
    return {
        "mixture": [f"{part}: {len(task):,}" for part, task in tasks],
        "conversations": len(conversations.train),
        "rows": options.rows,
        "grad_accum_steps": accumulation,
        "total_batch_size": options.total_batch_size,
    }


def parts_with_tasks(parts: Sequence[MixturePart], mixture: Mixture) -> list[tuple[MixturePart, Task]]:
    """Each part with its task (the first of its epochs)."""
    tasks = iter(mixture.tasks)
    found = []
    for part in parts:
        found.append((part, next(tasks)))
        for _ in range(part.epochs - 1):
            next(tasks)
    return found


def log_plan(job: Training, options: ConversationOptions, conversations: Conversations) -> None:
    """Logs what is trained on, how long and in what rows."""
    listed = ", ".join(
        f"{part.name} {len(task):,}" + (f" × {part.epochs}" if part.epochs > 1 else "")
        for part, task in parts_with_tasks(conversations.parts, conversations.train)
    )
    job.run.log(f"{len(conversations.train):,} conversations: {listed}")
    length = f"{job.length.steps:,} steps" if job.length.steps else "one epoch"
    passes, context = job.accumulation, options.max_seq_len
    job.run.log(f"{length} of {job.batch} ({passes} micro-batches), {options.rows} rows of {context:,}")
