"""The input contract: every refusal says the rule and the value that broke it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inference.contract import InputContract, SeriesFacts

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CONTRACT = InputContract(
    modality="CT",
    sop_class_uids=("1.2.840.10008.5.1.4.1.1.2",),
    orientation="axial",
    min_instances=20,
    min_slice_spacing_mm=0.5,
    max_slice_spacing_mm=5.0,
    min_coverage_mm=150.0,
    image_type_excludes=("LOCALIZER", "DERIVED"),
    body_parts=("CHEST", "LUNG"),
    gantry_tilt="refuse",
)
FITTING = SeriesFacts(
    modality="CT",
    instances=60,
    sop_class_uids=frozenset({"1.2.840.10008.5.1.4.1.1.2"}),
    image_type=("ORIGINAL", "PRIMARY", "AXIAL"),
    image_orientation=AXIAL,
    slice_spacing_mm=5.0,
    coverage_mm=300.0,
    gantry_tilt_deg=0.0,
    body_part="Chest",
)


def test_a_fitting_series_meets_no_objection() -> None:
    assert CONTRACT.reasons_against(FITTING) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"modality": "MR"}, "modality MR is not CT"),
        ({"modality": ""}, "modality not stated is not CT"),
        ({"slice_spacing_mm": 8.0}, "slice spacing 8.0 mm > 5.0 mm"),
        ({"slice_spacing_mm": 0.25}, "slice spacing 0.25 mm < 0.50 mm"),
        ({"instances": 3}, "3 images < 20"),
        ({"image_type": ("ORIGINAL", "PRIMARY", "localizer")}, "image type localizer is excluded"),
        ({"image_orientation": (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)}, "orientation sagittal is not axial"),
        ({"image_orientation": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)}, "orientation coronal is not axial"),
        ({"image_orientation": (1.0, 0.0, 0.0, 0.0, 0.7, -0.7)}, "orientation oblique is not axial"),
        ({"body_part": "HEAD"}, "body part HEAD is not CHEST or LUNG"),
        ({"coverage_mm": 40.0}, "images cover 40 mm < 150 mm"),
        ({"gantry_tilt_deg": -18.5}, "gantry tilt -18.5 degrees, and the model takes none"),
        ({"sop_class_uids": frozenset({"1.2.3"})}, "SOP class 1.2.3 is not among those the model reads"),
    ],
)
def test_a_broken_rule_is_named_with_its_value(change: dict[str, object], reason: str) -> None:
    assert CONTRACT.reasons_against(replace(FITTING, **change)) == [reason]  # type: ignore[arg-type]


def test_all_broken_rules_are_named_at_once() -> None:
    reasons = CONTRACT.reasons_against(replace(FITTING, instances=3, coverage_mm=15.0))
    assert reasons == ["3 images < 20", "images cover 15 mm < 150 mm"]


def test_a_fact_that_headers_do_not_state_refuses_nothing() -> None:
    silent = SeriesFacts(modality="CT", instances=60)
    assert CONTRACT.reasons_against(silent) == []


def test_a_slight_tilt_of_the_head_rest_is_still_axial() -> None:
    tilted = (1.0, 0.0, 0.0, 0.0, 0.948, -0.317)
    assert replace(FITTING, image_orientation=tilted).orientation == "axial"
