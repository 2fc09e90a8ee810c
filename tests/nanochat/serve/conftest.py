"""Fixtures of the server's tests."""

from collections.abc import AsyncIterator

import pytest
from api_server import ServedApi


@pytest.fixture
async def api() -> AsyncIterator[ServedApi]:
    """The API over small models, in this process."""
    async with ServedApi() as served:
        yield served
