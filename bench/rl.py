"""Reinforcement learning from one fine-tuned model, several seeds: the mean reward by step.

    nanochat --no-tui pipeline                        makes the model, about 10 minutes on 2 cores
    python bench/rl.py                                three seeds of 30 steps on Arithmetic
    python bench/rl.py --seeds 1,2,3,4,5 --steps 60 --task SpellingBee --model-tag d12

Runs `nanochat chat_rl` as a user would, one seed after another, and prints for every evaluated step the mean
reward on held-out questions with its standard error, and the reward while training. The last line is one
JSON document.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from nanochat.common.paths import base_dir  # noqa: E402
from nanochat.run.events import read_events  # noqa: E402


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--base-dir", default=None)
    parser.add_argument("--model-tag", default="pipeline")
    parser.add_argument("--tokenizer-dir", default="{base}/pipeline/tokenizer")
    parser.add_argument("--data-dir", default="{base}/pipeline/data")
    parser.add_argument("--task", default="Arithmetic")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--questions", type=int, default=128)
    parser.add_argument("rest", nargs="*", help="more options of chat_rl, after --")
    return parser.parse_args()


def train(arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    """One run; its held-out rewards and those of training, by step."""
    base = base_dir(arguments.base_dir)
    before = set((base / "runs").glob("*-chat_rl-*"))
    command = [
        sys.executable,
        "-m",
        "nanochat",
        "chat_rl",
        f"--base-dir={base}",
        f"--seed={seed}",
        f"--model-tag={arguments.model_tag}",
        f"--out-tag={arguments.model_tag}-seed{seed}",
        f"--tokenizer-dir={arguments.tokenizer_dir}",
        f"--data-dir={arguments.data_dir}",
        f"--task={arguments.task}",
        f"--num-iterations={arguments.steps}",
        f"--eval-every={arguments.every}",
        f"--eval-examples={arguments.questions}",
        "--max-new-tokens=96",
        "--save-every=-1",
        *arguments.rest,
    ]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, encoding="utf-8")
    if done.returncode:
        sys.exit(f"bench/rl.py: seed {seed} failed: {done.stderr.strip().splitlines()[-1]}")
    [run] = set((base / "runs").glob("*-chat_rl-*")) - before
    events = read_events(run / "events.jsonl")[0]
    held = {
        e.step: (e.data["rl/held_out_reward"], e.data["rl/held_out_reward_stderr"])
        for e in events
        if "rl/held_out_reward" in e.data
    }
    reward = [e.data["rl/reward"] for e in events if "rl/reward" in e.data]
    return {"seed": seed, "seconds": time.perf_counter() - began, "held_out": held, "reward": reward}


def main() -> None:
    arguments = parse()
    runs = []
    for seed in map(int, arguments.seeds.split(",")):
        runs.append(train(arguments, seed))
        print(f"seed {seed}: {runs[-1]['seconds']:.0f} s", file=sys.stderr)
    print(f"{arguments.task}: mean reward of {arguments.questions} held-out questions, 8 answers each")
    print(f"{'step':>6}" + "".join(f"{'seed ' + str(run['seed']):>18}" for run in runs) + f"{'mean':>9}")
    for step in runs[0]["held_out"]:
        values = [run["held_out"][step] for run in runs]
        cells = "".join(f"{f'{value:.3f} ± {error:.3f}':>18}" for value, error in values)
        print(f"{step:>6}{cells}{statistics.mean(value for value, _ in values):>9.3f}")
    print("\nreward while training, mean of five steps")
    for first in range(0, arguments.steps, 5):
        cells = "".join(f"{statistics.mean(run['reward'][first : first + 5]):>18.3f}" for run in runs)
        print(f"{f'{first}–{min(first + 4, arguments.steps - 1)}':>6}{cells}")
    print(json.dumps({"task": arguments.task, "runs": runs}))


if __name__ == "__main__":
    main()
