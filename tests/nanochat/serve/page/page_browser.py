"""A real Chromium at the page, and what must never happen in it."""

import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

playwright_api = pytest.importorskip(
    "playwright.async_api", reason="needs playwright: pip install playwright"
)
from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright  # noqa: E402

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATIENCE = 15_000
"""Milliseconds that something may take on a busy machine before it counts as not happening."""
SIZES = {"wide": (1280, 800), "phone": (390, 844)}


def find_chromium() -> str:
    """The browser's program; "" where there is none."""
    return os.environ.get("NANOCHAT_BROWSER", "") or next(filter(None, map(shutil.which, NAMES)), "")


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The browser; skips the test where there is none."""
    program = find_chromium()
    if not program:
        pytest.skip("needs Chromium: apt install chromium, or set NANOCHAT_BROWSER to a Chromium's program")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


class ChatPage:
    """The page in a context of its own, as a person uses it."""

    def __init__(self, context: BrowserContext, page: Page, url: str) -> None:
        self.context, self.page, self.url = context, page, url
        self.problems: list[str] = []
        """Errors in the console, broken rules of the content policy among them, and requests to elsewhere."""
        self.expected = "^$"
        """A pattern of console errors that a test provokes: a browser tells each refusal there."""
        self.requests: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.problems.append(f"uncaught: {error}"))
        context.on("request", lambda request: self._on_request(request.url))

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def _on_request(self, url: str) -> None:
        self.requests.append(url)
        parts = urlsplit(url)
        if parts.scheme != "blob" and parts.netloc != urlsplit(self.url).netloc:
            self.problems.append(f"a request to {url}")

    async def open(self, model: str = "") -> "ChatPage":
        """Loads the page, and chooses a model."""
        await self.page.goto(self.url)
        if model:
            await self.choose(model)
        return self

    async def choose(self, model: str, pane: int = 1) -> None:
        await self.pane(pane).get_by_label("Model").select_option(model)

    def pane(self, number: int) -> Locator:
        return self.page.get_by_role("region", name=f"Pane {number}")

    def turn(self, number: int, pane: int = 1) -> Locator:
        return self.pane(pane).get_by_role("article", name=f"Question {number}")

    def answer(self, number: int, pane: int = 1) -> Locator:
        """The text of an answer, without what stands around it."""
        return self.turn(number, pane).locator(".body")

    async def ask(self, text: str, *, wait: bool = True) -> None:
        """Writes a message and sends it; with `wait` until all answers have ended."""
        await self.page.get_by_label("Message", exact=True).fill(text)
        await self.page.get_by_label("Message", exact=True).press("Enter")
        if wait:
            await self.idle()

    async def idle(self) -> None:
        """Waits until nothing is asked any more."""
        await self.page.wait_for_selector("#send:visible", timeout=PATIENCE)

    async def sees(self, locator: Locator, pattern: str) -> str:
        """Waits until the text of an element has a match; returns the text."""
        await playwright_api.expect(locator).to_have_text(re.compile(pattern, re.DOTALL), timeout=PATIENCE)
        return await locator.inner_text()

    async def set(self, label: str, value: str) -> None:
        """Writes into a field of the settings, which are opened."""
        toggle = self.page.get_by_role("button", name="Settings")
        if await toggle.get_attribute("aria-expanded") != "true":
            await toggle.click()
        await self.page.get_by_label(label, exact=True).fill(value)

    async def save(self, name: str, folder: Path, pane: int = 1) -> Path:
        """Saves a log with a button; returns the file."""
        async with self.page.expect_download() as downloading:
            await self.pane(pane).get_by_role("button", name=name).click()
        download = await downloading.value
        path = folder / download.suggested_filename
        await download.save_as(path)
        return path

    def check(self) -> None:
        """Fails when anything happened that must not."""
        unexpected = [problem for problem in self.problems if not re.search(self.expected, problem)]
        assert not unexpected, unexpected


@asynccontextmanager
async def chat_page(
    browser: Browser, url: str, size: str = "wide", **options: Any
) -> AsyncIterator[ChatPage]:
    """The page in a browser that knows nothing yet; fails at the end when something went wrong in it."""
    width, height = SIZES[size]
    context = await browser.new_context(viewport={"width": width, "height": height}, **options)
    context.set_default_timeout(PATIENCE)
    try:
        page = ChatPage(context, await context.new_page(), url)
        yield page
        page.check()
    finally:
        await context.close()
