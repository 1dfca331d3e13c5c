"""Remarks: where the protocol is outside what densitometry is validated for, the report says so with the value."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from inference.models.ct_lung_density.protocol import SHARP, SMOOTH, UNKNOWN, kernel_class, remarks_on


def header(**attributes: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in {"SliceThickness": "1.0", "ConvolutionKernel": "B30f", **attributes}.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("B30f", SMOOTH),
        ("B40f", SMOOTH),
        ("B45f", SHARP),
        ("B70s", SHARP),
        ("Br38f 3", SMOOTH),
        ("Bl57d", SHARP),
        ("Qr40", SMOOTH),
        ("STANDARD", SMOOTH),
        ("LUNG", SHARP),
        ("BONEPLUS", SHARP),
        ("FC12", SMOOTH),
        ("FC52", SHARP),
        ("C", SMOOTH),
        ("YB", SHARP),
        ("", UNKNOWN),
        ("Homemade 7", UNKNOWN),
    ],
)
def test_kernels_are_known_by_their_makers_names(name: str, kind: str) -> None:
    assert kernel_class(name) == kind


def test_a_protocol_within_the_validated_range_needs_no_remark() -> None:
    assert remarks_on(header(), spacing_mm=1.0, air_hu=-990.0) == ()


@pytest.mark.parametrize(
    ("attributes", "spacing_mm", "air_hu", "key", "words"),
    [
        ({"SliceThickness": "5"}, 1.0, -990.0, "slice_thickness", "5.0 mm > 1.5 mm"),
        ({"SliceThickness": None}, 8.0, -990.0, "slice_thickness", "8.0 mm > 1.5 mm"),
        ({"ConvolutionKernel": "LUNG"}, 1.0, -990.0, "kernel", "kernel LUNG is sharp"),
        ({"ConvolutionKernel": ["Br59d", "3"]}, 1.0, -990.0, "kernel", "kernel Br59d 3 is sharp"),
        ({"ConvolutionKernel": None}, 1.0, -990.0, "kernel", "kernel not stated"),
        ({"ContrastBolusAgent": "APPLIED"}, 1.0, -990.0, "contrast", "contrast medium was given"),
        ({}, 1.0, -900.0, "calibration", "reads -900 HU, not -1025 to -950 HU"),
    ],
)
def test_each_departure_is_one_remark_with_its_value(
    attributes: dict[str, object], spacing_mm: float, air_hu: float, key: str, words: str
) -> None:
    remarks = remarks_on(header(**attributes), spacing_mm, air_hu)
    assert [remark[0] for remark in remarks] == [key]
    assert words in remarks[0][1]
