"""Time to the first token of a conversation's tenth turn, with and without the prefix cache, on the engine.

    python bench/prefix_cache.py                        d4, float32, 1,500 tokens of history, 30 new
    python bench/prefix_cache.py --threads 1 --history 6000

Untrained weights, greedy; the best of the rounds counts, in which both take turns. The last line is one JSON
document.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TURNS = 10


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--history", type=int, default=1500, help="tokens before the tenth turn")
    parser.add_argument("--new", type=int, default=30, help="tokens of the tenth message")
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--window-pattern", default="SSSL")
    return parser.parse_args()


def main() -> None:
    """Ten turns a round, on a scheduler of its own each."""
    arguments = parse()
    sys.path.insert(0, str(ROOT))
    import nanochat  # noqa: F401 - sets how OpenMP waits, before torch is loaded

    import torch  # isort: skip

    from nanochat.infer.engine import Engine
    from nanochat.infer.prefix_cache import PrefixCache
    from nanochat.infer.sampling import Sampling
    from nanochat.infer.scheduler import Request, Scheduler
    from nanochat.model.gpt import build_model
    from nanochat.scaling.horizon import config_from_depth

    torch.set_num_threads(arguments.threads)
    config = config_from_depth(
        arguments.depth,
        arguments.vocab,
        arguments.context,
        head_dim=arguments.head_dim,
        window_pattern=arguments.window_pattern,
    )
    model = build_model(config, "cpu")
    model.init_weights(1)
    engine = Engine(model)

    def conversation(scheduler: Scheduler) -> float:
        """Milliseconds to the first token of the tenth turn."""
        sequence: list[int] = []
        share = arguments.history // (TURNS - 1)
        for turn in range(TURNS):
            new = arguments.new if turn == TURNS - 1 else share // 2
            sequence += [(7 * turn + i) % arguments.vocab for i in range(new)]
            answer = share - share // 2
            begun = time.perf_counter()
            scheduler.submit(Request(list(sequence), answer, Sampling(temperature=0)))
            sequence += [token.token for token in scheduler.step()]
            first = 1000 * (time.perf_counter() - begun)
            while scheduler.busy:
                sequence += [token.token for token in scheduler.step()]
        return first

    best = {"without": float("inf"), "with": float("inf")}
    for _ in range(arguments.rounds):
        best["without"] = min(best["without"], conversation(engine.scheduler()))
        cached = engine.scheduler(prefix_cache=PrefixCache(1 << 28))
        best["with"] = min(best["with"], conversation(cached))
    ratio = best["without"] / best["with"]
    load = os.getloadavg()[0]
    print(
        f"{engine.decoder.backend}, {arguments.threads} threads, load {load:.1f}; tenth turn, "
        f"{arguments.history:,} tokens of history, {arguments.new} new: first token after "
        f"{best['without']:.1f} ms without the prefix cache, {best['with']:.1f} ms with it ({ratio:.1f}×)"
    )
    print(json.dumps({"load": load, "ratio": ratio, **best, **vars(arguments)}))


if __name__ == "__main__":
    main()
