"""Which destination gets what of a job that has ended, and what is to be told of results that are not sound. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dicom_node.attempt import JobOutcome
from dicom_node.profiles import Demand, Share, share, usual_demand
from dicom_node.result_kinds import in_words
from storage.event_about import event_about
from storage.records.events import Event, Severity
from storage.records.jobs import Job
from storage.records.results import Result


@dataclass(frozen=True, slots=True)
class Sharing:
    """recipients: names of destinations by SOP Instance UID. results: what is to be recorded.

    failure: why nothing of what was found reaches anybody, in words; None where something does, or nothing was to.
    """

    recipients: Mapping[str, Sequence[str]]
    results: tuple[Result, ...]
    events: tuple[Event, ...]
    failure: str | None


def shared(job: Job, demands: Mapping[str, Demand], outcome: JobOutcome) -> Sharing:
    """A destination that is no longer configured still gets its results: they are shown as stuck."""
    made, told = _by_kind(outcome.results), _by_kind(outcome.instead)
    lost = _lost(outcome)
    recipients: dict[str, list[str]] = {}
    events = [_quarantined(job, item) for item in (*outcome.results, *outcome.instead) if item.faults]
    events += [_not_made(job, ordered, why) for ordered, why in outcome.not_made.items()]
    shares = {name: share(demands.get(name) or usual_demand(), made, lost) for name in job.destinations}
    for name, found in shares.items():
        instead = share(demands.get(name) or usual_demand(), told, ()) if found.is_lost else None
        going = [item for ordered in found.ordered for item in made[ordered]]
        going += [item for ordered in _ordered(instead) for item in told[ordered]]
        for item in going:
            recipients.setdefault(item.sop_instance_uid, []).append(name)
        events += _instead(job, name, found, lost, is_told=bool(_ordered(instead)))
    told_of = tuple(item for item in outcome.instead if item.faults or item.sop_instance_uid in recipients)
    is_lost = bool(lost) and not any(found.ordered for found in shares.values())
    return Sharing(
        recipients,
        (*outcome.results, *told_of),
        tuple(events),
        "its results failed their checks, see the alarms" if is_lost else None,
    )


def _by_kind(results: Iterable[Result]) -> dict[str, list[Result]]:
    """The sound ones; of some kinds there are several."""
    found: dict[str, list[Result]] = {}
    for item in results:
        if not item.faults:
            found.setdefault(item.kind, []).append(item)
    return found


def _lost(outcome: JobOutcome) -> frozenset[str]:
    return frozenset([*(item.kind for item in outcome.results if item.faults), *outcome.not_made])


def _ordered(found: Share | None) -> tuple[str, ...]:
    return found.ordered if found else ()


def _quarantined(job: Job, item: Result) -> Event:
    text = (
        f"{in_words(item.kind)} of {job.model} failed its checks, so it is kept and not sent: {'; '.join(item.faults)}"
    )
    data = {
        "sop_instance_uid": item.sop_instance_uid,
        "kind": item.kind,
        "object_key": item.object_key,
        "faults": list(item.faults),
    }
    return event_about(job, "result_quarantined", text, "alarm", data)


def _not_made(job: Job, ordered: str, why: str) -> Event:
    text = f"{in_words(ordered)} of {job.model} could not be made: {why}"
    return event_about(job, "result_not_made", text, "alarm", {"kind": ordered})


def _instead(job: Job, name: str, found: Share, lost: Collection[str], *, is_told: bool) -> list[Event]:
    """What one destination gets in place of what it was to get."""
    words = []
    for old, new in found.instead.items():
        why = "is not sound" if old in lost else "cannot hold what was found"
        if new is None:
            words.append(f"{in_words(old)} {why}, and nothing goes in its place")
        elif old in lost or new.partition("-")[0] != old.partition("-")[0]:
            words.append(f"{in_words(new)} goes in place of {in_words(old)}, which {why}")
    if not words:
        return []
    words += ["it is told that nothing was analysed, and why"] if is_told else []
    text = f"{name}: {'; '.join(words)}"
    data = {"destination": name, "in_place_of": dict(found.instead)}
    severity: Severity = "warning" if any(old in lost for old in found.instead) else "info"
    return [event_about(job, "result_substituted", text, severity, data)]
