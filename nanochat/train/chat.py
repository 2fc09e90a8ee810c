"""What midtraining, fine-tuning and reinforcement learning share: from which checkpoint they start, at what
rates, and how the model is watched on the way."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import torch

from nanochat.checkpoint.files import Checkpoint, find_checkpoint
from nanochat.checkpoint.saver import RetentionPolicy, Saver
from nanochat.checkpoint.weights import check_tokenizer, load_model
from nanochat.common.errors import UserError
from nanochat.compute.device import Runtime
from nanochat.config.chat_options import ChatTrainOptions
from nanochat.evals.chat import ChatEvaluator, GenerationConfig, completion_text
from nanochat.evals.records import Record, accuracy, gather
from nanochat.infer.engine import Engine
from nanochat.infer.sampling import Sampling
from nanochat.infer.scheduler import Request
from nanochat.model.architecture import CLASSIC, flops_per_token, parameter_counts
from nanochat.model.gpt import GPT
from nanochat.run.stage_run import StageRun
from nanochat.tasks import customjson
from nanochat.tasks.base import Task, user
from nanochat.tasks.registry import TaskData
from nanochat.tasks.scoring import chat_core
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.train.loop import Training, TrainingLength
from nanochat.train.loss_scale import LossScale
from nanochat.train.optimizer import LearningRates, MuonAdamW, parameter_groups
from nanochat.train.resume import alert_if_tag_in_use, restore_training, resume_point
from nanochat.train.step import LoopState, prepare_for_training

O = TypeVar("O", bound=ChatTrainOptions)  # noqa: E741 - the conventional single letter

PROMPTS = (
    "Who are you?",
    "Hello! What can you do?",
    "How many r are in strawberry?",
    "What is the capital of France?",
    "Why is the sky blue?",
)
"""What a chat model is asked while it is trained."""
PROMPT_TOKENS = 192


@dataclass(frozen=True)
class Rates:
    """Base learning rates where neither an option nor the checkpoint says."""

    embedding_lr: float
    unembedding_lr: float
    matrix_lr: float
    scalar_lr: float = 0.5


@dataclass(frozen=True)
class StartingPoint:
    """What a stage starts with: the checkpoint of the stage before, or one of its own to go on from."""

    checkpoint: Checkpoint
    resumed: bool
    model: GPT
    tokenizer: Tokenizer
    saver: Saver

    @property
    def before(self) -> Mapping[str, Any]:
        """The options the checkpoint was trained with, sizes of its batch among them."""
        meta = self.checkpoint.meta
        sizes = ("max_seq_len", "device_batch_size", "total_batch_size")
        return {**meta.get("user_config", {}), **{name: meta[name] for name in sizes if name in meta}}


def find_starting_point(
    options: ChatTrainOptions, run: StageRun, runtime: Runtime, source: str, target: str
) -> StartingPoint:
    """Opens the checkpoint to start from: of `source`, or of `target` when the stage goes on.

    Raises `UserError` when there is none: it names the stage to run first.
    """
    ranks = runtime.ranks
    tokenizer = Tokenizer.load(run.layout.tokenizer_dir(options.tokenizer_dir))

    def find() -> tuple[Checkpoint, str, bool]:
        origin = find_checkpoint(run.layout.checkpoints(source), options.model_tag, options.model_step)
        name = options.out_tag or origin.path.parent.name
        found = resume_point(
            run.layout.checkpoints(target) / name, step=options.resume_from_step, newest=options.resume,
            attempt=run.attempt, run_id=run.run_id,
        )  # fmt: skip
        return found or origin, name, found is not None

    checkpoint, name, resumed = ranks.broadcast(find() if ranks.is_main else (None, "", False))
    assert checkpoint is not None
    model = load_model(checkpoint, runtime.device, runtime.dtype)
    check_tokenizer(checkpoint, model.config, tokenizer)
    prepare_for_training(model, runtime, options.compile)
    retention = RetentionPolicy(options.keep_last, best=False)
    saver = Saver(run.layout.checkpoints(target) / name, ranks, retention, ranks.broadcast(run.run_id))
    return StartingPoint(checkpoint, resumed, model, tokenizer, saver)


def resolve(options: O, before: Mapping[str, Any], usual: Mapping[str, Any]) -> O:
    """`options` with every named one that is −1 as it was `before`, else as is `usual`."""
    values = {}
    for name, value in usual.items():
        if getattr(options, name) == -1:
            earlier = before.get(name)
            values[name] = value if earlier is None or earlier == -1 else type(value)(earlier)
    return replace(options, **values)


def make_optimizer(
    options: ChatTrainOptions, start: StartingPoint, runtime: Runtime, part: float
) -> MuonAdamW:
    """The optimizer at `part` of the base rates of resolved `options`; they do not scale with the batch."""
    rates = LearningRates(
        options.embedding_lr, options.unembedding_lr, options.matrix_lr, options.scalar_lr,
        options.weight_decay,
    )  # fmt: skip
    groups = parameter_groups(start.model, rates)
    for group in groups:
        group["lr"] = group["initial_lr"] = group["lr"] * part
    return MuonAdamW(groups, runtime.muon_dtype, runtime.ranks)


def warm_start(start: StartingPoint, optimizer: MuonAdamW) -> bool:
    """Loads the optimizer's state of the checkpoint; False when it has none."""
    names = start.checkpoint.optimizer_files
    if not names:
        return False
    states = [start.checkpoint.tensors(name) for name in names]
    optimizer.load_state_tensors(states, int(start.checkpoint.meta["optimizer_steps"]))
    return True


