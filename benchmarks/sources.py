"""Sources of studies, each with a habit of its own, as timelines: pure, and the same again from the same seed.

How long a source pauses is drawn once for each source, and varies from pause to pause, with some much more than with others.
Nothing here was chosen by what it leads to; benchmarks/README.md has the figures of several seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from benchmarks.timelines import CORONAL, Ending, Lane, Picture, Tape, Timeline, plain, stack
from storage.records.announced import Announcement, AnnouncementKind, AnnouncementState

# Pauses between associations, in seconds.
LEAST_PAUSE_S, MOST_PAUSE_S = 1.0, 90.0
# Of the series of some sources, so many get images long after the others: rebuilt, or sent by hand.
STRAGGLERS, STRAGGLER_S = 0.06, (100.0, 900.0)


@dataclass(frozen=True, slots=True)
class Pauses:
    """A habit: about scale_s each time; spread as the standard deviation of its logarithm."""

    scale_s: float
    spread: float

    def draw(self, random: Random) -> float:
        seconds = self.scale_s * math.exp(random.gauss(0.0, self.spread))
        return min(max(seconds, LEAST_PAUSE_S), MOST_PAUSE_S)


def drawn(random: Random, *, irregular: bool = False) -> Pauses:
    """Of any length, all orders of magnitude alike."""
    scale_s = math.exp(random.uniform(math.log(LEAST_PAUSE_S), math.log(MOST_PAUSE_S)))
    return Pauses(scale_s, 0.8 if irregular else 0.2)


@dataclass(frozen=True, slots=True)
class Source:
    """share: how many of 200 studies. play: takes down one study."""

    calling_ae_title: str
    habit: str
    share: int
    play: Callable[[Tape, Pauses], None]
    irregular: bool = False


def studies(seed: int, count: int = 200) -> Iterator[Timeline]:
    """Study by study as they begin, those of one source never at the same time."""
    for source in SOURCES:
        random = Random(f"{seed} {source.calling_ae_title}")
        pauses, now = drawn(random, irregular=source.irregular), 1_000_000.0
        for number in range(max(1, round(source.share * count / 200))):
            tape = Tape(f"{source.calling_ae_title}.{number + 1}", source.calling_ae_title, now, random)
            source.play(tape, pauses)
            timeline = tape.timeline(source.habit)
            yield timeline
            now = timeline.ends_at + random.uniform(300, 1800)


def _ct(tape: Tape, *, thin: int = 0) -> list[list[Picture]]:
    """A localizer, then one or two reconstructions."""
    random, study = tape.random, tape.study_instance_uid
    scout = [*stack(f"{study}.1", 1), *stack(f"{study}.1", 1, first=2, orientation=CORONAL)]
    found = [scout, stack(f"{study}.2", thin or random.randint(40, 400))]
    if random.random() < 0.5:
        found.append(stack(f"{study}.3", random.randint(40, 120)))
    return found


def _series_by_series(tape: Tape, pauses: Pauses) -> None:
    """Each series on an association of its own, as it is reconstructed; the localizer first."""
    lane = tape.lane()
    for series in _ct(tape):
        lane.send(series, tape.random.uniform(0.03, 0.3))
        lane.pause(pauses.draw(tape.random))


def _step_done_before(tape: Tape, pauses: Pauses) -> None:
    """The step is completed at the console while images are still being sent."""
    _series_by_series(tape, pauses)
    first = tape.sent[0].at
    _perform(tape, begun_at=tape.began_at - 60, done_at=tape.random.uniform(first, tape.last_sent_at))


def _interleaved_step_done_after(tape: Tape, pauses: Pauses) -> None:
    """MR: two series image by image in turn on one association, then the step is completed."""
    study, count = tape.study_instance_uid, tape.random.randint(20, 120)
    lane = tape.lane()
    lane.send(stack(f"{study}.1", 3), 0.1)
    lane.pause(pauses.draw(tape.random))
    turns = zip(stack(f"{study}.2", count), stack(f"{study}.3", count), strict=True)
    lane.send([picture for turn in turns for picture in turn], tape.random.uniform(0.05, 0.4))
    delay_s = math.exp(tape.random.gauss(math.log(4.0), 1.2))
    _perform(tape, begun_at=tape.began_at - 60, done_at=tape.last_sent_at + delay_s)


def _large(tape: Tape, pauses: Pauses) -> None:
    """2,000 thin slices; two associations at the same time share them every other study."""
    scout, thin, *others = _ct(tape, thin=2000)
    lane = tape.lane()
    lane.send(scout, 0.2)
    lane.pause(pauses.draw(tape.random))
    gap_s = tape.random.uniform(0.01, 0.03)
    if tape.random.random() < 0.5:
        other = tape.lane(lane.now - tape.began_at + 0.2)
        lane.send(thin[::2], gap_s)
        other.send(thin[1::2], gap_s)
        lane.now = max(lane.now, other.now)
    else:
        lane.send(thin, gap_s)
    for series in others:
        lane.pause(pauses.draw(tape.random))
        lane.send(series, 0.05)


def _in_batches(tape: Tape, pauses: Pauses) -> None:
    """One series over several associations, in order, with pauses while it is reconstructed."""
    scout, *others = _ct(tape)
    lane = tape.lane()
    lane.send(scout, 0.2)
    for series in others:
        size = tape.random.randint(30, 100)
        for start in range(0, len(series), size):
            lane.pause(pauses.draw(tape.random))
            lane.send(series[start : start + size], tape.random.uniform(0.03, 0.2))
    _straggle(tape)


def _phases(tape: Tape, *, told: bool) -> list[list[Picture]]:
    study, slices, phases = tape.study_instance_uid, tape.random.randint(16, 40), tape.random.randint(4, 15)
    found = []
    for phase in range(phases):
        more: dict[str, Any] = (
            {"TemporalPositionIdentifier": phase + 1, "NumberOfTemporalPositions": phases} if told else {}
        )
        found.append(stack(f"{study}.1", slices, first=1 + phase * slices, **more))
    return found


def _four_dimensional(tape: Tape, pauses: Pauses) -> None:
    """A volume again and again, each on an association of its own; its headers count the temporal positions."""
    _each_phase(tape, pauses, told=True)


def _four_dimensional_untold(tape: Tape, pauses: Pauses) -> None:
    """The same from a scanner that does not say how many there are."""
    _each_phase(tape, pauses, told=False)


def _each_phase(tape: Tape, pauses: Pauses, *, told: bool) -> None:
    lane = tape.lane()
    for phase in _phases(tape, told=told):
        lane.send(phase, 0.05)
        lane.pause(pauses.draw(tape.random))


def _forwarded(tape: Tape, _pauses: Pauses) -> None:
    """A PACS that holds the study forwards it: images in any order on one to four associations at the same time."""
    pictures = [picture for series in _ct(tape) for picture in series]
    tape.random.shuffle(pictures)
    lanes = tape.random.randint(1, 4)
    for number in range(lanes):
        tape.lane(0.3 * number).send(pictures[number::lanes], tape.random.uniform(0.03, 0.12))
    tape.asked = "has whole series"
    tape.peer_has = {picture.sop_instance_uid: tape.began_at - 60 for picture in pictures}


def _beside_pacs(tape: Tape, pauses: Pauses) -> None:
    """A scanner sends to the PACS and to the node at the same time, on a network that breaks; the PACS can be asked."""
    _broken(tape, pauses)
    late_s = math.exp(tape.random.gauss(0.0, 1.0))
    tape.asked = "still gets them"
    for one in tape.sent:
        tape.peer_has.setdefault(one.picture.sop_instance_uid, one.at + late_s * tape.random.uniform(-1, 1))


def _broken(tape: Tape, pauses: Pauses) -> None:
    """Aborted now and then, and resumed after a while: behind what was sent, or from the beginning of the series."""
    lane = tape.lane()
    for series in _ct(tape):
        begins = 0
        while tape.random.random() < 0.4 and begins < len(series) - 2:
            cut = tape.random.randint(begins + 1, len(series) - 1)
            _on_one(lane, series[begins:cut], "aborted", tape.random.uniform(0.03, 0.2))
            begins = cut if tape.random.random() < 0.7 else 0
            lane.pause(pauses.draw(tape.random))
        _on_one(lane, series[begins:], "released", tape.random.uniform(0.03, 0.2))
        lane.pause(pauses.draw(tape.random))


def _on_one(lane: Lane, pictures: Sequence[Picture], ending: Ending, gap_s: float) -> None:
    lane.associate()
    lane.store(pictures, gap_s)
    lane.end(ending)


def _notified(tape: Tape, pauses: Pauses) -> None:
    """An archive sends in batches, in any order, and notifies of what is available: before or after the last of it."""
    pictures = [picture for series in _ct(tape) for picture in series]
    tape.random.shuffle(pictures)
    lane, size = tape.lane(), tape.random.randint(50, 200)
    for start in range(0, len(pictures), size):
        lane.send(pictures[start : start + size], tape.random.uniform(0.03, 0.1))
        lane.pause(pauses.draw(tape.random))
    early = tape.random.random() < 0.5
    at = tape.began_at + 1 if early else tape.last_sent_at + tape.random.uniform(0.2, 3)
    for series, uids in tape.listed().items():
        tape.announcements.append(_announcement(tape, "ian", series, "completed", at=at, uids=uids))


def _one_by_one(tape: Tape, pauses: Pauses) -> None:
    """Ultrasound: each picture on an association of its own, when it is taken."""
    lane = tape.lane()
    for picture in plain(f"{tape.study_instance_uid}.1", tape.random.randint(5, 40)):
        lane.send([picture], 0.1)
        lane.pause(pauses.draw(tape.random))


def _exposures(tape: Tape, pauses: Pauses) -> None:
    """Projection radiography: one to four exposures, with the patient turned between them."""
    lane = tape.lane()
    for picture in plain(f"{tape.study_instance_uid}.1", tape.random.randint(1, 4)):
        lane.send([picture], 0.1)
        lane.pause(pauses.draw(tape.random))


def _workstation(tape: Tape, pauses: Pauses) -> None:
    """Reformatted by hand: parts of a series whenever somebody sends them, in any order, some long after."""
    lane, series = tape.lane(), stack(f"{tape.study_instance_uid}.1", tape.random.randint(30, 150))
    tape.random.shuffle(series)
    size = tape.random.randint(15, 60)
    for start in range(0, len(series), size):
        lane.send(series[start : start + size], 0.05)
        lane.pause(pauses.draw(tape.random))
    _straggle(tape)


def _straggle(tape: Tape) -> None:
    """Some series get one to five images more, long after."""
    for series in list(tape.listed()):
        if tape.random.random() < STRAGGLERS:
            count = len(tape.listed()[series])
            lane = tape.lane(tape.last_sent_at + tape.random.uniform(*STRAGGLER_S) - tape.began_at)
            lane.send(stack(series, count + tape.random.randint(1, 5))[count:], 0.1)


def _perform(tape: Tape, *, begun_at: float, done_at: float) -> None:
    """A procedure step (PS3.4 annex F): in progress, then completed with all that it made."""
    tape.announcements.append(_announcement(tape, "mpps", None, "in progress", at=begun_at))
    tape.announcements.append(_announcement(tape, "mpps", None, "completed", at=done_at))
    for series, uids in tape.listed().items():
        tape.announcements.append(_announcement(tape, "mpps", series, "completed", at=done_at, uids=uids))


def _announcement(
    tape: Tape,
    kind: AnnouncementKind,
    series: str | None,
    state: AnnouncementState,
    *,
    at: float,
    uids: tuple[str, ...] | None = None,
) -> Announcement:
    study = tape.study_instance_uid
    count = None if uids is None else len(uids)
    key = f"{study} {series or '-'}"
    return Announcement(kind, key, tape.calling_ae_title, study, series, state, at, count, uids)


SOURCES = (
    Source("CT-MPPS", "MPPS completed before the last image; localizer first", 20, _step_done_before),
    Source("MR-MPPS", "interleaved series; MPPS completed after the last image", 16, _interleaved_step_done_after),
    Source("ARCHIVE-IAN", "availability notified; random order over several associations", 14, _notified),
    Source("PACS-FIND", "a PACS forwards what it holds; parallel associations, random order", 20, _forwarded),
    Source("CT-BESIDE", "aborted and resumed; the PACS gets it at the same time", 16, _beside_pacs, irregular=True),
    Source("CT-PLAIN", "an association for each series; localizer first", 20, _series_by_series),
    Source("CT-LARGE", "2,000 images, also over two parallel associations", 12, _large),
    Source("CT-BATCH", "several associations with pauses, in order; stragglers", 20, _in_batches, irregular=True),
    Source("CT-BROKEN", "aborted and resumed", 12, _broken),
    Source("MR-4D", "4D, an association for each phase; temporal positions counted", 14, _four_dimensional),
    Source("CT-4D", "4D, an association for each phase; nothing counted", 10, _four_dimensional_untold),
    Source("US", "an association for each picture", 10, _one_by_one, irregular=True),
    Source("DX", "an association for each exposure", 8, _exposures, irregular=True),
    Source("WORKSTATION", "parts in random order; stragglers", 8, _workstation, irregular=True),
)
