"""How the state of the node looks on a terminal."""

from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from dicom_node.network.answer_words import code_of, words_of
from dicom_node.room import Room, size_in_words
from dicom_node.status import NodeStatus
from dicom_node.terminal import STYLES, apart, moment, table_of

_ROOM_STYLES = {"ok": "green", "low": "yellow", "paused": "yellow", "full": "bold red"}
_ANSWERS_SHOWN = 20


def status(node: NodeStatus) -> RenderableType:
    """The node at a glance: its processes, its queues, its destinations, and what went wrong lately."""
    processes = table_of("processes", "process", "state")
    for process in node.processes:
        words = f"running, pid {process.pid}, since {moment(process.since)}" if process.alive else "not running"
        processes.add_row(process.name, Text(words, "green" if process.alive else "bold red"))
    queues = table_of("work", "queue", "count")
    queues.columns[1].justify = "right"
    for name, count in node.work.items():
        queues.add_row(name, str(count))
    destinations = table_of("destinations", "destination", "delivered", "waiting", "refused", "substituted")
    for column in destinations.columns[1:]:
        column.justify = "right"
    shown = ("delivered", "waiting", "refused", "substituted")
    for name, counts in node.destinations.items():
        known = name if name in node.configured else f"{name} (no such destination)"
        destinations.add_row(known, *(str(counts.get(state, 0)) for state in shown))
    troubles = table_of("warnings and alarms, newest first", "time", "what")
    for event in node.troubles:
        troubles.add_row(moment(event.at), Text(event.text, STYLES[event.severity]))
    parts: list[RenderableType] = [processes, queues, destinations, _room(node.room)]
    for words in node.models:
        parts.insert(0, Text(words, "bold red"))
    if node.config:
        parts.insert(0, Text(node.config, "bold red"))
    if node.answers:
        parts.append(_answers(node))
    if node.troubles:
        parts.append(troubles)
    return apart(parts)


def _room(room: Room) -> Table:
    table = table_of("disk", "where", "free", "")
    table.columns[1].justify = "right"
    for place in room.places:
        words = Text(room.in_words(), _ROOM_STYLES[room.level]) if place is room.places[0] else Text()
        table.add_row(place.name, size_in_words(place.free_bytes), words)
    return table


def _answers(node: NodeStatus) -> Table:
    table = table_of("answers other than success", "what", "code", "meaning", "calling AE", "today", "in all", "last")
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
