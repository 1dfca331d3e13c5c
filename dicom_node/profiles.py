"""What can a destination show, and what is it given in place of a result that it cannot have? Pure functions.

A profile names the kinds of result for one sort of viewer or archive, and of each kind the next best ones. A report must
refer only to a Segmentation, and to Parametric Maps, that its receiver gets, so what is ordered of the encoders is not a kind
alone: "sr" refers to the binary Segmentation, "sr-seg_labelmap" to a label map, "sr-alone" to none, "sr-maps" to maps as
well (`result_kinds`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from dicom_node.result_kinds import (
    MAP,
    REFERRING,
    REPORTS,
    SEGMENTATIONS,
    ResultKind,
    kind_of,
    names_maps,
    report_on,
    segmentation_of,
)

NextBest = Mapping[ResultKind, tuple[ResultKind, ...]]
Referred = tuple[ResultKind | None, bool]
"""What a report refers to: a Segmentation or none, and the maps or not."""

NEXT_BEST: NextBest = MappingProxyType(
    {
        "seg": ("sc",),
        "seg_fractional": ("seg", "sc"),
        "seg_labelmap": ("seg", "sc"),
        "sr": ("sr_comprehensive", "sr_text", "sc"),
        "sr_comprehensive": ("sr_text", "sc"),
        "sr_text": ("sc",),
        "gsps": ("sc",),
        "key_images": ("sc",),
        "parametric_map": ("sc",),
        "pdf": ("sc",),
    }
)
"""What says as much as can be said of a kind that a receiver cannot have, the best first; a picture can be shown by all."""


@dataclass(frozen=True, slots=True)
class Profile:
    """kinds: what is sent; reports refer to the first Segmentation among them. next_best: in place of a kind, in order."""

    kinds: tuple[ResultKind, ...]
    next_best: NextBest = field(default_factory=lambda: NEXT_BEST)


DEFAULT_PROFILE = "generic-pacs"
PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "ohif": Profile(("seg", "sr")),
        "weasis": Profile(("seg", "sr", "gsps", "key_images")),
        "slicer": Profile(("seg", "sr", "parametric_map")),
        DEFAULT_PROFILE: Profile(("seg", "sr", "sc")),
        "legacy-pacs": Profile(("sc", "sr_text", "key_images"), {**NEXT_BEST, "sr_text": ("pdf", "sc")}),
    }
)
"""Those that every node has; docs/results.md says why each is as it is."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one destination takes. next_best: of each kind that may go there, those in its place, as `demand` makes it.

    may_refuse: whether it may turn a kind down when it is asked to take it; then the next best are made beforehand, so that
    they are at hand without the model being run again.
    """

    kinds: tuple[ResultKind, ...]
    next_best: NextBest
    may_refuse: bool


def demand(profile: Profile, kinds: tuple[ResultKind, ...] | None, *, may_refuse: bool) -> Demand:
    """Of a destination with this profile. kinds: in place of those of the profile.

    Where the next best of a kind is refused too, the rest of the same row follows.
    """
    kinds = kinds or profile.kinds
    next_best = {kind: profile.next_best.get(kind, ()) for kind in kinds}
    for row in tuple(next_best.values()):
        for position, kind in enumerate(row, start=1):
            next_best.setdefault(kind, row[position:])
    return Demand(kinds, next_best, may_refuse)


def usual_demand() -> Demand:
    """Of a destination that is not configured any more."""
    return demand(PROFILES[DEFAULT_PROFILE], None, may_refuse=True)


def first_choice(of: Demand) -> tuple[str, ...]:
    """What is ordered for a destination that takes it all."""
    segmentation = _segmentation(of.kinds)
    return tuple(report_on(kind, segmentation, maps=MAP in of.kinds) for kind in of.kinds)


def reserve(of: Demand) -> frozenset[str]:
    """What may go there in place of the first choice: next best kinds, and reports on every Segmentation and on none.

    On maps too there are those alone that refer to the first Segmentation: who refuses that gets reports without maps.
    """
    reachable = of.next_best.keys()
    segmentations = [None, *(kind for kind in reachable if kind in SEGMENTATIONS)]
    found = {report_on(kind, segmentation) for kind in reachable for segmentation in segmentations}
    if MAP in of.kinds:
        found |= {report_on(kind, _segmentation(of.kinds), maps=True) for kind in reachable}
    return frozenset(found) - set(first_choice(of))


def orders(demands: Iterable[Demand]) -> frozenset[str]:
    """What the encoders are to make for these destinations."""
    found: set[str] = set()
    for one in demands:
        found |= {*first_choice(one), *(reserve(one) if one.may_refuse else ())}
    return frozenset(found)


def orders_besides(demands: Iterable[Demand], made: Collection[str], lost: Collection[str]) -> frozenset[str]:
    """What is to be made as well, since some of the first choice could not be, or is not sound.

    made: sound objects, as ordered. lost: what failed.
    """
    found: set[str] = set()
    for one in demands:
        for ordered in first_choice(one):
            others = [kind for kind in one.next_best[kind_of(ordered)] if kind in SEGMENTATIONS]
            if ordered in lost or (ordered in SEGMENTATIONS and ordered not in made and others):
                found |= reserve(one)
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class Share:
    """What of a job's objects goes to one destination. instead: of what it cannot have, what goes there; None: nothing."""

    ordered: tuple[str, ...]
    instead: Mapping[str, str | None]

    @property
    def is_lost(self) -> bool:
        """Whether something was to go there and nothing does."""
        return not self.ordered and bool(self.instead)


