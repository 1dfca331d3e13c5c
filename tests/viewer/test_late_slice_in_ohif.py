"""A slice that comes after the results: the PACS gets new ones that replace the old, and OHIF shows the new numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import Dataset

from dicom_node.results.reading import Number, comments_of, numbers_of, tracking_uids
from tests.acceptance.node import NodeUnderTest, configuration
from tests.acceptance.pacs import destination, read, storescu
from tests.acceptance.studies import Study, made_study
from tests.conformance.validators import dciodvfy_errors
from tests.orthanc import Orthanc
from tests.viewer.ohif import Viewer, pacs_of, showing
from tests.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(PATIENCE_S)]


@dataclass(frozen=True)
class Revised:
    """What the PACS holds of results: by modality, those of the first revision and those of the second."""

    study: Study
    first: dict[str, Dataset]
    second: dict[str, Dataset]
    files: dict[str, bytes]
    node: NodeUnderTest
    orthanc: Orthanc
    folder: Path


@pytest.fixture(scope="module")
def revised(peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Revised]:
    programs = {name: peer(name) for name in ("storescu", "dcmsend")}
    folder = tmp_path_factory.mktemp("late-slice")
    study = made_study(folder, "late-slice")
    with pacs_of(peer, folder / "orthanc").running() as orthanc:
        orthanc.store(programs["dcmsend"], study.files)
        archive = {"name": "archive", "type": "folder", "path": "archive", "reject_superseded": True}
        routes = [{"name": "ct", "models": ["ct_lung_density"], "destinations": ["results", "archive"]}]
        tree = configuration(
            destinations=[destination(orthanc), archive],
            routes=routes,
            completeness={"settle_s": 0.5, "quiet_s": 60},
        )
        node = NodeUnderTest(folder, tree)
        with node.running():
            *most, last = study.files
            storescu(programs["storescu"], node.port, *most)
            wait_until(lambda: node.settled(study.uid))
            before = results_at(orthanc, study)
            storescu(programs["storescu"], node.port, last)
            wait_until(lambda: node.settled(study.uid) and len(results_at(orthanc, study)) == 2 * len(before))
            wait_until(lambda: list((folder / "archive").rglob("ko-*.dcm")))
        files = results_at(orthanc, study)
        second = {key: content for key, content in files.items() if key not in before}
        yield Revised(study, by_modality(before), by_modality(second), files, node, orthanc, folder)


def results_at(orthanc: Orthanc, study: Study) -> dict[str, bytes]:
    return {key: content for key, content in orthanc.held(study.uid).items() if read(content).Modality != "CT"}


def by_modality(files: dict[str, bytes]) -> dict[str, Dataset]:
    return {str(dataset.Modality): dataset for dataset in map(read, files.values())}


def right_lung(report: Dataset) -> Number:
    return next(item for item in numbers_of(report) if (item.about, item.name) == ("Right lung", "Volume"))


def test_the_new_results_stand_beside_the_old_and_every_validator_is_content(
    revised: Revised, peer: Callable[[str], str], tmp_path: Path
) -> None:
    assert set(revised.first) == set(revised.second) == {"SEG", "SR", "OT"}
    for modality, dataset in revised.second.items():
        assert dataset.SeriesDescription == "AI: CT lung density 1.0.0, revision 2"
        assert dataset.SeriesNumber == revised.first[modality].SeriesNumber + 10
    for key, content in revised.files.items():
        (tmp_path / f"{key}.dcm").write_bytes(content)
        assert dciodvfy_errors(peer("dciodvfy"), tmp_path / f"{key}.dcm") == []


def test_the_new_report_names_the_old_one_and_follows_the_same_findings(revised: Revised) -> None:
    old, new = revised.first["SR"], revised.second["SR"]
    assert "PredecessorDocumentsSequence" not in old
    (series,) = new.PredecessorDocumentsSequence[0].ReferencedSeriesSequence
    assert series.SeriesInstanceUID == old.SeriesInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID
    assert any("this report replaces that one" in text for text in comments_of(new))
    assert tracking_uids(new) == tracking_uids(old)
    slices = [
        len(report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence)
        for report in (old, new)
    ]
    assert slices == [39, 40]


def test_explain_tells_what_superseded_what(revised: Revised) -> None:
    told = revised.node.cli("explain", revised.study.uid).stdout
    assert "results delivered" in told
    assert "revision 2 begins" in told
    assert "the result of ct_lung_density@1.0.0 on revision 1 superseded by that of" in told


def test_a_destination_that_asked_for_it_is_told_to_reject_the_old_ones_and_no_other(
    revised: Revised, peer: Callable[[str], str]
) -> None:
    assert "KO" not in revised.second
    (path,) = (revised.folder / "archive").rglob("ko-*.dcm")
    assert dciodvfy_errors(peer("dciodvfy"), path) == []
    listed = {
        str(item.ReferencedSOPInstanceUID)
        for series in read(path.read_bytes()).CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert listed == {str(dataset.SOPInstanceUID) for dataset in revised.first.values()}


def test_ohif_shows_the_numbers_and_masks_of_the_new_report(revised: Revised, peer: Callable[[str], str]) -> None:
    report = revised.second["SR"]
    with showing(revised.orthanc, peer("chromium"), revised.folder / "profile") as viewer:
        show(viewer, revised.study, report)
        viewer.wait_for_text("revision 2", f"Volume: {right_lung(report).value:.2f} mL")
        assert viewer.instances_shown() == {str(report.SOPInstanceUID)}
        show(viewer, revised.study, revised.second["SEG"])
        viewer.wait_for_segments(*[str(item.SegmentLabel) for item in revised.second["SEG"].SegmentSequence])
        assert viewer.errors == []


def show(viewer: Viewer, study: Study, result: Dataset) -> None:
    viewer.open(study.uid)
    viewer.show(int(result.SeriesNumber))
