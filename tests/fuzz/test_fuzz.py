"""The bounded form of `make fuzz`, and that it finds what it looks for."""

import pytest
from fuzz import Found, broken, fuzz, fuzz_all
from readers import Reader

pytestmark = pytest.mark.slow

INPUTS = 15_000


def test_no_reader_of_foreign_bytes_fails_on_broken_inputs() -> None:
    tallies, found = fuzz_all(INPUTS, seed=1)
    assert not found
    assert len(tallies) > 30 and sum(tally.inputs for tally in tallies.values()) >= INPUTS
    assert all(tally.inputs for tally in tallies.values())


def test_a_reader_that_fails_is_found() -> None:
    def fails(raw: bytes) -> None:
        if raw != b"[1, 2]":
            raise KeyError(raw)

    with pytest.raises(Found, match="KeyError"):
        fuzz("failing", Reader(fails, (b"[1, 2]",)), 50, seed=1)


def test_a_reader_that_never_ends_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz.LIMIT", 0.05)

    def hangs(raw: bytes) -> None:
        while raw != b"[1, 2]":
            pass

    with pytest.raises(Found, match="TimeoutError"):
        fuzz("hanging", Reader(hangs, (b"[1, 2]",)), 50, seed=1)


def test_a_reader_that_keeps_what_it_reads_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz.GROWTH", 8 << 20)
    kept = []

    with pytest.raises(Found, match="grew by"):
        fuzz("keeping", Reader(lambda raw: kept.append(bytearray(b"x" * 200_000)), (b"[1, 2]",)), 400, seed=1)


def test_the_same_seed_breaks_the_same_way() -> None:
    import random

    def made(seed: int) -> list[bytes]:
        choose = random.Random(seed)
        return [broken(choose, (b'{"a": 1}',)) for _ in range(100)]

    assert made(3) == made(3) != made(4)
