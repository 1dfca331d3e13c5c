"""Is the node well? What its processes said of themselves, and how much waits where."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from dicom_node.acceptors import acceptor_names
from dicom_node.config import Config
from dicom_node.stores import Stores
from dicom_node.supervisor import STATE, read_state
from storage.records import Event

TROUBLES_SHOWN = 10


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    name: str
    alive: bool
    pid: int | None
    since: float | None


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """work: counts by name. destinations: counts of deliveries by state, for each destination that has or had any."""

    processes: tuple[ProcessStatus, ...]
    work: Mapping[str, int]
    destinations: Mapping[str, Mapping[str, int]]
    configured: frozenset[str]
    troubles: tuple[Event, ...]

    @property
    def is_well(self) -> bool:
        return all(process.alive for process in self.processes)


def status_of(config: Config, stores: Stores) -> NodeStatus:
    jobs = stores.jobs.counts()
    work = {"series arriving": len(stores.studies.arriving())}
    work |= {f"jobs {state}": jobs.get(state, 0) for state in ("ready", "running", "done", "failed", "skipped")}
    work["instances refused"] = stores.events.count("instance_refused")
    destinations: dict[str, Counter[str]] = {item.name: Counter() for item in config.destinations}
    for (name, state), count in stores.outbox.counts().items():
        destinations.setdefault(name, Counter())[state] += count
    return NodeStatus(
        processes=tuple(_process(stores, name) for name in _names(config, stores)),
        work=work,
        destinations=destinations,
        configured=frozenset(item.name for item in config.destinations),
        troubles=stores.events.recent(severities=("warning", "alarm"), limit=TROUBLES_SHOWN),
    )


def _names(config: Config, stores: Stores) -> tuple[str, ...]:
    """Of the processes that a running supervisor has, or one would have: config.yaml may have changed since."""
    state = read_state(stores.run_folder, STATE)
    if state is not None and _is_alive(state["pid"]):
        return tuple(state["children"])
    return (*acceptor_names(config.node), "dispatcher")


def _process(stores: Stores, name: str) -> ProcessStatus:
    state = read_state(stores.run_folder, name)
    if state is None:
        return ProcessStatus(name, False, None, None)
    return ProcessStatus(name, _is_alive(state["pid"]), state["pid"], state["since"])


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
