"""The parts of a printed page, one below the other: each knows its height in points and how to draw itself.

A point is 1/72 inch. Heights count downwards from the top of the page, other than in PDF itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from PIL import Image
from reportlab.lib.colors import Color, HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase.pdfmetrics import registerFont, stringWidth
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from dicom_node.results.lettering import BOLD, REGULAR, Length, broken, shortened
from dicom_node.results.overlay import hot_iron, on
from dicom_node.results.summary import BADGE, Failure, Summary
from dicom_node.results.table import Row, Table, number, scale_name
from inference.findings import HeatMap

WIDTH, HEIGHT = A4
MARGIN, BETWEEN = 36.0, 8.0
INNER = WIDTH - 2 * MARGIN
PLAIN, STRONG = "Regular", "Bold"
ROW_HEIGHT, LEADING = 13.5, 11.0
LABEL_WIDTH, WIDEST_LABEL, WIDEST_COLUMN = 130.0, 220.0, 130.0
MOST_IN_ONE, MOST_COLUMNS_OF_TWO = 10, 2

INK, MUTED, RULE = HexColor(0x14181E), HexColor(0x5A6573), HexColor(0xC9D0D8)
SURFACE, NOTICE, AMBER = HexColor(0xF3F5F7), HexColor(0x8A4B00), HexColor(0xFFB03B)

registerFont(TTFont(PLAIN, str(REGULAR)))
registerFont(TTFont(STRONG, str(BOLD)))


@dataclass(frozen=True, slots=True)
class Part:
    """draw: onto the page, from this distance below its top on."""

    height: float
    draw: Callable[[Canvas, float], None]


@dataclass(frozen=True, slots=True)
class Style:
    size: float = 8.5
    face: str = PLAIN
    color: Color = INK

    @property
    def length(self) -> Length:
        return partial(stringWidth, fontName=self.face, fontSize=self.size)


@lru_cache(maxsize=512)  # a page is laid out several times before it fits
def lines_within(text: str, width: float, size: float, face: str = PLAIN) -> Sequence[str]:
    """Lines of at most width points."""
    return broken(text, width, Style(size, face).length)


BODY, SMALL, HEAD = Style(), Style(7.5, PLAIN, MUTED), Style(8.5, STRONG, MUTED)
LIMIT = Style(8.5, PLAIN, NOTICE)
STRONGS = tuple(Style(size, STRONG) for size in (9.5, 8.5, 7.5, 6.5))
"""What does not fit is written smaller first: a name that is cut may be another's."""


def write(page: Canvas, text: str, left: float, baseline: float, style: Style = BODY, *, right: bool = False) -> None:
    """Text whose baseline lies so far below the top; `left` is its right end where it ends there."""
    page.setFont(style.face, style.size)
    page.setFillColor(style.color)
    (page.drawRightString if right else page.drawString)(left, HEIGHT - baseline, text)


def block(page: Canvas, box: tuple[float, float, float, float], color: Color) -> None:
    """box: left, top, width, height."""
    left, top, width, height = box
    page.setFillColor(color)
    page.rect(left, HEIGHT - top - height, width, height, stroke=0, fill=1)


def header(summary: Summary) -> Part:
    def draw(page: Canvas, top: float) -> None:
        title = Style(17, STRONG)
        write(page, shortened(summary.title, INNER - 150, title.length), MARGIN, top + 17, title)
        write(page, shortened(summary.manufacturer, INNER - 150, BODY.length), MARGIN, top + 30, Style(9, PLAIN, MUTED))
        badge = Style(10, STRONG, NOTICE)
        width = badge.length(BADGE) + 18
        page.setStrokeColor(AMBER)
        page.setLineWidth(1.5)
        page.roundRect(WIDTH - MARGIN - width, HEIGHT - top - 25, width, 22, 4, stroke=1, fill=0)
        write(page, BADGE, WIDTH - MARGIN - 9, top + 17.5, badge, right=True)

    return Part(34, draw)


def pairs(items: Sequence[tuple[str, str]], columns: int) -> Part:
    """Names with their values below, in a box."""
    lines = [items[index : index + columns] for index in range(0, len(items), columns)]
    width, height = (INNER - 16) / columns, 10 + 25.0 * len(lines)

    def draw(page: Canvas, top: float) -> None:
        block(page, (MARGIN, top, INNER, height), SURFACE)
        for row, line in enumerate(lines):
            for column, (name, value) in enumerate(line):
                left, baseline = MARGIN + 8 + width * column, top + 14 + 25 * row
                write(page, name, left, baseline, SMALL)
                style = next((one for one in STRONGS if one.length(value) <= width - 8), STRONGS[-1])
                write(page, shortened(value, width - 8, style.length), left, baseline + 11, style)

    return Part(height, draw)


def bar(words: str, size: float = 10) -> Part:
    """What must not be overlooked, on amber, across the page."""
    style = Style(size, STRONG)
    lines = lines_within(words, INNER - 16, style.size, style.face)
    height = 8 + (size + 3) * len(lines)

    def draw(page: Canvas, top: float) -> None:
        block(page, (MARGIN, top, INNER, height), AMBER)
        for index, line in enumerate(lines):
            write(page, line, MARGIN + 8, top + 4 + size + (size + 3) * index, style)

    return Part(height, draw)


def pictures(make: Callable[[], Sequence[Image.Image]], columns: int, height: float) -> Part:
    """Side by side, made when they are drawn."""
    width = (INNER - BETWEEN * (columns - 1)) / columns

    def draw(page: Canvas, top: float) -> None:
        for index, image in enumerate(make()):
            page.drawImage(ImageReader(image), MARGIN + (width + BETWEEN) * index, HEIGHT - top - height, width, height)

    return Part(height, draw)


