"""What `explain` prints reads well on a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from dicom_node import account_looks
from dicom_node.completeness import Verdict
from dicom_node.config import Config
from dicom_node.history import StudyAccount, account_of, judging
from dicom_node.terminal import moment
from tests.dicom_node.told_study import HEART, LUNG, NOON, REASON, STUDY, told_study
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


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> StudyAccount:
    waiting = Verdict("not_yet", ("association from CT1 is still open",), until=NOON + 260)
    with told_study(tmp_path_factory.mktemp("told")) as house:
        return account_of(house, STUDY, judge_now=lambda _series: waiting)[0]  # type: ignore[arg-type]


def stretched(house: House) -> StudyAccount:
    """A study with the longest UIDs, a destination that does not answer, and a job that was interrupted before it ran."""
    deliveries = house.analysed_study(destinations=("department-archive", "viewer"))
    account = account_of(house, deliveries[0].result.study_instance_uid)[0]  # type: ignore[arg-type]
    (job,) = account.jobs
    interrupted = replace(job.attempts[0], outcome="interrupted", reason="the node was stopped")
    (series,) = account.details
    uids = {item.result.sop_instance_uid: LONGEST_UID[:-2] + str(n) for n, item in enumerate(account.results, 10)}

    def long(item):  # type: ignore[no-untyped-def]
        return replace(item, result=replace(item.result, sop_instance_uid=uids[item.result.sop_instance_uid]))

    return replace(
        account,
        study=replace(
            account.study, study_instance_uid=LONGEST_UID, patient_id=LONGEST_PATIENT_ID, accession_number="A" * 16
        ),
        details=(
            replace(
                series,
                series=replace(series.series, series_instance_uid=LONGEST_UID),
                revisions=tuple(replace(one, evidence=EVIDENCE) for one in series.revisions),
            ),
        ),
        jobs=(
            replace(job, job=replace(job.job, series_instance_uid=LONGEST_UID), attempts=(interrupted, *job.attempts)),
        ),
        deliveries=tuple(replace(long(one), last_error=ERROR) for one in account.deliveries),
        results=tuple(map(long, account.results)),
        timeline=(*account.timeline, replace(account.timeline[0], at=account.study.first_received_at + 86_400)),
    )


def shown(account: StudyAccount) -> list[str]:
    said = StringIO()
    Console(file=said, width=COLUMNS).print(account_looks.account(account))
    return [line.strip("│ ") for line in said.getvalue().splitlines()]


def test_at_80_columns_no_uid_name_time_or_error_is_cut_or_folded(house: House) -> None:
    account = stretched(house)
    lines = shown(account)
    assert f"study {LONGEST_UID}" in lines
    assert f"patient {LONGEST_PATIENT_ID}" in lines
    assert lines.count(LONGEST_UID) == 2  # of the series, there and at its job
    for delivery in account.deliveries:
        assert lines.count(delivery.result.sop_instance_uid) == 2
        words = (delivery.result.kind.upper(), delivery.destination, delivery.state, "0 attempts", "next ")
        assert any(all(word in line for word in words) for line in lines), words
    assert lines.count(ERROR) == len(account.deliveries)
    assert "attempt 1 interrupted: the node was stopped" in lines
    assert not any("…" in line for line in lines)


def test_evidence_that_is_longer_than_a_line_is_wrapped_between_words(house: House) -> None:
    said = " ".join(shown(stretched(house)))
    for words in EVIDENCE.split("; "):
        assert words in said


def test_square_brackets_of_a_scanner_are_no_markup(house: House) -> None:
    account = stretched(house)
    strange = replace(account.study, accession_number="[/A]", patient_id="[bold]P", study_description="[/]")
    lines = shown(replace(account, study=strange))
    assert "accession [/A]" in lines[0]
    assert "patient [bold]P" in lines


def test_words_of_the_same_kind_stand_below_each_other(house: House) -> None:
    lines = [line for line in shown(stretched(house)) if line.startswith(("SEG ", "SR ", "SC "))]
    assert len({line.index("waiting") for line in lines}) == 1


def test_each_day_is_named_once_above_its_events(house: House) -> None:
    account = stretched(house)
    days = [moment(event.at)[:10] for event in account.timeline]
    lines = shown(account)
    assert len(set(days)) == 2
    for day in set(days):
        assert lines.count(day) == 1
    assert lines.index(min(days)) < lines.index(max(days))


def test_a_series_shows_every_revision_with_its_decision_and_who_said_what_of_it(told: StudyAccount) -> None:
    lines = shown(told)
    start, end = lines.index(LUNG), lines.index(HEART)
    of_lungs = lines[start:end]
    assert f"revision 1: whole, 4 instances, {moment(NOON + 20)}" in of_lungs
    assert "evidence of revision 1" in of_lungs
    assert f"revision 2: whole, 4 instances, {moment(NOON + 120)}" in of_lungs
    said = " ".join(of_lungs)
    assert "CT1 says by MPPS: the series is completed, 4 instances" in said
    assert "PACS1 says by C-FIND: the series has 4 instances there" in said
    assert "rejected (DCM 113001), from revision 2 on: 1 instance" in said
    assert "4 instances, all known already: nothing new" in said


def test_a_series_that_arrives_shows_what_is_missing_and_until_when(told: StudyAccount) -> None:
    lines = shown(told)
    of_heart = lines[lines.index(HEART) :]
    assert f"not yet; at the latest at {moment(NOON + 260)[11:]}" in of_heart
    assert of_heart[of_heart.index(f"not yet; at the latest at {moment(NOON + 260)[11:]}") + 1] == (
        "association from CT1 is still open"
    )


def test_jobs_and_results_show_priority_deadline_staleness_and_what_superseded_them(told: StudyAccount) -> None:
    said = " ".join(shown(told))
    assert said.count(REASON) == 4  # twice in the timeline, once at each job
    assert "stale: the series had changed by the time it ended" in said
    assert f"missed its deadline, {moment(NOON + 60)}" in said
    assert "every report says: analysed 4 of 5 images" in said
    assert said.count(f"superseded {moment(NOON + 160)} by job 2") == 1
    assert "withdrawn" in said
    assert "in reserve for what is not taken: SEG" in said


def test_what_is_thought_of_a_series_that_arrives_is_what_the_dispatcher_would_think(tmp_path: Path) -> None:
    config = Config.model_validate({"completeness": {"quiet_s": 40}})
    with told_study(tmp_path) as house:
        judge_now = judging(config, house, NOON + 205)  # type: ignore[arg-type]
        (account,) = account_of(house, STUDY, judge_now=judge_now)  # type: ignore[arg-type]
    lungs, heart = account.details
    assert lungs.verdict is None
    assert heart.verdict is not None
    assert heart.verdict.until == NOON + 240
    lines = shown(account)
    assert f"not yet; at the latest at {moment(NOON + 240)[11:]}" in lines
    assert "association from CT1 is still open" in lines[lines.index(HEART) :]
