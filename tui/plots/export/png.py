"""A drawing as PNG, drawn by Pillow from the same shapes as the SVG: the extra `png`."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.cells import cell_len

from nanochat.common.errors import UserError
from tui.plots.export.drawing import Dots, Drawing, Line, Point, Polygon, Text

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont
    from PIL.ImageFont import ImageFont as BitmapFont

SCALE, SMOOTH = 2, 2
"""Pixels of the file in a pixel of the drawing, and of the canvas, which is shrunk, in one of the file."""
FONTS = ("DejaVuSansMono{}.ttf", "Menlo.ttc", "consola{}.ttf", "LiberationMono{}.ttf", "NotoSansMono{}.ttf")
WIDE_FONTS = ("NotoSansCJK-Regular.ttc", "PingFang.ttc", "msyh.ttc")
_BOLD = {"DejaVuSansMono{}.ttf": "-Bold", "consola{}.ttf": "b"}
_REGULAR = {"LiberationMono{}.ttf": "-Regular", "NotoSansMono{}.ttf": "-Regular"}
PLAIN: Mapping[int, str] = str.maketrans(
    {"⟨": "(", "⟩": ")", "▲": "^", "▼": "v", "●": "*", "✖": "x", "…": ".", "≤": "<"}
)
"""What Pillow's own font has in place of what it lacks."""


def png(drawing: Drawing) -> bytes:
    """The drawing as a PNG file of twice its size in pixels.

    Raises `UserError` in one line where Pillow is not installed.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        raise UserError(
            "PNG needs Pillow, which is not installed here",
            "pip install 'nanochat-control-room[png]'; SVG and CSV need nothing more",
        ) from None
    factor = SCALE * SMOOTH
    size = (round(drawing.width * factor), round(drawing.height * factor))
    image = Image.new("RGB", size, drawing.background)
    pen = ImageDraw.Draw(image)
    for shape in drawing.shapes:
        if not isinstance(shape, Text):
            _draw(pen, shape, factor)
    image = image.reduce(SMOOTH)
    pen = ImageDraw.Draw(image)
    for shape in drawing.shapes:
        if isinstance(shape, Text):
            _write(pen, shape, drawing.font_size * SCALE)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def _draw(pen: ImageDraw, shape: Line | Dots | Polygon, factor: int) -> None:
    if isinstance(shape, Dots):
        radius = shape.radius * factor
        for x, y in shape.centres:
            box = (x * factor - radius, y * factor - radius, x * factor + radius, y * factor + radius)
            pen.ellipse(box, fill=shape.colour)
        return
    points = [(x * factor, y * factor) for x, y in shape.points]
    if isinstance(shape, Polygon):
        pen.polygon(points, fill=shape.colour)
    elif shape.dash:
        for start, stop in _dashes(points, shape.dash * factor):
            pen.line((*start, *stop), fill=shape.colour, width=round(shape.width * factor))
    else:
        pen.line(points, fill=shape.colour, width=round(shape.width * factor), joint="curve")


def _dashes(points: list[Point], length: float) -> list[tuple[Point, Point]]:
    """The dashes of a straight line from the first to the last of `points`, which is level."""
    (left, y), (right, _) = points[0], points[-1]
    count = int((right - left) / (2 * length)) + 1
    starts = [left + 2 * length * index for index in range(count)]
    return [((start, y), (min(start + length, right), y)) for start in starts]


def _write(pen: ImageDraw, text: Text, size: float) -> None:
    """Writes a text letter by letter, each in its cell: a substitute font may be of another width."""
    cells = max(1, cell_len(text.text))
    step = text.width * SCALE / cells
    x, y = text.x * SCALE, text.y * SCALE
    for letter in text.text:
        wide = cell_len(letter)
        font = _font(round(size), text.bold, wide > 1)
        # Only a font of vectors knows a baseline.
        anchor = "ls" if hasattr(font, "path") else None
        pen.text((x, y), letter.translate(_replaced(font)), fill=text.colour, font=font, anchor=anchor)
        x += step * wide


def _replaced(font: FreeTypeFont | BitmapFont) -> Mapping[int, str]:
    return {} if isinstance(getattr(font, "path", None), str) else PLAIN


@lru_cache(maxsize=16)
def _font(size: int, bold: bool, wide: bool) -> FreeTypeFont | BitmapFont:
    """The first font of fixed width that the system has, else the one in Pillow itself."""
    from PIL import ImageFont

    names = [name.format((_BOLD if bold else _REGULAR).get(name, "")) for name in FONTS]
    for name in [*(WIDE_FONTS if wide else ()), *names]:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)
