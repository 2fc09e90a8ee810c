"""Every text can be read: 4.5:1 (WCAG 2.1, level AA) in all themes, in the table and as painted."""

import string
from collections.abc import Iterator

import pytest
from rich.color import Color as RichColor
from rich.segment import Segment
from textual.color import Color

from tests.tui.conftest import Bench, settle
from tui.app import ControlRoom
from tui.plots.frame import MAX_RUNS
from tui.style.status import ROLE_STYLES
from tui.style.themes import THEMES, series_colours
from tui.widgets.chat.looks import Looks

LEAST = 4.5
LETTERS = frozenset(string.ascii_letters + string.digits)
TEXTS = ("foreground", "primary", "secondary", "accent", "success", "warning", "error")


def luminance(colour: Color) -> float:
    """Relative luminance as WCAG 2.1 defines it."""
    parts = [
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in colour.normalized
    ]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: Color, other: Color) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_formula() -> None:
    assert contrast(Color.parse("#000"), Color.parse("#fff")) == pytest.approx(21)
    assert contrast(Color.parse("#777"), Color.parse("#fff")) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("name", THEMES)
def test_every_text_colour_stands_out_from_every_ground(name: str) -> None:
    theme = THEMES[name]
    named = theme.variables
    texts = {text: str(getattr(theme, text)) for text in TEXTS} | {"muted": named["muted"]}
    grounds = {ground: str(getattr(theme, ground)) for ground in ("background", "surface", "panel")}
    grounds["cursor-row"] = named["cursor-row"]
    assert {style.removeprefix("$") for style in ROLE_STYLES.values()} - {""} <= texts.keys()
    low = {
        (text, ground): round(contrast(Color.parse(colour), Color.parse(under)), 2)
        for text, colour in texts.items()
        for ground, under in grounds.items()
        if contrast(Color.parse(colour), Color.parse(under)) < LEAST
    }
    assert not low
    cursor = [Color.parse(named[f"block-cursor-{part}"]) for part in ("foreground", "background")]
    assert contrast(*cursor) >= LEAST


@pytest.mark.parametrize("name", THEMES)
def test_a_token_of_every_shade_and_every_look_of_chat_can_be_read(name: str) -> None:
    theme = THEMES[name]
    named = theme.variables | {text: str(getattr(theme, text)) for text in (*TEXTS, "panel")}
    looks = Looks(named, Color.parse(str(theme.background)))
    shades = [f"p{level}" for level in range(5)]
    words = "strong code heading question tool result bad warn live first second cursor cursor-blurred"
    words += " found found-here"
    low = {}
    for look in (*shades, *words.split()):
        style = looks.style(look)
        assert style.color is not None and style.bgcolor is not None
        ink, ground = Color.from_rich_color(style.color), Color.from_rich_color(style.bgcolor)
        if contrast(ink, ground) < LEAST:
            low[look] = round(contrast(ink, ground), 2)
    assert not low
    signs = [(style.italic, style.underline, style.bold, style.reverse) for style in map(looks.style, shades)]
    assert len(set(signs)) == len(shades), "the shades differ without colour, too"


@pytest.mark.parametrize("name", THEMES)
def test_a_runs_colour_can_carry_its_name(name: str) -> None:
    ground = Color.parse(str(THEMES[name].background))
    assert all(contrast(Color.parse(line), ground) >= LEAST for line in series_colours(name)[:MAX_RUNS])


def painted(app: ControlRoom) -> Iterator[Segment]:
    """What is painted of the screen in front, of a dialog without what it dims: letters and digits only."""
    boxes = [box.region for box in app.screen.query(".dialog, .ask, #--input, CommandList") if box.region]
    regions = boxes if app.screen.is_modal else [app.screen.region]
    for y, strip in enumerate(app.screen._compositor.render_strips()):
        for region in regions:
            if region.y <= y < region.bottom:
                yield from (
                    segment for segment in strip.crop(region.x, region.right) if LETTERS & set(segment.text)
                )


def low_contrast(app: ControlRoom) -> set[str]:
    """Texts on screen that are too faint, with their contrast."""
    found = set()
    for text, style, _ in painted(app):
        if style is None or style.color is None or style.bgcolor is None:
            continue
        ink, ground = as_painted(style.color), as_painted(style.bgcolor)
        if style.reverse:
            ink, ground = ground, ink
        if style.dim:
            ink = ground.blend(ink, 0.5)
        if contrast(ink, ground) < LEAST:
            found.add(f"{text.strip()!r} {contrast(ink, ground):.1f}")
    return found


def as_painted(colour: RichColor) -> Color:
    return Color.from_rich_color(colour)


@pytest.mark.slow
@pytest.mark.parametrize("theme", THEMES)
async def test_every_text_that_is_painted_can_be_read(bench: Bench, theme: str) -> None:
    """Tabs, hints, the key bar, tables with the cursor on a row, forms, dialogs, the first-use page."""
    async with bench.open((80, 24), theme=theme) as (app, pilot):
        assert list(painted(app))
        assert not low_contrast(app)
        bench.run("ended", status="failed", state={"reason": "CUDA out of memory"})
        live = bench.run("live", status="running", age=10)
        bench.training(live, steps=30)
        bench.events(live, [{"kind": "sample", "step": 1, "data": {"prompt": "A", "text": "A b"}}])
        await app.reread()
        for keys in (
            ("1",),
            ("2",),
            ("tab",),
            ("tab",),
            ("7",),
            ("1", "n"),
            ("escape", "p"),
            ("escape", "s"),
        ):
            await pilot.press(*keys)
            await settle(pilot)
            await pilot.pause(0.2)
            assert not low_contrast(app), keys
        await pilot.press("escape", "2")
        await pilot.resize_terminal(120, 40)
        await settle(pilot)
        await pilot.pause(0.3)
        assert not low_contrast(app)
        await pilot.press("1", "question_mark")
        await settle(pilot)
        assert not low_contrast(app)
        await pilot.press("escape", "ctrl+p")
        await pilot.pause(0.3)
        assert list(painted(app))
        assert not low_contrast(app)
