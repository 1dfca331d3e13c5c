"""Other people's readers of Segmentations, as functions from file to masks on our grid."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from inference.volume import Volume
from tests.waiting import LIMIT_S


def dcmqi_masks(program: str, path: Path, volume: Volume, folder: Path) -> list[NDArray[np.bool_]]:
    """What dcmqi's segimage2itkimage reads, segment by segment, brought to the volume's grid by patient coordinates.

    Every voxel that it reads must lie on a voxel of the volume.
    """
    return [on_grid(sitk.ReadImage(str(file)), volume) for file in run_dcmqi(program, path, folder)]


def run_dcmqi(program: str, path: Path, folder: Path) -> list[Path]:
    """The images that segimage2itkimage writes into a new folder: one a segment, or one for a label map."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [program, "--inputDICOM", str(path), "--outputDirectory", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S)
    return sorted(folder.glob("*.nrrd"), key=lambda file: int(file.stem))


def on_grid(image: sitk.Image, volume: Volume) -> NDArray[np.bool_]:
    direction = np.reshape(image.GetDirection(), (3, 3))
    columns_rows_slices = np.argwhere(sitk.GetArrayViewFromImage(image))[:, ::-1]
    places = (columns_rows_slices * image.GetSpacing()) @ direction.T + image.GetOrigin()
    indices = (np.linalg.inv(volume.affine_lps) @ np.column_stack([places, np.ones(len(places))]).T)[:3].T
    np.testing.assert_allclose(indices, np.rint(indices), atol=0.05)
    read = np.zeros(volume.voxels.shape, np.bool_)
    read[tuple(np.rint(indices).astype(int).T)] = True
    return read
