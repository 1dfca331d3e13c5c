"""A type of result that fails takes no other with it: what is made of a report where encoders and checks are broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread

from dicom_node.profiles import Profile, demand, first_choice, usual_demand
from dicom_node.result_kinds import RESULT_KINDS, ResultKind
from dicom_node.results import encode as encoding
from dicom_node.results.encode import encode
from dicom_node.results.make import CHECKS_FAILED, make
from dicom_node.results.reading import comments_of
from dicom_node.results.report import Report
from dicom_node.results.scene import Scene
from dicom_node.results.sources import ResultRefused
from dicom_node.results.writing import Written
from inference.findings import HeatMap
from tests.conformance.kinds import ONE, PROBABILITY
from tests.conformance.reports import made_report

FOLDER = demand(Profile(("seg", "sr", "sc")), None, may_refuse=False)
REPORT_ONLY = demand(Profile(("sr",), {}), None, may_refuse=False)
Break = Callable[..., None]


@pytest.fixture(scope="module")
def report() -> Report:
    return made_report("axial", kinds=first_choice(FOLDER))


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Break:
    """Replaces what a type does by what raises this; or has its check find this."""

    def breaks(kind: ResultKind, what: str, error: Exception | str) -> None:
        def fails(*_: object) -> list[str]:
            if isinstance(error, str):
                return [error]
            raise error

        monkeypatch.setitem(encoding.TYPES, kind, replace(encoding.TYPES[kind], **{what: fails}))

    return breaks


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("encode", ValueError("bug")),
        ("encode", ResultRefused("too many")),
        ("applies", KeyError("bug")),
        ("check", ValueError("bug")),
        ("check", ResultRefused("flipped")),
        ("check", "a mask is moved"),
    ],
)
def test_a_segmentation_that_fails_takes_neither_report_nor_picture_with_it(
    report: Report, broken: Break, what: str, error: Exception | str
) -> None:
    broken("seg", what, error)
    results = {item.kind: item for item in encode(report)}
    assert set(results) == {"seg", "sr", "sc"}
    assert results["seg"].faults
    assert bool(results["seg"].payload) == (what == "check")
    assert not results["sr"].faults
    assert not results["sc"].faults
    assert results["seg"].sop_instance_uid.encode() not in results["sr"].payload


def with_maps(report: Report, *labels: str) -> Report:
    assert report.volume is not None
    values = np.linspace(0, 1, report.volume.voxels.size, dtype=np.float32).reshape(report.volume.voxels.shape)
    maps = tuple(HeatMap(label.lower(), label, PROBABILITY, ONE, values, (0.0, 1.0)) for label in labels)
    kinds = frozenset({"seg", "sr", "sr-maps", "sr-alone-maps", "parametric_map"})
    return replace(report, findings=replace(report.findings, heat_maps=maps), kinds=kinds)


def test_a_report_with_maps_names_each_of_them_and_lists_them_as_evidence(report: Report) -> None:
    results = encode(with_maps(report, "First", "Second"))
    assert not any(item.faults for item in results)
    maps = [item for item in results if item.kind == "parametric_map"]
    assert len({item.sop_instance_uid for item in maps}) == 2
    for kind, seg in (("sr-maps", True), ("sr-alone-maps", False)):
        (document,) = [dcmread(BytesIO(item.payload)) for item in results if item.kind == kind]
        seen = {
            sentence.TextValue.partition("'")[2].partition("'")[0]: item.ReferencedSOPSequence[
                0
            ].ReferencedSOPInstanceUID
            for sentence in document.ContentSequence[-1].ContentSequence
            for item in sentence.get("ContentSequence", ())
        }
        assert seen == dict(zip(("First", "Second"), (item.sop_instance_uid for item in maps), strict=True))
        (study,) = document.CurrentRequestedProcedureEvidenceSequence
        series = {str(one.SeriesInstanceUID) for one in study.ReferencedSeriesSequence}
        assert maps[0].series_instance_uid in series
        (segmentation,) = (item for item in results if item.kind == "seg")
        assert (segmentation.series_instance_uid in series) is seg
    (plain,) = (item for item in results if item.kind == "sr")
    assert not any(item.sop_instance_uid.encode() in plain.payload for item in maps)


def test_maps_that_fail_have_uids_of_their_own_and_no_report_names_them(report: Report, broken: Break) -> None:
    broken("parametric_map", "encode", ResultRefused("too flat"))
    results = encode(with_maps(report, "First", "Second"))
    failed = [item for item in results if item.kind == "parametric_map"]
    assert [item.faults for item in failed] == [("too flat",)] * 2
    assert len({item.sop_instance_uid for item in failed}) == 2
    assert not any(item.faults for item in results if item.kind.startswith("sr"))


def test_a_map_that_fails_takes_no_other_with_it(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = encoding.TYPES["parametric_map"]

    def fails_first(scene: Scene, ordered: str) -> Written:
        if scene.part == "first":
            raise ResultRefused("too flat")
        return usual.encode(scene, ordered)

    monkeypatch.setitem(encoding.TYPES, "parametric_map", replace(usual, encode=fails_first))
    whole = with_maps(report, "First", "Second")
    first, second = (item for item in encode(whole) if item.kind == "parametric_map")
    assert (first.faults, second.faults) == (("too flat",), ())
    monkeypatch.undo()
    assert [item.sop_instance_uid for item in encode(whole) if item.kind == "parametric_map"] == [
        first.sop_instance_uid,
        second.sop_instance_uid,
    ]


def test_every_kind_that_may_be_ordered_has_a_type_that_makes_it() -> None:
    assert set(encoding.TYPES) == set(RESULT_KINDS)


def test_a_kind_that_no_type_makes_is_a_fault_and_no_crash(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(encoding.TYPES, "sc")
    results = {item.kind: item for item in encode(report)}
    assert "no type of result" in results["sc"].faults[0]
    assert not results["sr"].faults


def test_what_is_lost_has_its_next_best_made(report: Report, broken: Break) -> None:
    broken("sc", "check", "it is black")
    wanted = demand(Profile(("sc",), {"sc": ("sr_text", "sr")}), None, may_refuse=False)
    made = make(replace(report, kinds=frozenset({"sc"})), [wanted], report_failure=True)
    sound = {item.kind for item in made.results if not item.faults}
    assert sound & {"sr_text", "sr-alone"}
    assert made.instead == ()


def test_a_destination_that_nothing_sound_is_left_for_is_told_why(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_findings(scene: Scene, _ordered: str, _written: Written) -> list[str]:
        return ["numbers are missing"] if scene.is_analysed else []

    monkeypatch.setitem(encoding.TYPES, "sr", replace(encoding.TYPES["sr"], check=fails_findings))
    ordered = frozenset({*first_choice(REPORT_ONLY), *first_choice(FOLDER)})
    made = make(replace(report, kinds=ordered), [REPORT_ONLY, FOLDER], report_failure=True)
    assert {item.kind for item in made.results if not item.faults} >= {"seg", "sc"}
    (instead,) = [item for item in made.instead if not item.faults]
    assert instead.kind == "sr-alone"
    document = dcmread(BytesIO(instead.payload))
    assert any("failed its checks" in comment for comment in comments_of(document))
    assert CHECKS_FAILED.value.encode() in instead.payload
    assert instead.sop_instance_uid not in {item.sop_instance_uid for item in made.results}
    silent = make(replace(report, kinds=ordered), [REPORT_ONLY], report_failure=False)
    assert silent.instead == ()


def test_where_all_is_sound_nothing_is_made_but_what_was_ordered(report: Report) -> None:
    made = make(report, [FOLDER], report_failure=True)
    assert made.results == encode(report)
    assert made.instead == ()


def test_what_may_be_refused_is_made_beforehand_and_refers_as_it_says(report: Report) -> None:
    made = make(replace(report, kinds=frozenset({"seg", "sr", "sr-alone"})), [usual_demand()], report_failure=True)
    results = {item.kind: item for item in made.results}
    seg = results["seg"].sop_instance_uid.encode()
    assert seg in results["sr"].payload
    assert seg not in results["sr-alone"].payload
    assert results["sr"].sop_instance_uid != results["sr-alone"].sop_instance_uid
