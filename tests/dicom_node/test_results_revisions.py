"""What objects of a later revision say of themselves, and of those that they replace."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.results import identity
from dicom_node.results.blocks import NOTICE
from dicom_node.results.encode import encode
from dicom_node.results.predecessors import predecessor
from dicom_node.results.reading import comments_of
from dicom_node.results.report import Report
from storage.records.results import Predecessor
from tests.conformance.reports import MODEL, made_report, made_volume, not_analysed

FIRST = Predecessor("1.2", "1.2.3", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.3.4", 1)
REMARK = "analysed 410 of 412 images"


@pytest.fixture(scope="module")
def report() -> Report:
    return made_report("axial", kinds=("sr",))


def read(report: Report, kind: str = "sr") -> Dataset:
    (found,) = [result for result in encode(report) if result.kind == kind]
    return dcmread(BytesIO(found.payload))


def test_a_first_report_names_no_predecessor_and_no_revision(report: Report) -> None:
    dataset = read(report)
    assert "PredecessorDocumentsSequence" not in dataset
    assert "revision" not in dataset.SeriesDescription
    assert not [text for text in comments_of(dataset) if text.startswith("Revision")]


def test_a_later_report_names_the_one_that_it_replaces(report: Report) -> None:
    dataset = read(replace(report, revision=2, predecessors=(FIRST,)))
    (study,) = dataset.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == ("1.2", "1.2.3")
    assert (instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID) == (FIRST.sop_class_uid, "1.2.3.4")
    assert any("its images changed after revision 1 was analysed" in text for text in comments_of(dataset))
    assert (dataset.CompletionFlag, dataset.VerificationFlag) == ("COMPLETE", "UNVERIFIED")


def test_a_report_is_never_its_own_predecessor(report: Report) -> None:
    own = replace(FIRST, sop_instance_uid=identity.sop_instance_uid(report, "sr"))
    assert "PredecessorDocumentsSequence" not in read(replace(report, predecessors=(own,)))
    (study,) = read(replace(report, predecessors=(own, FIRST))).PredecessorDocumentsSequence
    assert study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4"


def test_a_report_that_nothing_was_analysed_any_more_names_its_predecessor_too() -> None:
    dataset = read(replace(not_analysed(made_volume("axial")[0]), revision=2, predecessors=(FIRST,)))
    assert len(dataset.PredecessorDocumentsSequence) == 1
    assert dataset.SeriesDescription.endswith("revision 2")


@pytest.mark.parametrize(
    ("title", "revision", "remark", "expected"),
    [
        ("CT lung density", 1, None, "AI: CT lung density 1.0.0"),
        ("CT lung density", 2, None, "AI: CT lung density 1.0.0, revision 2"),
        ("CT lung density", 1, REMARK, "AI: CT lung density 1.0.0, analysed 410 of 412 images"),
        ("CT lung density", 2, REMARK, "AI: CT lung density 1.0.0, revision 2, analysed 410 of 412 images"),
        ("Long title " * 9, 12, REMARK, None),
    ],
)
def test_the_description_says_the_revision_and_what_fits_of_the_remark(
    report: Report, title: str, revision: int, remark: str | None, expected: str | None
) -> None:
    model = replace(MODEL, title=title, version="1.0.0")
    said = identity.series_description(replace(report, model=model, revision=revision, remark=remark))
    assert len(said) <= 64
    if expected is None:
        assert said.endswith(" 1.0.0, revision 12")
    else:
        assert said == (expected if len(expected) <= 64 else "AI: CT lung density 1.0.0, revision 2")


def test_series_of_later_revisions_have_numbers_of_their_own_that_stay_beside_their_source(report: Report) -> None:
    numbers = {
        (revision, kind): identity.series_number(replace(report, revision=revision), kind)
        for revision in (1, 2, 10, 11, 99)
        for kind in ("seg", "sr", "sc")
    }
    assert (numbers[1, "sr"], numbers[2, "sr"], numbers[10, "sc"]) == (4902, 4912, 4993)
    assert all(4900 < number < 5000 for number in numbers.values())


def test_a_remark_stands_in_the_report_in_the_picture_and_in_every_description() -> None:
    plain, remarked = made_report("axial"), replace(made_report("axial"), remark=REMARK)
    sr = read(remarked)
    assert REMARK in comments_of(sr)
    assert (sr.CompletionFlag, sr.CompletionFlagDescription) == ("PARTIAL", REMARK)
    assert read(remarked, "seg").ContentDescription.endswith(REMARK)
    loud = [int((read(one, "sc").pixel_array == NOTICE).all(axis=2).sum()) for one in (plain, remarked)]
    assert loud[1] > loud[0] + 20_000
    assert np.array_equal(read(plain, "sc").pixel_array[:84], read(remarked, "sc").pixel_array[:84])


def before(revision: int, kind: str, uid: str) -> Predecessor:
    return Predecessor("1.2", "1.2.3", "1.2.840.10008.5.1.4.1.1.88.34", uid, revision, kind)


@pytest.mark.parametrize(
    ("ordered", "known", "named"),
    [
        ("sr", [before(1, "sr-alone", "1.1"), before(1, "sr", "1.2")], "1.2"),
        ("sr-alone", [before(1, "sr-alone", "1.1"), before(1, "sr", "1.2")], "1.1"),
        ("sr_text", [before(1, "sr", "1.2")], "1.2"),
        ("sr", [before(2, "sr_text", "1.3"), before(1, "sr", "1.2")], "1.3"),
        ("sr", [before(3, "sr-alone", "1.4"), before(1, "sr", "1.2")], "1.2"),
        ("sr", [before(3, "sr", "1.5"), before(1, "sr", "1.2")], "1.5"),
        ("sr", [before(3, "sr-alone", "1.4")], None),
    ],
)
def test_a_report_takes_the_place_of_the_one_that_its_receivers_hold(
    ordered: str, known: list[Predecessor], named: str | None
) -> None:
    """On revision 3; another variant of the same report, and what is older than the latest, are none."""
    report = replace(made_report("axial"), revision=3, predecessors=known)
    found = predecessor(report, ordered)
    assert (found.sop_instance_uid if found else None) == named
