"""The parts of the summary picture, one below the other: each knows its height and how to draw itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from dicom_node.results.lettering import fit, font, wrap
from dicom_node.results.overlay import hot_iron, on
from dicom_node.results.summary import BADGE, Failure, Summary
from dicom_node.results.table import Row, Table, number, scale_name
from inference.findings import HeatMap

WIDTH, MARGIN = 1280, 28
INNER = WIDTH - 2 * MARGIN
HEADER_HEIGHT, ROW_HEIGHT, LINE_HEIGHT, HEADING_LINE = 84, 32, 24, 20
BANNER_LINE_HEIGHT, FOOTER_LINE_HEIGHT = 32, 30
MOST_IN_ONE, MOST_COLUMNS_OF_TWO = 8, 2
LABEL_WIDTH, WIDEST_LABEL, WIDEST_COLUMN = 300, 460, 300

BACKGROUND, SURFACE, LINE = (12, 15, 20), (24, 29, 37), (44, 51, 62)
TEXT, MUTED, NOTICE = (238, 241, 245), (158, 168, 181), (255, 176, 59)


@dataclass(frozen=True, slots=True)
class Block:
    """draw: onto the card, from this row of pixels on."""

    height: int
    draw: Callable[[Image.Image, int], None]


def header(summary: Summary) -> Block:
    def draw(card: Image.Image, top: int) -> None:
        pen = ImageDraw.Draw(card)
        title = fit(summary.title, WIDTH - 340, 30, bold=True)
        pen.text((MARGIN, top + 14), title, fill=TEXT, font=font(30, bold=True))
        pen.text((MARGIN, top + 54), fit(summary.manufacturer, WIDTH - 340, 16), fill=MUTED, font=font(16))
        left = WIDTH - MARGIN - font(20).getlength(BADGE) - 32
        pen.rounded_rectangle((left, top + 18, WIDTH - MARGIN, top + 58), radius=8, outline=NOTICE, width=2)
        middle = (left + WIDTH - MARGIN) / 2, top + 38
        pen.text(middle, BADGE, fill=NOTICE, font=font(20), anchor="mm")

    return Block(HEADER_HEIGHT, draw)


def banner(words: str) -> Block:
    """What limits all that follows, such as images that are missing: as loud as the warning at the bottom."""
    lines = wrap(words, INNER, 20)

    def draw(card: Image.Image, top: int) -> None:
        pen = ImageDraw.Draw(card)
        pen.rectangle((0, top, WIDTH, top + BANNER_LINE_HEIGHT * len(lines) - 1), fill=NOTICE)
        for index, line in enumerate(lines):
            middle = top + BANNER_LINE_HEIGHT * (index + 0.5)
            pen.text((MARGIN, middle), line, fill=BACKGROUND, font=font(20), anchor="lm")

    return Block(BANNER_LINE_HEIGHT * len(lines), draw)


def pictures(height: int, make: Callable[[], Sequence[Image.Image]]) -> Block:
    """Side by side, made when they are drawn."""

    def draw(card: Image.Image, top: int) -> None:
        left = MARGIN
        for image in make():
            card.paste(image, (left, top))
            left += image.width + MARGIN

    return Block(height, draw)


def scale(heat_map: HeatMap) -> Block:
    """Which colour is which value of the heat map that is drawn."""

    def draw(card: Image.Image, top: int) -> None:
        pen, wide = ImageDraw.Draw(card), 420
        low, high = (f"{value:.4g}" for value in heat_map.shown)
        name = fit(scale_name(heat_map), 420, 17)
        pen.text((MARGIN, top + 12), name, fill=TEXT, font=font(17), anchor="lm")
        left = MARGIN + 450
        bar = np.repeat(hot_iron(np.linspace(0, 1, wide, dtype=np.float32))[None], 20, axis=0)
        card.paste(Image.fromarray(bar.astype(np.uint8)), (left, top + 2))
        pen.rectangle((left, top + 2, left + wide - 1, top + 21), outline=LINE)
        pen.text((left - 8, top + 12), low, fill=MUTED, font=font(16), anchor="rm")
        pen.text((left + wide + 8, top + 12), high, fill=MUTED, font=font(16), anchor="lm")
        if heat_map.hides_below is not None:
            words = f"not coloured below {number(heat_map.hides_below)}"
            pen.text((WIDTH - MARGIN, top + 12), words, fill=MUTED, font=font(16), anchor="rm")

    return Block(LINE_HEIGHT, draw)


def table(of: Table, heading_lines: int = 3) -> Block:
    """Rows with their colours and numbers, in two halves where they are narrow and many; what is left out stands below."""
    halves = 2 if len(of.rows) > MOST_IN_ONE and len(of.headings) <= MOST_COLUMNS_OF_TWO else 1
    width = (INNER - (halves - 1) * MARGIN) // halves
    length = -(-len(of.rows) // halves)
    parts = [of.rows[length * half : length * (half + 1)] for half in range(halves)]
    lefts = column_lefts(len(of.headings), width)
    headings = [
        wrap(words, b - a - 16, 16)[:heading_lines] for words, a, b in zip(of.headings, lefts, lefts[1:], strict=False)
    ]
    head = 14 + HEADING_LINE * max([1, *map(len, headings)])
    more = of.says_more

    def draw(card: Image.Image, top: int) -> None:
        pen = ImageDraw.Draw(card)
        for half, rows in enumerate(parts):
            left = MARGIN + half * (width + MARGIN)
            pen.rounded_rectangle((left, top, left + width, top + head + ROW_HEIGHT * length), radius=8, fill=SURFACE)
            pen.text((left + 16, top + 7), of.title if half == 0 else "", fill=MUTED, font=font(16, bold=True))
            ends = [left + at for at in lefts]
            for lines, right in zip(headings, ends[1:], strict=True):
                for index, words in enumerate(lines):
                    pen.text(
                        (right - 16, top + 7 + HEADING_LINE * index), words, fill=MUTED, font=font(16), anchor="ra"
                    )
            for index, row in enumerate(rows):
                draw_row(pen, row, top + head + ROW_HEIGHT * index, (left, *ends), width)
        if more:
            below = top + head + ROW_HEIGHT * length + 15
            pen.text((MARGIN + 16, below), more, fill=NOTICE, font=font(16), anchor="lm")

    return Block(head + ROW_HEIGHT * length + (LINE_HEIGHT + 2 if more else 0), draw)


def column_lefts(columns: int, width: int) -> list[float]:
    """Where each column of cells begins and the last one ends, from the left of the table. A cell stands near its name."""
    first = min(WIDEST_LABEL, max(LABEL_WIDTH, width - WIDEST_COLUMN * columns))
    each = min(WIDEST_COLUMN, (width - first) / max(columns, 1))
    return [first + each * index for index in range(columns + 1)]


def draw_row(pen: ImageDraw.ImageDraw, row: Row, top: int, lefts: Sequence[float], width: int) -> None:
    """lefts: of the table, of each column, and where the last one ends."""
    left, *lefts = lefts
    middle, at = top + ROW_HEIGHT / 2, left + 16
    pen.line((left, top, left + width, top), fill=LINE)
    if row.number is not None:
        color = row.color or MUTED
        pen.rectangle((at, middle - 10, at + 34, middle + 10), fill=color)
        pen.text((at + 17, middle), str(row.number), fill=on(color), font=font(15, bold=True), anchor="mm")
        at += 46
    elif row.color is not None:
        pen.rounded_rectangle((at, middle - 8, at + 16, middle + 8), radius=3, fill=row.color)
        at += 28
    pen.text((at, middle), fit(row.label, lefts[0] - at - 8, 18), fill=TEXT, font=font(18), anchor="lm")
    for cell, start, right in zip(row.cells, lefts, lefts[1:], strict=False):
        words = fit(cell, right - start - 20, 18)
        pen.text((right - 16, middle), words, fill=TEXT, font=font(18), anchor="rm")


def paragraphs(items: Sequence[tuple[str, str]], most_lines: int) -> Block:
    """Texts, each after its name; with dots where they are longer than there is room for."""
    lines = [line for name, words in items for line in wrap(f"{name}: {words}", INNER - 24, 18)]
    return _lines(lines, most_lines, 18, TEXT)


def notices(items: Sequence[str], most_lines: int) -> Block:
    """What a reader must know before he trusts the numbers."""
    return _lines([line for words in items for line in wrap(words, INNER - 24, 17)], most_lines, 17, NOTICE)


def small_print(items: Sequence[str], most_lines: int) -> Block:
    """What the model is for, where there is room."""
    return _lines([line for words in items for line in wrap(words, INNER - 24, 15)], most_lines, 15, MUTED)


def _lines(lines: Sequence[str], most: int, size: int, color: tuple[int, int, int]) -> Block:
    left_out = max(0, len(lines) - most)
    shown = [*lines[: most - 1], f"… {left_out + 1} more lines are not shown here"] if left_out else lines

    def draw(card: Image.Image, top: int) -> None:
        for index, line in enumerate(shown):
            ImageDraw.Draw(card).text((MARGIN + 16, top + LINE_HEIGHT * index), line, fill=color, font=font(size))

    return Block(LINE_HEIGHT * len(shown), draw)


def statement(words: str) -> Block:
    """One sentence that is all there is to say."""

    def draw(card: Image.Image, top: int) -> None:
        pen = ImageDraw.Draw(card)
        pen.rounded_rectangle((MARGIN, top, WIDTH - MARGIN, top + 56), radius=8, fill=SURFACE)
        pen.text((MARGIN + 20, top + 28), words, fill=TEXT, font=font(22), anchor="lm")

    return Block(56, draw)


def failure(why: Failure) -> Block:
    """Nothing was analysed: larger than all else, so that nobody takes the absence of findings for their absence."""
    width = INNER - 64
    parts = [
        ("Not analysed", 40, TEXT, True),
        *((line, 24, TEXT, False) for line in wrap(f"because {why.reason}", width, 24)[:8]),
    ]
    parts += [("", 12, MUTED, False)]
    parts += [(line, 18, MUTED, False) for line in wrap(f"Reason: {why.code}", width, 18)[:2]]
    parts += [(fit(f"Sent: {why.sent}", width, 18), 18, MUTED, False), ("", 12, MUTED, False)]
    parts += [(line, 20, NOTICE, False) for words in why.what_to_do for line in wrap(words, width, 20)]
    tops = np.cumsum([28, *(round(size * 1.45) for _, size, _, _ in parts)]).tolist()

    def draw(card: Image.Image, top: int) -> None:
        pen = ImageDraw.Draw(card)
        pen.rounded_rectangle((MARGIN, top, WIDTH - MARGIN, top + tops[-1] + 24), radius=8, fill=SURFACE)
        pen.rectangle((MARGIN, top + 12, MARGIN + 6, top + tops[-1] + 12), fill=NOTICE)
        for (words, size, color, bold), down in zip(parts, tops, strict=False):
            pen.text((MARGIN + 32, top + down), words, fill=color, font=font(size, bold=bold))

    return Block(tops[-1] + 24, draw)


def footer(summary: Summary) -> Block:
    """The words of the site, across the whole width, and which revision this is."""
    room = INNER - font(16).getlength(summary.made) - 40
    lines = wrap(summary.disclaimer, room, 22)
    height = 22 + FOOTER_LINE_HEIGHT * len(lines)

    def draw(card: Image.Image, top: int) -> None:
        pen = ImageDraw.Draw(card)
        pen.rectangle((0, top, WIDTH, top + height), fill=NOTICE)
        for index, line in enumerate(lines):
            middle = top + 11 + FOOTER_LINE_HEIGHT * (index + 0.5)
            pen.text((MARGIN, middle), line, fill=BACKGROUND, font=font(22, bold=False), anchor="lm")
        made = WIDTH - MARGIN, top + height / 2
        pen.text(made, summary.made, fill=BACKGROUND, font=font(16), anchor="rm")

    return Block(height, draw)
