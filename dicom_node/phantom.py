"""A chest CT made in code, with its truth: what the demo sends when no real study is at hand.

Tests measure by it, so its truth is counted from the exact masks that it was painted from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicom_node import __version__, phantom_anatomy
from dicom_node.phantom_anatomy import Anatomy, Grid, Mask

FIELD_OF_VIEW_MM = 384.0
LENGTH_MM = 320.0
NOISE_HU = 8.0
INTERCEPT_HU = -1024
LOW_ATTENUATION_HU = -950.0


@dataclass(frozen=True, slots=True)
class LungTruth:
    """What densitometry must find in one lung, or in both. Volumes count voxels of the exact masks.

    low_attenuation_ml and laa_950_percent count the voxels below -950 HU before noise: patches and lobar
    bronchi. mean_hu and percentile_15_hu are those of the voxels as stored, noise included.
    """

    volume_ml: float
    mean_hu: float
    percentile_15_hu: float
    low_attenuation_ml: float
    laa_950_percent: float


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """lungs by "right", "left" and "both"; masks by "right_lung", "left_lung", "airways" and "patches".

    Masks are bool (slices, rows, columns), slices in the order of the datasets.
    """

    lungs: Mapping[str, LungTruth]
    airways_ml: float
    patches_ml: Mapping[str, float]
    masks: Mapping[str, Mask]


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """A complete study of one axial CT series, from feet to head, and the truth about it.

    affine_lps maps (slice, row, column, 1) to mm (LPS+) for arrays that stack the datasets in their order.
    """

    datasets: tuple[Dataset, ...]
    affine_lps: NDArray[np.float64]
    truth: Truth

    def write(self, folder: Path) -> list[Path]:
        """Write one Part 10 file an instance into folder (made where missing); returns their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for number, dataset in enumerate(self.datasets, start=1):
            path = folder / f"CT{number:04d}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            paths.append(path)
        return paths


def chest_ct(seed: int = 1, slices: int = 64, rows: int = 512, identity: str = "", kernel: str = "B30f") -> Phantom:
    """Make the phantom: slices x rows x rows voxels over 320 x 384 x 384 mm, so 64 slices are 5 mm apart.

    seed decides noise and vessels. All UIDs derive from the arguments: the same call gives the same study,
    and another identity the same pictures as another study.
    """
    grid = make_grid(slices, rows)
    rng = np.random.default_rng(seed)
    anatomy = phantom_anatomy.build(grid, rng)
    noise = rng.standard_normal(grid.shape, dtype=np.float32) * np.float32(NOISE_HU)
    stored = np.clip(np.rint(anatomy.hu + noise) - INTERCEPT_HU, 0, 4095).astype("<u2")
    key = f"chest_ct/{seed}/{slices}/{rows}/{identity}/{kernel}"
    datasets = tuple(make_instance(index, stored[index], grid, key, kernel) for index in range(slices))
    return Phantom(datasets, affine_lps(grid), measure(anatomy, stored, grid))


def make_grid(slices: int, rows: int) -> Grid:
    """Voxel centres of the field of view, which is centred a little behind the body, to hold the table."""
    across_mm = (np.arange(rows, dtype=np.float32) + 0.5) * np.float32(FIELD_OF_VIEW_MM / rows) - FIELD_OF_VIEW_MM / 2
    along_mm = (np.arange(slices, dtype=np.float32) + 0.5) * np.float32(LENGTH_MM / slices) - LENGTH_MM / 2
    return Grid(along_mm.astype(np.float32), (across_mm + 15).astype(np.float32), across_mm.astype(np.float32))


def affine_lps(grid: Grid) -> NDArray[np.float64]:
    """(slice, row, column, 1) -> mm, LPS+; slices ascend to the head."""
    affine = np.zeros((4, 4))
    affine[2, 0] = LENGTH_MM / grid.z_mm.size
    affine[1, 1] = affine[0, 2] = FIELD_OF_VIEW_MM / grid.x_mm.size
    affine[:, 3] = float(grid.x_mm[0]), float(grid.y_mm[0]), float(grid.z_mm[0]), 1
    return affine


