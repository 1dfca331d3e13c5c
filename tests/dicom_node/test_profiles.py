"""Which results go to which destination: the first choice, what is made beforehand, and what goes in place of what."""

from __future__ import annotations

from typing import get_args

import pytest

from dicom_node.profiles import (
    NEXT_BEST,
    PROFILES,
    Demand,
    Profile,
    Standing,
    demand,
    first_choice,
    orders,
    orders_besides,
    reserve,
    share,
    substitutes,
)
from dicom_node.result_kinds import RESULT_KINDS, ResultKind, in_words, kind_of, names_maps, report_on, segmentation_of


def wanted(*kinds: ResultKind, may_refuse: bool = True) -> Demand:
    return demand(Profile(kinds), None, may_refuse=may_refuse)


GENERIC = demand(PROFILES["generic-pacs"], None, may_refuse=True)
SLICER = demand(PROFILES["slicer"], None, may_refuse=True)
LABELMAP = wanted("seg_labelmap", "sr")


@pytest.mark.parametrize(
    ("kinds", "ordered"),
    [
        (("seg", "sr", "sc"), {"seg", "sr", "sc"}),
        (("sr", "seg_labelmap"), {"sr-seg_labelmap", "seg_labelmap"}),
        (("sr", "sc"), {"sr-alone", "sc"}),
        (("sr_comprehensive",), {"sr_comprehensive-alone"}),
        (("seg", "sr_text"), {"seg", "sr_text"}),
        (("seg_labelmap", "seg", "sr"), {"seg_labelmap", "seg", "sr-seg_labelmap"}),
        (("seg", "sr", "parametric_map"), {"seg", "sr-maps", "parametric_map"}),
        (("sr", "sr_text", "parametric_map"), {"sr-alone-maps", "sr_text", "parametric_map"}),
    ],
)
def test_a_report_refers_to_the_segmentation_that_its_receiver_gets(
    kinds: tuple[ResultKind, ...], ordered: set[str]
) -> None:
    assert set(first_choice(wanted(*kinds))) == ordered


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_names_kinds_that_exist_and_each_but_the_picture_has_a_next_best(name: str) -> None:
    profile = PROFILES[name]
    assert set(profile.kinds) <= set(RESULT_KINDS)
    of = demand(profile, None, may_refuse=True)
    assert all(of.next_best[kind] for kind in of.kinds if kind != "sc")
    for ordered in orders([of]):
        assert kind_of(ordered) in get_args(ResultKind)


def test_what_is_ordered_and_what_is_referred_to_are_the_reverse_of_each_other() -> None:
    for kind in ("sr", "sr_comprehensive"):
        for segmentation in (None, "seg", "seg_labelmap", "seg_fractional"):
            for maps in (True, False):
                ordered = report_on(kind, segmentation, maps=maps)  # type: ignore[arg-type]
                assert (segmentation_of(ordered), names_maps(ordered)) == (segmentation, maps)
    assert segmentation_of("sr_text") is segmentation_of("sc") is None
    assert not names_maps("parametric_map")


def test_the_next_best_are_made_beforehand_where_a_destination_may_refuse_and_nowhere_else() -> None:
    assert reserve(GENERIC) == {"sr-alone", "sr_comprehensive", "sr_comprehensive-alone", "sr_text"}
    assert orders([GENERIC]) == {*first_choice(GENERIC), *reserve(GENERIC)}
    folder = wanted("seg", "sr", may_refuse=False)
    assert orders([folder]) == {"seg", "sr"}
    assert orders([folder, wanted("sr", may_refuse=False)]) == {"seg", "sr", "sr-alone"}
    assert {"seg", "sr", "sr-alone", "sr-seg_labelmap"} <= orders([LABELMAP])


def test_kinds_that_a_destination_names_take_the_place_of_those_of_its_profile_and_the_next_best_stay() -> None:
    of = demand(PROFILES["ohif"], ("sr",), may_refuse=True)
    assert first_choice(of) == ("sr-alone",)
    assert of.next_best["sr"] == NEXT_BEST["sr"]


def test_where_the_next_best_is_refused_too_the_rest_of_its_own_row_follows() -> None:
    of = demand(Profile(("sr",), {"sr": ("sr_text",), "sr_text": ("pdf",)}), None, may_refuse=True)
    assert dict(of.next_best) == {"sr": ("sr_text",), "sr_text": ()}


def test_a_destination_gets_its_first_choice_where_all_is_sound() -> None:
    got = share(GENERIC, orders([GENERIC]), ())
    assert (set(got.ordered), got.instead) == ({"seg", "sr", "sc"}, {})


def test_what_has_nothing_to_say_is_no_loss() -> None:
    got = share(GENERIC, {"sr", "sr-alone", "sc"}, ())
    assert (set(got.ordered), got.instead, got.is_lost) == ({"sr", "sc"}, {}, False)
    nothing = share(wanted("seg", "parametric_map"), (), ())
    assert (nothing.ordered, nothing.is_lost) == ((), False)


def test_a_label_map_that_cannot_hold_what_was_found_is_made_up_for_by_the_binary_segmentation() -> None:
    made = orders([LABELMAP]) - {"seg_labelmap"}
    got = share(LABELMAP, made, ())
    assert set(got.ordered) == {"seg", "sr"}
    assert got.instead == {"seg_labelmap": "seg", "sr-seg_labelmap": "sr"}
    assert orders_besides([LABELMAP], {"sr-seg_labelmap"}, ()) == reserve(LABELMAP)
    assert orders_besides([GENERIC], {"sr", "sc"}, ()) == frozenset()


