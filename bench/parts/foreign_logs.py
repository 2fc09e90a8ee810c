"""Logs of other programs, long ones: upstream's console lines, and an offline run that W&B itself writes."""

import os
import subprocess
import sys
from pathlib import Path

HEAD = (
    "Vocab size: 65,536\n"
    "Total batch size 524,288 => gradient accumulation steps: 1\n"
    "Estimated FLOPs per token: 3.491758e+09\n"
)
_WRITER = """
import random, sys
import wandb
steps = int(sys.argv[1])
run = wandb.init(project="nanochat", name="bench", config={"depth": 20, "num_iterations": steps})
for step in range(steps):
    run.log({
        "step": step, "total_training_flops": 1e12 * step, "total_training_time": 0.5 * step,
        "train/loss": 3 + random.random(), "train/lrm": 1.0, "train/dt": random.random(),
        "train/tok_per_sec": 1000 + step, "train/mfu": 50 * random.random(),
        "train/grad_norm": random.random(),
    })
run.finish()
"""


def console_line(step: int, steps: int) -> str:
    """A training line as upstream prints it now."""
    minutes = step * 0.5 / 60
    return (
        f"step {step:05d}/{steps:05d} ({100 * step / steps:.2f}%) | loss: {3 + 1 / (1 + step):.6f} "
        f"| lrm: 1.00 | dt: {500 + step % 7:.2f}ms | tok/sec: {1_048_576 - step % 999:,} | bf16_mfu: 52.31 | "
        f"epoch: 1 pq: {step // 900} rg: {step % 60} | total time: {minutes:.2f}m"
        f" | eta: {(steps - step) / 120:.1f}m\n"
    )


def write_console(path: Path, steps: int, ended: bool = True) -> None:
    """A console log of that many steps, with a validation every 250."""
    with path.open("w", encoding="utf-8") as file:
        file.write(HEAD)
        for step in range(steps):
            if step % 250 == 0:
                file.write(f"Step {step:05d} | Validation bpb: {0.8 + 1 / (1 + step):.6f}\n")
            file.write(console_line(step, steps))
        if ended:
            file.write("Minimum validation bpb: 0.800010\n")


def write_wandb(folder: Path, steps: int) -> Path:
    """The `.wandb` file of an offline run of that many steps with 8 figures each."""
    env = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", _WRITER, str(steps)], check=True, env=env, cwd=folder)
    return next(folder.glob("wandb/offline-run-*/run-*.wandb"))
