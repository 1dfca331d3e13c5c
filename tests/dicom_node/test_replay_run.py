"""`dicom-node replay` on a database: read as it is, whoever writes to it, and nothing changed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from rich.console import Console
from sqlalchemy import func, insert, select

from dicom_node.errors import NodeError
from dicom_node.evidence import evidence_of
from dicom_node.period import moment_of
from dicom_node.replay import RecordedSeries, judgements
from dicom_node.replay_compare import difference
from dicom_node.replay_document import document
from dicom_node.replay_looks import in_words, replayed
from dicom_node.replay_run import Period, Reader, courses, replay
from dicom_node.routing import Canary, Routing, version_for
from dicom_node.settle import Settle
from storage.database import Database
from storage.errors import OutdatedDatabase, StorageUnavailable
from storage.records.announced import Announcement, PerformedStep
from storage.records.received import Association, NewInstance, Study
from storage.schema import event, habit, instance
from storage.schema import series as series_table
from tests.acceptance.node import configuration, dicom_node
from tests.dicom_node.recorded import (
    START,
    a_route,
    density_model,
    density_package,
    evenly,
    policy,
    recorded,
    waiting,
)
from tests.made_rows import House, new_instance, open_house

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "replay.schema.json").read_text())
SLICES = 20
PERIOD = Period(START - 1, START + 10_000, START + 86_400)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    (tmp_path / "data").mkdir()
    opened = open_house(tmp_path / "data")
    yield opened
    opened.database.close()


def study(number: int, at: float = START) -> Study:
    return Study(f"1.2.{number}", f"P{number}", "Doe^Jane", f"A{number}", "20260101", "Chest", at)


def arrived(house: House, series: RecordedSeries) -> RecordedSeries:
    """The series, as the node would have recorded that it came."""
    for part in series.parts:
        name = part.association.association_id
        house.studies.open_association(replace(part.association, closed_at=None, ending=None))
        house.instances.add_all([new(series, item) for item in series.instances if item.association_id == name])
        house.end_association(
            replace(part.association, closed_at=None, ending=None),
            str(part.association.ending),
            part.association.closed_at or 0.0,
        )
    return series


def new(series: RecordedSeries, item: Any) -> NewInstance:
    return new_instance(
        sop_instance_uid=item.sop_instance_uid,
        series_instance_uid=series.series_instance_uid,
        study_instance_uid=series.study.study_instance_uid,
        transfer_syntax_uid=item.transfer_syntax_uid,
        content_sum=item.content_sum,
        object_key=f"{item.content_sum}",
        association_id=item.association_id,
        received_at=item.received_at,
        patient_id=series.study.patient_id,
        patient_name=series.study.patient_name,
        accession_number=series.study.accession_number,
        study_description="Chest",
        facts=item.facts,
    )


def replayed_on(house: House, old: Any, new_policy: Any, period: Period = PERIOD) -> Any:
    told: list[tuple[int, int]] = []
    found = replay(Reader(house.database), (old, new_policy), period, lambda *done: told.append(done))
    assert told[-1] == (found.summary.studies, found.summary.studies)
    return found


def test_a_series_is_read_as_it_came(house: House) -> None:
    (made,) = [arrived(house, recorded([*evenly(10), *evenly(10, from_s=9.0)], every=10, study=study(1)))]
    (found,) = list(Reader(house.database).series(study(1)))
    assert [item.received_at for item in found.instances] == [item.received_at for item in made.instances]
    assert [item.facts for item in found.instances] == [dict(item.facts) for item in made.instances]
    assert found.parts == made.parts
    assert judgements(found, waiting(), PERIOD.now) == judgements(
        replace(made, others=found.others), waiting(), PERIOD.now
    )


def test_only_studies_of_the_period_are_replayed(house: House) -> None:
    for number, from_s in enumerate((0.0, 5000.0)):
        came = recorded(evenly(SLICES, from_s=from_s), uid=f"1.2.{number}.1", study=study(number))
        arrived(house, came)
    for until, studies in ((START + 1, 1), (START + 5001, 2)):
        found = replayed_on(house, policy(), policy(), replace(PERIOD, until=until))
        assert (found.summary.studies, found.differences) == (studies, ())


def test_the_studies_that_a_canary_takes_are_replayed_with_it() -> None:
    active = density_package()
    other = replace(active, manifest=active.manifest.model_copy(update={"version": "1.1.0"}), content_sha256="c" * 64)
    (model,) = density_model().values()
    models = {"ct_lung_density": replace(model, canary=Canary(other, 0.5))}
    policies = policy(models=models), policy(a_route(destinations=["elsewhere"]), models=models)
    taken = []
    for number in range(20):
        series = recorded(evenly(6 * SLICES), study=study(number))
        old, new_course = courses(series, policies, PERIOD.now)
        expected = version_for(models["ct_lung_density"], f"1.2.{number}").package.key
        assert list(old.jobs) == list(new_course.jobs) == [expected]
        assert difference(series, old, old) is None
        (change,) = difference(series, old, new_course).jobs  # type: ignore[union-attr]
        assert (change.kind, change.model) == ("changed", expected)
        taken.append(expected)
    assert set(taken) == {"ct_lung_density@1.0.0", "ct_lung_density@1.1.0"}


def test_that_a_step_had_begun_is_known_after_it_has_ended(house: House) -> None:
    arrived(house, recorded(evenly(SLICES), study=study(1)))
    step = PerformedStep("1.9", "CT1", "COMPLETED", START - 5, START + 300, ("1.2.1",))
    house.performed_steps.create(step, [Announcement("mpps", "1.9 -", "CT1", "1.2.1", None, "completed", START + 300)])
    (found,) = list(Reader(house.database).series(study(1)))
    (judged,) = judgements(found, waiting(), PERIOD.now)
    assert judged.at == START + 300


@pytest.mark.parametrize(
    ("arrivals_s", "every", "closes"),
    [
        (evenly(SLICES), None, True),
        (evenly(SLICES), None, False),
        (evenly(SLICES), 1, True),
        ([*evenly(10), *evenly(10, from_s=7.0)], 10, True),
        ([*evenly(10), *evenly(10, from_s=15.0)], None, True),
        ([*evenly(10), *evenly(10, from_s=40.0)], 10, False),
    ],
)
def test_a_replay_decides_as_the_node_decided(
    house: House, arrivals_s: list[float], every: int | None, closes: bool
) -> None:
    decides_alike(house, [recorded(arrivals_s, every=every, closes=closes, study=study(1))])


def test_a_replay_decides_as_the_node_decided_where_an_association_goes_on_to_another_series(house: House) -> None:
    knows_the_source(house)
    first = recorded(evenly(SLICES), uid="1.2.1.1", study=study(1))
    second = recorded(evenly(8 * SLICES, from_s=6.0), uid="1.2.1.2", study=study(1))
    (part,) = second.parts
    both = replace(part.association, opened_at=first.parts[0].association.opened_at)
    decides_alike(house, [on(both, first), on(both, second)])
    (judged,) = judgements(next(Reader(house.database).series(study(1))), waiting(3.0, 20.0), PERIOD.now)
    assert judged.at - first.instances[-1].received_at == pytest.approx(3.0)
    assert "went on to another series" in judged.verdict.evidence[0]


def knows_the_source(house: House) -> None:
    """CT1 sent many series long ago, and never paused."""
    old = START - 1000
    arrived(house, recorded([-1000.0], uid="1.2.0.0", study=study(0, old)))
    with house.database.write() as connection:
        for number in range(100, 130):
            values = {"series_id": number, "series_instance_uid": f"1.2.0.{number}", "study_instance_uid": "1.2.0"}
            times = {"first_received_at": old, "last_received_at": old, "revision": 1, "instance_count": 0}
            connection.execute(insert(series_table).values(**values, **times, state="whole"))
            longest = {"longest_gap_s": 0.5, "longest_pause_s": 0.5, "longest_end_s": 0.5}
            learned = {"calling_ae_title": "CT1", "at": old, **longest}
            connection.execute(insert(habit).values(series_id=number, **learned))


def on(association: Association, series: RecordedSeries) -> RecordedSeries:
    """The same, brought by this association."""
    return replace(
        series,
        instances=tuple(replace(item, association_id=association.association_id) for item in series.instances),
        parts=tuple(replace(part, association=association) for part in series.parts),
    )


def decides_alike(house: House, came: list[RecordedSeries]) -> None:
    """The dispatcher's own code on a clock, ten times a second, beside the jumps of the replay."""
    waits = waiting(3.0, 20.0)
    clock = [START]
    decided: list[tuple[str, float, int]] = []

    def route(instances: tuple[Any, ...], *_: Any) -> Routing:
        decided.append((instances[0].sop_instance_uid.rpartition(".")[0], clock[0], len(instances)))
        return Routing((), ())

    live(house, came, Settle(evidence_of(house), route, waits.rules_of, clock=lambda: clock[0]), clock)  # type: ignore[arg-type]
    for series in Reader(house.database).series(study(1)):
        replayed_too = judgements(series, waits, START + 200)
        own = [(at, count) for uid, at, count in decided if uid == series.series_instance_uid]
        assert [count for _, count in own] == [one.came for one in replayed_too]
        for (at, _), judged in zip(own, replayed_too, strict=True):
            assert 0.0 <= at - judged.at < 0.25


