"""Which other series does a model read beside the one it runs on? Pure: candidates in, a choice or its absence in words.

A prior must be of the same person. Patient ID alone does not say so: other hospitals issue the same ones, so whatever else
both examinations state (issuer, birth date, sex) must agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from inference.contract import CompanionContract, SeriesFacts
from storage.records.jobs import Companion
from storage.records.received import Series

IDENTITY = {"IssuerOfPatientID": "issuer of Patient ID", "PatientBirthDate": "birth date", "PatientSex": "sex"}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A series that a companion may be. taken: Study Date and Study Time, empty where the images do not say them.

    identity: what its images say of the patient, by the keywords of IDENTITY.
    """

    series: Series
    facts: SeriesFacts
    identity: Mapping[str, Any]
    taken: tuple[str, str]

    @property
    def is_whole(self) -> bool:
        return self.series.state == "whole"


def choose(contract: CompanionContract, subject: Candidate, candidates: Sequence[Candidate]) -> Companion:
    """The companion of `subject`, or one without a series and with the reason.

    candidates: other series of the study, or for a prior of all studies under the Patient ID; those that do not fit are told
    from those that do here.
    """
    others = [item for item in candidates if item.series.series_id != subject.series.series_id]
    if contract.scope == "study":
        same = [item for item in others if _study(item) == _study(subject)]
        return _best(contract, subject, same) or _absent(
            contract, f"no fitting series in the study yet{_why(contract, same)}"
        )
    earlier, against = _earlier(contract, subject, others)
    for taken in sorted({item.taken for item in earlier}, reverse=True):
        found = _best(contract, subject, [item for item in earlier if item.taken == taken])
        if found:
            return found
    if earlier:
        return _absent(contract, f"no fitting series in an earlier study{_why(contract, earlier)}")
    return _absent(contract, against)


def _earlier(
    contract: CompanionContract, subject: Candidate, others: Sequence[Candidate]
) -> tuple[list[Candidate], str]:
    """Series of earlier studies of the same person, not too old; and where there are none, why."""
    today = _day(subject)
    if today is None:
        return [], "the images have no study date, so none is known to be earlier"
    before = [item for item in others if _study(item) != _study(subject) and _day(item) and item.taken < subject.taken]
    if not before:
        return [], "no earlier study of the patient is here"
    own = [item for item in before if not _another_person(subject, item)]
    if not own:
        return [], f"the earlier study under the Patient ID has another {_another_person(subject, before[0])}"
    longest = contract.max_age_days
    young = [item for item in own if longest is None or (today - (_day(item) or today)).days <= longest]
    if not young:
        days = min((today - (_day(item) or today)).days for item in own)
        return [], f"the latest earlier study is {days} days older > {longest}"
    return young, ""


def _best(contract: CompanionContract, subject: Candidate, candidates: Sequence[Candidate]) -> Companion | None:
    """Of those that fit, the one most like the subject: the same kernel, then the nearest spacing, then the most images."""
    fitting = [item for item in candidates if item.is_whole and not contract.series.reasons_against(item.facts)]
    if not fitting:
        return None

    def unlikeness(item: Candidate) -> tuple[bool, float, int, str]:
        spacing_mm, wanted_mm = item.facts.slice_spacing_mm, subject.facts.slice_spacing_mm
        apart_mm = abs(spacing_mm - wanted_mm) if spacing_mm is not None and wanted_mm is not None else 0.0
        is_other_kernel = item.facts.convolution_kernel != subject.facts.convolution_kernel
        return is_other_kernel, round(apart_mm, 2), -item.facts.instances, item.series.series_instance_uid

    series = min(fitting, key=unlikeness).series
    return Companion(
        contract.name, series.series_id, series.revision, series.series_instance_uid, series.study_instance_uid
    )


def _why(contract: CompanionContract, candidates: Sequence[Candidate]) -> str:
    """What keeps the nearest of them from fitting."""
    if not candidates:
        return ""
    reasons = min((_reasons(contract, item) for item in candidates), key=lambda item: (len(item), item))
    return f"; of {len(candidates)} there, the nearest: {'; '.join(reasons)}"


def _reasons(contract: CompanionContract, item: Candidate) -> list[str]:
    wholeness = {"whole": [], "arriving": ["it is not whole yet"], "incomplete": ["its images never all came"]}
    return [*contract.series.reasons_against(item.facts), *wholeness[item.series.state]]


def _another_person(one: Candidate, other: Candidate) -> str | None:
    """The attribute that says that these are two people; None where nothing does."""
    for keyword, name in IDENTITY.items():
        here, there = one.identity.get(keyword), other.identity.get(keyword)
        if here and there and here != there:
            return name
    return None


def _absent(contract: CompanionContract, reason: str) -> Companion:
    return Companion(contract.name, absent=reason)


def _study(item: Candidate) -> str:
    return item.series.study_instance_uid


def _day(item: Candidate) -> date | None:
    text = item.taken[0]
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None
