"""Seconds that CORE takes, beside karpathy/nanochat on the same rows with the same weights.

    python bench/core.py --bundle DIR                       ours alone
    python bench/core.py --bundle DIR --reference DIR       and a checkout of karpathy/nanochat
    python bench/core.py … --json                           end with one JSON document

Both evaluate the first rows of each task after the shuffle with one randomly filled model of the given shape
and one tokenizer, each in a process of its own, one after the other. Only evaluation is timed: reading the
bundle and making the model are not. Results are compared item by item. Close other work first.
"""

import argparse
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from parts import core_cases  # noqa: E402
from parts.steps import reference_environment  # noqa: E402
from parts.worker import Worker  # noqa: E402


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bundle", required=True, help="folder of the CORE bundle")
    parser.add_argument("--tokenizer", required=True, help="folder of upstream nanochat's tokenizer files")
    parser.add_argument("--reference", default="", help="folder of a checkout of karpathy/nanochat")
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--rows", type=int, default=20, help="rows of each task")
    parser.add_argument("--tasks", default="", help="only these, such as copa,piqa")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--threads", type=int, default=0, help="0: torch's own choice")
    parser.add_argument("--json", action="store_true", help="end with one JSON document")
    arguments = parser.parse_args()
    if arguments.reference and not (Path(arguments.reference) / "nanochat/core_eval.py").is_file():
        parser.error(f"--reference {arguments.reference}: no nanochat/core_eval.py in it")
    return arguments


def main() -> None:
    arguments = parse()
    case = core_cases.Case(
        bundle=str(Path(arguments.bundle).resolve()),
        tokenizer=str(Path(arguments.tokenizer).resolve()),
        depth=arguments.depth,
        head_dim=arguments.head_dim,
        context=arguments.context,
        rows=arguments.rows,
        tasks=arguments.tasks,
        dtype=arguments.dtype,
        threads=arguments.threads,
    )
    load = os.getloadavg()[0]
    worker = Worker()
    ours = worker.call(core_cases.ours, case)
    worker.close()
    theirs = {}
    if arguments.reference:
        folder = str(Path(arguments.reference).resolve())
        environment = reference_environment(arguments.dtype) | {"NANOCHAT_BASE_DIR": case.tokenizer}
        worker = Worker((folder,), environment)
        theirs = worker.call(core_cases.reference, case)
        worker.close()
    print(f"{'':36}{'ours':>9}{'reference':>11}{'':>9}{'differ':>8}")
    totals, differing, compared = [0.0, 0.0], 0, 0
    for label, found in ours.items():
        line = f"{label:36}{found['seconds']:7.2f} s"
        totals[0] += found["seconds"]
        if label in theirs:
            other = theirs[label]
            pairs = [p for p in zip(found["correct"], other["correct"], strict=True) if p[1] is not None]
            differ = sum(a != b for a, b in pairs)
            totals[1] += other["seconds"]
            differing, compared = differing + differ, compared + len(pairs)
            line += f"{other['seconds']:9.2f} s{other['seconds'] / found['seconds']:7.1f} ×{differ:8}"
        print(line)
    print(f"{'all':36}{totals[0]:7.2f} s" + (f"{totals[1]:9.2f} s" if theirs else ""))
    result = {"seconds": totals[0], "load": load, "tasks": ours, "reference": theirs}
    if theirs:
        result |= {"reference_seconds": totals[1], "ratio": totals[1] / totals[0], "differ": differing}
        print(
            f"{totals[1] / totals[0]:.2f} × the speed of karpathy/nanochat; {differing} of {compared} "
            f"results differ; load before {load:.1f}"
        )
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
