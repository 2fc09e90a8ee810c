"""Training speed on this machine: tokens a second, seconds to the first step, peak memory.

    python bench/train.py                     the depth-4 setting of docs/training.md, each compute type
    python bench/train.py --threads 1 --json  one thread; the last line is one JSON document

Batches are random tokens: the data loader is not in the figures. Close other work first; the load printed
beside each figure says whether the machine was idle.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--window-pattern", default="L")
    parser.add_argument("--device-batch-size", type=int, default=8)
    parser.add_argument("--total-batch-size", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=15, help="timed steps")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's own choice")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--compile", action="store_true", help="torch.compile each block")
    parser.add_argument("--json", action="store_true", help="end with one JSON document")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(arguments: argparse.Namespace, dtype_name: str) -> dict[str, float | str]:
    """One compute type in this process. Seconds are wall clock, the median of the timed steps."""
    started = time.perf_counter()
    import nanochat  # noqa: F401 - sets how OpenMP waits, before torch is loaded

    import torch  # isort: skip

    from nanochat.dataloader import Batch, LoaderState
    from nanochat.model import build_model
    from nanochat.optim import LearningRates, MuonAdamW, parameter_groups
    from nanochat.runtime import pick_device, setup_runtime
    from nanochat.scaling import config_from_depth, plan_horizon
    from nanochat.trainer import train_step

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    runtime = setup_runtime(pick_device("").type, dtype_name)
    config = config_from_depth(
        arguments.depth, arguments.vocab, arguments.context, head_dim=arguments.head_dim,
        window_pattern=arguments.window_pattern,
    )  # fmt: skip
    plan = plan_horizon(
        config, ratio=12, weight_decay=0.28, iterations=400, total_batch=arguments.total_batch_size,
        head_dim=arguments.head_dim,
    )  # fmt: skip
    model = build_model(config, runtime.device, runtime.dtype)
    model.init_weights(1)
    rates = LearningRates(weight_decay=plan.weight_decay)
    groups = parameter_groups(model, rates, plan.lr_scale, plan.scalar_lr_scale)
    optimizer = MuonAdamW(groups, runtime.dtype)
    if arguments.compile:
        for block in model.blocks:
            block.compile(dynamic=False)
    shape = (arguments.device_batch_size, arguments.context + 1)
    rows = torch.randint(arguments.vocab, shape, device=runtime.device)
    batch = Batch(rows[:, :-1].contiguous(), rows[:, 1:].contiguous(), LoaderState())
    accumulation = arguments.total_batch_size // (arguments.device_batch_size * arguments.context)

    def step() -> float:
        begun = time.perf_counter()
        train_step(model, optimizer, iter([batch] * accumulation), accumulation, lambda: None)
        runtime.synchronize()
        return time.perf_counter() - begun

    step()
    first = time.perf_counter() - started
    for _ in range(3):
        step()
    seconds = sorted(step() for _ in range(arguments.steps))[arguments.steps // 2]
    rate = arguments.total_batch_size / seconds
    return {
        "dtype": dtype_name, "compiled": "yes" if arguments.compile else "no", "device": runtime.name,
        "threads": torch.get_num_threads(), "tok_per_sec": rate, "step_seconds": seconds,
        "gflops_per_sec": rate * plan.flops_per_token / 1e9, "first_step_seconds": first,
        "peak_memory_bytes": runtime.peak_memory(), "load": os.getloadavg()[0],
    }  # fmt: skip


def main() -> None:
    """Each compute type in a fresh process, so that memory and first steps are its own."""
    arguments = parse()
    if arguments.one:
        print(json.dumps(measure(arguments, arguments.one)))
        return
    print(
        f"{'type':10} {'tok/s':>8} {'GFLOP/s':>8} {'ms/step':>8} {'first step':>11} {'memory':>9} {'load':>5}"
    )
    results = []
    for dtype in arguments.dtypes.split(","):
        command = [sys.executable, __file__, *sys.argv[1:], "--one", dtype]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{dtype}: {done.stderr.strip().splitlines()[-1]}")
        result = json.loads(done.stdout.splitlines()[-1])
        results.append(result)
        print(
            f"{dtype:10} {result['tok_per_sec']:8,.0f} {result['gflops_per_sec']:8,.0f} "
            f"{1000 * result['step_seconds']:8,.0f} {result['first_step_seconds']:9.1f} s "
            f"{result['peak_memory_bytes'] / 1e6:6,.0f} MB {result['load']:5.1f}"
        )
    if arguments.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
