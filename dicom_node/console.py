"""How accounts of studies and of the node look on a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dicom_node.history import StudyAccount
from dicom_node.status import NodeStatus
from storage.records import Event

_STYLES = {
    "alarm": "bold red",
    "warning": "yellow",
    "info": "",
    "failed": "bold red",
    "refused": "bold red",
    "skipped": "dim",
    "done": "green",
    "delivered": "green",
    "running": "cyan",
    "ready": "cyan",
    "waiting": "yellow",
    "arriving": "cyan",
    "whole": "green",
}


def moment(at: float | None) -> str:
    """Local time to the millisecond; nothing for what has not happened."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] if at else ""


def account(item: StudyAccount) -> RenderableType:
    """One study, from its first association to its last delivery."""
    study = item.study
    title = f"accession {study.accession_number or '(none)'}  ·  patient {study.patient_id or '(none)'}"
    head = Text.assemble(
        (f"{item.standing}\n", "bold"),
        f"study {study.study_instance_uid}\n",
        f"{study.study_date} {study.study_description}".strip(),
    )
    parts: list[RenderableType] = [Panel(head, title=title, title_align="left")]
    parts.append(timeline(item.events, since=study.first_received_at))
    if item.series:
        parts.append(_series(item))
    if item.jobs:
        parts.append(_jobs(item))
    if item.deliveries:
        parts.append(_deliveries(item))
    return Group(*parts)


def timeline(events: Iterable[Event], *, since: float) -> Table:
    table = Table("time", "after", "what happened", title="timeline", title_justify="left", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for event in events:
        after = f"{event.at - since:+.1f} s"
        table.add_row(moment(event.at), after, Text(event.text), style=_STYLES[event.severity])
    return table


def _series(item: StudyAccount) -> Table:
    table = Table(
        "series", "state", "instances", "revision", "evidence", title="series", title_justify="left", box=None
    )
    for series in item.series:
        table.add_row(
            series.series_instance_uid,
            Text(series.state, _STYLES[series.state]),
            str(series.instance_count),
            str(series.revision),
            Text(series.evidence or ""),
        )
    return table


def _jobs(item: StudyAccount) -> Table:
    table = Table(
        "job", "model", "state", "priority", "attempts", "reason", title="jobs", title_justify="left", box=None
    )
    for entry in item.jobs:
        job = entry.job
        state = Text(job.state, _STYLES[job.state])
        table.add_row(str(job.job_id), job.model, state, job.priority, str(job.attempt), Text(job.reason or ""))
        for attempt in entry.attempts:
            if attempt.outcome not in ("done", "running"):
                words = f"attempt {attempt.number} {attempt.outcome}: {attempt.reason or ''}"
                table.add_row("", "", "", "", "", Text(words, "dim"))
    return table


def _deliveries(item: StudyAccount) -> Table:
    table = Table(
        "result", "destination", "state", "attempts", "when", "last error", title="results", title_justify="left"
    )
    table.box = None
    for delivery in item.deliveries:
        table.add_row(
            f"{delivery.result.kind.upper()} {delivery.result.sop_instance_uid}",
            delivery.destination,
            Text(delivery.state, _STYLES[delivery.state]),
            str(delivery.attempts),
            moment(delivery.delivered_at or delivery.next_at),
            Text(delivery.last_error or ""),
        )
    return table


def status(node: NodeStatus) -> RenderableType:
    """The node at a glance: its processes, its queues, its destinations, and what went wrong lately."""
    processes = Table("process", "state", title="processes", title_justify="left", box=None)
    for process in node.processes:
        words = f"running, pid {process.pid}, since {moment(process.since)}" if process.alive else "not running"
        processes.add_row(process.name, Text(words, "green" if process.alive else "bold red"))
    queues = Table("queue", "count", title="work", title_justify="left", box=None)
    queues.columns[1].justify = "right"
    for name, count in node.work.items():
        queues.add_row(name, str(count))
    destinations = Table(
        "destination", "delivered", "waiting", "refused", title="destinations", title_justify="left", box=None
    )
    for name, counts in node.destinations.items():
        known = name if name in node.configured else f"{name} (no such destination)"
        destinations.add_row(known, *(str(counts.get(state, 0)) for state in ("delivered", "waiting", "refused")))
    troubles = Table("time", "what", title="warnings and alarms, newest first", title_justify="left", box=None)
    for event in node.troubles:
        troubles.add_row(moment(event.at), Text(event.text, _STYLES[event.severity]))
    parts: list[RenderableType] = [processes, queues, destinations]
    if node.troubles:
        parts.append(troubles)
    return Group(*parts)
