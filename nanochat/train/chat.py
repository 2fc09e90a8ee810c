"""What midtraining, fine-tuning and reinforcement learning share: the checkpoint they start from, their
rates, and the evaluation of a chat model while it trains."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import torch

from nanochat.checkpoint.files import Checkpoint
from nanochat.checkpoint.in_use import using
from nanochat.checkpoint.saver import RetentionPolicy, Saver
from nanochat.checkpoint.started_from import STARTED_FROM, origin
from nanochat.checkpoint.tokenizer import check_tokenizer, find_tokenizer, tokenizer_files
from nanochat.checkpoint.weights import load_model
from nanochat.common.errors import UserError
from nanochat.compute.device import Runtime
from nanochat.config.chat_options import ChatTrainOptions
from nanochat.evals.chat import ChatEvaluator, GenerationConfig, completion_text
from nanochat.evals.chat_results import chat_figure, with_means
from nanochat.evals.records import Record, gather
from nanochat.evals.results import EVALUATION, EvaluationResult, TaskFigure, checkpoint_name
from nanochat.infer.engine import Engine
from nanochat.infer.sampling import Sampling
from nanochat.infer.scheduler import Request
from nanochat.model.architecture import CLASSIC, flops_per_token, parameter_counts
from nanochat.model.gpt import GPT
from nanochat.run.activity import SAVING
from nanochat.run.first_attempt import replace_before
from nanochat.run.stage_run import StageRun
from nanochat.tasks import customjson
from nanochat.tasks.base import Task, user
from nanochat.tasks.registry import TaskData
from nanochat.tasks.scoring import chat_core
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.train.continuity import alert_if_changed
from nanochat.train.loop import Training, TrainingLength
from nanochat.train.loss_scale import LossScale
from nanochat.train.optimizer import LearningRates, MuonAdamW, parameter_groups
from nanochat.train.resume import forget_best_of_other_data, named_tokenizer, restore_training
from nanochat.train.starting_checkpoint import find_start
from nanochat.train.step import LoopState, prepare_for_training
from nanochat.train.tag import alert_if_tag_in_use, check_steps, claim_tag

O = TypeVar("O", bound=ChatTrainOptions)  # noqa: E741 - the conventional single letter

PROMPTS = (
    "Who are you?",
    "Hello! What can you do?",
    "How many r are in strawberry?",
    "What is the capital of France?",
    "Why is the sky blue?",
)
"""Sampled while a chat model is trained: identity, manners, a tool call, a fact, an explanation."""
PROMPT_TOKENS = 192
"""Longest sampled answer: enough to see a paragraph, short enough that samples take seconds."""
EVAL_TOKENS = 256
"""Longest answer to an item of a generative task while training; chat_eval takes 512."""


@dataclass(frozen=True)
class Rates:
    """Base learning rates where neither an option nor the checkpoint says."""

    embedding_lr: float
    unembedding_lr: float
    matrix_lr: float
    scalar_lr: float = 0.5


@dataclass(frozen=True)
class StartingPoint:
    """What a stage starts with: the checkpoint of the stage before, or one of its own to resume from."""

    checkpoint: Checkpoint
    resumed: bool
    model: GPT
    tokenizer: Tokenizer
    saver: Saver

    @property
    def trained_with(self) -> Mapping[str, Any]:
        """The options the checkpoint was trained with, the sizes of its batch among them."""
        meta = self.checkpoint.meta
        sizes = ("max_seq_len", "device_batch_size", "total_batch_size")
        return {**meta.get("user_config", {}), **{name: meta[name] for name in sizes if name in meta}}


def find_starting_point(
    options: ChatTrainOptions, run: StageRun, runtime: Runtime, source: str, target: str
) -> StartingPoint:
    """Opens the checkpoint to start from: of stage `source`, or of `target` when it resumes.

    Raises `UserError` when there is none, with the stage to run first.
    """
    ranks = runtime.ranks
    # Rank 0 looks and the others follow: while one looks, a checkpoint may appear or vanish.
    found = ranks.broadcast(find_start(options, run, source, target) if ranks.is_main else None)
    assert found is not None
    checkpoint, name, resumed = found
    # Its own checkpoints are for --keep-last to choose from.
    if ranks.is_main and not (resumed and checkpoint.meta.get("run_id") == run.run_id):
        run.hold(using(checkpoint.path, f"run {run.run_id}, which starts from it"))
    claim_tag(run, ranks, run.layout.checkpoints(target) / name)
    tokenizer = find_tokenizer(
        checkpoint, run.layout, named_tokenizer(options, ranks.broadcast(run.attempt), resumed)
    )
    model = load_model(checkpoint, runtime.device, runtime.dtype)
    check_tokenizer(checkpoint, model.config, tokenizer)
    prepare_for_training(model, runtime, options.compile)
    # Not the best by bits per byte as well: a chat model that answers better may have a higher loss.
    retention = RetentionPolicy(options.keep_last, best=False)
    saver = Saver(
        run.layout.checkpoints(target) / name,
        ranks,
        retention,
        ranks.broadcast(run.run_id),
        resumed=checkpoint if resumed else None,
        saving=lambda: run.activity.during(SAVING),
        extra=tokenizer_files(tokenizer),
        replace_before=ranks.broadcast(replace_before(run, options.overwrite)),
    )
    return StartingPoint(checkpoint, resumed, model, tokenizer, saver)


def resolve(options: O, earlier: Mapping[str, Any], defaults: Mapping[str, Any]) -> O:
    """`options` with every one named by `defaults` that is −1 as it was `earlier`, else as the default."""
    values = {}
    for name, default in defaults.items():
        if getattr(options, name) == -1:
            value = earlier.get(name)
            values[name] = default if value is None or value == -1 else type(default)(value)
    return replace(options, **values)


def make_optimizer(
    options: ChatTrainOptions, start: StartingPoint, runtime: Runtime, fraction: float
) -> MuonAdamW:
    """The optimizer at `fraction` of the base rates of resolved `options`, whatever the batch."""
    rates = LearningRates(
        embedding=options.embedding_lr,
        unembedding=options.unembedding_lr,
        matrix=options.matrix_lr,
        scalar=options.scalar_lr,
        weight_decay=options.weight_decay,
    )
    # Upstream's rule: rates of chat stages do not scale with the batch.
    groups = parameter_groups(start.model, rates)
    for group in groups:
        group["lr"] = group["initial_lr"] = group["lr"] * fraction
    return MuonAdamW(groups, runtime.muon_dtype, runtime.ranks)


def warm_start(start: StartingPoint, optimizer: MuonAdamW) -> bool:
    """Loads the checkpoint's optimizer state; False when it has none."""
    names = start.checkpoint.optimizer_files
    if not names:
        return False
    # Momenta are kept, learning rates are not: those of this stage were set with the groups.
    states = [start.checkpoint.tensors(name) for name in names]
    optimizer.load_state_tensors(states, int(start.checkpoint.meta["optimizer_steps"]))
    return True


