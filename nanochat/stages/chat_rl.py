"""Reinforcement learning: answers that turn out right are made likelier (REINFORCE, on-policy)."""

import math
from dataclasses import dataclass, replace

from nanochat.common.errors import UserError
from nanochat.compute.device import setup_runtime
from nanochat.config.chat_options import ChatRlOptions
from nanochat.infer.engine import Engine
from nanochat.infer.scheduler import FinishReason
from nanochat.run.stage_run import StageRun, main
from nanochat.tasks.base import Task, question_text
from nanochat.tasks.registry import TaskData, make_task
from nanochat.train.chat import Rates, find_starting_point, make_job, make_optimizer, report_start, resolve
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
MOMENTUM = 0.95


def run(options: ChatRlOptions, run: StageRun) -> dict[str, float | int | str]:
    """The stage. Results: rl/reward (of the last ten steps), rl/pass@k, steps, tokens, checkpoint …"""
    # 1. Where it runs, from which checkpoint.
    check_sizes(options)
    # Answers are of any length: compiled blocks would be compiled again for each.
    options = replace(options, compile="on" if options.compile == "on" else "off")
    options = resolve(options, {}, vars(RATES))
    runtime = setup_runtime(options.device_type, options.dtype)
    if options.examples_per_step % runtime.world:
        raise UserError(
            f"{options.examples_per_step} questions a step do not part over {runtime.world} processes",
            f"give --examples-per-step {-(-options.examples_per_step // runtime.world) * runtime.world}",
        )
    start = find_starting_point(options, run, runtime, options.source, "rl")

    # 2. On which questions.
    data = TaskData.of_stage(options, run)
    task, held = find_task(options, data, "train"), find_task(options, data, "test")
    steps = options.num_iterations
    if steps <= 0:
        steps = len(task) // options.examples_per_step * options.num_epochs
    if steps <= 0:
        raise UserError(
            f"{options.task} has {len(task)} questions, less than one step of {options.examples_per_step}",
            "give a smaller --examples-per-step",
        )

    # 3. Train.
    optimizer = make_optimizer(options, start, runtime, options.init_lr_frac)
    passes = options.examples_per_step // runtime.world * options.num_samples // options.device_batch_size
    job = make_job(
        options, run, runtime, start, optimizer, lambda _: TrainingLength.of_steps(steps), passes,
        {"source": "rl", "mixture": [f"{options.task}/train"], "conversations": len(task)},
    )  # fmt: skip
    report_start(job, start, {
        "task": options.task, "questions": len(task), "examples_per_step": options.examples_per_step,
        "num_samples": options.num_samples, "grad_accum_steps": passes,
    })  # fmt: skip
    run.log(
        f"{steps:,} steps of {options.examples_per_step} questions × {options.num_samples} answers "
        f"from {options.task} ({len(task):,} questions), the end of an answer "
        + ("trained too" if options.train_eos else "not trained")
    )
    engine = Engine(job.model, job.tokenizer)
    metrics = RolloutMetrics(job, held, engine, options)
    sampling = SamplingConfig(
        options.num_samples, options.max_new_tokens, options.temperature, options.top_k, options.seed,
        options.rollout_rows,
    )  # fmt: skip
    batches = RolloutLoader(
        RolloutGenerator(engine, job.tokenizer, sampling, metrics.between), task,
        questions=options.examples_per_step,
        rows=options.device_batch_size, ranks=runtime.ranks, device=runtime.device, state=job.state.loader,
        on_rollouts=metrics.record, train_eos=options.train_eos,
    )  # fmt: skip
    every = [Periodic(options.eval_every, metrics.evaluate, at_start=True)]
    last = job.train(
        batches, lambda: job.optimizer.schedule(1 - job.progress, MOMENTUM, options.weight_decay), every,
        save_every=options.save_every, grad_clip=options.grad_clip,
    )  # fmt: skip
    return metrics.results() | job.results(last)


def check_sizes(options: ChatRlOptions) -> None:
    if options.num_samples % options.device_batch_size:
        rows = options.device_batch_size
        raise UserError(
            f"{options.num_samples} answers a question are no multiple of {rows} rows",
            f"give --num-samples {-(-options.num_samples // rows) * rows}, or --device-batch-size "
            f"{math.gcd(options.num_samples, rows)}",
        )


