"""Two answers to one series are held against each other finding by finding, and what only one says is seen."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from inference.findings import (
    Box,
    Classification,
    Code,
    Detection,
    Findings,
    HeatMap,
    Labelled,
    Landmark,
    Measurement,
    NotAnalysed,
    Point,
    Segment,
    Text,
)
from inference.monitor.paired import Paired, difference, paired

CODE = Code("1", "99TEST", "Thing")
ML = Code("mL", "UCUM", "milliliter")
MEAN = Code("373098007", "SCT", "Mean")
SPACING_MM = (2.0, 1.0, 1.0)


def segment(key: str, *rows: int) -> Segment:
    mask = np.zeros((2, 4, 4), np.bool_)
    mask[:, list(rows)] = True
    return Segment(key, key.title(), CODE, CODE, mask, (1, 2, 3))


def volume(value: float, key: str | None = "lung", derivation: Code | None = None) -> Measurement:
    return Measurement(CODE, value, ML, key, derivation)


def said(state: Any) -> Classification:
    return Classification("nodule", "Nodule", CODE, state)


def seen(place: Any, rank: int = 1) -> Detection:
    return Detection(f"nodule_{rank}", f"Nodule {rank}", CODE, CODE, place)


def held(active: Findings, other: Findings) -> Paired:
    found = paired(active, other, SPACING_MM)
    assert Paired.of_document(json.loads(json.dumps(found.document()))) == found
    return found


def test_equal_answers_do_not_differ_in_anything() -> None:
    findings = Findings(
        segments=(segment("lung", 1, 2),),
        measurements=(volume(5.0),),
        classifications=(said("present"),),
        detections=(seen(Point((0, 1, 1)), 1),),
        landmarks=(Landmark("tip", "Tip", CODE, Point((0, 0, 0))),),
        texts=(Text("note", CODE, "clear"),),
    )
    assert difference(held(findings, findings)) == 0


def test_segments_are_compared_voxel_by_voxel_whatever_holds_them() -> None:
    labels = np.zeros((2, 4, 4), np.uint8)
    labels[:, 2:] = 7
    other = Segment("lung", "Lung", CODE, CODE, Labelled(labels, 7), (1, 2, 3))
    found = held(Findings(segments=(segment("lung", 1, 2),)), Findings(segments=(other,)))
    (pair,) = found.segments
    assert (pair.active_voxels, pair.other_voxels, pair.dice) == (16, 16, 0.5)
    assert difference(found) == 0.5


def test_what_only_one_of_them_found_counts_as_different_in_all() -> None:
    found = held(Findings(segments=(segment("lung", 1),)), Findings(segments=(segment("airway", 1),)))
    by_key = {pair.key: pair for pair in found.segments}
    assert (by_key["lung"].other_voxels, by_key["airway"].active_voxels) == (None, None)
    assert {pair.dice for pair in found.segments} == {None}
    assert difference(found) == 1


def test_numbers_are_told_by_finding_name_and_derivation() -> None:
    lung = (segment("lung", 1),)
    active = Findings(segments=lung, measurements=(volume(10.0), volume(3.0, derivation=MEAN), volume(1.0, None)))
    other = Findings(segments=lung, measurements=(volume(3.0, derivation=MEAN), volume(8.0)))
    found = held(active, other)
    assert [(pair.label, pair.active, pair.other) for pair in found.numbers] == [
        ("Lung: Thing, mean", 3.0, 3.0),
        ("Lung: Thing", 10.0, 8.0),
        ("all: Thing", 1.0, None),
    ]
    assert difference(found) == 1


def test_a_number_differs_by_its_share_of_the_larger_one() -> None:
    found = held(Findings(measurements=(volume(10.0, None),)), Findings(measurements=(volume(8.0, None),)))
    assert difference(found) == pytest.approx(0.2)


def test_another_class_is_another_answer() -> None:
    found = held(Findings(classifications=(said("present"),)), Findings(classifications=(said("indeterminate"),)))
    assert [(pair.active, pair.other) for pair in found.classes] == [("present", "indeterminate")]
    assert difference(found) == 1


@pytest.mark.parametrize(
    ("ones", "others", "expected"),
    [
        ([Point((0, 1, 1))], [Point((0, 1, 5))], (1, 0, 0)),  # 4 mm apart
        ([Point((0, 1, 1))], [Point((3, 1, 1))], (0, 1, 1)),  # 6 mm apart: slices are 2 mm thick
        ([Box((0, 0, 0), (4, 20, 20))], [Point((2, 10, 18))], (1, 0, 0)),  # within what is large
        ([Point((0, 1, 1)), Point((0, 1, 2))], [Point((0, 1, 2))], (1, 1, 0)),  # each is matched once
        ([], [Point((0, 1, 2))], (0, 0, 1)),
    ],
)
def test_detections_are_the_same_where_they_lie_at_the_same_place(
    ones: list[Any], others: list[Any], expected: tuple[int, int, int]
) -> None:
    active, other = (
        Findings(detections=tuple(seen(place, rank) for rank, place in enumerate(places))) for places in (ones, others)
    )
    (pair,) = held(active, other).detections
    assert (pair.both, pair.active_only, pair.other_only) == expected


def test_landmarks_are_apart_in_millimetres_and_heat_maps_in_their_unit() -> None:
    def findings(at: tuple[float, float, float], value: float) -> Findings:
        values = np.full((2, 4, 4), value, np.float32)
        values[0, 0, 0] = np.nan
        return Findings(
            landmarks=(Landmark("tip", "Tip", CODE, Point(at)),),
            heat_maps=(HeatMap("heat", "Heat", CODE, ML, values, (0.0, 1.0)),),
        )

    found = held(findings((0, 0, 0), 0.25), findings((2, 3, 0), 0.5))
    assert [(pair.key, pair.active, pair.other) for pair in found.numbers] == [
        ("landmark/tip", 0.0, 5.0),
        ("heat map/heat", 0.25, 0.5),
    ]


def test_one_that_does_not_analyse_differs_in_all() -> None:
    refused = Findings(not_analysed=NotAnalysed(CODE, "slice spacing 8 mm > 5 mm"))
    found = held(refused, Findings(measurements=(volume(1.0, None),)))
    assert (found.active_not_analysed, found.other_not_analysed) == ("slice spacing 8 mm > 5 mm", None)
    assert difference(found) == 1
    assert difference(held(refused, refused)) == 0
