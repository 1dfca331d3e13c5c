"""Versions of models and their roles: what changes them, and what becomes of the jobs that wait meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import IntegrityError

from storage.database import Database, _migrations
from storage.errors import VersionNeeded, VersionRemoved, VersionTaken
from storage.model_schema import model_role
from storage.models import Models
from storage.moved_jobs import Move
from storage.records.events import Event
from storage.records.jobs import Companion, Job
from storage.records.models import GoldenCheck, ModelVersion
from storage.schema import job
from tests.made_rows import House, open_house

OLD, NEW = "a" * 64, "b" * 64


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = open_house(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def models(house: House) -> Models:
    made = Models(house.database)
    made.add(version(OLD, "1.0.0"))
    made.add(version(NEW, "2.0.0"))
    return made


def version(content_sha256: str, number: str, name: str = "m", *, built_in: bool = False) -> ModelVersion:
    return ModelVersion(content_sha256, name, number, built_in, 1.0, "/packages/m")


def move(**more: Any) -> Move:
    given = {"read_alike": {"m@1.0.0": True}, "to": "m@2.0.0", "timeout_s": 9.0, "companions": (), "why": "activated"}
    return Move(**(given | more))


def at(house: House, of: Job) -> Job:
    found = house.jobs.get(of.job_id)
    assert found
    return found


def test_a_version_is_known_once_however_often_it_is_taken_up(models: Models) -> None:
    models.add(version(OLD, "1.0.0"))
    assert [item.key for item in models.versions()] == ["m@1.0.0", "m@2.0.0"]


def test_a_version_with_another_content_is_refused_in_words(models: Models) -> None:
    with pytest.raises(VersionTaken, match=rf"m@1\.0\.0 of /packages/m: must have the content {OLD}.*another version"):
        models.add(version("c" * 64, "1.0.0"))
    with pytest.raises(VersionTaken, match=r"is known as m@1\.0\.0"):
        models.add(version(OLD, "1.0.0", "other"))


def test_a_model_of_the_installation_may_come_with_another_content(models: Models) -> None:
    for content_sha256 in ("c" * 64, "d" * 64):
        models.add(version(content_sha256, "1.0.0", "lungs", built_in=True))
    assert [item.content_sha256 for item in models.versions() if item.built_in] == ["c" * 64, "d" * 64]


def test_the_version_before_is_what_a_rollback_returns_to(models: Models) -> None:
    assert models.activate("m", OLD, by="configuration", instead_of=None)
    assert models.activate("m", NEW, by="command", instead_of=OLD)
    role = models.roles()["m"]
    assert (role.active_sha256, role.previous_sha256, role.active_by) == (NEW, OLD, "command")
    assert models.activate("m", OLD, by="command", instead_of=NEW)
    assert models.roles()["m"].previous_sha256 == NEW


def test_who_did_not_see_the_last_change_changes_nothing(models: Models) -> None:
    models.activate("m", OLD, by="configuration", instead_of=None)
    before = models.changes()
    assert not models.activate("m", NEW, by="command", instead_of=None, events=[Event("model_activated", "x")])
    assert models.roles()["m"].active_sha256 == OLD
    assert models.changes() == before


def test_every_change_of_roles_is_seen_by_a_number(models: Models) -> None:
    numbers = [models.changes()]
    for change in (
        lambda: models.activate("m", OLD, by="command", instead_of=None),
        lambda: models.set_canary("m", NEW, 0.1),
        lambda: models.set_shadow("m", NEW),
        lambda: models.disable("m", "wrong", by="command"),
        lambda: models.enable("m"),
    ):
        change()
        numbers.append(models.changes())
    assert numbers == sorted(set(numbers))


def test_what_becomes_active_is_canary_and_shadow_no_more(models: Models) -> None:
    models.set_canary("m", NEW, 0.1)
    models.set_shadow("m", NEW)
    models.activate("m", NEW, by="command", instead_of=None)
    role = models.roles()["m"]
    assert (role.canary_sha256, role.canary_share, role.shadow_sha256) == (None, None, None)


def test_the_kill_switch_is_thrown_once(models: Models) -> None:
    assert models.disable("m", "its masks are mirrored", by="command", events=[Event("model_disabled", "x")])
    assert not models.disable("m", "again", by="golden")
    role = models.roles()["m"]
    assert (role.disabled, role.disabled_by, role.disabled_reason) == (True, "command", "its masks are mirrored")
    assert models.disabled() == {"m"}
    assert models.enable("m")
    assert not models.enable("m")
    assert models.disabled() == frozenset()


def test_a_role_names_a_version_that_is_known(models: Models, house: House) -> None:
    with pytest.raises(IntegrityError):
        models.activate("m", "e" * 64, by="command", instead_of=None)
    with pytest.raises(IntegrityError), house.database.write() as connection:
        connection.execute(insert(model_role).values(name="n", canary_sha256=NEW, canary_share=1.5))


REMOVED = Event("model_removed", "m@2.0.0 was removed")


@pytest.mark.parametrize(
    ("role", "words"),
    [
        ({"active_sha256": NEW}, "is the active version"),
        ({"active_sha256": OLD, "previous_sha256": NEW}, "is what a rollback returns to"),
        (
            {"canary_sha256": NEW, "canary_share": 0.1},
            r"takes a share of the studies: dicom-node models canary m@2\.0\.0",
        ),
        ({"shadow_sha256": NEW}, "runs beside the active version: dicom-node models shadow m --off"),
    ],
)
def test_a_version_with_a_role_is_not_removed(role: dict[str, Any], words: str, models: Models, house: House) -> None:
    with house.database.write() as connection:
        connection.execute(insert(model_role).values(name="m", **role))
    with pytest.raises(VersionNeeded, match=rf"^m@2\.0\.0 cannot be removed: it {words}"):
        models.remove(NEW, REMOVED)
    assert not [item for item in models.versions() if item.removed_at]
    assert house.events_of_kind("model_removed") == []


def test_a_version_that_jobs_need_is_not_removed_before_they_end(models: Models, house: House) -> None:
    waits, runs = (house.ready_job(model="m@2.0.0", role=role) for role in ("active", "shadow"))
    house.ready_job(model="m@2.0.0", state="waiting")
    house.ready_job(model="m@2.0.01")
    house.jobs.start(runs.job_id)
    with pytest.raises(
        VersionNeeded, match="it runs in 1 job: wait until they end; and it is needed by 2 jobs that wait"
    ):
        models.remove(NEW, REMOVED)
    with house.database.write() as connection:
        connection.execute(update(job).where(job.c.model == "m@2.0.0").values(state="done"))
    models.remove(NEW, REMOVED)
    assert at(house, waits).model == "m@2.0.0"
    assert [item.key for item in models.versions() if item.removed_at] == ["m@2.0.0"]
    assert [event.text for event in house.events_of_kind("model_removed")] == [REMOVED.text]


def test_a_version_that_was_removed_gets_no_role_until_it_is_kept_again(models: Models, house: House) -> None:
    models.remove(NEW, REMOVED)
    for give in (
        lambda: models.activate("m", NEW, by="command", instead_of=None),
        lambda: models.set_canary("m", NEW, 0.1),
        lambda: models.set_shadow("m", NEW),
    ):
        with pytest.raises(VersionRemoved, match=r"^m@2\.0\.0 was removed meanwhile"):
            give()
    with pytest.raises(VersionTaken, match="must have the content"):
        models.add(version("c" * 64, "2.0.0"))
    models.add(version(NEW, "2.0.0"))
    assert models.activate("m", NEW, by="command", instead_of=None)
    assert len(house.events_of_kind("model_restored")) == 1


def test_the_last_run_of_golden_cases_is_what_is_told_of_a_version(models: Models) -> None:
    case = {"case": "a block", "passed": False, "words": "Dice 0.2", "seconds": 0.1}
    models.add_check(GoldenCheck(OLD, "cpu", 1.0, True, "1 case passed"))
    models.add_check(GoldenCheck(OLD, "cpu", 2.0, False, "1 of 1 failed", (case,)))
    models.add_check(GoldenCheck(NEW, "cpu", 1.5, True, "2 cases passed"))
    latest = models.latest_checks()
    assert latest[OLD] == GoldenCheck(OLD, "cpu", 2.0, False, "1 of 1 failed", (case,))
    assert latest[NEW].passed


def test_what_waits_goes_to_the_version_that_takes_over_and_what_runs_goes_on(models: Models, house: House) -> None:
    ready, running = (house.ready_job(model="m@1.0.0") for _ in range(2))
    other = house.ready_job(model="n@1.0.0")
    house.jobs.start(running.job_id)
    models.activate("m", NEW, by="command", instead_of=None, move=move())
    assert [at(house, one).model for one in (ready, running, other)] == ["m@2.0.0", "m@1.0.0", "n@1.0.0"]
    assert at(house, ready).timeout_s == 9.0
    (event,) = house.events_of_kind("job_moved")
    assert event.job_id == ready.job_id
    assert event.text == "m@1.0.0 on revision 1 goes to m@2.0.0: activated"


def test_a_job_whose_new_version_reads_other_series_chooses_them_anew(models: Models, house: House) -> None:
    waiting = house.ready_job(model="m@1.0.0", state="waiting", companions=(Companion("pet"),))
    models.activate(
        "m",
        NEW,
        by="command",
        instead_of=None,
        move=move(read_alike={"m@1.0.0": False}, companions=("prior",)),
    )
    assert [one.name for one in at(house, waiting).companions] == ["prior"]
    assert at(house, waiting).state == "waiting"
    models.activate("m", OLD, by="command", instead_of=NEW, move=move(read_alike={"m@2.0.0": False}, to="m@1.0.0"))
    assert at(house, waiting).companions == ()
    assert at(house, waiting).state == "ready"


def test_what_only_reports_a_failure_stays_with_the_version_that_failed(models: Models, house: House) -> None:
    given_up = house.ready_job(model="m@1.0.0", give_up_reason="took longer than 60 s, 3 times")
    models.activate("m", NEW, by="command", instead_of=None, move=move())
    assert at(house, given_up).model == "m@1.0.0"


def test_a_job_that_the_new_version_has_already_is_superseded(models: Models, house: House) -> None:
    older = house.ready_job(model="m@1.0.0")
    with house.database.write() as connection:
        row = dict(connection.execute(select(job).where(job.c.job_id == older.job_id)).one()._mapping)
        connection.execute(insert(job).values(**row | {"job_id": 99, "model": "m@2.0.0", "state": "done"}))
    models.activate("m", NEW, by="command", instead_of=None, move=move())
    assert at(house, older).state == "superseded"
    assert "has a job of its own" in (at(house, older).reason or "")
    (event,) = house.events_of_kind("job_superseded")
    assert event.job_id == older.job_id


def test_jobs_of_a_canary_that_ends_are_those_of_the_active_version(models: Models, house: House) -> None:
    queued = house.ready_job(model="m@2.0.0", role="canary")
    models.set_canary("m", None, None, move=move(read_alike={"m@2.0.0": True}, to="m@1.0.0"))
    assert (at(house, queued).model, at(house, queued).role) == ("m@1.0.0", "active")


def test_what_an_older_version_cannot_read_is_taken_away_and_made_again(house: House, models: Models) -> None:
    models.activate("m", OLD, by="command", instead_of=None)
    active, shadow = house.ready_job(model="m@1.0.0"), house.ready_job(model="m@2.0.0", role="shadow")
    with house.database.write() as connection:
        told = {"compared_with": active.job_id, "comparison": {"dice": 0.5}, "provenance_key": "provenance/1"}
        connection.execute(update(job).where(job.c.job_id == shadow.job_id).values(**told))
    assert at(house, shadow).comparison == {"dice": 0.5}
    _migrated(house.database, "0004")
    with house.database.read() as connection:
        kept = connection.execute(text("select job_id, model from job")).all()
        assert [tuple(row) for row in kept] == [(active.job_id, "m@1.0.0")]
        names = set(connection.execute(text("select name from sqlite_master where type = 'table'")).scalars())
        assert not names & {"model_version", "model_role", "model_change", "golden_check"}
    house.database.migrate()
    assert at(house, active).role == "active"
    assert models.roles() == {}


def _migrated(database: Database, revision: str) -> None:
    config = _migrations()
    with database.changing_tables() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
