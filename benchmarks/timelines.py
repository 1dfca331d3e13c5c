"""What a study looks like from outside while it is sent: images, associations and announcements, each at its moment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

from storage.records.announced import Announcement

Ending = Literal["released", "aborted"]
# Whom a C-FIND would reach, and whether that peer holds a series before the last of it is sent here.
Asked = Literal["nobody", "has whole series", "still gets them"]

_GREETING_S, _GOODBYE_S = 0.03, 0.03
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


@dataclass(frozen=True, slots=True)
class Picture:
    """An instance, as far as its header decides anything."""

    sop_instance_uid: str
    series_instance_uid: str
    header: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sent:
    """The C-STORE response of an instance went out."""

    at: float
    picture: Picture
    association_id: str


@dataclass(frozen=True, slots=True)
class Link:
    """An association, from its beginning to its end."""

    association_id: str
    opened_at: float
    closed_at: float
    ending: Ending


@dataclass(frozen=True, slots=True)
class Timeline:
    """A study from one source, in the order of its clock, in seconds.

    habit: what its source does, in words. peer_has: when the peer that can be asked got which instance.
    """

    study_instance_uid: str
    calling_ae_title: str
    habit: str
    sent: tuple[Sent, ...]
    links: tuple[Link, ...]
    announcements: tuple[Announcement, ...]
    asked: Asked
    peer_has: Mapping[str, float]

    @property
    def ends_at(self) -> float:
        return max([self.sent[-1].at, *(one.closed_at for one in self.links), *(one.at for one in self.announcements)])

    def by_series(self) -> dict[str, list[Sent]]:
        found: dict[str, list[Sent]] = {}
        for one in self.sent:
            found.setdefault(one.picture.series_instance_uid, []).append(one)
        return found


@dataclass
class Tape:
    """Takes down what a source does in one study; associations may run beside each other, each in a lane."""

    study_instance_uid: str
    calling_ae_title: str
    began_at: float
    random: Random
    sent: list[Sent] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    announcements: list[Announcement] = field(default_factory=list)
    asked: Asked = "nobody"
    peer_has: dict[str, float] = field(default_factory=dict)

    def lane(self, after_s: float = 0.0) -> Lane:
        return Lane(self, self.began_at + after_s)

    @property
    def last_sent_at(self) -> float:
        return max(one.at for one in self.sent)

    def listed(self) -> dict[str, tuple[str, ...]]:
        """All instances sent, by series."""
        found: dict[str, dict[str, None]] = {}
        for one in self.sent:
            found.setdefault(one.picture.series_instance_uid, {})[one.picture.sop_instance_uid] = None
        return {series: tuple(uids) for series, uids in found.items()}

    def timeline(self, habit: str) -> Timeline:
        return Timeline(
            self.study_instance_uid,
            self.calling_ae_title,
            habit,
            tuple(sorted(self.sent, key=lambda one: one.at)),
            tuple(sorted(self.links, key=lambda one: one.opened_at)),
            tuple(sorted(self.announcements, key=lambda one: one.at)),
            self.asked,
            self.peer_has,
        )


@dataclass
class Lane:
    """One association after another."""

    tape: Tape
    now: float
    _opened_at: float = 0.0
    _name: str = ""

    def associate(self) -> None:
        self._name = f"{self.tape.study_instance_uid}/{len(self.tape.links)}/{self.now}"
        self._opened_at = self.now
        self.now += _GREETING_S

    def store(self, pictures: Iterable[Picture], gap_s: float) -> None:
        """Each about gap_s after the one before."""
        for picture in pictures:
            self.now += gap_s * self.tape.random.uniform(0.6, 1.4)
            self.tape.sent.append(Sent(self.now, picture, self._name))

    def end(self, ending: Ending = "released") -> None:
        self.now += _GOODBYE_S
        self.tape.links.append(Link(self._name, self._opened_at, self.now, ending))

    def send(self, pictures: Sequence[Picture], gap_s: float) -> None:
        """All of them on an association of their own."""
        self.associate()
        self.store(pictures, gap_s)
        self.end()

    def pause(self, seconds: float) -> None:
        self.now += seconds


def stack(
    series_instance_uid: str, count: int, *, first: int = 1, orientation: Sequence[float] = AXIAL, **more: Any
) -> list[Picture]:
    """Images side by side; first: the number of the first of them."""
    axis = 2 if tuple(orientation) == AXIAL else 1
    found = []
    for index in range(count):
        place = [-180.0, -180.0, -180.0]
        place[axis] = 2.0 * index
        geometry = {"ImageOrientationPatient": list(orientation), "ImagePositionPatient": place}
        found.append(_picture(series_instance_uid, first + index, geometry | more))
    return found


def plain(series_instance_uid: str, count: int, **more: Any) -> list[Picture]:
    """Images without a place in the patient, as of ultrasound and projection radiography."""
    return [_picture(series_instance_uid, index + 1, more) for index in range(count)]


def _picture(series: str, number: int, header: Mapping[str, Any]) -> Picture:
    return Picture(f"{series}.{number}", series, {"InstanceNumber": number, **header})
