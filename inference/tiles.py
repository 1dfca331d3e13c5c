"""A slide in tiles to one picture: frames put together to the total pixel matrix that they are cut from (PS3.3 C.8.12.4).

A series of a slide holds it in several resolutions, beside its label and an overview. One is analysed: the finest that the
model's contract takes and that there is room for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from inference import elements, memory
from inference.errors import NotAVolume
from inference.frames import Frame
from inference.instances import Instance
from inference.picture_pixels import read_pictures
from inference.volume import Picture, Volume

MOST_PIXELS = 1 << 28
"""Of a total pixel matrix: 1 GiB of numbers, and as many again of colours."""

Place = tuple[int, int]


def is_tiled(dataset: Dataset) -> bool:
    return bool(dataset.get("TotalPixelMatrixColumns")) and bool(dataset.get("TotalPixelMatrixRows"))


def size_of(dataset: Dataset) -> Place:
    """Rows and columns of the total pixel matrix."""
    return int(dataset.TotalPixelMatrixRows), int(dataset.TotalPixelMatrixColumns)


def require_whole_slide(dataset: Dataset) -> None:
    """Raises NotAVolume for a label, an overview, a thumbnail, and for what there is no room for."""
    kind = elements.values(dataset, Tag("ImageType"))[2:3]
    if kind and kind[0] not in ("VOLUME", "RESAMPLED"):
        raise NotAVolume(f"it is the {kind[0].lower()} of a slide, not the slide")
    rows, columns = size_of(dataset)
    if rows * columns > MOST_PIXELS:
        raise NotAVolume(
            f"a slide of {rows} x {columns} pixels is larger than the {MOST_PIXELS:,} that are analysed at once: with"
            " input.min_pixel_spacing_mm the model takes a coarser resolution of it"
        )


def places_of(dataset: Dataset, frames: int) -> list[Place]:
    """Row and column, counted from 0, of the first pixel of each tile. Raises NotAVolume where tiles lie on each other."""
    rows, columns = size_of(dataset)
    tile_rows, tile_columns = int(dataset.Rows), int(dataset.Columns)
    if dataset.get("DimensionOrganizationType") == "TILED_FULL":
        across = -(-columns // tile_columns)
        found = [(index // across * tile_rows, index % across * tile_columns) for index in range(frames)]
    else:
        groups = dataset.get("PerFrameFunctionalGroupsSequence") or ()
        found = [_stated(group) for group in groups]
    if len(found) != frames or len(set(found)) < frames or any(r >= rows or c >= columns for r, c in found):
        raise NotAVolume(
            f"{frames} tiles of {tile_rows} x {tile_columns} do not make one plane of {rows} x {columns}: several focal planes"
            " or optical paths are not analysed"
        )
    if min(min(place) for place in found) < 0:
        raise NotAVolume("a tile lies outside of the total pixel matrix")
    return found


def _stated(group: Dataset) -> Place:
    place = group.PlanePositionSlideSequence[0]
    return (
        int(place.RowPositionInTotalImagePixelMatrix) - 1,
        int(place.ColumnPositionInTotalImagePixelMatrix) - 1,
    )


def put_together(
    instances: Sequence[Instance], frames: Sequence[Frame], pictures: Sequence[Picture], size: Place, *, threads: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None, tuple[Picture, ...]]:
    """float32 (1, rows, columns), of colours uint8 (1, rows, columns, 3) as well, and the tiles in their places."""
    voxels = memory.zeros((1, *size), np.float32)
    colors = memory.zeros((1, *size, 3), np.uint8) if pictures[0].is_color else None
    for picture, pixels in zip(pictures, read_pictures(instances, frames, threads=threads), strict=True):
        box = 0, slice(picture.row, picture.row + picture.rows), slice(picture.column, picture.column + picture.columns)
        room = voxels[box]
        room[:] = pixels.grey[: room.shape[0], : room.shape[1]]
        if picture.inverted_at is not None:
            np.subtract(np.float32(picture.inverted_at), room, out=room)
        if colors is not None and pixels.rgb is not None:
            colors[box][:] = pixels.rgb[: room.shape[0], : room.shape[1]]
    return voxels, colors, tuple(replace(picture, slice=0) for picture in pictures)


def placed(volume: Volume) -> Volume:
    """With the frame of reference of the slide."""
    return replace(volume, frame_of_reference_uid=elements.text(volume.header, Tag("FrameOfReferenceUID")))
