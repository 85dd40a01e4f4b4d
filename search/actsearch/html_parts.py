"""Parts of HTML in which every text is escaped: names and formulas come from users and from databases.

A report is a page of its own; what a notebook shows is a fragment inside of a page whose colours, light or dark, it
takes over.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Collection, Iterable, Sequence

__all__ = ["draw_line", "escape", "fragment", "paragraph", "preformatted", "table"]

# notebooks typeset what stands between dollars, and TeX can hold links that run scripts; pandas asks for this as well
_PLAIN = "tex2jax_ignore mathjax_ignore"
_CELL = "text-align: {side}; padding: 0.15em 0.8em 0.15em 0; border-bottom: 1px solid rgba(128, 128, 128, 0.35)"
_TABLE = "border-collapse: collapse; color: inherit"
_WIDTH, _HEIGHT, _MARGIN = 240, 60, 3  # of a curve, in pixels


def escape(value: object) -> str:
    """A text that is shown as it is; what no encoding can write is written as Python would."""
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return html.escape(text)


def paragraph(text: str, *, strong: bool = False) -> str:
    """A text, in bold type where it is what matters."""
    shown = escape(text)
    return f"<p><strong>{shown}</strong></p>" if strong else f"<p>{shown}</p>"


def preformatted(text: str) -> str:
    """A text with its spaces and lines."""
    return f"<pre>{escape(text)}</pre>"


def table(
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    *,
    right: Collection[int] = (),
    styled: bool = False,
) -> str:
    """Rows of cells under a head.

    Args:
        head: names of the columns; empty for none.
        rows: of cells.
        right: columns that are aligned to the right.
        styled: each cell brings its own look, for a page that is not ours.
    """
    lines = [_row("td", row, right, styled) for row in rows]
    top = _row("th", head, right, styled) if head else ""
    begin = f'<table style="{_TABLE}">' if styled else "<table>"
    return f"{begin}{top}{''.join(lines)}</table>"


def _row(tag: str, cells: Sequence[object], right: Collection[int], styled: bool) -> str:
    def begin(index: int) -> str:
        if not styled:
            return tag
        return f'{tag} style="{_CELL.format(side="right" if index in right else "left")}"'

    shown = "".join(f"<{begin(index)}>{escape(cell)}</{tag}>" for index, cell in enumerate(cells))
    return f"<tr>{shown}</tr>"


def draw_line(points: Sequence[tuple[float, float]], title: str) -> str:
    """A small curve through finite points, in the colour of the text around it; "" for fewer than two."""
    if len(points) < 2:
        return ""
    xs, ys = zip(*points, strict=True)

    def place(value: float, values: Sequence[float], size: int) -> float:
        low, high = min(values), max(values)
        share = (value - low) / (high - low) if high > low else 0.5
        return _MARGIN + share * (size - 2 * _MARGIN)

    line = " ".join(
        f"{place(x, xs, _WIDTH):.1f},{_HEIGHT - place(y, ys, _HEIGHT):.1f}" for x, y in points
    )
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img"><title>{escape(title)}</title>'
        f'<polyline points="{line}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
    )


def fragment(make: Callable[[], Iterable[str]], name: str) -> str:
    """What a notebook shows of an object.

    Args:
        make: gives its parts.
        name: what it is, for the line that stands in their place where they cannot be made.
    """
    try:
        parts = "".join(make())
    except (
        Exception
    ) as error:  # what a cell computed must not be lost to the traceback of showing it
        parts = paragraph(f"{name} cannot be shown: {type(error).__name__}: {error}")
    return f'<div class="{_PLAIN}" style="color: inherit">{parts}</div>'
