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

REPORTS: tuple[ResultKind, ...] = ("sr", "sr_comprehensive", "sr_text")

REFERRING: tuple[ResultKind, ...] = ("sr", "sr_comprehensive")
"""Reports that name segments; one of text alone names none."""

DEFAULT_SEGMENTATION: ResultKind = "seg"
"""What a report refers to where nothing else is said."""

ALONE = "alone"


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
    referred = ordered.partition("-")[2] or DEFAULT_SEGMENTATION
    return None if referred == ALONE else kind_of(referred)


def report_on(kind: ResultKind, segmentation: ResultKind | None) -> str:
    """How a kind is ordered for a receiver that gets this Segmentation, or none; the reverse of `segmentation_of`."""
    if kind not in REFERRING or segmentation == DEFAULT_SEGMENTATION:
        return kind
    return f"{kind}-{segmentation or ALONE}"


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
    """For people: "SR", "SR on label map SEG", "Comprehensive SR alone"."""
    kind, _, referred = ordered.partition("-")
    words = _WORDS.get(kind, kind.upper())
    if not referred:
        return words
    return f"{words} alone" if referred == ALONE else f"{words} on {_WORDS.get(referred, referred.upper())}"
