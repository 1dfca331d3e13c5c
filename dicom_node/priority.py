"""How urgent is a series: by what its route says, or by what was requested? Pure; the answer comes with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from storage.records.jobs import Priority

# By route: `from_data` as it was requested, the others whatever was requested.
Setting = Literal["from_data", "routine", "stat"]

# Attributes that say it, as people call them, and the values that mean that somebody waits: PS3.3 C.4.11 for the
# Requested Procedure, PS3.3 C.30.2 for a scheduled step.
_SAID_BY: Mapping[str, str] = MappingProxyType(
    {
        "RequestedProcedurePriority": "Requested Procedure Priority",
        "ScheduledProcedureStepPriority": "Scheduled Procedure Step Priority",
    }
)
_URGENT = frozenset({"STAT", "HIGH"})


@dataclass(frozen=True, slots=True)
class Urgency:
    """reason: what made it STAT, in words; None for routine."""

    priority: Priority
    reason: str | None = None


def urgency_of(setting: Setting, route_name: str, attributes: Mapping[str, Any]) -> Urgency:
    """attributes: of the series, by keyword; see `routing.series_attributes`."""
    if setting == "stat":
        return Urgency("stat", f"route {route_name}")
    if setting == "from_data":
        for keyword, name in _SAID_BY.items():
            value = str(attributes.get(keyword) or "").strip().upper()
            if value in _URGENT:
                return Urgency("stat", f"{name} {value}")
    return Urgency("routine")
