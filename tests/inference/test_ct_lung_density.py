"""`ct_lung_density` on chests of known volume, on chests stored otherwise, and on what is no chest."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.phantom import Phantom, chest_ct
from inference.findings import Findings
from inference.models.ct_lung_density.density import density_of
from inference.models.ct_lung_density.model import analyse
from inference.package import BUILT_IN, load_package
from inference.predict import predict
from inference.runtimes.python import Analysis
from inference.volume import Volume
from tests.inference.chests import slices_of, turned, volume_from, volume_of, with_voxels

SEGMENTS = ["right_lung", "left_lung", "both_lungs", "airways", "right_low_attenuation", "left_low_attenuation"]
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Chest:
    """A phantom as a volume, with all lung voxels (air, not vessel) known."""

    phantom: Phantom
    volume: Volume
    aired: NDArray[np.bool_]

    def painted(self, where: NDArray[np.bool_], hu: float) -> Volume:
        return with_voxels(self.volume, np.where(where, np.float32(hu), self.volume.voxels))


@pytest.fixture(scope="module")
def chest() -> Chest:
    """Coarser than the real thing, so that many may be tried."""
    phantom = chest_ct(slices=48, rows=192)
    volume = volume_of(phantom)
    masks = phantom.truth.masks
    return Chest(phantom, volume, (masks["right_lung"] | masks["left_lung"]) & (volume.voxels < -700))


@pytest.fixture(scope="module")
def straight(chest: Chest) -> Analysis:
    return analyse(chest.volume, CPU)


@pytest.fixture(scope="module")
def known() -> Phantom:
    return chest_ct(slices=64, rows=512)


@pytest.fixture(scope="module")
def findings(known: Phantom) -> Findings:
    return predict(volume_of(known), load_package(BUILT_IN / "ct_lung_density"), "cpu")


def value_of(findings: Findings, segment: str, name: str) -> float:
    values = [m.value for m in findings.measurements if (m.finding_key, m.name.value) == (segment, name)]
    assert len(values) == 1
    return values[0]


def refused(analysis: Analysis) -> str:
    assert analysis.refusal is not None
    assert not analysis.masks
    return f"{analysis.refusal[0]}: {analysis.refusal[1]}"


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Dice coefficient."""
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


def check_against(analysis: Analysis, phantom: Phantom, tolerance: float = 0.01) -> None:
    assert analysis.refusal is None
    for side in ("right", "left"):
        truth = phantom.truth.lungs[side]
        assert analysis.values[f"{side}_lung", "volume"] == pytest.approx(truth.volume_ml, rel=tolerance)


def test_known_volumes_and_densities_are_found_to_one_percent(findings: Findings, known: Phantom) -> None:
    assert [segment.key for segment in findings.segments] == SEGMENTS
    for side, segment in (("right", "right_lung"), ("left", "left_lung"), ("both", "both_lungs")):
        truth = known.truth.lungs[side]
        assert value_of(findings, segment, "118565006") == pytest.approx(truth.volume_ml, rel=0.01)
        # Densities begin at -1000 HU: one percent of what is in the lung beside air.
        assert value_of(findings, segment, "112181") == pytest.approx(truth.mean_hu, abs=1.6)
        assert value_of(findings, segment, "PERC15") == pytest.approx(truth.percentile_15_hu, abs=1.3)
        assert value_of(findings, segment, "LAA950PCT") == pytest.approx(truth.laa_950_percent, rel=0.01)
    for side in ("right", "left"):
        low_ml = value_of(findings, f"{side}_low_attenuation", "118565006")
        assert low_ml == pytest.approx(known.truth.lungs[side].low_attenuation_ml, rel=0.01)
    assert value_of(findings, "airways", "118565006") == pytest.approx(known.truth.airways_ml, rel=0.01)


def test_masks_lie_on_the_known_masks_and_left_is_left(findings: Findings, known: Phantom) -> None:
    masks = {segment.key: segment.mask for segment in findings.segments}
    for key in ("right_lung", "left_lung", "airways"):
        assert overlap(masks[key], known.truth.masks[key]) > 0.995
    assert not (masks["right_lung"] & masks["left_lung"]).any()
    assert not (masks["both_lungs"] & masks["airways"]).any()
    assert np.array_equal(masks["both_lungs"], masks["right_lung"] | masks["left_lung"])
    assert not (masks["left_low_attenuation"] & ~masks["left_lung"]).any()
    patches = known.truth.masks["patches"] & known.truth.masks["left_lung"]
    assert (masks["left_low_attenuation"] & patches).sum() > 0.99 * patches.sum()