def share(of: Demand, made: Collection[str], lost: Collection[str]) -> Share:
    """made: sound objects, as ordered. lost: what failed; whatever else was not made has nothing to say.

    A Segmentation that cannot hold what was found, such as a label map of segments that overlap, is made up for by another
    Segmentation alone.
    """
    wanted = _segmentation(of.kinds)
    found: dict[str, str | None] = {}
    for kind in of.kinds:
        if kind not in REPORTS:
            among = of.next_best[kind] if kind in lost else [k for k in of.next_best[kind] if k in SEGMENTATIONS]
            pick = kind if kind in made else _first(among, ((wanted, False), (None, False)), made)
            if pick or kind in lost:
                found[kind] = pick
    segmentation = _segmentation(pick for pick in found.values() if pick)
    # A report on what has nothing to say refers to nothing, and so does one on what is not sound.
    rest = (None, wanted) if wanted in lost else (wanted, None)
    with_maps = MAP in of.kinds
    ways = _ways((segmentation, *rest) if segmentation else rest, maps=with_maps and MAP not in lost)
    for kind in of.kinds:
        if kind in REPORTS:
            ordered = report_on(kind, wanted, maps=with_maps)
            row = [kind, *(of.next_best[kind] if ordered in lost else ())]
            pick = _first(row, (*ways, (wanted, with_maps)), made)
            if pick or ordered in lost:
                found[ordered] = pick
    going = dict.fromkeys(pick for pick in found.values() if pick)
    instead = {ordered: pick for ordered, pick in found.items() if pick != ordered}
    return Share(tuple(going), instead)


@dataclass(frozen=True, slots=True)
class Standing:
    """A job's sound objects at one destination. kept: all of them. going: on their way, or there. gone: turned down before."""

    kept: frozenset[str]
    going: frozenset[str]
    waiting: frozenset[str]
    gone: frozenset[str]


def substitutes(of: Demand, now: Standing, refused: Collection[str], not_taken: Collection[str]) -> dict[str, str]:
    """What goes in the place of what: for results that a destination does not take, and for reports on a Segmentation that
    it did not take. One that is not named stays as it is.

    refused: for good, just now; not_taken: those of them whose SOP class it does not take.
    """
    gone = now.gone | set(refused)
    fit = now.kept - gone
    found: dict[str, str] = {}
    going = [ordered for ordered in now.going if ordered not in gone]
    for ordered in not_taken:
        if kind_of(ordered) not in REPORTS:
            pick = _first(of.next_best.get(kind_of(ordered), ()), ((None, False),), fit)
            if pick:
                found[ordered] = pick
                going.append(pick)
    rank = {kind: position for position, kind in enumerate(of.next_best)}
    segmentation = _segmentation(sorted(going, key=lambda one: (rank.get(kind_of(one), len(rank)), one)))
    ways = _ways((segmentation, None), maps=MAP in map(kind_of, going))
    for ordered in not_taken:
        if kind_of(ordered) in REPORTS:
            pick = _first(of.next_best.get(kind_of(ordered), ()), ways, fit)
            if pick:
                found[ordered] = pick
    for ordered in now.waiting - gone:
        if kind_of(ordered) in REFERRING and (
            segmentation_of(ordered) in gone or (names_maps(ordered) and MAP in gone)
        ):
            pick = _first((kind_of(ordered),), ways, fit)
            if pick and pick != ordered:
                found[ordered] = pick
    return found


def _segmentation(ordered: Iterable[str]) -> ResultKind | None:
    """The first Segmentation."""
    return next((kind for kind in map(kind_of, ordered) if kind in SEGMENTATIONS), None)


def _ways(segmentations: Iterable[ResultKind | None], *, maps: bool) -> tuple[Referred, ...]:
    """What reports may refer to, the first rather: of each Segmentation, with maps before without."""
    return tuple((one, with_maps) for one in segmentations for with_maps in ((True, False) if maps else (False,)))


def _first(kinds: Iterable[ResultKind], ways: Iterable[Referred], among: Collection[str]) -> str | None:
    """The first of these kinds that is there; of a report, the first that refers as it should."""
    return next(
        (
            ordered
            for kind in kinds
            for segmentation, maps in ways
            if (ordered := report_on(kind, segmentation, maps=maps)) in among
        ),
        None,
    )
