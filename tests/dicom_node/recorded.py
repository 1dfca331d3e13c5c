"""Series as they were recorded, for tests of what replays them; times are seconds after `START`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

from dicom_node.completeness import Rules
from dicom_node.config import Route
from dicom_node.replay import RecordedSeries, Waiting
from dicom_node.replay_run import Policy
from dicom_node.routing import RoutableModel
from inference.package import Package
from inference.registry import Registry
from storage.records.received import Association, Instance, SeriesPart, Study

START = 1_000_000.0
CHEST = {
    "Modality": "CT",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    "Rows": 512,
    "Columns": 512,
    "SliceThickness": 2.5,
    "has_pixel_data": True,
}
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
STUDY = Study("1.2.3", "P1", "Doe^Jane", "A1", "20260101", "Chest", START)
Ending = Literal["released", "aborted"]


def header(number: int, *, closes: bool = True, **more: Any) -> dict[str, Any]:
    """Of one axial slice of a chest CT; without a place where its geometry is not to close."""
    place = {"ImagePositionPatient": [-250.0, -250.0, 2.5 * number]} if closes else {}
    return CHEST | {"InstanceNumber": number} | place | more


def recorded(
    arrivals_s: Sequence[float],
    *,
    uid: str = "1.2.3.4",
    closes: bool = True,
    ending: Ending = "released",
    every: int | None = None,
    study: Study = STUDY,
    source: str = "CT1",
    header_of: dict[str, Any] | None = None,
    **more: Any,
) -> RecordedSeries:
    """Images that came at these times, over an association for each `every` of them (None: one for all)."""
    size = every or len(arrivals_s)
    parts, instances = [], []
    for first in range(0, len(arrivals_s), size):
        times = [START + at for at in arrivals_s[first : first + size]]
        name = f"{uid}-{first}"
        association = Association(
            name, "acceptor-1", source, "DICOM-NODE", "10.0.0.7", times[0] - 0.1, times[-1] + 0.1, ending
        )
        parts.append(SeriesPart(association, len(times), 0))
        instances += [
            Instance(
                CT_IMAGE,
                f"{uid}.{first + number}",
                "1.2.840.10008.1.2.1",
                f"{uid}{first + number}",
                f"k{first + number}",
                1,
                at,
                header(first + number, closes=closes, **(header_of or {})),
                name,
            )
            for number, at in enumerate(times, 1)
        ]
    return RecordedSeries(
        study,
        uid,
        tuple(instances),
        tuple(parts),
        study_arrivals=tuple(sorted(item.received_at for item in instances)),
        **more,
    )


def evenly(count: int, *, every_s: float = 0.2, from_s: float = 0.0) -> list[float]:
    return [from_s + every_s * number for number in range(count)]


def waiting(settle_s: float = 2.0, quiet_s: float = 60.0, asks: Sequence[str] = (), **more: Any) -> Waiting:
    rules = Rules(settle_s=settle_s, quiet_s=quiet_s, **more)
    return Waiting(lambda _source: rules, lambda _source: frozenset(asks))


@cache
def density_package() -> Package:
    return Registry([]).get("ct_lung_density")


def density_model(*, enabled: bool = True) -> dict[str, RoutableModel]:
    return {"ct_lung_density": RoutableModel(density_package(), enabled, 600.0, "cpu")}


def a_route(name: str = "chest", **more: Any) -> Route:
    given = {"name": name, "when": {"Modality": "CT"}, "models": ["ct_lung_density"], "destinations": ["pacs"]} | more
    return Route.model_validate(given)


def policy(*routes: Route, waits: Waiting | None = None, models: dict[str, RoutableModel] | None = None) -> Policy:
    return Policy(waits or waiting(), routes or (a_route(),), density_model() if models is None else models)
