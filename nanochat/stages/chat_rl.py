"""Reinforcement learning: answers that turn out right are made likelier (REINFORCE, on-policy).

The gradient estimator is Williams's (Machine Learning 8, 1992) with the mean reward of a question's answers
as its baseline; see `nanochat.train.rollouts`.
"""

import contextlib
import math
from dataclasses import replace

from nanochat.common.errors import UserError
from nanochat.compute.device import Runtime, setup_runtime
from nanochat.config.chat_options import ChatRlOptions
from nanochat.infer.engine import Engine
from nanochat.infer.scheduler import FinishReason
from nanochat.run.stage_run import StageRun, main
from nanochat.tasks.base import Task, question_text
from nanochat.tasks.fingerprint import tasks_fingerprint
from nanochat.tasks.registry import TaskData, make_task
from nanochat.train.chat import (
    Rates,
    find_starting_point,
    make_optimizer,
    make_training,
    report_start,
    resolve,
)
from nanochat.train.loop import Periodic, Training, TrainingLength, is_multiple
from nanochat.train.rollouts import (
    Rollout,
    RolloutGenerator,
    RolloutLoader,
    SamplingConfig,
    mean_and_error,
    pass_at,
)

RATES = Rates(0.2, 0.004, 0.02)
"""Base rates, those of upstream nanochat: of the classic era, whose stage this is."""
MOMENTUM = 0.95
"""Muon's, the same at every step, as in upstream nanochat."""
RECENT_STEPS = 10
"""Steps whose mean reward is the stage's result: one step of 16 questions is too noisy."""


def run(options: ChatRlOptions, run: StageRun) -> dict[str, float | int | str]:
    """The stage. Results: rl/reward (of the last ten steps), rl/pass@k, steps, tokens, checkpoint …"""
    # 1. Where it runs, from which checkpoint.
    check_sizes(options)
    # Answers are of any length: compiled blocks would be compiled again for each.
    options = replace(options, compile="on" if options.compile == "on" else "off")
    options = resolve(options, {}, vars(RATES))
    runtime = setup_runtime(options.device_type, options.dtype)
    check_ranks(options, runtime.world)
    start = find_starting_point(options, run, runtime, options.source, "rl")

    # 2. On which questions, and how long.
    data = TaskData.of_stage(options, run)
    task, val_task = find_task(options, data, "train"), find_task(options, data, "test")
    steps = number_of_steps(options, len(task))
    passes = options.examples_per_step // runtime.world * options.num_samples // options.device_batch_size

    # 3. Train: each step answers its questions, scores the answers and learns from them.
    optimizer = make_optimizer(options, start, runtime, options.init_lr_frac)
    job = make_training(
        options,
        run,
        runtime,
        start,
        optimizer,
        length=TrainingLength.of_steps(steps),
        accumulation=passes,
        batch=f"{options.examples_per_step:,} questions × {options.num_samples:,} answers",
        metadata={
            "source": "rl",
            "mixture": [f"{options.task}/train"],
            "conversations": len(task),
            "data": tasks_fingerprint(options.task, [task, val_task]),
        },
    )
    info = {
        "task": options.task,
        "questions": len(task),
        "examples_per_step": options.examples_per_step,
        "num_samples": options.num_samples,
        "grad_accum_steps": passes,
    }
    report_start(job, start, info)
    run.log(
        f"{steps:,} steps of {options.examples_per_step} questions × {options.num_samples} answers "
        f"from {options.task} ({len(task):,} questions), the end of an answer "
        + ("trained too" if options.train_eos else "not trained")
    )
    engine = Engine(job.model, job.tokenizer)
    metrics = RolloutMetrics(job, val_task, engine, options)
    last = job.train(
        rollout_loader(options, job, runtime, engine, task, metrics),
        # The rate falls linearly to 0 from the first step on.
        lambda: job.optimizer.schedule(1 - job.progress, MOMENTUM, options.weight_decay),
        [Periodic(options.eval_every, metrics.evaluate, at_start=True)],  # at 0: what RL starts from
        save_every=options.save_every,
        grad_clip=options.grad_clip,
    )
    return metrics.results() | job.results(last)


def check_sizes(options: ChatRlOptions) -> None:
    """Raises `UserError` unless a question's answers fill whole passes."""
    if options.num_samples % options.device_batch_size:
        rows = options.device_batch_size
        raise UserError(
            f"{options.num_samples} answers a question are no multiple of {rows} rows",
            f"give --num-samples {-(-options.num_samples // rows) * rows}, or --device-batch-size "
            f"{math.gcd(options.num_samples, rows)}",
        )


def check_ranks(options: ChatRlOptions, world: int) -> None:
    """Raises `UserError` unless every rank has the same number of questions."""
    if options.examples_per_step % world:
        raise UserError(
            f"{options.examples_per_step} questions a step do not divide over {world} processes",
            f"give --examples-per-step {-(-options.examples_per_step // world) * world}",
        )


def find_task(options: ChatRlOptions, data: TaskData, split: str) -> Task:
    """Questions whose answers can be scored. Raises `UserError` for a task that has none."""
    task = make_task(options.task, data, split)
    if task.eval_type != "generative":
        raise UserError(f"{options.task} is not answered in words that can be scored", "for example GSM8K")
    return task


