"""What SimpleITK and dcm2niix make of the same files, brought to this project's axes so that both can be compared."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from numpy.typing import NDArray

from tests.waiting import LIMIT_S

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class PeerImage:
    """voxels in the peer's own axes; affine_lps @ (index, 1) is the centre of a voxel in mm."""

    voxels: NDArray[np.float64]
    affine_lps: NDArray[np.float64]


def read_with_simpleitk(folder: Path) -> list[PeerImage]:
    """Every series of the folder, in the file order that GDCM finds by position."""
    images = []
    for uid in SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
        names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
        image = SimpleITK.ReadImage(names, SimpleITK.sitkFloat64)
        affine = np.eye(4)
        affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
        affine[:3, 3] = image.GetOrigin()
        images.append(PeerImage(SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0), affine))
    return images


def convert_with_dcm2niix(program: str, folder: Path, output: Path) -> dict[str, PeerImage]:
    """File stem to image; a fourth axis gives an image a volume, named stem[0], stem[1] ... Public rescale only (-p n)."""
    output.mkdir()
    subprocess.run(
        [program, "-b", "n", "-z", "n", "-p", "n", "-f", "%j", "-o", str(output), str(folder)],
        check=False,
        capture_output=True,
        timeout=LIMIT_S,
    )
    images = {}
    for path in sorted(output.glob("*.nii")):
        nifti = nibabel.load(path)
        affine = LPS_FROM_RAS @ nifti.affine
        voxels = np.asarray(nifti.get_fdata(dtype=np.float64))
        if voxels.ndim == 3:
            images[path.stem] = PeerImage(voxels, affine)
        elif voxels.ndim == 4:
            for time in range(voxels.shape[3]):
                images[f"{path.stem}[{time}]"] = PeerImage(voxels[..., time], affine)
    return images


def on_grid_of(peer: PeerImage, affine_lps: NDArray[np.float64], atol_mm: float) -> NDArray[np.float64] | None:
    """The peer's voxels in the axes of affine_lps (axes permuted and flipped), None unless every corner of its grid lies
    within atol_mm of a corner of ours: affine against affine, not only direction or spacing."""
    ours_from_peer = np.linalg.inv(affine_lps) @ peer.affine_lps
    turn = np.rint(ours_from_peer[:3, :3])
    if not np.array_equal(np.abs(turn).sum(axis=0), [1, 1, 1]) or abs(round(np.linalg.det(turn))) != 1:
        return None
    axes = [int(np.argmax(np.abs(turn[axis]))) for axis in range(3)]
    flips = [int(turn[axis, axes[axis]]) for axis in range(3)]
    voxels = peer.voxels.transpose(axes)[tuple(slice(None, None, flip) for flip in flips)]
    corners = np.array(np.meshgrid(*[[0, size - 1] for size in voxels.shape])).reshape(3, -1)
    own = np.empty((4, corners.shape[1]))
    for axis in range(3):
        own[axes[axis]] = corners[axis] if flips[axis] > 0 else voxels.shape[axis] - 1 - corners[axis]
    own[3] = 1
    apart = (peer.affine_lps @ own)[:3] - (affine_lps @ np.vstack([corners, np.ones(corners.shape[1])]))[:3]
    return voxels if np.linalg.norm(apart, axis=0).max() <= atol_mm else None
