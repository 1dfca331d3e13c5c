"""Segmentations of all three types: what is written, and that our own check sees whatever is wrong with it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from itertools import groupby

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from dicom_node.result_kinds import ResultKind
from dicom_node.results import explicit_vr, seg, seg_fractional, seg_labelmap
from dicom_node.results.dicom_file import DicomFile
from dicom_node.results.encode import encode
from dicom_node.results.fractions import fractions_on
from dicom_node.results.overlap import overlap
from dicom_node.results.result_type import ResultType
from dicom_node.results.scene import Scene, scene_of
from dicom_node.results.segments import numbered
from dicom_node.results.sources import ResultRefused
from dicom_node.results.splice import Pixels, spliced
from inference.findings import Findings, Labelled, Segment
from inference.series import read_series
from inference.transforms import mask_on_acquired
from inference.volume import Volume
from tests.conformance.reports import ANATOMY, LUNG, SHAPES, dress, made_volume, report_on
from tests.inference.series_factory import make_series
from tests.segmented import EMPTY_LABEL, SUITED, apart, labelled, many, masks, probabilities

TYPES: dict[ResultKind, ResultType] = {one.RESULT.kind: one.RESULT for one in (seg, seg_fractional, seg_labelmap)}
GEOMETRIES = ("axial", "sagittal", "oblique", "tilted", "resampled", "multi_frame")
Make = Callable[[Volume], Findings]
Change = Callable[[NDArray[np.generic]], NDArray[np.generic]]

CASES = [pytest.param(kind, make, id=f"{kind}-{make.__name__}") for kind, row in SUITED.items() for make in row]


def scene(make: Make, geometry: str = "axial", kind: str = "seg") -> Scene:
    datasets, volume = made_volume(geometry)
    return scene_of(report_on(datasets, volume, make(volume), (kind,)))


def changed(findings: Findings, change: Change) -> Findings:
    """The same with every region changed alike."""
    known: dict[int, NDArray[np.generic]] = {}

    def one(segment: Segment) -> Segment:
        array = known.setdefault(id(segment.array), np.ascontiguousarray(change(segment.array)))
        if isinstance(segment.region, Labelled):
            return replace(segment, region=Labelled(array, segment.region.value))
        return replace(segment, region=array)

    return Findings(tuple(map(one, findings.segments)))


def transposed(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Rows and columns changed over in the largest square that they have."""
    out = array.copy()
    side = min(array.shape[1:])
    out[:, :side, :side] = array[:, :side, :side].transpose(0, 2, 1)
    return out


CHANGES: dict[str, Change] = {
    "upside down": lambda array: array[::-1],
    "flipped in its rows": lambda array: array[:, ::-1],
    "flipped in its columns": lambda array: array[:, :, ::-1],
    "one slice on": lambda array: np.roll(array, 1, axis=0),
    "one row on": lambda array: np.roll(array, 1, axis=1),
    "one column on": lambda array: np.roll(array, 1, axis=2),
    "transposed": transposed,
}


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(("kind", "make"), CASES)
def test_what_is_written_passes_its_check(kind: ResultKind, make: Make, geometry: str) -> None:
    datasets, volume = made_volume(geometry)
    (result,) = encode(report_on(datasets, volume, make(volume), (kind,)))
    assert not result.faults


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("kind", "make"), CASES)
def test_a_mask_in_another_place_is_refused(kind: ResultKind, make: Make, change: str) -> None:
    right = scene(make)
    wrong = scene(lambda volume: changed(make(volume), CHANGES[change]))
    with pytest.raises(ResultRefused, match="the Segmentation"):
        TYPES[kind].check(right, kind, TYPES[kind].encode(wrong, kind))


@pytest.mark.parametrize(("kind", "make"), CASES)
def test_segments_with_one_anothers_numbers_are_refused(kind: ResultKind, make: Make) -> None:
    def exchanged(volume: Volume) -> Findings:
        first, second, *rest = make(volume).segments
        return Findings((replace(first, region=second.region), replace(second, region=first.region), *rest))

    with pytest.raises(ResultRefused, match="the Segmentation"):
        TYPES[kind].check(scene(make), kind, TYPES[kind].encode(scene(exchanged), kind))


