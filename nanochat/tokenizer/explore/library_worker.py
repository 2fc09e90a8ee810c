"""The process that reads a tokenizer of others with its own library, `tokenizers` or `sentencepiece`.

Both hold the GIL while they load a file, for half a second and more, `tokenizers` (0.23) also while `encode`
runs (findings/tokenizers-encode-holds-the-gil.sh), and a damaged file may end the process they are in. Here
none of it matters: the app talks to it by pipes, see `library_splitter`.

A message is its length and what `marshal` makes of it. The first one is the file; the answers to it are a
header, the vocabulary in parts, and the merges in parts. Then texts come, one request after the other.
"""

import contextlib
import marshal
import resource
import signal
import struct
import sys
from array import array
from collections.abc import Iterator
from typing import IO, Any

from nanochat.tokenizer.explore.libraries import Library

LENGTH = struct.Struct("<Q")
PART = 8_000
"""Tokens in one message: it takes the app a millisecond or two to unpack."""


def send(stream: IO[bytes], content: Any) -> None:
    """Writes one message."""
    packed = marshal.dumps(content)
    stream.write(LENGTH.pack(len(packed)))
    stream.write(packed)
    stream.flush()


def receive(stream: IO[bytes], most: int = 1 << 40) -> Any:
    """Reads one message. Raises EOFError when it does not come whole, or is larger than `most` bytes."""
    header = stream.read(LENGTH.size)
    if len(header) < LENGTH.size:
        raise EOFError
    (length,) = LENGTH.unpack(header)
    content = stream.read(length) if length <= most else b""
    if len(content) < length:
        raise EOFError
    return marshal.loads(content)


def load(kind: str, raw: bytes) -> Library:
    """The tokenizer in a file: `kind` "tokenizers" or "sentencepiece". Raises what the library raises,
    ImportError where it is not installed."""
    if kind == "sentencepiece":
        from nanochat.tokenizer.explore.sentencepiece_library import SentencePiece

        return SentencePiece(raw)
    from nanochat.tokenizer.explore.tokenizers_library import Tokenizers

    return Tokenizers(raw)


def _messages(library: Library) -> Iterator[object]:
    """What is said of a file that was loaded."""
    spelled, tokens = library.spelled, library.tokens
    yield {
        "kind": library.kind,
        "size": len(spelled),
        "specials": library.specials,
        "pattern": library.pattern,
        "no_tree": library.no_tree,
        "added": sorted(library.added),
        "merges": len(library.merges),
    }
    for first in range(0, len(spelled), PART):
        yield spelled[first : first + PART], tokens[first : first + PART]
    for first in range(0, len(library.merges), PART):
        pairs = array("I", [index for pair in library.merges[first : first + PART] for index in pair])
        yield pairs.tobytes()


def _answer(library: Library, request: tuple[str, Any]) -> object:
    what, content = request
    if what == "split":
        ids, ends, note = library.split(content)
        return array("I", ids).tobytes(), array("q", ends).tobytes(), note
    lists = library.encode(content)
    if what == "count_tokens":
        return array("q", [len(ids) for ids in lists]).tobytes()
    counts = array("q", bytes(8 * len(library.spelled)))
    for ids in lists:
        for token in ids:
            counts[token] += 1
    return counts.tobytes()


def _serve(memory: int, seconds: float) -> None:
    with contextlib.suppress(ValueError, OSError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        library = load(*receive(requests))
        messages = list(_messages(library))
    except BaseException as error:  # a panic in Rust is no Exception
        send(answers, f"{type(error).__name__}: {error}"[:2000])
        return
    for message in messages:
        send(answers, message)
    while True:
        try:
            request = receive(requests)
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            answer = _answer(library, request)
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"[:2000]
        signal.setitimer(signal.ITIMER_PROF, 0)
        send(answers, answer)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), float(sys.argv[2]))
