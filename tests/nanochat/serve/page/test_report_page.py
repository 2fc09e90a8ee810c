"""The page of `nanochat report` in a real browser: light, dark, on a phone, on paper; nothing is loaded."""

import sys
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext

pytest.importorskip("axe_playwright_python", reason="needs axe: pip install axe-playwright-python")
from axe_playwright_python.async_playwright import Axe

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "remote"))
from report_logs import BEGAN, whole

from remote.report.compose import Sources
from remote.report.scope import choose
from remote.report.write import Written, write_report
from remote.store.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    folder = tmp_path_factory.mktemp("page")
    with Store(folder / "control.sqlite") as store:
        whole(store)
        sources = Sources(store.evaluations(), {"box": 24.0}, (), BEGAN)
        return write_report(store, choose(store.runs(), store), sources, folder)


async def opened(browser: Browser, written: Written, **how: object) -> tuple[BrowserContext, list[str]]:
    """A context with the page in it, and what went wrong or was asked for."""
    context = await browser.new_context(java_script_enabled=True, **how)  # type: ignore[arg-type]
    heard: list[str] = []
    page = await context.new_page()
    page.on("console", lambda message: heard.append(message.text))
    page.on("request", lambda request: heard.append(request.url))
    await page.goto(written.html.as_uri())
    assert heard == [written.html.as_uri()]
    return context, heard


@pytest.mark.parametrize(
    ("scheme", "width", "ground"), [("light", 1280, "rgb(250, 251, 252)"), ("dark", 390, "rgb(17, 21, 26)")]
)
async def test_it_is_readable_in_light_and_dark_and_never_wider_than_the_screen(
    browser: Browser, written: Written, scheme: str, width: int, ground: str
) -> None:
    view = {"width": width, "height": 800}
    context, heard = await opened(browser, written, color_scheme=scheme, viewport=view)
    page = context.pages[0]
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
    line = page.locator("figure svg polyline").last
    assert (await line.evaluate("e => getComputedStyle(e).stroke")).startswith("rgb(")
    assert await page.locator("figure svg").count() == 16
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    found = await Axe().run(page, options={"resultTypes": ["violations"]})
    assert not found.response["violations"], found.generate_report()
    await context.close()
    assert len(heard) == 1


async def test_on_paper_it_is_light_and_nothing_is_folded_away(browser: Browser, written: Written) -> None:
    context, _ = await opened(browser, written, color_scheme="dark")
    page = context.pages[0]
    await page.emulate_media(media="print")
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(250, 251, 252)"
    assert await page.locator("details dl").first.is_visible()
    await context.close()
