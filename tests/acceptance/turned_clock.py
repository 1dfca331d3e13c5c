"""A whole node but for its sockets, on a clock that the test turns: what comes in, is judged, run and recorded, in turn."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml
from sqlalchemy import select

from dicom_node.arrival_record import Announced
from dicom_node.attempt import JobOutcome, JobSpec
from dicom_node.completeness_rules import rules_by_source
from dicom_node.config_file import load_config
from dicom_node.dispatch import Dispatch
from dicom_node.engine import Ended, Key
from dicom_node.evidence import evidence_of
from dicom_node.intake import Intake
from dicom_node.models import routable_models
from dicom_node.processes.dispatcher import route_series, spec_of
from dicom_node.profiles import PROFILES, demand
from dicom_node.room import Marks
from dicom_node.room_gauge import Gauge
from dicom_node.settle import Settle
from dicom_node.stores import open_stores
from storage.records.received import Association
from storage.schema import job as job_table
from storage.schema import outbox as outbox_table
from storage.schema import result as result_table
from storage.schema import series as series_table
from tests.acceptance.node import configuration
from tests.encoded import CT_IMAGE_STORAGE, EXPLICIT_LITTLE

Run = Callable[[JobSpec], JobOutcome]


@dataclass(frozen=True, slots=True)
class Sent:
    """An instance as it is sent: its SOP Instance UID and the encoded data set."""

    sop_instance_uid: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Live:
    """A result that counts: of which series and model, its kind, and its Part 10 file."""

    sop_instance_uid: str
    series_instance_uid: str
    model: str
    kind: str
    content: bytes


@dataclass
class InProcess:
    """An engine of one worker that runs a job when it is asked how it ended; not before, while it is held."""

    run: Run
    is_held: bool = False
    _begun: deque[tuple[Key, JobSpec]] = field(default_factory=deque)

    def free(self) -> int:
        return 0 if self._begun else 1

    def submit(self, key: Key, spec: JobSpec) -> None:
        self._begun.append((key, spec))

    def ended(self, wait_s: float) -> Iterator[Ended]:
        while self._begun and not self.is_held:
            key, spec = self._begun.popleft()
            yield Ended(key, "done", self.run(spec))

    def stop_attempt(self, key: Key) -> None:
        raise AssertionError("no job here takes long")


class TurnedNode:
    def __init__(self, folder: Path, migrated: Path, run: Run) -> None:
        """migrated: a database file of the current schema, without any rows."""
        path = folder / "config.yaml"
        path.write_text(yaml.safe_dump(configuration(models=[{"name": "ct_lung_density", "timeout_s": 86400}])))
        self._config = load_config(path)
        self._config.node.data_folder.mkdir()
        shutil.copy(migrated, self._config.node.data_folder / "node.sqlite3")
        self.stores = open_stores(self._config)
        self.now = 1_000_000.0
        gauge = Gauge(Marks(0, 0, 0), self.stores.objects, self.stores.database, self.stores.usage)
        self._intake = Intake(
            self.stores.objects,
            self.stores.instances,
            self.stores.studies,
            self.stores.events,
            gauge=gauge,
            lock_file=folder / "intake.lock",
            clock=lambda: self.now,
        )
        models = routable_models(self._config)
        self._settle = Settle(
            evidence_of(self.stores),
            lambda instances, part, uid: route_series(self._config, models, instances, part, uid),
            rules_by_source(self._config),
            clock=lambda: self.now,
        )
        self.engine = InProcess(run)
        self._dispatch = Dispatch(
            self.stores.jobs,
            self.engine,  # type: ignore[arg-type]
            attempts=3,
            demands={"results": demand(PROFILES["generic-pacs"], None, may_refuse=False)},
            spec_of=lambda job: spec_of(self._config, self.stores, models, job),
            clock=lambda: self.now,
        )
        self._associations = 0

    @property
    def objects_url(self) -> str:
        return self._config.objects_url

    def close(self) -> None:
        self._intake.close()
        self.stores.database.close()

    def associate(self, images: Sequence[Sent], ending: str) -> None:
        """One association brings these, a hundredth of a second apart."""
        self._associations += 1
        opened = Association(f"a{self._associations}", "acceptor-1", "CT1", "DICOM-NODE", "127.0.0.1", self.now)
        arrivals = self._intake.arrivals(opened)
        for image in images:
            self.now += 0.01
            arrival = arrivals.begin(Announced(CT_IMAGE_STORAGE, image.sop_instance_uid, EXPLICIT_LITTLE))
            arrival.write([memoryview(image.payload)])
            arrival.finish()
        self.now += 0.01
        self._intake.end([(replace(opened, ending=ending, closed_at=self.now), arrivals)])
        self.step()

    def wait(self, seconds: float) -> None:
        """Time goes by, with rounds of the dispatcher on its way."""
        end = self.now + seconds
        for after_s in (0.1, 2.1, 10.0, 61.0, 350.0, 1300.0, 5000.0):
            if self.now + after_s < end:
                self.now += after_s
                self.step()
        self.now = end
        self.step()

    def step(self) -> None:
        """Rounds until nothing is left to do now."""
        for _ in range(4):
            self._settle.step()
            self._dispatch.step(0.0)

    def live(self) -> list[Live]:
        """All results that count."""
        query = (
            select(result_table, job_table.c.model, series_table.c.series_instance_uid.label("of"))
            .join(job_table, job_table.c.job_id == result_table.c.job_id)
            .join(series_table, series_table.c.series_id == job_table.c.series_id)
            .where(result_table.c.superseded_at.is_(None), job_table.c.stale.is_(False))
        )
        with self.stores.database.read() as connection:
            rows = connection.execute(query).all()
        return [
            Live(row.sop_instance_uid, row.of, row.model, row.kind, self.stores.objects.get(row.object_key))
            for row in rows
        ]

    def waiting(self) -> set[str]:
        """SOP Instance UIDs of the results that are still to be sent."""
        query = select(outbox_table.c.sop_instance_uid).where(outbox_table.c.state == "waiting")
        with self.stores.database.read() as connection:
            return set(connection.execute(query).scalars())
