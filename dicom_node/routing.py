"""Which models run on this series, and where do their results go? A pure function; what does not apply says why."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from dicom_node.conditions import ROUTING_KEYWORDS
from dicom_node.config import Route
from dicom_node.priority import urgency_of
from inference.contract import SeriesFacts
from inference.package import Package
from storage.records.jobs import Companion, NewJob

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Canary:
    """Another version that takes the place of the active one for a share of the studies, 0 to 1."""

    package: Package
    share: float


@dataclass(frozen=True, slots=True)
class RoutableModel:
    """A model that is configured: its active version, what admins may switch, and how long a job may take."""

    package: Package
    enabled: bool
    timeout_s: float
    device: Device
    canary: Canary | None = None


@dataclass(frozen=True, slots=True)
class Routing:
    """Jobs to queue (skipped ones with their reason), and for each route that did not fit, why."""

    jobs: tuple[NewJob, ...]
    passed_over: tuple[str, ...]


def route(
    attributes: Mapping[str, Any],
    facts: SeriesFacts,
    routes: Sequence[Route],
    models: Mapping[str, RoutableModel],
    *,
    last_received_at: float | None = None,
    study_instance_uid: str = "",
) -> Routing:
    """Choose jobs for one series that is whole.

    attributes: see `series_attributes`. models: by the name that routes use; one that is not there is switched
    off. A model that several routes name runs once, with the destinations of all of them, STAT if one of them says so, by
    the earliest deadline. last_received_at: of the last image, from which deadlines count; None for no deadlines.
    A model that reads other series besides waits for them: see `companions`. study_instance_uid: decides whether the canary of
    a model takes the study, the same for every series and revision of it; without it, it does not.
    """
    jobs: dict[str, NewJob] = {}
    passed_over: list[str] = []
    for candidate in routes:
        against = candidate.when.reason_against(attributes)
        if against:
            passed_over.append(f"route {candidate.name}: {against}")
            continue
        for name in candidate.models:
            if name not in models:
                passed_over.append(f"route {candidate.name}: {name} is disabled in the configuration")
                continue
            chosen = version_for(models[name], study_instance_uid)
            new = _job(candidate, chosen, attributes, facts, last_received_at)
            if chosen is not models[name]:
                new = replace(new, role="canary")
            jobs[new.model] = _merge(jobs.get(new.model), new)
    return Routing(tuple(jobs.values()), tuple(passed_over))


def version_for(model: RoutableModel, study_instance_uid: str) -> RoutableModel:
    """The model as it runs on a study: with its canary for the share of studies whose hash falls into it.

    The hash is of model and study, so that not the same patients are tried on in every model.
    """
    if model.canary is None or not study_instance_uid:
        return model
    digest = hashlib.sha256(f"{model.package.manifest.name}\0{study_instance_uid}".encode()).digest()
    if int.from_bytes(digest[:8]) / 2**64 >= model.canary.share:
        return model
    return replace(model, package=model.canary.package)


def series_attributes(
    instances: Sequence[Mapping[str, Any]], *, calling_ae_title: str, called_ae_title: str
) -> dict[str, Any]:
    """The attributes of a series that routes may ask for: of each, the value that most instances have."""
    values: dict[str, Any] = {}
    for keyword in ROUTING_KEYWORDS:
        present = Counter(_hashable(item[keyword]) for item in instances if item.get(keyword) not in (None, "", []))
        if present:
            values[keyword] = present.most_common(1)[0][0]
    values["NumberOfInstances"] = len(instances)
    values["CallingAETitle"] = calling_ae_title
    values["CalledAETitle"] = called_ae_title
    return values


def _job(
    candidate: Route,
    model: RoutableModel,
    attributes: Mapping[str, Any],
    facts: SeriesFacts,
    last_received_at: float | None,
) -> NewJob:
    contract = model.package.manifest.input
    reasons = contract.reasons_against(facts) if model.enabled else ["disabled in the configuration"]
    companions = tuple(Companion(item.name) for item in contract.companions) if not reasons else ()
    urgency = urgency_of(candidate.priority, candidate.name, attributes)
    return NewJob(
        model=model.package.key,
        route=candidate.name,
        state="skipped" if reasons else "waiting" if companions else "ready",
        priority=urgency.priority,
        destinations=candidate.destinations,
        report_not_analysed=candidate.report_not_analysed,
        timeout_s=model.timeout_s,
        reason="; ".join(reasons) or None,
        companions=companions,
        deadline_at=None if reasons else _deadline_at(candidate, last_received_at),
        priority_reason=urgency.reason,
    )


def _deadline_at(candidate: Route, last_received_at: float | None) -> float | None:
    if candidate.deadline_s is None or last_received_at is None:
        return None
    return last_received_at + candidate.deadline_s


def _merge(earlier: NewJob | None, new: NewJob) -> NewJob:
    if earlier is None:
        return new
    urgent = earlier if earlier.priority == "stat" else new
    return replace(
        earlier,
        route=f"{earlier.route}, {new.route}",
        priority=urgent.priority,
        priority_reason=urgent.priority_reason,
        deadline_at=min((at for at in (earlier.deadline_at, new.deadline_at) if at is not None), default=None),
        destinations=tuple(dict.fromkeys((*earlier.destinations, *new.destinations))),
        report_not_analysed=earlier.report_not_analysed or new.report_not_analysed,
    )


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
