"""Whose turn it is: STAT overtakes, and nothing waits for ever. Asked of the database, and of the order itself."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, text, update

from storage.jobs import turn
from storage.records.events import Event
from storage.records.jobs import Job, Priority
from storage.schema import job
from tests.made_rows import House, open_house

Queued = tuple[Priority, float]
QUEUES = st.lists(
    st.tuples(st.sampled_from(["stat", "routine"]), st.integers(0, 200).map(float)), min_size=1, max_size=30
)
HEAD_STARTS = st.one_of(st.integers(0, 120).map(float), st.just(math.inf))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = open_house(tmp_path_factory.mktemp("queue"))
    house.ready_job()
    yield house
    house.database.close()


def queue(house: House, *queued: Queued) -> None:
    """Ready jobs, numbered from 1 in this order, and no others."""
    with house.database.write() as connection:
        series_id = connection.execute(text("select series_id from series")).scalar_one()
        connection.execute(delete(job))
        rows = [
            {
                "job_id": number,
                "series_id": series_id,
                "revision": 1,
                "model": f"m{number}@1",
                "route": "r",
                "state": "ready",
                "priority": priority,
                "destinations": [],
                "report_not_analysed": True,
                "timeout_s": 1.0,
                "attempt": 0,
                "forgiven": 0,
                "created_at": 0.0,
                "queued_at": queued_at,
                "companions": [],
                "stale": False,
            }
            for number, (priority, queued_at) in enumerate(queued, start=1)
        ]
        connection.execute(insert(job), rows)


def order(house: House, head_start_s: float = math.inf, *, limit: int = 100, stat_only: bool = False) -> list[int]:
    found = house.jobs.ready(limit, stat_head_start_s=head_start_s, stat_only=stat_only)
    return [item.job_id for item in found]


def test_a_stat_job_overtakes_every_routine_one_that_has_not_waited_for_its_head_start(house: House) -> None:
    queue(house, ("routine", 39.0), ("routine", 41.0), ("routine", 99.0), ("stat", 100.0))
    assert order(house, 60.0) == [1, 4, 2, 3]


def test_stat_jobs_are_found_behind_any_number_of_routine_ones_that_were_there_long_before(house: House) -> None:
    queue(house, *[("routine", float(at)) for at in range(50)], ("stat", 10_000.0))
    assert order(house, 60.0, limit=1) == [1]
    assert order(house, 60.0, limit=1, stat_only=True) == [51]


def test_who_is_first_is_read_from_the_index_and_not_by_sorting_the_queue(house: House) -> None:
    query = "select job_id from job where state='ready' and priority='stat' order by queued_at, job_id limit 1"
    with house.database.read() as connection:
        plan = " ".join(row[-1] for row in connection.execute(text(f"explain query plan {query}")))
    assert "ix_job_state_priority_queued_at" in plan
    assert "TEMP B-TREE" not in plan


def test_a_job_that_a_person_queues_again_stands_behind_those_that_wait(house: House) -> None:
    queue(house, ("routine", 1.0), ("routine", 2.0))
    with house.database.write() as connection:
        connection.execute(update(job).where(job.c.job_id == 1).values(state="done"))
    assert house.jobs.requeue(1, event=Event("job_requeued", "again"))
    assert order(house) == [2, 1]


@settings(max_examples=60, deadline=None)
@given(queued=QUEUES, head_start_s=HEAD_STARTS, limit=st.integers(1, 12), stat_only=st.booleans())
def test_the_next_jobs_are_those_that_sorting_the_whole_queue_would_give(
    house: House, queued: list[Queued], head_start_s: float, limit: int, *, stat_only: bool
) -> None:
    queue(house, *queued)
    numbered = [(number, priority, at) for number, (priority, at) in enumerate(queued, start=1)]
    wanted = [item for item in numbered if not stat_only or item[1] == "stat"]

    def place(item: tuple[int, str, float]) -> tuple[float, bool, float, int]:
        number, priority, at = item
        return (at - head_start_s if priority == "stat" else at, priority == "routine", at, number)

    assert order(house, head_start_s, limit=limit, stat_only=stat_only) == [
        item[0] for item in sorted(wanted, key=place)[:limit]
    ]


def a_job(number: int, priority: Priority, queued_at: float) -> Job:
    return Job(
        job_id=number,
        series_id=1,
        series_instance_uid="1",
        study_instance_uid="1",
        revision=1,
        model="m@1",
        route="r",
        state="ready",
        priority=priority,
        destinations=(),
        report_not_analysed=True,
        timeout_s=1.0,
        attempt=0,
        forgiven=0,
        created_at=0.0,
        started_at=None,
        finished_at=None,
        reason=None,
        give_up_reason=None,
        queued_at=queued_at,
    )


@settings(max_examples=200, deadline=None)
@given(
    routine_at=st.lists(st.integers(0, 50).map(float), min_size=1, max_size=10),
    stat_every=st.integers(1, 5),
    head_start_s=st.integers(0, 60).map(float),
)
def test_no_routine_job_waits_for_ever_under_stat_jobs_that_never_end_and_no_stat_behind_a_younger_one(
    routine_at: list[float], stat_every: int, head_start_s: float
) -> None:
    """One worker, one job a second; STAT jobs come as fast as they can be worked off, or slower, without an end."""
    waiting = [a_job(number, "routine", at) for number, at in enumerate(routine_at)]
    to_come = len(waiting)
    # STAT jobs that were queued in one head start, and all routine ones, are all that can come before a routine job.
    bound = max(routine_at) + head_start_s + head_start_s / stat_every + len(routine_at) + 2
    now = 0.0
    while any(item.priority == "routine" for item in waiting):
        assert now <= bound
        if now % stat_every == 0:
            waiting.append(a_job(to_come + int(now), "stat", now))
        there = [item for item in waiting if item.queued_at <= now]
        if there:
            taken = min(there, key=lambda item: turn(item, head_start_s))
            waiting.remove(taken)
            if taken.priority == "routine":
                overtaken = [item for item in there if item.priority == "stat"]
                assert all(taken.queued_at < item.queued_at - head_start_s for item in overtaken)
        now += 1.0
