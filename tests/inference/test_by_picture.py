"""Networks that look at images one by one: what they are shown, and what their answers are told of."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from torch import Tensor, nn

from inference.errors import PackageError
from inference.findings import Box, Findings
from inference.golden import run_golden_cases, write_case
from inference.instances import Parsed
from inference.package import Package, load_package
from inference.picture_series import read_each
from inference.predict import predict
from inference.volume import Volume
from tests.inference.made_models import DENSE, NOT_INPUT, Above, FixedBoxes, package, torchscript, written
from tests.inference.made_pictures import clip, disc, radiograph

AREA = {
    "key": "area",
    "name": {"value": "42798000", "scheme": "SCT", "meaning": "Area"},
    "unit": {"value": "mm2", "scheme": "UCUM", "meaning": "square millimeter"},
    "compute": "area",
}
MASS = {
    "key": "mass",
    "label": "Mass",
    "category": {"value": "49755003", "scheme": "SCT", "meaning": "Morphologically Abnormal Structure"},
    "type": {"value": "4147007", "scheme": "SCT", "meaning": "Mass"},
    "index": 0,
    "least_score": 0.2,
}
EFFUSION = {
    "key": "effusion",
    "label": "Effusion",
    "finding": {"value": "60046008", "scheme": "SCT", "meaning": "Pleural effusion"},
    "index": 0,
    "threshold": 0.5,
}
AGE = {
    "key": "age",
    "name": {"value": "BONEAGE", "scheme": "99TEST", "meaning": "Bone age"},
    "unit": {"value": "a", "scheme": "UCUM", "meaning": "year"},
    "index": 1,
}
REFUSED = {"input_refused": NOT_INPUT}
BRIGHT = disc((40, 30), (20, 12), 6, 3000, 200)
DIM = disc((24, 36), (10, 20), 5, 2000, 100)


class Means(nn.Module):
    """(1, 2): the mean of what is shown by 4000, and by 100."""

    def forward(self, image: Tensor) -> Tensor:
        mean = image.flatten(1).mean(dim=1)
        return torch.stack([mean / 4000, mean / 100], dim=1)


class RedderThan(nn.Module):
    """Segments what is red: of three channels the first, above 100."""

    def forward(self, image: Tensor) -> Tensor:
        red = image[:, :1] - image[:, 1:2]
        return torch.cat([torch.zeros_like(red), red - 100], dim=1)


def of(folder: Path, network: nn.Module, **changes: Any) -> Package:
    taken = {"input": {"modality": "CR", "images": "each"}} | changes
    return package(folder, torchscript(network), **taken)


def shown(model: Package, *datasets: Dataset) -> tuple[Volume, Findings]:
    volume = read_each([Parsed(dataset) for dataset in datasets], model.manifest.input).volumes[0]
    return volume, predict(volume, model, "cpu")


def segments(**more: Any) -> dict[str, Any]:
    return {"segments": [DENSE], "measurements": [AREA], "not_analysed": REFUSED} | more


def padded(stored: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    out = np.zeros(shape, np.bool_)
    out[: stored.shape[0], : stored.shape[1]] = stored
    return out


@pytest.mark.parametrize(
    "use", [{}, {"mode": "windows", "patch": [16, 16]}, {"flips": [[0], [1]]}], ids=["whole", "windows", "flips"]
)
def test_each_image_is_segmented_by_itself(tmp_path: Path, use: dict[str, Any]) -> None:
    model = of(tmp_path, Above(1000.0, axes=2), outputs=segments(), use=use)
    volume, found = shown(model, radiograph(BRIGHT, PixelSpacing=[0.5, 0.4]), radiograph(DIM, number=2))
    (segment,) = found.segments
    for index, stored in enumerate((BRIGHT, DIM)):
        assert np.array_equal(segment.part(index), padded(stored > 1000, volume.voxels.shape[1:]))
    told = [(m.pictures, m.value, m.unit.value) for m in found.measurements]
    bright, dim = np.count_nonzero(BRIGHT > 1000), np.count_nonzero(DIM > 1000)
    assert told == [((0,), pytest.approx(bright * 0.2), "mm2"), ((1,), dim, "{pixels}")]


@pytest.mark.parametrize("said", [{"size": [80, 60]}, {"spacing_mm": [0.25, 0.25]}, {"size_multiple": [32, 32]}])
def test_a_mask_comes_back_to_the_pixels_of_its_image_whatever_the_network_was_shown(
    tmp_path: Path, said: dict[str, Any]
) -> None:
    model = of(tmp_path, Above(1600.0, axes=2), outputs=segments(), preprocessing=said)
    _, found = shown(model, radiograph(BRIGHT, ImagerPixelSpacing=[0.5, 0.5]))
    assert np.array_equal(found.segments[0].mask[0], BRIGHT > 1600)


def test_masks_that_may_overlap_are_told_of_each_image(tmp_path: Path) -> None:
    model = of(
        tmp_path, Above(1000.0, axes=2), outputs=segments(), postprocessing={"decide": "threshold", "threshold": 0.0}
    )
    volume, found = shown(model, radiograph(BRIGHT), radiograph(DIM, number=2))
    assert np.array_equal(found.segments[0].mask[1], padded(DIM >= 1000, volume.voxels.shape[1:]))


def test_small_parts_and_holes_are_those_of_one_image(tmp_path: Path) -> None:
    ring = np.where((disc((30, 30), (15, 15), 9, 1, 0) - disc((30, 30), (15, 15), 5, 1, 0)) > 0, 3000, 100)
    ring[1, 1] = 3000
    steps = [{"kind": "fill_holes"}, {"kind": "remove_small", "below_pixels": 4}]
    model = of(tmp_path, Above(1000.0, axes=2), outputs=segments(), postprocessing={"cleaning": steps})
    _, found = shown(model, radiograph(ring), radiograph(ring, number=2))
    for picture in found.segments[0].mask:
        assert np.array_equal(picture, disc((30, 30), (15, 15), 9, 1, 0).astype(bool))


def test_colours_are_shown_as_three_channels(tmp_path: Path) -> None:
    rgb = np.full((3, 20, 20, 3), 90, np.uint8)
    rgb[1, 5:9, 5:9] = (250, 20, 20)
    taken = {"modality": "US", "images": "each", "pictures": {"color": "rgb"}}
    model = of(tmp_path, RedderThan(), input=taken, outputs=segments())
    _, found = shown(model, clip(rgb))
    assert np.argwhere(found.segments[0].mask).min(axis=0).tolist() == [1, 5, 5]
    told: list[Any] = [(m.pictures, m.value) for m in found.measurements]
    assert told == [((1,), pytest.approx(16 * 0.25))]


def test_grey_images_are_shown_in_three_channels_to_a_network_of_colours(tmp_path: Path) -> None:
    class Channels(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return torch.stack([image.amax(dim=(2, 3)).std(dim=1), torch.full((1,), float(image.shape[1]))], dim=1)

    outputs = {"measurements": [AGE], "not_analysed": REFUSED}
    model = of(
        tmp_path, Channels(), input={"modality": "CR", "images": "each", "pictures": {"color": "rgb"}}, outputs=outputs
    )
    _, found = shown(model, radiograph(BRIGHT))
    assert [m.value for m in found.measurements] == [3.0]


def test_each_image_is_classified_and_says_which_it_is(tmp_path: Path) -> None:
    outputs = {"classifications": [EFFUSION], "measurements": [AGE], "not_analysed": REFUSED}
    model = of(tmp_path, Means(), outputs=outputs)
    whole = np.full((10, 10), 3600)
    _, found = shown(model, radiograph(whole, ImageLaterality="R", ViewPosition="PA"), radiograph(whole // 2, number=2))
    first, second = found.classifications
    assert (first.state, second.state) == ("present", "absent")
    assert (first.label, second.label) == ("Effusion, image 1 (R PA)", "Effusion, image 2")
    assert first.laterality is not None
    assert (first.laterality.meaning, second.laterality) == ("Right", None)
    assert (first.pictures, second.pictures) == ((0,), (1,))
    assert [(m.pictures, m.value) for m in found.measurements] == [((0,), 36.0), ((1,), 18.0)]


def test_the_name_of_a_finding_stays_that_of_its_image_when_other_images_come(tmp_path: Path) -> None:
    model = of(tmp_path, Means(), outputs={"classifications": [EFFUSION], "not_analysed": REFUSED})
    images = [radiograph(BRIGHT, number=number) for number in (1, 2, 3)]
    _, two = shown(model, *images[1:])
    _, three = shown(model, *images)
    assert [item.key for item in two.classifications] == [item.key for item in three.classifications[1:]]


@pytest.mark.parametrize(("combine", "share"), [("mean", 0.675), ("maximum", 0.9)])
def test_a_series_may_have_one_answer(tmp_path: Path, combine: str, share: float) -> None:
    outputs = {"classifications": [EFFUSION], "measurements": [AGE], "not_analysed": REFUSED}
    model = of(tmp_path, Means(), outputs=outputs, postprocessing={"combine": combine})
    whole = np.full((10, 10), 3600)
    _, found = shown(model, radiograph(whole), radiograph(whole // 2, number=2))
    answers: list[Any] = [(c.key, c.pictures, c.probability) for c in found.classifications]
    assert answers == [("effusion", (), pytest.approx(share))]
    numbers: list[Any] = [(m.pictures, m.value) for m in found.measurements]
    assert numbers == [((), pytest.approx(share * 40))]


def test_boxes_lie_on_their_image_and_end_with_it(tmp_path: Path) -> None:
    network = FixedBoxes(
        [[10.0, 20.0, 60.0, 50.0], [1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 1.0, 1.0]], [0.5, 0.9, 0.1], [0, 0, 0]
    )
    model = of(
        tmp_path,
        network,
        preprocessing={"size": [80, 60]},
        outputs={"detections": [MASS], "not_analysed": REFUSED},
    )
    _, found = shown(model, radiograph(BRIGHT), radiograph(DIM, number=2))
    first = [one.place for one in found.detections if one.label.endswith("image 1")]
    assert [one.score for one in found.detections] == [pytest.approx(s) for s in (0.9, 0.5, 0.9, 0.5)]
    # 80 x 60 points on 40 x 30 pixels: point 10 lies at pixel 4.75.
    assert first[1] == Box((0.0, 4.75, 9.75), (0.0, 29.75, 24.75))
    second = [one.place for one in found.detections if one.label.endswith("image 2")]
    assert isinstance(second[0], Box)
    assert second[0].first[0] == second[0].last[0] == 1.0


def test_a_clip_is_shown_at_once_and_classified_as_one(tmp_path: Path) -> None:
    class Moves(nn.Module):
        """How much the frames differ, and how many there are."""

        def forward(self, image: Tensor) -> Tensor:
            moved = (image[:, :, 1:] - image[:, :, :-1]).abs().amax() / 255
            return torch.stack([moved, torch.tensor(float(image.shape[2]))])[None]

    taken = {"modality": "US", "images": "clip", "pictures": {"every_frame": 2}}
    outputs = {"classifications": [EFFUSION], "measurements": [AGE], "not_analysed": REFUSED}
    still = np.full((6, 8, 8, 3), 40, np.uint8)
    moving = still.copy()
    moving[4] = 240
    _, found = shown(of(tmp_path, Moves(), input=taken, outputs=outputs), clip(still), clip(moving, number=2))
    assert [item.state for item in found.classifications] == ["absent", "present"]
    assert [item.pictures for item in found.classifications] == [(0, 1, 2), (3, 4, 5)]
    assert [(m.pictures, m.value) for m in found.measurements] == [((0, 1, 2), 3.0), ((3, 4, 5), 3.0)]


def test_the_frames_of_a_clip_are_segmented_together_and_measured_one_by_one(tmp_path: Path) -> None:
    frames = np.stack([np.repeat(disc((20, 20), (10, 4 + 3 * n), 3, 200, 10)[..., None], 3, -1) for n in range(4)])
    model = of(tmp_path, Above(100.0), input={"modality": "US", "images": "clip"}, outputs=segments())
    _, found = shown(model, clip(frames.astype(np.uint8)))
    assert np.array_equal(found.segments[0].mask, frames[..., 0] > 100)
    assert [m.pictures for m in found.measurements] == [(0,), (1,), (2,), (3,)]


def test_a_segment_that_is_not_there_has_no_area_in_the_one_image_and_is_not_told_of_many(tmp_path: Path) -> None:
    model = of(tmp_path, Above(4000.0, axes=2), outputs=segments())
    _, one = shown(model, radiograph(BRIGHT))
    _, two = shown(model, radiograph(BRIGHT), radiograph(DIM, number=2))
    assert ([m.value for m in one.measurements], two.measurements) == ([0.0], ())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"preprocessing": {"spacing_mm": [1.0, 1.0, 1.0]}}, "preprocessing.spacing_mm must have 2 numbers"),
        ({"use": {"mode": "windows", "patch": [8, 8, 8]}}, "use.patch must have 2 numbers"),
        ({"use": {"mode": "slices"}}, "use.mode slices is for images volume or clip"),
        ({"use": {"flips": [[2]]}}, "use.flips names an axis"),
        ({"preprocessing": {"axes": "RAS"}}, "preprocessing.axes, crop and fit are for images volume"),
        ({"preprocessing": {"size": [8, 8], "spacing_mm": [1.0, 1.0]}}, "size and spacing_mm exclude each other"),
        (
            {"postprocessing": {"cleaning": [{"kind": "remove_small", "below_ml": 1.0}]}},
            "below_ml is for images volume",
        ),
        ({"postprocessing": {"combine": "mean"}}, "postprocessing.combine is for numbers"),
        ({"input": {"modality": "CR"}}, "area is not computed of images volume"),
        (
            {"input": {"modality": "CR", "images": "each", "min_coverage_mm": 10.0}},
            "min_coverage_mm is for images volume",
        ),
    ],
)
def test_keys_that_do_not_fit_how_images_are_taken_are_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(PackageError, match=reason):
        of(tmp_path, Above(1.0, axes=2), **({"outputs": segments()} | changes))


def test_a_golden_case_of_pictures_is_told_again(tmp_path: Path) -> None:
    model = of(tmp_path / "made", Above(1000.0, axes=2), outputs=segments())
    volume, found = shown(model, radiograph(BRIGHT, PixelSpacing=[0.5, 0.4]))
    case = write_case(volume, {}, found)
    golden = [{"name": "A bright disc", "file": "disc.npz", "sha256": hashlib.sha256(case).hexdigest()}]
    folder = written(
        tmp_path / "with_case",
        torchscript(Above(1000.0, axes=2)),
        input={"modality": "CR", "images": "each"},
        outputs=segments(),
        golden=golden,
    )
    (folder / "disc.npz").write_bytes(case)
    (verdict,) = run_golden_cases(load_package(folder), "cpu")
    assert (verdict.differences, verdict.least_dice) == ((), 1.0)
