"""The compiled decoding step refuses what does not fit, before it touches memory."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rustbpe._rustbpe import DecodeKernel

HEADS, DIM, VOCAB, SLOTS = 2, 8, 20, 4
WIDTH = HEADS * DIM


def zeros(*shape: int) -> Any:
    return np.zeros(shape, dtype=np.float32)


def layer(**given: Any) -> Any:
    fields: dict[str, Any] = {
        "qkv": zeros(WIDTH, 3 * WIDTH), "out": zeros(WIDTH, WIDTH), "up": zeros(WIDTH, 4 * WIDTH),
        "down": zeros(4 * WIDTH, WIDTH), "value_table": None, "mix": (1.0, 0.0), "place": (0, 0),
    }  # fmt: skip
    return SimpleNamespace(**(fields | given))


def kernel(*layers: Any, **given: Any) -> DecodeKernel:
    arguments: dict[str, Any] = {
        "heads": HEADS, "kv_heads": HEADS, "dim": DIM, "scale": 1.0, "softcap": 15.0, "mixes": False,
    }  # fmt: skip
    arguments |= given
    return DecodeKernel(zeros(VOCAB, WIDTH), zeros(WIDTH, VOCAB), layers or [layer()], **arguments)


def track(**given: Any) -> Any:
    shape = (1, HEADS, SLOTS, DIM)
    return SimpleNamespace(
        **({"keys": zeros(*shape), "values": zeros(*shape), "end": 0, "starts": [0]} | given)
    )


def step(
    of: DecodeKernel, *, tokens: Any = (1,), positions: Any = (0,), tracks: Any = None, **given: Any
) -> None:
    arguments: dict[str, Any] = {
        "last": zeros(1, WIDTH), "angles": zeros(4, DIM), "logits": zeros(1, VOCAB), "threads": 1,
    }  # fmt: skip
    of.step(list(tokens), list(positions), tracks or [track()], **(arguments | given))


def prompt(**given: Any) -> Any:
    keys, values = [zeros(HEADS, SLOTS, DIM)], [zeros(HEADS, SLOTS, DIM)]
    return SimpleNamespace(**({"start": 0, "count": 1, "keys": keys, "values": values, "last": None} | given))


def read(of: DecodeKernel, *, tokens: Any = (1,), prompts: Any = None, **given: Any) -> None:
    arguments: dict[str, Any] = {
        "windows": [None], "angles": zeros(SLOTS, DIM), "logits": zeros(1, VOCAB), "threads": 1,
    }  # fmt: skip
    of.read(list(tokens), prompts or [prompt()], **(arguments | given))


ONE = zeros(1, HEADS, SLOTS, DIM)
HALF = [zeros(HEADS, SLOTS, DIM)]


def frozen(array: Any) -> Any:
    array.setflags(write=False)
    return array


def test_what_fits_is_computed() -> None:
    logits = np.ones((1, VOCAB), dtype=np.float32)
    step(kernel(), logits=logits)
    assert not logits.any()


def test_a_damaged_matrix_is_heard_of() -> None:
    logits = zeros(1, VOCAB)
    damaged = zeros(WIDTH, 4 * WIDTH)
    damaged[:] = np.nan
    step(kernel(layer(up=damaged)), logits=logits)
    assert np.isnan(logits).all()


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
def test_threads_that_the_system_does_not_give_are_done_without() -> None:
    """A thread needs megabytes of address space, which here are not left."""
    code = """
