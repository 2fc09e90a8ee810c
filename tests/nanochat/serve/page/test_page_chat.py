"""The chat page in a real Chromium: asking, stopping, branches, panes, settings, what the browser keeps."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from page_browser import ChatPage, chat_page
from page_server import BASE, CHAT, KEY, PageServer, Script, answer, called, ended, said, token
from playwright.async_api import Browser, Dialog, Route, expect

ROOT = Path(__file__).resolve().parents[4]

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


async def chat_cli(url: str, *words: str) -> dict[str, object]:
    """What `nanochat chat_cli` answers, as it says it in JSON."""
    command = [sys.executable, "-m", "nanochat", "chat_cli", "--url", url, "--json", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    running = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await running.communicate()
    assert running.returncode == 0, err.decode()
    found: dict[str, object] = json.loads(out)
    return found


async def test_it_gives_the_answer_that_chat_cli_gives(
    page: ChatPage, server: PageServer, tmp_path: Path
) -> None:
    words = ["--model", CHAT, "--seed", "5", "--max-tokens", "40", "-p", "Who are you?"]
    asking = asyncio.create_task(chat_cli(server.url, *words))
    await page.open(CHAT)
    await page.set("Seed", "5")
    await page.set("Max tokens", "40")
    await page.ask("Who are you?")
    saved = json.loads((await page.save("Save .json", tmp_path)).read_text())
    [turn] = saved["turns"]
    expected = await asking
    text = "".join(part["text"] for part in turn["answer"] if part["type"] == "text")
    assert text == expected["answer"] and len(text) > 5
    assert (turn["model"], turn["settings"]) == (expected["model"], expected["settings"])
    figures = await page.turn(1).locator(".figures").inner_text()
    assert "40 tokens" in figures and "first after" in figures and "seed 5" in figures


async def test_markdown_streams_and_stopping_keeps_what_came(page: ChatPage, server: PageServer) -> None:
    more = asyncio.Event()
    model = server.script(
        "a", Script([said("## Heading\n\nfirst **bo"), more, said("ld** word"), asyncio.Event()])
    )
    await page.open(model)
    await page.ask("Hi", wait=False)
    await page.sees(page.answer(1), r"first \*\*bo")
    await expect(page.answer(1).get_by_role("heading", level=4)).to_have_text("Heading")
    more.set()
    await expect(page.answer(1).locator("strong")).to_have_text("bold")
    await page.page.get_by_role("button", name="Stop").click()
    await page.idle()
    await page.sees(page.turn(1).locator(".figures"), "stopped")
    server.script("a", answer("second"))
    await page.ask("And then?")
    assert [message["content"] for message in server.asked[-1]["messages"]] == [
        "Hi",
        "## Heading\n\nfirst **bold** word",
        "And then?",
    ]


async def test_tool_calls_are_set_apart_and_part_of_the_history(page: ChatPage, server: PageServer) -> None:
    events = [said("Ben🙂 has "), called("20+15", "35", 9), said("35."), called("1/0", None, 12), ended()]
    await page.open(server.script("a", Script(events), answer("ok")))
    await page.ask("How many?")
    calls = page.answer(1).get_by_role("group", name="Calculator")
    assert [text.split("\n") for text in await calls.all_inner_texts()] == [
        ["calculator", "20+15", "=", "35"],
        ["calculator", "1/0", "→", "no result"],
    ]
    assert await page.answer(1).locator(".markdown").all_inner_texts() == ["Ben🙂 has", "35."]
    await page.ask("Sure?")
    assert server.asked[-1]["messages"][1]["content"] == [
        {"type": "text", "text": "Ben🙂 has "},
        {"type": "python", "text": "20+15"},
        {"type": "python_output", "text": "35"},
        {"type": "text", "text": "35."},
        {"type": "python", "text": "1/0"},
    ]


async def test_an_edit_and_another_answer_are_branches(page: ChatPage, server: PageServer) -> None:
    await page.open(server.script("a", *map(answer, ["one", "two", "three", "four"])))
    await page.ask("first")
    await page.ask("second")
    await page.turn(1).get_by_role("button", name="Regenerate").click()
    await page.sees(page.answer(1), "three")
    await page.idle()
    assert await page.pane(1).get_by_role("article").count() == 1
    await expect(page.turn(1).get_by_role("button", name="Regenerate")).to_be_focused()
    await page.turn(1).get_by_role("button", name="Previous answer").click()
    await page.sees(page.answer(1), "one")
    await page.sees(page.answer(2), "two")
    await expect(page.turn(1).get_by_role("button", name="Next answer")).to_be_focused()
    await page.turn(2).get_by_role("button", name="Edit").click()
    field = page.turn(2).get_by_label("The question, anew")
    await expect(field).to_have_value("second")
    await field.fill("another")
    await field.press("Enter")
    await page.sees(page.answer(2), "four")
    await page.idle()
    assert [m["content"] for m in server.asked[-1]["messages"]] == ["first", "one", "another"]
    await page.turn(2).get_by_role("button", name="Previous question").click()
    await page.sees(page.answer(2), "two")


async def test_another_answer_is_asked_with_another_seed(page: ChatPage, server: PageServer) -> None:
    await page.open(server.script("a", answer("x")))
    await page.set("Seed", "7")
    await page.ask("Hi")
    await page.turn(1).get_by_role("button", name="Regenerate").click()
    await page.idle()
    first, second = server.asked
    assert first["seed"] == 7 != second["seed"] and first["messages"] == second["messages"]


async def test_two_checkpoints_get_the_same_question(page: ChatPage, server: PageServer) -> None:
    await page.open(CHAT)
    await page.set("Max tokens", "8")
    await page.page.get_by_role("button", name="Compare").click()
    await page.choose(BASE, pane=2)
    await page.ask("The weather is")
    for number, model in ((1, CHAT), (2, BASE)):
        await page.sees(page.turn(1, number).locator(".who").last, model)
        await page.sees(page.turn(1, number).locator(".figures"), "tokens")
    chat, base = sorted(server.asked, key=lambda asked: "prompt" in asked)
    assert chat["messages"][-1]["content"] == base["prompt"] == "The weather is"
    assert chat["max_tokens"] == base["max_tokens"] == 8
    await page.pane(2).get_by_role("button", name="Tokens").click()
    assert await page.pane(2).get_by_role("option").count() > 0
    await page.page.get_by_role("button", name="Compare").click()
    await expect(page.pane(2)).to_be_hidden()


async def test_models_saved_meanwhile_are_listed(page: ChatPage, server: PageServer) -> None:
    first = server.script("a", answer("x"))
    await page.open(first)
    server.script("b", answer("y"))
    await page.page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    await expect(page.pane(1).get_by_role("option", name="stub/b")).to_be_attached()
    await expect(page.pane(1).get_by_label("Model")).to_have_value(first)


async def test_settings_are_asked_with_and_wrong_ones_are_refused(page: ChatPage, server: PageServer) -> None:
    await page.open(server.script("a", answer("x")))
    settings = {"Temperature": "0.25", "Top-k": "7", "Max tokens": "99", "System message": "Be brief."}
    for label, value in settings.items():
        await page.set(label, value)
    await page.ask("Hi")
    asked = server.asked[-1]
    assert (asked["temperature"], asked["top_k"], asked["max_tokens"]) == (0.25, 7, 99)
    assert asked["messages"][0] == {"role": "system", "content": "Be brief."}
    assert asked["logprobs"] is True and asked["top_logprobs"] == 5
    await page.page.get_by_label("Ask for token probabilities").uncheck()
    await page.set("Temperature", "3")
    await page.ask("again")
    await page.sees(page.page.locator("#problem"), "Temperature: a number from 0 to 2")
    await page.set("Temperature", "1")
    await page.page.get_by_label("Message", exact=True).press("Enter")
    await page.sees(page.answer(2), "x")
    assert len(server.asked) == 2 and "logprobs" not in server.asked[-1]


async def test_probabilities_are_told_to_the_pointer_and_to_the_keys(
    page: ChatPage, server: PageServer
) -> None:
    events = [
        token("The", -0.01, The=-0.01, A=-5.0),
        token(" cat", -2.0, **{" dog": -0.5, " cat": -2.0}),
        token("\n", -6.0, **{" sat": -0.2}),
        ended(),
    ]
    await page.open(server.script("a", Script(events)))
    await page.ask("Hi")
    await page.turn(1).get_by_role("button", name="Tokens").click()
    tokens = page.turn(1).get_by_role("option")
    assert await tokens.all_inner_texts() == ["The", " cat", "⏎\n"]
    lines = [
        await one.evaluate("node => getComputedStyle(node).textDecorationLine") for one in await tokens.all()
    ]
    assert lines == ["none", "underline", "underline"]  # shade is not all there is
    await tokens.nth(1).hover()
    detail = page.turn(1).locator(".token-detail")
    text = await page.sees(detail, "“ cat” 13.5 % · log-probability -2.000")
    assert text.index("dog") < text.rindex("cat") and "60.7 %" in text and "chosen" in text
    await page.page.mouse.move(0, 0)
    await expect(detail).to_be_hidden()
    await page.turn(1).get_by_role("listbox").focus()
    await page.page.keyboard.press("End")
    await page.sees(detail, "“⏎” 0.25 %")
    await page.page.keyboard.press("ArrowLeft")
    label = await tokens.nth(1).get_attribute("aria-label")
    assert label == "“ cat” 13.5 %. Likeliest: “ dog” 60.7 %, “ cat” 13.5 %"
    await page.page.keyboard.press("Escape")
    await expect(detail).to_be_hidden()


async def test_the_browser_keeps_a_conversation_until_it_is_cleared(
    page: ChatPage, server: PageServer
) -> None:
    model = server.script("a", answer("*one*"), answer("two"))
    await page.open(model)
    await page.set("Top-k", "9")
    await page.ask("Hi")
    await page.turn(1).get_by_role("button", name="Regenerate").click()
    await page.idle()
    await page.page.reload()
    await page.sees(page.answer(1), "two")
    await page.turn(1).get_by_role("button", name="Previous answer").click()
    await expect(page.answer(1).locator("em")).to_have_text("one")
    await expect(page.pane(1).get_by_label("Model")).to_have_value(model)
    await page.ask("more")
    assert server.asked[-1]["top_k"] == 9
    page.page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
    await page.page.get_by_role("button", name="Settings").click()
    await page.page.get_by_role("button", name="Clear what is kept").click()
    await page.sees(page.pane(1).locator(".turns"), "^Ask something.$")
    assert await page.page.evaluate("() => localStorage.length") == 0


async def test_a_conversation_is_lost_to_no_other_tab_and_to_no_file_that_is_loaded(
    page: ChatPage, server: PageServer, tmp_path: Path
) -> None:
    await page.open(server.script("a", answer("one"), answer("other")))
    await page.ask("Hi")
    await page.page.wait_for_function("() => (localStorage.getItem('nanochat-chat-1') ?? '').includes('one')")
    other = ChatPage(page.context, await page.context.new_page(), page.url)
    await other.open()
    await other.sees(other.answer(1), "one")  # a new tab goes on with it
    await other.ask("Other")
    await other.page.close(run_before_unload=False)
    await page.page.reload()
    await page.sees(page.answer(1), "one")
    await expect(page.turn(2)).to_have_count(0)

    saved = await page.save("Save .json", tmp_path)
    asked: list[str] = []

    async def answered(dialog: Dialog) -> None:
        asked.append(dialog.message)
        await (dialog.accept() if len(asked) > 1 else dialog.dismiss())

    page.page.on("dialog", lambda dialog: asyncio.ensure_future(answered(dialog)))
    file = page.page.get_by_label("A conversation's JSON file").first
    for times in (1, 2):
        await file.set_input_files(saved)
        async with asyncio.timeout(10):
            while len(asked) < times:
                await asyncio.sleep(0.02)
        await page.sees(page.answer(1), "one")
    assert asked[0].startswith(f"Go on with {saved.name}? The one in this pane is gone then")


@pytest.mark.parametrize("value", ["null", '{"parts": [{"kind": "text"}], "settings": null}'])
async def test_what_cannot_be_read_of_what_was_kept_is_no_obstacle(
    page: ChatPage, server: PageServer, value: str
) -> None:
    nodes = (
        '[{"parent": -1, "kind": "question", "current": 0, "value": "Hi"},'
        f' {{"parent": 0, "kind": "answer", "current": 0, "value": {value}}}]'
    )
    state = f'{{"panes": [{{"model": "x", "started": "?", "current": 0, "nodes": {nodes}}}]}}'
    await page.page.add_init_script(f"localStorage.setItem('nanochat-chat-1', {json.dumps(state)})")
    await page.open(server.script("a", answer("fine")))
    await page.ask("Hi")
    await page.sees(page.pane(1).locator(".body").last, "fine")


async def test_a_server_with_a_key_is_asked_with_it(browser: Browser, server: PageServer) -> None:
    async with chat_page(browser, server.locked_url) as page:
        page.expected = "401"
        await page.open()
        field = page.page.get_by_role("textbox", name="API key")
        await expect(field).to_be_focused()
        await field.fill("wrong")
        await field.press("Enter")
        await expect(page.page.get_by_text("That is not its key.")).to_be_visible()
        await field.fill(KEY)
        await field.press("Enter")
        await expect(page.pane(1).get_by_label("Model")).to_have_value(CHAT)
        await page.set("Max tokens", "3")
        await page.ask("Hi")
        await page.sees(page.turn(1).locator(".figures"), "tokens")
        await page.page.reload()
        await expect(page.pane(1).get_by_label("Model")).to_have_value(CHAT)
        kept = await page.page.evaluate(
            "() => [JSON.stringify(localStorage), JSON.stringify(sessionStorage)]"
        )
        assert KEY not in kept[0] and KEY in kept[1]


async def test_a_busy_server_is_waited_for(page: ChatPage, server: PageServer) -> None:
    page.expected = "429"
    busy = Script([{"error": {"message": "the queue is full"}}], 429, {"retry-after": "1"})
    long = Script([{"error": {"message": "the queue is full"}}], 429, {"retry-after": "60"})
    await page.open(server.script("a", busy, answer("at last"), long))
    await page.ask("Hi", wait=False)
    await page.sees(page.turn(1).locator(".status"), "the server is busy: asked again in 1 s")
    await page.sees(page.answer(1), "at last")
    await page.idle()
    await page.ask("Hi", wait=False)
    await page.sees(page.turn(2).locator(".status"), "asked again in 60 s")
    await page.page.keyboard.press("Escape")
    await page.idle()
    await page.sees(page.turn(2).locator(".figures"), "stopped")


async def test_what_fails_is_one_line_and_the_page_goes_on(page: ChatPage, server: PageServer) -> None:
    page.expected = "400|ERR_INTERNET_DISCONNECTED"
    cut = Script([said("half an ans")])
    failed = Script([said("some"), {"error": {"message": "the GPU\nfell out"}}])
    refused = Script([{"error": {"message": "messages: no"}}], 400)
    await page.open(server.script("a", cut, failed, refused, answer("fine")))
    for number, (text, error) in enumerate(
        [("half an ans", "broke off before its end"), ("some", "^the GPU fell out$"), ("", "^messages: no$")],
        1,
    ):
        await page.ask("Hi")
        await page.sees(page.turn(number).locator(".error"), error)
        assert await page.answer(number).inner_text() == text
    await page.context.set_offline(True)
    await page.ask("Hi")
    await page.sees(page.turn(4).locator(".error"), "no answer from 127.0.0.1:[0-9]+: has the server ended?")
    await page.context.set_offline(False)
    await page.turn(4).get_by_role("button", name="Regenerate").click()
    await page.sees(page.answer(4), "fine")
    roles = [message["role"] for message in server.asked[-1]["messages"]]
    assert roles == ["user", "assistant"] * 2 + ["user"]  # questions that nothing came of are not told


async def test_an_answer_takes_the_room_that_the_context_has(page: ChatPage, server: PageServer) -> None:
    page.expected = "400"
    await page.open(CHAT)
    await page.set("Max tokens", "5000")
    await page.ask("Hi")
    await page.sees(page.turn(1).locator(".figures"), "tokens")
    first, second = server.asked
    assert first["max_tokens"] == 5000 and 200 < second["max_tokens"] < 256
    assert first["seed"] == second["seed"] and first["messages"] == second["messages"]
    await page.ask("long " * 100)
    await page.sees(page.turn(2).locator(".error"), "too many for the model's context")


async def test_it_works_below_a_path_of_a_reverse_proxy(page: ChatPage, server: PageServer) -> None:
    await page.page.route("**/below/**", lambda route: _without_path(route, server.url))
    page.url = f"{server.url}/below/"
    await page.open(server.script("a", answer("fine")))
    await page.ask("Hi")
    await page.sees(page.answer(1), "fine")
    assert all(url.startswith(page.url) for url in page.requests)


async def _without_path(route: Route, url: str) -> None:
    """What a reverse proxy does: asks the server at its root."""
    await route.fulfill(response=await route.fetch(url=route.request.url.replace("/below/", "/")))