def live(house: House, came: list[RecordedSeries], settle: Settle, clock: list[float]) -> None:
    """Images and associations come and go as recorded while time passes."""
    associations = {part.association.association_id: part.association for series in came for part in series.parts}
    house_opened = partial(replace, closed_at=None, ending=None)
    pending: list[tuple[float, int, Callable[[], object]]] = []
    for one in associations.values():
        opened = house_opened(one)
        pending.append((one.opened_at, 0, partial(house.studies.open_association, opened)))
        end = partial(house.end_association, opened, str(one.ending), one.closed_at or 0.0)
        pending.append((one.closed_at or 0.0, 2, end))
    for series in came:
        pending += [(item.received_at, 1, partial(house.instances.add, new(series, item))) for item in series.instances]
    pending.sort(key=lambda entry: entry[:2])
    ends = pending[-1][0] + 25
    while clock[0] < ends:
        while pending and pending[0][0] <= clock[0]:
            pending.pop(0)[2]()
        settle.step()
        clock[0] = round(clock[0] + 0.1, 6)


def test_what_is_printed_for_machines_is_as_the_schema_says(house: House) -> None:
    arrived(house, recorded([*evenly(SLICES - 1), 40.0], closes=False, study=study(1)))
    other = policy(a_route(priority="stat"), a_route("mr", when={"Modality": "MR"}), waits=waiting(2, 15))
    found = replayed_on(house, policy(), other)
    told = json.loads(json.dumps(document(found)))
    Draft202012Validator.check_schema(SCHEMA)
    for part in (SCHEMA, *SCHEMA["$defs"].values()):
        if "properties" in part:
            part["additionalProperties"] = False
    Draft202012Validator(SCHEMA).validate(told)
    (item,) = told["differences"]
    assert [(one["instance_count"], one["wrongly"]) for one in item["then"]] == [(SLICES - 1, True), (SLICES, False)]
    assert [(job["kind"], job["words"]) for job in item["jobs"]] == [("changed", "priority routine → stat")]


