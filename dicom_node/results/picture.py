"""One slice of the volume as a picture, the segments drawn over it, in the orientation that radiologists read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import permutations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from inference.findings import Findings, Segment
from inference.volume import Volume

View = Literal["axial", "coronal"]

FILL_OPACITY, SPECK_OPACITY = 0.25, 0.6
MOST_BORDER = 0.6
CONTOUR_PIXELS = 2
LETTERS = {"axial": ("R", "L", "A", "P"), "coronal": ("R", "L", "H", "F")}
"""What lies to the left, right, top and bottom of the picture."""

LETTER_COLOR = (255, 214, 102)
CAPTION_COLOR = (178, 188, 200)


@dataclass(frozen=True, slots=True)
class Canonical:
    """How to turn the volume's axes so that they run to the head, to the back and to the left, without resampling.

    An oblique volume is turned to the nearest such axes, and shown as it was acquired.
    """

    axes: tuple[int, ...]
    flips: tuple[slice, ...]
    spacing_mm: tuple[float, ...]

    @classmethod
    def of(cls, volume: Volume) -> Canonical:
        directions = volume.affine_lps[:3, :3] / np.asarray(volume.spacing_mm)
        toward = directions[[2, 1, 0]]  # rows: head, back, left
        axes = max(permutations(range(3)), key=lambda order: sum(abs(toward[i, a]) for i, a in enumerate(order)))
        flips = tuple(slice(None, None, 1 if toward[i, axis] >= 0 else -1) for i, axis in enumerate(axes))
        return cls(axes, flips, tuple(volume.spacing_mm[axis] for axis in axes))

    def __call__(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """A view of the array with axes head, back, left."""
        return np.transpose(array, self.axes)[self.flips]


@dataclass(frozen=True, slots=True)
class Window:
    """Grey values between low and high, in the unit of the voxels, are spread from black to white."""

    low: float
    high: float

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.uint8]:
        scaled = (values - self.low) / max(self.high - self.low, 1e-6)
        return np.asarray(np.clip(scaled, 0, 1) * 255, np.uint8)

    @property
    def caption(self) -> str:
        """As viewers write it: width and level."""
        return f"W {self.high - self.low:.0f}  L {(self.high + self.low) / 2:.0f}"


def window_for(volume: Volume, segments: Sequence[Segment]) -> Window:
    """From the values around the segments: what was measured is then well visible, whatever body part or modality."""
    box = tuple(slice(None) for _ in range(3))
    boxes = [found[0] for s in segments if (found := ndimage.find_objects(s.mask.astype(np.uint8))) and found[0]]
    if boxes:
        box = tuple(slice(min(b[k].start for b in boxes), max(b[k].stop for b in boxes)) for k in range(3))
    values = volume.voxels[box]
    step = max(1, int(np.cbrt(values.size / 200_000)))
    low, high = np.percentile(values[::step, ::step, ::step], (0.5, 98))
    return (
        Window(float(np.floor(low / 50) * 50), float(np.ceil(high / 50) * 50))
        if high - low > 200
        else Window(low, high)
    )


def render(
    volume: Volume, segments: Sequence[Segment], view: View, size: tuple[int, int], window: Window
) -> Image.Image:
    """The slice in which the segments together are largest, fitted into size (width, height) on black, with contours.

    Small segments are drawn over large ones. Letters name the sides of the patient.
    """
    canonical = Canonical.of(volume)
    masks = [canonical(segment.mask) for segment in segments]
    index = best_slice(masks, view, canonical(volume.voxels).shape)
    grey = window(np.asarray(cut(canonical(volume.voxels), view, index), np.float32))
    width_mm, height_mm = extent_mm(grey.shape, canonical.spacing_mm, view)
    scale = min(size[0] / width_mm, size[1] / height_mm)
    fitted = max(1, round(width_mm * scale)), max(1, round(height_mm * scale))
    picture = np.asarray(Image.fromarray(grey).resize(fitted, Image.Resampling.BICUBIC).convert("RGB"), np.float32)
    small_over_large = sorted(zip(segments, masks, strict=True), key=lambda pair: -np.count_nonzero(pair[1]))
    plain = picture.copy()
    for segment, mask in small_over_large:
        paint(picture, plain, scaled(np.asarray(cut(mask, view, index)), fitted), segment.color_rgb)
    canvas = Image.new("RGB", size)
    canvas.paste(Image.fromarray(picture.astype(np.uint8)), ((size[0] - fitted[0]) // 2, (size[1] - fitted[1]) // 2))
    label(canvas, view, f"{view.capitalize()}   {window.caption}")
    return canvas


def best_slice(masks: Sequence[NDArray[np.generic]], view: View, shape: tuple[int, ...]) -> int:
    """Index along the view's axis where the masks together hold most voxels; the middle one where they hold none."""
    across = 0 if view == "axial" else 1
    others = tuple(axis for axis in range(3) if axis != across)
    totals = sum((np.count_nonzero(mask, axis=others) for mask in masks), np.zeros(shape[across], np.int64))
    return int(totals.argmax()) if totals.any() else shape[across] // 2


