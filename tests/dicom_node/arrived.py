"""Series as they arrive, for tests of what decides that they are whole: images, associations, what others say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from dicom_node.arrival_facts import Contribution, Facts, Image
from dicom_node.completeness import Rules, Verdict, judge
from storage.records.announced import Announcement, AnnouncementKind, AnnouncementState
from storage.records.arriving import Silence

SERIES, STUDY = "1.2.3.4", "1.2.3"
RULES = Rules(settle_s=2.0, quiet_s=60.0, held_s=900.0, in_progress_s=3600.0, habit_max_s=300.0)
LAST = 1000.0
AXIAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
SAGITTAL = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]

RELEASED = Contribution("CT1", "released", opened_at=990.0, instances=10, closed_at=LAST, association_id="a1")
OPEN = replace(RELEASED, ending=None, closed_at=None)
ABORTED = replace(RELEASED, ending="aborted")


def uid(number: int) -> str:
    return f"{SERIES}.{number}"


def image(number: int, z_mm: float | None = None, **more: Any) -> Image:
    """The image of that number, with a place of its own along z unless it is to have none."""
    place = {} if z_mm is None else {"ImageOrientationPatient": AXIAL, "ImagePositionPatient": [-100.0, -100.0, z_mm]}
    return Image(uid(number), {"InstanceNumber": number, **place, **more}, LAST - 1, "a1")


def stack(count: int, spacing_mm: float = 5.0, **more: Any) -> list[Image]:
    return [image(number + 1, number * spacing_mm, **more) for number in range(count)]


def plain(count: int, **more: Any) -> list[Image]:
    """Images without any geometry."""
    return [image(number + 1, **more) for number in range(count)]


def facts(images: Sequence[Image], *contributions: Contribution, **more: Any) -> Facts:
    return Facts(images, contributions or (RELEASED,), LAST, series_instance_uid=SERIES, **more)


def verdict_after(quiet_s: float, known: Facts | Sequence[Image], rules: Rules = RULES) -> Verdict:
    given = known if isinstance(known, Facts) else facts(known)
    return judge(given, rules, LAST + quiet_s)


def said(
    kind: AnnouncementKind,
    state: AnnouncementState = "completed",
    *,
    numbers: Sequence[int] | None = None,
    count: int | None = None,
    series: str | None = SERIES,
    source: str = "CT1",
    at: float = LAST,
    step: str = "1.9",
) -> Announcement:
    """An announcement of the images of these numbers, or of so many."""
    listed = None if numbers is None else tuple(uid(number) for number in numbers)
    given = len(listed) if listed is not None else count
    return Announcement(kind, f"{step} {series or '-'}", source, STUDY, series, state, at, given, listed)


def habit(*pauses_s: float, which: Literal["ends", "pauses", "gaps"] = "ends") -> tuple[Silence, ...]:
    """A source that paused so long in its latest series, each time with all images there, as it seemed ("ends")."""
    return tuple(
        Silence(
            "CT1",
            longest_gap_s=pause_s,
            longest_pause_s=0.0 if which == "gaps" else pause_s,
            longest_end_s=pause_s if which == "ends" else 0.0,
            at=LAST - number,
        )
        for number, pause_s in enumerate(pauses_s)
    )