def test_what_is_printed_fits_80_columns_and_shows_what_is_wrongly_whole_first(house: House) -> None:
    arrived(house, recorded(evenly(SLICES), closes=False, uid="1.2.0.1", study=study(0)))
    late = arrived(house, recorded([*evenly(SLICES - 1), 40.0], closes=False, uid="1.2.1.1", study=study(1, START + 5)))
    other = policy(a_route(priority="stat"), waits=waiting(2, 15))
    found = replayed_on(house, policy(), other)
    said = StringIO()
    Console(file=said, width=80).print(replayed(found))
    lines = [line.strip() for line in said.getvalue().splitlines()]
    assert all(len(line) <= 80 for line in lines)
    assert " ".join(lines[:2]).strip() == in_words(found.summary)
    assert lines.index("priority routine → stat") < lines.index("series that differ")
    assert "2 x  ct_lung_density@1.0.0  changed" in lines
    assert lines.index(late.series_instance_uid) < lines.index("1.2.0.1")
    assert f"then: wrongly whole with {SLICES - 1} of {SLICES}" in said.getvalue()


# --- the command --------------------------------------------------------------------------------------------------


def configurations(folder: Path, **edits: Any) -> tuple[Path, Path]:
    paths = folder / "config.yaml", folder / "new.yaml"
    base = configuration()
    for path, tree in zip(paths, (base, base | edits), strict=True):
        path.write_text(yaml.safe_dump(tree))
    return paths


