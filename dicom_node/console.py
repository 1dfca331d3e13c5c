"""How accounts of studies and of the node look on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dicom_node.history import JobAccount, StudyAccount
from dicom_node.network.answer_words import code_of, words_of
from dicom_node.room import Room, size_in_words
from dicom_node.status import NodeStatus
from storage.records import Delivery, Event, Series

_DAY_CHARACTERS = len("2026-01-31")
_INDENT = 4

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
_ROOM_STYLES = {"ok": "green", "low": "yellow", "paused": "yellow", "full": "bold red"}
_ANSWERS_SHOWN = 20


def moment(at: float | None) -> str:
    """Local time to the millisecond; nothing for what has not happened."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] if at else ""


def account(item: StudyAccount) -> RenderableType:
    """One study, from its first association to its last delivery."""
    study = item.study
    title = Text(f"accession {study.accession_number or '(none)'}")
    head = Text.assemble(
        (f"{item.standing}\n", "bold"),
        f"patient {study.patient_id or '(none)'}\n",
        f"study {study.study_instance_uid}\n",
        f"{study.study_date} {study.study_description}".strip(),
    )
    parts: list[RenderableType] = [Panel(head, title=title, title_align="left", expand=False)]
    parts.append(timeline(item.events, since=study.first_received_at))
    if item.series:
        parts.append(_series(item))
    if item.jobs:
        parts.append(_jobs(item))
    if item.deliveries:
        parts.append(_deliveries(item))
    return _apart(parts)


def _apart(parts: Iterable[RenderableType]) -> RenderableType:
    """One below the other, an empty line after each but the last."""
    return Group(*[line for part in parts for line in (part, "")][:-1])


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)


def timeline(events: Iterable[Event], *, since: float) -> Table:
    """Each day stands above its events."""
    table = _table("timeline", "time", "after", "what happened")
    table.columns[1].justify = "right"
    day = ""
    for event in events:
        if day != (day := moment(event.at)[:_DAY_CHARACTERS]):
            table.add_row(day, "", "", style="dim")
        after = f"{event.at - since:+.1f} s"
        table.add_row(moment(event.at)[_DAY_CHARACTERS + 1 :], after, Text(event.text), style=_STYLES[event.severity])
    return table


@dataclass(frozen=True, slots=True)
class _Entry:
    """Short words that stand in columns, and below them what is long: a UID, a reason, evidence."""

    words: Sequence[Text]
    below: Sequence[Text]


def _list(title: str, entries: Sequence[_Entry]) -> RenderableType:
    """Entries one below the other. They fit a terminal of 80 columns, which a table with a UID in it does not."""
    widths = [max(map(cell_len, map(str, column))) for column in zip(*(entry.words for entry in entries), strict=True)]
    lines: list[RenderableType] = [Text(title, "bold")]
    for entry in entries:
        padded = [_padded(word, width) for word, width in zip(entry.words, widths, strict=True)]
        lines.append(Text("  ").join(padded))
        lines += [Padding(text, (0, 0, 0, _INDENT)) for text in entry.below if text]
    return Group(*lines)


def _padded(word: Text, width: int) -> Text:
    return Text.assemble(word, " " * (width - word.cell_len))


def _count(number: int, noun: str) -> Text:
    return Text(f"{number} {noun}{'s' * (number != 1)}")


def _series(item: StudyAccount) -> RenderableType:
    return _list("series", [_series_entry(series) for series in item.series])


def _series_entry(series: Series) -> _Entry:
    state = Text(series.state, _STYLES[series.state])
    words = (state, _count(series.instance_count, "instance"), Text(f"revision {series.revision}"))
    return _Entry(words, (Text(series.series_instance_uid), Text(series.evidence or "")))


def _jobs(item: StudyAccount) -> RenderableType:
    return _list("jobs", [_job_entry(entry) for entry in item.jobs])


def _job_entry(entry: JobAccount) -> _Entry:
    job = entry.job
    state = Text(job.state, _STYLES[job.state])
    words = (Text(f"job {job.job_id}"), Text(job.model), state, Text(job.priority), _count(job.attempt, "attempt"))
    unfinished = [attempt for attempt in entry.attempts if attempt.outcome not in ("done", "running")]
    attempts = [f"attempt {attempt.number} {attempt.outcome}: {attempt.reason or ''}" for attempt in unfinished]
    return _Entry(words, (Text(entry.waits or job.reason or ""), *(Text(words, "dim") for words in attempts)))


def _deliveries(item: StudyAccount) -> RenderableType:
    return _list("results", [_delivery_entry(delivery) for delivery in item.deliveries])


def _delivery_entry(delivery: Delivery) -> _Entry:
    when = f"next {moment(delivery.next_at)}" if delivery.state == "waiting" else moment(delivery.delivered_at)
    state = Text(delivery.state, _STYLES[delivery.state])
    kind, destination = Text(delivery.result.kind.upper()), Text(delivery.destination)
    words = (kind, destination, state, _count(delivery.attempts, "attempt"), Text(when))
    return _Entry(words, (Text(delivery.result.sop_instance_uid), Text(delivery.last_error or "")))


def status(node: NodeStatus) -> RenderableType:
    """The node at a glance: its processes, its queues, its destinations, and what went wrong lately."""
    processes = _table("processes", "process", "state")
    for process in node.processes:
        words = f"running, pid {process.pid}, since {moment(process.since)}" if process.alive else "not running"
        processes.add_row(process.name, Text(words, "green" if process.alive else "bold red"))
    queues = _table("work", "queue", "count")
    queues.columns[1].justify = "right"
    for name, count in node.work.items():
        queues.add_row(name, str(count))
    destinations = _table("destinations", "destination", "delivered", "waiting", "refused")
    for column in destinations.columns[1:]:
        column.justify = "right"
    for name, counts in node.destinations.items():
        known = name if name in node.configured else f"{name} (no such destination)"
        destinations.add_row(known, *(str(counts.get(state, 0)) for state in ("delivered", "waiting", "refused")))
    troubles = _table("warnings and alarms, newest first", "time", "what")
    for event in node.troubles:
        troubles.add_row(moment(event.at), Text(event.text, _STYLES[event.severity]))
    parts: list[RenderableType] = [processes, queues, destinations, _room(node.room)]
    if node.answers:
        parts.append(_answers(node))
    if node.troubles:
        parts.append(troubles)
    return _apart(parts)


def _room(room: Room) -> Table:
    table = _table("disk", "where", "free", "")
    table.columns[1].justify = "right"
    for place in room.places:
        words = Text(room.in_words(), _ROOM_STYLES[room.level]) if place is room.places[0] else Text()
        table.add_row(place.name, size_in_words(place.free_bytes), words)
    return table


def _answers(node: NodeStatus) -> Table:
    table = _table("answers other than success", "what", "code", "meaning", "calling AE", "today", "in all", "last")
    for column in table.columns[4:6]:
        column.justify = "right"
    for answer in node.answers[:_ANSWERS_SHOWN]:
        today = answer.day_count if answer.day == node.today else 0
        table.add_row(
            answer.kind,
            code_of(answer),
            Text(words_of(answer)),
            Text(answer.calling_ae_title),
            str(today),
            str(answer.count),
            moment(answer.last_at),
        )
    if len(node.answers) > _ANSWERS_SHOWN:
        table.add_row(f"and {len(node.answers) - _ANSWERS_SHOWN} more, older ones")
    return table