def find_task(options: ChatRlOptions, data: TaskData, split: str) -> Task:
    """Questions whose answers can be scored. Raises `UserError` for a task that has none."""
    task = make_task(options.task, data, split)
    if task.eval_type != "generative":
        raise UserError(f"{options.task} is not answered in words that can be scored", "for example GSM8K")
    return task


@dataclass
class RolloutMetrics:
    """Logs the rollouts, and evaluates the model on held-out questions."""

    job: Training
    held: Task
    engine: Engine
    options: ChatRlOptions

    def __post_init__(self) -> None:
        # Judged as the reference does: temperature 1, the 50 likeliest.
        sampling = SamplingConfig(
            self.options.device_batch_size, self.options.max_new_tokens, rows=self.options.rollout_rows
        )
        self._generator = RolloutGenerator(self.engine, self.job.tokenizer, sampling, self.between)
        self._recent: list[float] = []
        self._evaluated: dict[str, float | int | str] = {}

    def between(self) -> None:
        """Between two steps of decoding; several processes stop together, between two steps of training."""
        if self.job.runtime.world == 1:
            self.job.check_stop()

    def record(self, rollouts: list[Rollout]) -> None:
        """The rollouts of a step, of all ranks: their figures, and now and then what was said."""
        run, step = self.job.run, self.job.state.step
        means = [rollout.mean for rollout in rollouts]
        reward, error = mean_and_error(means)
        answers = [answer for rollout in rollouts for answer in rollout.completions]
        self._recent = [*self._recent[-9:], reward]
        finished = sum(answer.finish_reason is FinishReason.STOP for answer in answers)
        values = {
            "rl/reward": reward, "rl/reward_stderr": error,
            "rl/answer_tokens": sum(len(answer.tokens) for answer in answers) / len(answers),
            "rl/finished_fraction": finished / len(answers),
            "rl/mixed_reward_fraction": sum(0 < mean < 1 for mean in means) / len(means),
        }  # fmt: skip
        run.metric(step, values)
        run.log(
            f"step {step:05d} | reward {reward:.3f} ± {error:.3f} | "
            f"{values['rl/answer_tokens']:.0f} tokens an answer | "
            f"{100 * values['rl/finished_fraction']:.0f}% finished"
        )
        if is_multiple(step, self.options.sample_every):
            for rollout in rollouts[:2]:
                rewards = rollout.rewards
                best = rewards.index(max(rewards))
                mode = f"reward {rewards[best]:g}, of {len(rewards)} with mean {rollout.mean:.2f}"
                run.sample(step, question_text(rollout.question), rollout.texts[best], mode)

    def evaluate(self) -> None:
        """pass@k and the mean reward on held-out questions."""
        job, runtime, options = self.job, self.job.runtime, self.options
        job.check_stop()
        count = len(self.held)
        if options.eval_examples > 0:
            count = min(count, options.eval_examples)
        mine = range(runtime.rank, count, runtime.world)
        rollouts = self._generator.generate(self.held, mine, "held out")
        gathered = [
            pair for part in runtime.ranks.gather([(r.index, r.rewards) for r in rollouts]) for pair in part
        ]
        rewards = [answers for _, answers in sorted(gathered)]
        values: dict[str, float] = {}
        for k in range(1, options.device_batch_size + 1):
            values[f"rl/pass@{k}"], values[f"rl/pass@{k}_stderr"] = pass_at(rewards, k)
        mean, error = mean_and_error([sum(answers) / len(answers) for answers in rewards])
        values |= {"rl/held_out_reward": mean, "rl/held_out_reward_stderr": error}
        self._evaluated |= values
        job.run.eval(job.state.step, values)
        first, last = values["rl/pass@1"], values[f"rl/pass@{options.device_batch_size}"]
        job.run.log(
            f"step {job.state.step:05d} | held out: reward {mean:.4f} ± {error:.4f} | pass@1 {first:.4f} | "
            f"pass@{options.device_batch_size} {last:.4f} | {len(rewards)} questions"
        )

    def results(self) -> dict[str, float | int | str]:
        recent = self._recent
        results = {"rl/reward": sum(recent) / len(recent)} if recent else {}
        return results | self._evaluated


if __name__ == "__main__":
    raise SystemExit(main("chat_rl"))
