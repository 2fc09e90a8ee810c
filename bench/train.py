"""Training speed on this machine: tokens a second, seconds to the first step, peak memory.

    python bench/train.py                      ours against transformers' NanoChat at one classic shape
    python bench/train.py --reference DIR      and against a checkout of karpathy/nanochat at the modern shape
    python bench/train.py --dtype bfloat16 --peer-dtype float32      each in the type it takes by itself
    python bench/train.py --json               end with one JSON document

Contestants are processes of their own that do one step each in turn, so that what else the machine does
meets all alike; CPU ms is processor time over all threads, which other work disturbs less. A step is forward,
backward and optimizer (Muon and AdamW; torch's fused AdamW for transformers) on random tokens, without the
data loader. karpathy/nanochat is compiled whole, as it trains; the others run eagerly unless
--compile is given. Close other work first: the load is printed.
"""

import argparse
import dataclasses
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from parts import steps  # noqa: E402
from parts.worker import Worker, WorkerError  # noqa: E402

PEERS = (("modern", "reference"), ("classic", "transformers"))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--aspect-ratio", type=int, default=64)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--window-pattern", default="L")
    parser.add_argument("--device-batch-size", type=int, default=8)
    parser.add_argument("--total-batch-size", type=int, default=4096)
    parser.add_argument("--steps", type=int, default=11, help="timed steps of each")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's own choice")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument(
        "--peer-dtype", default="", choices=("", "float32", "bfloat16"), help="of the peers; default --dtype"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--compile", action="store_true", help="torch.compile our blocks")
    parser.add_argument("--reference", default="", help="folder of a checkout of karpathy/nanochat")
    parser.add_argument("--only", default="", help="contestants, such as modern,reference")
    parser.add_argument("--json", action="store_true", help="end with one JSON document")
    arguments = parser.parse_args()
    unit = arguments.device_batch_size * arguments.context
    if arguments.total_batch_size % unit:
        parser.error(f"--total-batch-size is not a multiple of {unit} (rows × context)")
    if arguments.reference and not (Path(arguments.reference) / "nanochat/gpt.py").is_file():
        parser.error(f"--reference {arguments.reference}: no nanochat/gpt.py in it")
    return arguments


def contestants(arguments: argparse.Namespace) -> list[str]:
    names = [name for pair in PEERS for name in pair]
    if arguments.only:
        wanted = arguments.only.split(",")
        if unknown := set(wanted) - set(names):
            raise SystemExit(f"--only: unknown {', '.join(sorted(unknown))}; there are {', '.join(names)}")
        names = [name for name in names if name in wanted]
    if not arguments.reference:
        names = [name for name in names if name != "reference"]
    return names


def begin(name: str, shape: steps.Shape, arguments: argparse.Namespace) -> tuple[Worker, dict[str, Any]]:
    """Starts a contestant and has it do its first step."""
    reference = arguments.reference
    if arguments.peer_dtype and name in (peer for _, peer in PEERS):
        shape = dataclasses.replace(shape, dtype=arguments.peer_dtype)
    if name == "reference":
        worker = Worker((str(Path(reference).resolve()),), steps.reference_environment(shape.dtype))
    else:
        worker = Worker()
    return worker, {"dtype": shape.dtype, **worker.call(steps.start, name, shape, time.time())}


def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Starts all, then lets each do a step in turn; figures are medians."""
    shape = steps.Shape(
        depth=arguments.depth,
        context=arguments.context,
        vocab=arguments.vocab,
        head_dim=arguments.head_dim,
        aspect_ratio=arguments.aspect_ratio,
        window_pattern=arguments.window_pattern,
        rows=arguments.device_batch_size,
        accumulation=arguments.total_batch_size // (arguments.device_batch_size * arguments.context),
        dtype=arguments.dtype,
        device=arguments.device,
        threads=arguments.threads,
        compile=arguments.compile,
    )
    workers: dict[str, Worker] = {}
    results: dict[str, dict[str, Any]] = {}
    for name in contestants(arguments):
        try:
            workers[name], results[name] = begin(name, shape, arguments)
        except WorkerError as error:
            print(f"{name}: left out: {error}", file=sys.stderr)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in workers}
    for turn in range(arguments.steps + 2):
        for name, worker in workers.items():
            taken = worker.call(steps.steps, 1)[0]
            if turn >= 2:
                times[name].append(taken)
    for name, worker in workers.items():
        median = statistics.median(wall for wall, _ in times[name])
        rate = shape.tokens / median
        results[name] = {
            "name": name,
            "tok_per_sec": rate,
            "step_seconds": median,
            "cpu_seconds": statistics.median(used for _, used in times[name]),
            "gflops_per_sec": rate * results[name]["flops_per_token"] / 1e9,
            "peak_memory_bytes": worker.call(steps.peak_memory),
            "load": os.getloadavg()[0],
            **results[name],
        }
        worker.close()
    return list(results.values())


def ratios(results: list[dict[str, Any]]) -> dict[str, float]:
    """Our tokens a second over each peer's, at the peer's shape."""
    rates = {result["name"]: result["tok_per_sec"] for result in results}
    return {peer: rates[ours] / rates[peer] for ours, peer in PEERS if ours in rates and peer in rates}


def main() -> None:
    arguments = parse()
    results = measure(arguments)
    if not results:
        raise SystemExit("nothing was measured")
    titles = ("tok/s", "GFLOP/s", "ms/step", "CPU ms", "first step", "memory", "load")
    print(" " * 19 + "".join(title.rjust(11) for title in titles))
    for result in results:
        cells = (
            f"{result['tok_per_sec']:,.0f}",
            f"{result['gflops_per_sec']:,.0f}" if result["gflops_per_sec"] else "",
            f"{1000 * result['step_seconds']:,.0f}",
            f"{1000 * result['cpu_seconds']:,.0f}",
            f"{result['first_step_seconds']:.1f} s",
            f"{result['peak_memory_bytes'] / 1e6:,.0f} MB",
            f"{result['load']:.1f}",
        )
        print(
            f"{result['name']:11}{result['dtype'].replace('float', 'f'):8}"
            + "".join(cell.rjust(11) for cell in cells)
        )
    found = ratios(results)
    for peer, ratio in found.items():
        print(f"{ratio:.2f} × the tokens a second of {'karpathy/nanochat' if peer == 'reference' else peer}")
    if arguments.json:
        print(json.dumps({"results": results, "ratios": found}))


if __name__ == "__main__":
    main()