def make_training(
    options: ChatTrainOptions,
    run: StageRun,
    runtime: Runtime,
    start: StartingPoint,
    optimizer: MuonAdamW,
    *,
    length: TrainingLength,
    accumulation: int,
    batch: str,
    metadata: Mapping[str, Any],
) -> Training:
    """The training, from its first step or from where the checkpoint left it.

    `metadata` goes into checkpoints. Raises `UserError` when a resumed training has other conversations.
    """
    if start.resumed:
        state = restore_training(start.checkpoint, start.tokenizer, optimizer)
        for name in ("mixture", "conversations"):
            saved = start.checkpoint.meta.get(name)
            if saved != metadata[name]:
                raise UserError(
                    f"{start.checkpoint.path} was trained on {saved}, the options give {metadata[name]}",
                    "give the options it was trained with, or another --out-tag",
                )
    else:
        state = LoopState()
    state.loss_scale = (state.loss_scale or LossScale()) if runtime.dtype == torch.float16 else None
    job = Training(
        run=run,
        runtime=runtime,
        tokenizer=start.tokenizer,
        model=start.model,
        optimizer=optimizer,
        saver=start.saver,
        state=state,
        length=length,
        accumulation=accumulation,
        flops_per_token=flops_per_token(start.model.config),
        metadata={
            "user_config": asdict(options),
            STARTED_FROM: origin(start.checkpoint, start.resumed),
            **metadata,
        },
        save_patience=options.save_patience,
        batch=batch,
    )
    forget_best_of_other_data(start.checkpoint if start.resumed else None, metadata["data"], state)
    check_steps(job, options.save_every)
    return job


def report_start(job: Training, start: StartingPoint, info: Mapping[str, Any]) -> None:
    """The start in the event log and on the console."""
    run, runtime, config = job.run, job.runtime, job.model.config
    counts = parameter_counts(config)
    dtype = str(runtime.dtype).removeprefix("torch.")
    facts = {
        "params": counts["total"],
        "flops_per_token": job.flops_per_token,
        "device": runtime.name,
        "dtype": dtype,
        "vocab_size": config.vocab_size,
        "attention": job.model.attention.name,
        "checkpoint_dir": str(job.saver.tag),
        "ranks": runtime.world,
        STARTED_FROM: str(start.checkpoint.path),
        "data": job.metadata["data"],
        "tokenizer_sha256": job.tokenizer.sha256,
        **info,
    }
    run.start(total_steps=job.length.steps, from_step=job.state.step, info=facts)
    era = "classic" if config.parts == CLASSIC else "modern"
    run.log(
        f"{start.checkpoint.path}: a {era} model of {config.n_layer} layers, width {config.n_embd}, "
        f"{counts['total']:,} parameters, on {runtime.name} in {dtype}"
    )
    if start.resumed:
        run.log(f"resuming from step {start.checkpoint.step} of {start.checkpoint.path}")
        alert_if_changed(job, start.checkpoint)
    else:
        alert_if_tag_in_use(run, job.saver.tag)


