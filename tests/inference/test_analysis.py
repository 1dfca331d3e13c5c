"""A network without code, from volume to findings: what it tells lies where it was seen, however the image was prepared."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from inference.errors import InferenceError
from inference.findings import Box, Findings
from inference.predict import predict
from inference.series import read_series
from inference.volume import Volume
from tests.inference.made_models import (
    ANATOMY,
    DENSE,
    EMPHYSEMA,
    HU,
    LUNG,
    ML,
    NOT_INPUT,
    Above,
    FixedBoxes,
    MeanOf,
    manifest,
    onnx_above,
    package,
    torch_export,
    torchscript,
)
from tests.inference.series_factory import CORONAL, SAGITTAL, Shape, make_series

HOUNSFIELD = -200.0
OUTPUTS: dict[str, Any] = manifest(b"")["outputs"]


def volume_of(**shape: Any) -> Volume:
    return read_series(make_series(Shape(**shape)).datasets).volumes[0]


def found_in(folder: Path, volume: Volume, network: nn.Module, **changes: Any) -> Findings:
    return predict(volume, package(folder, torchscript(network), **changes))


@pytest.mark.parametrize("orientation", [(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), CORONAL, SAGITTAL])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"preprocessing": {"axes": "RAS"}},
        {"preprocessing": {"axes": "SPL", "size_multiple": [4, 8, 8], "outside": -1024.0}},
        {"preprocessing": {"crop": {"above": -300.0, "margin_mm": 1.0}}},
        {"use": {"mode": "windows", "patch": [3, 4, 4], "overlap": 0.5}},
        {"use": {"mode": "windows", "patch": [9, 9, 9]}, "preprocessing": {"axes": "RAS"}},
        {"use": {"flips": [[0], [1, 2]]}},
        {
            "use": {"precision": "bf16"},
            "preprocessing": {"intensity": [{"kind": "clip", "low": -201.0, "high": -199.0}]},
        },
    ],
    ids=["plain", "RAS", "SPL padded", "cropped", "windows", "one large window", "flipped", "bf16"],
)
def test_a_segment_is_where_the_image_is_dense(
    changes: dict[str, Any], orientation: tuple[float, ...], tmp_path: Path
) -> None:
    volume = volume_of(orientation=orientation)
    findings = found_in(tmp_path, volume, Above(HOUNSFIELD), **changes)
    (segment,) = findings.segments
    expected = volume.voxels > HOUNSFIELD
    assert 0 < expected.sum() < expected.size
    if "precision" in changes.get("use", {}):
        # Eight bits of a number: what lies within 1 HU of the value may fall to either side.
        near = np.abs(volume.voxels - HOUNSFIELD) <= 1
        assert np.array_equal(segment.mask | near, expected | near)
    else:
        assert np.array_equal(segment.mask, expected)
    assert (segment.key, segment.color_rgb, segment.type.value) == ("dense", (1, 2, 3), LUNG["value"])


def test_slices_are_analysed_one_by_one_with_their_neighbours(tmp_path: Path) -> None:
    class Middle(Above):
        """Of three slices the second is the one itself."""

        def forward(self, image: Tensor) -> Tensor:
            told: Tensor = self.tell(image[:, 1:2])
            return told

    volume = volume_of()
    use = {"mode": "slices", "neighbours": 1, "batch": 2}
    findings = found_in(tmp_path, volume, Middle(HOUNSFIELD, axes=2), use=use)
    assert np.array_equal(findings.segments[0].mask, volume.voxels > HOUNSFIELD)


def test_neighbours_of_a_slice_are_those_before_and_after_it(tmp_path: Path) -> None:
    class Before(Above):
        def forward(self, image: Tensor) -> Tensor:
            told: Tensor = self.tell(image[:, 0:1])
            return told

    volume = volume_of()
    findings = found_in(tmp_path, volume, Before(HOUNSFIELD, axes=2), use={"mode": "slices", "neighbours": 1})
    dense = volume.voxels > HOUNSFIELD
    assert np.array_equal(findings.segments[0].mask, dense[[0, *range(len(dense) - 1)]])


def test_an_exported_program_gives_the_same(tmp_path: Path) -> None:
    volume = volume_of()
    sizes = dict.fromkeys((2, 3, 4), torch.export.Dim.AUTO)
    content = torch_export(Above(HOUNSFIELD), torch.rand(1, 1, 5, 6, 8), sizes)
    made = package(tmp_path, content, runtime={"kind": "torch_export", "file": "network.pt"})
    assert np.array_equal(predict(volume, made).segments[0].mask, volume.voxels > HOUNSFIELD)


def test_an_onnx_network_gives_the_same(tmp_path: Path) -> None:
    volume = volume_of()
    runtime = {"kind": "onnx", "file": "network.onnx"}
    content = onnx_above(HOUNSFIELD)
    weights = [{"file": "network.onnx", "sha256": hashlib.sha256(content).hexdigest()}]
    made = package(tmp_path, content, runtime=runtime, weights=weights, use={"mode": "windows", "patch": [3, 4, 4]})
    assert np.array_equal(predict(volume, made).segments[0].mask, volume.voxels > HOUNSFIELD)


def test_several_segments_may_overlap_where_each_is_decided_by_itself(tmp_path: Path) -> None:
    class TwoThresholds(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return torch.cat([image + 200, image + 500], dim=1)

    outputs = OUTPUTS | {"segments": [DENSE | {"index": 0}, DENSE | {"key": "denser", "index": 1}]}
    volume = volume_of()
    changes = {"postprocessing": {"activation": "sigmoid", "decide": "threshold"}, "outputs": outputs}
    first, second = found_in(tmp_path, volume, TwoThresholds(), **changes).segments
    assert np.array_equal(first.mask, volume.voxels >= -200)
    assert np.array_equal(second.mask, volume.voxels >= -500)


def test_measurements_are_computed_of_segments(tmp_path: Path) -> None:
    measurements = [
        {"key": "volume", "name": LUNG, "unit": ML, "compute": "volume"},
        {"key": "mean", "name": LUNG, "unit": HU, "compute": "mean"},
        {"key": "least", "name": LUNG, "unit": HU, "compute": "minimum", "of": ["dense"]},
        {"key": "most", "name": LUNG, "unit": HU, "compute": "maximum"},
        {"key": "spread", "name": LUNG, "unit": HU, "compute": "deviation"},
        {"key": "p15", "name": LUNG, "unit": HU, "compute": "percentile", "percentile": 15.0},
    ]
    volume = volume_of()
    findings = found_in(tmp_path, volume, Above(HOUNSFIELD), outputs=OUTPUTS | {"measurements": measurements})
    dense = volume.voxels[volume.voxels > HOUNSFIELD].astype(np.float64)
    expected = [dense.size * 2.5 * 0.8 * 0.7 / 1000, dense.mean(), dense.min(), dense.max(), dense.std()]
    assert [m.value for m in findings.measurements] == pytest.approx([*expected, np.percentile(dense, 15)])
    assert {m.finding_key for m in findings.measurements} == {"dense"}


def test_of_a_segment_without_a_voxel_only_the_volume_is_told(tmp_path: Path) -> None:
    measurements = [
        {"key": "volume", "name": LUNG, "unit": ML, "compute": "volume"},
        {"key": "mean", "name": LUNG, "unit": HU, "compute": "mean"},
    ]
    findings = found_in(tmp_path, volume_of(), Above(1e6), outputs=OUTPUTS | {"measurements": measurements})
    assert [(m.unit.value, m.value) for m in findings.measurements] == [("mL", 0.0)]


@pytest.mark.parametrize(
    ("probability", "state"), [(0.2, "absent"), (0.4, "indeterminate"), (0.59, "indeterminate"), (0.61, "present")]
)
def test_a_classification_is_held_against_its_threshold(probability: float, state: str, tmp_path: Path) -> None:
    class Given(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.share = nn.Buffer(torch.tensor([[0.0, probability]]))

        def forward(self, image: Tensor) -> Tensor:
            return self.share + 0 * image.mean()

    item = {"key": "emphysema", "label": "Emphysema", "finding": EMPHYSEMA, "index": 1, "threshold": 0.5}
    outputs = {"classifications": [item | {"indeterminate": [0.4, 0.6]}], "not_analysed": {"input_refused": NOT_INPUT}}
    (found,) = found_in(tmp_path, volume_of(), Given(), outputs=outputs).classifications
    assert (found.state, found.threshold) == (state, 0.5)
    assert found.probability == pytest.approx(probability)


def test_a_number_of_the_network_is_a_measurement_about_all_of_the_image(tmp_path: Path) -> None:
    outputs = {
        "measurements": [{"key": "mean", "name": LUNG, "unit": HU, "index": 1}],
        "not_analysed": {"input_refused": NOT_INPUT},
    }
    volume = volume_of()
    (found,) = found_in(tmp_path, volume, MeanOf(), outputs=outputs, use={"flips": [[0]]}).measurements
    assert (found.finding_key, found.value) == (None, pytest.approx(-volume.voxels.mean() / 1000, rel=1e-4))


def test_boxes_are_told_in_places_of_the_volume_the_surest_first(tmp_path: Path) -> None:
    kind = {"key": "nodule", "label": "Nodule", "category": ANATOMY, "type": LUNG, "index": 3, "least_score": 0.5}
    outputs = {"detections": [kind | {"at_most": 2}], "not_analysed": {"input_refused": NOT_INPUT}}
    corners = [
        [0.0, 0, 0, 1, 1, 1],
        [1.0, 1, 1, 2, 3, 2],
        [2.0, 2, 2, 99, 4, 3],
        [0.0, 0, 0, 1, 1, 1],
        [0.0, 0, 0, 1, 1, 2],
    ]
    network = FixedBoxes(corners, [0.4, 0.6, 0.9, 0.8, 0.55], [3, 3, 3, 1, 3])
    # To the right, the front and the head: columns and rows of an axial image run the other way.
    findings = found_in(tmp_path, volume_of(), network, outputs=outputs, preprocessing={"axes": "RAS"})
    assert [(item.key, item.label, round(item.score or 0, 3)) for item in findings.detections] == [
        ("nodule_1", "Nodule 1", 0.9),
        ("nodule_2", "Nodule 2", 0.6),
    ]
    # The volume has 5 slices, 6 rows and 7 columns; axis 0 of the image runs against its columns.
    assert findings.detections[0].place == Box((2.0, 1.0, 0.0), (3.0, 3.0, 4.0))
    assert findings.detections[1].place == Box((1.0, 2.0, 4.0), (2.0, 4.0, 5.0))


CLEANED = np.zeros((5, 6, 7), np.float32)
CLEANED[0, 1:5, 1:5] = 1
CLEANED[0, 2, 2] = 0
CLEANED[3, 0, 0] = 1


@pytest.mark.parametrize(
    ("steps", "voxels"),
    [
        ([], 16),
        ([{"kind": "largest_component"}], 15),
        ([{"kind": "largest_component", "segments": ["other"]}], 16),
        ([{"kind": "remove_small", "below_ml": 0.002}], 15),
        ([{"kind": "remove_small", "below_ml": 0.001}], 16),
        ([{"kind": "remove_small", "below_ml": 1.0}], 0),
    ],
)
@pytest.mark.parametrize("decide", ["argmax", "threshold"])
def test_segments_are_cleaned(steps: list[dict[str, Any]], voxels: int, decide: str, tmp_path: Path) -> None:
    class Given(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mask = nn.Buffer(torch.from_numpy(CLEANED)[None, None])

        def forward(self, image: Tensor) -> Tensor:
            there = self.mask + 0 * image
            return torch.cat([0.5 + 0 * there, there, 0 * there], dim=1)

    changes = {
        "postprocessing": {"decide": decide, "threshold": 0.6, "cleaning": steps},
        "outputs": OUTPUTS | {"segments": [DENSE, DENSE | {"key": "other", "index": 2}]},
    }
    assert found_in(tmp_path, volume_of(), Given(), **changes).segments[0].mask.sum() == voxels


class Hollow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        ball = torch.zeros(1, 1, 5, 6, 7)
        ball[..., 1:4, 1:5, 1:6] = 1
        ball[..., 2, 2:4, 3] = 0
        self.ball = nn.Buffer(ball)

    def forward(self, image: Tensor) -> Tensor:
        there = self.ball + 0 * image
        return torch.cat([0.5 + 0 * there, there], dim=1)


def test_what_a_segment_encloses_is_filled(tmp_path: Path) -> None:
    filled = {"postprocessing": {"cleaning": [{"kind": "fill_holes"}]}}
    assert found_in(tmp_path / "a", volume_of(), Hollow()).segments[0].mask.sum() == 58
    assert found_in(tmp_path / "b", volume_of(), Hollow(), **filled).segments[0].mask.sum() == 60


class Broken(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, image: Tensor) -> Tensor:
        if self.how == "nan":
            return torch.cat([image, image * float("nan")], dim=1)
        if self.how == "infinite":
            return torch.cat([image, image / 0], dim=1)
        if self.how == "smaller":
            return image[:, :, :2]
        return image


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("nan", "no finite numbers"),
        ("infinite", "no finite numbers"),
        ("smaller", r"maps of the size that it is given, \(batch, channels, 5, 6, 7\), but gave \(1, 1, 2, 6, 7\)"),
        ("one channel", "segment dense is channel 1 of the network's answer, which has 1"),
    ],
)
def test_an_answer_that_cannot_be_meant_is_an_error_that_says_so(how: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(InferenceError, match=reason):
        found_in(tmp_path, volume_of(), Broken(how))


def test_a_probability_beyond_one_is_refused(tmp_path: Path) -> None:
    item = {"key": "emphysema", "label": "Emphysema", "finding": EMPHYSEMA, "index": 1, "threshold": 0.5}
    outputs = {"classifications": [item | {"index": 0}], "not_analysed": {"input_refused": NOT_INPUT}}
    with pytest.raises(InferenceError, match=r"emphysema must be a probability, from 0 to 1.*activation missing"):
        found_in(tmp_path, volume_of(), MeanOf(), outputs=outputs)


def test_a_network_stays_loaded(tmp_path: Path) -> None:
    """The file is not read again: what replaced it meanwhile is found out when the package is verified, not here."""
    made = package(tmp_path, torchscript(Above(HOUNSFIELD)))
    before = predict(volume_of(), made).segments[0].mask
    (tmp_path / "network.pt").unlink()
    assert np.array_equal(predict(volume_of(), made).segments[0].mask, before)
