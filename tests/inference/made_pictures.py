"""Images without a place in the patient, made in code: radiographs, ultrasound clips, a slide in tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage, generate_uid

from tests.inference.series_factory import received

CR = str(ComputedRadiographyImageStorage)
DX, MG = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.2"
US, US_CLIP, SLIDE = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1", "1.2.840.10008.5.1.4.1.1.77.1.6"


def uid(*of: object) -> str:
    return str(generate_uid(entropy_srcs=[" ".join(map(str, of))]))


def header(name: str, modality: str, sop_class_uid: str, number: int = 1) -> Dataset:
    """Patient, study and series of an image; name tells series apart."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class_uid, uid(name, "instance", number)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid(name, "study"), uid(name, "series")
    dataset.PatientName, dataset.PatientID = "Made^Picture", "P-1"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20260901"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "101500"
    dataset.AccessionNumber, dataset.StudyID, dataset.ReferringPhysicianName = "A-1", "1", ""
    dataset.Modality, dataset.Manufacturer, dataset.SeriesNumber, dataset.InstanceNumber = modality, "Test", 3, number
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    return dataset


def grey(dataset: Dataset, stored: NDArray[np.integer], *, bits: int = 12, photometric: str = "MONOCHROME2") -> Dataset:
    """With pixels (rows, columns), or (frames, rows, columns)."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, photometric
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    if stored.ndim == 3:
        dataset.NumberOfFrames = len(stored)
    allocated = 8 if bits <= 8 else 16
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, bits, bits - 1
    is_signed = bool(stored.min() < 0)
    dataset.PixelRepresentation = int(is_signed)
    kind = f"<{'i' if is_signed else 'u'}{allocated // 8}"
    data = stored.astype(kind).tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if allocated == 8 else "OW"
    return received(dataset)


def colors(dataset: Dataset, rgb: NDArray[np.uint8]) -> Dataset:
    """With pixels (rows, columns, 3), or (frames, rows, columns, 3)."""
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.Rows, dataset.Columns = rgb.shape[-3:-1]
    if rgb.ndim == 4:
        dataset.NumberOfFrames = len(rgb)
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    data = rgb.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB"
    return received(dataset)


def radiograph(
    stored: NDArray[np.integer], *, name: str = "cr", modality: str = "CR", number: int = 1, **more: Any
) -> Dataset:
    """more: attributes; `photometric` and `bits` are those of the pixels."""
    classes = {"CR": CR, "DX": DX, "MG": MG}
    dataset = header(name, modality, classes[modality], number)
    pixels = {key: more.pop(key) for key in ("photometric", "bits") if key in more}
    for keyword, value in ({"PatientOrientation": ["L", "F"], "BodyPartExamined": "CHEST"} | more).items():
        setattr(dataset, keyword, value)
    return grey(dataset, stored, **pixels)


def clip(frames: NDArray[np.uint8], *, name: str = "us", number: int = 1, mm: float | None = 0.5) -> Dataset:
    """An ultrasound cine in colour, 25 frames a second. mm: of a pixel, as its region says; None for one that says nothing."""
    dataset = header(name, "US", US_CLIP, number)
    dataset.FrameTime, dataset.FrameIncrementPointer = 40.0, 0x00181063
    if mm:
        region = Dataset()
        region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
        region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
        region.RegionLocationMaxX1, region.RegionLocationMaxY1 = frames.shape[2] - 1, frames.shape[1] - 1
        region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
        region.PhysicalDeltaX = region.PhysicalDeltaY = mm / 10
        dataset.SequenceOfUltrasoundRegions = [region]
    return colors(dataset, frames)


def disc(shape: tuple[int, int], at: tuple[int, int], radius: int, inside: int, outside: int) -> NDArray[np.int64]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.where((rows - at[0]) ** 2 + (columns - at[1]) ** 2 <= radius**2, inside, outside)


def written(datasets: Sequence[Dataset], folder: Any) -> list[Any]:
    """As files, in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, dataset in enumerate(datasets):
        paths.append(folder / f"{number}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def slide(
    rgb: NDArray[np.uint8], tile: tuple[int, int], *, name: str = "slide", number: int = 1, is_sparse: bool = False
) -> Dataset:
    """A slide (rows, columns, 3) in tiles of this size, which at its border reach beyond it in white; pixels of 0.5 um."""
    rows, columns = rgb.shape[:2]
    places = [(row, column) for row in range(0, rows, tile[0]) for column in range(0, columns, tile[1])]
    frames = np.full((len(places), *tile, 3), 255, np.uint8)
    for frame, (row, column) in zip(frames, places, strict=True):
        part = rgb[row : row + tile[0], column : column + tile[1]]
        frame[: part.shape[0], : part.shape[1]] = part
    dataset = header(name, "SM", SLIDE, number)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.TotalPixelMatrixRows, dataset.TotalPixelMatrixColumns = rows, columns
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = uid(name, "frame of reference"), "SLIDE_CORNER"
    dataset.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = 20.0, 40.0
    dataset.TotalPixelMatrixOriginSequence = [origin]
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.0005, 0.0005], 0.001
    shared.PixelMeasuresSequence = [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.DimensionOrganizationType = "TILED_SPARSE" if is_sparse else "TILED_FULL"
    if is_sparse:
        order = np.random.default_rng(1).permutation(len(places))
        frames = frames[order]
        dataset.PerFrameFunctionalGroupsSequence = [_tile_at(*places[index]) for index in order]
    return colors(dataset, frames)


def _tile_at(row: int, column: int) -> Dataset:
    place, group = Dataset(), Dataset()
    place.RowPositionInTotalImagePixelMatrix, place.ColumnPositionInTotalImagePixelMatrix = row + 1, column + 1
    group.PlanePositionSlideSequence = [place]
    return group
