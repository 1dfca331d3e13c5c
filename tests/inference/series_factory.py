"""Series made in code, whose voxels and geometry are known because they were chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"


@dataclass(frozen=True)
class Shape:
    """What a made series is like. spacing_mm: slices, rows, columns. lean_mm: shift of each slice against the one below it,
    along the row axis (direction of rising row index)."""

    slices: int = 5
    rows: int = 6
    columns: int = 7
    spacing_mm: tuple[float, float, float] = (2.5, 0.8, 0.7)
    orientation: tuple[float, ...] = AXIAL
    origin_lps: tuple[float, float, float] = (-10.0, -20.0, -30.0)
    lean_mm: float = 0.0
    slope: float = 1.0
    intercept: float = -1024.0
    bits_stored: int = 12
    is_signed: bool = False
    positions: tuple[tuple[float, float, float], ...] = field(default=())

    @property
    def affine_lps(self) -> NDArray[np.float64]:
        """(slice, row, column, 1) to mm, worked out by hand rather than by the code under test."""
        along_row, along_column = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        normal = np.array(
            [
                along_row[1] * along_column[2] - along_row[2] * along_column[1],
                along_row[2] * along_column[0] - along_row[0] * along_column[2],
                along_row[0] * along_column[1] - along_row[1] * along_column[0],
            ]
        )
        affine = np.eye(4)
        affine[:3, 0] = normal * self.spacing_mm[0] + along_column * self.lean_mm
        affine[:3, 1] = along_column * self.spacing_mm[1]
        affine[:3, 2] = along_row * self.spacing_mm[2]
        affine[:3, 3] = self.origin_lps
        return affine


@dataclass(frozen=True)
class MadeSeries:
    """datasets in order of slices, read back from bytes as a receiver would; voxels float32 after rescale."""

    datasets: list[Dataset]
    voxels: NDArray[np.float32]
    affine_lps: NDArray[np.float64]


def make_series(shape: Shape | None = None, seed: int = 0) -> MadeSeries:
    """A CT series with random stored values, one data set a slice."""
    shape = shape or Shape()
    low = -(1 << (shape.bits_stored - 1)) if shape.is_signed else 0
    dtype = np.int16 if shape.is_signed else np.uint16
    stored = np.random.default_rng(seed).integers(
        low, low + (1 << shape.bits_stored), (shape.slices, shape.rows, shape.columns)
    )
    affine = shape.affine_lps
    series_uid, frame_of_reference_uid, study_uid = (generate_uid(entropy_srcs=[f"{n}{seed}"]) for n in "abc")
    datasets = []
    for index in range(shape.slices):
        position = affine[:3, 3] + index * affine[:3, 0]
        dataset = Dataset()
        dataset.SOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = f"{series_uid[:50]}.{index + 1}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, series_uid
        dataset.FrameOfReferenceUID = frame_of_reference_uid
        dataset.Modality, dataset.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.InstanceNumber = index + 1
        dataset.ImagePositionPatient = [f"{value:.9g}" for value in position]
        dataset.ImageOrientationPatient = [f"{value:.9g}" for value in shape.orientation]
        dataset.PixelSpacing = [shape.spacing_mm[1], shape.spacing_mm[2]]
        dataset.SliceThickness = shape.spacing_mm[0]
        dataset.RescaleSlope, dataset.RescaleIntercept = shape.slope, shape.intercept
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.Rows, dataset.Columns = shape.rows, shape.columns
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, shape.bits_stored, shape.bits_stored - 1
        dataset.PixelRepresentation = int(shape.is_signed)
        dataset.PixelData = stored[index].astype(dtype).tobytes()
        datasets.append(received(dataset))
    voxels = (stored * shape.slope + shape.intercept).astype(np.float32)
    return MadeSeries(datasets, voxels, affine)


def received(dataset: Dataset, transfer_syntax_uid: str = ExplicitVRLittleEndian) -> Dataset:
    """The data set as it is after a way through Part 10 bytes."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = transfer_syntax_uid
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return dcmread(BytesIO(buffer.getvalue()))


def with_compressed(dataset: Dataset, frames: Sequence[bytes], transfer_syntax_uid: str) -> Dataset:
    """The data set with its pixels replaced by compressed frames."""
    dataset.PixelData = encapsulate(list(frames))
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return received(dataset, transfer_syntax_uid)


def as_multi_frame(datasets: Sequence[Dataset], **content: Sequence[object]) -> Dataset:
    """One enhanced CT instance with the given single frames. content: Frame Content attributes, a value for each frame."""
    first = datasets[0]
    whole = Dataset()
    for keyword in (
        *("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "Modality", "InstanceNumber"),
        *("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored"),
        *("HighBit", "PixelRepresentation"),
    ):
        setattr(whole, keyword, first[keyword].value)
    whole.SOPClassUID, whole.SOPInstanceUID = ENHANCED_CT, f"{first.SOPInstanceUID}.0"
    whole.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    whole.NumberOfFrames = len(datasets)
    shared = Dataset()
    shared.PixelMeasuresSequence = [_item(first, "PixelSpacing", "SliceThickness")]
    shared.PlaneOrientationSequence = [_item(first, "ImageOrientationPatient")]
    whole.SharedFunctionalGroupsSequence = [shared]
    whole.PerFrameFunctionalGroupsSequence = []
    for index, dataset in enumerate(datasets):
        group = Dataset()
        group.PlanePositionSequence = [_item(dataset, "ImagePositionPatient")]
        group.PixelValueTransformationSequence = [_item(dataset, "RescaleSlope", "RescaleIntercept")]
        frame_content = Dataset()
        for keyword, values in content.items():
            setattr(frame_content, keyword, values[index])
        group.FrameContentSequence = [frame_content]
        whole.PerFrameFunctionalGroupsSequence.append(group)
    whole.PixelData = b"".join(dataset.PixelData for dataset in datasets)
    return received(whole)


def _item(dataset: Dataset, *keywords: str) -> Dataset:
    item = Dataset()
    for keyword in keywords:
        setattr(item, keyword, dataset[keyword].value)
    return item
