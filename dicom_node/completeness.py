"""Is this series whole now, and on what evidence? A pure function from facts to a verdict; no clock, no database.

Evidence in order of weight:
1. what is said of the series from outside: a list of its instances ends the matter at once, whatever associations do; a
   count, once these were released. What is announced and did not come holds the series, for `held_s` at the most.
2. its associations were released, its source does nothing else that could bring more, and its images say that they are all
   there: then the series must be quiet for settle_s, or for as long as its source is used to pause.
3. nothing of that: it must be quiet for quiet_s; for less where its source is known well and nothing speaks against it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dicom_node.arrival_facts import Facts
from dicom_node.evidence_announced import Announced, announced
from dicom_node.evidence_images import Images, in_images
from dicom_node.evidence_wire import LEAST_SERIES_TO_SHORTEN, Kind, Wire, on_the_wire, usual_or_seen

# What a source is used to is waited for with a margin; without any evidence, or where it was only seen, with more of it.
MARGIN, WIDE_MARGIN = 1.2, 2.0
# A source that is known to leave no pauses is waited for so much less than quiet_s, and no less.
SHORTEST_QUIET = 0.25


@dataclass(frozen=True, slots=True)
class Rules:
    """How long to wait for what, in seconds, for the source of a series; see `completeness` in docs/config.md."""

    settle_s: float = 2.0
    quiet_s: float = 60.0
    held_s: float = 900.0
    in_progress_s: float = 3600.0
    habit_max_s: float = 300.0
    on_missing: Literal["analyse", "not_analysed"] = "analyse"


@dataclass(frozen=True, slots=True)
class Verdict:
    """whole; not yet, and until when nothing but a new fact can change that; never, since the rest will not come.

    evidence: in words, each a sentence. expected: how many instances there should be, where that is known.
    held: what is announced and what came contradict each other. incomplete: of a series that is never whole, what a report
    of it must say; lacking: why it may not be analysed at all.
    """

    state: Literal["whole", "not_yet", "never"]
    evidence: tuple[str, ...]
    until: float | None = None
    expected: int | None = None
    held: bool = False
    incomplete: str | None = None
    lacking: str | None = None

    @property
    def whole(self) -> bool:
        return self.state == "whole"


def judge(facts: Facts, rules: Rules, now: float, *, read_images: Callable[[Facts], Images] = in_images) -> Verdict:
    """The verdict on a series at this moment. With the same facts, time alone leads from not yet to whole or never.

    read_images: what their headers tell; for those who judge the same images again and again.
    """
    said = announced(facts)
    wire = on_the_wire(facts, now)
    if said.discontinued:
        return _discontinued(facts, rules, said, wire, now)
    if said.listed:
        return Verdict("whole", said.words, expected=said.expected)
    if said.missing:
        return _missing(facts, rules, said, wire, now)
    if said.in_progress and now < facts.last_received_at + rules.in_progress_s:
        return Verdict("not_yet", (*said.words, *wire.words), until=facts.last_received_at + rules.in_progress_s)
    words = said.words
    if said.in_progress:
        words = (f"{words[0]} for more than {rules.in_progress_s:g} s and is waited for no longer", *words[1:])
    if said.counted and wire.released:
        return Verdict("whole", (*words, *wire.words), expected=said.expected)
    return _quiet(facts, rules, words, wire, now, read_images=read_images)


def _quiet(
    facts: Facts,
    rules: Rules,
    words: tuple[str, ...],
    wire: Wire,
    now: float,
    *,
    read_images: Callable[[Facts], Images],
) -> Verdict:
    """Without exact evidence: how long the series was quiet, against how long it must be."""
    last = facts.last_received_at
    if now < last + rules.settle_s:
        still = f"quiet for less than {rules.settle_s:g} s"
        return Verdict("not_yet", (*words, *wire.words, still), until=last + rules.settle_s)
    images = read_images(facts)
    needed_s, why = _needed(facts, rules, images, wire)
    evidence = (*words, *wire.words, *images.words)
    if now >= last + needed_s:
        return Verdict("whole", (*evidence, f"{why}quiet for {needed_s:g} s"), expected=images.expected)
    until = last + needed_s if wire.until is None else min(last + needed_s, wire.until)
    return Verdict("not_yet", (*evidence, f"{why}waits for {needed_s:g} s of quiet"), until, images.expected)


def _needed(facts: Facts, rules: Rules, images: Images, wire: Wire) -> tuple[float, str]:
    """How long the series must be quiet, and in words what its source has to do with that."""
    is_proven = wire.is_over and images.is_closed
    which: Kind = "end" if is_proven else "pause" if wire.closed else "gap"
    known = usual_or_seen(facts, rules.quiet_s, rules.habit_max_s, which)
    if known is None:
        return (rules.settle_s if is_proven else rules.quiet_s), ""
    margin = WIDE_MARGIN if known.was_seen else MARGIN
    bounded_s = _rounded(min(max(margin * known.pause_s, rules.settle_s), rules.habit_max_s))
    if is_proven:
        needed_s = max(rules.settle_s, bounded_s)
        return needed_s, f"{known.words}: " if needed_s > rules.settle_s else ""
    if wire.went_on and images.is_closed and known.series >= LEAST_SERIES_TO_SHORTEN:
        needed_s = min(max(_rounded(WIDE_MARGIN * known.pause_s), rules.settle_s), max(rules.quiet_s, bounded_s))
    elif wire.is_over and not images.is_short and known.series >= LEAST_SERIES_TO_SHORTEN:
        shorter_s = max(_rounded(WIDE_MARGIN * known.pause_s), SHORTEST_QUIET * rules.quiet_s, rules.settle_s)
        needed_s = max(min(shorter_s, rules.quiet_s), bounded_s)
    else:
        needed_s = max(rules.quiet_s, bounded_s)
    return needed_s, f"{known.words}: " if needed_s != rules.quiet_s else ""


def _rounded(seconds: float) -> float:
    """Up to tenths, for people to read."""
    return math.ceil(round(10 * seconds, 6)) / 10


def _missing(facts: Facts, rules: Rules, said: Announced, wire: Wire, now: float) -> Verdict:
    """Images are announced that did not come: they may be on their way, then something is wrong, then it is the end.

    Something is wrong once it was quiet for so long that a series without any evidence would be whole.
    """
    closings = [item.closed_at for item in facts.contributions if item.closed_at is not None]
    since = max(facts.last_received_at, said.said_at, *closings)
    grace_s, _ = _needed(facts, rules, Images(False, True, ()), wire)
    deadline = since + grace_s + rules.held_s
    expected = said.expected or 0
    analysed = len(facts.images) - said.unannounced
    evidence = (*said.words, *wire.words)
    if now >= deadline:
        lacking = f"only {expected - said.missing} of {expected} images came"
        words = f"the other {said.missing} did not come within {grace_s + rules.held_s:g} s"
        more = f", and {said.unannounced} that nobody announced" if said.unannounced else ""
        rejected = f", {len(facts.left_out)} rejected" if facts.left_out else ""
        remark = f"analysed {analysed} of {expected} images{more}{rejected}"
        return Verdict("never", (*evidence, words), None, expected, held=True, incomplete=remark, lacking=lacking)
    if not wire.closed or now < since + grace_s:
        until = deadline if not wire.closed else since + grace_s
        return Verdict("not_yet", (*evidence, f"waits for {said.missing} more"), until, expected)
    words = f"{said.missing} images are missing and nothing brings them"
    return Verdict("not_yet", (*evidence, words), deadline, expected, held=True)


def _discontinued(facts: Facts, rules: Rules, said: Announced, wire: Wire, now: float) -> Verdict:
    """The step was given up before it was done: what it made is on its way or here, and more will not come."""
    last = facts.last_received_at
    is_over = said.listed or (wire.closed and now >= last + rules.settle_s)
    if not is_over and now < last + rules.quiet_s:
        until = last + (rules.settle_s if wire.closed else rules.quiet_s)
        return Verdict("not_yet", (*said.words, *wire.words), until, said.expected)
    came = len(facts.images)
    remark = f"analysed {came} images of an acquisition that was discontinued"
    lacking = "the acquisition was discontinued"
    return Verdict("never", (*said.words, *wire.words), None, said.expected, incomplete=remark, lacking=lacking)