def ran(folder: Path, *more: str) -> Any:
    return dicom_node("replay", "--since", "2d", "--config", "new.yaml", *more, folder=folder)


def yesterday(house: House) -> None:
    day_ago = time.time() - 86_400 - START
    series = recorded([day_ago + at for at in evenly(SLICES)], closes=False, study=study(1, START + day_ago))
    arrived(house, series)


def test_the_command_tells_of_an_edit_while_another_writes_and_changes_nothing(house: House, tmp_path: Path) -> None:
    configurations(tmp_path, completeness={"quiet_s": 10})
    yesterday(house)
    before = digest(house)
    with house.database.write() as connection:  # as a node that is in the middle of a transaction
        connection.execute(insert(event).values(at=1.0, kind="x", severity="info", text="x", data={}))
        told = ran(tmp_path)
        machine = ran(tmp_path, "--json")
        connection.rollback()
    assert (told.returncode, told.stderr) == (0, "")
    assert "1 study, 1 series, 1 of them differ: 1 whole earlier (median 50.0 s)" in told.stdout
    assert "50.0 s earlier" in told.stdout
    assert "Doe" not in told.stdout
    assert json.loads(machine.stdout)["summary"]["earlier"] == 1
    assert digest(house) == before
    assert not (tmp_path / "data" / "objects").exists()


def digest(house: House) -> tuple[int, str]:
    with house.database.read() as connection:
        rows = connection.execute(select(func.count()).select_from(instance)).scalar_one()
        dump = connection.connection.driver_connection.iterdump()  # type: ignore[union-attr]
        return rows, hashlib.sha256("\n".join(dump).encode()).hexdigest()


def test_a_model_that_cannot_be_used_is_named_with_the_file_that_names_it(house: House, tmp_path: Path) -> None:
    _, path = configurations(tmp_path)
    tree = configuration() | {"models": [{"name": "ct_lung_density@9.9.9"}]}
    tree["routes"][0]["models"] = ["ct_lung_density@9.9.9"]
    path.write_text(yaml.safe_dump(tree))
    told = ran(tmp_path)
    assert told.returncode == 1
    assert "new.yaml" in told.stderr
    assert "ct_lung_density" in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.parametrize(
    ("written", "ago_s"),
    [("7d", 604_800), ("12h", 43_200), ("1.5 h", 5_400), ("30min", 1_800), ("30m", 1_800), ("2w", 1_209_600)],
)
def test_an_age_is_counted_back_from_now(written: str, ago_s: float) -> None:
    assert moment_of("--since", written, START) == START - ago_s


def test_a_moment_is_local_unless_it_says_otherwise_and_what_is_none_is_named() -> None:
    assert moment_of("--since", "2026-01-31T12:00:00+00:00", START) == 1_769_860_800
    assert moment_of("--since", "2026-01-31", START) == datetime(2026, 1, 31).astimezone().timestamp()
    with pytest.raises(NodeError, match="--until soon: must be an age"):
        moment_of("--until", "soon", START)


def test_a_database_that_is_not_there_or_not_of_this_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="there is none"):
        Database(f"sqlite:///{tmp_path / 'none.sqlite3'}", read_only=True)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty.sqlite3").touch()
    empty = Database(f"sqlite:///{tmp_path / 'empty.sqlite3'}", read_only=True)
    with pytest.raises(OutdatedDatabase, match="must be at revision"):
        empty.assert_current()
    empty.close()


def test_a_database_that_is_read_cannot_be_written(house: House, tmp_path: Path) -> None:
    reading = Database(f"sqlite:///{tmp_path / 'data' / 'node.sqlite3'}", read_only=True)
    reading.assert_current()
    with pytest.raises(StorageUnavailable, match="readonly"), reading.write() as connection:
        connection.execute(insert(event).values(at=1.0, kind="x", severity="info", text="x", data={}))
    reading.close()
