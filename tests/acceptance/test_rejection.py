"""Images that an archive rejects, end to end: what was reported of them is replaced at the PACS, and the reason is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from dicom_node.results.check import walk
from tests.acceptance.node import NodeUnderTest, configuration
from tests.acceptance.pacs import destination, read, storescu
from tests.acceptance.studies import Study, made_study
from tests.key_objects import SAFETY, key_object
from tests.orthanc import Orthanc
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.timeout(PATIENCE_S)


def _note(study: Study, files: Sequence[Path], title: tuple[str, str]) -> Path:
    images = [dcmread(path, stop_before_pixels=True) for path in files]
    document = key_object(
        {str(images[0].SeriesInstanceUID): [str(image.SOPInstanceUID) for image in images]},
        study_instance_uid=study.uid,
        title=title,
        patient_id=study.patient_id,
    )
    path = study.folder.parent / f"{title[0]}.dcm"
    document.save_as(path, enforce_file_format=True)
    return path


def test_what_was_reported_of_rejected_images_is_replaced(
    tmp_path: Path, orthanc: Orthanc, peer: Callable[[str], str]
) -> None:
    study = made_study(tmp_path / "studies", "rejected")
    node = NodeUnderTest(
        tmp_path,
        configuration(
            routes=[
                {"name": "all", "models": ["ct_lung_density"], "destinations": ["results"], "when": {"Modality": "CT"}}
            ],
            destinations=[destination(orthanc)],
            completeness={"settle_s": 0.5, "quiet_s": 2},
        ),
    )
    with node.running():
        storescu(peer("storescu"), node.port, *study.files)
        wait_until(lambda: node.job_states(study.uid) == ["done"])
        storescu(peer("storescu"), node.port, _note(study, study.files, SAFETY))
        wait_until(lambda: node.job_states(study.uid) == ["done"] * 2 and node.settled(study.uid))
        held = orthanc.held(study.uid)
        account = node.account(study.uid)
        told = " ".join(node.cli("explain", study.uid).stdout.split())

    first, last = _reports(held)
    words = "all 40 images were rejected (113037, Rejected for Patient Safety Reasons)"
    assert account
    assert [(item.revision, item.instance_count) for item in account.series] == [(2, 0), (1, 1)]
    assert [one.job.reason for one in account.jobs] == [None, words]
    assert _predecessor_uids(last) == [first.SOPInstanceUID]
    assert _predecessor_uids(first) == []
    assert f"Not analysed, because {words}" in [item.get("TextValue") for item in walk(last)]
    codes = [item.ConceptCodeSequence[0] for item in walk(last) if item.get("ConceptCodeSequence")]
    assert ("113037", "DCM") in {(code.CodeValue, code.CodingSchemeDesignator) for code in codes}
    assert "all 40 images rejected by a key object of CT1" in told
    assert "alarm" not in {event.severity for event in account.events}


def _reports(held: dict[str, bytes]) -> list[Dataset]:
    """At the PACS, those that take the place of another last."""
    found = [dataset for dataset in map(read, held.values()) if dataset.Modality == "SR"]
    return sorted(found, key=lambda report: len(_predecessor_uids(report)))


def _predecessor_uids(report: Dataset) -> list[str]:
    return [
        instance.ReferencedSOPInstanceUID
        for study in report.get("PredecessorDocumentsSequence", [])
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    ]
