"""One server for all tests of other people's clients."""

from collections.abc import Iterator

import pytest
from served import Served, served


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`nanochat chat_web` with a chat model, a base model and a key."""
    with served(tmp_path_factory.mktemp("served")) as running:
        yield running
