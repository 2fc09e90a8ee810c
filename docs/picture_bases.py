"""Makes the base directories that the pictures of Evals and Compare are taken over, with our own stages.

Usage: python docs/picture_bases.py PIPELINE --evals DIR --compare DIR --bundle DIR

PIPELINE       a base directory where the plan `pipeline` has run: that of --chat-base
--evals DIR    made as a copy of it, with CORE of two checkpoints, CORE on the way of a third training
               and chat tasks of the later stages
--compare DIR  made with six trainings over its data and tokenizer: three seeds of each of two sizes
--bundle DIR   the CORE bundle, as `nanochat data download --dataset eval-bundle` writes it
About four minutes each on two idle cores. Folders that exist are refused.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ITEMS = 20
"""Of each CORE task where a checkpoint is evaluated."""
ITEMS_ON_THE_WAY = 11
"""Of each CORE task on the way of a training: the fewest that its longest prompts draw examples from."""
PROBLEMS = 60
"""Of each chat task."""
SEEDS = (1, 2, 3)
SMALL = (
    "--head-dim=64", "--max-seq-len=128", "--window-pattern=L", "--device-batch-size=8",
    "--total-batch-size=1024", "--batch-lr-exponent=0.125", "--warmup-steps=10", "--eval-every=20",
    "--eval-tokens=16384", "--sample-every=-1",
)  # fmt: skip
"""Of every training: the batch and context of a model that two cores train in a minute."""


def stage(base: Path, name: str, *words: str) -> None:
    """Runs one stage over the data of the pipeline. Raises SystemExit when it fails."""
    data = (f"--data-dir={base}/pipeline/data", f"--tokenizer-dir={base}/pipeline/tokenizer")
    command = [sys.executable, "-m", "nanochat", name, "--base-dir", str(base), *data, *words]
    print(" ".join(command[2:]), flush=True)
    ended = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    if ended.returncode:
        raise SystemExit(f"{name} failed: see above")


def make_evals(pipeline: Path, base: Path, bundle: Path) -> None:
    """A copy of the pipeline's, with two more trainings: one of the classic era, one with a CORE curve."""
    shutil.copytree(pipeline, base)
    (base / "eval_bundle").unlink(missing_ok=True)
    (base / "eval_bundle").symlink_to(bundle)
    no_core = ("--core-metric-every=-1",)
    stage(
        base, "base_train", *SMALL, *no_core, "--model-tag=classic", "--era=classic", "--depth=2",
        "--num-iterations=200", "--embedding-lr=0.2", "--unembedding-lr=0.004", "--weight-decay=0",
    )  # fmt: skip
    curve = ("--core-metric-every=20", f"--core-metric-max-per-task={ITEMS_ON_THE_WAY}")
    stage(base, "base_train", *SMALL, *curve, "--model-tag=small", "--depth=2", "--num-iterations=80")
    for tag in ("pipeline", "classic"):
        stage(base, "base_eval", "--eval=core", f"--model-tag={tag}", f"--max-per-task={ITEMS}")
    for source in ("mid", "sft", "rl"):
        stage(
            base, "chat_eval", "--offline", f"--source={source}", "--model-tag=pipeline",
            "--task-name=SpellingBee,Arithmetic", f"--max-problems={PROBLEMS}", "--max-new-tokens=192",
        )  # fmt: skip


def make_compare(pipeline: Path, base: Path) -> None:
    """The six trainings, each named by its size and seed."""
    shutil.copytree(pipeline / "pipeline", base / "pipeline")
    for depth in (2, 4):
        for seed in SEEDS:
            name = f"d{depth}-s{seed}"
            stage(
                base, "base_train", *SMALL, f"--run={name}", f"--model-tag={name}", f"--depth={depth}",
                f"--seed={seed}", "--num-iterations=160", "--core-metric-every=-1",
            )  # fmt: skip


def main() -> None:
    """Makes those that are asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pipeline", type=Path, metavar="PIPELINE")
    parser.add_argument("--evals", type=Path, metavar="DIR")
    parser.add_argument("--compare", type=Path, metavar="DIR")
    parser.add_argument("--bundle", type=Path, metavar="DIR")
    given = parser.parse_args()
    if not (given.pipeline / "pipeline" / "tokenizer").is_dir():
        raise SystemExit(f"{given.pipeline} holds no run of the plan `pipeline`")
    for base in filter(None, (given.evals, given.compare)):
        if base.exists():
            raise SystemExit(f"{base} exists: name a new folder")
    if given.evals:
        if given.bundle is None or not (given.bundle / "core.yaml").is_file():
            raise SystemExit("--evals needs --bundle DIR, the folder that holds core.yaml")
        make_evals(given.pipeline.resolve(), given.evals.resolve(), given.bundle.resolve())
    if given.compare:
        make_compare(given.pipeline.resolve(), given.compare.resolve())


if __name__ == "__main__":
    main()