def cut(array: NDArray[np.generic], view: View, index: int) -> NDArray[np.generic]:
    """A slice of an array with axes head, back, left; its first row is in front or at the head."""
    return array[index] if view == "axial" else array[::-1, index]


def extent_mm(shape: tuple[int, ...], spacing_mm: Sequence[float], view: View) -> tuple[float, float]:
    """Width and height of the slice."""
    down_mm = spacing_mm[1] if view == "axial" else spacing_mm[0]
    return shape[1] * spacing_mm[2], shape[0] * down_mm


def scaled(mask: NDArray[np.generic], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask at the size of the picture, its steps smoothed."""
    image = Image.fromarray(np.asarray(mask, np.uint8) * np.uint8(255))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR)) >= 128


def paint(
    picture: NDArray[np.float32], plain: NDArray[np.float32], mask: NDArray[np.bool_], color: tuple[int, int, int]
) -> None:
    """Tint the inside and draw the border of a mask (rows, columns) in its colour, in place.

    The tint replaces that of larger segments, so that each colour is the one of the legend. A mask of specks, all
    border, is tinted only: lines would hide what is below.
    """
    border = mask & ~ndimage.binary_erosion(mask, iterations=CONTOUR_PIXELS)
    is_speckled = np.count_nonzero(border) > MOST_BORDER * np.count_nonzero(mask)
    opacity = SPECK_OPACITY if is_speckled else FILL_OPACITY
    picture[mask] = plain[mask] * (1 - opacity) + np.asarray(color, np.float32) * opacity
    if not is_speckled:
        picture[border] = color


def label(canvas: Image.Image, view: View, caption: str) -> None:
    """Side letters at the borders, the view's name in the corner."""
    draw, (width, height) = ImageDraw.Draw(canvas), canvas.size
    left, right, top, bottom = LETTERS[view]
    font = ImageFont.load_default(20)
    places = (
        (left, (8, height / 2), "lm"),
        (right, (width - 8, height / 2), "rm"),
        (top, (width / 2, 6), "ma"),
        (bottom, (width / 2, height - 6), "md"),
    )
    for letter, at, anchor in places:
        draw.text(at, letter, fill=LETTER_COLOR, font=font, anchor=anchor, stroke_width=2, stroke_fill=(0, 0, 0))
    draw.text(
        (10, 8), caption, fill=CAPTION_COLOR, font=ImageFont.load_default(15), stroke_width=2, stroke_fill=(0, 0, 0)
    )


def overlay_png(volume: Volume, findings: Findings, height: int = 900) -> bytes:
    """A PNG of the axial slice in which the segments are largest, with their names in their colours beside it."""
    segments = findings.segments
    image = render(volume, segments, "axial", (height, height), window_for(volume, segments))
    font = ImageFont.load_default(20)
    beside = max((int(font.getlength(segment.label)) for segment in segments), default=0) + 70 if segments else 0
    canvas = Image.new("RGB", (height + beside, height))
    canvas.paste(image, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for row, segment in enumerate(segments):
        top = 24 + 34 * row
        draw.rectangle((height + 16, top, height + 36, top + 20), fill=segment.color_rgb)
        draw.text((height + 48, top + 10), segment.label, fill=(235, 238, 242), font=font, anchor="lm")
    buffer = BytesIO()
    canvas.save(buffer, "PNG")
    return buffer.getvalue()
