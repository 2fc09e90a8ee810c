"""Fixtures of the chat's tests."""

from collections.abc import Iterator

import pytest
from stub_server import StubServer


@pytest.fixture
def stub() -> Iterator[StubServer]:
    """A server of language models that says what the test tells it to."""
    with StubServer() as server:
        yield server
