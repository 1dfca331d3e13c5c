"""What others say of images, end to end: a modality, that its series is done; an archive, that it must not be used.

A real SCU tells of its procedure step while the association that brings the images stays open, so that nothing else could
make the series whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pynetdicom.association import Association

from dicom_node.results.reading import walk
from tests.acceptance.node import NodeUnderTest, configuration
from tests.acceptance.pacs import destination, read, storescu
from tests.acceptance.studies import Study, made_study
from tests.dicom_node.modality import Modality, association_of
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


def test_a_series_is_whole_with_its_procedure_step_and_its_report_is_replaced_once_it_is_rejected(
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
            completeness={"settle_s": 0.5, "quiet_s": 600},
        ),
    )
    with node.running():
        with association_of(node.port) as association:
            images = send(association, study)
            assert node.job_states(study.uid) == []
            tell(node.port, study, images)
            wait_until(lambda: node.job_states(study.uid) == ["done"])
        storescu(peer("storescu"), node.port, _note(study, study.files, SAFETY))
        wait_until(lambda: len(_reports(orthanc.held(study.uid))) == 2)
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
    assert "all 40 images came that the completed performed procedure step of CT1 lists" in told
    assert "all 40 images rejected by a key object of CT1" in told
    assert "alarm" not in {event.severity for event in account.events}


def send(association: Association, study: Study) -> list[Dataset]:
    images = [dcmread(path) for path in study.files]
    for image in images:
        assert association.send_c_store(image).Status == 0x0000
    return images


def tell(port: int, study: Study, images: Sequence[Dataset]) -> None:
    """Of the procedure step, over an association of its own: begun, and completed with all images."""
    modality = Modality(study.uid)
    with association_of(port) as association:
        assert modality.begin(association).Status == 0x0000
        series = {str(images[0].SeriesInstanceUID): [str(image.SOPInstanceUID) for image in images]}
        assert modality.set(association, "COMPLETED", series).Status == 0x0000


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
