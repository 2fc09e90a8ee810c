"""The C library is asked to give memory back, and nothing is asked of one that cannot."""

import ctypes
import platform
from typing import Any

import pytest

from tui.data.allocator import give_back_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt's numbers are glibc's")
def test_glibc_takes_both_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    real, answers = ctypes.CDLL(None), list[int]()

    class Library:
        def mallopt(self, name: int, value: int) -> None:
            answers.append(real.mallopt(name, value))

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Library())
    give_back_memory()
    assert answers == [1, 1]


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: asked.append(name) or object())
    give_back_memory()
    assert asked == [None]