def test_a_phantom_of_thick_slices_is_reported_with_a_remark(findings: Findings) -> None:
    assert [remark.code.value for remark in findings.remarks] == ["112225"]
    assert "5.0 mm > 1.5 mm" in findings.remarks[0].text


@pytest.mark.parametrize("slices", [32, 160])
def test_slices_of_10_and_of_2_mm_give_the_known_volumes(slices: int) -> None:
    phantom = chest_ct(slices=slices, rows=192)
    check_against(analyse(volume_of(phantom), CPU), phantom)


@pytest.mark.parametrize(
    ("axes", "flipped"),
    [
        ((0, 1, 2), (True, False, False)),
        ((0, 1, 2), (False, True, True)),
        ((2, 1, 0), (False, False, True)),
    ],
)
def test_the_order_in_which_voxels_are_stored_changes_no_number(
    chest: Chest, straight: Analysis, axes: tuple[int, int, int], flipped: tuple[bool, bool, bool]
) -> None:
    other = analyse(turned(chest.volume, axes, flipped), CPU)
    assert other.values == pytest.approx(dict(straight.values))
    ways = tuple(slice(None, None, -1 if flip else 1) for flip in flipped)
    for key, mask in straight.masks.items():
        assert np.array_equal(other.masks[key], np.transpose(mask, axes)[ways])


def test_a_patient_who_lies_prone_takes_no_copy_of_the_volume(chest: Chest) -> None:
    prone = turned(chest.volume, (0, 1, 2), (False, True, True))
    peaks_bytes = []
    for volume in (chest.volume, prone):
        tracemalloc.start()
        analyse(volume, CPU)
        peaks_bytes.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks_bytes[1] - peaks_bytes[0] < chest.volume.voxels.nbytes / 4


def test_a_mirrored_patient_has_mirrored_lungs(chest: Chest) -> None:
    mirrored = analyse(with_voxels(chest.volume, chest.volume.voxels[:, :, ::-1]), CPU)
    truth = chest.phantom.truth.lungs
    assert mirrored.values["right_lung", "volume"] == pytest.approx(truth["left"].volume_ml, rel=0.01)
    assert mirrored.values["left_lung", "volume"] == pytest.approx(truth["right"].volume_ml, rel=0.01)


def test_running_twice_gives_the_same_bits(chest: Chest, straight: Analysis) -> None:
    again = analyse(chest.volume, CPU)
    assert again.values == straight.values
    assert all(np.array_equal(again.masks[key], straight.masks[key]) for key in straight.masks)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")
def test_cuda_gives_the_numbers_of_the_cpu_to_a_tenth_of_a_percent(chest: Chest) -> None:
    package = load_package(BUILT_IN / "ct_lung_density")
    on_cpu, on_cuda = (predict(chest.volume, package, device) for device in ("cpu", "cuda"))
    for one, other in zip(on_cpu.measurements, on_cuda.measurements, strict=True):
        assert other.value == pytest.approx(one.value, rel=1e-3)


def test_lungs_that_touch_in_front_are_parted(chest: Chest) -> None:
    masks = chest.phantom.truth.masks
    bridge = np.zeros(chest.aired.shape, np.bool_)
    for slice_index in range(18, 39):
        for row in range(chest.aired.shape[1]):
            right, left = (np.flatnonzero(masks[key][slice_index, row]) for key in ("right_lung", "left_lung"))
            if right.size and left.size and left[0] - right[-1] <= 6:
                bridge[slice_index, row, right[-1] : left[0] + 1] = True
    assert ndimage.label(chest.aired | bridge)[1] < ndimage.label(chest.aired)[1]
    check_against(analyse(chest.painted(bridge, -840), CPU), chest.phantom)


