"""Decode throughput beside upstream nanochat's Engine and transformers' NanoChat, on one machine in one run.

    python bench/decode.py                              ours, and transformers' generate if it is installed
    python bench/decode.py --reference ../nanochat      also a checkout of karpathy/nanochat
    python bench/decode.py --threads 1 --rounds 5

Each is a process of its own; rounds take turns, and the best of each counts, so that passing load hits all
alike. Greedy, float32, untrained weights, prompt of 64 tokens. The last line is one JSON document.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROMPT = list(range(1, 65))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--reference", default="", metavar="DIR", help="a checkout of karpathy/nanochat")
    parser.add_argument("--batch-sizes", default="1,8,32")
    parser.add_argument("--tokens", type=int, default=128, help="tokens decoded a row")
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def rates(start: Callable[[int], Iterator[Any]], sizes: list[int]) -> dict[str, float]:
    """Tokens a second by batch size, without the first step, which holds the prefill."""
    found = {}
    for size in sizes:
        for _ in range(2):  # the first is warm-up
            steps = start(size)
            next(steps)
            begun = time.perf_counter()
            count = sum(1 for _ in steps)
            found[str(size)] = size * count / (time.perf_counter() - begun)
    return found


def ours(arguments: argparse.Namespace, sizes: list[int]) -> dict[str, Any]:
    sys.path.insert(0, str(ROOT))
    import nanochat  # noqa: F401 - sets how OpenMP waits, before torch is loaded

    import torch  # isort: skip

    from nanochat.commands.bench import copy_bandwidth
    from nanochat.compute.device import Runtime
    from nanochat.infer.engine import Engine
    from nanochat.infer.sampling import Sampling
    from nanochat.model.architecture import decode_bytes
    from nanochat.model.gpt import build_model
    from nanochat.scaling.horizon import config_from_depth

    torch.set_num_threads(arguments.threads)
    config = config_from_depth(
        arguments.depth, arguments.vocab, arguments.context, head_dim=arguments.head_dim, window_pattern="L"
    )
    model = build_model(config, "cpu")
    model.init_weights(1)
    engine = Engine(model)
    greedy = Sampling(temperature=0)
    found = rates(
        lambda n: engine.generate(PROMPT, samples=n, max_tokens=arguments.tokens, sampling=greedy), sizes
    )
    moved = {str(n): decode_bytes(config, n, len(PROMPT) + arguments.tokens // 2, 4) for n in sizes}
    return {"rates": found, "bytes": moved, "copy": copy_bandwidth(Runtime(model.device, torch.float32))}


def reference(arguments: argparse.Namespace, sizes: list[int]) -> dict[str, Any]:
    sys.path.insert(0, arguments.reference)
    import torch
    from nanochat.gpt import GPT, GPTConfig  # type: ignore[import-not-found,unused-ignore]

    from nanochat.infer.engine import Engine  # type: ignore[import-not-found,attr-defined,unused-ignore]

    torch.set_num_threads(arguments.threads)
    width = arguments.depth * 64
    heads = width // arguments.head_dim
    model = GPT(GPTConfig(arguments.context, arguments.vocab, arguments.depth, heads, heads, width, "L"))
    model.init_weights()

    class NoTokens:
        """No token is special: rows run to their end."""

        def encode_special(self, name: str) -> int:
            return -1

        def get_bos_token_id(self) -> int:
            return -1

    engine = Engine(model, NoTokens())
    tokens = arguments.tokens
    return {"rates": rates(lambda n: engine.generate(PROMPT, n, max_tokens=tokens, temperature=0.0), sizes)}


def peer(arguments: argparse.Namespace, sizes: list[int]) -> dict[str, Any]:
    import torch
    from transformers import NanoChatConfig, NanoChatForCausalLM
    from transformers.generation.streamers import BaseStreamer

    torch.set_num_threads(arguments.threads)
    width = arguments.depth * 64
    heads = width // arguments.head_dim
    config = NanoChatConfig(
        vocab_size=arguments.vocab,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=arguments.depth,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=arguments.context,
    )
    model = NanoChatForCausalLM(config).eval()

    class Clock(BaseStreamer):  # type: ignore[misc,unused-ignore]
        """Notes when the prompt and each token came."""

        def __init__(self) -> None:
            self.times: list[float] = []

        def put(self, value: Any) -> None:
            self.times.append(time.perf_counter())

        def end(self) -> None:
            pass

    found = {}
    for size in sizes:
        ids = torch.tensor([PROMPT] * size)
        for _ in range(2):
            lasts = {"max_new_tokens": arguments.tokens, "min_new_tokens": arguments.tokens}
            if size == 1:
                clock = Clock()
                model.generate(ids, do_sample=False, pad_token_id=0, streamer=clock, **lasts)
                found["1"] = (arguments.tokens - 1) / (clock.times[-1] - clock.times[1])
            else:  # streamers take one row; the prefill is in the figure
                begun = time.perf_counter()
                model.generate(ids, do_sample=False, pad_token_id=0, **lasts)
                found[str(size)] = size * arguments.tokens / (time.perf_counter() - begun)
    return {"rates": found}


def main() -> None:
    """Rounds of every engine in turn, then the table."""
    arguments = parse()
    sizes = [int(size) for size in arguments.batch_sizes.split(",")]
    engines = {"ours": ours, "reference": reference, "transformers": peer}
    if arguments.one:
        print(json.dumps(engines[arguments.one](arguments, sizes)))
        return
    asked = ["ours", *(["reference"] if arguments.reference else []), "transformers"]
    results: dict[str, dict[str, Any]] = {}
    for _ in range(arguments.rounds):
        for name in list(asked):
            environment = os.environ | {
                "OMP_NUM_THREADS": str(arguments.threads),
                "NANOCHAT_DTYPE": "float32",
                "PYTHONPATH": "",
            }
            command = [sys.executable, __file__, *sys.argv[1:], "--one", name]
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, env=environment, encoding="utf-8"
            )
            if done.returncode:
                print(f"{name}: {(done.stderr.strip() or 'ended').splitlines()[-1]}")
                asked.remove(name)
                continue
            fresh = json.loads(done.stdout.splitlines()[-1])
            kept = results.setdefault(name, fresh)["rates"]
            for size, rate in fresh["rates"].items():
                kept[size] = max(kept[size], rate)
    if "ours" not in results:
        raise SystemExit(1)
    copy, moved = results["ours"]["copy"], results["ours"]["bytes"]
    load = os.getloadavg()[0]
    print(f"tokens a second; {arguments.threads} threads, load {load:.1f}, copy {copy / 1e9:.1f} GB/s")
    print(
        f"{'batch':>6} {'ours':>9} {'GB/s':>6} {'MBU %':>6}",
        *(f"{n:>13} {'ratio':>6}" for n in results if n != "ours"),
    )
    for size in map(str, sizes):
        own = results["ours"]["rates"][size]
        through = own / int(size) * moved[size]
        line = f"{size:>6} {own:>9,.0f} {through / 1e9:>6.1f} {100 * through / copy:>6.0f}"
        for name in results:
            if name != "ours":
                rate = results[name]["rates"][size]
                line += f" {rate:>13,.0f} {own / rate:>5.2f}×"
        print(line)
    print(json.dumps({"threads": arguments.threads, "load": load, **results}))


if __name__ == "__main__":
    main()
