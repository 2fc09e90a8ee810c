"""Samples at full width: one at a time, with line ends, Markdown where it is that, and never acted on."""

from textual.widgets import Markdown

from tests.tui.conftest import Bench, settle
from tui.screens.run import RunScreen
from tui.screens.sample import SampleScreen, is_markdown

CODE = "def f(x):\n    if x:\n        return 1\n    return 2"
LISTED = "Here:\n\n- one\n- two\n\n**bold** and [a link](file:///etc/passwd)"


def test_markdown_is_told_from_plain_text_and_code() -> None:
    assert is_markdown(LISTED)
    assert is_markdown("# A title\ntext")
    assert is_markdown("```python\nx\n```")
    assert is_markdown("| a | b |\n|---|---|\n| 1 | 2 |")
    assert not is_markdown(CODE)
    assert not is_markdown("The capital of France is Paris. - And so on.")
    assert not is_markdown("")


def sampled(bench: Bench) -> None:
    key = bench.run("one", status="running")
    bench.training(key, steps=5)
    said = [("Write f.", CODE), ("List.", LISTED), ("\x1b]0;owned\x07", "a\u200bb\x1b[2J")]
    bench.events(
        key,
        [
            {"kind": "sample", "step": step, "data": {"prompt": prompt, "text": text}}
            for step, (prompt, text) in enumerate(said)
        ],
    )


def text_of(screen: SampleScreen) -> str:
    return str(screen.query_one("#sample-text").render())


async def test_samples_open_at_full_width_with_their_line_ends(bench: Bench) -> None:
    sampled(bench)
    async with bench.open() as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunScreen)
        await settle(pilot, lambda: len(screen.samples.samples) == 3)
        screen.samples.focus()
        await pilot.press("enter")
        await settle(
            pilot, lambda: isinstance(app.screen, SampleScreen) and bool(app.screen.query("#sample-text"))
        )
        opened = app.screen
        assert isinstance(opened, SampleScreen)
        await settle(pilot, lambda: "a⟨200b⟩b␛[2J" in text_of(opened))
        assert "␛]0;owned␇" in str(opened.query_one("#sample-prompt").render())
        await pilot.press("n")
        await settle(pilot, lambda: len(opened.query(Markdown)) == 1)
        assert "List." in str(opened.query_one("#sample-prompt").render())
        await pilot.press("m")
        await settle(pilot, lambda: not opened.query(Markdown) and text_of(opened) == LISTED)
        await pilot.press("n")
        await settle(pilot, lambda: text_of(opened) == CODE)
        box = opened.query_one("#sample-box")
        assert box.size.width > 110
        assert str(box.border_title) == "sample 3 of 3 · step 0"
        await pilot.press("n", "N")
        await settle(pilot, lambda: len(opened.query(Markdown)) == 1)
        await pilot.press("escape")
        await settle(pilot, lambda: app.screen is screen)


async def test_a_continued_prompt_is_not_said_twice(bench: Bench) -> None:
    key = bench.run("one", status="running")
    bench.events(
        key, [{"kind": "sample", "step": 1, "data": {"prompt": "The sky", "text": "The sky is\nblue"}}]
    )
    async with bench.open() as (app, pilot):
        screen = app.screen
        assert isinstance(screen, RunScreen)
        await settle(pilot, lambda: len(screen.samples.samples) == 1)
        screen.samples.action_open()
        await settle(pilot, lambda: isinstance(app.screen, SampleScreen))
        opened = app.screen
        assert isinstance(opened, SampleScreen)
        await settle(pilot, lambda: text_of(opened) == "The sky is\nblue")
        assert str(opened.query_one("#sample-prompt").render()) == ""
