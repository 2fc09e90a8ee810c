"""Broken inputs for every reader of foreign bytes: no traceback, no hang, no growth of memory; `make fuzz`.

    python tests/fuzz/fuzz.py [--inputs N] [--seed N] [--reader NAME]

Prints a table with the counts of each reader. Exit code 1 when anything was found: the input is printed as
Python bytes, so that it becomes a test.
"""

import argparse
import contextlib
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

from readers import Reader, readers  # noqa: E402 - found through the line above

LIMIT = 10.0
"""Seconds of one input after which it counts as a hang; a busy machine needs some."""
GROWTH = 64 << 20
"""Bytes by which one reader's inputs may make the process grow, caches included."""
LONGEST = 20_000
TOKENS = (
    b"null",
    b"true",
    b"NaN",
    b"Infinity",
    b"-1",
    b"0",
    b"1e308",
    b"-1e308",
    b"1e999",
    b"9" * 25,
    b"9" * 400,
    b"9" * 5000,
    b'"',
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b"[" * 2000,
    b'{"a":' * 500,
    b",",
    b":",
    b"\n",
    b"\r",
    b"\0",
    b"\x1b[2J",
    b"\x1b]0;x\x07",
    b"\xc2\x9b31m",
    b"\xff\xfe",
    b"\\ud83d",
    b"\xed\xa0\xbd",
    b"\xe2\x80\xae",
    b'""',
    b"[]",
    b"{}",
    b"''",
    b"=",
    b"#",
    b"\xd9\xa3",
    b"0x",
    b"_",
    b"../",
    b"%",
    b"<svg>",
    b"<!--",
    b"*",
    b"@",
    b"--",
)


@dataclass
class Tally:
    """What a reader's inputs came to."""

    inputs: int = 0
    refused: int = 0
    slowest: float = 0.0
    grown: int = 0


class Found(Exception):  # noqa: N818 - what is looked for
    """An input that a reader does not stand."""


def broken(choose: random.Random, seeds: tuple[bytes, ...]) -> bytes:
    """One of the seeds after one to six small changes."""
    raw = bytearray(choose.choice(seeds))
    for _ in range(choose.choice((1, 1, 2, 3, 6))):
        start = choose.randrange(len(raw) + 1)
        end = min(len(raw), start + choose.choice((0, 1, 1, 4, 16, 200)))
        kind = choose.randrange(7)
        if kind == 0:
            raw[start:end] = choose.choice(TOKENS)
        elif kind == 1:
            raw[start:start] = choose.choice(TOKENS)
        elif kind == 2 and raw:
            raw[start % len(raw)] ^= 1 << choose.randrange(8)
        elif kind == 3:
            del raw[start:end]
        elif kind == 4:
            raw[start:start] = raw[choose.randrange(len(raw) + 1) :][:200]
        elif kind == 5:
            raw[start:end] = choose.randbytes(end - start)
        else:
            _replace_value(choose, raw)
    return bytes(raw[:LONGEST])


def _replace_value(choose: random.Random, raw: bytearray) -> None:
    """Another value where a JSON value stands: behind a colon, up to the next comma or bracket."""
    places = [index for index, byte in enumerate(raw) if byte == ord(":")]
    if not places:
        return
    start = choose.choice(places) + 1
    ends = [end for mark in b",}]" if (end := raw.find(mark, start)) >= 0]
    raw[start : min(ends, default=len(raw))] = choose.choice(TOKENS)


def resident() -> int:
    """Bytes that this process holds."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


@contextlib.contextmanager
def alarm() -> Iterator[None]:
    """Raises TimeoutError in what takes longer than LIMIT."""

    def late(_number: int, _frame: object) -> None:
        raise TimeoutError(f"no end within {LIMIT:g} s")

    before = signal.signal(signal.SIGALRM, late)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz(name: str, reader: Reader, inputs: int, seed: int) -> Tally:
    """Feeds `inputs` broken inputs to a reader. Raises `Found` with the input that it does not stand."""
    choose = random.Random(f"{seed}/{name}")
    tally = Tally()
    for whole in reader.seeds:
        with contextlib.suppress(*reader.errors):  # a frame out of order
            reader.read(whole)
    settled = 0
    with alarm():
        for number in range(inputs):
            raw = broken(choose, reader.seeds)
            signal.setitimer(signal.ITIMER_REAL, LIMIT)
            began = time.perf_counter()
            try:
                reader.read(raw)
            except reader.errors:
                tally.refused += 1
            except Exception as error:
                raise Found(f"{name}: {type(error).__name__}: {str(error)[:200]}\n  {raw!r}") from error
            tally.slowest = max(tally.slowest, time.perf_counter() - began)
            tally.inputs += 1
            if number == inputs // 4:
                settled = resident()  # by now caches are as full as they get
    tally.grown = max(0, resident() - settled) if settled else 0
    if tally.grown > GROWTH:
        raise Found(f"{name}: grew by {tally.grown >> 20} MiB over {inputs} inputs")
    return tally


def fuzz_all(
    inputs: int, seed: int, only: str = "", tell: Callable[[str, Tally], None] = lambda name, tally: None
) -> tuple[dict[str, Tally], list[str]]:
    """The tally of every reader that stood, told as it is known, and what was found."""
    chosen = {name: reader for name, reader in readers().items() if only in ("", name)}
    shares = sum(reader.share for reader in chosen.values())
    tallies, found = {}, []
    for name, reader in chosen.items():
        try:
            tallies[name] = fuzz(name, reader, max(1, round(inputs * reader.share / shares) + 1), seed)
        except Found as what:
            found.append(str(what))
        else:
            tell(name, tallies[name])
    return tallies, found


def _print_row(name: str, tally: Tally) -> None:
    slowest, grown = 1000 * tally.slowest, tally.grown / (1 << 20)
    row = f"| {name:<26} | {tally.inputs:>9,} | {tally.refused:>9,} | {slowest:>11.1f} | {grown:>10.1f} |"
    print(row, flush=True)


def main() -> int:
    """Prints the counts; 1 when anything was found."""
    parser = argparse.ArgumentParser(description="Broken inputs for every reader of foreign bytes.")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", default="")
    given = parser.parse_args()
    began = time.monotonic()
    print(f"| {'reader':<26} | {'inputs':>9} | {'refused':>9} | slowest, ms | grown, MiB |")
    print("|---|---|---|---|---|", flush=True)
    tallies, found = fuzz_all(given.inputs, given.seed, given.reader, _print_row)
    total = sum(tally.inputs for tally in tallies.values())
    took = time.monotonic() - began
    print(f"\n{total:,} inputs over {len(tallies)} readers in {took:.0f} s, seed {given.seed}")
    for what in found:
        print(what, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
