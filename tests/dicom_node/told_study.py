"""A study that met everything that may happen to one, in rows as the node writes them, on a clock that stands in 2026."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sqlalchemy import insert, update

from storage.records.announced import Announcement
from storage.records.events import Event
from storage.records.jobs import NewJob
from storage.records.received import Association, NewInstance
from storage.records.results import Result
from storage.schema import event, instance, job, outbox, result, series
from tests.made_rows import House, new_instance, open_house, recipients_of

# 2026-01-31T12:00:00Z
NOON = 1769860800.0
STUDY = "1.2.826.0.1.3680043.8.498.".ljust(64, "7")
LUNG, HEART = f"{STUDY[:-1]}1", f"{STUDY[:-1]}2"
MODEL = "ct_lung_density@1.0.0"
REASON = "stat: Requested Procedure Priority is STAT"


def received(series_uid: str, number: int, association: str, at: float) -> NewInstance:
    return new_instance(
        sop_instance_uid=f"{series_uid[:40]}.{series_uid[-1]}.{number}",
        series_instance_uid=series_uid,
        study_instance_uid=STUDY,
        content_sum=f"{series_uid}{number}"[-32:],
        object_key=f"instances/{series_uid}/{number}",
        association_id=association,
        received_at=at,
        patient_id="P1",
        patient_name="Doe^Jane",
        study_date="20260131",
        study_description="Chest",
        facts={"Modality": "CT", "InstanceNumber": number},
    )


def _associate(house: House, name: str, at: float, *instances: NewInstance, ending: str | None = "released") -> None:
    opened = Association(name, "acceptor-1", "CT1", "DICOM-NODE", "10.0.0.7", at)
    house.instances.add_all(instances, [opened])
    if ending:
        house.end_association(opened, ending, at + 9.0)


def _decide(house: House, series_uid: str, at: float, *, revision: int, jobs: tuple[NewJob, ...] = ()) -> None:
    (found,) = [one for one in house.studies.series_of(STUDY) if one.series_instance_uid == series_uid]
    evidence = f"association from CT1 was released; evidence of revision {revision}"
    said = [
        Event("series_whole", f"whole with {found.instance_count} instances: {evidence}", at=at, **_of(series_uid)),
        *(
            Event("job_queued", f"{one.model} queued by route lungs, {REASON}", at=at, **_of(series_uid))
            for one in jobs
        ),
    ]
    assert house.studies.settle(found, evidence=evidence, jobs=jobs, events=said)


def _of(series_uid: str) -> dict[str, str]:
    return {"study_instance_uid": STUDY, "series_instance_uid": series_uid}


def _result(job_id: int, kind: str) -> Result:
    uid = f"{STUDY[:58]}.{job_id}.{len(kind)}"
    return Result(uid, "1.2.840.10008.5.1.4.1.1.88.34", f"{STUDY}"[:60], STUDY, "1.2", kind, "made", uid, "0", 7)


@contextmanager
def told_study(folder: Path) -> Iterator[House]:
    """Of the lungs a whole series with a late image and a rejection; of the heart one that still arrives."""
    house = open_house(folder)
    try:
        _first_revision(house)
        _second_revision(house)
        _supersede(house)
        _associate(house, "heart", NOON + 200, received(HEART, 1, "heart", NOON + 200), ending=None)
        yield house
    finally:
        house.database.close()


def _first_revision(house: House) -> None:
    images = [received(LUNG, number, "first", NOON + number) for number in range(1, 5)]
    _associate(house, "first", NOON, *images)
    _associate(house, "again", NOON + 10, *(replace(image, association_id="again") for image in images))
    house.announcements.announce(
        Announcement("mpps", "1.9 -", "CT1", STUDY, None, "completed", NOON + 9.5),
        Announcement("mpps", f"1.9 {LUNG}", "CT1", STUDY, LUNG, "completed", NOON + 9.5, 4, ("1", "2", "3", "4")),
        Announcement("c-find", f"PACS1 {LUNG}", "PACS1", STUDY, LUNG, "completed", NOON + 11, 4),
    )
    lungs = NewJob(MODEL, "lungs", "ready", "stat", ("pacs",), True, 60.0, deadline_at=NOON + 60)
    _decide(house, LUNG, NOON + 20, revision=1, jobs=(lungs,))
    _finish(house, 1)


def _second_revision(house: House) -> None:
    _associate(house, "late", NOON + 100, received(LUNG, 5, "late", NOON + 100), ending="aborted")
    with house.database.write() as connection:
        rejected = {"rejected_revision": 2, "rejected_code": "113001"}
        connection.execute(
            update(instance).where(instance.c.sop_instance_uid == f"{LUNG[:40]}.{LUNG[-1]}.4").values(**rejected)
        )
    lungs = NewJob(MODEL, "lungs", "ready", "stat", ("pacs",), True, 60.0, remark="analysed 4 of 5 images")
    _decide(house, LUNG, NOON + 120, revision=2, jobs=(lungs,))
    _finish(house, 2)


def _finish(house: House, job_id: int) -> None:
    house.jobs.start(job_id)
    running = house.jobs.get(job_id)
    assert running
    results = [_result(job_id, "sr"), _result(job_id, "seg")]
    recipients = recipients_of(results, {"sr": ["pacs"]})
    done = house.jobs.finish(running, state="done", outcome="done", reason=None, results=results, recipients=recipients)
    assert done


def _supersede(house: House) -> None:
    """As the end of the second job does; and nothing keeps the time at which a test runs."""
    with house.database.write() as connection:
        connection.execute(update(job).where(job.c.job_id == 1).values(stale=True, deadline_missed_at=NOON + 61))
        for job_id in (1, 2):
            started = NOON + 120 * job_id
            times = {"created_at": started - 100, "started_at": started - 99, "finished_at": started - 80}
            connection.execute(update(job).where(job.c.job_id == job_id).values(**times))
        old = result.c.job_id == 1
        connection.execute(update(result).where(old).values(superseded_at=NOON + 160, superseded_by=2))
        connection.execute(
            update(outbox)
            .where(outbox.c.sop_instance_uid == _result(1, "sr").sop_instance_uid)
            .values(state="withdrawn")
        )
        connection.execute(update(series).values(judged_at=NOON))
        missed = {"kind": "deadline_missed", "severity": "warning", "text": "not delivered by 12:01:00", "data": {}}
        connection.execute(insert(event).values(at=NOON + 61, study_instance_uid=STUDY, job_id=1, **missed))