def test_the_next_best_goes_in_place_of_what_is_not_sound() -> None:
    assert share(GENERIC, orders([GENERIC]) - {"sr"}, {"sr"}).instead == {"sr": "sr-alone"}
    lost = {"sr", "sr-alone", "sr_comprehensive"}
    got = share(GENERIC, orders([GENERIC]) - {*lost, "sr_comprehensive-alone"}, lost)
    assert got.instead == {"sr": "sr_text"}
    assert set(got.ordered) == {"seg", "sr_text", "sc"}
    without = share(wanted("sc"), (), {"sc"})
    assert (without.ordered, dict(without.instead), without.is_lost) == ((), {"sc": None}, True)


def test_with_a_segmentation_that_is_not_sound_goes_the_report_that_refers_to_none() -> None:
    got = share(GENERIC, orders([GENERIC]) - {"seg"}, {"seg"})
    assert got.instead == {"seg": "sc", "sr": "sr-alone"}
    assert set(got.ordered) == {"sc", "sr-alone"}
    folder = wanted("seg", "sr", may_refuse=False)
    assert set(share(folder, {"sr"}, {"seg"}).ordered) == {"sr"}, "it was made without, so it refers to none"
    assert "sc" in orders_besides([folder], {"sr"}, {"seg"})


def standing(*going: str, kept: frozenset[str] | None = None, gone: frozenset[str] = frozenset()) -> Standing:
    rows = frozenset(going)
    return Standing(orders([GENERIC, LABELMAP]) if kept is None else kept, rows, rows, gone)


def test_a_report_whose_class_is_not_taken_goes_as_the_next_one_that_refers_alike() -> None:
    now = standing("seg", "sr", "sc")
    assert substitutes(GENERIC, now, ["sr"], ["sr"]) == {"sr": "sr_comprehensive"}
    later = standing("seg", "sr_comprehensive", "sc", gone=frozenset({"sr"}))
    assert substitutes(GENERIC, later, ["sr_comprehensive"], ["sr_comprehensive"]) == {"sr_comprehensive": "sr_text"}


def test_a_segmentation_that_is_not_taken_takes_its_reference_out_of_the_report() -> None:
    now = standing("seg", "sr", "sc")
    assert substitutes(GENERIC, now, ["seg"], ["seg"]) == {"seg": "sc", "sr": "sr-alone"}
    assert substitutes(GENERIC, now, ["seg", "sr"], ["seg", "sr"]) == {"seg": "sc", "sr": "sr_comprehensive-alone"}
    assert substitutes(GENERIC, now, ["seg"], []) == {"sr": "sr-alone"}, "refused for what it holds"


def test_a_label_map_that_is_not_taken_goes_as_binary_segmentation_and_the_report_follows() -> None:
    now = standing("seg_labelmap", "sr-seg_labelmap")
    assert substitutes(LABELMAP, now, ["seg_labelmap"], ["seg_labelmap"]) == {
        "seg_labelmap": "seg",
        "sr-seg_labelmap": "sr",
    }
    then = standing("seg", "sr", gone=frozenset({"seg_labelmap", "sr-seg_labelmap"}))
    assert substitutes(LABELMAP, then, ["seg"], ["seg"]) == {"seg": "sc", "sr": "sr-alone"}


def test_a_report_refers_to_heat_maps_only_where_its_receiver_gets_them() -> None:
    made = orders([SLICER])
    assert set(share(SLICER, made, ()).ordered) == {"seg", "sr-maps", "parametric_map"}
    assert set(share(SLICER, made - {"parametric_map"}, ()).ordered) == {"seg", "sr-maps"}, "there is no heat map"
    without = share(SLICER, made - {"parametric_map"}, {"parametric_map"})
    assert set(without.ordered) == {"seg", "sr", "sc"}
    assert without.instead == {"parametric_map": "sc", "sr-maps": "sr"}
    assert "sr" in orders_besides(
        [wanted("seg", "sr", "parametric_map", may_refuse=False)], {"seg"}, {"parametric_map"}
    )


def test_a_heat_map_that_is_not_taken_takes_its_reference_out_of_the_report() -> None:
    now = Standing(orders([SLICER]), going := frozenset(first_choice(SLICER)), going, frozenset())
    refused = ["parametric_map"]
    assert substitutes(SLICER, now, refused, refused) == {"parametric_map": "sc", "sr-maps": "sr"}
    assert substitutes(SLICER, now, ["sr-maps"], ["sr-maps"]) == {"sr-maps": "sr_comprehensive-maps"}
    assert substitutes(SLICER, now, ["seg"], ["seg"]) == {"seg": "sc", "sr-maps": "sr-alone"}
    both = ["seg", "parametric_map"]
    assert substitutes(SLICER, now, both, both) == {"seg": "sc", "parametric_map": "sc", "sr-maps": "sr-alone"}
    assert substitutes(SLICER, now, refused, []) == {"sr-maps": "sr"}, "refused for what it holds"


def test_where_everything_is_refused_at_once_nothing_stands_in_for_anything() -> None:
    now = standing("seg", "sr", "sc", kept=frozenset({"seg", "sr", "sr-alone", "sc"}))
    assert substitutes(GENERIC, now, ["seg", "sr", "sc"], ["seg", "sr", "sc"]) == {}


def test_people_read_what_is_ordered_in_words() -> None:
    said = [in_words(ordered) for ordered in ("seg", "sr-alone", "sr_comprehensive-seg_labelmap", "sr-maps", "ko")]
    assert said == ["SEG", "SR alone", "Comprehensive SR on label map SEG", "SR with maps", "KO"]
