"""Watches the deadlines of jobs: tells people once that one was missed, where the job stands, and how late it was met."""

from __future__ import annotations

import time
from collections.abc import Callable

from dicom_node import logs
from storage.deadlines import Deadlines, Due
from storage.event_about import event_about
from storage.records.events import Event
from storage.records.json_object import Json

LOOK_S = 1.0

log = logs.get("deadlines")


class DeadlineWatch:
    def __init__(self, deadlines: Deadlines, *, clock: Callable[[], float] = time.time) -> None:
        self._deadlines = deadlines
        self._clock = clock
        self._looked_at = 0.0

    def step(self) -> None:
        """Look, once a second however often this is called."""
        now = self._clock()
        if 0 <= now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        for due in self._deadlines.passed(now):
            if is_met(due):
                self._deadlines.close(due.job.job_id)
            else:
                self._deadlines.notice(due.job.job_id, events=[_missed(due)])
                log.warning("deadline missed", job_id=due.job.job_id, model=due.job.model, state=due.job.state)
        for due in self._deadlines.late():
            self._deadlines.close(due.job.job_id, events=_met_late(due))


def is_met(due: Due) -> bool:
    """Whether everything that the job made was at its destinations in time, or there is nothing to be there."""
    if due.job.state in ("skipped", "superseded") or due.job.stale:
        return True
    ended = due.job.state == "done" or (due.job.state == "failed" and bool(due.sendings))
    return ended and all(item.state == "delivered" for item in due.sendings) and _ended_at(due) <= _deadline(due)


def standing(due: Due) -> str:
    """Where a job that should have been delivered stands, in words."""
    job = due.job
    if job.state == "waiting":
        return job.reason or "it waits for another series"
    if job.state == "ready":
        return "it waits for a worker"
    if job.state == "running":
        return f"it runs, attempt {job.attempt}"
    by_state = {
        state: ", ".join(item.destination for item in due.sendings if item.state == state)
        for state in ("waiting", "refused")
    }
    words = [f"its results wait for destination {by_state['waiting']}"] if by_state["waiting"] else []
    words += [f"its results were refused by {by_state['refused']}"] if by_state["refused"] else []
    if not words and job.state == "failed" and not due.sendings:
        words = [f"it failed: {job.reason}"]
    return "; ".join(words) or "its results have only just been delivered"


def _missed(due: Due) -> Event:
    text = f"deadline of {due.job.model} (route {due.job.route}) missed: {standing(due)}"
    return event_about(due.job, "deadline_missed", text, "alarm", _due_at(due))


def _met_late(due: Due) -> list[Event]:
    """Nothing is said of a job that others have superseded: theirs is another deadline."""
    is_there = bool(due.sendings) and all(item.state == "delivered" for item in due.sendings)
    if due.job.state == "superseded" or due.job.stale or not is_there:
        return []
    late_s = _ended_at(due) - _deadline(due)
    text = f"results of {due.job.model} are at every destination, {late_s:.0f} s after the deadline"
    return [event_about(due.job, "deadline_met_late", text, data=_due_at(due))]


def _ended_at(due: Due) -> float:
    delivered = [item.at for item in due.sendings if item.at is not None]
    return max(delivered, default=due.job.finished_at or 0.0)


def _deadline(due: Due) -> float:
    return due.job.deadline_at or 0.0


def _due_at(due: Due) -> Json:
    return {"deadline_at": due.job.deadline_at}
