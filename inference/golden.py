"""Golden cases: inputs of a package with the answers that it must give, wherever it runs.

A case is one file of plain arrays (numpy's .npz, no pickles): `voxels` (slices, rows, columns) and `affine_lps` (4, 4) of the
series and, as `voxels/NAME` and `affine_lps/NAME`, of companions; and what is expected, by the keys of the manifest: masks as
`segment/KEY`, maps as `map/KEY`, numbers as `measurement/NAME CODE/KEY` and probabilities as `classification/KEY`.
Of a model that takes images one by one each slice is an image, or a frame of a clip, and `colors` (slices, rows, columns, 3)
are its RGB.
"""

from __future__ import annotations

import hashlib
import math
import time
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from io import BytesIO
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from inference import tunings
from inference.archives import check_entries
from inference.confined.pool import predict
from inference.devices import chosen_device
from inference.errors import PackageError
from inference.findings import Findings, Measurement
from inference.golden_case import GoldenCase
from inference.golden_verdict import Verdict
from inference.package import Package
from inference.volume import Picture, SourceFrame, Volume

MAX_BYTES = 4 * 1024**3
"""Of a case when unpacked; a small archive may claim to hold any number of zeros."""

Arrays = Mapping[str, NDArray[np.generic]]


EXACT_RELATIVE = 1e-6
"""How far numbers may be off that must be the same: what another order of additions makes of them."""

FORM_DICE, FORM_RELATIVE = 0.999, 1e-3
"""How close the answers of a network must come that runs in a faster form than that in which it came."""

Device = Literal["auto", "cpu", "cuda"]


def run_golden_cases(
    package: Package, device: Device = "auto", *, cases_of: Package | None = None
) -> tuple[Verdict, ...]:
    """Each case of the package, run and held against what is expected. Raises PackageError for a file that is no case.

    cases_of: another package whose cases are run, as if what they expect was the truth.
    """
    home = cases_of or package
    return tuple(run_case(package, case, device, home=home) for case in home.manifest.golden)


def is_exact(package: Package, device: Device) -> bool:
    """Whether what was recorded must come again exactly: on a CPU, in fp32, by weights that are not quantised, and by the
    network in the form in which it came."""
    manifest = package.manifest
    in_fp32 = manifest.use is None or manifest.use.precision == "fp32"
    # What precision an ONNX file computes in is written in the file alone.
    in_fp32 = in_fp32 and manifest.runtime.kind != "onnx"
    on_cpu = chosen_device(package.device_for(device)).type == "cpu"
    return in_fp32 and on_cpu and not _in_another_form(package, device)


def write_case(volume: Volume, companions: Mapping[str, Volume], findings: Findings) -> bytes:
    """A case that expects these findings. Raises PackageError where they are none: a case must expect something."""
    if findings.not_analysed:
        raise PackageError(
            f"a golden case must expect findings, but this was not analysed: {findings.not_analysed.text}"
        )
    arrays: dict[str, NDArray[np.generic]] = {"voxels": volume.voxels, "affine_lps": volume.affine_lps}
    if volume.colors is not None:
        arrays["colors"] = volume.colors
    for name, companion in companions.items():
        arrays |= {f"voxels/{name}": companion.voxels, f"affine_lps/{name}": companion.affine_lps}
    buffer = BytesIO()
    np.savez_compressed(buffer, **arrays | _told(findings))  # type: ignore[arg-type]
    return buffer.getvalue()


def differences(expected: Arrays, told: Arrays, case: GoldenCase) -> tuple[list[str], float | None]:
    """What of the answer is not as expected, in words, and the least Dice coefficient of its segments."""
    found, dices = [], []
    asked_for = expected.keys() if case.expects == "truth" else expected.keys() | told.keys()
    for name in sorted(asked_for):
        if name not in told or name not in expected:
            found.append(f"{name} is {'missing' if name not in told else 'not expected'}")
        elif name.startswith("segment/"):
            dices.append(dice(expected[name], told[name]))
            if dices[-1] < case.least_dice:
                found.append(f"{name}: Dice {dices[-1]:.6f} < {case.least_dice:g}")
        elif name.startswith("map/"):
            found += _different_map(name, expected[name], told[name], case)
        else:
            wanted, value = float(expected[name]), float(told[name])
            if not abs(value - wanted) <= case.absolute + case.relative * abs(wanted):
                found.append(f"{name}: {value:.9g} is not {wanted:.9g}")
    return found, min(dices, default=None)


