"""Our tokenizer and every other one that can be installed, over the same text, as one Markdown table.

Each training and each encoding runs in a process of its own that has read the corpus beforehand: seconds are
those of the work alone, memory is what it needs above the corpus at its peak. Everyone encodes with the
vocabulary that ours trains at the second size (rs-bpe with cl100k, which is all it knows, beside ours with
cl100k). A package that cannot be installed or asked has a row that says why.

Usage: python bench/tokenizer.py [CORPUS] [--vocab-size 8192 32768 65536] [--runs 3] [--only NAME …]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from parts import tokenizer_peers as peers
from parts.corpus import ROOT, default_corpus, processor, read_documents
from parts.packages import MissingError, folder_of
from parts.worker import Worker, WorkerError

PACKAGES = {
    "rustbpe": ("0.1.0", "rustbpe"),
    "tokenizers": ("0.23.3", "tokenizers"),
    "bpeasy": ("0.1.6", "bpeasy"),
    "tiktoken": ("0.14.0", "tiktoken"),
    "tokendagger": ("0.1.1", "tokendagger"),
    "rs-bpe": ("0.1.0", "rs_bpe"),
    "kitoken": ("0.11.1", "kitoken"),
}
"""Version and module of each."""
THREADS = (1, 2)


class Bench:
    """Asks each package in turn; what ours gives first is what the others are compared with."""

    def __init__(self, corpus: Path, runs: int) -> None:
        from nanochat.tokenizer.tokenizer import SPLIT_PATTERN

        self.corpus, self.runs, self.pattern = corpus, runs, SPLIT_PATTERN
        documents = read_documents(corpus)
        self.documents = len(documents)
        self.megabytes = sum(len(text.encode()) for text in documents) / 1e6
        self.trained: dict[int, dict[str, Any]] = {}
        self.encoded: dict[tuple[str, int], dict[str, Any]] = {}

    def ask(self, name: str, threads: int, what: str, *arguments: Any) -> Any:
        """The answer of a fresh process. Raises `MissingError` and `WorkerError`."""
        paths: tuple[str, ...] = (str(ROOT),)
        if name != "ours":
            version, module = PACKAGES[name]
            paths = (*folder_of(name, version, module, ROOT / ".cache" / "tokenizers"), *paths)
        # What takes no number of threads takes rayon's.
        environment = {"RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
        worker = Worker(paths, environment)
        try:
            return worker.call(getattr(peers, what), *arguments, timeout=1800)
        finally:
            worker.close()

    def train(self, name: str, vocab_size: int) -> tuple[str, str, str]:
        """MB/s, MB, and how the vocabulary compares."""
        threads = os.cpu_count() or 1
        found = self.ask(name, threads, "train", name, self.corpus, vocab_size, self.pattern)
        ours = self.trained.setdefault(vocab_size, found)
        speed = f"{self.megabytes / found['seconds']:.3g} ({found['seconds'] / ours['seconds']:.1f}×)"
        return speed, f"{found['memory'] / 1e6:.0f}", same_tokens(found["tokens"], ours["tokens"])

    def encode(self, name: str, threads: int, vocab_size: int) -> tuple[str, str, str]:
        """MB/s, MB, and how the ids compare."""
        vocabulary = peers.PEERS[name].vocabulary
        found = self.encoding(name, threads, vocabulary, vocab_size)
        speed, memory = f"{self.megabytes / found['seconds']:.3g}", f"{found['memory'] / 1e6:.0f}"
        with_its = f" (with {vocabulary})" if vocabulary else ""
        try:
            ours = self.encoding("ours", threads, vocabulary, vocab_size)
        except WorkerError as error:
            return speed, memory, f"not compared{with_its}: {error}"
        equal = sum(one == other for one, other in zip(found["digests"], ours["digests"], strict=True))
        told = "all equal" if equal == self.documents else f"{equal:,} of {self.documents:,} documents equal"
        return f"{speed} ({found['seconds'] / ours['seconds']:.1f}×)", memory, told + with_its

    def encoding(self, name: str, threads: int, vocabulary: str, vocab_size: int) -> dict[str, Any]:
        key = (f"{name} {vocabulary}", threads)
        if key not in self.encoded:
            tokens, pattern = self.trained[vocab_size]["tokens"], self.pattern
            if vocabulary and name == "ours":
                tokens, pattern = self.ask("ours", threads, vocabulary.removesuffix("_base"))
            asked = (name, self.corpus, tokens, pattern, threads, self.runs)
            self.encoded[key] = self.ask(name, threads, "encode", *asked)
        return self.encoded[key]


def same_tokens(theirs: list[bytes], ours: list[bytes]) -> str:
    if theirs == ours:
        return "equal"
    shared = len(set(theirs) & set(ours))
    if shared == len(ours) == len(theirs):
        return "same tokens, other ids"
    return f"{shared / len(ours):.2%} of the tokens"


def rows(bench: Bench, names: list[str], sizes: list[int]) -> Iterator[tuple[str, ...]]:
    """What, package, MB/s (time of ours = 1×), MB, equality."""
    jobs: list[tuple[str, Callable[[str], tuple[str, str, str]]]]
    jobs = [(f"train {size:,}", partial(bench.train, vocab_size=size)) for size in sizes]
    chosen = sizes[min(1, len(sizes) - 1)]
    for threads in THREADS:
        what = f"encode {chosen:,}, {threads} thread{'s'[: threads - 1]}"
        jobs.append((what, partial(bench.encode, threads=threads, vocab_size=chosen)))
    for what, measure in jobs:
        for name in ["ours", *names]:
            try:
                yield (what, name, *measure(name))
            except MissingError as error:
                yield (what, name, "–", "–", f"not installable here: {error}")
            except WorkerError as error:
                text = str(error).removeprefix("NotImplementedError: ")
                yield (what, name, "–", "–", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("corpus", nargs="?", type=Path, default=default_corpus())
    parser.add_argument("--vocab-size", nargs="+", type=int, default=[8192, 32768, 65536])
    parser.add_argument("--runs", type=int, default=3, help="of encoding; training runs once")
    parser.add_argument("--only", nargs="+", choices=[*PACKAGES], default=[*PACKAGES], metavar="NAME")
    options = parser.parse_args()
    bench = Bench(options.corpus, options.runs)
    print(f"{processor()}, {os.cpu_count()} cores; {bench.documents:,} documents, {bench.megabytes:.1f} MB\n")
    print("| | package | MB/s (time, ours = 1×) | MB above the corpus | result, to ours |")
    print("|---|---|---|---|---|")
    for row in rows(bench, options.only, options.vocab_size):
        print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
