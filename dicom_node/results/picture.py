"""One slice of the volume as a picture, what was found drawn over it, in the orientation that radiologists read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dicom_node.results.importance import placed
from dicom_node.results.lettering import fit, font, named
from dicom_node.results.looks import Look, looks_at, sampled, sampling, some_at_once, weights
from dicom_node.results.orientation import SIDES, Canonical
from dicom_node.results.overlay import Fitted, heat, mark, paint
from dicom_node.results.picture_alone import alone, colors_of, sides_of
from inference.findings import Findings, Segment
from inference.volume import Volume

SIDE_COLOR = (255, 214, 102)
CAPTION_COLOR = (214, 221, 230)
MOST_IN_LEGEND = 24
NARROW = 400
"""Pixels. In a picture narrower than this there is no room for the window."""


@dataclass(frozen=True, slots=True)
class Window:
    """Grey values between low and high, in the unit of the voxels, are spread from black to white."""

    low: float
    high: float

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        scaled = (np.nan_to_num(values) - self.low) / max(self.high - self.low, 1e-6)
        return np.asarray(np.clip(scaled, 0, 1) * 255, np.uint8)

    @property
    def caption(self) -> str:
        """As viewers write it: width and level."""
        width, level = self.high - self.low, (self.high + self.low) / 2
        digits = 0 if width >= 10 else 2
        return f"W {width:.{digits}f}  L {level:.{digits}f}"


def window_for(volume: Volume, segments: Sequence[Segment]) -> Window:
    """From the values around the segments: what was measured is then well visible, whatever body part or modality."""
    steps = sampling(volume.voxels.shape)
    values = volume.voxels[:, :: steps[0], :: steps[1]]
    box = extent(segments, steps, values.shape)
    around = values[box] if box else values
    known = np.isfinite(around)
    if volume.padding_value is not None and (measured := known & (around != volume.padding_value)).any():
        known = measured
    # A copy, so that it may be put into order where it is.
    kept = around[known]
    low, high = np.percentile(kept, (0.5, 98), overwrite_input=True) if kept.size else (0, 1)
    if high - low > 200:
        low, high = np.floor(low / 50) * 50, np.ceil(high / 50) * 50
    return Window(float(low), float(high))


def extent(segments: Sequence[Segment], steps: tuple[int, int], shape: tuple[int, ...]) -> tuple[slice, ...] | None:
    """The box around all segments in the sampled volume; None where they hold nothing."""
    lines = [np.zeros(size, np.bool_) for size in shape]
    for slices in some_at_once(shape[0]):
        held = np.zeros((len(lines[0][slices]), *shape[1:]), np.bool_)
        for layer, sample in sampled(segments, slices, steps):
            held |= np.asarray(weights(layer, sample), np.bool_)
        lines[0][slices] = held.any(axis=(1, 2))
        lines[1] |= held.any(axis=(0, 2))
        lines[2] |= held.any(axis=(0, 1))
    if not lines[0].any():
        return None
    ends = [np.flatnonzero(line)[[0, -1]] for line in lines]
    return tuple(slice(int(first), int(last) + 1) for first, last in ends)


def render(
    volume: Volume,
    findings: Findings,
    look: Look,
    size: tuple[int, int],
    window: Window,
    *,
    numbers: Mapping[str, int] | None = None,
    caption: str = "",
) -> Image.Image:
    """The slice, fitted into size (width, height) on black, with all that reaches into it. Letters name the patient's sides.

    Small segments are drawn over large ones; of the heat maps the first is drawn. numbers: by key, of the detections and
    landmarks that the table names.
    """
    sides = SIDES[look.view]
    if volume.pictures:
        volume, findings = alone(volume, findings, look.index)
        look, sides = Look(look.view, 0), sides_of(volume)
    canonical = Canonical.of(volume)
    width_mm, height_mm = canonical.extent_mm(look.view)
    scale = min(size[0] / width_mm, size[1] / height_mm)
    fitted = Fitted(canonical, look, (max(1, round(width_mm * scale)), max(1, round(height_mm * scale))))
    picture = drawn(volume, findings, fitted, window, numbers or {})
    canvas = Image.new("RGB", size)
    canvas.paste(picture, ((size[0] - fitted.size[0]) // 2, (size[1] - fitted.size[1]) // 2))
    words = caption or f"{look.view.capitalize()}   {window.caption}"
    label(canvas, sides, words if size[0] >= NARROW else words.partition("   ")[0])
    return canvas


def drawn(
    volume: Volume, findings: Findings, fitted: Fitted, window: Window, numbers: Mapping[str, int]
) -> Image.Image:
    """The slice alone, at its size, with what was found."""
    cut, look = fitted.canonical.cut, fitted.look
    colors = colors_of(volume)
    if colors is None:
        colors = window(np.asarray(cut(volume.voxels, look.view, look.index), np.float32))
    shown = Image.fromarray(np.ascontiguousarray(colors))
    plain = np.asarray(shown.resize(fitted.size, Image.Resampling.BICUBIC).convert("RGB"), np.float32)
    picture = plain.copy()
    for heat_map in findings.heat_maps[:1]:
        heat(picture, heat_map, fitted)
    masks = [(segment, segment.of(cut(segment.array, look.view, look.index))) for segment in findings.segments]
    for segment, mask in sorted(masks, key=lambda pair: -np.count_nonzero(pair[1])):
        if mask.any():
            paint(picture, plain, fitted.scaled(mask), segment.color_rgb)
    image = Image.fromarray(picture.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    within = [finding for finding in placed(findings) if fitted.meets(finding)]
    for finding in sorted(within, key=lambda one: -numbers.get(one.key, len(numbers) + 1)):
        mark(draw, finding, numbers.get(finding.key), fitted)
    return image


def label(canvas: Image.Image, sides: Sequence[str], caption: str) -> None:
    """The patient's sides at the borders, what is shown in the corner."""
    draw, (width, height) = ImageDraw.Draw(canvas), canvas.size
    left, right, top, bottom = sides
    places = (
        (left, (8, height / 2), "lm"),
        (right, (width - 8, height / 2), "rm"),
        (top, (width / 2, 6), "ma"),
        (bottom, (width / 2, height - 6), "md"),
    )
    for letter, at, anchor in places:
        draw.text(at, letter, fill=SIDE_COLOR, font=font(20), anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))
    words = fit(caption, width / 2 - 24, 15)
    draw.text((10, 8), words, fill=CAPTION_COLOR, font=font(15), stroke_width=2, stroke_fill=(0, 0, 0))


def overlay_png(volume: Volume, findings: Findings, height: int = 900) -> bytes:
    """A PNG of the acquired slice in which the segments are largest, with their names in their colours beside it."""
    segments = findings.segments[:MOST_IN_LEGEND]
    look = looks_at(volume, findings).main[0]
    image = render(volume, findings, look, (height, height), window_for(volume, findings.segments))
    names = [named(segment.label, segment.type) for segment in segments]
    beside = max((int(font(20).getlength(name)) for name in names), default=0) + 70 if segments else 0
    canvas = Image.new("RGB", (height + beside, height))
    canvas.paste(image, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for row, (segment, name) in enumerate(zip(segments, names, strict=True)):
        top = 24 + 34 * row
        draw.rectangle((height + 16, top, height + 36, top + 20), fill=segment.color_rgb)
        draw.text((height + 48, top + 10), name, fill=(235, 238, 242), font=font(20), anchor="lm")
    buffer = BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()
