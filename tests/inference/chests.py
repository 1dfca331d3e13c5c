"""Volumes made for the tests of `ct_lung_density`: the phantom, and what can be wrong with a chest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.phantom import Phantom
from inference.volume import SourceFrame, Volume

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"


def volume_of(phantom: Phantom) -> Volume:
    """The phantom's voxels in HU as a volume, by its own affine."""
    datasets = phantom.datasets
    stored = np.stack([dataset.pixel_array for dataset in datasets]).astype(np.float32)
    first = datasets[0]
    return Volume(
        voxels=stored * float(first.RescaleSlope) + float(first.RescaleIntercept),
        affine_lps=phantom.affine_lps,
        frame_of_reference_uid=first.FrameOfReferenceUID,
        study_instance_uid=first.StudyInstanceUID,
        series_instance_uid=first.SeriesInstanceUID,
        sources=tuple(SourceFrame(d.SOPClassUID, d.SOPInstanceUID) for d in datasets),
        header=first,
    )


def volume_from(voxels: NDArray[np.float32], spacing_mm: Sequence[float], **header: object) -> Volume:
    """An upright axial CT volume of any voxels; slices go to the head."""
    dataset = Dataset()
    dataset.Modality = "CT"
    dataset.ConvolutionKernel = "B30f"
    for keyword, value in header.items():
        setattr(dataset, keyword, value)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *spacing_mm, 1.0
    sources = tuple(SourceFrame(CT_IMAGE_STORAGE, f"2.25.{index + 1}") for index in range(len(voxels)))
    return Volume(voxels.astype(np.float32), affine, "2.25.90", "2.25.91", "2.25.92", sources, dataset)


def with_voxels(volume: Volume, voxels: NDArray[np.float32]) -> Volume:
    return replace(volume, voxels=np.ascontiguousarray(voxels, dtype=np.float32))


def slices_of(volume: Volume, first: int, stop: int) -> Volume:
    """Some of the slices only, as when the patient was not scanned further."""
    affine = volume.affine_lps.copy()
    affine[:3, 3] += first * affine[:3, 0]
    return replace(volume, voxels=volume.voxels[first:stop], affine_lps=affine, sources=volume.sources[first:stop])


def turned(volume: Volume, axes: tuple[int, int, int], flipped: tuple[bool, bool, bool]) -> Volume:
    """The same patient in the same place, stored in another order of axes and in other directions.

    axes[i]: which axis of the volume becomes axis i; flipped[i]: the new axis i runs backwards.
    """
    step = (-1 if flip else 1 for flip in flipped)
    voxels = np.transpose(volume.voxels, axes)[tuple(slice(None, None, way) for way in step)]
    affine = volume.affine_lps.copy()
    affine[:, :3] = volume.affine_lps[:, list(axes)]
    for axis, flip in enumerate(flipped):
        if flip:
            affine[:3, 3] += (voxels.shape[axis] - 1) * affine[:3, axis]
            affine[:3, axis] *= -1
    sources = volume.sources if voxels.shape[0] == len(volume.sources) else volume.sources[:1] * voxels.shape[0]
    return replace(volume, voxels=np.ascontiguousarray(voxels), affine_lps=affine, sources=sources)
