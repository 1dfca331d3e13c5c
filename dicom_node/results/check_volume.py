"""Do masks on the volume lie where the source images lie? No validator sees one that is turned upside down."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dicom_node.results.sources import Plane, ResultRefused
from inference.geometry import tolerance
from inference.volume import Volume


def check_volume(volume: Volume, planes: Sequence[Plane]) -> None:
    """The grid of the masks is the grid of the source frames, corner by corner.

    Raises ResultRefused: then masks on this volume would be drawn in the wrong place.
    """
    grid = volume.acquired
    rows, columns = (grid.rows, grid.columns) if grid else volume.voxels.shape[1:]
    corners = np.array([(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)], np.float64)
    within_plane = corners @ volume.affine_lps[:3, 1:3].T
    allowed_mm = tolerance(volume.spacing_mm[0])
    for index, (origin, plane) in enumerate(zip(origins_lps(volume), planes, strict=True)):
        if (plane.rows, plane.columns) != (rows, columns):
            raise ResultRefused(
                f"image {index} of the volume has {rows} x {columns} pixels, its source"
                f" {plane.reference.sop_instance_uid} {plane.rows} x {plane.columns}"
            )
        theirs = np.column_stack([corners, np.ones(4)]) @ plane.affine_lps().T
        apart_mm = float(np.linalg.norm(origin + within_plane - theirs, axis=1).max())
        if apart_mm > allowed_mm:
            raise ResultRefused(
                f"image {index} of the volume lies {apart_mm:.2f} mm from its source"
                f" {plane.reference.sop_instance_uid} (allowed {allowed_mm:.2f} mm): its masks are flipped or moved"
            )


def origins_lps(volume: Volume) -> NDArray[np.float64]:
    """float64 (planes, 3): centre of the first pixel of each acquired image, as the volume has it, in mm."""
    if volume.acquired:
        return volume.acquired.origins_lps
    steps = np.arange(len(volume.sources))[:, None] * volume.affine_lps[:3, 0]
    return np.asarray(volume.affine_lps[:3, 3] + steps, np.float64)
