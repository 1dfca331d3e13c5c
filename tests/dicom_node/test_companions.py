"""Which series a model reads besides: the likest that fits, of the same person, and where there is none, why."""

from __future__ import annotations

from typing import Any

import pytest

from dicom_node.companions import Candidate, choose
from inference.contract import CompanionContract, SeriesContract, SeriesFacts
from storage.records.received import Series, SeriesState

PRIOR = CompanionContract(
    name="prior", scope="prior", max_age_days=730, series=SeriesContract(modality="CT", min_instances=20)
)
ARTERIAL = CompanionContract(
    name="arterial", scope="study", series=SeriesContract(modality="CT", description="arterial|art\\b")
)
IDENTITY = {"IssuerOfPatientID": "HOSPITAL", "PatientBirthDate": "19500203", "PatientSex": "F"}
_numbers = iter(range(1, 1000))


def candidate(
    study: str = "now",
    date: str = "20260105",
    *,
    time: str = "101500",
    state: SeriesState = "whole",
    identity: dict[str, Any] | None = None,
    uid: str | None = None,
    **facts: Any,
) -> Candidate:
    number = next(_numbers)
    series = Series(number, uid or f"1.2.{number}", study, state, 1, 40, 0.0, 0.0, None)
    values = {"modality": "CT", "instances": 40, "slice_spacing_mm": 1.0, "convolution_kernel": "B30f"} | facts
    return Candidate(series, SeriesFacts(**values), IDENTITY if identity is None else identity, (date, time))


NOW = candidate()


def absent(contract: CompanionContract, *candidates: Candidate, subject: Candidate = NOW) -> str:
    chosen = choose(contract, subject, [subject, *candidates])
    assert chosen.series_id is None
    return chosen.absent or ""


def chosen(contract: CompanionContract, *candidates: Candidate) -> str:
    found = choose(contract, NOW, [NOW, *candidates])
    assert found.absent is None
    assert found.name == contract.name
    (one,) = [item for item in candidates if item.series.series_id == found.series_id]
    assert (found.series_instance_uid, found.revision) == (one.series.series_instance_uid, one.series.revision)
    assert found.study_instance_uid == one.series.study_instance_uid
    return found.series_instance_uid or ""


def test_the_prior_is_of_the_latest_earlier_study() -> None:
    older, old = candidate("older", "20240601"), candidate("old", "20250601")
    later, same_day = candidate("later", "20260201"), candidate("earlier today", time="080000", uid="1.2.9000")
    assert chosen(PRIOR, older, old, later) == old.series.series_instance_uid
    assert chosen(PRIOR, older, old, later, same_day) == "1.2.9000"


def test_an_earlier_study_with_nothing_that_fits_is_passed_over_for_one_before_it() -> None:
    old = candidate("old", "20250601")
    assert chosen(PRIOR, old, candidate("between", "20251001", instances=3)) == old.series.series_instance_uid


def test_of_several_series_of_a_study_the_likest_is_read_whatever_their_order() -> None:
    sharp = candidate("old", "20250601", convolution_kernel="B70f")
    thick = candidate("old", "20250601", slice_spacing_mm=5.0, instances=400)
    likest = candidate("old", "20250601")
    fewer = candidate("old", "20250601", instances=30)
    for order in ((sharp, thick, likest, fewer), (fewer, likest, thick, sharp)):
        assert chosen(PRIOR, *order) == likest.series.series_instance_uid
    assert chosen(PRIOR, sharp, thick) == thick.series.series_instance_uid


@pytest.mark.parametrize(
    ("candidates", "reason"),
    [
        ((), "no earlier study of the patient is here"),
        ((candidate("later", "20260201"),), "no earlier study of the patient is here"),
        ((candidate("now", "20250601"),), "no earlier study of the patient is here"),
        ((candidate("old", ""),), "no earlier study of the patient is here"),
        ((candidate("old", "20230105"),), "the latest earlier study is 1096 days older > 730"),
        (
            (candidate("old", "20250601", modality="MR"), candidate("old", "20250601", modality="MR", instances=3)),
            "no fitting series in an earlier study; of 2 there, the nearest: modality MR is not CT",
        ),
        (
            (candidate("old", "20250601", state="arriving"),),
            "no fitting series in an earlier study; of 1 there, the nearest: it is not whole yet",
        ),
        (
            (candidate("old", "20250601", state="incomplete"),),
            "no fitting series in an earlier study; of 1 there, the nearest: its images never all came",
        ),
    ],
)
def test_where_there_is_no_prior_it_is_said_why(candidates: tuple[Candidate, ...], reason: str) -> None:
    assert absent(PRIOR, *candidates) == reason


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"PatientBirthDate": "19500302"}, "birth date"),
        ({"PatientSex": "M"}, "sex"),
        ({"IssuerOfPatientID": "ELSEWHERE"}, "issuer of Patient ID"),
    ],
)
def test_another_person_under_the_same_patient_id_is_no_prior(changed: dict[str, str], name: str) -> None:
    other = candidate("old", "20250601", identity=IDENTITY | changed)
    assert absent(PRIOR, other) == f"the earlier study under the Patient ID has another {name}"


def test_what_one_examination_does_not_say_of_the_patient_does_not_part_them() -> None:
    silent = candidate("old", "20250601", identity={})
    assert chosen(PRIOR, silent) == silent.series.series_instance_uid


def test_without_a_study_date_nothing_is_earlier() -> None:
    assert absent(PRIOR, candidate("old", "20250601"), subject=candidate("x", "")) == (
        "the images have no study date, so none is known to be earlier"
    )


def test_a_phase_is_another_series_of_the_same_study_by_its_description() -> None:
    venous = candidate(series_description="Abdomen venous")
    arterial = candidate(series_description="Abdomen ARTERIAL 1mm")
    elsewhere = candidate("old", "20250601", series_description="arterial")
    assert chosen(ARTERIAL, venous, arterial, elsewhere) == arterial.series.series_instance_uid
    assert absent(ARTERIAL, elsewhere) == "no fitting series in the study yet"
    assert absent(ARTERIAL, venous) == (
        "no fitting series in the study yet; of 1 there, the nearest: description Abdomen venous does not have arterial|art\\b"
    )


def test_a_series_is_never_its_own_companion() -> None:
    subject = candidate(series_description="arterial")
    assert choose(ARTERIAL, subject, [subject]).series_id is None
