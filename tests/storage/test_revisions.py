"""A series that changes after it was analysed: which job runs, whose results count, and what is still sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import generate_uid
from sqlalchemy import select

from storage.errors import NewerRevision
from storage.records.events import Event
from storage.records.jobs import Job, JobState, NewJob
from storage.records.received import Association, NewInstance, Series
from storage.records.results import Result
from storage.schema import job as job_table
from storage.schema import result as result_table
from tests.made_rows import EXPLICIT_VR_LITTLE_ENDIAN, SOP_CLASSES, House, new_instance, open_house, recipients_of

SAID = Event("job_requeued", "a person said so")
KINDS: Mapping[str, tuple[str, ...]] = dict.fromkeys(("seg", "sr", "sc"), ("PACS1", "ARCHIVE"))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = open_house(tmp_path_factory.mktemp("house"))
    yield house
    house.database.close()


@dataclass
class OneSeries:
    """A series of the house, and what may happen to it."""

    house: House
    study_uid: str = field(default_factory=generate_uid)
    instances: int = 0

    def arrives(self) -> None:
        """One more instance, in an association of its own."""
        self.instances += 1
        association = Association(generate_uid()[-36:], "a1", "CT1", "NODE", "127.0.0.1", 1000.0 + self.instances)
        self.house.studies.open_association(association)
        self.house.instances.add(
            new_instance(
                sop_instance_uid=f"{self.study_uid}.1.{self.instances}",
                series_instance_uid=f"{self.study_uid}.1",
                study_instance_uid=self.study_uid,
                content_sum=f"{self.instances:032}",
                object_key=f"instances/{self.study_uid}/{self.instances}",
                association_id=association.association_id,
                received_at=1000.0 + self.instances,
                accession_number="",
            )
        )

    @property
    def series(self) -> Series:
        (series,) = self.house.studies.series_of(self.study_uid)
        return series

    def settles(self, model: str | None = "m@1", **more: Any) -> bool:
        """Judged whole; with a job, unless model is None."""
        values: dict[str, Any] = {"route": "r", "state": "ready", "priority": "routine"}
        values |= {"destinations": ("PACS1", "ARCHIVE"), "report_not_analysed": True, "timeout_s": 60.0} | more
        jobs = [NewJob(model=model, **values)] if model else []
        return self.house.studies.settle(self.series, evidence="made", jobs=jobs, events=[])

    @property
    def jobs(self) -> tuple[Job, ...]:
        return self.house.jobs.of_study(self.study_uid)

    def in_state(self, state: JobState) -> Job | None:
        return next((job for job in self.jobs if job.state == state), None)

    def starts(self) -> Job | None:
        """The ready job, running; None where none was, or where it was superseded instead."""
        ready = self.in_state("ready")
        if ready is None or self.house.jobs.start(ready.job_id) is None:
            return None
        return self.in_state("running")

    def ends(self, *, found: bool = True, send_stale: bool = False) -> bool:
        """The running job ends with SEG, SR and SC, or with the report that nothing was analysed."""
        running = self.in_state("running")
        if running is None:
            return False
        reason = None if found else "no lungs"
        results = [self.result(running, kind, found=found) for kind in (("seg", "sr", "sc") if found else ("sr",))]
        return self.house.jobs.finish(
            running,
            state="done",
            outcome="done",
            reason=reason,
            results=results,
            recipients=recipients_of(results, KINDS),
            not_analysed=not found,
            send_stale=send_stale,
        )

    def fails(self) -> bool:
        """The running job ends without any result."""
        running = self.in_state("running")
        return running is not None and self.house.jobs.finish(
            running, state="failed", outcome="failed", reason="broken", not_analysed=True
        )

    def result(self, of: Job, kind: str, *, found: bool) -> Result:
        """As a worker makes it: its UID derives from what it is about, and its bytes from that and what it replaces."""
        origin = f"{of.series_instance_uid} {of.revision} {of.model} {kind} {found}"
        uid = f"2.25.{int(hashlib.sha256(origin.encode()).hexdigest()[:24], 16)}"
        replaced = [one.sop_instance_uid for one in self.house.jobs.predecessors(of) if one.sop_instance_uid != uid]
        said = origin + (replaced[0] if kind == "sr" and replaced else "")
        return Result(
            sop_instance_uid=uid,
            sop_class_uid=SOP_CLASSES[kind],
            series_instance_uid=f"{uid}.1",
            study_instance_uid=self.study_uid,
            transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN,
            kind=kind,
            description="made",
            object_key=f"results/{uid}",
            content_sha256=hashlib.sha256(said.encode()).hexdigest(),
            size_bytes=1,
        )

    def counting(self) -> set[tuple[int, str]]:
        """(job, kind) of the results that count."""
        query = (
            select(result_table.c.job_id, result_table.c.kind)
            .join(job_table, job_table.c.job_id == result_table.c.job_id)
            .where(result_table.c.study_instance_uid == self.study_uid, result_table.c.superseded_at.is_(None))
        )
        with self.house.database.read() as connection:
            return {(row.job_id, row.kind) for row in connection.execute(query)}

    def counting_revisions(self) -> set[int]:
        revision_of = {job.job_id: job.revision for job in self.jobs}
        return {revision_of[job_id] for job_id, _ in self.counting()}

    def sent(self) -> set[tuple[int, str, str]]:
        """(revision, kind, state) of what stands in the outbox for PACS1."""
        revision_of = {job.job_id: job.revision for job in self.jobs}
        rows = self.house.outbox.of_study(self.study_uid)
        return {(revision_of[row.job_id], row.result.kind, row.state) for row in rows if row.destination == "PACS1"}

    def waiting_for(self, destination: str) -> dict[str, int]:
        """Deliveries that a courier would take up now, by kind of result."""
        rows = self.house.outbox.of_study(self.study_uid)
        return {
            row.result.kind: row.delivery_id for row in rows if (row.state, row.destination) == ("waiting", destination)
        }

    def is_delivered(self) -> None:
        self.house.outbox.delivered(list(self.waiting_for("PACS1").values()))

    def kinds_of_events(self) -> list[str]:
        return [event.kind for event in self.house.events.of_study(self.study_uid)]


@pytest.fixture
def one(house: House) -> OneSeries:
    made = OneSeries(house)
    made.arrives()
    return made


def analysed(one: OneSeries, *, found: bool = True) -> OneSeries:
    """Whole as it is now, and its job ended."""
    assert one.settles()
    assert one.starts()
    assert one.ends(found=found)
    return one


ALL_OF_1 = {(1, "seg"), (1, "sr"), (1, "sc")}


def kinds_that_count(one: OneSeries) -> set[tuple[int, str]]:
    revision_of = {job.job_id: job.revision for job in one.jobs}
    return {(revision_of[job_id], kind) for job_id, kind in one.counting()}


def test_a_job_that_waits_is_superseded_when_the_dispatcher_would_start_it(one: OneSeries) -> None:
    one.settles()
    one.arrives()
    assert one.starts() is None
    (job,) = one.jobs
    assert (job.state, job.attempt) == ("superseded", 0)
    assert "revision 2 takes its place" in str(job.reason)
    assert "job_superseded" in one.kinds_of_events()


@pytest.mark.parametrize("state", ["ready", "waiting"])
def test_a_job_that_waits_is_superseded_at_once_when_the_next_revision_is_whole(one: OneSeries, state: str) -> None:
    one.settles(state=state)
    one.arrives()
    one.settles()
    assert [(job.revision, job.state) for job in one.jobs] == [(1, "superseded"), (2, "ready")]


def test_a_job_that_runs_when_an_instance_comes_ends_stale_and_its_results_are_kept_and_not_sent(
    one: OneSeries,
) -> None:
    one.settles()
    one.starts()
    one.arrives()
    assert one.ends()
    (job,) = one.jobs
    assert (job.state, job.stale) == ("done", True)
    assert len(one.house.outbox.results_of_study(one.study_uid)) == 3
    assert (one.counting(), one.sent()) == (set(), set())
    assert "job_stale" in one.kinds_of_events()


def test_stale_results_are_sent_where_that_is_wanted_and_superseded_as_any_other(one: OneSeries) -> None:
    one.settles()
    one.starts()
    one.arrives()
    one.ends(send_stale=True)
    assert {state for _, _, state in one.sent()} == {"waiting"}
    analysed(one)
    assert one.counting_revisions() == {2}
    assert {(revision, state) for revision, _, state in one.sent()} == {(1, "withdrawn"), (2, "waiting")}


def test_stale_results_that_nothing_would_replace_are_not_sent(one: OneSeries) -> None:
    one.settles()
    one.starts()
    one.arrives()
    one.settles(model=None)
    one.ends(send_stale=True)
    assert (one.counting(), one.sent()) == (set(), set())


def test_a_later_result_supersedes_the_earlier_one_and_withdraws_what_was_not_sent(one: OneSeries) -> None:
    analysed(one)
    first = one.jobs[0]
    one.is_delivered()
    one.arrives()
    assert kinds_that_count(one) == ALL_OF_1  # nothing better is known yet
    analysed(one)
    assert one.counting_revisions() == {2}
    assert {(revision, state) for revision, _, state in one.sent()} == {(1, "delivered"), (2, "waiting")}
    archive = [row for row in one.house.outbox.of_study(one.study_uid) if row.destination == "ARCHIVE"]
    assert {row.state for row in archive if row.job_id == first.job_id} == {"withdrawn"}
    kinds = one.kinds_of_events()
    assert (kinds.count("result_superseded"), kinds.count("delivery_withdrawn")) == (1, 1)


def test_a_report_that_nothing_was_analysed_supersedes_findings_of_an_older_revision(one: OneSeries) -> None:
    analysed(one)
    one.arrives()
    analysed(one, found=False)
    assert kinds_that_count(one) == {(2, "sr")}


def test_a_job_that_ends_without_any_result_leaves_no_older_one_standing_and_raises_an_alarm(one: OneSeries) -> None:
    analysed(one)
    one.arrives()
    one.settles()
    one.starts()
    assert one.fails()
    assert one.counting() == set()
    alarms = [event for event in one.house.events.of_study(one.study_uid) if event.kind == "result_outdated"]
    assert [event.severity for event in alarms] == ["alarm"]


def test_a_model_that_does_not_apply_any_more_reports_that_where_it_had_a_result(one: OneSeries) -> None:
    analysed(one)
    one.arrives()
    one.settles(state="skipped", reason="slice spacing 8.0 mm > 5.0 mm")
    job = one.jobs[-1]
    assert (job.state, job.revision) == ("ready", 2)
    assert "slice spacing 8.0 mm" in str(job.give_up_reason)


def test_a_model_that_never_had_a_result_is_skipped_as_ever(one: OneSeries) -> None:
    one.settles(state="skipped", reason="MR, not CT")
    one.arrives()
    one.settles(state="skipped", reason="MR, not CT")
    assert [job.state for job in one.jobs] == ["skipped", "skipped"]


def test_a_result_that_no_route_asks_for_any_more_does_not_stay(one: OneSeries) -> None:
    analysed(one)
    one.arrives()
    assert one.settles(model=None)
    assert one.counting() == set()
    assert {state for _, _, state in one.sent()} == {"withdrawn"}
    assert "result_outdated" in one.kinds_of_events()


def test_a_new_version_of_a_model_supersedes_what_the_old_one_said(one: OneSeries) -> None:
    analysed(one)
    one.arrives()
    one.settles("m@2")
    (of,) = [job for job in one.jobs if job.model == "m@2"]
    assert [found.revision for found in one.house.jobs.predecessors(of)] == [1]
    one.starts()
    one.ends()
    assert one.counting_revisions() == {2}


def test_two_versions_that_run_side_by_side_supersede_each_what_is_their_own(one: OneSeries) -> None:
    new: dict[str, Any] = {"route": "r", "state": "ready", "priority": "routine", "destinations": ("PACS1",)}
    new |= {"report_not_analysed": True, "timeout_s": 60.0}
    for revision in (1, 2):
        if revision == 2:
            one.arrives()
        jobs = [NewJob(model=model, **new) for model in ("m@1", "m@2")]
        assert one.house.studies.settle(one.series, evidence="", jobs=jobs, events=[])
        for _ in jobs:
            one.starts()
            one.ends()
    counting = {job.model: job.revision for job in one.jobs if (job.job_id, "sr") in one.counting()}
    assert counting == {"m@1": 2, "m@2": 2}


def test_the_predecessor_is_the_latest_report_that_was_queued_and_stays_so_once_it_is_superseded(
    one: OneSeries,
) -> None:
    analysed(one)
    one.arrives()
    one.settles()
    running = one.starts()
    assert running
    one.arrives()
    one.ends()  # stale: nobody gets it
    one.settles()
    last = one.jobs[-1]
    before = one.house.jobs.predecessors(last)
    assert [found.revision for found in before] == [1]
    one.starts()
    one.ends()
    own, *others = one.house.jobs.predecessors(last)
    assert own.revision == 3
    assert tuple(others) == before


def test_a_job_of_an_older_revision_is_not_queued_again_and_the_reason_is_told(one: OneSeries) -> None:
    analysed(one)
    one.arrives()
    with pytest.raises(NewerRevision, match="is on revision 1 of its series, which is at revision 2 now"):
        one.house.jobs.requeue(one.jobs[0].job_id, event=SAID)
    assert one.jobs[0].state == "done"


def test_findings_of_a_second_run_supersede_the_report_that_the_first_one_failed(one: OneSeries) -> None:
    analysed(one, found=False)
    failed = one.house.outbox.results_of_study(one.study_uid)[0]
    one.house.jobs.requeue(one.jobs[0].job_id, event=SAID)
    one.starts()
    one.ends()
    assert kinds_that_count(one) == ALL_OF_1
    states = {row.result.sop_instance_uid: row.state for row in one.house.outbox.of_study(one.study_uid)}
    assert states[failed.sop_instance_uid] == "withdrawn"


def test_a_second_run_that_fails_leaves_the_findings_of_the_first_one_and_raises_an_alarm(one: OneSeries) -> None:
    analysed(one)
    one.house.jobs.requeue(one.jobs[0].job_id, event=SAID)
    one.starts()
    one.ends(found=False)
    assert kinds_that_count(one) == ALL_OF_1
    assert {kind for _, kind, state in one.sent() if state == "waiting"} == {"seg", "sr", "sc"}
    assert "result_differs" in one.kinds_of_events()


def test_what_is_superseded_is_not_sent_again_on_a_persons_word(one: OneSeries) -> None:
    analysed(one)
    one.is_delivered()
    one.arrives()
    analysed(one)
    one.is_delivered()
    assert one.house.outbox.send_again(one.study_uid, destination="PACS1", events=[SAID]) == 3
    assert {(revision, state) for revision, _, state in one.sent()} == {(1, "delivered"), (2, "waiting")}


def test_what_was_sent_while_it_was_withdrawn_is_told_as_delivered_and_a_failure_changes_nothing(
    one: OneSeries,
) -> None:
    analysed(one)
    ids = one.waiting_for("ARCHIVE")
    one.arrives()
    analysed(one)
    one.house.outbox.delivered([ids["seg"]])
    one.house.outbox.postpone([ids["sr"]], until=0.0, error="down")
    one.house.outbox.refused([ids["sc"]], error="no")
    states = {row.delivery_id: row.state for row in one.house.outbox.of_study(one.study_uid)}
    assert [states[ids[kind]] for kind in ("seg", "sr", "sc")] == ["delivered", "withdrawn", "withdrawn"]


STEPS = ("arrives", "settles", "settles_m2", "skips", "unrouted", "starts", "ends", "ends_empty", "fails", "put_back")
STEPS_MORE = ("requeue", "deliver", "ends_sent_though_stale")


def step(one: OneSeries, what: str) -> None:
    """One thing that may happen at any time; nothing where it cannot happen now."""
    arriving, running = one.series.state == "arriving", one.in_state("running")
    if what == "arrives":
        one.arrives()
    elif what.startswith(("settles", "skips", "unrouted")) and arriving:
        skipped = {"state": "skipped", "reason": "does not apply"} if what == "skips" else {}
        one.settles({"settles_m2": "m@2", "unrouted": None}.get(what, "m@1"), **skipped)
    elif what == "starts" and running is None:  # the dispatcher does not run two jobs on one series and model
        one.starts()
    elif what.startswith("ends"):
        one.ends(found=what != "ends_empty", send_stale=what == "ends_sent_though_stale")
    elif what == "fails":
        one.fails()
    elif what == "put_back" and running:
        one.house.jobs.put_back(running, outcome="killed", reason="its worker died")
    elif what == "requeue":
        for job in one.jobs:
            if job.revision == one.series.revision:
                one.house.jobs.requeue(job.job_id, event=SAID)
    elif what == "deliver":
        one.is_delivered()


@settings(max_examples=25)
@given(st.lists(st.sampled_from((*STEPS, *STEPS_MORE)), max_size=24))
def test_no_history_leaves_two_results_that_count_or_sends_one_that_does_not(house: House, history: list[str]) -> None:
    one = OneSeries(house)
    one.arrives()
    for what in history:
        step(one, what)
        assert len({job_id for job_id, _ in one.counting()}) <= 1
        assert len([kind for _, kind in one.counting() if kind == "sr"]) <= 1
        counting = one.counting()
        rows = house.outbox.of_study(one.study_uid)
        assert all((row.job_id, row.result.kind) in counting for row in rows if row.state == "waiting")
    assert all(
        event.kind != "result_differs" or "run again" in event.text for event in house.events.of_study(one.study_uid)
    )
    # Whatever happened: one more instance, one more run, and only that one's result counts.
    if one.in_state("running"):
        one.ends()
    one.arrives()
    analysed(one)
    assert kinds_that_count(one) == {(one.series.revision, kind) for kind in ("seg", "sr", "sc")}
    contents = [event for event in house.events.of_study(one.study_uid) if event.kind == "result_differs"]
    assert not [event.text for event in contents if "is not what it was" in event.text]


def test_a_series_that_comes_again_whole_is_said_to_have_come_again_once_for_each_association(
    house: House, one: OneSeries
) -> None:
    one.arrives()
    one.arrives()
    again = replace(Association("again", "a1", "CT1", "NODE", "127.0.0.1", 2000.0), association_id=generate_uid()[-36:])
    house.studies.open_association(again)
    before = one.series
    sent = [sent_again(one, number, again) for number in (1, 2, 3)]
    house.instances.add_all(sent[:2])
    for _ in range(2):  # the end of an association may be told twice
        house.instances.add_all(sent[2:], [replace(again, closed_at=2001.0, ending="released")])
        sent = []
    (told,) = [event for event in house.events.of_study(one.study_uid) if event.kind == "instances_repeated"]
    assert told.text == "3 instances came again, the same as those kept: nothing new to analyse"
    assert one.series == before


def sent_again(one: OneSeries, number: int, association: Association) -> NewInstance:
    """The instance that came as the given one, in another association."""
    return new_instance(
        sop_instance_uid=f"{one.study_uid}.1.{number}",
        series_instance_uid=f"{one.study_uid}.1",
        study_instance_uid=one.study_uid,
        content_sum=f"{number:064}",
        object_key=f"instances/{generate_uid()}",
        association_id=association.association_id,
        received_at=2000.5,
        accession_number="",
    )
