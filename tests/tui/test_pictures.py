"""Pictures of the documentation: small, of the screen as it is, and with nothing loaded from elsewhere."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.segment import Segment
from rich.style import Style

from bench.parts.terminal_svg import CELL, moving, row, still
from docs import make_pictures
from tests.tui.conftest import Bench, settle

SVG = "{http://www.w3.org/2000/svg}"
INK, GROUND = "#ffffff", "#000000"


def texts(svg: str) -> list[tuple[str, int, int]]:
    """Each text with its column and its row."""
    found = ElementTree.fromstring(svg).iter(f"{SVG}text")
    return [(text.text or "", int(text.get("x", "")) // CELL, int(text.get("y", ""))) for text in found]


def test_text_stands_in_its_cells_with_its_colours() -> None:
    line = [
        Segment("ab  "),
        Segment("日本", Style(color="#ff0000", bold=True)),
        Segment(" <x> ", Style(bgcolor="#00ff00")),
        Segment("u", Style(reverse=True)),
    ]
    svg = still((row(line, INK, GROUND),), 14, GROUND)
    assert texts(svg) == [("ab", 0, 12), ("日本", 4, 12), ("<x>", 9, 12), ("u", 13, 12)]
    assert "fill:#ff0000;font-weight:700" in svg
    assert f'x="{8 * CELL}" y="0" width="{5 * CELL}"' in svg
    assert "fill:#00ff00" in svg


def test_what_stays_in_a_moving_picture_is_drawn_once() -> None:
    same, first, second = (row([Segment(text)], INK, GROUND) for text in ("same", "first", "second"))
    frames = [((same, first), 1.0), ((same, first), 1.0), ((same, second), 2.0)]
    svg = moving(frames, 10, GROUND)
    assert [text for text, _, _ in texts(svg)] == ["same", "first", "second"]
    assert "50.000%{visibility:hidden}" in svg
    assert "50.000%{visibility:visible}" in svg
    assert "4s step-end infinite" in svg


async def test_a_screen_is_taken_in_every_size_and_theme(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_pictures, "SIZES", ((80, 24), (120, 40)))
    monkeypatch.setattr(make_pictures, "SETTLE", 0.1)
    monkeypatch.setattr(make_pictures, "hidden_words", lambda: {"secret": "public"})
    bench.run("secret-run", "tok_train")
    async with bench.open((80, 24)) as (app, pilot):
        await settle(pilot)
        await make_pictures.take(app, pilot, tmp_path, "runs")
    names = sorted(path.name for path in tmp_path.glob("*.svg"))
    assert len(names) == 6
    assert names[0] == "runs-contrast-120x40.svg"
    for path in tmp_path.glob("*.svg"):
        svg = path.read_text(encoding="utf-8")
        assert len(svg) < 60_000
        assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
        shown = " ".join(text for text, _, _ in texts(svg))
        assert "public-run" in shown
        assert "secret" not in shown


def test_stand_ins_for_what_is_this_machines_alone_keep_its_width() -> None:
    for private, shown in make_pictures.hidden_words().items():
        assert len(private) == len(shown)
        assert private != shown