def test_gas_in_the_bowel_that_touches_the_lung_is_left_out(chest: Chest) -> None:
    """A bubble below the diaphragm, and a hole of 4 mm in the diaphragm such as partial volume makes."""
    left = chest.phantom.truth.masks["left_lung"]
    base = int(np.flatnonzero(left.any(axis=(1, 2)))[0])
    depth = ndimage.distance_transform_edt(left[base + 1])
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    gas = np.zeros_like(left)
    gas[base - 4 : base - 1, row - 9 : row + 9, column - 9 : column + 9] = True
    hole = np.zeros_like(left)
    hole[base - 1 : base + 1, row - 1 : row + 1, column - 1 : column + 1] = True
    aired = chest.aired | gas | hole
    assert ndimage.label(aired)[1] == ndimage.label(chest.aired)[1]
    analysis = analyse(chest.painted((gas | hole) & ~left, -1000), CPU)
    check_against(analysis, chest.phantom, tolerance=0.002)
    assert not (analysis.masks["left_lung"] & gas).any()


@pytest.mark.parametrize(("radius_mm", "is_lung"), [(8, True), (20, False)])
def test_a_large_vessel_is_lung_and_a_tumour_is_not(chest: Chest, radius_mm: float, is_lung: bool) -> None:
    spacing = np.asarray(chest.volume.spacing_mm)
    start = np.linalg.inv(chest.volume.affine_lps) @ (-85, -10, 20, 1)
    offsets = [np.arange(size) - middle for size, middle in zip(chest.aired.shape, start[:3], strict=True)]
    z, y, x = np.meshgrid(*(offset * step for offset, step in zip(offsets, spacing, strict=True)), indexing="ij")
    column = (np.hypot(x, y) < radius_mm) & (np.abs(z) < 25)
    within = column & chest.phantom.truth.masks["right_lung"]
    analysis = analyse(chest.painted(within, 40), CPU)
    assert (analysis.masks["right_lung"] & within).sum() / within.sum() == pytest.approx(float(is_lung), abs=0.1)


@pytest.mark.parametrize("change_hu", [-75, -100, 150, 300])
def test_emphysema_and_expiration_change_density_and_not_volume(chest: Chest, change_hu: float) -> None:
    voxels = chest.volume.voxels + np.where(chest.aired, np.float32(change_hu), np.float32(0))
    analysis = analyse(with_voxels(chest.volume, voxels), CPU)
    check_against(analysis, chest.phantom)
    masks = chest.phantom.truth.masks
    expected = float(voxels[masks["right_lung"] | masks["left_lung"]].mean())
    assert analysis.values["both_lungs", "mean_density"] == pytest.approx(expected, abs=3)


def test_the_noise_of_a_sharp_kernel_changes_no_volume_but_laa(chest: Chest) -> None:
    noise = np.random.default_rng(5).normal(0, 60, chest.volume.voxels.shape).astype(np.float32)
    analysis = analyse(with_voxels(chest.volume, chest.volume.voxels + noise), CPU)
    check_against(analysis, chest.phantom)
    assert analysis.values["both_lungs", "laa_950"] > 2 * chest.phantom.truth.lungs["both"].laa_950_percent


def test_a_lung_full_of_fluid_is_no_air_filled_lung(chest: Chest) -> None:
    volume = chest.painted(chest.phantom.truth.masks["right_lung"], 20)
    assert refused(analyse(volume, CPU)) == "one_lung: air-filled right lung is 0 mL < 300 mL"


def test_a_chest_without_trachea_is_not_analysed(chest: Chest) -> None:
    volume = chest.painted(chest.phantom.truth.masks["airways"], 40)
    assert refused(analyse(volume, CPU)).startswith("no_trachea: no round air column of 30 mm or more")


@pytest.mark.parametrize(
    ("first", "stop", "end"),
    [(0, 31, "highest"), (0, 39, "highest"), (15, 48, "lowest")],
)
def test_half_a_chest_is_not_analysed(chest: Chest, first: int, stop: int, end: str) -> None:
    reason = refused(analyse(slices_of(chest.volume, first, stop), CPU))
    assert reason.startswith(f"incomplete: right lung goes on beyond the {end} slice: its section there is ")