def number_of_steps(options: ChatRlOptions, questions: int) -> int:
    """As asked for, else whole epochs. Raises `UserError` for fewer questions than one step takes."""
    if options.num_iterations > 0:
        return options.num_iterations
    steps = questions // options.examples_per_step * options.num_epochs
    if steps <= 0:
        raise UserError(
            f"{options.task} has {questions} questions, less than one step of {options.examples_per_step}",
            "give a smaller --examples-per-step",
        )
    return steps


def rollout_loader(
    options: ChatRlOptions,
    job: Training,
    runtime: Runtime,
    engine: Engine,
    task: Task,
    metrics: "RolloutMetrics",
) -> RolloutLoader:
    """The passes to train on, sampled step by step from the model as it is then."""
    config = SamplingConfig(
        samples=options.num_samples,
        max_tokens=options.max_new_tokens,
        temperature=options.temperature,
        top_k=options.top_k,
        seed=options.seed,
        rows=options.rollout_rows,
    )
    return RolloutLoader(
        RolloutGenerator(engine, job.tokenizer, config, metrics.check_stop, metrics.sampling),
        task,
        questions=options.examples_per_step,
        rows=options.device_batch_size,
        ranks=runtime.ranks,
        device=runtime.device,
        state=job.state.loader,
        on_rollouts=metrics.record,
        train_eos=options.train_eos,
    )


class RolloutMetrics:
    """Logs the rollouts of each step, and evaluates the model on held-out questions."""

    def __init__(self, job: Training, val_task: Task, engine: Engine, options: ChatRlOptions) -> None:
        self.job, self.val_task, self.options = job, val_task, options
        # As upstream nanochat evaluates: as many samples as rows, temperature 1, the 50 likeliest tokens.
        config = SamplingConfig(options.device_batch_size, options.max_new_tokens, rows=options.rollout_rows)
        self._generator = RolloutGenerator(engine, job.tokenizer, config, self.check_stop)
        self._recent: list[float] = []
        self._evaluated: dict[str, float | int | str] = {}

    def check_stop(self) -> None:
        """Between two steps of decoding. Several processes agree to stop between two steps of training."""
        if self.job.runtime.world == 1:
            self.job.check_stop()

    def sampling(self) -> contextlib.AbstractContextManager[None]:
        """Says that several processes sample together, which nobody should break off."""
        return self.job.run.activity.evaluating(self.job.runtime.world)

    def record(self, rollouts: list[Rollout]) -> None:
        """Logs the rollouts of a step, of all ranks, and now and then the best answer to two questions."""
        run, step = self.job.run, self.job.state.step
        means = [rollout.mean for rollout in rollouts]
        reward, error = mean_and_error(means)
        answers = [answer for rollout in rollouts for answer in rollout.completions]
        tokens = sum(len(answer.tokens) for answer in answers) / len(answers)
        finished = sum(answer.finish_reason is FinishReason.STOP for answer in answers) / len(answers)
        self._recent = [*self._recent[1 - RECENT_STEPS :], reward]
        values = {
            "rl/reward": reward,
            "rl/reward_stderr": error,
            "rl/answer_tokens": tokens,
            "rl/finished_fraction": finished,
            # Only these questions teach: with equal rewards all advantages are 0.
            "rl/mixed_reward_fraction": sum(0 < mean < 1 for mean in means) / len(means),
        }
        run.metric(step, values)
        run.log(
            f"step {step:05d} | reward {reward:.3f} ± {error:.3f} | {tokens:.0f} tokens an answer | "
            f"{100 * finished:.0f}% finished"
        )
        if is_multiple(step, self.options.sample_every):
            for rollout in rollouts[:2]:
                rewards = rollout.rewards
                best = rewards.index(max(rewards))
                mode = f"reward {rewards[best]:g}, of {len(rewards)} with mean {rollout.mean:.2f}"
                run.sample(step, question_text(rollout.question), rollout.texts[best], mode)

    def evaluate(self) -> None:
        """pass@k and the mean reward on held-out questions."""
        job, k_max = self.job, self.options.device_batch_size
        job.check_stop()
        rewards = self._validation_rewards()
        values: dict[str, float] = {}
        for k in range(1, k_max + 1):
            values[f"rl/pass@{k}"], values[f"rl/pass@{k}_stderr"] = pass_at(rewards, k)
        mean, error = mean_and_error([sum(answers) / len(answers) for answers in rewards])
        values |= {"rl/held_out_reward": mean, "rl/held_out_reward_stderr": error}
        self._evaluated |= values
        job.record_eval(values)
        job.run.log(
            f"step {job.state.step:05d} | held out: reward {mean:.4f} ± {error:.4f} | "
            f"pass@1 {values['rl/pass@1']:.4f} | pass@{k_max} {values[f'rl/pass@{k_max}']:.4f} | "
            f"{len(rewards)} questions"
        )

    def _validation_rewards(self) -> list[list[float]]:
        """The rewards of each held-out question's answers, in the order of questions, from all ranks."""
        ranks, count = self.job.runtime.ranks, len(self.val_task)
        if self.options.eval_examples > 0:
            count = min(count, self.options.eval_examples)
        rollouts = self._generator.generate(self.val_task, range(ranks.rank, count, ranks.world), "held out")
        gathered = ranks.gather([(rollout.index, rollout.rewards) for rollout in rollouts])
        return [rewards for _, rewards in sorted(pair for part in gathered for pair in part)]

    def results(self) -> dict[str, float | int | str]:
        recent = self._recent
        results: dict[str, float | int | str] = {}
        if recent:
            results["rl/reward"] = sum(recent) / len(recent)
        return results | self._evaluated


if __name__ == "__main__":
    raise SystemExit(main("chat_rl"))
