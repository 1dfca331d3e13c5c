"""The kinds of result object, as config.yaml, jobs and the outbox name them. Light to import."""

from __future__ import annotations

from typing import Literal, get_args

ResultKind = Literal[
    "seg",
    "seg_fractional",
    "seg_labelmap",
    "sr",
    "sr_comprehensive",
    "sr_text",
    "sc",
    "gsps",
    "key_images",
    "parametric_map",
    "pdf",
]
RESULT_KINDS: tuple[ResultKind, ...] = get_args(ResultKind)

SEGMENTATIONS: tuple[ResultKind, ...] = ("seg", "seg_fractional", "seg_labelmap")
"""Kinds of which a report names the segments."""

MAP: ResultKind = "parametric_map"

REPORTS: tuple[ResultKind, ...] = ("sr", "sr_comprehensive", "sr_text")

REFERRING: tuple[ResultKind, ...] = ("sr", "sr_comprehensive")
"""Reports that name segments and heat maps; one of text alone names none."""

DEFAULT_SEGMENTATION: ResultKind = "seg"
"""What a report refers to where nothing else is said."""

ALONE, MAPS = "alone", "maps"


def kind_of(ordered: str) -> ResultKind:
    """What is ordered by "sr", "sr-seg_labelmap" or "sr-alone": here the kind "sr".

    Raises ValueError where there is no such kind.
    """
    name = ordered.partition("-")[0]
    for kind in RESULT_KINDS:
        if kind == name:
            return kind
    raise ValueError(f"{ordered!r} is no kind of result; there are {', '.join(RESULT_KINDS)}")


def segmentation_of(ordered: str) -> ResultKind | None:
    """The kind of Segmentation that an ordered report refers to: a receiver must be able to find what it is told of.

    "sr" refers to "seg", "sr-seg_labelmap" to that, "sr-alone" to none; and no other kind than these reports to any.
    """
    if kind_of(ordered) not in REFERRING:
        return None
    referred = _referred(ordered)[0] or DEFAULT_SEGMENTATION
    return None if referred == ALONE else kind_of(referred)


def names_maps(ordered: str) -> bool:
    """Whether an ordered report refers to the Parametric Maps of its job too: "sr-maps", "sr-alone-maps"."""
    return kind_of(ordered) in REFERRING and _referred(ordered)[1]


def report_on(kind: ResultKind, segmentation: ResultKind | None, *, maps: bool = False) -> str:
    """How a kind is ordered for a receiver that gets this Segmentation, or none, and the Parametric Maps or not.

    The reverse of `segmentation_of` and `names_maps`.
    """
    if kind not in REFERRING:
        return kind
    on = [] if segmentation == DEFAULT_SEGMENTATION else [segmentation or ALONE]
    return "-".join([kind, *on, *([MAPS] if maps else [])])


def _referred(ordered: str) -> tuple[str, bool]:
    """What stands behind the kind: the Segmentation, empty for the default one, and whether maps do."""
    _, _, behind = ordered.partition("-")
    named, _, last = behind.rpartition("-")
    return (named, True) if last == MAPS else (behind, False)


_WORDS: dict[str, str] = {
    "seg": "SEG",
    "seg_fractional": "fractional SEG",
    "seg_labelmap": "label map SEG",
    "sr": "SR",
    "sr_comprehensive": "Comprehensive SR",
    "sr_text": "Basic Text SR",
    "sc": "SC",
    "gsps": "GSPS",
    "key_images": "key images",
    "parametric_map": "parametric map",
    "pdf": "PDF",
    "ko": "KO",
}


def in_words(ordered: str) -> str:
    """For people: "SR", "SR on label map SEG", "Comprehensive SR alone", "SR with maps"."""
    kind = ordered.partition("-")[0]
    referred, maps = _referred(ordered)
    words = _WORDS.get(kind, kind.upper())
    if referred == ALONE:
        words += " alone"
    elif referred:
        words += f" on {_WORDS.get(referred, referred.upper())}"
    return f"{words} with maps" if maps else words
