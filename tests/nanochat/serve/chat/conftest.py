"""Fixtures of the chat's tests."""

from stub_server import running_stub, stub

__all__ = ["running_stub", "stub"]