def test_lung_bases_of_an_abdomen_are_not_analysed(chest: Chest) -> None:
    assert refused(analyse(slices_of(chest.volume, 0, 18), CPU)).startswith("no_trachea: ")


def test_a_lung_whose_tip_is_cut_is_measured_with_a_remark(chest: Chest) -> None:
    top = int(np.flatnonzero(chest.phantom.truth.masks["right_lung"].any(axis=(1, 2)))[-1])
    analysis = analyse(slices_of(chest.volume, 0, top + 1), CPU)
    check_against(analysis, chest.phantom)
    remarks = dict(analysis.remarks)
    assert "lung reaches the highest slice" in remarks["coverage"]


def test_a_lung_cut_by_a_small_field_of_view_is_not_analysed(chest: Chest) -> None:
    narrow = with_voxels(chest.volume, chest.volume.voxels[:, :, 29:])
    reason = refused(analyse(narrow, CPU))
    assert reason.startswith("incomplete: right lung reaches the edge of the images: ")


def test_bronchi_that_cannot_be_followed_are_a_remark(chest: Chest) -> None:
    below_carina = chest.phantom.truth.masks["airways"].copy()
    below_carina[28:] = False
    analysis = analyse(chest.painted(below_carina, 40), CPU)
    check_against(analysis, chest.phantom)
    assert "parting into main bronchi was not found" in dict(analysis.remarks)["bronchi"]


def test_pure_gas_in_both_sides_of_the_chest_is_not_lung(chest: Chest) -> None:
    masks = chest.phantom.truth.masks
    reason = refused(analyse(chest.painted(masks["right_lung"] | masks["left_lung"], -970), CPU))
    assert reason == "implausible: mean density of both lungs is -970 HU, not -960 to -500 HU"


@pytest.mark.parametrize("hu", [0.0, -1000.0])
def test_a_uniform_phantom_and_air_hold_no_lungs(hu: float) -> None:
    volume = volume_from(np.full((40, 128, 128), hu, np.float32), (5.0, 3.0, 3.0))
    reason = refused(analyse(volume, CPU))
    assert reason == "no_lungs: largest air-filled space with lung density within the body is 0 mL < 300 mL"


def test_a_head_with_its_sinuses_holds_no_lungs() -> None:
    z, y, x = np.meshgrid(*(np.arange(size, dtype=np.float32) for size in (40, 128, 128)), indexing="ij")
    centred = ((z - 20) * 5) ** 2, ((y - 64) * 2) ** 2, ((x - 64) * 2) ** 2
    radius = np.sqrt(sum(centred))
    voxels = np.select([radius < 70, radius < 80, radius < 85], [35, 900, 40], -1000).astype(np.float32)
    voxels[(np.abs(z - 14) < 4) & (np.abs(y - 40) < 8) & (np.abs(x - 64) < 10)] = -950
    assert refused(analyse(volume_from(voxels, (5.0, 2.0, 2.0)), CPU)).startswith("no_lungs: ")


def test_a_test_object_with_foam_lungs_has_no_trachea() -> None:
    y, x = np.meshgrid(np.arange(128), np.arange(128), indexing="ij")
    plane = np.where(((x - 64) / 55) ** 2 + ((y - 64) / 38) ** 2 < 1, 0.0, -1000.0)
    for centre in (38, 90):
        plane[((x - centre) / 17) ** 2 + ((y - 64) / 26) ** 2 < 1] = -856
    voxels = np.repeat(plane[None], 50, axis=0)
    voxels[:5] = voxels[-5:] = np.where(plane > -900, 0, -1000)
    assert refused(analyse(volume_from(voxels, (5.0, 2.5, 2.5)), CPU)).startswith("no_trachea: ")


def test_densities_are_those_of_their_definitions() -> None:
    values = torch.tensor([-1000.0, -951.0, -950.0, -900.0, -800.0, -700.0])
    density = density_of(values[[3, 0, 5, 1, 4, 2]], voxel_ml=0.5)
    assert density.volume_ml == 3.0
    assert density.mean_hu == pytest.approx(-883.5)
    assert density.percentile_15_hu == pytest.approx(float(np.percentile(values.numpy(), 15)))
    assert density.laa_950_percent == pytest.approx(100 * 2 / 6)
