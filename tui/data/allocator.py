"""How the C library gives memory back."""

from __future__ import annotations

import contextlib
import ctypes

_ARENA_MAX, _MMAP_THRESHOLD = -8, -3  # of glibc's malloc.h
_LARGE = 256 * 1024


def give_back_memory() -> None:
    """Has glibc give large blocks back as soon as they are free, and keep one heap for all threads.

    Left to itself it raises its idea of "large" up to 32 MB with the first large block that is freed, and has
    a heap for each worker thread: with a million steps on screen that was 20 MB more. Heaps of their own save
    threads from waiting for each other, but here the interpreter's lock lets one run at a time. Nothing is
    done where the C library is another one.
    """
    with contextlib.suppress(AttributeError, OSError):
        library = ctypes.CDLL(None)
        library.mallopt(_ARENA_MAX, 1)
        library.mallopt(_MMAP_THRESHOLD, _LARGE)
