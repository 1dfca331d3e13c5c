"""Results that are not sound are kept and go to nobody; what goes in place of a result that is not taken is queued once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection, text

from storage.database import Database, _migrations
from storage.records.events import Event
from storage.records.jobs import Job
from storage.records.results import Result, Substitution
from tests.made_rows import House, open_house, recipients_of

SAID = Event("test", "a person said so")
FAULTS = ("frame 1 lies 2.00 mm from its source frame", "it refers to no source")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = open_house(tmp_path)
    yield house
    house.database.close()


def ends(house: House, job: Job, *results: Result, to: str = "PACS1", not_analysed: bool = False) -> bool:
    house.jobs.start(job.job_id)
    running = house.jobs.get(job.job_id)
    assert running
    return house.jobs.finish(
        running,
        state="done",
        outcome="done",
        reason=None,
        results=results,
        recipients={item.sop_instance_uid: [to] for item in results},
        not_analysed=not_analysed,
    )


def queued(house: House, job: Job) -> dict[str, str]:
    return {row.result.kind: row.state for row in house.outbox.of_study(job.study_instance_uid)}


def test_what_is_quarantined_is_kept_with_its_faults_and_never_queued(house: House) -> None:
    job = house.ready_job()
    seg, sr = (house.result(job.study_instance_uid, kind) for kind in ("seg", "sr"))
    assert ends(house, job, replace(seg, faults=FAULTS), sr)
    assert queued(house, job) == {"sr": "waiting"}
    kept = {item.result.kind: item.result.faults for item in house.history.results(job.study_instance_uid)}
    assert kept == {"seg": FAULTS, "sr": ()}
    assert house.history.count_quarantined() == 1
    assert [item.result.kind for item in house.outbox.of_job(job.job_id, "PACS1")] == ["sr"]
    assert house.outbox.send_again(job.study_instance_uid, destination=None) == 0


def test_a_sound_object_takes_the_place_of_the_quarantined_one_when_the_job_is_run_again(house: House) -> None:
    job = house.ready_job()
    seg = house.result(job.study_instance_uid, "seg")
    broken = replace(seg, faults=FAULTS, content_sha256="0" * 64, size_bytes=7, object_key="quarantine/x")
    assert ends(house, job, broken)
    before = house.usage.total_bytes()
    house.jobs.requeue(job.job_id, event=SAID)
    assert ends(house, job, seg)
    assert queued(house, job) == {"seg": "waiting"}
    assert house.history.count_quarantined() == 0
    assert house.usage.total_bytes() == before - 7 + seg.size_bytes
    assert house.events_of_kind("result_differs") == []


def test_what_stood_in_for_a_segmentation_in_quarantine_does_not_stand_beside_it_once_it_is_repaired(
    house: House,
) -> None:
    """One destination had it already, for another it waits, and a third takes reports alone."""
    names = ("PACS1", "ARCHIVE", "REPORTS")
    job = house.ready_job(destinations=names)
    seg, sr, alone = (house.result(job.study_instance_uid, kind) for kind in ("seg", "sr", "sr-alone"))
    broken = replace(seg, faults=FAULTS, content_sha256="0" * 64, object_key="quarantine/x")

    def ends_for(results: list[Result], **to: tuple[str, ...]) -> None:
        house.jobs.start(job.job_id)
        running = house.jobs.get(job.job_id)
        assert running
        recipients = recipients_of(results, to | {"sr-alone": to["alone"]})
        assert house.jobs.finish(
            running, state="done", outcome="done", reason=None, results=results, recipients=recipients
        )

    ends_for([broken, alone], alone=names)
    (at_pacs,) = house.outbox.next_study("PACS1", due_at=None)
    house.outbox.delivered([at_pacs.delivery_id])
    house.jobs.requeue(job.job_id, event=SAID)
    ends_for([seg, sr, alone], seg=names[:2], sr=names[:2], alone=("REPORTS",))
    rows = {(row.destination, row.result.kind): row.state for row in house.outbox.of_study(job.study_instance_uid)}
    assert rows == {
        ("PACS1", "sr-alone"): "delivered",
        ("ARCHIVE", "sr-alone"): "withdrawn",
        ("REPORTS", "sr-alone"): "waiting",
        ("PACS1", "seg"): "waiting",
        ("PACS1", "sr"): "waiting",
        ("ARCHIVE", "seg"): "waiting",
        ("ARCHIVE", "sr"): "waiting",
    }
    assert [event.text for event in house.events_of_kind("result_superseded")] == [
        f"SR-ALONE of m@1 for {name} superseded: the job was run again, and what it stood in for goes there"
        for name in names[:2]
    ]
    assert house.outbox.held_superseded("PACS1") == (), "another destination is to have it"


def test_a_destination_that_holds_what_stood_in_can_be_told_that_it_is_superseded(house: House) -> None:
    job = house.ready_job()
    seg, sr, alone, sc = (house.result(job.study_instance_uid, kind) for kind in ("seg", "sr", "sr-alone", "sc"))
    assert ends(house, job, replace(seg, faults=FAULTS, content_sha256="0" * 64), alone, sc)
    house.outbox.delivered([row.delivery_id for row in house.outbox.of_study(job.study_instance_uid)])
    house.jobs.requeue(job.job_id, event=SAID)
    assert ends(house, job, seg, sr)
    assert sorted(row.result.kind for row in house.outbox.held_superseded("PACS1")) == ["sc", "sr-alone"]
    house.jobs.requeue(job.job_id, event=SAID)
    assert ends(house, job, seg, sr)
    assert queued(house, job) == {"sr-alone": "delivered", "sc": "delivered", "seg": "waiting", "sr": "waiting"}


def test_what_was_sent_stays_where_a_later_run_makes_it_unsound(house: House) -> None:
    job = house.ready_job()
    sr = house.result(job.study_instance_uid, "sr")
    assert ends(house, job, sr)
    house.jobs.requeue(job.job_id, event=SAID)
    assert ends(house, job, replace(sr, faults=FAULTS, content_sha256="0" * 64))
    (kept,) = house.history.results(job.study_instance_uid)
    assert (kept.result.faults, kept.superseded_at) == ((), None)
    assert queued(house, job) == {"sr": "waiting"}


def test_the_next_revision_supersedes_what_is_in_quarantine(house: House) -> None:
    job = house.ready_job()
    assert ends(house, job, replace(house.result(job.study_instance_uid, "sr"), faults=FAULTS))
    then = house.next_revision(job)
    assert ends(house, then, house.result(job.study_instance_uid, "sr"))
    assert house.history.count_quarantined() == 0


def test_what_was_in_reserve_is_queued_where_a_destination_takes_it_when_the_job_is_run_again(house: House) -> None:
    job = house.ready_job()
    sr, text_report = (house.result(job.study_instance_uid, kind) for kind in ("sr", "sr_text"))
    assert ends(house, job, sr, to="ARCHIVE")
    house.jobs.requeue(job.job_id, event=SAID)
    house.jobs.start(job.job_id)
    running = house.jobs.get(job.job_id)
    assert running
    to = recipients_of([sr, text_report], {"sr": ["PACS1"], "sr_text": ["PACS1"]})
    results = [sr, text_report]
    assert house.jobs.finish(running, state="done", outcome="done", reason=None, results=results, recipients=to)
    rows = {(row.result.kind, row.destination) for row in house.outbox.of_study(job.study_instance_uid)}
    assert rows == {("sr", "ARCHIVE"), ("sr", "PACS1"), ("sr_text", "PACS1")}


def test_findings_supersede_every_object_that_said_nothing_was_analysed(house: House) -> None:
    job = house.ready_job()
    said = [house.result(job.study_instance_uid, kind) for kind in ("sr", "sc")]
    assert ends(house, job, *said, not_analysed=True)
    house.jobs.requeue(job.job_id, event=SAID)
    found = [house.result(job.study_instance_uid, kind) for kind in ("seg", "sr", "sc")]
    assert ends(house, job, *found)
    standing = {
        item.result.sop_instance_uid
        for item in house.history.results(job.study_instance_uid)
        if item.superseded_at is None
    }
    assert standing == {item.sop_instance_uid for item in found}


def test_a_report_names_as_predecessor_what_was_sent_and_not_what_stood_in_reserve(house: House) -> None:
    job = house.ready_job()
    sr, alone, text_report = (house.result(job.study_instance_uid, kind) for kind in ("sr", "sr-alone", "sr_text"))
    house.jobs.start(job.job_id)
    running = house.jobs.get(job.job_id)
    assert running
    results = [sr, alone, replace(text_report, faults=FAULTS)]
    to = recipients_of(results, {"sr": ["PACS1"], "sr_text": ["PACS1"]})
    assert house.jobs.finish(running, state="done", outcome="done", reason=None, results=results, recipients=to)
    (row,) = house.outbox.of_study(job.study_instance_uid)
    then = house.next_revision(job)
    assert [item.kind for item in house.jobs.predecessors(then)] == ["sr"]
    swap = Substitution(row.delivery_id, (alone.sop_instance_uid,), "not taken")
    assert house.outbox.substitute("PACS1", [swap], events=[SAID]) == 1
    assert [item.kind for item in house.jobs.predecessors(then)] == ["sr-alone"]


def test_what_was_withdrawn_meanwhile_is_not_substituted_and_nothing_is_told(house: House) -> None:
    job = house.ready_job()
    sr, alone = (house.result(job.study_instance_uid, kind) for kind in ("sr", "sr-alone"))
    assert ends(house, job, sr)
    (row,) = house.outbox.of_study(job.study_instance_uid)
    house.outbox.delivered([row.delivery_id])
    swap = Substitution(row.delivery_id, (alone.sop_instance_uid,), "not taken")
    assert house.outbox.substitute("PACS1", [swap], events=[SAID]) == 0
    assert house.events_of_kind("test") == []
    assert queued(house, job) == {"sr": "delivered"}


def test_a_deadline_is_met_by_what_went_in_place_of_what_was_not_taken(house: House) -> None:
    job = house.ready_job(deadline_at=time.time() - 1)
    sr, alone = (house.result(job.study_instance_uid, kind) for kind in ("sr", "sr-alone"))
    house.jobs.start(job.job_id)
    running = house.jobs.get(job.job_id)
    assert running
    house.jobs.finish(
        running,
        state="done",
        outcome="done",
        reason=None,
        results=[sr, alone],
        recipients={sr.sop_instance_uid: ["PACS1"]},
    )
    (row,) = house.outbox.of_study(job.study_instance_uid)
    house.outbox.substitute("PACS1", [Substitution(row.delivery_id, (alone.sop_instance_uid,), "not taken")])
    (due,) = house.deadlines.passed(time.time())
    assert [(one.destination, one.state) for one in due.sendings] == [("PACS1", "waiting")]


def columns(connection: Connection, table: str) -> set[str]:
    return {row[1] for row in connection.execute(text(f"PRAGMA table_info({table})"))}


def test_the_migration_goes_both_ways_and_takes_what_an_older_version_would_send_with_it(tmp_path: Path) -> None:
    house = open_house(tmp_path)
    job = house.ready_job()
    sr, alone = (house.result(job.study_instance_uid, kind) for kind in ("sr", "sr-alone"))
    broken = replace(house.result(job.study_instance_uid, "seg"), faults=FAULTS)
    house.jobs.start(job.job_id)
    running = house.jobs.get(job.job_id)
    assert running
    house.jobs.finish(
        running,
        state="done",
        outcome="done",
        reason=None,
        results=[sr, alone, broken],
        recipients={sr.sop_instance_uid: ["PACS1"]},
    )
    (row,) = house.outbox.of_study(job.study_instance_uid)
    house.outbox.substitute("PACS1", [Substitution(row.delivery_id, (alone.sop_instance_uid,), "not taken")])
    before = house.usage.total_bytes()
    _migrated(house.database, "0003")
    with house.database.read() as connection:
        assert "faults" not in columns(connection, "result")
        assert "in_place_of" not in columns(connection, "outbox")
        states = connection.execute(text("select state from outbox order by delivery_id")).scalars().all()
        assert states == ["refused", "waiting"]
        kinds = connection.execute(text("select kind from result order by kind")).scalars().all()
        assert kinds == ["sr", "sr-alone"]
    assert house.usage.total_bytes() == before - broken.size_bytes
    house.database.migrate()
    assert queued(house, job) == {"sr": "refused", "sr-alone": "waiting"}
    house.database.close()


def _migrated(database: Database, revision: str) -> None:
    config = _migrations()
    with database.changing_tables() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
