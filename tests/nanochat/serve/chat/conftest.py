"""Fixtures of the chat's tests."""

from collections.abc import Iterator

import pytest
from stub_server import StubServer


@pytest.fixture(scope="session")
def running_stub() -> Iterator[StubServer]:
    """One server for all tests: starting and ending one takes longer than most of them."""
    with StubServer() as server:
        yield server


@pytest.fixture
def stub(running_stub: StubServer) -> StubServer:
    """A server of language models that says what the test tells it to."""
    running_stub.reset()
    return running_stub
