"""What a study's history says of its deliveries: outcomes as events, in words. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dicom_node.destinations.protocol import Outcome
from storage.records import Delivery, Event, Severity

DAY_S = 86400.0


def delivered(destination: str, group: Sequence[Delivery], outcome: Outcome) -> Event:
    text = f"{results_in_words(group)} at {destination}"
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
    counts = Counter(delivery.result.kind.upper() for delivery in group)
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
