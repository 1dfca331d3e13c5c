"""Two results of one kind: what differs between them is found where it is, and nothing is where they are the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicom_node.result_kinds import ResultKind
from dicom_node.results.compared import Tolerance, compare
from dicom_node.results.encode import encode
from inference.findings import Findings, Labelled, Segment
from inference.volume import Volume
from tests.conformance.made_findings import every_kind
from tests.conformance.reports import made_volume, report_on
from tests.segmented import apart, labelled, masks, probabilities

EXACT = Tolerance()
MADE = made_volume("axial")


def written(findings: Findings, kind: str) -> bytes:
    (one,) = encode(report_on(*MADE, findings=findings, kinds=(kind,)))
    assert not one.faults
    return one.payload


def volume() -> Volume:
    return MADE[1]


def larger(segment: Segment) -> Segment:
    """The segment and one voxel more, on a slice where it had none, too, if there is one."""
    if isinstance(segment.region, Labelled):
        labels = segment.region.labels.copy()
        labels[tuple(np.argwhere(labels == 0)[0])] = segment.region.value
        return labelled(labels, segment.region.value)
    region = segment.region.copy()
    region[tuple(np.argwhere(~segment.mask)[0])] = True
    return replace(segment, region=region)


@pytest.mark.parametrize(
    ("kind", "found"),
    [("seg", masks(volume())), ("seg_fractional", probabilities(volume())), ("seg_labelmap", apart(volume()))],
)
def test_one_voxel_more_is_seen_in_every_sort_of_segmentation(kind: ResultKind, found: Findings) -> None:
    first, *rest = found.segments
    changed = larger(first)
    if isinstance(changed.region, Labelled):
        rest = [replace(one, region=Labelled(changed.region.labels, one.region.value)) for one in rest]  # type: ignore[union-attr]
    then, now = (written(Findings(tuple(segments)), kind) for segments in (found.segments, (changed, *rest)))
    assert len(compare(then, then, EXACT).pairs) >= 2
    assert all(pair.holds for pair in compare(then, then, EXACT).pairs)
    differ, *others = compare(then, now, EXACT).pairs
    assert not differ.holds
    assert 0.9 < float(differ.difference.removeprefix("Dice ")) < 1
    assert all(pair.holds for pair in others)
    assert all(pair.holds for pair in compare(then, now, Tolerance(least_dice=0.9)).pairs)


def test_a_segment_that_only_one_of_them_has_is_told() -> None:
    found = Findings(masks(volume()).segments[:2])
    then, now = written(found, "seg"), written(Findings(found.segments[:1]), "seg")
    gone = [pair for pair in compare(then, now, EXACT).pairs if not pair.holds]
    assert [(pair.name, pair.then, pair.now) for pair in gone] == [(found.segments[-1].label, "found", "not found")]


@pytest.mark.parametrize("kind", ["sr-alone", "sr_comprehensive-alone"])
def test_numbers_and_answers_of_reports_are_told_apart(kind: str) -> None:
    found = every_kind(volume())
    first, *rest = found.measurements
    absent, present = found.classifications
    changed = replace(
        found,
        measurements=(replace(first, value=first.value * 1.01), *rest),
        classifications=(replace(absent, state="present"), present),
    )
    then, now = written(found, kind), written(changed, kind)
    assert all(pair.holds for pair in compare(then, then, EXACT).pairs)
    differ = [pair for pair in compare(then, now, EXACT).pairs if not pair.holds]
    assert [pair.name.split(":")[0] for pair in differ] == ["Right shape", "Effusion"]
    assert "+1.000%" in differ[0].difference
    assert (differ[1].then, differ[1].now) == ("Absent", "Present")
    close = compare(then, now, Tolerance(relative=0.02)).pairs
    assert [pair.name.split(":")[0] for pair in close if not pair.holds] == ["Effusion"]


def test_values_of_a_parametric_map_are_held_against_each_other() -> None:
    found = every_kind(volume())
    (heat,) = found.heat_maps
    changed = replace(found, heat_maps=(replace(heat, values=heat.values + np.float32(0.001)),))
    then, now = written(found, "parametric_map"), written(changed, "parametric_map")
    (pair,) = compare(then, now, EXACT).pairs
    assert not pair.holds
    assert float(pair.difference.split()[2]) == pytest.approx(0.001, rel=1e-3)
    assert compare(then, now, Tolerance(absolute=0.002)).pairs[0].holds


@pytest.mark.parametrize("kind", ["sc", "gsps"])
def test_what_holds_no_finding_is_told_apart_by_its_attributes(kind: str) -> None:
    found = every_kind(volume())
    then, now = written(found, kind), written(replace(found, detections=found.detections[:1]), kind)
    assert compare(then, then, EXACT).others == ()
    told = compare(then, now, EXACT)
    assert told.pairs == ()
    assert told.others
