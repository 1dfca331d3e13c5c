"""Volume: what a model sees. Voxels on a known grid in the patient, each slice with the instance it came from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """The frame behind one slice. `frame_number` counts from 1 in a multi-frame instance; None in a
    single-frame one."""

    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class AcquiredGrid:
    """The image planes as they were acquired, where a volume had to be resampled from them.

    origins_lps: float64 (planes, 3), centre of each plane's first pixel in mm; every plane has `rows` x
    `columns` pixels with the row and column steps of the volume's affine. `sources` has one entry a plane.
    """

    sources: tuple[SourceFrame, ...]
    origins_lps: NDArray[np.float64]
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Picture:
    """An image, or a frame of one, that is looked at by itself: nothing says where in the patient it lies.

    slice, row, column: where its first pixel lies in the volume's voxels, of which it takes `rows` x `columns`; pictures of
    other sizes share the array, and tiles of one total pixel matrix share a slice.
    pixel_spacing_mm: between rows and between columns, as far as any is stated; is_calibrated: whether lengths in the
    patient may be told by it (PS3.3 10.7.1), which the spacing at a detector does not allow.
    laterality: R, L, B or empty. view: as the image names it. toward: where its rows and its columns run to (Patient
    Orientation). inverted_at: of MONOCHROME1, where voxels hold this number less the value of the image. is_color: whether
    the volume's colors hold it, too.
    """

    source: SourceFrame
    slice: int
    rows: int
    columns: int
    row: int = 0
    column: int = 0
    instance_number: int = 0
    pixel_spacing_mm: tuple[float, float] | None = None
    is_calibrated: bool = False
    laterality: str = ""
    view: str = ""
    toward: tuple[str, ...] = ()
    inverted_at: float | None = None
    is_color: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Rescaled voxels on a regular grid in patient space (LPS+: x to the left, y to the back, z to the head; mm).

    voxels: float32 (slices, rows, columns) in the modality's unit (HU for CT) after the Modality LUT (PS3.3
    C.11.1).
    affine_lps: float64 (4, 4); affine_lps @ (slice, row, column, 1) is the centre of that voxel, in mm. Slices
    are counted along the normal of the images (row direction x column direction), so the first column points
    along it.
    sources: one for each slice, in the order of the first axis; in a resampled volume the nearest acquired image.
    header: the first source without pixel data, for attributes that a model's contract or a report asks for.
    gantry_tilt_deg: lean of the acquired stack off its normal. The grid is sheared by it when the stack was
    kept as it is.
    split_by: in a series of several volumes, the attributes and values that tell this one apart: (("EchoTime",
    "30"),).
    padding_value: what Pixel Padding Value became after rescale; voxels that equal it hold no measurement.
    acquired: set only where voxels were resampled; `transforms.mask_on_acquired` carries a mask back.
    pictures: set where images are taken one by one; slices are then pictures side by side, no space, and the affine is
    nominal: a unit from slice to slice, a pixel or its spacing within. colors: uint8 (slices, rows, columns, 3), RGB, of
    images in colour; voxels are then their luminance.
    """

    voxels: NDArray[np.float32]
    affine_lps: NDArray[np.float64]
    frame_of_reference_uid: str
    study_instance_uid: str
    series_instance_uid: str
    sources: tuple[SourceFrame, ...]
    header: Dataset
    gantry_tilt_deg: float = 0.0
    split_by: tuple[tuple[str, str], ...] = ()
    padding_value: float | None = None
    acquired: AcquiredGrid | None = None
    pictures: tuple[Picture, ...] = ()
    colors: NDArray[np.uint8] | None = None

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbours along slices, rows and columns (the three array axes), in mm."""
        lengths = np.linalg.norm(self.affine_lps[:3, :3], axis=0)
        return float(lengths[0]), float(lengths[1]), float(lengths[2])

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in mL; exact for sheared grids too, since it is the determinant."""
        return abs(float(np.linalg.det(self.affine_lps[:3, :3]))) / 1000.0
