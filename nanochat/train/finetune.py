"""Training on conversations: what midtraining and supervised fine-tuning are.

A stage gives its defaults, one `Recipe` an era, and its own mixture; the rest is here.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

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
from nanochat.data.dataloader import Prefetcher
from nanochat.data.packing import Tokens
from nanochat.evals.chat import evaluation_tasks
from nanochat.run.stage_run import StageRun
from nanochat.tasks.base import Task
from nanochat.tasks.mixture import Mixture, Part, make_mixture, parse_part
from nanochat.tasks.registry import TaskData, task_spec
from nanochat.train.chat import (
    ChatValidation,
    Rates,
    StartingPoint,
    find_starting_point,
    make_job,
    make_optimizer,
    report_start,
    resolve,
    warm_start,
)
from nanochat.train.loop import Periodic, Training, TrainingLength, check_batch
from nanochat.train.schedule import classic_momentum, progress_multiplier
from nanochat.train.step import LoopState
from nanochat.train.validation import ValidationSet

LOADERS: dict[str, type[ConversationLoader]] = {
    "packed": PackedConversations,
    "stream": ConversationStream,
    "padded": PaddedConversations,
}
RATES = {"modern": Rates(0.3, 0.004, 0.02), "classic": Rates(0.2, 0.004, 0.02)}
"""Base rates for checkpoints that do not say theirs."""


@dataclass(frozen=True)
class Recipe:
    """The defaults of a stage in one era."""

    rows: str
    warm_start: bool
    init_lr_frac: float
    warmdown_ratio: float
    momentum: Callable[[int], float] = classic_momentum
    """Muon's, by the step."""


