"""A drawing as SVG: vectors and text, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape, quoteattr

from nanochat.common.text import sanitize
from tui.plots.export.drawing import Dots, Drawing, Line, Point, Polygon, Text

FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"


def svg(drawing: Drawing) -> str:
    """The drawing as one SVG document."""
    size = f'width="{drawing.width:g}" height="{drawing.height:g}"'
    about = sanitize(drawing.title)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}'
            f' viewBox="0 0 {drawing.width:g} {drawing.height:g}" role="img" aria-label={quoteattr(about)}'
            f' font-family="{FONT}" font-size="{drawing.font_size:.2f}" xml:space="preserve">',
            f"<title>{escape(about)}</title>",
            f'<rect width="100%" height="100%" fill="{drawing.background}"/>',
            *_shapes(drawing),
            "</svg>\n",
        ]
    )


def _shapes(drawing: Drawing) -> Iterator[str]:
    for shape in drawing.shapes:
        if isinstance(shape, Line):
            dash = f' stroke-dasharray="{shape.dash:g}"' if shape.dash else ""
            yield (
                f'<polyline points="{_places(shape.points)}" fill="none" stroke="{shape.colour}"'
                f' stroke-width="{shape.width:g}" stroke-linejoin="round"{dash}/>'
            )
        elif isinstance(shape, Dots):
            circles = (f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{shape.radius:g}"/>' for x, y in shape.centres)
            yield f'<g fill="{shape.colour}">{"".join(circles)}</g>'
        elif isinstance(shape, Polygon):
            yield f'<polygon points="{_places(shape.points)}" fill="{shape.colour}"/>'
        else:
            yield _text(shape)


def _text(text: Text) -> str:
    # With its width told, text ends where it does on screen, whatever font there is.
    fit = f' textLength="{text.width:g}" lengthAdjust="spacingAndGlyphs"' if len(text.text) > 1 else ""
    weight = ' font-weight="bold"' if text.bold else ""
    words = escape(sanitize(text.text))
    return f'<text x="{text.x:.2f}" y="{text.y:.2f}" fill="{text.colour}"{weight}{fit}>{words}</text>'


def _places(points: Iterable[Point]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
