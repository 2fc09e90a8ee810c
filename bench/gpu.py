"""Training on one GPU: numbers against float32, tokens a second, MFU, memory against the estimate.

    PYTHONPATH=. python bench/gpu.py                    depths 12 and 20, context 2,048, vocabulary 32,768
    PYTHONPATH=. python bench/gpu.py --reference DIR    and the step of a checkout of karpathy/nanochat
    PYTHONPATH=. python bench/gpu.py --device cpu --depths 2 --context 64 --vocab 512 --rows 2 --modes eager

Runs from a bare checkout: Python 3.11 or newer, PyTorch, pyarrow and tiktoken; no network, no Rust, nothing
installed. Every precision (bf16, fp8), eager and compiled, with every attention kernel that is there; what
is missing or left out for time is said. Ends within --seconds. The last line is one JSON document.
"""

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from parts.worker import Worker, WorkerError  # noqa: E402

WHOLE_STEP_OF_REFERENCE = 90.0
"""Seconds that compiling upstream nanochat's whole model may take, at the least that must be left for it."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--depths", default="12,20")
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--vocab", type=int, default=32_768)
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--aspect-ratio", type=int, default=64)
    parser.add_argument("--rows", type=int, default=32, help="device batch tried first; halved until it fits")
    parser.add_argument("--accumulation", type=int, default=4, help="micro-batches of an optimizer step")
    parser.add_argument("--steps", type=int, default=3, help="timed optimizer steps of a case")
    parser.add_argument("--precisions", default="bf16,fp8")
    parser.add_argument("--modes", default="compiled,eager")
    parser.add_argument("--attention", default="", help="kernels, such as fa3,sdpa; default all there are")
    parser.add_argument("--seconds", type=float, default=450, help="for everything")
    parser.add_argument("--reference", default="", help="folder of a checkout of karpathy/nanochat")
    arguments = parser.parse_args()
    if arguments.reference and not (Path(arguments.reference) / "nanochat/gpt.py").is_file():
        parser.error(f"--reference {arguments.reference}: no nanochat/gpt.py in it")
    try:
        arguments.depths = [int(depth) for depth in arguments.depths.split(",")]
    except ValueError:
        parser.error(f"--depths {arguments.depths}: not whole numbers")
    for name, known in (("precisions", ("bf16", "fp8")), ("modes", ("compiled", "eager"))):
        chosen = getattr(arguments, name).split(",")
        if unknown := [word for word in chosen if word not in known]:
            parser.error(f"--{name}: unknown {unknown[0]}; there are {', '.join(known)}")
        setattr(arguments, name, chosen)
    return arguments


LEAST = 5.0
"""Seconds that must be left for any other case; else what its like took last."""
COLUMNS = (
    ("rows", "rows", 5, ".0f", 1.0),
    ("tok/s", "tok_per_sec", 10, ",.0f", 1.0),
    ("MFU %", "mfu", 7, ".1f", 100.0),
    ("peak GB", "peak_memory_bytes", 9, ".2f", 1e-9),
    ("estimate", "estimate_bytes", 9, ".2f", 1e-9),
    ("first s", "first_step_seconds", 9, ".1f", 1.0),
    ("loss err", "loss_error", 10, ".1e", 1.0),
    ("grad err", "gradient_error", 10, ".1e", 1.0),
)


class Bench:
    """Runs cases in a worker that is replaced when one takes it down, until time is up."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        # nanochat is imported by workers only: a worker of upstream nanochat must not have it.
        self.arguments = arguments
        self.end = time.monotonic() + arguments.seconds
        self.worker: Worker | None = None
        self.took: dict[tuple[str, str], float] = {}
        self.left_out: list[str] = []

    @property
    def left(self) -> float:
        return self.end - time.monotonic()

    def call(self, label: str, name: str, *values: Any) -> Any:
        """The function `name` of `parts.gpu_cases`; None, with a line that says why, where it fails."""
        kind = (name, getattr(values[0], "mode", ""))
        if name != "machine" and self.left < self.took.get(kind, LEAST):
            self.left_out.append(f"{label}: no time left")
            return None
        from parts import gpu_cases

        if self.worker is None or not self.worker.alive:
            self.worker = Worker((str(ROOT), str(ROOT / "bench")))
        began = time.monotonic()
        try:
            return self.worker.call(
                getattr(gpu_cases, name), *values, timeout=max(60.0 * (name == "machine"), self.left)
            )
        except WorkerError as error:
            self.left_out.append(f"{label}: {error}")
            print(f"{label}: {error}", flush=True)
            return None
        finally:
            self.took[kind] = max(self.took.get(kind, LEAST), time.monotonic() - began)

    def reference(self, depth: int, rows: int) -> dict[str, Any] | None:
        """Tokens a second and memory of karpathy/nanochat's step at the same shape."""
        from parts import steps

        label = f"d{depth} karpathy/nanochat"
        if self.left < WHOLE_STEP_OF_REFERENCE and self.arguments.device == "cuda":
            self.left_out.append(f"{label}: no time left")
            return None
        self.close()
        a = self.arguments
        shape = steps.Shape(
            depth=depth,
            context=a.context,
            vocab=a.vocab,
            head_dim=a.head_dim,
            aspect_ratio=a.aspect_ratio,
            window_pattern="SSSL",
            rows=rows,
            accumulation=a.accumulation,
            dtype="bfloat16",
            device=a.device,
            threads=0,
            compile=True,
        )
        worker = Worker((str(Path(a.reference).resolve()),), steps.reference_environment("bfloat16"))
        try:
            first = worker.call(steps.start, "reference", shape, time.time(), timeout=max(1.0, self.left))
            times = worker.call(steps.steps, a.steps + 1, timeout=max(1.0, self.left))[1:]
            memory = worker.call(steps.peak_memory)
        except WorkerError as error:
            self.left_out.append(f"{label}: {error}")
            return None
        finally:
            worker.close()
        seconds = sorted(wall for wall, _ in times)[len(times) // 2]
        return {
            "rows": rows,
            "tok_per_sec": shape.tokens / seconds,
            "step_seconds": seconds,
            "peak_memory_bytes": memory,
            "first_step_seconds": first["first_step_seconds"],
        }

    def close(self) -> None:
        if self.worker is not None:
            self.worker.close()
            self.worker = None


def in_order(machine: dict[str, Any], arguments: argparse.Namespace) -> list[Any]:
    """All cases, those first that answer most: the best kernel compiled, then eager, then other kernels."""
    from parts.gpu_cases import Case

    kernels = machine["attention"]
    if arguments.attention:
        kernels = [name for name in arguments.attention.split(",") if name in machine["attention"]]
    precisions = [p for p in arguments.precisions if p in machine["precisions"]]
    orders = itertools.product(kernels, arguments.modes, precisions, arguments.depths)
    return [Case(depth, precision, mode, kernel) for kernel, mode, precision, depth in orders]


def line(label: str, result: dict[str, Any]) -> str:
    """One row of the table; what a case does not have is left empty."""
    cells = [
        format(factor * result[key], form).rjust(width) if key in result else " " * width
        for _, key, width, form, factor in COLUMNS
    ]
    return f"{label:28}" + "".join(cells)


def main() -> None:
    arguments = parse()
    bench = Bench(arguments)
    try:
        from parts.gpu_cases import Sizes
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error.name} is not installed, and training needs it") from None
    import torch

    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("this machine has no CUDA device; --device cpu runs the same cases at small sizes")
    sizes = Sizes(
        device=arguments.device,
        context=arguments.context,
        vocab=arguments.vocab,
        head_dim=arguments.head_dim,
        aspect_ratio=arguments.aspect_ratio,
        rows=arguments.rows,
        accumulation=arguments.accumulation,
        steps=arguments.steps,
    )
    machine = bench.call("machine", "machine", sizes)
    if machine is None:
        raise SystemExit(bench.left_out[-1])
    print(f"{machine['device']}, PyTorch {machine['torch']}")
    for missing in machine["missing"]:
        print(f"not here: {missing}")
    print(" " * 28 + "".join(title.rjust(width) for title, _, width, _, _ in COLUMNS))
    results: list[dict[str, Any]] = []
    for case in in_order(machine, arguments):
        result = bench.call(case.label, "measured", case, sizes)
        if result is None:
            continue
        results.append({"case": case.label, **vars(case), **result})
        print(line(case.label, result), flush=True)
        first = sum(r["depth"] == case.depth for r in results) == 1
        if arguments.reference and first and (theirs := bench.reference(case.depth, result["rows"])):
            ratio = result["tok_per_sec"] / theirs["tok_per_sec"]
            results.append(
                {"case": f"d{case.depth} karpathy/nanochat", "depth": case.depth, "ratio": ratio, **theirs}
            )
            print(line(results[-1]["case"], theirs) + f"  ours {ratio:.2f} ×", flush=True)
    bench.close()
    for reason in bench.left_out:
        print(f"left out: {reason}")
    print(json.dumps({"machine": machine, "results": results, "left_out": bench.left_out}))


if __name__ == "__main__":
    main()
