"""A model that reads two examinations, on a real node: it waits for the prior, then compares, or says that none came."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from dicom_node.phantom import chest_ct
from dicom_node.results.reading import comments_of, numbers_of
from tests.acceptance.node import NodeUnderTest, configuration
from tests.acceptance.pacs import storescu
from tests.acceptance.studies import ROWS, SLICES
from tests.conformance.validators import dciodvfy_errors
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.timeout(PATIENCE_S)

CHANGE = "ct_lung_density_change"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeUnderTest]:
    """Compares what was taken in 2026; earlier studies are only kept."""
    node = NodeUnderTest(
        tmp_path_factory.mktemp("node"),
        configuration(
            models=[{"name": CHANGE}],
            routes=[
                {
                    "name": "follow-up",
                    "when": {"CallingAETitle": "CT1", "StudyDescription": "/follow-up/"},
                    "models": [CHANGE],
                    "destinations": ["results"],
                    "deadline_s": 3600,
                }
            ],
            completeness={"settle_s": 0.5, "quiet_s": 60},
        ),
    )
    with node.running():
        yield node


def examination(folder: Path, patient_id: str, taken: date, description: str) -> tuple[str, list[Path]]:
    """A study of one patient on disk: its UID and its files."""
    phantom = chest_ct(slices=SLICES, rows=ROWS, identity=f"{patient_id} {taken}")
    for dataset in phantom.datasets:
        dataset.PatientID, dataset.StudyDate, dataset.StudyDescription = patient_id, f"{taken:%Y%m%d}", description
        dataset.RequestAttributesSequence = [Dataset()]
        dataset.RequestAttributesSequence[0].RequestedProcedurePriority = "STAT"
    return str(phantom.datasets[0].StudyInstanceUID), phantom.write(folder / f"{taken}")


def test_a_follow_up_waits_for_its_prior_and_is_then_compared_with_it(
    node: NodeUnderTest, peer: Callable[[str], str], tmp_path: Path
) -> None:
    uid, files = examination(tmp_path, "FOLLOWED", date(2026, 1, 5), "follow-up")
    storescu(peer("storescu"), node.port, *files)
    wait_until(lambda: node.job_states(uid) == ["waiting"])
    told = node.cli("explain", uid).stdout
    assert "waiting for another series" in told
    assert "queued by route follow-up, stat: Requested Procedure Priority STAT" in told
    assert "waits for prior: no earlier study of the patient is here" in told

    prior_uid, prior_files = examination(tmp_path, "FOLLOWED", date(2024, 1, 5), "first")
    storescu(peer("storescu"), node.port, *prior_files)
    wait_until(lambda: node.settled(uid))
    assert node.job_states(uid) == ["done"]
    assert node.job_states(prior_uid) == []
    account = node.account(uid)
    assert account
    (path,) = [path for path in (node.folder / "results").rglob("*.dcm") if dcmread(path).Modality == "SR"]
    report = dcmread(path)
    assert len([number for number in numbers_of(report) if number.name.startswith("Change of")]) == 9
    assert "compared with the CT of 2024-01-05, 731 days earlier" in comments_of(report)
    assert [item.StudyInstanceUID for item in report.PertinentOtherEvidenceSequence] == [prior_uid]
    assert dciodvfy_errors(peer("dciodvfy"), path) == []
    assert f"reads prior {dcmread(prior_files[0]).SeriesInstanceUID}" in node.cli("explain", uid).stdout
    assert "jobs past their deadline" in node.cli("status").stdout
