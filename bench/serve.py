"""The server's speed: beside the engine without one, beside `transformers serve`, and over many turns.

    python bench/serve.py                                  all tables, about four minutes
    python bench/serve.py --peer-python ~/hf/bin/python    a Python with `pip install transformers[serving]`
    python bench/serve.py --only tenth --json              one part; end with one JSON document
    python bench/serve.py --soak 10                        ten minutes of 50 clients that come and go

An untrained model of depth 4 in float32 on 2 threads; prompts of 64 tokens, answers of 256, greedy, streamed.
Clients are processes that read bytes and ask again as soon as an answer has ended. The engine alone decodes
the same prompts while the same clients read the same bytes, at the times they came from the server, from a
stub. Rounds take turns, and the best of each counts. Close other work first.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from parts import serve_cases  # noqa: E402

PARTS = ("engine", "peer", "tenth")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="of engine,peer,tenth")
    parser.add_argument("--clients", default="1,8,32", help="clients that stream at a time")
    parser.add_argument("--tokens", type=int, default=256, help="tokens of an answer")
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--head-dim", type=int, default=64)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--era", default="classic", choices=("classic", "modern"), help="the peer: classic")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer-python", default=sys.executable, metavar="PATH")
    parser.add_argument("--soak", type=float, default=0, metavar="MINUTES", help="only this")
    parser.add_argument("--soak-clients", type=int, default=50)
    parser.add_argument("--json", action="store_true", help="end with one JSON document")
    arguments = parser.parse_args()
    if unknown := set(arguments.only.split(",")) - set(PARTS):
        parser.error(f"--only {arguments.only}: no part '{sorted(unknown)[0]}'")
    return arguments


def main() -> None:
    arguments = parse()
    case = serve_cases.Case(
        depth=arguments.depth,
        head_dim=arguments.head_dim,
        context=arguments.context,
        vocab=arguments.vocab,
        era=arguments.era,
        prompt_tokens=arguments.prompt_tokens,
        tokens=arguments.tokens,
        clients=tuple(int(count) for count in arguments.clients.split(",")),
        threads=arguments.threads,
        rounds=arguments.rounds,
        peer_python=arguments.peer_python,
    )
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-serve-") as folder:
        bench = serve_cases.Bench(case, Path(folder))
        try:
            if arguments.soak:
                result = bench.soak(60 * arguments.soak, arguments.soak_clients)
            else:
                result = bench.speed(arguments.only.split(","))
        finally:
            bench.close()
    result |= {"load": load, "cpu": serve_cases.cpu_flags()}
    print(f"instructions {' '.join(result['cpu']) or 'unknown'}; load before {load:.1f}")
    if arguments.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
