"""The chat page for keys, screen readers and small screens: axe's rules in every look of it, and by hand."""

import asyncio

import pytest
from page_browser import ChatPage, chat_page
from page_server import PageServer, Script, answer, called, ended, said, token
from playwright.async_api import Browser, expect

pytest.importorskip("axe_playwright_python", reason="needs axe: pip install axe-playwright-python")
from axe_playwright_python.async_playwright import Axe

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

RICH = """# Heading
Text with *emphasis*, `code` and [a link](https://example.org/x).

> a quote

1. one
2. two

| a | b |
|---|--:|
| 1 | 2 |

```python
print("a rather long line of code that has to be scrolled sideways on any telephone there is today")
```
"""


async def axe_finds(page: ChatPage) -> list[str]:
    """The rules of axe that the page breaks now, with the elements."""
    results = await Axe().run(page.page)
    return [
        f"{violation['id']}: {node['html'][:120]} {node['failureSummary']}"
        for violation in results.response["violations"]
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize(("scheme", "size"), [("light", "wide"), ("dark", "wide"), ("light", "phone")])
async def test_axe_finds_nothing_in_any_look(
    browser: Browser, server: PageServer, scheme: str, size: str
) -> None:
    server.scripted.scripts.clear()
    unlikely = [token(f" word{at}", -0.3 - at, **{" other": -0.2}) for at in range(6)]
    model = server.script(
        "a",
        Script([said(RICH), called("1+1", "2", len(RICH)), said("done"), ended()]),
        Script([*unlikely, ended()]),
        Script([said("half")]),
    )
    async with chat_page(browser, server.url, size, color_scheme=scheme) as page:
        await page.open(model)
        for _ in range(3):
            await page.ask("A question")
        await page.turn(2).get_by_role("button", name="Tokens").click()
        await page.turn(2).get_by_role("listbox").focus()
        await page.turn(1).get_by_role("button", name="Edit").click()
        found = await axe_finds(page)
        await page.page.get_by_role("button", name="Compare").click()
        await page.page.get_by_role("button", name="Settings").click()
        found += await axe_finds(page)
        assert found == []
        overflow = "() => document.documentElement.scrollWidth - innerWidth"
        assert await page.page.evaluate(overflow) <= 0
        assert await page.page.evaluate("() => getComputedStyle(document.body).colorScheme") == "light dark"


async def test_axe_finds_nothing_in_the_question_for_a_key(browser: Browser, server: PageServer) -> None:
    async with chat_page(browser, server.locked_url, "phone") as page:
        page.expected = "401"
        await page.open()
        await expect(page.page.get_by_role("textbox", name="API key")).to_be_focused()
        assert await axe_finds(page) == []
        await page.page.keyboard.press("Escape")
        await page.sees(page.page.locator("#problem"), "the server asks for an API key")


async def test_axe_would_find_a_fault(page: ChatPage) -> None:
    await page.open()
    await page.page.evaluate("() => document.querySelector('label[for=message]').remove()")
    assert any(line.startswith("label") for line in await axe_finds(page))


async def test_all_is_done_by_keys(page: ChatPage, server: PageServer) -> None:
    keys = page.page.keyboard
    held = asyncio.Event()
    await page.open(server.script("a", answer("one"), Script([said("two"), held, ended()]), answer("three")))
    message = page.page.get_by_label("Message", exact=True)
    await expect(message).to_be_focused()
    await page.page.locator("h1").click()
    await keys.press("Shift+Tab")
    await expect(page.page.get_by_role("link", name="Skip to the message")).to_be_focused()
    await keys.press("Enter")
    await expect(message).to_be_focused()
    await keys.type("first")
    await keys.press("Shift+Enter")
    await keys.type("line two")
    await keys.press("Enter")
    await page.idle()
    assert server.asked[-1]["messages"][-1]["content"] == "first\nline two"
    await keys.type("second")
    await keys.press("Enter")
    await page.sees(page.answer(2), "two")
    await keys.press("Escape")
    await page.idle()
    await page.sees(page.turn(2).locator(".figures"), "stopped")
    await keys.press("ArrowUp")
    await expect(page.turn(2).get_by_label("The question, anew")).to_be_focused()
    await keys.press("End")
    await keys.type(" again")
    await keys.press("Enter")
    await page.sees(page.answer(2), "three")
    await page.idle()
    assert server.asked[-1]["messages"][-1]["content"] == "second again"
    await expect(message).to_be_focused()
    held.set()


async def test_a_screen_reader_is_told_of_answers_that_have_ended(page: ChatPage, server: PageServer) -> None:
    more = asyncio.Event()
    await page.open(server.script("a", Script([said("it is **half** "), more, said("whole"), ended()])))
    region = page.page.get_by_role("status")
    assert await region.get_attribute("aria-live") == "polite"
    await page.ask("Hi", wait=False)
    await page.sees(page.answer(1), "half")
    await expect(region).to_have_text("")
    more.set()
    await expect(region).to_have_text("stub/a: it is **half** whole")


async def test_a_theme_is_chosen_and_kept(browser: Browser, server: PageServer) -> None:
    ground = "() => getComputedStyle(document.body).backgroundColor"
    async with chat_page(browser, server.url, color_scheme="light") as page:
        await page.open()
        light = await page.page.evaluate(ground)
        await page.page.get_by_label("Theme").select_option("dark")
        dark = await page.page.evaluate(ground)
        assert (light, dark) == ("rgb(250, 251, 252)", "rgb(17, 21, 26)")
        await page.page.reload()
        assert await page.page.evaluate(ground) == dark


async def test_on_a_phone_one_of_two_panes_is_in_sight(browser: Browser, server: PageServer) -> None:
    server.script("a", answer("left"))
    server.script("b", answer("right"))
    async with chat_page(browser, server.url, "phone") as page:
        await page.open("stub/a")
        await expect(page.page.get_by_role("button", name="Pane 2")).to_be_hidden()
        await page.page.get_by_role("button", name="Compare").click()
        await page.page.get_by_role("button", name="Pane 2").click()
        await page.choose("stub/b", pane=2)
        await page.ask("Hi")
        await page.sees(page.answer(1, 2), "right")
        await expect(page.pane(1)).to_be_hidden()
        await page.page.get_by_role("button", name="Pane 1").click()
        await page.sees(page.answer(1, 1), "left")
        await expect(page.pane(2)).to_be_hidden()
