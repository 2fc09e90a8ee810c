"""BPE training and encoding: ours against PyPI's rustbpe 0.1.0 and tiktoken, on the same text, in turns.

Each package works in a process of its own that has read the corpus beforehand; runs alternate, one process
at a time, and the median counts. Encoding is compared into arrays, counted only, and into lists. Throughput
is UTF-8 megabytes of text a second. Vocabularies and ids must be equal, or there is no table.

Usage: python bench/bpe.py [CORPUS] [--vocab-size 4096 32768] [--runs 5] [--peer DIR] [--json]
CORPUS is a folder of parquet shards or of text files; by default the measured corpus of the shared data
where it is there, else the running Python's standard library.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from parts.corpus import default_corpus, processor, read_documents

ROOT = Path(__file__).resolve().parent.parent
WORKER = "--worker"


def serve(folder: Path) -> None:
    """A worker: answers each line of JSON on stdin with what it measured, until stdin ends."""
    from nanochat.tokenizer.tokenizer import SPLIT_PATTERN

    documents = read_documents(folder)
    answer({"documents": len(documents), "bytes": sum(len(text.encode()) for text in documents)})
    work = Work(documents, SPLIT_PATTERN)
    for line in sys.stdin:
        ask = json.loads(line)
        answer(getattr(work, ask.pop("do"))(**ask))


def answer(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)


class Work:
    """What a worker can be asked for. Each method returns seconds and a digest of the result."""

    def __init__(self, documents: list[str], pattern: str) -> None:
        self.documents, self.pattern = documents, pattern
        self.tokenizer: Any = None
        self.encoding: Any = None

    def train(self, vocab_size: int) -> dict[str, Any]:
        import rustbpe

        self.tokenizer = rustbpe.Tokenizer()
        began = time.perf_counter()
        self.tokenizer.train_from_iterator(iter(self.documents), vocab_size, pattern=self.pattern)
        seconds = time.perf_counter() - began
        ranks = [(bytes(token), rank) for token, rank in self.tokenizer.get_mergeable_ranks()]
        return {"seconds": seconds, "digest": digest(ranks)}

    def encode(self, by: str) -> dict[str, Any]:
        """Encodes everything with the tokenizer trained last; the digest says whether ids are equal."""
        work = self._encoders()[by]
        began = time.perf_counter()
        ids = work()
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "digest": digest(as_lists(ids))}

    def _encoders(self) -> dict[str, Callable[[], Any]]:
        import tiktoken

        if self.encoding is None:
            ranks = {bytes(token): rank for token, rank in self.tokenizer.get_mergeable_ranks()}
            self.encoding = tiktoken.Encoding(
                "bench", pat_str=self.pattern, mergeable_ranks=ranks, special_tokens={}
            )
        cores = os.cpu_count() or 1
        return {
            "rustbpe": lambda: [self.tokenizer.encode(text) for text in self.documents],
            "rustbpe batch": lambda: self.tokenizer.batch_encode(self.documents),
            "rustbpe arrays, 1 thread": lambda: self.tokenizer.encode_batch_to_numpy(self.documents, 1),
            "rustbpe arrays, 2 threads": lambda: self.tokenizer.encode_batch_to_numpy(self.documents, 2),
            "rustbpe count, 1 thread": lambda: self.tokenizer.count_batch(self.documents, 1),
            "rustbpe count, 2 threads": lambda: self.tokenizer.count_batch(self.documents, 2),
            "tiktoken": lambda: [self.encoding.encode_ordinary(text) for text in self.documents],
            "tiktoken batch": lambda: self.encoding.encode_ordinary_batch(self.documents, num_threads=cores),
            "tiktoken, 2 threads": lambda: self.encoding.encode_ordinary_batch(self.documents, num_threads=2),
            "tiktoken count": lambda: [len(self.encoding.encode_ordinary(text)) for text in self.documents],
            "tiktoken count, 2 threads": lambda: list(
                map(len, self.encoding.encode_ordinary_batch(self.documents, num_threads=2))
            ),
        }


def as_lists(result: Any) -> list[Any]:
    """Ids of each document, or counts, from arrays or from lists."""
    if isinstance(result, tuple):
        ids, offsets = result
        return [ids[start:end].tolist() for start, end in pairwise(offsets.tolist())]
    lists: list[Any] = result if isinstance(result, list) else result.tolist()
    return lists


def digest(result: object) -> str:
    return hashlib.sha256(repr(result).encode()).hexdigest()


class Worker:
    """A process of ours or the peer's that has read the corpus."""

    def __init__(self, package: Path, corpus: Path) -> None:
        # The package stands before the checkout, so that `rustbpe` is the one that is measured.
        search = os.pathsep.join(map(str, (package, ROOT)))
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(corpus), WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": search},
            encoding="utf-8",
        )
        self.read = self._answer()

    def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(json.dumps({"do": do, **arguments}), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("bench/bpe.py: a worker died; its own words are above")
        document: dict[str, Any] = json.loads(line)
        return document

    def close(self) -> None:
        self._process.communicate()


def in_turns(runs: int, contestants: Mapping[str, Callable[[], dict[str, Any]]]) -> dict[str, float]:
    """Median seconds of each contestant. Raises SystemExit when their results differ."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    digests = set()
    for _ in range(runs):
        for name, measure in contestants.items():
            result = measure()
            seconds[name].append(result["seconds"])
            digests.add(result["digest"])
    if len(digests) > 1:
        raise SystemExit(f"bench/bpe.py: {' and '.join(contestants)} give different results: no comparison")
    return {name: statistics.median(times) for name, times in seconds.items()}


ENCODINGS = (
    ("encode {} to arrays, 1 thread", " arrays, 1 thread", ""),
    ("encode {} to arrays, 2 threads", " arrays, 2 threads", ", 2 threads"),
    ("count {}, 1 thread", " count, 1 thread", " count"),
    ("count {}, 2 threads", " count, 2 threads", " count, 2 threads"),
    ("encode {} to lists, one by one", "", ""),
    ("encode {} to lists, in a batch", " batch", " batch"),
)
"""What is compared, and our and tiktoken's way of it."""


def measure(ours: Worker, peer: Worker, vocab_sizes: list[int], runs: int) -> list[dict[str, Any]]:
    """One row a comparison: what, the two names and their median seconds."""
    rows = []
    for vocab_size in vocab_sizes:
        contestants = {
            "ours": partial(ours.ask, "train", vocab_size=vocab_size),
            "rustbpe 0.1.0": partial(peer.ask, "train", vocab_size=vocab_size),
        }
        rows.append({"what": f"train {vocab_size:,}", **versus(in_turns(runs, contestants))})
    last = f"{vocab_sizes[-1]:,}"
    for what, by, peer_by in ENCODINGS:
        contestants = {
            "ours": partial(ours.ask, "encode", by="rustbpe" + by),
            "tiktoken": partial(ours.ask, "encode", by="tiktoken" + peer_by),
        }
        rows.append({"what": what.format(last), **versus(in_turns(runs, contestants))})
    contestants = {
        "ours": partial(ours.ask, "encode", by="rustbpe batch"),
        "rustbpe 0.1.0": partial(peer.ask, "encode", by="rustbpe batch"),
    }
    rows.append({"what": f"encode {last} to lists, in a batch", **versus(in_turns(runs, contestants))})
    return rows


def versus(seconds: dict[str, float]) -> dict[str, Any]:
    (_, ours), (name, theirs) = seconds.items()
    return {"ours_s": ours, "peer": name, "peer_s": theirs, "ratio": theirs / ours}


def print_table(rows: list[dict[str, Any]], read: dict[str, Any], corpus: Path, runs: int) -> None:
    megabytes = read["bytes"] / 1e6
    print(f"{processor()}; ", end="")
    print(f"{corpus}: {read['documents']:,} documents, {megabytes:.1f} MB; {os.cpu_count()} cores; ", end="")
    print(f"median of {runs} runs in turns; results equal")
    print(f"{'':34} {'ours':>16} {'peer':>16}  {'':14} {'ratio':>6}")
    for row in rows:
        cells = [f"{row[side]:6.2f} s {megabytes / row[side]:5.0f} MB/s" for side in ("ours_s", "peer_s")]
        print(f"{row['what']:34} {cells[0]:>16} {cells[1]:>16}  {row['peer']:14} {row['ratio']:5.1f}×")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("corpus", nargs="?", type=Path, default=default_corpus())
    parser.add_argument("--vocab-size", nargs="+", type=int, default=[4096, 32768])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peer", type=Path, help="folder that holds PyPI's rustbpe 0.1.0")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument(WORKER, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        serve(options.corpus)
        return
    sys.path.insert(0, str(ROOT / "tests" / "rustbpe"))
    from peer_package import PeerUnavailableError, peer_folder

    try:
        folder = options.peer or peer_folder()
    except PeerUnavailableError as error:
        raise SystemExit(f"bench/bpe.py: {error}; give its folder with --peer") from error
    ours, peer = Worker(ROOT, options.corpus), Worker(folder, options.corpus)
    try:
        rows = measure(ours, peer, options.vocab_size, options.runs)
    finally:
        ours.close()
        peer.close()
    print_table(rows, ours.read, options.corpus, options.runs)
    if options.json:
        print(json.dumps({"corpus": ours.read, "cores": os.cpu_count(), "runs": options.runs, "rows": rows}))


if __name__ == "__main__":
    main()