import resource, sys
sys.path.insert(0, sys.argv[1])
import test_decode_kernel as t
kernel, logits = t.kernel(), t.np.ones((1, t.VOCAB), dtype="float32")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (5 << 20), resource.RLIM_INFINITY))
t.step(kernel, logits=logits, threads=16)
assert not logits.any()
"""
    here = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", code, here], check=True, timeout=60)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"logits": zeros(1, VOCAB - 1)}, "too small"),
        ({"logits": zeros(VOCAB, 2).T[:1]}, "not contiguous"),
        ({"logits": frozen(zeros(1, VOCAB))}, "read-only"),
        ({"tracks": [track(values=zeros(1, HEADS, SLOTS - 1, DIM))]}, "too small"),
        ({"tracks": [track(keys=zeros(1, HEADS, SLOTS, 2 * DIM))]}, "another head"),
        ({"tracks": [track(keys=zeros(HEADS, SLOTS, DIM))]}, "layers, rows, slots, dim"),
        ({"tracks": [track(end=SLOTS)]}, "no slot left"),
        ({"tracks": [track(starts=[1])]}, "begins after its end"),
        ({"tracks": [track(starts=[])]}, "a first slot a row"),
        ({"tokens": [VOCAB]}, "outside the tables"),
        ({"positions": [4]}, "without a rotation"),
        ({"positions": []}, "a position a row"),
        ({"tokens": [1, 2], "positions": [0, 0], "logits": zeros(2, VOCAB)}, "so many rows"),
        ({"tracks": [track(keys=ONE, values=ONE)]}, "the same array"),
    ],
)
def test_arrays_that_do_not_fit_a_step(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        step(kernel(), **given)


def test_a_prompt_that_fits_is_read() -> None:
    logits, hidden = np.ones((1, VOCAB), dtype=np.float32), np.ones((SLOTS, WIDTH), dtype=np.float32)
    read(kernel(), tokens=[1] * SLOTS, prompts=[prompt(count=SLOTS)], logits=logits, hidden=hidden)
    assert not logits.any() and not hidden.any()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"logits": zeros(1, VOCAB - 1)}, "too small"),
        ({"hidden": zeros(1, WIDTH - 1)}, "too small"),
        ({"hidden": frozen(zeros(1, WIDTH))}, "read-only"),
        ({"tokens": [VOCAB]}, "outside the tables"),
        ({"tokens": []}, "tokens of each prompt"),
        ({"tokens": [1, 2]}, "tokens of each prompt"),
        ({"tokens": [], "prompts": [prompt(count=0)]}, "tokens of each prompt"),
        (
            {"prompts": [prompt(count=2), prompt(count=2**64 - 1)], "logits": zeros(2, VOCAB)},
            "tokens of each prompt",
        ),
        ({"windows": []}, "a window a layer"),
        ({"angles": zeros(0, DIM)}, "without a rotation"),
        ({"prompts": [prompt(start=SLOTS)]}, "no slot left"),
        ({"prompts": [prompt(start=2**64 - 1)]}, "no slot left"),
        ({"prompts": [prompt(keys=[])]}, "heads, slots, dim"),
        ({"prompts": [prompt(values=[])]}, "of each layer"),
        ({"prompts": [prompt(values=[zeros(HEADS, SLOTS - 1, DIM)])]}, "heads, slots, dim"),
        ({"prompts": [prompt(keys=[zeros(HEADS + 1, SLOTS, DIM)])]}, "heads, slots, dim"),
        ({"prompts": [prompt(keys=[zeros(SLOTS, HEADS, DIM).transpose(1, 0, 2)])]}, "not contiguous"),
        ({"prompts": [prompt(keys=HALF, values=HALF)]}, "the same array"),
        ({"tokens": [1, 1], "logits": zeros(2, VOCAB), "prompts": [prompt(keys=HALF), prompt(keys=HALF)]},
         "the same array"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_a_reading(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(kernel(), **given)


def test_smear_needs_what_came_before() -> None:
    smearing = kernel(smear=[0.0] * 4)
    for last in (None, zeros(WIDTH - 1)):
        with pytest.raises(ValueError, match=r"last embedding|too small"):
            read(smearing, prompts=[prompt(last=last)])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: kernel(layer(qkv=zeros(WIDTH, 2 * WIDTH))), "too few columns"),
        (lambda: kernel(layer(qkv=zeros(WIDTH + 1, 3 * WIDTH))), "another height"),
        (lambda: kernel(layer(down=zeros(3 * WIDTH, WIDTH))), "do not fit"),
        (lambda: kernel(layer(down=zeros(WIDTH))), "two dimensions"),
        (lambda: kernel(layer(out=zeros(WIDTH, WIDTH + 1))), "give what it takes"),
        (lambda: kernel(layer(qkv=zeros(WIDTH, 4 * WIDTH), value_table=zeros(VOCAB, 3))), "another width"),
        (lambda: kernel(layer(value_table=zeros(VOCAB, WIDTH))), "too few columns"),
        (lambda: kernel(kv_heads=0), "multiple of kv_heads"),
        (lambda: kernel(kv_heads=3), "multiple of kv_heads"),
        (lambda: kernel(smear=[0.0] * 99), "more channels"),
        (lambda: kernel(layer(place=(0, 1))), "no place"),
    ],
)
def test_weights_that_do_not_fit(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        step(make())
