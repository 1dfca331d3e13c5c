"""What a study's account says holds whatever other processes write while it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from dicom_node.history import StudyAccount, account_of
from storage.records.jobs import Job
from tests.made_rows import House, open_house, recipients_of


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = open_house(tmp_path)
    yield house
    house.database.close()


class Watched:
    """A store of which every read is followed by `after`."""

    def __init__(self, store: object, after: Callable[[], None]) -> None:
        self._store, self._after = store, after

    def __getattr__(self, name: str) -> Any:
        read = getattr(self._store, name)

        def then(*given: Any) -> Any:
            found = read(*given)
            self._after()
            return found

        return then


def running(house: House) -> Job:
    ready = house.ready_job()
    house.jobs.start(ready.job_id)
    job = house.jobs.get(ready.job_id)
    assert job
    return job


def end(house: House, job: Job) -> None:
    """With one result, which waits to be sent from then on."""
    results = [house.result(job.study_instance_uid, "sr")]
    recipients = recipients_of(results, {"sr": job.destinations})
    assert house.jobs.finish(job, state="done", outcome="done", reason=None, results=results, recipients=recipients)


def account_while(house: House, job: Job, *, ends_after: int) -> tuple[StudyAccount, int]:
    """The account of the job's study, where the job ends after so many reads of the stores; and how many there were."""
    reads = 0

    def count() -> None:
        nonlocal reads
        reads += 1
        if reads == ends_after:
            end(house, job)

    stores = {one.name: Watched(getattr(house, one.name), count) for one in fields(house)}
    (account,) = account_of(replace(house, **stores), job.study_instance_uid)  # type: ignore[arg-type]
    return account, reads


def test_a_job_that_ends_while_its_study_is_read_never_makes_the_study_look_settled(house: House) -> None:
    """Its result is still to be sent, whichever of the tables were read before it ended."""
    _, reads = account_while(house, running(house), ends_after=0)
    assert reads >= 8
    states = []
    for moment in range(1, reads + 1):
        account, _ = account_while(house, running(house), ends_after=moment)
        assert not account.is_settled, f"where the job ended after read {moment} of {reads}"
        states.append(account.jobs[0].job.state)
    assert {*states} == {"running", "done"}  # the job ended both before its row was read and after


def test_a_study_whose_results_were_all_sent_is_settled(house: House) -> None:
    job = running(house)
    end(house, job)
    (delivery,) = house.outbox.of_study(job.study_instance_uid)
    house.outbox.delivered([delivery.delivery_id])
    assert account_of(house, job.study_instance_uid)[0].is_settled  # type: ignore[arg-type]
