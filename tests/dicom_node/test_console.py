"""What `explain` prints reads well on a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from dicom_node import console
from dicom_node.history import JobAccount, StudyAccount
from tests.made_rows import House, open_house

COLUMNS = 80
LONGEST_UID = "1.2.826.0.1.3680043.8.498.".ljust(64, "7")
LONGEST_PATIENT_ID = "P" * 64
EVIDENCE = "association from CT1 was released; geometry closes: 64 positions every 5.00 mm, instance numbers contiguous"
ERROR = "no connection to 192.0.2.17:11112: refused, or not within 10 s"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = open_house(tmp_path)
    yield house
    house.database.close()


def account_of(house: House) -> StudyAccount:
    """A study with the longest UIDs, a destination that does not answer, and a job that was interrupted before it ran."""
    deliveries = house.analysed_study(destinations=("department-archive", "viewer"))
    (study,) = house.studies.find(deliveries[0].result.study_instance_uid)
    series = house.studies.series_of(study.study_instance_uid)
    job = house.jobs.of_study(study.study_instance_uid)[0]
    attempt = house.jobs.attempts(job.job_id)[0]
    late = replace(house.events.of_study(study.study_instance_uid)[0], at=study.first_received_at + 86_400)
    return StudyAccount(
        replace(study, study_instance_uid=LONGEST_UID, patient_id=LONGEST_PATIENT_ID, accession_number="A" * 16),
        tuple(replace(one, series_instance_uid=LONGEST_UID, evidence=EVIDENCE) for one in series),
        (JobAccount(job, (replace(attempt, outcome="interrupted", reason="the node was stopped"), attempt)),),
        tuple(
            replace(one, last_error=ERROR, result=replace(one.result, sop_instance_uid=LONGEST_UID))
            for one in deliveries
        ),
        (*house.events.of_study(study.study_instance_uid), late),
    )


def shown(account: StudyAccount) -> list[str]:
    said = StringIO()
    Console(file=said, width=COLUMNS).print(console.account(account))
    return [line.strip("│ ") for line in said.getvalue().splitlines()]


def test_at_80_columns_no_uid_name_time_or_error_is_cut_or_folded(house: House) -> None:
    account = account_of(house)
    lines = shown(account)
    assert f"study {LONGEST_UID}" in lines
    assert f"patient {LONGEST_PATIENT_ID}" in lines
    assert lines.count(LONGEST_UID) == len(account.series) + len(account.deliveries)
    assert lines.count(ERROR) == len(account.deliveries)
    assert "attempt 1 interrupted: the node was stopped" in lines
    for delivery in account.deliveries:
        words = (delivery.result.kind.upper(), delivery.destination, delivery.state, "0 attempts", "next ")
        assert any(all(word in line for word in words) for line in lines), words
    assert not any("…" in line for line in lines)


def test_evidence_that_is_longer_than_a_line_is_wrapped_between_words(house: House) -> None:
    account = account_of(house)
    assert EVIDENCE in " ".join(shown(account))


def test_square_brackets_of_a_scanner_are_no_markup(house: House) -> None:
    account = account_of(house)
    strange = replace(account.study, accession_number="[/A]", patient_id="[bold]P", study_description="[/]")
    lines = shown(replace(account, study=strange))
    assert "accession [/A]" in lines[0]
    assert "patient [bold]P" in lines


def test_words_of_the_same_kind_stand_below_each_other(house: House) -> None:
    lines = [line for line in shown(account_of(house)) if line.startswith(("SEG ", "SR ", "SC "))]
    assert len({line.index("waiting") for line in lines}) == 1


def test_each_day_is_named_once_above_its_events(house: House) -> None:
    account = account_of(house)
    days = [console.moment(event.at)[:10] for event in account.events]
    lines = shown(account)
    assert len(set(days)) == 2
    for day in set(days):
        assert lines.count(day) == 1
    assert lines.index(min(days)) < lines.index(max(days))
