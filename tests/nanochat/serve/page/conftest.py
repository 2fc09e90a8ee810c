"""One server and one browser for all tests of the page."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from page_server import PageServer, page_server

pytest.importorskip("playwright", reason="needs playwright: pip install playwright")
from page_browser import ChatPage, chat_page, chromium
from playwright.async_api import Browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PageServer]:
    async with page_server(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, server: PageServer) -> AsyncIterator[ChatPage]:
    """The page, not loaded yet, so that a test can say first what its models say."""
    server.scripted.scripts.clear()
    server.asked.clear()
    async with chat_page(browser, server.url) as opened:
        yield opened
