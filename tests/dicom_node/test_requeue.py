"""What a person may queue again, and make STAT, with the word of it in the study's history."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from dicom_node.errors import NodeError
from dicom_node.requeue import analyse_again
from dicom_node.stores import Stores
from storage.records.jobs import Companion, Job
from tests.made_rows import House, open_house


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = open_house(tmp_path)
    yield house
    house.database.close()


def again(house: House, key: str, model: str | None = None, *, stat: bool = False) -> int:
    return analyse_again(cast(Stores, house), key, model, stat=stat)


def now(house: House, job: Job) -> Job:
    found = house.jobs.get(job.job_id)
    assert found
    return found


def ended(house: House, **more: object) -> Job:
    job = house.ready_job(**more)  # type: ignore[arg-type]
    house.jobs.start(job.job_id)
    assert house.jobs.finish(now(house, job), state="done", outcome="done", reason=None)
    return now(house, job)


def test_a_job_that_ended_is_queued_again_with_its_priority(house: House) -> None:
    job = ended(house)
    assert again(house, job.study_instance_uid) == 1
    assert (now(house, job).state, now(house, job).priority) == ("ready", "routine")


def test_with_stat_it_comes_before_all_that_wait(house: House) -> None:
    job = ended(house)
    house.ready_job()
    assert again(house, job.study_instance_uid, stat=True) == 1
    assert [item.job_id for item in house.jobs.ready(1)] == [job.job_id]
    (event,) = house.events_of_kind("job_requeued")
    assert event.text == "m@1 queued again by hand, stat"


def test_with_stat_a_routine_job_that_still_waits_overtakes_the_others(house: House) -> None:
    house.ready_job()
    job = house.ready_job()
    assert again(house, job.study_instance_uid) == 0
    assert again(house, job.study_instance_uid, stat=True) == 1
    assert [item.job_id for item in house.jobs.ready(1)] == [job.job_id]
    assert [event.text for event in house.events_of_kind("job_hurried")] == ["m@1 made stat by hand, while it waits"]
    assert again(house, job.study_instance_uid, stat=True) == 0


def test_a_job_that_runs_is_left_alone(house: House) -> None:
    job = house.ready_job()
    house.jobs.start(job.job_id)
    assert again(house, job.study_instance_uid, stat=True) == 0
    assert now(house, job).priority == "routine"


def test_a_job_that_reads_other_series_looks_for_them_again(house: House) -> None:
    job = ended(house, companions=(Companion("prior", absent="no earlier study of the patient"),))
    assert again(house, job.study_instance_uid) == 1
    assert now(house, job).state == "waiting"


def test_a_job_of_an_older_revision_is_refused_with_the_reason_once_its_series_changes(house: House) -> None:
    job = ended(house)
    newer = house.next_revision(job)
    assert again(house, job.study_instance_uid) == 0  # the older job is not even asked for, and the newer one waits
    house.one_more(newer)
    house.jobs.start(newer.job_id)
    assert now(house, newer).state == "superseded"
    with pytest.raises(NodeError, match="is on revision 2 of its series, which is at revision 3 now"):
        again(house, job.study_instance_uid)
    assert now(house, job).state == "done"
