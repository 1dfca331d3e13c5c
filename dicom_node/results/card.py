"""The summary as one picture: who says it, where it is, the numbers, and what a reader must know before he trusts them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from PIL import Image

from dicom_node.results import blocks
from dicom_node.results.blocks import BACKGROUND, INNER, MARGIN, WIDTH, Block
from dicom_node.results.looks import MOST_DETAILS, Look, Looks, looks_at
from dicom_node.results.orientation import Canonical
from dicom_node.results.picture import Window, render, window_for
from dicom_node.results.picture_alone import alone, looks_at_pictures
from dicom_node.results.picture_names import headed, is_tiled, name_of
from dicom_node.results.scene import Scene
from dicom_node.results.summary import NOTHING_FOUND, Allowance, Summary, image_names, shared_out, summary_of
from dicom_node.results.table import ImageName, numbered, numbers_in
from inference.findings import Findings
from inference.volume import Volume

HIGHEST = 1600
"""Pixels. Viewers fit a picture into their window: a longer one would be too small to read."""

MOST_ROWS, FEWEST_ROWS = 48, 6
MOST_BANNER_CHARACTERS = 320
MOST_LINES_OF_PURPOSE = 4
PANEL_HEIGHT, DETAIL_HEIGHT = 520, 250
GAP = 18


ALLOWANCES = (
    Allowance(MOST_ROWS, purpose=True),
    Allowance(MOST_ROWS),
    Allowance(MOST_ROWS, details=False),
    *(Allowance(rows) for rows in range(MOST_ROWS, FEWEST_ROWS - 1, -1)),
    Allowance(FEWEST_ROWS, 3, 3),
    Allowance(FEWEST_ROWS, 2, 2, heading_lines=1, details=False),
)
"""From the most to what always fits. Smaller pictures are given up where all rows fit then."""


def draw_card(scene: Scene) -> Image.Image:
    """RGB, 1280 pixels wide and 1600 high at most, as high as it needs; the most important rows where not all fit."""
    summary = summary_of(scene)
    foot, looks = blocks.footer(summary), looks_of(scene.volume, scene.report.findings) if scene.is_analysed else None
    for allowed in ALLOWANCES:
        body = _body(scene, summary, looks, allowed)
        height = sum(block.height + GAP for block in body) + foot.height
        if height <= HIGHEST:
            break
    card = Image.new("RGB", (WIDTH, height), BACKGROUND)
    top = 0
    for block in body:
        block.draw(card, top)
        top += block.height + GAP
    foot.draw(card, top)
    return card


def foot_of(scene: Scene) -> Image.Image:
    """The foot of the card alone, with the words that no card may lack."""
    foot = blocks.footer(summary_of(scene))
    image = Image.new("RGB", (WIDTH, foot.height))
    foot.draw(image, 0)
    return image


def _body(scene: Scene, summary: Summary, looks: Looks | None, allowed: Allowance) -> list[Block]:
    tables = shared_out(summary.tables, allowed.rows)
    body = [blocks.header(summary)]
    if summary.banner:
        body.append(blocks.banner(summary.banner[:MOST_BANNER_CHARACTERS]))
    if summary.failure:
        body.append(blocks.failure(summary.failure))
    if looks:
        shown = looks if allowed.details else Looks(looks.main)
        body += _panels(scene, shown, numbers_in(tables))
        body += [blocks.scale(heat_map) for heat_map in scene.report.findings.heat_maps[:1]]
    if summary.is_silent:
        body.append(blocks.statement(NOTHING_FOUND))
    body += [blocks.table(table, allowed.heading_lines) for table in tables]
    if summary.texts:
        body.append(blocks.paragraphs(summary.texts, allowed.text_lines))
    if summary.remarks:
        body.append(blocks.notices(summary.remarks, allowed.notice_lines))
    if allowed.purpose:
        body.append(blocks.small_print(summary.purpose, MOST_LINES_OF_PURPOSE))
    return body


def _panels(scene: Scene, looks: Looks, numbers: Collection[int]) -> list[Block]:
    """The slices that show most, and smaller ones of what lies elsewhere, in one window. numbers: those in the tables."""
    panels = [_side_by_side(scene, looks.main, len(looks.main), PANEL_HEIGHT, numbers)]
    if looks.details:
        panels.append(_side_by_side(scene, looks.details, MOST_DETAILS, DETAIL_HEIGHT, numbers))
    return panels


def _side_by_side(scene: Scene, looks: Sequence[Look], columns: int, height: int, numbers: Collection[int]) -> Block:
    width = (INNER - (columns - 1) * MARGIN) // columns
    return blocks.pictures(height, lambda: pictures_of(scene, looks, (width, height), numbers))


def pictures_of(
    scene: Scene, looks: Sequence[Look], size: tuple[int, int], numbers: Collection[int]
) -> list[Image.Image]:
    """A picture of each slice, all in one window, with the findings of these numbers marked by them."""
    volume, findings = scene.volume, scene.report.findings
    names = image_names(scene.report)
    marked = {key: number for key, number in numbered(findings).items() if number in numbers}
    window = None if volume.pictures else window_for(volume, findings.segments)
    made = []
    for look in looks:
        # Pictures were each exposed in its own way.
        own = window or window_of_picture(volume, findings, look)
        words = caption(volume, look, names, own)
        made.append(render(volume, findings, look, size, own, numbers=marked, caption=words))
    return made


def looks_of(volume: Volume, findings: Findings) -> Looks:
    """The slices of a volume, or the pictures, that are shown."""
    return looks_at_pictures(volume, findings) if volume.pictures else looks_at(volume, findings)


def window_of_picture(volume: Volume, findings: Findings, look: Look) -> Window:
    picture, found = alone(volume, findings, look.index)
    return window_for(picture, found.segments)


def caption(volume: Volume, look: Look, names: ImageName, window: Window) -> str:
    """Which image it is, where it is one of those acquired, and the window, as viewers write it."""
    if volume.pictures:
        return pictures_caption(volume, look, window)
    canonical = Canonical.of(volume)
    if look.view != canonical.acquired:
        return f"{look.view.capitalize()}   {window.caption}"
    return f"{look.view.capitalize()}, image {names(canonical.slice_of(look.index))}   {window.caption}"


def pictures_caption(volume: Volume, look: Look, window: Window) -> str:
    """Which picture it is; of one in colour there is no window."""
    number = next(n for n, picture in enumerate(volume.pictures) if picture.slice == look.index)
    name = headed(name_of(volume, number)) if not is_tiled(volume) else "Whole image"
    return name if volume.pictures[number].is_color else f"{name}   {window.caption}"
