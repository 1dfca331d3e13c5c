"""Every series that results are made of in tests: made ones of each geometry, the phantom, and all real CT and MR."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import CTImageStorage

from dicom_node.phantom import chest_ct
from inference.errors import NotAVolume
from inference.series import read_series
from inference.volume import Volume
from tests.conformance.reports import made_volume

MADE = ("axial", "sagittal", "oblique", "tilted", "resampled", "multi_frame")

REAL = (
    "ct_chest_ge_tcga-34-2605",
    "ct_chest_siemens_A0002_B40f",
    "ct_body_siemens_j2k",
    "ct_head_ge_tilt_varspacing",
    "mr_brain_siemens_prisma_sag",
    "enhanced_mr_dcm_qa_enh/Philips",
    "enhanced_mr_dcm_qa_enh/Siemens/XA10",
    "ct_one_slice_16_syntaxes",
    "dcmqi_data/paramaps",
    "dcmqi_data/segmentations/23x38x3/image",
    "dcmqi_data/segmentations/23x38x3/multiframe",
    "dcmqi_data/segmentations/24x38x3/image",
    "dcmqi_data/segmentations/24x38x3/multiframe",
    "dcmqi_data/segmentations/ct-3slice",
    "highdicom_test_files",
    *(f"odd_dicom2nifti/failing/{name}" for name in ("gantrytilting/001", "notavolume/001", "slicecount/001")),
    *(f"odd_dicom2nifti/failing/{name}/001" for name in ("sliceincrement", "sliceorientation")),
    "odd_dicom2nifti/failing/sliceincrement/002",
    *(f"odd_dicom2nifti/generic/anatomical/{name}" for name in ("001", "001_implicit", "002_non_isotropic")),
    *(f"odd_dicom2nifti/generic/compressed{name}/001" for name in ("", "_j2k", "_jpeg", "_jpegls", "_rle")),
    "odd_dicom2nifti/generic/rgb/001",
    "pydicom_test_files",
    *(f"pydicom_test_files/dicomdirtests/98892001/{name}" for name in ("CT2N", "CT5N")),
    *(f"pydicom_test_files/dicomdirtests/98892003/{name}" for name in ("MR1", "MR2", "MR700")),
    "pydicom_test_files/dicomdirtests/77654033/CT2",
)
"""Folders of the shared data that hold CT or MR images; a test sees to it that none is left out."""

Source = tuple[list[Dataset], Volume | None]
"""The data sets of a series, and what a model would see of it; None where the images form no volume."""


def made_source(name: str) -> Source:
    """A made geometry, or the phantom."""
    if name != "phantom":
        return made_volume(name)
    datasets = list(chest_ct(slices=24, rows=96, identity="matrix").datasets)
    return datasets, read_series(datasets).volumes[0]


def real_sources(folder: Path) -> Iterator[Source]:
    """The series of CT and MR images that lie in a folder, not in those below it."""
    by_series: dict[str, list[Dataset]] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and (dataset := image(path)):
            by_series.setdefault(str(dataset.get("SeriesInstanceUID")), []).append(dataset)
    for datasets in by_series.values():
        identified(datasets)
        try:
            yield datasets, read_series(datasets, tilt="keep", spacing="resample").volumes[0]
        except NotAVolume:
            yield datasets, None


def image(path: Path) -> Dataset | None:
    """The data set of a file with a CT or MR image."""
    try:
        with warnings.catch_warnings(action="ignore"):  # some are faulty on purpose
            dataset = dcmread(path)
    except (InvalidDicomError, EOFError, NotImplementedError):
        return None
    if not dataset.get("Rows") or dataset.get("Modality") not in {"CT", "MR"}:
        return None
    sop_class = dataset.get("SOPClassUID") or CTImageStorage  # see identified
    return dataset if "Image Storage" in getattr(sop_class, "name", "") else None


def identified(datasets: list[Dataset]) -> None:
    """One public series had its UIDs removed, which no scanner does."""
    for number, dataset in enumerate(datasets, start=1):
        if not dataset.get("SOPInstanceUID"):
            dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"2.25.{number}"
            dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.0", "2.25.9"
