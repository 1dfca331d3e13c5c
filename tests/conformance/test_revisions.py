"""Objects of a later revision, with what they replace and what limits them, are valid; so is what rejects earlier ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import highdicom as hd
import pytest
from highdicom.sr import srread
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.results.encode import encode
from dicom_node.results.ko import encode_rejection
from dicom_node.results.report import USUAL_KINDS, EncodedResult, Report
from dicom_node.results.writing import part10
from storage.records.results import Predecessor, Result
from tests.conformance.reports import CREATED, made_report, made_volume, not_analysed
from tests.conformance.test_validators import complaints, with_measurement_title, write
from tests.conformance.validators import dciodvfy_errors, dsrdump_errors, pixelmed_errors

Peer = Callable[[str], str]

REMARK = "analysed 410 of 412 images"


def before(report: Report) -> Predecessor:
    """The report of the first revision, as what came after it refers to it."""
    (sr,) = [result for result in encode(report) if result.kind == "sr"]
    study = str(report.first_source.StudyInstanceUID)
    return Predecessor(study, sr.series_instance_uid, sr.sop_class_uid, sr.sop_instance_uid, 1)


def variants() -> dict[str, Report]:
    first = made_report("axial")
    nothing = not_analysed(made_volume("axial")[0])
    later = {"revision": 2, "predecessors": (before(first),)}
    return {
        "later": replace(first, **later),
        "incomplete": replace(first, remark=REMARK),
        "later_and_incomplete": replace(first, remark=REMARK, **later),
        "without_predecessor": replace(first, revision=3),
        "nothing_analysed_any_more": replace(nothing, remark=REMARK, **later),
        "analysed_after_all": replace(first, predecessors=(before(nothing),)),
    }


@pytest.mark.parametrize("name", list(variants()))
def test_objects_of_later_revisions_are_valid(name: str, peer: Peer, tmp_path: Path) -> None:
    paths = write(encode(variants()[name]), tmp_path)
    assert [path.stem for path in paths] == (["sr", "sc"] if name == "nothing_analysed_any_more" else list(USUAL_KINDS))
    assert complaints(peer, paths) == {}
    document = srread(tmp_path / "sr.dcm")
    assert document.CompletionFlag == ("PARTIAL" if variants()[name].remark else "COMPLETE")


@pytest.mark.parametrize(
    "name", ["later_and_incomplete", pytest.param("nothing_analysed_any_more", marks=pytest.mark.long)]
)
def test_no_later_report_breaks_the_template(name: str, pixelmed: str, tmp_path: Path) -> None:
    (sr,) = [result for result in encode(variants()[name]) if result.kind == "sr"]
    path = tmp_path / "sr.dcm"
    path.write_bytes(with_measurement_title(sr).payload)
    assert pixelmed_errors(pixelmed, path) == []


def as_result(encoded: EncodedResult) -> Result:
    return Result(
        sop_instance_uid=encoded.sop_instance_uid,
        sop_class_uid=encoded.sop_class_uid,
        series_instance_uid=encoded.series_instance_uid,
        study_instance_uid=str(dcmread(BytesIO(encoded.payload)).StudyInstanceUID),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        kind=encoded.kind,
        description=encoded.description,
        object_key="",
        content_sha256="",
        size_bytes=len(encoded.payload),
    )


def rejection(kinds: tuple[str, ...] = USUAL_KINDS) -> tuple[Dataset, list[Result]]:
    encoded = [result for result in encode(made_report("axial")) if result.kind in kinds]
    rejected = [as_result(result) for result in encoded]
    example = dcmread(BytesIO(encoded[0].payload))
    return encode_rejection(rejected, example, told="PACS1", at=CREATED), rejected


@pytest.mark.parametrize("kinds", [USUAL_KINDS, ("sr",), ("seg",)])
def test_the_rejection_of_earlier_results_is_valid_and_others_read_it(
    kinds: tuple[str, ...], peer: Peer, tmp_path: Path
) -> None:
    document, rejected = rejection(kinds)
    path = tmp_path / "ko.dcm"
    path.write_bytes(part10(document))
    assert dciodvfy_errors(peer("dciodvfy"), path) == []
    assert dsrdump_errors(peer("dsrdump"), path) == []
    read = hd.ko.KeyObjectSelectionDocument.from_dataset(dcmread(path))
    assert read.ConceptNameCodeSequence[0].CodeMeaning == "Rejected for Quality Reasons"
    for item in rejected:
        study, series, instance = read.resolve_reference(item.sop_instance_uid)
        assert (study, series, instance) == (item.study_instance_uid, item.series_instance_uid, item.sop_instance_uid)


def test_the_rejection_bears_the_patient_of_what_it_rejects_and_is_another_one_for_each_destination() -> None:
    document, rejected = rejection()
    (seg, *_) = encode(made_report("axial"))
    source = dcmread(BytesIO(seg.payload))
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber", "SpecificCharacterSet"):
        assert document[keyword].value == source[keyword].value
    assert document.SeriesNumber == 4908
    other = encode_rejection(rejected, source, told="ARCHIVE", at=CREATED)
    again = encode_rejection(rejected[::-1], source, told="PACS1", at=CREATED)
    assert document.SOPInstanceUID != other.SOPInstanceUID
    assert document.SOPInstanceUID == again.SOPInstanceUID
