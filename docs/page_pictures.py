"""Takes the pictures of the chat page from a real Chromium: called by make_pictures.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60_000
"""Milliseconds that an answer may take."""
PORT = 8000
"""Stands in the pictures; another one where it is taken."""
SEED = "7"
QUESTIONS = (
    "Who are you?",
    "Ben has 20 books and gets 15 more. How many books does Ben have now?",
    "How many r are in the word strawberry?",
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def take_page(base: Path, out: Path) -> None:
    """Three PNGs of the page over a base directory where the plan `pipeline` has run: light, dark, phone."""
    from playwright.sync_api import sync_playwright

    program = os.environ.get("NANOCHAT_BROWSER") or shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit(
            "the chat page's pictures need Chromium: apt install chromium, or set NANOCHAT_BROWSER"
        )
    with chat_web(base) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        _light(browser, url, out / "page-light.png")
        _dark(browser, url, out / "page-dark.png")
        _phone(browser, url, out / "page-phone.png")
        browser.close()
    sizes = [(out / f"page-{look}.png").stat().st_size for look in ("light", "dark", "phone")]
    print(f"page: 3 pictures, {sum(sizes) // 1024} KB", flush=True)


@contextmanager
def chat_web(base: Path) -> Iterator[str]:
    """A server of the base directory's chat model and base model; its address."""
    words = ["chat_web", "--base-dir", str(base), "--json", "--model", "sft/pipeline,base/pipeline"]
    for port in (PORT, 0):
        server = subprocess.Popen(
            [sys.executable, "-m", "nanochat", *words, "--port", str(port)],
            env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line:
            server.wait()
            continue
        try:
            yield json.loads(line)["url"]
        finally:
            server.terminate()
            server.wait()
        return
    raise SystemExit(f"chat_web does not start over {base}: has the plan `pipeline` run there?")


def _open(browser: Browser, url: str, scheme: str, size: tuple[int, int], scale: int = 1) -> Page:
    viewport = {"width": size[0], "height": size[1]}
    context = browser.new_context(viewport=viewport, color_scheme=scheme, device_scale_factor=scale)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(url)
    page.get_by_label("Model").first.locator("option").first.wait_for(state="attached")
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Seed", exact=True).fill(SEED)
    page.get_by_label("Max tokens", exact=True).fill("100")
    page.get_by_role("button", name="Settings").click()
    page.mouse.move(0, 0)
    return page


def _ask(page: Page, question: str) -> None:
    page.get_by_label("Message", exact=True).fill(question)
    page.get_by_label("Message", exact=True).press("Enter")
    page.wait_for_selector("#send:visible", timeout=PATIENCE)


def _light(browser: Browser, url: str, path: Path) -> None:
    """A conversation with the settings beside it."""
    page = _open(browser, url, "light", (1280, 800))
    for question in QUESTIONS[:2]:
        _ask(page, question)
    page.get_by_role("button", name="Settings").click()
    page.screenshot(path=path)


def _dark(browser: Browser, url: str, path: Path) -> None:
    """Two checkpoints, and the tokens of one with their probabilities."""
    page = _open(browser, url, "dark", (1280, 800))
    page.get_by_role("button", name="Compare").click()
    _ask(page, QUESTIONS[2])
    page.get_by_role("region", name="Pane 2").get_by_role("button", name="Tokens").click()
    page.get_by_role("listbox").focus()
    for _ in range(24):
        page.keyboard.press("ArrowRight")
    page.screenshot(path=path)


def _phone(browser: Browser, url: str, path: Path) -> None:
    """One conversation on a telephone."""
    page = _open(browser, url, "light", (390, 844), 2)
    for question in QUESTIONS[:2]:
        _ask(page, question)
    page.screenshot(path=path)