@pytest.mark.parametrize(("kind", "make"), CASES)
def test_a_frame_too_few_or_too_many_is_refused(kind: ResultKind, make: Make) -> None:
    whole = scene(make)
    last = max(int(np.flatnonzero(item.pixels)[-1]) for item in whole.segments if item.number)

    def without_last(array: NDArray[np.generic]) -> NDArray[np.generic]:
        out = array.copy()
        out[last:] = 0
        return out

    shorter = scene(lambda volume: changed(make(volume), without_last))
    with pytest.raises(ResultRefused, match=r"holds \d+ of \d+ frames|describes the segments"):
        TYPES[kind].check(whole, kind, TYPES[kind].encode(shorter, kind))
    with pytest.raises(ResultRefused, match=r"is not image|no segment"):
        TYPES[kind].check(shorter, kind, TYPES[kind].encode(whole, kind))


@pytest.mark.parametrize("kind", TYPES)
def test_one_pixel_that_is_wrong_is_refused(kind: ResultKind) -> None:
    right = scene(apart)
    written = TYPES[kind].encode(right, kind)
    for at in (-3, -900):
        payload = bytearray(written.payload)
        payload[at] ^= 1
        with pytest.raises(ResultRefused, match="is not image"):
            TYPES[kind].check(right, kind, replace(written, file=DicomFile(bytes(payload))))


@pytest.mark.parametrize("kind", TYPES)
def test_bytes_cut_short_are_refused_in_words(kind: ResultKind) -> None:
    right = scene(apart)
    written = TYPES[kind].encode(right, kind)
    with pytest.raises(ResultRefused, match="cannot be read back"):
        TYPES[kind].check(right, kind, replace(written, file=DicomFile(written.payload[:-2])))


@pytest.mark.parametrize(
    ("name", "value"), [("PixelSpacing", [0.5, 0.5]), ("ImageOrientationPatient", [0, 1, 0, 1, 0, 0])]
)
def test_another_grid_than_the_sources_is_refused(name: str, value: list[float]) -> None:
    right = scene(apart)
    written = seg.RESULT.encode(right, "seg")
    dataset = dcmread(BytesIO(written.payload))
    shared = dataset.SharedFunctionalGroupsSequence[0]
    group = shared.PixelMeasuresSequence if name == "PixelSpacing" else shared.PlaneOrientationSequence
    setattr(group[0], name, value)
    buffer = BytesIO()
    dataset.save_as(buffer)
    with pytest.raises(ResultRefused, match="its sources"):
        seg.RESULT.check(right, "seg", replace(written, file=DicomFile(buffer.getvalue())))


@pytest.mark.parametrize("geometry", ["oblique", "multi_frame"])
@pytest.mark.parametrize(("kind", "make"), CASES)
def test_the_bytes_are_those_that_pydicom_writes(kind: ResultKind, make: Make, geometry: str) -> None:
    payload = TYPES[kind].encode(scene(make, geometry), kind).payload
    dataset = dcmread(BytesIO(payload))

    def parse(of: Dataset) -> None:
        for element in of:
            for item in element.value if element.VR == "SQ" else ():
                parse(item)

    parse(dataset)
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    assert buffer.getvalue() == payload


def test_every_frame_names_its_source_its_place_and_its_indices() -> None:
    whole = scene(many, "multi_frame")
    dataset = dcmread(BytesIO(seg.RESULT.encode(whole, "seg").payload))
    groups = dataset.PerFrameFunctionalGroupsSequence
    used = sorted({tuple(map(float, one.PlanePositionSequence[0].ImagePositionPatient)) for one in groups},
                  key=lambda place: place[2])  # fmt: skip
    numbers = [one.SegmentIdentificationSequence[0].ReferencedSegmentNumber for one in groups]
    assert [number for number, _ in groupby(numbers)] == list(range(1, 120))
    for group, number in zip(groups, numbers, strict=True):
        place = tuple(map(float, group.PlanePositionSequence[0].ImagePositionPatient))
        assert group.FrameContentSequence[0].DimensionIndexValues == [number, used.index(place) + 1]
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        plane = next(p for p in whole.planes if p.reference.frame_number == source.ReferencedFrameNumber)
        assert place == pytest.approx(plane.position)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("make", [masks, probabilities, many])
def test_planes_rows_and_pixels_of_segments_are_those_of_their_masks(make: Make, geometry: str) -> None:
    _, volume = made_volume(geometry)
    for item in numbered(make(volume), volume):
        mask = mask_on_acquired(item.segment.mask, volume)
        assert item.pixels.tolist() == mask.sum(axis=(1, 2)).tolist()
        for index, plane in enumerate(mask):
            assert np.array_equal(item.on(index), plane)
            if plane.any():
                held = np.flatnonzero(plane.any(axis=1))
                assert item.rows[index].tolist() == [held[0], held[-1] + 1]


def test_a_segment_of_another_shape_than_the_volume_is_refused() -> None:
    with pytest.raises(ResultRefused, match="its voxels"):
        scene(lambda volume: changed(apart(volume), lambda array: array[:, :-1]))