def train(
    options: ConversationOptions, run: StageRun, target: str, recipe: Recipe, default_mixture: Sequence[str],
    default_val_mixture: Sequence[str],
) -> dict[str, float | int | str]:  # fmt: skip
    """The stage called `target`, with its own mixture and what that is validated on as defaults."""
    # 1. Where it runs, from which checkpoint, with which sizes and rates.
    runtime = setup_runtime(options.device_type, options.dtype)
    start = find_starting_point(options, run, runtime, options.source, target)
    kind = recipe.rows if options.rows == "auto" else options.rows
    rates = RATES[options.era]
    options = resolve(options, start.before, {
        "max_seq_len": start.model.config.sequence_len, "total_batch_size": 524_288,
        "embedding_lr": rates.embedding_lr, "unembedding_lr": rates.unembedding_lr,
        "matrix_lr": rates.matrix_lr, "scalar_lr": rates.scalar_lr,
    })  # fmt: skip
    options = resolve(
        options,
        {} if kind == "padded" else start.before,
        {"device_batch_size": 4 if kind == "padded" else 32},
    )
    era = {"init_lr_frac": recipe.init_lr_frac, "warmdown_ratio": recipe.warmdown_ratio}
    options = resolve(options, {}, era)
    accumulation = micro_batches(options, kind, runtime.world)

    # 2. On which conversations.
    data = TaskData.of_stage(options, run)
    parts = [parse_part(text) for text in options.mixture or default_mixture]
    mixture = make_mixture(parts, data)
    val_parts = validation_parts(options, parts, default_val_mixture)
    val_mixture = make_mixture(val_parts, data)

    def loader(conversations: Mixture, deal: tuple[int, int], state: LoopState | None) -> ConversationLoader:
        return LOADERS[kind](
            start.tokenizer, conversations, options.device_batch_size, options.max_seq_len,
            device=runtime.device, state=state.loader if state else None, deal=deal,
        )  # fmt: skip

    # 3. The training.
    optimizer = make_optimizer(options, start, runtime, options.init_lr_frac)
    warm = recipe.warm_start if options.load_optimizer is None else options.load_optimizer
    warmed = warm and not start.resumed and warm_start(start, optimizer)
    reader = loader(mixture, (0, 1), None)
    job = make_job(
        options, run, runtime, start, optimizer, lambda _: training_length(options, kind, reader),
        accumulation,
        {
            "device_batch_size": options.device_batch_size, "max_seq_len": options.max_seq_len,
            "total_batch_size": options.total_batch_size, "source": target,
            "mixture": [str(part) for part in parts], "conversations": len(mixture), "rows": kind,
        },
    )  # fmt: skip
    report_start(job, start, {
        "mixture": [f"{part}: {len(task):,}" for part, task in parts_with_tasks(parts, mixture)],
        "conversations": len(mixture), "rows": kind, "grad_accum_steps": accumulation,
        "total_batch_size": options.total_batch_size,
    })  # fmt: skip
    log_mixture(job, options, start, parts, mixture, kind, warm=warm, warmed=warmed)

    # 4. Watched how.
    periodic: list[Periodic] = []
    if len(val_mixture):
        validation = ValidationSet(
            lambda: one_epoch(loader(val_mixture, (0, 1), None)),
            max(1, options.eval_tokens // (options.device_batch_size * options.max_seq_len)),
            torch.tensor(start.tokenizer.token_bytes, device=runtime.device),
        )
        periodic.append(Periodic(options.eval_every, lambda: validation.evaluate(job), at_start=True))
    else:
        run.log("nothing is held out: no bits per byte on the way (--val-mixture names some)")
    chat = ChatValidation(job, chat_tasks(options, run, data), min(32, max(8, options.device_batch_size)))
    if chat.tasks:
        periodic.append(Periodic(options.chatcore_every, lambda: chat.chat_core(partial(max_items, options))))
    periodic.append(Periodic(options.sample_every, chat.sample))

    batches = Prefetcher(loader(mixture, (runtime.rank, runtime.world), job.state))
    try:
        last = job.train(
            batches, lambda: schedule(job, options, recipe), periodic, save_every=options.save_every,
            grad_clip=options.grad_clip,
        )  # fmt: skip
    finally:
        batches.close()
    return job.results(last) | chat.results


def micro_batches(options: ConversationOptions, kind: str, world: int) -> int:
    """Micro-batches of a rank in an optimizer step. Raises `UserError` when they do not fill it exactly."""
    rows = options.device_batch_size
    if kind == "padded":
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


def training_length(options: ConversationOptions, kind: str, reader: ConversationLoader) -> TrainingLength:
    """So many steps as are asked for, else until each conversation has been trained on once."""
    if options.num_iterations > 0:
        return TrainingLength.of_steps(options.num_iterations)
    if kind == "padded":
        steps = reader.size // options.target_examples_per_step
        if not steps:
            raise UserError(
                f"{reader.size} conversations are less than one step of {options.target_examples_per_step}",
                f"give --target-examples-per-step {options.device_batch_size}, or more conversations",
            )
        return TrainingLength.of_steps(steps)
    return TrainingLength(lambda state: reader.progress(state.loader))


def validation_parts(
    options: ConversationOptions, parts: Sequence[Part], default_val_mixture: Sequence[str]
) -> list[Part]:
    """What is held out: as asked for, the stage's own, or what the mixture's tasks have for a test."""
    if options.val_mixture:
        return [parse_part(text) for text in options.val_mixture]
    if not options.mixture:
        return [parse_part(text) for text in default_val_mixture]
    names = {part.name: None for part in parts if part.split != "test"}
    return [Part(name, "test") for name in names if "test" in task_spec(name).splits]


def chat_tasks(options: ConversationOptions, run: StageRun, data: TaskData) -> dict[str, Task]:
    """The tasks judged on the way; those of ChatCORE whose data is not at hand are left out with a line."""
    if options.chatcore_every <= 0:
        return {}

    def left_out(name: str, error: UserError) -> None:
        run.log(f"{name} is not judged during training: {error}")

    return evaluation_tasks(options.chatcore_tasks, data, left_out)


def max_items(options: ConversationOptions, task: Task) -> int:
    """How many items of a task are judged on the way."""
    return options.chatcore_max_cat if task.eval_type == "categorical" else options.chatcore_max_sample


def one_epoch(reader: ConversationLoader) -> Iterator[Tokens]:
    """Batches of rows until each conversation was placed once."""
    while reader.progress(reader.state) < 1:
        yield reader.next_rows()


def schedule(job: Training, options: ConversationOptions, recipe: Recipe) -> None:
    """Sets this step's learning rates and momentum."""
    multiplier = progress_multiplier(
        job.progress, options.warmup_ratio, options.warmdown_ratio, options.final_lr_frac
    )
    job.optimizer.schedule(multiplier, recipe.momentum(job.state.step), options.weight_decay)


def parts_with_tasks(parts: Sequence[Part], mixture: Mixture) -> list[tuple[Part, Task]]:
    """Each part with its task (the first of its epochs)."""
    tasks = iter(mixture.tasks)
    found = []
    for part in parts:
        found.append((part, next(tasks)))
        for _ in range(part.epochs - 1):
            next(tasks)
    return found


def log_mixture(
    job: Training, options: ConversationOptions, start: StartingPoint, parts: Sequence[Part],
    mixture: Mixture, kind: str, *, warm: bool, warmed: bool,
) -> None:  # fmt: skip
    """Lines for people: what is trained on, and how."""
    listed = ", ".join(
        f"{part.name} {len(task):,}" + (f" × {part.epochs}" if part.epochs > 1 else "")
        for part, task in parts_with_tasks(parts, mixture)
    )
    job.run.log(f"{len(mixture):,} conversations: {listed}")
    size = (
        f"{options.target_examples_per_step} conversations"
        if kind == "padded"
        else f"{options.total_batch_size:,} tokens"
    )
    length = f"{job.length.steps:,} steps" if job.length.steps else "one epoch"
    job.run.log(f"{length} of {size} ({job.accumulation} passes), {kind} rows of {options.max_seq_len:,}")
    if warmed:
        job.run.log("the optimizer goes on with its state")
    elif warm and not start.resumed:
        job.run.log(f"{start.checkpoint.path} has no optimizer state: it starts afresh")
