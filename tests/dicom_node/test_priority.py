"""What makes a series STAT, and in which words its history says so."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.priority import Setting, urgency_of
from tests.dicom_node.test_routing import a_route, axial, routed


@pytest.mark.parametrize(
    ("setting", "attributes", "priority", "reason"),
    [
        ("from_data", {}, "routine", None),
        ("from_data", {"RequestedProcedurePriority": "ROUTINE"}, "routine", None),
        ("from_data", {"RequestedProcedurePriority": "MEDIUM"}, "routine", None),
        ("from_data", {"RequestedProcedurePriority": "STAT"}, "stat", "Requested Procedure Priority STAT"),
        ("from_data", {"RequestedProcedurePriority": "high "}, "stat", "Requested Procedure Priority HIGH"),
        ("from_data", {"ScheduledProcedureStepPriority": "LOW"}, "routine", None),
        ("from_data", {"ScheduledProcedureStepPriority": "HIGH"}, "stat", "Scheduled Procedure Step Priority HIGH"),
        ("routine", {"RequestedProcedurePriority": "STAT"}, "routine", None),
        ("stat", {}, "stat", "route r"),
        ("stat", {"RequestedProcedurePriority": "ROUTINE"}, "stat", "route r"),
    ],
)
def test_a_series_is_as_urgent_as_its_route_or_its_request_says(
    setting: Setting, attributes: dict[str, Any], priority: str, reason: str | None
) -> None:
    urgency = urgency_of(setting, "r", attributes)
    assert (urgency.priority, urgency.reason) == (priority, reason)


def test_a_route_that_says_nothing_of_priority_honours_what_was_requested() -> None:
    (job,) = routed(axial(RequestedProcedurePriority="STAT"), a_route()).jobs
    assert (job.priority, job.priority_reason) == ("stat", "Requested Procedure Priority STAT")


def test_a_scanner_that_marks_everything_is_ignored_where_its_route_is_routine() -> None:
    (job,) = routed(axial(RequestedProcedurePriority="STAT"), a_route(priority="routine")).jobs
    assert (job.priority, job.priority_reason) == ("routine", None)


def test_an_ae_title_makes_stat_by_the_route_that_names_it() -> None:
    emergency = a_route("emergency", when={"CallingAETitle": "CT1"}, priority="stat")
    (job,) = routed(axial(), a_route("all"), emergency).jobs
    assert (job.priority, job.priority_reason) == ("stat", "route emergency")


def test_a_route_may_ask_for_what_was_requested() -> None:
    urgent = a_route("urgent", when={"RequestedProcedurePriority": ["STAT", "HIGH"]})
    assert routed(axial(RequestedProcedurePriority="ROUTINE"), urgent).jobs == ()
    assert len(routed(axial(RequestedProcedurePriority="HIGH"), urgent).jobs) == 1
