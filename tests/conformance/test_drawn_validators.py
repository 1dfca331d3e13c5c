"""No validator finds an error in presentation states, key images and Parametric Maps; dcmqi reads the maps' values."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from dicom_node.results.encode import encode
from dicom_node.results.report import EncodedResult, Report
from tests.conformance.places import placed_findings
from tests.conformance.reports import made_volume, real_volume, report_on
from tests.conformance.test_validators import GEOMETRIES, REAL_SERIES
from tests.conformance.validators import dciodvfy_errors, dsrdump_errors
from tests.waiting import LIMIT_S

Peer = Callable[[str], str]

KINDS = ("gsps", "key_images", "parametric_map")
LARGE = ("ct_chest_ge_tcga-34-2605", "ct_body_siemens_j2k", "ct_head_ge_tilt_varspacing")


def write(results: tuple[EncodedResult, ...], folder: Path) -> list[Path]:
    paths = []
    for number, result in enumerate(results):
        assert result.faults == ()
        paths.append(folder / f"{result.kind}-{number}.dcm")
        paths[-1].write_bytes(result.payload)
    return paths


def complaints(peer: Peer, paths: list[Path]) -> dict[str, list[str]]:
    found = {path.name: dciodvfy_errors(peer("dciodvfy"), path) for path in paths}
    for path in paths:
        if path.name.startswith("key_images"):
            found["dsrdump"] = dsrdump_errors(peer("dsrdump"), path)
    return {name: lines for name, lines in found.items() if lines}


def made(geometry: str) -> Report:
    datasets, volume = made_volume(geometry)
    return report_on(datasets, volume, placed_findings(volume), kinds=KINDS)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_what_is_drawn_on_made_series_is_valid(geometry: str, peer: Peer, tmp_path: Path) -> None:
    paths = write(encode(made(geometry)), tmp_path)
    assert [path.stem for path in paths] == ["parametric_map-0", "parametric_map-1", "gsps-2", "key_images-3"]
    assert complaints(peer, paths) == {}


@pytest.mark.parametrize(
    "series", [pytest.param(name, marks=[pytest.mark.long] if name in LARGE else []) for name in REAL_SERIES]
)
def test_what_is_drawn_on_series_from_scanners_is_valid(
    series: str, peer: Peer, tmp_path: Path, shared_data: Path
) -> None:
    datasets, volume = real_volume(shared_data / series)
    paths = write(encode(report_on(datasets, volume, placed_findings(volume), kinds=KINDS)), tmp_path)
    assert len(paths) == 4
    assert complaints(peer, paths) == {}


@pytest.mark.parametrize("geometry", ["axial", "sagittal", "oblique", "multi_frame"])
def test_dcmqi_reads_the_values_of_a_map_where_they_are(geometry: str, peer: Peer, tmp_path: Path) -> None:
    """By patient coordinates, on geometries that a rectangular image can hold."""
    report = made(geometry)
    density = write(encode(report), tmp_path)[1]
    command = [peer("paramap2itkimage"), "--inputDICOM", str(density), "--outputDirectory", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=LIMIT_S)
    (file,) = tmp_path.glob("*.nrrd")
    image = sitk.ReadImage(str(file))
    values = sitk.GetArrayFromImage(image)
    indices = np.argwhere(np.ones_like(values, np.bool_))
    places = (indices[:, ::-1] * image.GetSpacing()) @ np.reshape(image.GetDirection(), (3, 3)).T + image.GetOrigin()
    assert report.volume is not None
    ours = (np.linalg.inv(report.volume.affine_lps) @ np.column_stack([places, np.ones(len(places))]).T)[:3].T
    np.testing.assert_allclose(ours, np.rint(ours), atol=0.05)
    wanted = report.findings.heat_maps[1].values[tuple(np.rint(ours).astype(int).T)]
    assert np.array_equal(values.ravel(), wanted)
    assert values.size == report.volume.voxels.size
