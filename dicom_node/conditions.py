"""Does a series have the attributes that a route asks for? If not, which one differs, in words?

A condition maps attribute keywords to what their values must be; all of them must hold. What may be written:

    Modality: CT                        the value itself; case does not count, save in AE titles
    BodyPartExamined: [CHEST, THORAX]   any of these
    SeriesDescription: /lung|chest/i    a regular expression (/i: without regard to case), found anywhere
    ImageType: "!= LOCALIZER"           anything but this; [..] of such: none of these
    StudyDescription: "!/phantom/i"     no match
    SliceThickness: "<= 5"              a comparison of numbers: < <= > >= = !=
    SliceThickness: 0.5 to 2.5          a range, both ends included
    ContrastBolusAgent: absent          no value; `present`: any value

An attribute of several values (ImageType) fits when one of them fits, and a negation when none does. A negation
holds where the attribute is absent, everything else fails there. Values can hold patient data (a description may
name a person), and so can the reasons: they belong in the database, never in a log.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from dicom_node.patterns import MAX_TEXT_CHARACTERS, compile_pattern

AE_TITLE_KEYWORDS = ("CallingAETitle", "CalledAETitle")
NUMBER_KEYWORDS = ("NumberOfInstances", "SliceThickness")
TEXT_KEYWORDS = (
    "BodyPartExamined",
    "ContrastBolusAgent",
    "ConvolutionKernel",
    "ImageType",
    "InstitutionName",
    "Manufacturer",
    "ManufacturerModelName",
    "Modality",
    "ProtocolName",
    "RequestedProcedureDescription",
    "RequestedProcedurePriority",
    "ScheduledProcedureStepPriority",
    "SeriesDescription",
    "StationName",
    "StudyDescription",
)
# Keywords of the data dictionary (PS3.6), and three facts of the node's own: CallingAETitle and CalledAETitle of
# the association that brought the series, and NumberOfInstances, how many of its instances the node holds.
FACT_KEYWORDS = (*AE_TITLE_KEYWORDS, "NumberOfInstances")
ROUTING_KEYWORDS = tuple(sorted((*AE_TITLE_KEYWORDS, *NUMBER_KEYWORDS, *TEXT_KEYWORDS)))

MAX_CHOICES = 64
_SHOWN_CHARACTERS = 64
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_COMPARISON = re.compile(rf"(?P<sign><=|>=|!=|==|<|>|=)\s*(?P<number>{_NUMBER})")
_RANGE = re.compile(rf"(?P<least>{_NUMBER})\s+to\s+(?P<most>{_NUMBER})")
_SIGNS: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {
        "<": lambda value, bound: value < bound and not math.isclose(value, bound),
        ">": lambda value, bound: value > bound and not math.isclose(value, bound),
        "<=": lambda value, bound: value < bound or math.isclose(value, bound),
        ">=": lambda value, bound: value > bound or math.isclose(value, bound),
        "=": math.isclose,
        "!=": lambda value, bound: not math.isclose(value, bound),
    }
)


@dataclass(frozen=True)
class Matcher:
    """What one attribute must be. `fits` judges one value; `negated` turns "one fits" into "none fits"."""

    written: str
    kind: str  # text | pattern | number | presence
    negated: bool = False
    text: str = ""
    pattern: re.Pattern[str] | None = None
    bounds: tuple[tuple[str, float], ...] = ()
    ignores_case: bool = True

    def fits(self, value: object) -> bool:
        if self.kind == "presence":
            return True
        if self.kind == "number":
            number = _as_number(value)
            return number is not None and all(_SIGNS[sign](number, bound) for sign, bound in self.bounds)
        text = str(value).strip()
        if self.pattern is not None:
            return self.pattern.search(text[:MAX_TEXT_CHARACTERS]) is not None
        return text.casefold() == self.text.casefold() if self.ignores_case else text == self.text


@dataclass(frozen=True)
class Clause:
    """One attribute of a condition and its alternatives; the alternatives are all negated, or none is."""

    keyword: str
    matchers: tuple[Matcher, ...]

    def reason_against(self, value: object) -> str | None:
        """Why `value` (one, a sequence of them, or None for absent) does not do; None where it does."""
        values = _as_values(value)
        negated = self.matchers[0].negated
        fits = any(matcher.fits(one) for one in values for matcher in self.matchers)
        if fits != negated:
            return None
        wanted = " or ".join(matcher.written for matcher in self.matchers)
        if self.matchers[0].kind == "presence":
            return (
                f"{self.keyword} is {_shown(values)}, but must be {wanted}" if values else f"{self.keyword} is absent"
            )
        if negated:
            return f"{self.keyword} is {_shown(values)}, which the route excludes ({wanted})"
        return f"{self.keyword} is {_shown(values) if values else 'absent'}, not {wanted}"


@dataclass(frozen=True)
class Condition:
    """All that a route asks of a series; empty, it lets every series through."""

    clauses: tuple[Clause, ...] = ()

    def as_written(self) -> dict[str, list[str]]:
        """The condition as a `when` section holds it."""
        return {clause.keyword: [matcher.written for matcher in clause.matchers] for clause in self.clauses}

    def reason_against(self, values: Mapping[str, object]) -> str | None:
        """The first attribute that differs, in words ("Modality is MR, not CT"); None where all fit.

        `values` maps keywords of `ROUTING_KEYWORDS` to a string, a number, a sequence of these, or None.
        """
        return next(
            (reason for clause in self.clauses if (reason := clause.reason_against(values.get(clause.keyword)))),
            None,
        )


def parse_clause(keyword: str, written: object) -> Clause:
    """One line of a `when` section. ValueError names the rule that `written` breaks, never the value."""
    if keyword not in ROUTING_KEYWORDS:
        raise ValueError("unknown attribute keyword")
    choices = written if isinstance(written, list | tuple) else [written]
    if not 1 <= len(choices) <= MAX_CHOICES:
        raise ValueError(f"must be a value or a list of 1 to {MAX_CHOICES} values")
    matchers = tuple(_parse_matcher(keyword, choice) for choice in choices)
    if len({matcher.negated for matcher in matchers}) > 1:
        raise ValueError("a list must hold only values to accept, or only values to exclude (!)")
    if len(matchers) > 1 and any(matcher.kind == "presence" for matcher in matchers):
        raise ValueError("present and absent stand alone, not in a list")
    return Clause(keyword, matchers)


def _parse_matcher(keyword: str, written: object) -> Matcher:
    if isinstance(written, bool) or not isinstance(written, str | int | float):
        raise ValueError("must be a text, a number, or a list of these (quote words that YAML reads as yes or no)")
    text = str(written).strip()
    if not text:
        raise ValueError("must not be empty: write absent for an attribute without a value")
    if text in {"present", "absent"}:
        return Matcher(text, "presence", negated=text == "absent")
    if keyword in NUMBER_KEYWORDS:
        return _parse_number(text)
    if text.startswith(("/", "!/")):
        pattern = compile_pattern(text.removeprefix("!"))
        return Matcher(text, "pattern", negated=text.startswith("!"), pattern=pattern)
    negated = text.startswith("!")
    wanted = text.removeprefix("!").removeprefix("=").strip() if negated else text
    if not wanted or wanted.startswith(("<", ">", "=")):
        raise ValueError(f"{keyword} is text: write a value, != value, or /pattern/")
    return Matcher(text, "text", negated=negated, text=wanted, ignores_case=keyword not in AE_TITLE_KEYWORDS)


def _parse_number(text: str) -> Matcher:
    if match := _RANGE.fullmatch(text):
        bounds = ((">=", float(match["least"])), ("<=", float(match["most"])))
        if bounds[0][1] > bounds[1][1]:
            raise ValueError("the lower end of a range must not lie above the upper end")
        return Matcher(text, "number", bounds=bounds)
    match = _COMPARISON.fullmatch(text) or _COMPARISON.fullmatch(f"={text}")
    if match is None:
        raise ValueError("must be a number, a comparison (<= 5), or a range (0.5 to 2.5)")
    sign = "=" if match["sign"] in {"==", "!="} else match["sign"]
    return Matcher(text, "number", negated=match["sign"] == "!=", bounds=((sign, float(match["number"])),))


def _as_values(value: object) -> list[object]:
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return [one for one in value if one is not None and str(one).strip()]
    return [] if value is None or not str(value).strip() else [value]


def _as_number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _shown(values: Sequence[object]) -> str:
    text = "\\".join(str(value).strip() for value in values)
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return printable if len(printable) <= _SHOWN_CHARACTERS else printable[: _SHOWN_CHARACTERS - 1] + "…"
