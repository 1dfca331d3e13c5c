"""Instances to measure with: CT images of 0.5 MB, small ones of 9 kB, each under UIDs of its own."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicom_node.network.file_meta import read_file_meta

# Ten digits in every UID, which the replaying sender replaces before each round: no acceptor has seen what comes.
PLACEHOLDER = "9876543210"
_ROOT = f"1.2.826.0.1.3680043.10.1455.{PLACEHOLDER}"
_SIDES = {"ct": 512, "small": 64}  # pixels of two bytes


@dataclass(frozen=True, slots=True)
class Instance:
    sop_instance_uid: str
    part10: bytes

    @property
    def data_set(self) -> bytes:
        return self.part10[read_file_meta(self.part10).data_set_at :]


def made(kind: str, count: int) -> list[Instance]:
    """Instances of one series. kind: "ct" (512 x 512) or "small" (64 x 64)."""
    side = _SIDES[kind]
    noise = np.random.default_rng(7).integers(-1000, 2000, side * side, dtype=np.int16)
    return [_instance(number, side, np.roll(noise, number).tobytes()) for number in range(1, count + 1)]


def _instance(number: int, side: int, pixels: bytes) -> Instance:
    uid = f"{_ROOT}.{side}.{number}"
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = uid
    dataset.StudyDate, dataset.StudyTime = "20260102", "101500"
    dataset.AccessionNumber = "BENCH"
    dataset.Modality, dataset.Manufacturer = "CT", "dicom-node"
    dataset.PatientName, dataset.PatientID = "Benchmark", "BENCHMARK"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{_ROOT}.1", f"{_ROOT}.2"
    dataset.StudyID, dataset.SeriesNumber, dataset.InstanceNumber = "1", 1, number
    dataset.FrameOfReferenceUID = f"{_ROOT}.3"
    dataset.ImagePositionPatient = [0, 0, number]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.7], 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = side
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleIntercept, dataset.RescaleSlope = 0, 1
    dataset.PixelData = pixels
    whole = BytesIO()
    dataset.save_as(whole, enforce_file_format=True)
    return Instance(uid, whole.getvalue())


def write_files(folder: Path, instances: Iterable[Instance]) -> None:
    """Part 10 files, for senders that read a folder."""
    folder.mkdir(parents=True)
    for number, instance in enumerate(instances):
        (folder / f"{number:05d}.dcm").write_bytes(instance.part10)


def write_replay(path: Path, instances: Iterable[Instance]) -> None:
    """What benchmarks/wire.c sends: of each instance its length, SOP Class and SOP Instance UID, and its data set."""
    with path.open("wb") as file:
        for instance in instances:
            data_set = instance.data_set
            file.write(
                struct.pack("<L64s64s", len(data_set), CTImageStorage.encode(), instance.sop_instance_uid.encode())
            )
            file.write(data_set)
