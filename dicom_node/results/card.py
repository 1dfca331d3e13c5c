"""The summary as one picture: who says it, two slices, the numbers, and what a reader must know before he trusts them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count

from PIL import Image, ImageDraw, ImageFont

from dicom_node.results.context import local_time
from dicom_node.results.picture import render, window_for
from dicom_node.results.report import Report
from inference.findings import Findings, Measurement, Segment
from inference.volume import Volume

WIDTH, MARGIN = 1280, 28
HEADER_HEIGHT, PANEL_HEIGHT, ROW_HEIGHT, LINE_HEIGHT, FOOTER_HEIGHT = 84, 520, 34, 24, 52
BANNER_LINE_HEIGHT = 32

BACKGROUND, SURFACE = (12, 15, 20), (24, 29, 37)
TEXT, MUTED, NOTICE = (238, 241, 245), (158, 168, 181), (255, 176, 59)

WARNING = "AI result - not for diagnosis unless reviewed by a physician"

UNITS = {"[hnsf'U]": "HU", "1": "ratio", "mm2": "mm²", "mm3": "mm³", "cm3": "cm³"}
"""UCUM as people write it, where that differs."""

Column = tuple[str, str, str]
"""What a measurement is (name, derivation) and its unit."""


def draw_card(report: Report, volume: Volume) -> Image.Image:
    """RGB, 1280 pixels wide; as high as the numbers and remarks need."""
    findings = report.findings
    columns = table_columns(findings.measurements)
    remarks = [line for remark in findings.remarks for line in wrap(remark.text, WIDTH - 2 * MARGIN - 24, 17)]
    table_height = table_header_height(columns) + ROW_HEIGHT * len(findings.segments)
    banner = wrap(report.remark, WIDTH - 2 * MARGIN, 20) if report.remark else []
    below_header = HEADER_HEIGHT + BANNER_LINE_HEIGHT * len(banner)
    height = below_header + PANEL_HEIGHT + table_height + LINE_HEIGHT * len(remarks) + FOOTER_HEIGHT + 3 * 18
    card = Image.new("RGB", (WIDTH, height), BACKGROUND)
    draw = ImageDraw.Draw(card)
    draw_header(draw, report)
    draw_banner(draw, banner)
    draw_panels(card, volume, findings.segments, below_header)
    top = below_header + PANEL_HEIGHT + 18
    draw_table(draw, findings, columns, top)
    top += table_height + 18
    for line in remarks:
        draw.text((MARGIN + 24, top), line, fill=NOTICE, font=font(17))
        top += LINE_HEIGHT
    draw_footer(draw, report, height)
    return card


def draw_header(draw: ImageDraw.ImageDraw, report: Report) -> None:
    model = report.model
    draw.text((MARGIN, 16), fit(f"{model.title} {model.version}", WIDTH - 320, 30), fill=TEXT, font=font(30))
    draw.text((MARGIN, 54), fit(model.manufacturer, WIDTH - 320, 16), fill=MUTED, font=font(16))
    badge = "AI result, not reviewed"
    left = WIDTH - MARGIN - font(20).getlength(badge) - 32
    draw.rounded_rectangle((left, 18, WIDTH - MARGIN, 58), radius=8, outline=NOTICE, width=2)
    draw.text(((left + WIDTH - MARGIN) / 2, 38), badge, fill=NOTICE, font=font(20), anchor="mm")


def draw_banner(draw: ImageDraw.ImageDraw, lines: Sequence[str]) -> None:
    """What limits all that follows, such as images that are missing: as loud as the warning at the bottom."""
    for number, line in enumerate(lines):
        top = HEADER_HEIGHT + BANNER_LINE_HEIGHT * number
        draw.rectangle((0, top, WIDTH, top + BANNER_LINE_HEIGHT), fill=NOTICE)
        draw.text((MARGIN, top + BANNER_LINE_HEIGHT / 2), line, fill=BACKGROUND, font=font(20), anchor="lm")


def draw_panels(card: Image.Image, volume: Volume, segments: Sequence[Segment], top: int) -> None:
    """Axial and coronal, side by side, in one window."""
    width = (WIDTH - 3 * MARGIN) // 2
    window = window_for(volume, segments)
    card.paste(render(volume, segments, "axial", (width, PANEL_HEIGHT), window), (MARGIN, top))
    card.paste(render(volume, segments, "coronal", (width, PANEL_HEIGHT), window), (2 * MARGIN + width, top))


def table_columns(measurements: Sequence[Measurement]) -> list[Column]:
    """Each kind of measurement once, in the order of its first appearance."""
    return list(dict.fromkeys(column(measurement) for measurement in measurements))


def column(measurement: Measurement) -> Column:
    derivation = measurement.derivation.meaning if measurement.derivation else ""
    return measurement.name.meaning, derivation, measurement.unit.value


def heading(of: Column, width: float) -> list[str]:
    name, derivation, unit = of
    derived = f", {derivation[:1].lower()}{derivation[1:]}" if derivation else ""
    return wrap(f"{name}{derived} ({UNITS.get(unit, unit)})", width - 16, 16)


def column_lefts(columns: Sequence[Column]) -> list[float]:
    """Where each column of numbers begins, and where the last one ends."""
    first, last = MARGIN + 330, WIDTH - MARGIN
    return [first + (last - first) * index / max(len(columns), 1) for index in range(len(columns) + 1)]


def table_header_height(columns: Sequence[Column]) -> int:
    lefts = column_lefts(columns)
    lines = (len(heading(c, b - a)) for c, a, b in zip(columns, lefts, lefts[1:], strict=False))
    return 14 + 20 * max(lines, default=0)


def draw_table(draw: ImageDraw.ImageDraw, findings: Findings, columns: Sequence[Column], top: int) -> None:
    """A row for each segment, with its colour; a dash where the model gave no number."""
    lefts, header_height = column_lefts(columns), table_header_height(columns)
    bottom = top + header_height + ROW_HEIGHT * len(findings.segments)
    draw.rounded_rectangle((MARGIN, top, WIDTH - MARGIN, bottom), radius=8, fill=SURFACE)
    for item, left, right in zip(columns, lefts, lefts[1:], strict=False):
        for line, words in enumerate(heading(item, right - left)):
            draw.text((right - 16, top + 8 + 20 * line), words, fill=MUTED, font=font(16), anchor="ra")
    values = {(m.finding_key, column(m)): m.value for m in findings.measurements}
    for segment, row in zip(findings.segments, count(), strict=False):
        middle = top + header_height + ROW_HEIGHT * row + ROW_HEIGHT // 2
        draw.line((MARGIN, middle - ROW_HEIGHT // 2, WIDTH - MARGIN, middle - ROW_HEIGHT // 2), fill=BACKGROUND)
        draw.rounded_rectangle((MARGIN + 16, middle - 8, MARGIN + 32, middle + 8), radius=3, fill=segment.color_rgb)
        draw.text((MARGIN + 44, middle), fit(segment.label, 270, 18), fill=TEXT, font=font(18), anchor="lm")
        for item, right in zip(columns, lefts[1:], strict=True):
            value = values.get((segment.key, item))
            shown = "-" if value is None else number(value)
            draw.text((right - 16, middle), shown, fill=TEXT, font=font(18), anchor="rm")


def draw_footer(draw: ImageDraw.ImageDraw, report: Report, height: int) -> None:
    draw.rectangle((0, height - FOOTER_HEIGHT, WIDTH, height), fill=NOTICE)
    middle = height - FOOTER_HEIGHT / 2
    draw.text((MARGIN, middle), WARNING, fill=BACKGROUND, font=font(22), anchor="lm")
    made = f"Revision {report.revision}, {local_time(report):%Y-%m-%d %H:%M %z}"
    draw.text((WIDTH - MARGIN, middle), made, fill=BACKGROUND, font=font(16), anchor="rm")


def number(value: float) -> str:
    """Three or four significant digits, as far as such a measurement is repeatable; a dash for what is no number."""
    if not math.isfinite(value):
        return "-"
    return (
        f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    )


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own scalable face: the same picture on every machine."""
    return ImageFont.load_default(size)


def fit(text: str, width: float, size: int) -> str:
    """The text, shortened with dots where it is wider than width pixels."""
    face = font(size)
    while face.getlength(text) > width and len(text) > 4:
        text = f"{text[:-4]}..."
    return text


def wrap(text: str, width: float, size: int) -> list[str]:
    """Lines of at most width pixels, broken between words."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font(size).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
