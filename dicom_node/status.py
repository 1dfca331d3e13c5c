"""Is the node well? What its processes said of themselves, and how much waits where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dicom_node.acceptors import acceptor_names
from dicom_node.config import Config
from dicom_node.config_in_use import why_not_in_use
from dicom_node.model_words import wrong_models
from dicom_node.network.status import is_warning
from dicom_node.room import Room
from dicom_node.room_gauge import open_gauge
from dicom_node.room_watch import last_level
from dicom_node.stores import Stores
from dicom_node.supervisor import STATE, is_alive, read_state
from storage.records.events import Answer, Event

TROUBLES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    name: str
    alive: bool
    pid: int | None
    since: float | None


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """work: counts by name. destinations: counts of deliveries by state, for each destination that has or had any.

    answers: those that were no success, the latest first. today: the date as `Answer.day` writes it. config: why the node
    does not go by what stands in its file, in words; None where it does.
    """

    processes: tuple[ProcessStatus, ...]
    work: Mapping[str, int]
    destinations: Mapping[str, Mapping[str, int]]
    configured: frozenset[str]
    troubles: tuple[Event, ...]
    room: Room
    answers: tuple[Answer, ...]
    today: str
    config: str | None = None
    # What is wrong with models, a sentence each: disabled, or their golden cases failed.
    models: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        return all(process.alive for process in self.processes)


def status_of(config: Config, stores: Stores, file: Path | None = None) -> NodeStatus:
    """file: that people edit; config is what the node goes by."""
    jobs = stores.jobs.counts()
    work = {"series arriving": len(stores.studies.arriving())}
    states = ("waiting", "ready", "running", "done", "failed", "skipped", "superseded")
    work |= {f"jobs {state}": jobs.get(state, 0) for state in states}
    work["jobs past their deadline"] = stores.deadlines.count_missed()
    answers = stores.answers.all()
    work["instances refused"] = sum(
        item.count for item in answers if item.kind == "C-STORE" and not is_warning(item.status)
    )
    work["results in quarantine"] = stores.history.count_quarantined()
    destinations: dict[str, Counter[str]] = {item.name: Counter() for item in config.destinations}
    for (name, state), count in stores.outbox.counts().items():
        destinations.setdefault(name, Counter())[state] += count
    return NodeStatus(
        processes=tuple(_process(stores, name) for name in _names(config, stores)),
        work=work,
        destinations=destinations,
        configured=frozenset(item.name for item in config.destinations),
        troubles=stores.events.recent(severities=("warning", "alarm"), limit=TROUBLES_SHOWN),
        room=room_now(config, stores),
        answers=answers,
        today=datetime.now().astimezone().date().isoformat(),
        config=None if file is None else why_not_in_use(stores.run_folder, file),
        models=wrong_models(stores.models),
    )


def _names(config: Config, stores: Stores) -> tuple[str, ...]:
    """Of the processes that a running supervisor has, or one would have: config.yaml may have changed since."""
    state = read_state(stores.run_folder, STATE)
    if state is not None and is_alive(state):
        return tuple(state["children"])
    return (*acceptor_names(config.node), "dispatcher")


def room_now(config: Config, stores: Stores) -> Room:
    """As the dispatcher sees it, or would if it ran."""
    return open_gauge(config, stores, last_level(stores.events)).read()


def _process(stores: Stores, name: str) -> ProcessStatus:
    state = read_state(stores.run_folder, name)
    if state is None:
        return ProcessStatus(name, False, None, None)
    return ProcessStatus(name, is_alive(state), state["pid"], state["since"])