def measure(anatomy: Anatomy, stored: NDArray[np.uint16], grid: Grid) -> Truth:
    """Count the exact masks and the voxels under them."""
    voxel_ml = (LENGTH_MM / grid.z_mm.size) * (FIELD_OF_VIEW_MM / grid.x_mm.size) ** 2 / 1000
    low = anatomy.hu < LOW_ATTENUATION_HU
    lungs = {
        "right": anatomy.right_lung,
        "left": anatomy.left_lung,
        "both": anatomy.right_lung | anatomy.left_lung,
    }
    measured = {}
    for name, mask in lungs.items():
        values = stored[mask].astype(np.float64) + INTERCEPT_HU
        voxels, low_voxels = int(mask.sum()), int((mask & low).sum())
        measured[name] = LungTruth(
            volume_ml=voxels * voxel_ml,
            mean_hu=float(values.mean()),
            percentile_15_hu=float(np.percentile(values, 15)),
            low_attenuation_ml=low_voxels * voxel_ml,
            laa_950_percent=100 * low_voxels / voxels,
        )
    patches_ml = {name: int((anatomy.patches & mask).sum()) * voxel_ml for name, mask in lungs.items()}
    masks = {f"{name}_lung": lungs[name] for name in ("right", "left")}
    masks |= {"airways": anatomy.airways, "patches": anatomy.patches}
    airways_ml = int(anatomy.airways.sum()) * voxel_ml
    return Truth(MappingProxyType(measured), airways_ml, MappingProxyType(patches_ml), MappingProxyType(masks))


def derived_uid(key: str) -> str:
    """A UID of the 2.25 branch (PS3.5 B.2) that depends on key alone."""
    digest = bytearray(hashlib.sha256(key.encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80  # UUID version 8: the bits are of our own making (RFC 9562)
    digest[8] = digest[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(digest, 'big')}"


def make_instance(index: int, stored: NDArray[np.uint16], grid: Grid, key: str, kernel: str) -> Dataset:
    """One CT Image Storage instance (PS3.3 A.3), index counted from the feet."""
    dataset = Dataset()
    add_patient_and_study(dataset, key)
    add_series(dataset, key, kernel)
    add_plane(dataset, index, grid)
    add_pixels(dataset, stored)
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = derived_uid(f"{key}/instance/{index}")
    dataset.InstanceNumber = index + 1
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def add_patient_and_study(dataset: Dataset, key: str) -> None:
    short = hashlib.sha256(key.encode()).hexdigest()[:8].upper()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName = "Phantom^Chest"
    dataset.PatientID = f"PHANTOM-{short}"
    dataset.PatientBirthDate = "19600101"
    dataset.PatientSex = "O"
    dataset.PatientAge = "066Y"
    dataset.StudyInstanceUID = derived_uid(f"{key}/study")
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20260105"
    dataset.StudyTime = "101500"
    dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "101700"
    dataset.StudyID = "1"
    dataset.AccessionNumber = f"A{short}"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "CT chest without contrast (phantom)"


def add_series(dataset: Dataset, key: str, kernel: str) -> None:
    dataset.Modality = "CT"
    dataset.SeriesInstanceUID = derived_uid(f"{key}/series")
    dataset.FrameOfReferenceUID = derived_uid(f"{key}/frame_of_reference")
    dataset.PositionReferenceIndicator = "SN"
    dataset.SeriesNumber = 2
    dataset.SeriesDescription = "Chest 5 mm soft"
    dataset.ProtocolName = "Chest"
    dataset.BodyPartExamined = "CHEST"
    dataset.PatientPosition = "HFS"
    dataset.Manufacturer = "dicom-node"
    dataset.ManufacturerModelName = "chest phantom"
    dataset.SoftwareVersions = __version__
    dataset.DeviceSerialNumber = "1"
    dataset.InstitutionName = "dicom-node demo"
    dataset.StationName = "PHANTOM"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.AcquisitionNumber = 1
    dataset.KVP = 120
    dataset.XRayTubeCurrent = 100
    dataset.ExposureTime = 500
    dataset.Exposure = 50
    dataset.GantryDetectorTilt = 0
    dataset.ConvolutionKernel = kernel
    dataset.ReconstructionDiameter = FIELD_OF_VIEW_MM


def add_plane(dataset: Dataset, index: int, grid: Grid) -> None:
    pixel_mm = FIELD_OF_VIEW_MM / grid.x_mm.size
    slice_mm = LENGTH_MM / grid.z_mm.size
    z_mm = round(float(grid.z_mm[index]), 6)
    dataset.ImagePositionPatient = [round(float(grid.x_mm[0]), 6), round(float(grid.y_mm[0]), 6), z_mm]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [pixel_mm, pixel_mm]
    dataset.SliceThickness = round(slice_mm, 6)
    dataset.SpacingBetweenSlices = round(slice_mm, 6)
    dataset.SliceLocation = z_mm


def add_pixels(dataset: Dataset, stored: NDArray[np.uint16]) -> None:
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleIntercept = INTERCEPT_HU
    dataset.RescaleSlope = 1
    dataset.RescaleType = "HU"
    dataset.WindowCenter = ["-600", "40"]
    dataset.WindowWidth = ["1500", "400"]
    dataset.WindowCenterWidthExplanation = ["LUNG", "MEDIASTINUM"]
    dataset.add_new("PixelData", "OW", stored.tobytes())
