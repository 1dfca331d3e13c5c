"""Draws what was found over a slice: areas, heat, outlines, boxes, points with their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from dicom_node.results.lettering import font
from dicom_node.results.looks import Look, bounds
from dicom_node.results.orientation import VIEWS, Canonical
from inference.findings import Contour, Detection, HeatMap, Landmark, Point

FILL_OPACITY, SPECK_OPACITY = 0.25, 0.6
LEAST_HEAT_OPACITY, MOST_HEAT_OPACITY = 0.45, 0.9
MOST_BORDER = 0.6
CONTOUR_PIXELS = 2
LANDMARK_COLOR = (0, 200, 190)

Color = tuple[int, int, int]
Pixels = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A slice at the size of its picture, in pixels (width, height)."""

    canonical: Canonical
    look: Look
    size: Pixels

    def scaled(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The mask at the size of the picture, its steps smoothed."""
        image = Image.fromarray(np.asarray(mask, np.uint8) * np.uint8(255))
        return np.asarray(image.resize(self.size, Image.Resampling.BILINEAR)) >= 128

    def xy(self, voxel: Sequence[float]) -> tuple[float, float]:
        """Where (slice, row, column) of the volume lies in the picture."""
        row, column = self.canonical.at(self.canonical.place(voxel), self.look.view)
        width_mm, height_mm = self.canonical.extent_mm(self.look.view)
        across, down = self._pixel_mm
        return (column + 0.5) * across / width_mm * self.size[0], (row + 0.5) * down / height_mm * self.size[1]

    @property
    def _pixel_mm(self) -> tuple[float, float]:
        head, back, left = self.canonical.spacing_mm
        return {"axial": (left, back), "coronal": (left, head), "sagittal": (back, head)}[self.look.view]

    def meets(self, finding: Detection | Landmark) -> bool:
        """Whether the finding reaches into the slice."""
        axis = VIEWS.index(self.look.view)
        places = [self.canonical.place(voxel)[axis] for voxel in bounds(finding)]
        return min(places) - 0.5 <= self.look.index <= max(places) + 0.5


def paint(picture: NDArray[np.float32], plain: NDArray[np.float32], mask: NDArray[np.bool_], color: Color) -> None:
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


def heat(picture: NDArray[np.float32], heat_map: HeatMap, fitted: Fitted) -> None:
    """Colour the values of a heat map that are to be seen, in place; what lies below stays visible."""
    values = np.asarray(fitted.canonical.cut(heat_map.values, fitted.look.view, fitted.look.index), np.float32)
    low, high = heat_map.shown
    known = np.isfinite(values)
    fine = np.asarray(Image.fromarray(np.where(known, values, low)).resize(fitted.size, Image.Resampling.BILINEAR))
    where = fitted.scaled(known)
    if heat_map.hides_below is not None:
        where &= fine >= heat_map.hides_below
    shares = np.asarray(np.clip((fine - low) / (high - low), 0, 1), np.float32)
    opacity = (LEAST_HEAT_OPACITY + (MOST_HEAT_OPACITY - LEAST_HEAT_OPACITY) * shares)[..., None]
    picture[where] = (picture * (1 - opacity) + hot_iron(shares) * opacity)[where]


def hot_iron(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """0 to 1 as RGB (..., 3), by the Hot Iron palette (PS3.6 B.1.1): brighter is more, for the colour-blind too."""
    levels = shares * 255
    return np.stack(
        [np.clip(levels * 2, 0, 255), np.clip(levels * 2 - 255, 0, 255), np.clip(levels * 4 - 765, 0, 255)], -1
    )


def mark(draw: ImageDraw.ImageDraw, finding: Detection | Landmark, number: int | None, fitted: Fitted) -> None:
    """Outline it with its number; thin and without one where it is not in the table."""
    color = LANDMARK_COLOR if isinstance(finding, Landmark) else finding.color_rgb
    place = finding.at if isinstance(finding, Landmark) else finding.place
    width = 1 if number is None else 3
    if isinstance(place, Contour) and fitted.look.view == fitted.canonical.acquired:
        corners = [fitted.xy((place.slice, row, column)) for row, column in place.points]
        draw.line([*corners, corners[0]], fill=color, width=width, joint="curve")
        left, top = min(x for x, _ in corners), min(y for _, y in corners)
    elif isinstance(place, Point):
        x, y = fitted.xy(place.at)
        reach = 5 if number is None else 9
        for dx, dy in ((reach, 0), (0, reach)):
            draw.line((x - dx, y - dy, x + dx, y + dy), fill=color, width=width)
        left, top = x + reach - 4, y - reach + 4
    else:
        left, top, right, bottom = box(finding, fitted)
        draw.rectangle((left, top, right, bottom), outline=color, width=width)
    if number is not None:
        tag(draw, str(number), (left, top), color, fitted.size)


def box(finding: Detection | Landmark, fitted: Fitted) -> tuple[float, float, float, float]:
    """Left, top, right, bottom in pixels, the voxels at its corners within; large enough to be seen."""
    first, last = bounds(finding)
    corners = [fitted.xy([value - 0.5 for value in first]), fitted.xy([value + 0.5 for value in last])]
    (left, right), (top, bottom) = (sorted(values) for values in zip(*corners, strict=True))
    more_x, more_y = max(0.0, 8 - (right - left)) / 2, max(0.0, 8 - (bottom - top)) / 2
    return left - more_x, top - more_y, right + more_x, bottom + more_y


def tag(draw: ImageDraw.ImageDraw, text: str, at: tuple[float, float], color: Color, within: Pixels) -> None:
    """A number above and to the left of a place, on the colour of its finding, moved to lie within the picture."""
    face = font(15, bold=True)
    width, height = face.getlength(text) + 8, 18
    x = min(max(at[0] - 2, 0), within[0] - width)
    y = min(max(at[1] - height - 2, 0), within[1] - height)
    draw.rectangle((x, y, x + width, y + height), fill=color)
    draw.text((x + width / 2, y + height / 2), text, fill=on(color), font=face, anchor="mm")


def on(color: Color) -> Color:
    """Black or white, whichever is read better on the colour (ITU-R BT.601 luma)."""
    red, green, blue = color
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)
