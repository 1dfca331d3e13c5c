"""Do masks on the volume lie where the source images lie? No validator sees one that is turned upside down."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dicom_node.results.picture_names import is_tiled
from dicom_node.results.sources import Plane, ResultRefused
from inference.geometry import tolerance
from inference.volume import Volume


def check_volume(volume: Volume, planes: Sequence[Plane]) -> None:
    """The grid of the masks is the grid of the source frames, corner by corner.

    Raises ResultRefused: then masks on this volume would be drawn in the wrong place.
    """
    if volume.pictures:
        _check_pictures(volume, planes)
        return
    grid = volume.acquired
    rows, columns = (grid.rows, grid.columns) if grid else volume.voxels.shape[1:]
    corners = np.array([(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)], np.float64)
    within_plane = corners @ volume.affine_lps[:3, 1:3].T
    allowed_mm = tolerance(volume.spacing_mm[0])
    for number, plane in enumerate(planes):
        if (plane.rows, plane.columns) != (rows, columns):
            raise ResultRefused(
                f"image {number} of the volume has {rows} x {columns} pixels, its source"
                f" {plane.reference.sop_instance_uid} {plane.rows} x {plane.columns}"
            )
    ours = origins_lps(volume)[:, None] + within_plane
    theirs = np.column_stack([corners, np.ones(4)]) @ np.stack([plane.affine_lps().T for plane in planes])
    apart_mm = np.linalg.norm(ours - theirs, axis=2).max(axis=1)
    for index in np.flatnonzero(~(apart_mm <= allowed_mm)).tolist():
        raise ResultRefused(
            f"image {index} of the volume lies {apart_mm[index]:.2f} mm from its source"
            f" {planes[index].reference.sop_instance_uid} (allowed {allowed_mm:.2f} mm): its masks are flipped or moved"
        )


def _check_pictures(volume: Volume, planes: Sequence[Plane]) -> None:
    """Pictures have no place to compare; but each has the size of its source, and lies within the array."""
    slices, rows, columns = volume.voxels.shape
    for number, (picture, plane) in enumerate(zip(volume.pictures, planes, strict=True)):
        if (picture.rows, picture.columns) != (plane.rows, plane.columns):
            raise ResultRefused(
                f"picture {number} has {picture.rows} x {picture.columns} pixels, its source"
                f" {plane.reference.sop_instance_uid} {plane.rows} x {plane.columns}"
            )
        # Tiles at the border of a slide reach beyond it.
        begins_within = 0 <= picture.row < rows and 0 <= picture.column < columns
        ends_within = picture.row + picture.rows <= rows and picture.column + picture.columns <= columns
        if not 0 <= picture.slice < slices or not begins_within or not (ends_within or is_tiled(volume)):
            raise ResultRefused(f"picture {number} lies outside the {slices} x {rows} x {columns} that were analysed")


def origins_lps(volume: Volume) -> NDArray[np.float64]:
    """float64 (planes, 3): centre of the first pixel of each acquired image, as the volume has it, in mm."""
    if volume.acquired:
        return volume.acquired.origins_lps
    steps = np.arange(len(volume.sources))[:, None] * volume.affine_lps[:3, 0]
    return np.asarray(volume.affine_lps[:3, 3] + steps, np.float64)
