"""Parametric Maps: the numbers of a heat map, each where it was found; others' readers find them, and so does our check."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Literal

import highdicom as hd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.result_objects import put_result
from dicom_node.results.dicom_file import DicomFile, Frames
from dicom_node.results.encode import encode
from dicom_node.results.parametric_map import check, encode_map, parts
from dicom_node.results.report import EncodedResult, Report
from dicom_node.results.scene import scene_of
from dicom_node.results.sources import ResultRefused
from dicom_node.results.writing import Written
from inference.findings import Findings, ModelCard
from inference.transforms import cuts
from storage.objects import open_store
from tests.conformance.places import heat_maps
from tests.conformance.reports import made_volume, not_analysed, report_on

GEOMETRIES = ("axial", "sagittal", "oblique", "tilted", "resampled", "multi_frame")
Change = Callable[[Dataset, NDArray[np.float32]], NDArray[np.float32] | None]


@cache
def report_of(geometry: str = "axial") -> Report:
    datasets, volume = made_volume(geometry)
    return report_on(datasets, volume, Findings(heat_maps=heat_maps(volume)), kinds=("parametric_map",))


@cache
def maps_of(geometry: str = "axial") -> tuple[EncodedResult, ...]:
    return encode(report_of(geometry))


def frames_of(result: EncodedResult) -> dict[tuple[str, int | None], NDArray[np.float32]]:
    """By source frame, as another library reads them: its mapping to real-world values included."""
    image = hd.pm.ParametricMap.from_dataset(dcmread(BytesIO(result.payload)))
    values = image.get_frames(apply_real_world_transform=True, dtype=np.float64)
    keys = []
    for group in image.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        keys.append((str(source.ReferencedSOPInstanceUID), source.get("ReferencedFrameNumber")))
    return dict(zip(keys, values, strict=True))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_highdicom_reads_every_value_on_its_source_frame(geometry: str) -> None:
    report = report_of(geometry)
    assert report.volume is not None
    volume = report.volume
    keys = [(one.reference.sop_instance_uid, one.reference.frame_number) for one in scene_of(report).planes]
    for result, heat_map in zip(maps_of(geometry), report.findings.heat_maps, strict=True):
        assert result.faults == ()
        read = frames_of(result)
        for key, cut in zip(keys, cuts(volume), strict=True):
            expected = cut(heat_map.values, np.nan)
            found = read.pop(key, np.full(expected.shape, np.nan))
            assert np.array_equal(found, expected.astype(np.float64), equal_nan=True)
        assert read == {}


def test_each_map_has_an_object_of_its_own_in_one_series() -> None:
    first, second = maps_of()
    assert first.sop_instance_uid != second.sop_instance_uid
    assert first.series_instance_uid == second.series_instance_uid
    described = [dcmread(BytesIO(result.payload)) for result in maps_of()]
    assert [(one.InstanceNumber, one.ContentDescription) for one in described] == [
        (1, "AI: Saliency"),
        (2, "AI: Density"),
    ]


def test_a_map_keeps_its_uid_whatever_others_there_are() -> None:
    report = report_of()
    alone = replace(report, findings=Findings(heat_maps=report.findings.heat_maps[1:]))
    assert encode(alone)[0].sop_instance_uid == maps_of()[1].sop_instance_uid


def test_quantity_and_unit_are_the_findings() -> None:
    shared = dcmread(BytesIO(maps_of()[1].payload)).SharedFunctionalGroupsSequence[0]
    mapping = shared.RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "[hnsf'U]"
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "112031"
    assert mapping.DoubleFloatRealWorldValueFirstValueMapped == -50
    assert shared.FrameAnatomySequence[0].AnatomicRegionSequence[0].CodeValue == "91723000"
    window = shared.FrameVOILUTSequence[0]
    assert (window.WindowCenter, window.WindowWidth, window.VOILUTFunction) == (0, 100, "LINEAR_EXACT")


@pytest.mark.parametrize(("stated", "written"), [("research", "RESEARCH"), ("product", "PRODUCT")])
def test_content_qualification_is_what_the_models_card_states(
    stated: Literal["research", "product"], written: str
) -> None:
    report = report_of()
    model = replace(report.model, card=ModelCard(qualification=stated))
    for result in encode(replace(report, model=model)):
        assert result.faults == ()
        assert dcmread(BytesIO(result.payload), stop_before_pixels=True).ContentQualification == written


def test_planes_without_values_at_either_end_are_left_out() -> None:
    saliency, density = (dcmread(BytesIO(result.payload)) for result in maps_of())
    assert (saliency.NumberOfFrames, density.NumberOfFrames) == (10, 12)
    assert np.isnan(saliency.FloatPixelPaddingValue)
    assert "FloatPixelPaddingValue" not in density


def test_a_plane_without_values_between_others_stays() -> None:
    """Readers make a volume of the frames: a hole in it would be a step in the patient."""
    report = report_of()
    (heat_map, _) = report.findings.heat_maps
    values = heat_map.values.copy()
    values[6] = np.nan
    (result,) = encode(replace(report, findings=Findings(heat_maps=(replace(heat_map, values=values),))))
    assert result.faults == ()
    assert dcmread(BytesIO(result.payload)).NumberOfFrames == 10


def with_values(change: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> Report:
    report = report_of()
    heat_map = report.findings.heat_maps[1]
    return replace(report, findings=Findings(heat_maps=(replace(heat_map, values=change(heat_map.values)),)))


def test_a_map_without_any_value_makes_no_object() -> None:
    assert encode(with_values(lambda values: np.full_like(values, np.nan))) == ()
    datasets = made_volume("axial")[0]
    assert encode(replace(not_analysed(datasets), kinds=frozenset({"parametric_map"}))) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values[:-1], "must be float32 .* as the volume, but is float32"),
        (lambda values: values.astype(np.float64), "but is float64"),
        (lambda values: np.where(values > 40, np.inf, values).astype(np.float32), "must have finite values"),
    ],
)
def test_a_map_that_cannot_be_drawn_is_refused(
    change: Callable[[NDArray[np.float32]], NDArray[np.float32]], words: str
) -> None:
    report = with_values(change)
    (part,) = parts(scene_of(report))
    with pytest.raises(ResultRefused, match=words):
        encode_map(part, "parametric_map")


def faults_after(change: Change) -> list[str]:
    """Of the first map, after a change to its data set and its frames (frames, rows, columns), in place."""
    part = parts(scene_of(report_of()))[0]
    dataset = dcmread(BytesIO(maps_of()[0].payload))
    frames = np.frombuffer(dataset.FloatPixelData, "<f4").copy()
    frames = frames.reshape(dataset.NumberOfFrames, dataset.Rows, dataset.Columns)
    changed = change(dataset, frames)
    dataset.FloatPixelData = (frames if changed is None else np.ascontiguousarray(changed)).tobytes()
    buffer = BytesIO()
    dataset.save_as(buffer)
    return check(part, "parametric_map", Written(dataset, DicomFile(buffer.getvalue())))


def swap_positions(dataset: Dataset, _: object) -> None:
    groups = dataset.PerFrameFunctionalGroupsSequence
    places = [group.PlanePositionSequence for group in groups]
    for group, place in zip(groups, places[::-1], strict=True):
        group.PlanePositionSequence = place


def first_source(dataset: Dataset) -> Dataset:
    source: Dataset = dataset.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    return source


def mapping(dataset: Dataset) -> Dataset:
    item: Dataset = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    return item


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda _, frames: frames[::-1], "does not hold the values of image"),
        (lambda _, frames: frames[:, ::-1], "does not hold the values of image"),
        (lambda _, frames: frames[:, :, ::-1], "does not hold the values of image"),
        (lambda _, frames: np.roll(frames, 1, axis=2), "does not hold the values of image"),
        (lambda _, frames: np.swapaxes(frames, 1, 2), "does not hold the values of image"),
        (lambda _, frames: frames * np.float32(1.001), "does not hold the values of image"),
        (swap_positions, "lies .* mm from its source frame"),
        (lambda dataset, _: setattr(first_source(dataset), "ReferencedSOPInstanceUID", "2.25.3"), "not a source"),
        (lambda dataset, _: setattr(mapping(dataset), "RealWorldValueSlope", 2.0), "said to be rescaled"),
        (
            lambda dataset, _: setattr(mapping(dataset).MeasurementUnitsCodeSequence[0], "CodeValue", "mm"),
            "says that it is 130403 in mm",
        ),
        (
            lambda dataset, _: setattr(
                dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0], "PixelSpacing", [3, 3]
            ),
            "the axes and distances",
        ),
        (lambda dataset, _: setattr(dataset, "NumberOfFrames", 9), "the map says 9 frames, describes 10"),
    ],
)
def test_a_map_in_the_wrong_place_is_found_out(change: Change, fault: str) -> None:
    faults = faults_after(change)
    assert any(re.search(fault, said) for said in faults), faults


def test_a_map_that_lacks_an_image_is_found_out() -> None:
    def drop(dataset: Dataset, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:-1]
        dataset.NumberOfFrames = len(frames) - 1
        return frames[:-1]

    assert faults_after(drop) == ["the map has no frame for image 11, which has values"]


@pytest.mark.parametrize("geometry", ["axial", "sagittal", "oblique", "tilted", "multi_frame"])
def test_frames_are_the_maps_own_memory(geometry: str) -> None:
    """A map is as large as the volume: its object must not be that again."""
    for result, heat_map in zip(maps_of(geometry), report_of(geometry).findings.heat_maps, strict=True):
        head, *frames = result.file
        assert frames
        assert all(np.shares_memory(np.frombuffer(frame, np.uint8), heat_map.values) for frame in frames)
        assert head + b"".join(frames) == result.payload
        assert len(result.payload) == result.file.size_bytes


@given(whole=st.binary(max_size=80), at=st.integers(0, 90), size=st.integers(1, 12), cuts=st.lists(st.integers(0, 80)))
def test_blocks_are_the_same_whatever_the_pieces(whole: bytes, at: int, size: int, cuts: list[int]) -> None:
    ends = sorted(cut for cut in cuts if cut <= len(whole))
    head, *rest = (whole[begin:end] for begin, end in pairwise([0, *ends, len(whole)]))
    file = DicomFile(head, Frames(len(rest), 0, lambda index: memoryview(rest[index])))
    expected = [whole[begin : begin + size] for begin in range(at, len(whole) - size + 1, size)]
    assert list(map(bytes, file.blocks(at, size))) == expected


def test_what_is_kept_of_pieces_is_the_whole(tmp_path: Path) -> None:
    objects, (result, _) = open_store(tmp_path.as_uri()), maps_of()
    kept = put_result(
        objects,
        result.file,
        kind="parametric_map",
        sop_class_uid=result.sop_class_uid,
        sop_instance_uid=result.sop_instance_uid,
        series_instance_uid=result.series_instance_uid,
        study_instance_uid="2.25.1",
        description=result.description,
    )
    assert objects.get(kept.object_key) == result.payload
    assert kept.content_sha256 == hashlib.sha256(result.payload).hexdigest()
    assert kept.size_bytes == len(result.payload)


def test_the_same_map_gives_the_same_bytes() -> None:
    assert [one.payload for one in encode(report_of())] == [one.payload for one in maps_of()]