def _different_map(name: str, one: NDArray[np.generic], other: NDArray[np.generic], case: GoldenCase) -> list[str]:
    """Voxel by voxel; a value that is missing in one of them alone is different."""
    if one.shape != other.shape:
        return [f"{name}: has the shape {other.shape}, and not {one.shape}"]
    wanted, values = np.asarray(one, np.float64), np.asarray(other, np.float64)
    close = np.isclose(values, wanted, rtol=case.relative, atol=case.absolute, equal_nan=True)
    return [] if close.all() else [f"{name}: {np.count_nonzero(~close)} of {close.size} values are not as expected"]


def dice(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    """Dice coefficient of two masks, 0 to 1 (Dice 1945); 1 where both are empty, 0 where their shapes differ."""
    if one.shape != other.shape:
        return 0.0
    sizes = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2 * int(np.count_nonzero(np.logical_and(one, other))) / sizes if sizes else 1.0


def run_case(package: Package, case: GoldenCase, device: Device, *, home: Package | None = None) -> Verdict:
    """One case, of `home` or of the package itself."""
    home = home or package
    arrays = _read(home, case)
    contract = home.manifest.input
    volume = _volume(arrays, "", contract.modality)
    if contract.images != "volume":
        volume = _as_pictures(volume, arrays, is_clip=contract.images == "clip")
    companions = {
        item.name: _volume(arrays, f"/{item.name}", item.series.modality)
        for item in contract.companions
        if f"voxels/{item.name}" in arrays
    }
    started = time.perf_counter()
    findings = predict(volume, package, device, companions)
    seconds = time.perf_counter() - started
    if findings.not_analysed:
        return Verdict(case.name, (f"not analysed: {findings.not_analysed.text}",), seconds)
    expected = {name: array for name, array in arrays.items() if name.partition("/")[0] in _KINDS}
    told = _told(findings)
    found, least_dice = differences(expected, told, _held_to(case, package, device))
    both = {name: (array, told[name]) for name, array in expected.items() if name in told}
    return Verdict(
        case.name,
        tuple(found),
        seconds,
        least_dice,
        dices={name: dice(*pair) for name, pair in both.items() if name.startswith("segment/")},
        errors={name: _error(*pair) for name, pair in both.items() if not name.startswith("segment/")},
        probabilities={item.key: item.probability for item in findings.classifications if item.probability is not None},
    )


def _error(wanted: NDArray[np.generic], told: NDArray[np.generic]) -> tuple[float, float]:
    """How far a number, or a map on average, is from what was expected, and the size of that."""
    if wanted.shape != told.shape:
        return math.inf, 0.0
    one, other = np.asarray(wanted, np.float64), np.asarray(told, np.float64)
    return float(np.nanmean(np.abs(other - one))), float(np.nanmean(np.abs(one)))


def _held_to(case: GoldenCase, package: Package, device: Device) -> GoldenCase:
    """The case with the tolerances that hold here: none where it must come again exactly."""
    if case.expects == "recorded" and is_exact(package, device):
        return case.model_copy(update={"least_dice": 1.0, "absolute": 0.0, "relative": EXACT_RELATIVE})
    if _in_another_form(package, device):
        dice, relative = min(case.least_dice, FORM_DICE), max(case.relative, FORM_RELATIVE)
        return case.model_copy(update={"least_dice": dice, "relative": relative})
    return case


def _in_another_form(package: Package, device: Device) -> bool:
    """Whether the network runs in a form that was measured to be faster, whose last digits are others."""
    tuning = tunings.known(package, chosen_device(package.device_for(device)).type)
    return tuning is not None and tuning.form != "plain"


_KINDS = ("segment", "map", "measurement", "classification")


def _told(findings: Findings) -> dict[str, NDArray[np.generic]]:
    """What the findings say, by the names of a case's arrays."""
    told: dict[str, NDArray[np.generic]] = {f"segment/{item.key}": item.mask for item in findings.segments}
    told |= {f"map/{item.key}": item.values for item in findings.heat_maps}
    told |= {_name(item): np.float64(item.value) for item in findings.measurements}  # type: ignore[misc]
    told |= {
        f"classification/{item.key}": np.float64(item.probability)  # type: ignore[misc]
        for item in findings.classifications
        if item.probability is not None
    }
    return told


def _name(item: Measurement) -> str:
    derivation = f" {item.derivation.value}" if item.derivation else ""
    picture = f" on {item.pictures[0] + 1}" if any(item.pictures[:1]) else ""
    return f"measurement/{item.name.value}{derivation}/{item.finding_key or ''}{picture}"


def _read(package: Package, case: GoldenCase) -> dict[str, NDArray[np.generic]]:
    path = package.folder / case.file
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != case.sha256:
        raise PackageError(f"{path}: SHA-256 must be {case.sha256}, but is {found}; fetch the file again")
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            check_entries(archive)
            size = sum(item.file_size for item in archive.infolist())
        if size > MAX_BYTES:
            raise PackageError(f"{path}: holds {size} bytes unpacked, more than the {MAX_BYTES} of a golden case")
        with np.load(BytesIO(content), allow_pickle=False) as arrays:
            read = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise PackageError(f"{path}: is no golden case ({error})") from error
    _require(read, ("voxels", "affine_lps"), path.name)
    return read


def _require(arrays: Arrays, names: Iterable[str], file: str) -> None:
    for name in names:
        if name not in arrays:
            raise PackageError(f"{file}: a golden case must hold {name}")
    voxels, affine = arrays["voxels"], arrays["affine_lps"]
    if voxels.ndim != 3 or affine.shape != (4, 4):
        raise PackageError(
            f"{file}: voxels must be (slices, rows, columns) and affine_lps (4, 4), but are {voxels.shape} and {affine.shape}"
        )


def _as_pictures(volume: Volume, arrays: Arrays, *, is_clip: bool) -> Volume:
    """Each slice is an image, or a frame of one clip, with calibrated pixels of the affine's spacing; `colors` are RGB."""
    slices, rows, columns = volume.voxels.shape
    colors = arrays.get("colors")
    if colors is not None and (colors.dtype != np.uint8 or colors.shape != (slices, rows, columns, 3)):
        raise PackageError(
            f"colors of a golden case must be uint8 {(slices, rows, columns, 3)}, but are {colors.shape}"
        )
    spacing_mm = volume.spacing_mm[1:]
    pictures = tuple(
        Picture(
            source=SourceFrame("", "2.25.4.0", index + 1) if is_clip else SourceFrame("", f"2.25.4.{index}"),
            slice=index,
            rows=rows,
            columns=columns,
            instance_number=1 if is_clip else index + 1,
            pixel_spacing_mm=(spacing_mm[0], spacing_mm[1]),
            is_calibrated=True,
            is_color=colors is not None,
        )
        for index in range(slices)
    )
    return replace(volume, pictures=pictures, colors=None if colors is None else np.asarray(colors, np.uint8))


def _volume(arrays: Arrays, suffix: str, modality: str) -> Volume:
    voxels = np.ascontiguousarray(arrays[f"voxels{suffix}"], np.float32)
    header = Dataset()
    header.Modality = modality
    return Volume(
        voxels=voxels,
        affine_lps=np.asarray(arrays[f"affine_lps{suffix}"], np.float64),
        frame_of_reference_uid="2.25.1",
        study_instance_uid="2.25.2",
        series_instance_uid="2.25.3",
        sources=tuple(SourceFrame("", f"2.25.4.{index}") for index in range(len(voxels))),
        header=header,
    )
