"""What a study's history says of its deliveries: outcomes as events, in words. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dicom_node.destinations.protocol import Outcome
from dicom_node.result_kinds import in_words
from storage.records.events import Event, Severity
from storage.records.results import Delivery, Result

DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Swap:
    """A result of a job, and the kind (as ordered) that goes to a destination in its place.

    refused: how it was refused; None where it only refers to what was. goes_anyway: the other one went there already.
    """

    result: Result
    job_id: int
    by: str
    refused: Outcome | None
    goes_anyway: bool


def delivered(destination: str, group: Sequence[Delivery], outcome: Outcome) -> Event:
    text = f"{results_in_words(group)} at {destination}"
    if outcome.sent_as:
        text += f" {outcome.sent_as}"
    attempts = _attempts(group)
    if attempts > 1:
        text += f" after {attempts} attempts"
    if outcome.has_warning:
        return _event("delivered", "warning", f"{text}: {reason_in_words(outcome)}", group)
    return _event("delivered", "info", text, group)


def postponed(destination: str, group: Sequence[Delivery], outcome: Outcome) -> Event:
    text = f"{results_in_words(group)} not at {destination} yet, to be tried again: {reason_in_words(outcome)}"
    return _event("delivery_postponed", "alarm" if outcome.needs_a_person else "warning", text, group)


def refused(destination: str, group: Sequence[Delivery], outcome: Outcome) -> Event:
    text = f"{results_in_words(group)} refused by {destination}: {reason_in_words(outcome)}"
    return _event("delivery_refused", "alarm", text, group)


def given_up(destination: str, group: Sequence[Delivery], outcome: Outcome, *, now: float) -> Event:
    days = (now - min(delivery.created_at for delivery in group)) / DAY_S
    text = (
        f"{results_in_words(group)} for {destination} given up after {days:.1f} days "
        f"and {_attempts(group)} attempts: {reason_in_words(outcome)}"
    )
    return _event("delivery_refused", "alarm", text, group)


def not_sent(destination: str, group: Sequence[Delivery], outcome: Outcome) -> Event:
    text = f"{results_in_words(group)} not sent to {destination}: {reason_in_words(outcome)}"
    return _event("delivery_refused", "alarm", text, group)


def substituted(destination: str, swaps: Sequence[Swap]) -> Event:
    """What a destination did not take, and what it gets of the same job in its place."""
    words = []
    for swap in sorted(swaps, key=lambda one: one.refused is None):
        old, new = in_words(swap.result.kind), in_words(swap.by)
        if swap.refused:
            place = f"{new}, which goes there as well, stands" if swap.goes_anyway else f"{new} goes"
            words.append(f"{old} refused by {destination}: {reason_in_words(swap.refused)}; {place} in its place")
        else:
            words.append(f"{old} goes as {new}, since {destination} does not have what it refers to")
    text = "; ".join(dict.fromkeys(words))
    data = {"destination": destination, "in_place_of": {swap.result.kind: swap.by for swap in swaps}}
    result, job_id = swaps[0].result, swaps[0].job_id
    return Event(
        "result_substituted", text, "warning", study_instance_uid=result.study_instance_uid, job_id=job_id, data=data
    )


def destination_down(destination: str, reason: str, pause_s: float) -> Event:
    return Event("destination_down", f"{destination} is down, tried every {pause_s:g} s: {reason}", severity="alarm")


def destination_up(destination: str) -> Event:
    return Event("destination_up", f"{destination} takes results again")


def no_such_destination(destination: str, waiting: int) -> Event:
    noun = "result waits" if waiting == 1 else "results wait"
    text = f"{waiting} {noun} for {destination}, but no such destination is configured: add it to config.yaml"
    return Event("no_such_destination", text, severity="alarm", data={"destination": destination})


def results_in_words(group: Sequence[Delivery]) -> str:
    """The kinds of results: "SEG, SR and SC", "2 SEG"."""
    counts = Counter(in_words(delivery.result.kind) for delivery in group)
    words = [kind if count == 1 else f"{count} {kind}" for kind, count in counts.items()]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def reason_in_words(outcome: Outcome) -> str:
    return f'{outcome.reason}, "{outcome.comment}"' if outcome.comment else outcome.reason


def _attempts(group: Sequence[Delivery]) -> int:
    """How often it was tried, this time included."""
    return max(delivery.attempts for delivery in group) + 1


def _event(kind: str, severity: Severity, text: str, group: Sequence[Delivery]) -> Event:
    jobs = {delivery.job_id for delivery in group}
    return Event(
        kind,
        text,
        severity=severity,
        study_instance_uid=group[0].result.study_instance_uid,
        job_id=jobs.pop() if len(jobs) == 1 else None,
    )
