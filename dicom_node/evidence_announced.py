"""What others say that the series consists of, held against what came: MPPS, availability notifications, C-FIND.

A modality performed procedure step (PS3.4 annex F) and an Instance Availability Notification (PS3.4 annex R) list the
instances of a series; a C-FIND answer (PS3.4 C.3.4) counts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicom_node.arrival_facts import Facts
from storage.records.announced import Announcement, Said


@dataclass(frozen=True, slots=True)
class Announced:
    """What is announced of a series.

    listed: somebody said of which instances it consists, and every one of them came, and no other.
    counted: a peer holds as many as came; or all that is listed came, and more, so that the list is not all there is.
    expected: how many there should be, where that is said. missing: how many of these did not come.
    said_at: when the latest list was made of what is missing. A peer that is asked answers again and again: 0.
    in_progress: the step that makes the series is not over. discontinued: it was, before it was done.
    words: of each in one sentence.
    """

    listed: bool = False
    counted: bool = False
    expected: int | None = None
    missing: int = 0
    unannounced: int = 0
    said_at: float = 0.0
    in_progress: bool = False
    discontinued: bool = False
    words: tuple[str, ...] = ()


def announced(facts: Facts) -> Announced:
    """What is announced of the series, and how it fits what came."""
    steps = [item for item in facts.announcements if item.kind == "mpps"]
    of_series = [item for item in facts.announcements if item.series_instance_uid == facts.series_instance_uid]
    lists = [item for item in of_series if item.kind != "c-find" and item.state != "in progress" and _says(item)]
    discontinued = _discontinued(steps, of_series)
    if lists:
        found = _against_lists(facts, lists)
    else:
        found = _against_counts(facts, [item for item in facts.announcements if item.kind == "c-find"])
    going_on = [item for item in steps if item.state == "in progress"]
    words = [f"a performed procedure step of {item.source} is in progress" for item in going_on[:1]]
    words += [f"{item.source} discontinued the performed procedure step" for item in discontinued[:1]]
    return Announced(
        listed=found.listed,
        counted=found.counted,
        expected=found.expected,
        missing=found.missing,
        unannounced=found.unannounced,
        said_at=found.said_at,
        in_progress=bool(going_on),
        discontinued=bool(discontinued),
        words=(*words, *found.words, *facts.not_asked),
    )


def may_decide(said: Sequence[Said], instance_count: int, study_instance_count: int) -> bool:
    """Whether any of this may decide on a series that has so many instances; to tell before its images are read."""
    return any(_may_decide(item, instance_count, study_instance_count) for item in said)


def _may_decide(item: Said, instance_count: int, study_instance_count: int) -> bool:
    if item.kind == "c-find":
        came = study_instance_count if item.series_instance_uid is None else instance_count
        return item.state == "completed" and item.instance_count == came
    if item.state == "discontinued":
        return True
    is_list = item.state == "completed" and item.series_instance_uid is not None
    return is_list and item.instance_count is not None and item.instance_count <= instance_count


def _says(item: Announcement) -> bool:
    """An empty list says nothing: there are modalities that name a series and leave its images out."""
    return bool(item.sop_instance_uids) or (item.sop_instance_uids is None and bool(item.instance_count))


def _discontinued(steps: Sequence[Announcement], of_series: Sequence[Announcement]) -> list[Announcement]:
    """The discontinued steps that made the series: those that list it, or list no series where nobody lists this one.

    A series that a completed step lists was finished there; one that nobody lists may be that of a step in progress.
    """
    named = [item for item in of_series if item.kind == "mpps"]
    if any(item.state == "completed" for item in named):
        return []
    if any(item.state == "discontinued" for item in named):
        return [item for item in named if item.state == "discontinued"]
    if any(item.kind == "ian" for item in of_series) or any(item.state == "in progress" for item in steps):
        return []
    listing = {_step(item) for item in steps if item.series_instance_uid is not None}
    return [item for item in steps if item.state == "discontinued" and _step(item) not in listing]


def _step(item: Announcement) -> str:
    return item.key.partition(" ")[0]


def _against_lists(facts: Facts, lists: Sequence[Announcement]) -> Announced:
    """Together they list what the series consists of: a step may have been followed by another one."""
    came = {image.sop_instance_uid for image in facts.images} | facts.left_out
    named: set[str] = set().union(*(item.sop_instance_uids or () for item in lists))
    only_counted = [item.instance_count or 0 for item in lists if item.sop_instance_uids is None]
    expected = max([len(named), *only_counted])
    missing = max(len(named - came), expected - len(came), 0)
    unannounced = len(came - named - facts.left_out) if named else max(0, len(came) - expected)
    by = " and ".join(dict.fromkeys(_by(item) for item in lists))
    how_many = f"{expected - missing} of" if missing else "all"
    more = f", and {unannounced} more" if unannounced else ""
    return Announced(
        listed=not missing and not unannounced,
        counted=not missing and unannounced > 0,
        expected=expected,
        missing=missing,
        unannounced=unannounced,
        said_at=max(item.at for item in lists),
        words=(f"{how_many} {expected} images came that {by}{more}",),
    )


def _by(item: Announcement) -> str:
    if item.kind == "ian":
        return f"{item.source} notified as available"
    return f"the {item.state} performed procedure step of {item.source} lists"


def _against_counts(facts: Facts, answers: Sequence[Announcement]) -> Announced:
    """A peer that holds more than came knows better; one that holds fewer is still getting them, and proves nothing.

    Nor does one that may be getting more just now, until it has said the same again: its answer is in progress.
    """
    ours, with_rejected = len(facts.images), len(facts.images) + len(facts.left_out)
    of_series = [
        (item, _held(facts, item, item.instance_count))
        for item in answers
        if item.series_instance_uid == facts.series_instance_uid and item.instance_count is not None
    ]
    more = [(item, count) for item, count in of_series if count > with_rejected]
    if more:
        item, count = max(more, key=lambda pair: pair[1])
        return Announced(
            expected=count,
            missing=count - with_rejected,
            words=(f"{with_rejected} of {count} at {item.source}",),
        )
    words = [
        f"{count} of {count} at {item.source}"
        for item, count in of_series
        if count in {ours, with_rejected} and item.state == "completed"
    ]
    if words:
        return Announced(counted=True, expected=with_rejected, words=tuple(words))
    fewer = tuple(f"{item.source} holds {count} of the {ours} that came" for item, count in of_series)
    study = [
        f"{item.instance_count} of {item.instance_count} of the study at {item.source}"
        for item in answers
        if item.series_instance_uid is None
        and item.state == "completed"
        and item.instance_count
        and item.instance_count == facts.study_instance_count
    ]
    return Announced(counted=bool(study), words=(*study, *fewer))


def _held(facts: Facts, item: Announcement, count: int) -> int:
    """How many there are by a peer's answer. Where it lists them, what did not come counts beside what did."""
    came = {image.sop_instance_uid for image in facts.images} | facts.left_out
    others = set(item.sop_instance_uids or ()) - came
    return max(count, len(came) + len(others)) if others else count
