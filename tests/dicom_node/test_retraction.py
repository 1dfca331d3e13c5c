"""A destination that asks for it is told which of the results it holds do not count any more: once, and of no others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from dicom_node.retraction import Retraction
from storage.errors import StorageUnavailable
from storage.records.jobs import Job
from storage.records.results import Delivery
from tests.made_rows import House, open_house


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = open_house(tmp_path)
    yield house
    house.database.close()


@pytest.fixture
def retraction(house: House) -> Retraction:
    return Retraction(["PACS1"], house.outbox, house.objects, clock=lambda: 1_790_000_000.0)


def analysed(house: House, job: Job) -> None:
    house.jobs.start(job.job_id)
    running = house.jobs.get(job.job_id)
    assert running
    results = [house.result(job.study_instance_uid, kind) for kind in ("seg", "sr", "sc")]
    everyone = dict.fromkeys((item.sop_instance_uid for item in results), ("PACS1", "ARCHIVE"))
    assert house.jobs.finish(running, state="done", outcome="done", reason=None, results=results, recipients=everyone)


def revised(house: House, *delivered: str, to: Sequence[str] = ("PACS1", "ARCHIVE")) -> str:
    """A study of which these kinds were delivered, and that was then analysed anew; its UID."""
    first = house.ready_job(study_uid=generate_uid(prefix=None), destinations=("PACS1", "ARCHIVE"))
    analysed(house, first)
    rows = house.outbox.of_study(first.study_instance_uid)
    house.outbox.delivered([row.delivery_id for row in rows if row.result.kind in delivered and row.destination in to])
    analysed(house, house.next_revision(first))
    return first.study_instance_uid


def rejections(house: House, study_uid: str) -> list[Delivery]:
    return [row for row in house.outbox.of_study(study_uid) if row.result.kind == "ko"]


def listed(house: House, rejection: Delivery) -> set[str]:
    document = dcmread(BytesIO(house.objects.get(rejection.result.object_key)))
    return {
        item.ReferencedSOPInstanceUID
        for series in document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }


def test_what_was_delivered_and_superseded_is_rejected_where_it_was_delivered(
    house: House, retraction: Retraction
) -> None:
    study = revised(house, "seg", "sr")
    delivered = {
        row.result.sop_instance_uid
        for row in house.outbox.of_study(study)
        if (row.state, row.destination) == ("delivered", "PACS1")
    }
    assert len(delivered) == 2
    assert retraction.step() == 2
    (told,) = rejections(house, study)
    assert (told.destination, told.state) == ("PACS1", "waiting")
    assert listed(house, told) == delivered
    (event,) = house.events_of_kind("results_rejected")
    assert event.text == "PACS1 is told to reject 2 results that it holds, since later ones supersede them"
    gone = [row for row in house.outbox.of_study(study) if row.result.sop_instance_uid in delivered]
    assert {(row.destination, row.state) for row in gone} == {("PACS1", "withdrawn"), ("ARCHIVE", "delivered")}
    assert all(row.delivered_at is not None for row in gone)


def test_it_is_told_once_and_before_anything_was_delivered_not_at_all(house: House, retraction: Retraction) -> None:
    revised(house)
    assert retraction.step() == 0
    revised(house, "sr")
    assert [retraction.step() for _ in range(3)] == [1, 0, 0]


def test_a_delivery_that_was_under_way_when_it_was_superseded_is_rejected_too(
    house: House, retraction: Retraction
) -> None:
    study = revised(house)
    withdrawn = [row for row in house.outbox.of_study(study) if (row.state, row.destination) == ("withdrawn", "PACS1")]
    house.outbox.delivered([withdrawn[0].delivery_id])
    assert retraction.step() == 1
    assert listed(house, rejections(house, study)[0]) == {withdrawn[0].result.sop_instance_uid}


def test_studies_are_rejected_each_in_a_document_of_its_own(house: House, retraction: Retraction) -> None:
    studies = [revised(house, "sr", to=("PACS1",)) for _ in range(2)]
    assert retraction.step() == 2
    assert [len(rejections(house, study)) for study in studies] == [1, 1]


def test_a_rejection_is_superseded_by_nothing(house: House, retraction: Retraction) -> None:
    study = revised(house, "sr")
    retraction.step()
    analysed(house, house.next_revision(house.jobs.of_study(study)[-1]))
    (told,) = rejections(house, study)
    assert told.state == "waiting"
    assert retraction.step() == 0


def test_where_the_store_cannot_be_read_it_is_told_later(house: House, retraction: Retraction) -> None:
    study = revised(house, "sr")
    get = house.objects.get

    def unreadable(key: str) -> bytes:
        raise StorageUnavailable(f"{key} cannot be read")

    house.objects.get = unreadable  # type: ignore[method-assign]
    with pytest.raises(StorageUnavailable):
        retraction.step()
    assert rejections(house, study) == []
    house.objects.get = get  # type: ignore[method-assign]
    assert retraction.step() == 1


def test_no_destination_is_told_that_did_not_ask(house: House) -> None:
    revised(house, "sr", to=("ARCHIVE", "PACS1"))
    other = Retraction([], house.outbox, house.objects)
    other.start()
    assert other.step() == 0
    other.stop(1.0)
