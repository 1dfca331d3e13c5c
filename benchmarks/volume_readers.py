"""One series read into a volume, in a process of its own: `python -m benchmarks.volume_readers NAME FOLDER`.

It reads two images, so that nothing that is loaded or compiled once counts, then the series for the first time, and then again,
as a process does that goes on; dcm2niix is a program, so each of its runs is its first. Printed are seconds of the first reading
and of a later one, and the most memory that it had, in bytes. FOLDER holds the images as files, and beside it lie the packs of
an object store with the same ones. Imports stand where they are needed: the readers of others run in environments that have
nothing of this project.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

OURS, RAW = "dicom-node", "raw read"
SIMPLEITK, PYDICOM = "SimpleITK", "pydicom"
DCM2NIIX = "dcm2niix"
MONAI_ITK, MONAI_PYDICOM = "MONAI ITKReader", "MONAI PydicomReader"
STORE, KEYS = "objects", "keys"
_TIMES_AGAIN = 2


def ours(folder: Path) -> Callable[[int | None], Sequence[int]]:
    """As a worker does: from the packs that the images were received into, headers and geometry checked, float32 HU."""
    from inference.instances import instance_of
    from inference.series import read_instances
    from storage.objects import open_store

    objects = open_store((folder.parent / STORE).as_uri())
    keys = (folder.parent / KEYS).read_text().split()

    def read(count: int | None) -> Sequence[int]:
        reading = read_instances([instance_of(objects.part(key)) for key in keys[:count]])
        return reading.volumes[0].voxels.shape

    return read


def raw(folder: Path) -> Callable[[int | None], Sequence[int]]:
    """Every byte of every file, and nothing done with it."""
    paths = sorted(folder.iterdir())

    def read(count: int | None) -> Sequence[int]:
        return [len(path.read_bytes()) for path in paths[:count]][:0]

    return read


def simpleitk(folder: Path) -> Callable[[int | None], Sequence[int]]:
    """The series reader of its documentation: names in the order of GDCM, which reads every header for it, then the images."""
    import SimpleITK as sitk  # noqa: N813 - its usual name

    def read(count: int | None) -> Sequence[int]:
        names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(names[:count])
        reader.SetOutputPixelType(sitk.sitkFloat32)
        return sitk.GetArrayViewFromImage(reader.Execute()).shape

    return read


def pydicom(folder: Path) -> Callable[[int | None], Sequence[int]]:
    """Every file parsed, sorted by its position, decoded by the fastest plugin that is installed, rescaled and stacked."""
    import numpy as np
    from pydicom import dcmread

    paths = sorted(folder.iterdir())

    def read(count: int | None) -> Sequence[int]:
        datasets = sorted(map(dcmread, paths[:count]), key=lambda dataset: dataset.ImagePositionPatient[2])
        planes = [
            one.pixel_array.astype(np.float32) * float(one.RescaleSlope) + float(one.RescaleIntercept)
            for one in datasets
        ]
        return np.stack(planes).shape

    return read


def monai(folder: Path, reader: str) -> Callable[[int | None], Sequence[int]]:
    from monai.transforms import LoadImage

    load = LoadImage(reader=reader, image_only=True, ensure_channel_first=True)

    def read(count: int | None) -> Sequence[int]:
        if count is None:
            return load(str(folder)).shape
        with tempfile.TemporaryDirectory() as few:
            for path in sorted(folder.iterdir())[:count]:
                shutil.copy(path, few)
            return load(few).shape

    return read


def dcm2niix(folder: Path) -> tuple[float, int]:
    """Its whole run, as a user calls it, from a folder of images to a file that is not compressed: seconds and peak memory."""
    import dcm2niix as program

    with tempfile.TemporaryDirectory(dir=folder.parent) as into:
        started = time.perf_counter()
        subprocess.run([program.bin, "-o", into, str(folder)], stdout=subprocess.DEVNULL, check=True)
        seconds = time.perf_counter() - started
        assert len(list(Path(into).glob("*.nii"))) == 1
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


READERS: dict[str, Callable[[Path], Callable[[int | None], Sequence[int]]]] = {
    OURS: ours,
    RAW: raw,
    SIMPLEITK: simpleitk,
    PYDICOM: pydicom,
    MONAI_ITK: lambda folder: monai(folder, "ITKReader"),
    MONAI_PYDICOM: lambda folder: monai(folder, "PydicomReader"),
}


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    if name == DCM2NIIX:
        seconds, most = dcm2niix(folder)
        print(seconds, seconds, most)
        return
    read = READERS[name](folder)
    read(2)
    times_s = []
    for _ in range(1 + _TIMES_AGAIN):
        started = time.perf_counter()
        shape = read(None)
        times_s.append(time.perf_counter() - started)
    lines = Path("/proc/self/status").read_text().splitlines()
    most = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    print(times_s[0], sum(times_s[1:]) / _TIMES_AGAIN, most, *shape)


if __name__ == "__main__":
    main()
