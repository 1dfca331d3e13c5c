"""What a route asks of a series, and the reason when a series does not have it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword

from dicom_node.conditions import (
    FACT_KEYWORDS,
    MAX_CHOICES,
    NUMBER_KEYWORDS,
    ROUTING_KEYWORDS,
    Condition,
    parse_clause,
)
from dicom_node.patterns import MAX_TEXT_CHARACTERS, compile_pattern

CT = {"Modality": "CT", "SliceThickness": "1.25", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"]}


def reason(written: dict[str, object], values: dict[str, object]) -> str | None:
    return Condition(tuple(parse_clause(keyword, value) for keyword, value in written.items())).reason_against(values)


def test_every_keyword_is_one_of_the_data_dictionary_or_a_fact_of_the_node() -> None:
    for keyword in set(ROUTING_KEYWORDS) - set(FACT_KEYWORDS):
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        assert (dictionary_VR(tag) in {"DS", "IS"}) == (keyword in NUMBER_KEYWORDS), keyword
        assert (tag >> 16) != 0x0010, f"{keyword} is an attribute of the patient"


def test_a_condition_that_asks_for_nothing_lets_everything_through() -> None:
    assert Condition().reason_against({}) is None


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ({"Modality": "CT"}, {"Modality": " ct "}),
        ({"BodyPartExamined": ["CHEST", "THORAX"]}, {"BodyPartExamined": "Thorax"}),
        ({"SeriesDescription": "/lung|chest/i"}, {"SeriesDescription": "1.25mm LUNG"}),
        ({"SeriesDescription": "!/phantom/i"}, {"SeriesDescription": "LUNG"}),
        ({"SeriesDescription": "!/phantom/i"}, {}),
        ({"ImageType": "!= LOCALIZER"}, CT),
        ({"ImageType": ["!LOCALIZER", "!DERIVED"]}, CT),
        ({"ImageType": "axial"}, CT),
        ({"SliceThickness": "<= 1.25"}, CT),
        ({"SliceThickness": "< 1.26"}, CT),
        ({"SliceThickness": ">= 1.25"}, CT),
        ({"SliceThickness": 1.25}, CT),
        ({"SliceThickness": [1, 1.25]}, CT),
        ({"SliceThickness": "0.5 to 1.25"}, CT),
        ({"SliceThickness": "!= 5"}, CT),
        ({"SliceThickness": "<= 0.3"}, {"SliceThickness": 0.1 + 0.2}),
        ({"ContrastBolusAgent": "absent"}, {"ContrastBolusAgent": ""}),
        ({"ContrastBolusAgent": "present"}, {"ContrastBolusAgent": "x"}),
        ({"CallingAETitle": "CT1"}, {"CallingAETitle": "CT1 "}),
        ({"NumberOfInstances": ">= 20"}, {"NumberOfInstances": 20}),
    ],
)
def test_a_series_that_has_what_is_asked_goes_through(written: dict[str, object], values: dict[str, object]) -> None:
    assert reason(written, values) is None


@pytest.mark.parametrize(
    ("written", "values", "expected"),
    [
        ({"Modality": "CT"}, {"Modality": "MR"}, "Modality is MR, not CT"),
        ({"Modality": "CT"}, {}, "Modality is absent, not CT"),
        ({"Modality": ["CT", "PT"]}, {"Modality": "MR"}, "Modality is MR, not CT or PT"),
        ({"Modality": "CT"}, {"Modality": "CTX"}, "Modality is CTX, not CT"),
        ({"CallingAETitle": "CT1"}, {"CallingAETitle": "ct1"}, "CallingAETitle is ct1, not CT1"),
        ({"SliceThickness": "<= 1"}, CT, "SliceThickness is 1.25, not <= 1"),
        ({"SliceThickness": "> 1.25"}, CT, "SliceThickness is 1.25, not > 1.25"),
        ({"SliceThickness": "<= 5"}, {"SliceThickness": "thick"}, "SliceThickness is thick, not <= 5"),
        ({"SliceThickness": "<= 5"}, {"SliceThickness": "nan"}, "SliceThickness is nan, not <= 5"),
        ({"SliceThickness": "< 5"}, {}, "SliceThickness is absent, not < 5"),
        (
            {"ImageType": ["!= LOCALIZER"]},
            {"ImageType": ["ORIGINAL", "LOCALIZER"]},
            "ImageType is ORIGINAL\\LOCALIZER, which the route excludes (!= LOCALIZER)",
        ),
        (
            {"ContrastBolusAgent": "absent"},
            {"ContrastBolusAgent": "OMNIPAQUE"},
            "ContrastBolusAgent is OMNIPAQUE, but must be absent",
        ),
        ({"ContrastBolusAgent": "present"}, {}, "ContrastBolusAgent is absent"),
        ({"SeriesDescription": "/lung/"}, {"SeriesDescription": "LUNG"}, "SeriesDescription is LUNG, not /lung/"),
    ],
)
def test_the_reason_names_attribute_value_and_what_was_asked(
    written: dict[str, object], values: dict[str, object], expected: str
) -> None:
    assert reason(written, values) == expected


def test_the_first_attribute_that_differs_is_the_reason() -> None:
    written: dict[str, object] = {"Modality": "CT", "BodyPartExamined": "CHEST"}
    assert reason(written, {"Modality": "CT", "BodyPartExamined": "HEAD"}) == "BodyPartExamined is HEAD, not CHEST"


def test_control_characters_and_length_of_a_value_stay_out_of_the_reason() -> None:
    told = reason({"Modality": "CT"}, {"Modality": "\x1b[31m\r\n" + "X" * 500})
    assert told is not None
    assert told.isprintable()
    assert len(told) < 120


@pytest.mark.parametrize(
    ("keyword", "written"),
    [
        ("PatientName", "DOE"),
        ("Modailty", "CT"),
        ("Modality", True),
        ("Modality", None),
        ("Modality", {"is": "CT"}),
        ("Modality", []),
        ("Modality", ["CT", "!MR"]),
        ("Modality", ["CT", "absent"]),
        ("Modality", ""),
        ("Modality", "!"),
        ("Modality", "<= 5"),
        ("Modality", ["CT"] * (MAX_CHOICES + 1)),
        ("SliceThickness", "thick"),
        ("SliceThickness", "<= five"),
        ("SliceThickness", "=> 5"),
        ("SliceThickness", "5 to 1"),
        ("SliceThickness", "/5/"),
        ("SeriesDescription", "/"),
        ("SeriesDescription", "/a"),
        ("SeriesDescription", "//"),
        ("SeriesDescription", "/(/"),
        ("SeriesDescription", "/a/x"),
        ("SeriesDescription", f"/{'a' * 201}/"),
    ],
)
def test_what_no_series_could_be_judged_by_is_refused(keyword: str, written: Any) -> None:
    with pytest.raises(ValueError):
        parse_clause(keyword, written)


@pytest.mark.parametrize(
    "pattern",
    [
        r"/(a+)+b/",
        r"/(a|aa)+b/",
        r"/(?:a*)*b/",
        r"/(.*)\1/",
        r"/(?=a)b/",
        r"/(?P<n>a)b/",
        r"/.*.*.*.*b/",
        r"/(x{1,50}){1,50}y/",
        r"/(a|a)(a|a)(a|a)a*a*a*b/",
        "/" + "a?" * 40 + "b/",
    ],
)
def test_a_pattern_that_could_take_years_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"too long|repeated group|references|only"):
        compile_pattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        "/lung|chest|thorax/i",
        r"/^(high|hr)?\s*res.*chest/i",
        r"/\b\d{1,2}(\.\d+)? ?mm\b/",
        "/[]a-z]+[^]]/",
        r"/\(b70f\)/i",
        "/a{3}b{,2}c{2,}/",
    ],
)
def test_patterns_that_people_write_are_accepted(pattern: str) -> None:
    assert compile_pattern(pattern).pattern == pattern[1 : pattern.rindex("/")]


_ATOMS = st.sampled_from(["a", "[ab]", ".", r"\w", "(?:ab)", "(a|b)", "(?:a|ab)", "b", "(a?b)"])
_REPEATS = st.sampled_from(["", "", "*", "+", "?", "*?", "{1,9}", "{2}", "{3,}"])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(_ATOMS, _REPEATS), min_size=1, max_size=6), st.sampled_from(["a", "ab"]))
def test_every_accepted_pattern_finishes_on_the_longest_text(parts: list[tuple[str, str]], unit: str) -> None:
    written = "/" + "".join(atom + repeat for atom, repeat in parts) + "z/"
    try:
        pattern = compile_pattern(written)
    except ValueError:
        return
    # An exponential pattern would not come back before the test's own timeout.
    assert pattern.search((unit * MAX_TEXT_CHARACTERS)[:MAX_TEXT_CHARACTERS]) is None


def test_only_the_beginning_of_a_text_is_searched() -> None:
    clause = parse_clause("SeriesDescription", "/lung/")
    assert clause.reason_against("x" * (MAX_TEXT_CHARACTERS - 4) + "lung") is None
    assert clause.reason_against("x" * MAX_TEXT_CHARACTERS + "lung") is not None
