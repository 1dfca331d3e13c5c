"""Is this series whole now, and on what evidence? A pure function from facts to a verdict; no clock, no database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from inference.geometry import StackGeometry, stack_geometry

# Two images always make a regular stack, so they prove nothing.
LEAST_POSITIONS = 3


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one association brought to the series; ending is None while it is open."""

    calling_ae_title: str
    ending: Literal["released", "aborted", "lost"] | None
    opened_at: float
    instances: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a series: header attributes of its instances, who brought them, when the last one came."""

    instances: Sequence[Mapping[str, Any]]
    contributions: Sequence[Contribution]
    last_received_at: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """whole; or not yet, and until when nothing but a new fact can change that. The evidence is in words."""

    whole: bool
    evidence: tuple[str, ...]
    until: float | None = None


def judge(facts: Facts, *, settle_s: float, quiet_s: float, now: float) -> Verdict:
    """A series is whole once its association was released, its geometry closes and it was quiet for settle_s.

    Without that evidence it is whole once it was quiet for quiet_s, and the evidence says what was missing.
    """
    quiet = now - facts.last_received_at
    ending, ended = _ending(facts.contributions)
    closing, closed = _closing(facts.instances)
    proven = ended and closed
    needed = settle_s if proven else quiet_s
    if quiet < needed:
        return Verdict(False, (ending, closing), until=facts.last_received_at + needed)
    return Verdict(True, (ending, closing, f"quiet for {needed:g} s"))


def _ending(contributions: Sequence[Contribution]) -> tuple[str, bool]:
    """How the associations that brought the series ended, and whether that is evidence that nothing is to come."""
    if not contributions:
        return "no association is known for it", False
    still_open = [item for item in contributions if item.ending is None]
    if still_open:
        return f"association from {still_open[-1].calling_ae_title} is still open", False
    last = max(contributions, key=lambda item: item.opened_at)
    count = len(contributions)
    which = "association" if count == 1 else f"last of {count} associations"
    if last.ending == "released":
        return f"{which} from {last.calling_ae_title} was released", True
    how = "was aborted" if last.ending == "aborted" else "was lost when the acceptor ended"
    return f"{which} from {last.calling_ae_title} {how}", False


def _closing(instances: Sequence[Mapping[str, Any]]) -> tuple[str, bool]:
    """Whether the images fill a regular grid without a gap and their instance numbers have none."""
    frames = [int(item.get("NumberOfFrames") or 1) for item in instances]
    if len(instances) == 1 and frames[0] > 1:
        return f"one multi-frame instance of {frames[0]} frames is the series", True
    geometry = stack_geometry(
        [_vector(item, "ImageOrientationPatient") for item in instances],
        [_vector(item, "ImagePositionPatient") for item in instances],
    )
    if geometry is None:
        return f"{len(instances)} instances without a common geometry", False
    positions = len(geometry.distinct)
    if positions < LEAST_POSITIONS:
        return f"{positions} image positions are too few to tell whether the geometry closes", False
    open_reason = _open_reason(geometry, instances)
    if open_reason:
        return f"geometry does not close: {open_reason}", False
    volumes = len(instances) // positions
    several = f" x {volumes}" if volumes > 1 else ""
    grid = f"{positions} positions{several} every {geometry.spacing_mm:.2f} mm"
    return f"geometry closes: {grid}, instance numbers contiguous", True


def _open_reason(geometry: StackGeometry, instances: Sequence[Mapping[str, Any]]) -> str:
    if not geometry.is_uniform:
        return geometry.reason
    repeats = {len(group) for group in geometry.duplicates}
    everywhere = len(geometry.duplicates) == len(geometry.distinct)
    if repeats and not (everywhere and len(repeats) == 1):
        return "some positions have more images than others"
    numbers = [item.get("InstanceNumber") for item in instances]
    if any(number is None for number in numbers):
        return "an image has no instance number"
    distinct = {int(number) for number in numbers if number is not None}
    missing = max(distinct) - min(distinct) + 1 - len(distinct)
    if missing:
        return f"{missing} instance numbers between {min(distinct)} and {max(distinct)} are missing"
    return ""


def _vector(item: Mapping[str, Any], keyword: str) -> tuple[float, ...] | None:
    value = item.get(keyword)
    return tuple(float(part) for part in value) if value else None