def scale(heat_map: HeatMap) -> Part:
    """Which colour is which value of the heat map that is drawn."""

    def draw(page: Canvas, top: float) -> None:
        low, high = (f"{value:.4g}" for value in heat_map.shown)
        write(page, shortened(scale_name(heat_map), 150, BODY.length), MARGIN, top + 9)
        bar_of = np.repeat(hot_iron(np.linspace(0, 1, 256, dtype=np.float32))[None], 2, axis=0)
        page.drawImage(ImageReader(Image.fromarray(bar_of.astype(np.uint8))), MARGIN + 200, HEIGHT - top - 11, 170, 10)
        write(page, low, MARGIN + 195, top + 9, SMALL, right=True)
        write(page, high, MARGIN + 375, top + 9, SMALL)
        if heat_map.hides_below is not None:
            words = f"not coloured below {number(heat_map.hides_below)}"
            write(page, words, WIDTH - MARGIN, top + 9, SMALL, right=True)

    return Part(12, draw)


def table(of: Table, heading_lines: int = 3) -> Part:
    """Rows with their colours and numbers, in two halves where they are narrow and many; what is left out stands below."""
    halves = 2 if len(of.rows) > MOST_IN_ONE and len(of.headings) <= MOST_COLUMNS_OF_TWO else 1
    gap = 12
    width = (INNER - (halves - 1) * gap) / halves
    length = -(-len(of.rows) // halves)
    ends = column_ends(len(of.headings), width)
    headings = [
        lines_within(words, b - a - 6, HEAD.size, HEAD.face)[:heading_lines]
        for words, a, b in zip(of.headings, ends, ends[1:], strict=False)
    ]
    head = 5 + LEADING * max([1, *map(len, headings)])
    bottom = head + ROW_HEIGHT * length

    def draw(page: Canvas, top: float) -> None:
        for half in range(halves):
            left = MARGIN + half * (width + gap)
            write(page, of.title if half == 0 else "", left, top + 10, Style(9, STRONG))
            for lines, end in zip(headings, ends[1:], strict=True):
                for index, words in enumerate(lines):
                    write(page, words, left + end, top + 10 + LEADING * index, HEAD, right=True)
            for index, row in enumerate(of.rows[length * half : length * (half + 1)]):
                draw_row(page, row, top + head + ROW_HEIGHT * index, left, [width, *ends])
        if of.says_more:
            write(page, of.says_more, MARGIN, top + bottom + 10, LIMIT)

    return Part(bottom + (14 if of.says_more else 0), draw)


def column_ends(columns: int, width: float) -> list[float]:
    """Where the names end, and then where each column of cells does, from the left of the table."""
    first = min(WIDEST_LABEL, max(LABEL_WIDTH, width - WIDEST_COLUMN * columns))
    each = min(WIDEST_COLUMN, (width - first) / max(columns, 1))
    return [first + each * index for index in range(columns + 1)]


def draw_row(page: Canvas, row: Row, top: float, left: float, ends: Sequence[float]) -> None:
    """ends: of the table, of the names, of each column."""
    width, names_end, *_ = ends
    baseline, at = top + 9.8, left
    page.setStrokeColor(RULE)
    page.setLineWidth(0.5)
    page.line(left, HEIGHT - top, left + width, HEIGHT - top)
    if row.color is not None:
        color = Color(*(value / 255 for value in row.color))
        block(page, (at, top + 2.3, 20 if row.number is not None else 9, 9), color)
        if row.number is not None:
            style = Style(7.5, STRONG, Color(*(value / 255 for value in on(row.color))))
            write(page, str(row.number), at + 10 + style.length(str(row.number)) / 2, top + 9.5, style, right=True)
        at += 26 if row.number is not None else 15
    write(page, shortened(row.label, left + names_end - at - 4, BODY.length), at, baseline)
    for cell, start, end in zip(row.cells, ends[1:], ends[2:], strict=False):
        write(page, shortened(cell, end - start - 6, BODY.length), left + end, baseline, right=True)


def lines_of(items: Sequence[str], most: int, style: Style = BODY) -> Part:
    """Sentences, each on lines of its own; how many lines are left out is said."""
    lines = [line for words in items for line in lines_within(words, INNER, style.size, style.face)]
    left_out = max(0, len(lines) - most)
    shown = [*lines[: most - 1], f"… {left_out + 1} more lines are not shown here"] if left_out else lines

    def draw(page: Canvas, top: float) -> None:
        for index, line in enumerate(shown):
            write(page, line, MARGIN, top + 9 + LEADING * index, style)

    return Part(LEADING * len(shown) + 2, draw)


def failure(why: Failure) -> Part:
    """Nothing was analysed: larger than all else, so that nobody takes the absence of findings for their absence."""
    sized: list[tuple[Style, Sequence[str]]] = [(Style(24, STRONG), ["Not analysed"])]
    for style, text in (
        (Style(13), f"because {why.reason}"),
        (Style(9.5, PLAIN, MUTED), f"Reason: {why.code}"),
        (Style(9.5, PLAIN, MUTED), f"Sent: {why.sent}"),
        *((Style(10.5, PLAIN, NOTICE), words) for words in why.what_to_do),
    ):
        sized.append((style, lines_within(text, INNER - 40, style.size, style.face)[:10]))
    lines = [(style, line) for style, found in sized for line in found]
    height = 24 + sum(style.size * 1.6 for style, _ in lines)

    def draw(page: Canvas, top: float) -> None:
        block(page, (MARGIN, top, INNER, height), SURFACE)
        block(page, (MARGIN, top, 5, height), AMBER)
        down = top + 8
        for style, line in lines:
            down += style.size * 1.6
            write(page, line, MARGIN + 20, down - style.size * 0.4, style)

    return Part(height, draw)
