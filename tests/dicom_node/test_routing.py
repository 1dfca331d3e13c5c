"""Which models a series gets, and in which words it gets none."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.config import Config, Route
from dicom_node.models import routable_models
from dicom_node.routing import RoutableModel, Routing, route, series_attributes
from dicom_node.series_facts import series_facts
from inference.registry import Registry

PACKAGE = Registry().get("ct_lung_density")
CT = "1.2.840.10008.5.1.4.1.1.2"


def model(**more: Any) -> RoutableModel:
    return RoutableModel(**({"package": PACKAGE, "enabled": True, "timeout_s": 60.0, "device": "cpu"} | more))


def a_route(name: str = "r", when: dict[str, Any] | None = None, **more: Any) -> Route:
    tree = {"name": name, "when": when or {}, "models": ["ct_lung_density"], "destinations": ["pacs"]} | more
    return Route.model_validate(tree)


def axial(count: int = 40, spacing_mm: float = 5.0, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "Modality": "CT",
            "BodyPartExamined": "CHEST",
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "SliceThickness": 5.0,
            "InstanceNumber": number + 1,
            "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
            "ImagePositionPatient": [0.0, 0.0, number * spacing_mm],
            **more,
        }
        for number in range(count)
    ]


def routed(instances: list[dict[str, Any]], *routes: Route, **models: RoutableModel) -> Routing:
    attributes = series_attributes(instances, calling_ae_title="CT1", called_ae_title="NODE")
    known = models or {"ct_lung_density": model()}
    return route(attributes, series_facts(instances, {CT}), routes, known)


def test_a_series_that_fits_is_queued_with_the_routes_priority_and_destinations() -> None:
    (job,) = routed(axial(), a_route(when={"Modality": "CT"}, priority="stat")).jobs
    assert (job.model, job.state, job.priority, job.destinations) == (PACKAGE.key, "ready", "stat", ("pacs",))
    assert job.timeout_s == 60.0


@pytest.mark.parametrize(
    ("when", "reason"),
    [
        ({"Modality": "MR"}, "route r: Modality is CT, not MR"),
        ({"BodyPartExamined": ["HEAD", "NECK"]}, "route r: BodyPartExamined is CHEST, not HEAD or NECK"),
        ({"SliceThickness": "<= 3"}, "route r: SliceThickness is 5.0, not <= 3"),
        ({"CallingAETitle": "CT2"}, "route r: CallingAETitle is CT1, not CT2"),
        ({"NumberOfInstances": ">= 100"}, "route r: NumberOfInstances is 40, not >= 100"),
    ],
)
def test_a_route_that_does_not_fit_says_which_attribute_differs(when: dict[str, Any], reason: str) -> None:
    routing = routed(axial(), a_route(when=when))
    assert routing.jobs == ()
    assert routing.passed_over == (reason,)


@pytest.mark.parametrize(
    ("instances", "reason"),
    [
        (axial(spacing_mm=12.0), "slice spacing 12.0 mm > 10.0 mm"),
        (axial(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), "image type LOCALIZER is excluded"),
        (axial(10), "10 images < 20"),
        (axial(ImageOrientationPatient=[0.0, 1.0, 0.0, 0.0, 0.0, -1.0]), "orientation sagittal is not axial"),
        (axial(Modality="MR"), "modality MR is not CT"),
    ],
)
def test_what_the_model_does_not_take_is_skipped_with_the_reason(instances: list[dict[str, Any]], reason: str) -> None:
    (job,) = routed(instances, a_route()).jobs
    assert job.state == "skipped"
    assert reason in str(job.reason)


def test_a_disabled_model_is_passed_over_in_words() -> None:
    (job,) = routed(axial(), a_route(), ct_lung_density=model(enabled=False)).jobs
    assert (job.state, job.reason) == ("skipped", "disabled in the configuration")


@pytest.mark.parametrize("more", [{}, {"folder": "/nowhere"}])
def test_a_model_that_is_disabled_need_not_be_installed(more: dict[str, str]) -> None:
    tree = {"models": [{"name": "ct_lung_density"}, {"name": "absent", "enabled": False, **more}]}
    models = routable_models(Config.model_validate(tree))
    both = a_route(models=["absent", "ct_lung_density"])
    routing = routed(axial(), both, **models)
    assert [job.state for job in routing.jobs] == ["ready"]
    assert routing.passed_over == ("route r: absent is disabled in the configuration",)


def test_a_model_that_two_routes_name_runs_once_for_the_destinations_of_both() -> None:
    first = a_route("first", destinations=["pacs", "archive"])
    second = a_route("second", destinations=["archive", "research"], priority="stat")
    (job,) = routed(axial(), first, second).jobs
    assert job.destinations == ("pacs", "archive", "research")
    assert job.priority == "stat"
    assert job.route == "first, second"


def test_a_deadline_counts_from_the_last_image_and_the_earliest_of_several_routes_holds() -> None:
    routes = a_route("slow", deadline_s=600), a_route("fast", deadline_s=120), a_route("any")
    attributes = series_attributes(axial(), calling_ae_title="CT1", called_ae_title="NODE")
    facts = series_facts(axial(), {CT})
    (job,) = route(attributes, facts, routes, {"ct_lung_density": model()}, last_received_at=1000.0).jobs
    assert job.deadline_at == 1120.0
    (job,) = route(attributes, facts, routes[2:], {"ct_lung_density": model()}, last_received_at=1000.0).jobs
    assert job.deadline_at is None


def test_what_is_skipped_has_no_deadline() -> None:
    instances = axial(10)
    attributes = series_attributes(instances, calling_ae_title="CT1", called_ae_title="NODE")
    models = {"ct_lung_density": model()}
    routing = route(attributes, series_facts(instances, {CT}), [a_route(deadline_s=60)], models, last_received_at=1.0)
    assert [(job.state, job.deadline_at) for job in routing.jobs] == [("skipped", None)]


def test_one_localizer_among_axial_images_does_not_decide_for_the_series() -> None:
    localizer = axial(1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])[0]
    localizer["ImageOrientationPatient"] = [0.0, 1.0, 0.0, 0.0, 0.0, -1.0]
    (job,) = routed([localizer, *axial()], a_route()).jobs
    assert job.state == "ready"


def test_facts_of_a_series_are_those_of_its_geometry() -> None:
    facts = series_facts(axial(31, 2.5), {CT})
    assert (facts.instances, facts.slice_spacing_mm, facts.coverage_mm) == (31, 2.5, 77.5)
    assert facts.orientation == "axial"
    assert facts.image_type == ("ORIGINAL", "PRIMARY", "AXIAL")


def test_facts_name_kernel_pixel_spacing_and_contrast_where_headers_do() -> None:
    stated = {"ConvolutionKernel": ["Br40d", "3"], "PixelSpacing": [0.7, 0.8], "ContrastBolusAgent": "Iohexol"}
    facts = series_facts(axial(**stated), {CT})
    assert (facts.convolution_kernel, facts.pixel_spacing_mm, facts.contrast_agent) == (
        "Br40d 3",
        (0.7, 0.8),
        "Iohexol",
    )
    assert series_facts(axial(), {CT}).contrast_agent == ""
    # An enhanced object names its agent in a sequence, which only the volume's header shows.
    assert series_facts([{"Modality": "CT", "NumberOfFrames": 60}], {CT}).contrast_agent is None


def test_frames_of_a_multi_frame_instance_count_one_by_one() -> None:
    assert series_facts([{"Modality": "CT", "NumberOfFrames": 60}], {CT}).instances == 60


def test_an_empty_series_has_facts_and_no_job_that_runs() -> None:
    (job,) = routed([], a_route()).jobs
    assert job.state == "skipped"
