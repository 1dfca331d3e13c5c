"""All the real data at once: broken files, odd series, one UID with many contents. Each is answered and accounted for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import config, dcmread

from dicom_node.history import StudyAccount
from dicom_node.network.file_meta import NotPart10, read_file_meta
from dicom_node.network.requestor import Outgoing, SendOutcome, send
from dicom_node.send_folder import in_associations, sop_uids
from tests.acceptance.node import NodeUnderTest, configuration
from tests.acceptance.pacs import echoes
from tests.dicom_node.peers import peer_at
from tests.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(PATIENCE_S)]

PERSONAL = ["PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "OtherPatientIDs"]
# Shorter values are found in any text, in the number of an element for one.
SHORTEST_TELLING_VALUE = 5
DEFLATED = "1.2.840.10008.1.2.1.99"
MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"


@dataclass(frozen=True)
class Pushed:
    node: NodeUnderTest
    items: list[Outgoing]
    outcomes: list[SendOutcome]
    accounts: list[StudyAccount]


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Iterator[Pushed]:
    node = NodeUnderTest(tmp_path_factory.mktemp("node"), configuration(completeness={"settle_s": 1, "quiet_s": 3}))
    with node.running():
        items = [item for path in files_in(shared_data) if (item := outgoing(path))]
        peer = peer_at(node.port, ae_title="DICOM-NODE")
        outcomes: list[SendOutcome] = []
        for run in in_associations([item.contexts for item in items]):
            outcomes += send(peer, items[run.start : run.stop])
        studies = values_of(shared_data, ["StudyInstanceUID"])
        wait_until(lambda: all(node.settled(uid) for uid in studies if node.account(uid)))
        accounts = [account for uid in sorted(studies) if (account := node.account(uid))]
        yield Pushed(node, items, outcomes, accounts)


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def outgoing(path: Path) -> Outgoing | None:
    """What a scanner would send of this file; None where it is no Part 10 file."""
    try:
        meta = read_file_meta(path.read_bytes())
    except NotPart10:
        return None
    sop_class_uid, sop_instance_uid = sop_uids(path) or (meta.sop_class_uid, meta.sop_instance_uid)
    return Outgoing(sop_class_uid, sop_instance_uid, meta.transfer_syntax_uid, path.read_bytes)


def values_of(folder: Path, keywords: list[str]) -> set[str]:
    """All values of these attributes in the files of a folder, as text."""
    found = set()
    with config.disable_value_validation():
        for path in files_in(folder):
            try:
                dataset = dcmread(path, stop_before_pixels=True, specific_tags=["SpecificCharacterSet", *keywords])
                found |= {str(dataset[keyword].value) for keyword in keywords if keyword in dataset}
            except Exception:  # noqa: BLE001, S112 - broken files are part of the data
                continue
    return found - {"", "None"}


def test_every_instance_is_answered(pushed: Pushed) -> None:
    """Only what cannot be proposed has no status: deflated data sets, and directories of media."""
    unanswered = {
        outcome.reason
        for item, outcome in zip(pushed.items, pushed.outcomes, strict=True)
        if outcome.status is None
        and item.transfer_syntax_uid != DEFLATED
        and item.sop_class_uid != MEDIA_STORAGE_DIRECTORY
    }
    assert len(pushed.outcomes) > 450
    assert unanswered == set()
    assert all(outcome.reason for outcome in pushed.outcomes if outcome.verdict != "delivered")


def test_what_was_answered_with_success_is_kept(pushed: Pushed) -> None:
    studies, instances = pushed.node.stores.studies, pushed.node.stores.instances
    kept = {
        item.sop_instance_uid
        for account in pushed.accounts
        for series in studies.series_of(account.study.study_instance_uid)
        for item in instances.of_series(series.series_id, up_to_revision=series.revision)
    }
    acknowledged = {outcome.sop_instance_uid for outcome in pushed.outcomes if outcome.verdict == "delivered"}
    assert acknowledged == kept


def test_every_series_ends_analysed_or_skipped_or_reported_or_passed_over_with_its_reason(pushed: Pushed) -> None:
    """What became of each series, as `explain` tells it."""
    unaccounted = []
    for account in pushed.accounts:
        for series in account.series:
            jobs = [entry.job for entry in account.jobs if entry.job.series_id == series.series_id]
            results = [item for item in account.deliveries if item.job_id in {job.job_id for job in jobs}]
            passed_over = [
                event
                for event in account.events
                if event.kind == "route_passed_over" and event.series_instance_uid == series.series_instance_uid
            ]
            told = [bool(job.reason) or (job.state == "done" and bool(results)) for job in jobs] or [bool(passed_over)]
            if not (series.state == "whole" and series.evidence and all(told)):
                unaccounted.append((series, jobs))
    assert unaccounted == []
    assert sum(len(account.series) for account in pushed.accounts) > 80


def test_the_chest_cts_are_analysed_and_nothing_failed(pushed: Pushed) -> None:
    states = [entry.job.state for account in pushed.accounts for entry in account.jobs]
    assert states.count("failed") == 0
    assert states.count("skipped") > 10
    kinds = [
        {item.result.kind for item in account.deliveries}
        for account in pushed.accounts
        if any(entry.job.state == "done" and not entry.job.reason for entry in account.jobs)
    ]
    assert kinds == [{"seg", "sr", "sc"}] * 2


def test_the_log_holds_no_traceback_and_nothing_of_a_patient(pushed: Pushed, shared_data: Path) -> None:
    log = pushed.node.log()
    telling = {value for value in values_of(shared_data, PERSONAL) if len(value) >= SHORTEST_TELLING_VALUE}
    assert len(telling) > 40
    assert "Traceback" not in log
    assert {value for value in telling if re.search(rf"(?<![\w.]){re.escape(value)}(?![\w.])", log)} == set()


def test_the_node_is_well_afterwards(pushed: Pushed, peer: Callable[[str], str]) -> None:
    assert echoes(peer("echoscu"), pushed.node.port)
    status = pushed.node.cli("status")
    assert (status.returncode, status.stderr) == (0, "")
    assert pushed.node.stores.events.count("process_restarted") == 0
