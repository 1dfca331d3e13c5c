"""The phantom is the yardstick of other tests, so what it claims of itself is held here."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_node.phantom import Phantom, chest_ct


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return chest_ct(slices=32, rows=128)


def hu_of(phantom: Phantom) -> np.ndarray:
    return np.stack([d.pixel_array.astype(float) + float(d.RescaleIntercept) for d in phantom.datasets])


def test_every_instance_is_a_valid_ct_image(phantom: Phantom, peer: Callable[[str], str], tmp_path: Path) -> None:
    dciodvfy = peer("dciodvfy")
    paths = phantom.write(tmp_path / "study")
    assert len(paths) == 32
    for path in (paths[0], paths[16], paths[-1]):
        shown = subprocess.run([dciodvfy, "-new", str(path)], capture_output=True, text=True, check=False)
        assert shown.returncode == 0
        assert "Error" not in shown.stdout + shown.stderr


def test_the_same_call_makes_the_same_study_and_another_identity_another(phantom: Phantom) -> None:
    again = chest_ct(slices=32, rows=128)
    other = chest_ct(slices=32, rows=128, identity="second visit")
    assert [d.SOPInstanceUID for d in again.datasets] == [d.SOPInstanceUID for d in phantom.datasets]
    assert again.datasets[9].PixelData == phantom.datasets[9].PixelData == other.datasets[9].PixelData
    ours, theirs = ({str(d.SOPInstanceUID) for d in p.datasets} for p in (phantom, other))
    assert len(ours) == 32
    assert not ours & theirs
    assert phantom.datasets[0].StudyInstanceUID != other.datasets[0].StudyInstanceUID


def test_masks_lie_where_the_affine_says_and_left_is_left(phantom: Phantom) -> None:
    for name, sign in (("left_lung", 1), ("right_lung", -1)):
        index = np.argwhere(phantom.truth.masks[name]).mean(axis=0)
        x_mm, _, _, _ = phantom.affine_lps @ (*index, 1)
        assert 50 < sign * x_mm < 100
    first, second = phantom.datasets[:2]
    for index, dataset in enumerate((first, second)):
        position = phantom.affine_lps @ (index, 0, 0, 1)
        assert np.allclose(position[:3], [float(v) for v in dataset.ImagePositionPatient], atol=1e-4)


def test_known_volumes_are_the_counted_voxels(phantom: Phantom) -> None:
    first = phantom.datasets[0]
    voxel_ml = float(first.PixelSpacing[0]) ** 2 * float(first.SpacingBetweenSlices) / 1000
    truth = phantom.truth
    assert truth.lungs["right"].volume_ml == pytest.approx(truth.masks["right_lung"].sum() * voxel_ml)
    assert truth.lungs["right"].volume_ml > truth.lungs["left"].volume_ml > 2000
    assert truth.airways_ml == pytest.approx(truth.masks["airways"].sum() * voxel_ml)
    lungs = truth.masks["right_lung"] | truth.masks["left_lung"]
    assert not (truth.masks["airways"] & lungs).any()
    hu = hu_of(phantom)
    patches = hu[truth.masks["patches"]]
    assert abs(patches.mean() + 975) < 1
    assert truth.lungs["both"].mean_hu == pytest.approx(hu[lungs].mean())


def test_a_full_size_phantom_is_5_mm_and_its_file_reads_back(tmp_path: Path) -> None:
    phantom = chest_ct(slices=64, rows=512)
    paths = phantom.write(tmp_path)
    read = pydicom.dcmread(paths[40])
    assert (read.Rows, read.Columns, float(read.SpacingBetweenSlices)) == (512, 512, 5.0)
    assert read.SOPInstanceUID == phantom.datasets[40].SOPInstanceUID
    assert np.array_equal(read.pixel_array, phantom.datasets[40].pixel_array)