def identity_task(options: ChatTrainOptions, run: StageRun) -> str:
    """The task that says who the model is: the user's own conversations if there are any, else generated."""
    own = TaskData.of_stage(options, run).path(options.conversations, customjson.DEFAULT_NAME)
    return "CustomJSON" if options.conversations or own.is_file() else "Identity"


# -- evaluation during training --------------------------------------------------------------------


class ChatValidation:
    """Evaluates and samples the model as it is now. Its weights are prepared for decoding once."""

    def __init__(self, job: Training, tasks: Mapping[str, Task], rows: int) -> None:
        self.job, self.tasks = job, tasks
        self.evaluator = ChatEvaluator(
            job.model, job.tokenizer, rows, GenerationConfig(max_new_tokens=EVAL_TOKENS)
        )
        self.results: dict[str, float | int | str] = {}

    def chat_core(self, max_items: Callable[[Task], int]) -> None:
        """Accuracy on each task's first `max_items` (−1: all); ChatCORE where all of its tasks are there."""
        job = self.job
        started = time.perf_counter()
        values: dict[str, float] = {}
        figures: dict[str, TaskFigure] = {}
        limits = {name: max_items(task) for name, task in self.tasks.items()}
        for name, task in self.tasks.items():
            job.check_stop()
            count = len(task) if limits[name] < 0 else min(limits[name], len(task))
            figures[name] = chat_figure(name, self._records(name, task, count))
            values[f"chat/{name}"] = figures[name].accuracy
            values[f"chat/{name}_stderr"] = figures[name].stderr or 0.0
        means = chat_core({name: figure.accuracy for name, figure in figures.items()})
        values |= {f"chat/{name}": value for name, value in means.items()}
        self.results |= values
        told = with_means(replace(self._told(limits.values()), tasks=figures), means)
        job.run.eval(job.state.step, {**values, EVALUATION: told.as_json()})
        job.record_eval(values, log=False)
        shown = ", ".join(
            f"{name.removeprefix('chat/')} {value:.4f}"
            for name, value in values.items()
            if not name.endswith("_stderr")
        )
        job.run.log(f"step {job.state.step:05d} | {shown} | {time.perf_counter() - started:.1f} s")

    def _told(self, limits: Iterable[int]) -> EvaluationResult:
        """What the event says is measured. Items are not kept."""
        job, generation = self.job, self.evaluator.generation
        settings = {
            "max_problems": told_limit(limits),
            "temperature": generation.temperature,
            "max_new_tokens": generation.max_new_tokens,
            "num_samples": generation.samples,
            "dtype": str(job.runtime.dtype).removeprefix("torch."),
        }
        step = job.state.step
        checkpoint = checkpoint_name(str(job.saver.tag / f"step_{step}"))
        return EvaluationResult(checkpoint, step, "chat", settings, run=job.run.run_id, complete=True)

    def _records(self, name: str, task: Task, count: int) -> list[Record]:
        """Of the first `count` items of a task, sharded over ranks."""
        job, runtime = self.job, self.job.runtime
        local: list[Record] = []
        for records in self.evaluator.evaluate(name, task, range(runtime.rank, count, runtime.world)):
            local += records
            if runtime.world == 1:
                job.check_stop()
        return gather(local, runtime.ranks)

    def sample(self) -> None:
        """Greedy answers to the fixed prompts, as sample events; tools may be called."""
        job = self.job
        job.check_stop()
        if not job.runtime.ranks.is_main:
            return
        prompts = [job.tokenizer.render_for_completion([user(prompt)]) for prompt in PROMPTS]
        texts = greedy_answers(self.evaluator.engine, job.tokenizer, prompts)
        for prompt, text in zip(PROMPTS, texts, strict=True):
            job.run.sample(job.state.step, prompt, text, "greedy")
            job.run.log(f"{prompt} ⟶ {text}")


def told_limit(limits: Iterable[int]) -> int | str:
    """The limit on items as `chat_eval` tells its own: a number (−1: all). Of tasks with several, a text."""
    several = sorted({*limits})
    return several[0] if len(several) == 1 else ", ".join(map(str, several))


def greedy_answers(engine: Engine, tokenizer: Tokenizer, prompts: Sequence[Sequence[int]]) -> list[str]:
    """The greedy answer to each prompt, with tool calls and their results."""
    requests = [
        Request(
            prompt,
            PROMPT_TOKENS,
            Sampling(0.0),
            stop=tokenizer.answer_ends,
            calculator=engine.calculator,
        )
        for prompt in prompts
    ]
    return [completion_text(tokenizer, samples[0]) for samples in engine.complete(requests)]
