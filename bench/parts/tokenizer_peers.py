"""What the bench of tokenizers compares, one package a class; every call runs in a process of its own.

`train` gives tokens in the order of their ids, `encode` ids a document. Nothing here is imported before a
package's own folder stands on the path.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from parts.corpus import read_documents

LONGEST_TOKEN = 1 << 16


class Peer(Protocol):
    """A package: trains, encodes, or both."""

    vocabulary: str
    """"" for any; else the name of the only one it encodes with."""

    def train(self, documents: list[str], vocab_size: int, pattern: str) -> list[bytes]: ...

    def encoder(self, tokens: list[bytes], pattern: str, threads: int) -> Callable[[list[str]], Any]: ...


class Ours:
    vocabulary = ""

    def train(self, documents: list[str], vocab_size: int, pattern: str) -> list[bytes]:
        import rustbpe

        tokenizer = rustbpe.Tokenizer()
        tokenizer.train_from_iterator(iter(documents), vocab_size, pattern=pattern)
        return [token for token, _ in tokenizer.get_mergeable_ranks()]

    def encoder(self, tokens: list[bytes], pattern: str, threads: int) -> Callable[[list[str]], Any]:
        import rustbpe

        ranks = [(token, rank) for rank, token in enumerate(tokens)]
        tokenizer = rustbpe.Tokenizer.from_mergeable_ranks(ranks, pattern)
        return lambda documents: tokenizer.encode_batch_to_numpy(documents, threads)


class RustBpe:
    vocabulary = ""

    def train(self, documents: list[str], vocab_size: int, pattern: str) -> list[bytes]:
        import rustbpe

        tokenizer = rustbpe.Tokenizer()
        tokenizer.train_from_iterator(iter(documents), vocab_size, pattern=pattern)
        return [bytes(token) for token, _ in tokenizer.get_mergeable_ranks()]

    def encoder(self, tokens: list[bytes], pattern: str, threads: int) -> Callable[[list[str]], Any]:
        import rustbpe

        tokenizer = rustbpe.Tokenizer()

        def encode(documents: list[str]) -> list[list[int]]:
            # It encodes only with what it trained itself: the first call, which is not timed, trains.
            if tokenizer.vocab_size < len(tokens):
                tokenizer.train_from_iterator(iter(documents), len(tokens), pattern=pattern)
            if threads == 1:
                return [tokenizer.encode(text) for text in documents]
            lists: list[list[int]] = tokenizer.batch_encode(documents)
            return lists

        return encode


class Tokenizers:
    vocabulary = ""

    def train(self, documents: list[str], vocab_size: int, pattern: str) -> list[bytes]:
        from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
        tokenizer.train_from_iterator(documents, trainer)
        from nanochat.tokenizer.huggingface import byte_alphabet

        of_character = {character: byte for byte, character in enumerate(byte_alphabet())}
        spelled = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
        return [bytes(of_character[character] for character in token) for token, _ in spelled]

    def encoder(self, tokens: list[bytes], pattern: str, threads: int) -> Callable[[list[str]], Any]:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(json.dumps(hugging_face(tokens, pattern)))

        def encode(documents: list[str]) -> list[list[int]]:
            encoded = tokenizer.encode_batch_fast(documents, add_special_tokens=False)
            return [document.ids for document in encoded]

        return encode


class BpEasy:
    vocabulary = ""

    def train(self, documents: list[str], vocab_size: int, pattern: str) -> list[bytes]:
        ranks = importlib.import_module("bpeasy").train_bpe(
            iter(documents), pattern, LONGEST_TOKEN, vocab_size
        )
        return sorted(ranks, key=ranks.__getitem__)

    def encoder(self, tokens: list[bytes], pattern: str, threads: int) -> Callable[[list[str]], Any]:
        raise NotImplementedError("encodes through tiktoken")


class TikToken:
    vocabulary = ""
    package = "tiktoken"

    def train(self, documents: list[str], vocab_size: int, pattern: str) -> list[bytes]:
        raise NotImplementedError("only encodes")

    def encoder(self, tokens: list[bytes], pattern: str, threads: int) -> Callable[[list[str]], Any]:
        ranks = {token: rank for rank, token in enumerate(tokens)}
        encoding = importlib.import_module(self.package).Encoding(
            "bench", pat_str=pattern, mergeable_ranks=ranks, special_tokens={}
        )
        if threads == 1:
            return lambda documents: [encoding.encode_ordinary(text) for text in documents]
        return lambda documents: encoding.encode_ordinary_batch(documents, num_threads=threads)


class TokenDagger(TikToken):
    package = "tokendagger"


class RsBpe:
    vocabulary = "cl100k_base"

    def train(self, documents: list[str], vocab_size: int, pattern: str) -> list[bytes]:
        raise NotImplementedError("only encodes")

    def encoder(self, tokens: list[bytes], pattern: str, threads: int) -> Callable[[list[str]], Any]:
        openai: Any = importlib.import_module("rs_bpe.bpe").openai
        tokenizer = openai.cl100k_base()
        if threads == 1:
            return lambda documents: [tokenizer.encode(text) for text in documents]
        options = openai.ParallelOptions(min_batch_size=2, chunk_size=64, max_threads=threads)
        return lambda documents: tokenizer.encode_batch_parallel(documents, options)[0]


class Kitoken:
    vocabulary = ""

    def train(self, documents: list[str], vocab_size: int, pattern: str) -> list[bytes]:
        raise NotImplementedError("only encodes")

    def encoder(self, tokens: list[bytes], pattern: str, threads: int) -> Callable[[list[str]], Any]:
        data = json.dumps(hugging_face(tokens, pattern)).encode()
        tokenizer: Any = importlib.import_module("kitoken").Kitoken.from_tokenizers(data)
        if threads == 1:
            return lambda documents: [tokenizer.encode(text) for text in documents]
        return lambda documents: tokenizer.encode_all(documents)


PEERS: dict[str, type[Peer]] = {
    "ours": Ours,
    "rustbpe": RustBpe,
    "tokenizers": Tokenizers,
    "bpeasy": BpEasy,
    "tiktoken": TikToken,
    "tokendagger": TokenDagger,
    "rs-bpe": RsBpe,
    "kitoken": Kitoken,
}


def hugging_face(tokens: list[bytes], pattern: str) -> dict[str, Any]:
    """Our tokenizer.json of these tokens, without special tokens."""
    from nanochat.tokenizer.huggingface import tokenizer_json
    from nanochat.tokenizer.tokenizer import Tokenizer

    ranks = {token: rank for rank, token in enumerate(tokens)}
    document = tokenizer_json(Tokenizer(ranks, pattern=pattern))
    document["added_tokens"] = []
    document["post_processor"] = None
    return document


# -- in the process of a peer: results are small, and go through a pipe ---------------------------


def train(peer: str, corpus: Path, vocab_size: int, pattern: str) -> dict[str, Any]:
    """Seconds, bytes of memory above the corpus at the peak, and the tokens."""
    documents = read_documents(corpus)
    before = reset_peak()
    began = time.perf_counter()
    tokens = PEERS[peer]().train(documents, vocab_size, pattern)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "memory": peak() - before, "tokens": tokens}


def encode(
    peer: str, corpus: Path, tokens: list[bytes], pattern: str, threads: int, runs: int
) -> dict[str, Any]:
    """Median seconds of `runs` after one to warm up, memory above the corpus, and a digest a document."""
    documents = read_documents(corpus)
    work = PEERS[peer]().encoder(tokens, pattern, threads)
    before = reset_peak()
    ids, times = work(documents), []
    for _ in range(runs):
        del ids
        began = time.perf_counter()
        ids = work(documents)
        times.append(time.perf_counter() - began)
    memory = peak() - before
    return {"seconds": statistics.median(times), "memory": memory, "digests": digests(ids)}


def cl100k() -> tuple[list[bytes], str]:
    """Tokens and pattern of cl100k_base, from tiktoken's cache or the network."""
    import tiktoken

    try:
        encoding = tiktoken.get_encoding("cl100k_base")
    except OSError as error:
        raise OSError("cl100k_base is not in tiktoken's cache and cannot be fetched") from error
    return encoding.token_byte_values()[: encoding._special_tokens["<|endoftext|>"]], encoding._pat_str


def digests(ids: Any) -> list[bytes]:
    if isinstance(ids, tuple):
        flat, offsets = ids
        lists: Sequence[Any] = [flat[start:end].tolist() for start, end in pairwise(offsets.tolist())]
    else:
        lists = ids
    return [hashlib.sha256(repr(list(document)).encode()).digest()[:8] for document in lists]


def reset_peak() -> int:
    """The memory in use now; from here on `peak` counts (on Linux; elsewhere from the process's start)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return status("VmRSS") or peak()


def peak() -> int:
    """The most memory the process had, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def status(name: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    facts = dict(line.split(":", 1) for line in lines)
    return int(facts[name].split()[0]) * 1024
