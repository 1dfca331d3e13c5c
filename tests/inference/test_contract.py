"""The input contract: every refusal says the rule and the value that broke it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from inference.contract import CompanionContract, InputContract, SeriesContract, SeriesFacts

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


@pytest.mark.parametrize(
    ("rule", "facts", "reasons"),
    [
        ({"convolution_kernels": (r"B[1-4]\df",)}, {"convolution_kernel": "B31f"}, []),
        ({"convolution_kernels": (r"br\d+\w*( \d)?",)}, {"convolution_kernel": "Br40d 3"}, []),
        ({"convolution_kernels": ("STANDARD", "SOFT")}, {"convolution_kernel": "soft"}, []),
        (
            {"convolution_kernels": ("STANDARD", "SOFT")},
            {"convolution_kernel": "BONEPLUS"},
            ["convolution kernel BONEPLUS is not STANDARD or SOFT"],
        ),
        (
            {"convolution_kernels": ("B3",)},
            {"convolution_kernel": "B31f"},
            ["convolution kernel B31f is not B3"],
        ),
        ({"convolution_kernels": ("STANDARD",)}, {"convolution_kernel": ""}, []),
        (
            {"convolution_kernels": (r"B\d+f",), "convolution_kernel_excludes": (r"B[6-9]\d.*",)},
            {"convolution_kernel": "B70f"},
            [r"convolution kernel B70f is excluded (B[6-9]\d.*)"],
        ),
        ({"contrast": "present"}, {"contrast_agent": "Iohexol"}, []),
        ({"contrast": "present"}, {"contrast_agent": None}, []),
        (
            {"contrast": "present"},
            {"contrast_agent": ""},
            ["no contrast agent is stated, and the model takes images with contrast only"],
        ),
        (
            {"contrast": "present"},
            {"contrast_agent": "none"},
            ["no contrast agent is stated, and the model takes images with contrast only"],
        ),
        ({"contrast": "absent"}, {"contrast_agent": "NO"}, []),
        (
            {"contrast": "absent"},
            {"contrast_agent": "APPLIED"},
            ["contrast agent APPLIED, and the model takes images without contrast only"],
        ),
        ({"max_pixel_spacing_mm": 1.0}, {"pixel_spacing_mm": (0.8, 0.8)}, []),
        ({"max_pixel_spacing_mm": 1.0}, {"pixel_spacing_mm": (0.8, 1.25)}, ["pixel spacing 1.25 mm > 1.00 mm"]),
        ({"min_pixel_spacing_mm": 0.5}, {"pixel_spacing_mm": (0.488, 0.6)}, ["pixel spacing 0.488 mm < 0.500 mm"]),
        ({"min_pixel_spacing_mm": 0.5}, {"pixel_spacing_mm": None}, []),
        ({"image_type_requires": ("ORIGINAL", "axial")}, {}, []),
        ({"image_type_requires": ("WATER",)}, {}, ["image type has no WATER"]),
        ({"image_type_requires": ("WATER",)}, {"image_type": ()}, []),
    ],
)
def test_rules_of_kernel_contrast_pixels_and_image_type(
    rule: dict[str, object], facts: dict[str, object], reasons: list[str]
) -> None:
    contract = SeriesContract.model_validate({"modality": "CT", **rule})
    assert contract.reasons_against(replace(FITTING, **facts)) == reasons  # type: ignore[arg-type]


def test_all_broken_rules_are_named_at_once() -> None:
    reasons = CONTRACT.reasons_against(replace(FITTING, instances=3, coverage_mm=15.0))
    assert reasons == ["3 images < 20", "images cover 15 mm < 150 mm"]


def test_a_fact_that_headers_do_not_state_refuses_nothing() -> None:
    silent = SeriesFacts(modality="CT", instances=60)
    assert CONTRACT.reasons_against(silent) == []


def test_a_slight_tilt_of_the_head_rest_is_still_axial() -> None:
    tilted = (1.0, 0.0, 0.0, 0.0, 0.948, -0.317)
    assert replace(FITTING, image_orientation=tilted).orientation == "axial"


@pytest.mark.parametrize("description", ["Thorax ARTERIAL 1mm", "art. phase"])
def test_a_description_is_found_anywhere_without_regard_to_case(description: str) -> None:
    contract = SeriesContract(modality="CT", description=r"arterial|\bart\.")
    assert contract.reasons_against(replace(FITTING, series_description=description)) == []


@pytest.mark.parametrize(("description", "shown"), [("venous", "venous"), ("", "not stated")])
def test_another_description_or_none_breaks_the_rule(description: str, shown: str) -> None:
    contract = SeriesContract(modality="CT", description="arterial")
    reasons = contract.reasons_against(replace(FITTING, series_description=description))
    assert reasons == [f"description {shown} does not have arterial"]


@pytest.mark.parametrize(
    ("tree", "rule"),
    [
        ({"modality": "CT", "description": "(art"}, "must be a regular expression"),
        ({"modality": "CT", "convolution_kernels": ("B[",)}, "must be a regular expression"),
        (
            {"modality": "CT", "min_pixel_spacing_mm": 1.0, "max_pixel_spacing_mm": 0.5},
            "min_pixel_spacing_mm 1 is above max_pixel_spacing_mm 0.5",
        ),
        (
            {"modality": "CT", "companions": ({"name": "a", "scope": "study", "series": {"modality": "CT"}},) * 2},
            "companion a is given twice",
        ),
        (
            {
                "modality": "CT",
                "companions": ({"name": "a", "scope": "study", "max_age_days": 3, "series": {"modality": "CT"}},),
            },
            "max_age_days is for scope prior",
        ),
    ],
)
def test_a_contract_that_contradicts_itself_is_refused(tree: dict[str, object], rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        InputContract.model_validate(tree)


def test_a_companion_is_found_by_its_name() -> None:
    prior = CompanionContract(name="prior", scope="prior", series=SeriesContract(modality="CT"))
    contract = InputContract(modality="CT", companions=(prior,))
    assert contract.companion("prior") is prior
    assert (prior.required, prior.wait_s) == (True, 1800.0)
    with pytest.raises(KeyError):
        contract.companion("arterial")
