"""One server and one browser for all tests of the page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from page_server import PageServer, page_server

if TYPE_CHECKING:
    from page_browser import ChatPage
    from playwright.async_api import Browser

# page_browser is imported where it is used: without playwright it skips whoever imports it.


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A real Chromium."""
    from page_browser import chromium

    async with chromium() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PageServer]:
    """The page's server, over two small models and what tests write for it."""
    async with page_server(tmp_path_factory.mktemp("page")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, server: PageServer) -> AsyncIterator[ChatPage]:
    """The page, not loaded yet, so that a test can say first what its models say."""
    from page_browser import chat_page

    server.scripted.scripts.clear()
    server.asked.clear()
    async with chat_page(browser, server.url) as opened:
        yield opened
