"""What a destination is sent in place of results that it does not take: found among those of the same job, and queued."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dicom_node import delivery_events, logs
from dicom_node.delivery_events import Swap
from dicom_node.destinations.protocol import Outcome
from dicom_node.profiles import Demand, Standing, substitutes
from dicom_node.result_kinds import in_words
from storage.outbox import Outbox
from storage.records.results import Delivery, Placed, Substitution

log = logs.get("delivery")


def substitute(
    outbox: Outbox, destination: str, demand: Demand, refused: Sequence[tuple[Delivery, Outcome]]
) -> frozenset[int]:
    """Queue what goes in place of deliveries that were refused for good, and of reports on a Segmentation among them.

    Returns the ids of those that others go in place of; of the rest it stays to be told that they were refused.
    """
    found: set[int] = set()
    for job_id in dict.fromkeys(delivery.job_id for delivery, _ in refused):
        outcomes = {delivery.result.kind: outcome for delivery, outcome in refused if delivery.job_id == job_id}
        placed: dict[str, list[Placed]] = {}
        for item in outbox.of_job(job_id, destination):
            placed.setdefault(item.result.kind, []).append(item)
        swaps = _swaps(job_id, placed, demand, outcomes)
        if swaps:
            changes = [_substitution(placed, swap) for swap in swaps]
            event = delivery_events.substituted(destination, swaps)
            outbox.substitute(destination, changes, events=[event])
            found |= {change.delivery_id for change in changes}
            log.warning("results substituted", destination=destination, job_id=job_id, results=len(swaps))
    return frozenset(found)


def _swaps(
    job_id: int, placed: Mapping[str, Sequence[Placed]], demand: Demand, outcomes: Mapping[str, Outcome]
) -> list[Swap]:
    """One for each object: of some kinds a job has several."""
    known = [kind for kind in outcomes if kind in placed]
    standing = _standing(placed)
    not_taken = [kind for kind in known if outcomes[kind].is_class_refused]
    return [
        Swap(item.result, job_id, by, outcomes.get(kind), goes_anyway=by in standing.going)
        for kind, by in substitutes(demand, standing, known, not_taken).items()
        for item in placed[kind]
        if item.state == "waiting"
    ]


def _standing(placed: Mapping[str, Sequence[Placed]]) -> Standing:
    def those(*states: str) -> frozenset[str]:
        return frozenset(kind for kind, items in placed.items() if any(item.state in states for item in items))

    return Standing(frozenset(placed), those("waiting", "delivered"), those("waiting"), those("refused", "substituted"))


def _substitution(placed: Mapping[str, Sequence[Placed]], swap: Swap) -> Substitution:
    uid = swap.result.sop_instance_uid
    own = next(item.delivery_id for item in placed[swap.result.kind] if item.result.sop_instance_uid == uid)
    if own is None:
        raise ValueError(f"{swap.result.kind} does not go there, so nothing goes in its place")
    why = delivery_events.reason_in_words(swap.refused) if swap.refused else "it refers to what is not there"
    others = tuple(item.result.sop_instance_uid for item in placed[swap.by])
    return Substitution(own, others, f"{why}; {in_words(swap.by)} in its place")
