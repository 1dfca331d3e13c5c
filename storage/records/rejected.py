"""Instances that are not analysed, since a Key Object Selection document rejected them (IHE RAD IOCM)."""

from __future__ import annotations

from dataclasses import dataclass

from storage.records.received import Instance, Series


@dataclass(frozen=True, slots=True)
class KeyObject:
    """A Key Object Selection document that came and was not read yet: its instance, and who sent it."""

    instance: Instance
    study_instance_uid: str
    series_instance_uid: str
    calling_ae_title: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """Instances of one series that a key object rejected: how many, and how many it left to analyse.

    series: as it is since, in a later revision where it had been judged already (reopened).
    """

    series: Series
    instance_count: int
    reopened: bool


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Instances of a series that are not analysed, since they were rejected, and as what (DCM)."""

    instances: tuple[Instance, ...]
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Emptied:
    """A series that arrives and of which nothing is left to analyse: how many instances were rejected, and as what (DCM)."""

    series: Series
    instance_count: int
    codes: tuple[str, ...]
    last_received_at: float


@dataclass(frozen=True, slots=True)
class Rejections:
    """How many instances of a series are not analysed from a revision on, and the code of the rejection (DCM)."""

    series_id: int
    revision: int
    code: str
    instance_count: int