def test_a_label_map_numbers_what_is_there_and_describes_the_background_last() -> None:
    whole = scene(many)
    dataset = dcmread(BytesIO(seg_labelmap.RESULT.encode(whole, "seg_labelmap").payload))
    described = [(item.SegmentNumber, item.SegmentLabel) for item in dataset.SegmentSequence]
    labels = [f"Part {n}" for n in range(1, 121) if n != EMPTY_LABEL]
    assert described == [*enumerate(labels, start=1), (0, "Background")]
    assert dataset.PixelPaddingValue == 0
    assert dataset.BitsAllocated == 8


def test_a_label_map_of_300_segments_has_two_bytes_a_pixel() -> None:
    datasets, volume = made_volume("axial")
    labels = np.zeros(volume.voxels.shape, np.uint16)
    labels[2:4].ravel()[: 2 * 300] = np.arange(1, 301).repeat(2)
    findings = Findings(tuple(labelled(labels, value) for value in range(1, 301)))
    (result,) = encode(report_on(datasets, volume, findings, ("seg_labelmap",)))
    assert not result.faults
    dataset = dcmread(BytesIO(result.payload))
    assert dataset.BitsAllocated == 16
    assert np.array_equal(dataset.pixel_array, labels[2])


def test_segments_that_share_a_voxel_are_no_label_map() -> None:
    overlapping, disjoint = scene(masks), scene(apart)
    assert overlap(overlapping.segments)
    assert not seg_labelmap.RESULT.applies(overlapping)
    assert dcmread(BytesIO(seg.RESULT.encode(overlapping, "seg").payload)).SegmentsOverlap == "YES"
    assert not overlap(disjoint.segments)
    assert seg_labelmap.RESULT.applies(disjoint)
    assert dcmread(BytesIO(seg.RESULT.encode(disjoint, "seg").payload)).SegmentsOverlap == "NO"


def test_a_label_map_and_a_mask_overlap_where_they_share_a_voxel_and_two_of_one_label_do() -> None:
    def beside(volume: Volume, at: int) -> Findings:
        labels = np.zeros(volume.voxels.shape, np.uint8)
        labels[3, :10] = 1
        labels[3, 10:20] = 2
        mask = np.zeros(labels.shape, np.bool_)
        mask[3, at : at + 5] = True
        return Findings((labelled(labels, 1), labelled(labels, 2), Segment("m", "M", ANATOMY, LUNG, mask, (1, 2, 3))))

    def twice(volume: Volume) -> Findings:
        first, second, _ = beside(volume, 30).segments
        return Findings((first, replace(second, region=first.region)))

    assert not overlap(scene(lambda volume: beside(volume, 20)).segments)
    assert overlap(scene(lambda volume: beside(volume, 19)).segments)
    assert overlap(scene(twice).segments)


def test_fractions_are_255ths_of_the_probability() -> None:
    whole = scene(probabilities)
    item = whole.segments[0]
    plane = item.key_plane
    wanted = np.rint(item.array_on(plane).astype(np.float64) * 255)
    assert np.array_equal(fractions_on(item, plane), wanted)
    assert 0 < np.count_nonzero(wanted) > item.pixels[plane]


def test_what_one_object_cannot_hold_is_refused_before_it_is_made() -> None:
    dataset = Dataset()
    dataset.SeriesDescription = "AI: Many"
    with pytest.raises(ResultRefused, match="4294967294"):
        spliced(dataset, {}, (), Pixels(explicit_vr.LARGEST_LENGTH + 1, lambda _out: None))


def test_equal_reports_give_equal_bytes() -> None:
    for kind, result_type in TYPES.items():
        assert result_type.encode(scene(apart), kind).payload == result_type.encode(scene(apart), kind).payload


def test_many_segments_of_one_label_map_cost_no_volume_each() -> None:
    # So many pixels that masks would outweigh what describes a segment, whatever the size of its images: about 11 kB.
    datasets = list(make_series(replace(SHAPES["axial"], rows=82, columns=74)).datasets)
    for dataset in datasets:
        dress(dataset)
    volume = read_series(datasets).volumes[0]
    volume = replace(volume, voxels=np.broadcast_to(np.float32(0), volume.voxels.shape))
    findings = many(volume, 200)
    report = report_on(datasets, volume, findings, ("seg", "seg_labelmap"))
    encode(report)
    tracemalloc.start()
    results = encode(report)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    masks_bytes = 200 * volume.voxels.size
    assert peak < sum(len(one.payload) for one in results) + masks_bytes / 4