def make_job(
    options: ChatTrainOptions, run: StageRun, runtime: Runtime, start: StartingPoint, optimizer: MuonAdamW,
    length: Callable[[LoopState], TrainingLength], accumulation: int, own: Mapping[str, Any],
) -> Training:  # fmt: skip
    """The training, from its first step or from where the checkpoint is. `own` goes into metadata."""
    if start.resumed:
        state = restore_training(start.checkpoint, start.tokenizer, optimizer)
        for name, value in own.items():
            saved = start.checkpoint.meta.get(name)
            if name in ("mixture", "conversations") and saved != value:
                raise UserError(
                    f"{start.checkpoint.path} was trained on {saved}, the options give {value}",
                    "give the options it was trained with, or another --out-tag",
                )
    else:
        state = LoopState()
    state.loss_scale = (state.loss_scale or LossScale()) if runtime.dtype == torch.float16 else None
    metadata = {"user_config": asdict(options), **own}
    return Training(
        run, runtime, start.tokenizer, start.model, optimizer, start.saver, state, length(state),
        accumulation, flops_per_token(start.model.config), lambda: metadata,
    )  # fmt: skip


def report_start(job: Training, start: StartingPoint, info: Mapping[str, Any]) -> None:
    """The start in the event log and on the console."""
    run, runtime, config = job.run, job.runtime, job.model.config
    counts = parameter_counts(config)
    said = {
        "params": counts["total"], "flops_per_token": job.flops_per_token, "device": runtime.name,
        "dtype": str(runtime.dtype).removeprefix("torch."), "vocab_size": config.vocab_size,
        "attention": job.model.attention.name, "checkpoint_dir": str(job.saver.tag), "ranks": runtime.world,
        "started_from": str(start.checkpoint.path), **info,
    }  # fmt: skip
    run.start(total_steps=job.length.steps, from_step=job.state.step, info=said)
    kind = "classic" if config.parts == CLASSIC else "modern"
    run.log(
        f"{start.checkpoint.path}: a {kind} model of {config.n_layer} layers, width {config.n_embd}, "
        f"{counts['total']:,} parameters, on {runtime.name} in {said['dtype']}"
    )
    if start.resumed:
        run.log(f"going on from step {start.checkpoint.step} of {start.checkpoint.path}")
    else:
        alert_if_tag_in_use(run, job.saver.tag)


def identity_task(options: ChatTrainOptions, run: StageRun) -> str:
    """The task that says who the model is: the user's own conversations where they are, else generated."""
    own = TaskData.of_stage(options, run).path(options.conversations, customjson.USUAL_NAME)
    return "CustomJSON" if options.conversations or own.is_file() else "Identity"


# -- what is seen of the model on the way ----------------------------------------------------------


class ChatValidation:
    """Judges and samples the model as it is now. Its weights are prepared for decoding once."""

    def __init__(self, job: Training, tasks: Mapping[str, Task], rows: int) -> None:
        self.job, self.tasks, self.rows = job, tasks, rows
        self.evaluator = ChatEvaluator(job.model, job.tokenizer, rows, GenerationConfig(max_new_tokens=256))
        self.results: dict[str, float | int | str] = {}

    def chat_core(self, most: Callable[[Task], int]) -> None:
        """Accuracy on each task's first `most` items (−1: all), ChatCORE where all of its tasks are there."""
        job, runtime = self.job, self.job.runtime
        started = time.perf_counter()
        values: dict[str, float] = {}
        for name, task in self.tasks.items():
            job.check_stop()
            limit = most(task)
            count = len(task) if limit < 0 else min(limit, len(task))
            mine: list[Record] = []
            for batch in self.evaluator.evaluate(name, task, range(runtime.rank, count, runtime.world)):
                mine += batch
                if runtime.world == 1:
                    job.check_stop()
            mean, error = accuracy(gather(mine, runtime.ranks))
            values |= {f"chat/{name}": mean, f"chat/{name}_stderr": error}
        means = chat_core({name: values[f"chat/{name}"] for name in self.tasks})
        values |= {f"chat/{name}": value for name, value in means.items()}
        self.results |= values
        job.run.eval(job.state.step, values)
        shown = ", ".join(
            f"{name.removeprefix('chat/')} {value:.4f}"
            for name, value in values.items()
            if not name.endswith("_stderr")
        )
        job.run.log(f"step {job.state.step:05d} | {shown} | {time.perf_counter() - started:.1f} s")

    def sample(self) -> None:
        """Answers to the fixed prompts, greedy, as events; tools may be called."""
        job = self.job
        job.check_stop()
        if not job.runtime.ranks.is_main:
            return
        prompts = [job.tokenizer.render_for_completion([user(prompt)]) for prompt in PROMPTS]
        for prompt, text in zip(PROMPTS, answers(self.evaluator.engine, job.tokenizer, prompts), strict=True):
            job.run.sample(job.state.step, prompt, text, "greedy")
            job.run.log(f"{prompt} ⟶ {text}")


def answers(engine: Engine, tokenizer: Tokenizer, prompts: Sequence[Sequence[int]]) -> list[str]:
    """The greedy answer to each prompt, tool calls and their results in it."""
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
