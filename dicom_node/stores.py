"""Everything that a process reads and writes, opened once from the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dicom_node.config import Config
from storage.announcements import Announcements
from storage.answers import Answers
from storage.database import Database
from storage.deadlines import Deadlines
from storage.events import Events
from storage.habits import Habits
from storage.history import History
from storage.instances import Instances
from storage.jobs import Jobs
from storage.models import Models
from storage.objects import open_store
from storage.objects.protocol import PackStore
from storage.objects.same import same_content
from storage.outbox import Outbox
from storage.performed_steps import PerformedSteps
from storage.rejections import RejectionNotes
from storage.shadows import Shadows
from storage.studies import Studies
from storage.usage import Usage


@dataclass(frozen=True, slots=True)
class Stores:
    database: Database
    objects: PackStore
    studies: Studies
    instances: Instances
    jobs: Jobs
    deadlines: Deadlines
    outbox: Outbox
    events: Events
    usage: Usage
    answers: Answers
    history: History
    announcements: Announcements
    habits: Habits
    performed_steps: PerformedSteps
    rejection_notes: RejectionNotes
    models: Models
    shadows: Shadows
    run_folder: Path


def open_stores(config: Config) -> Stores:
    """Open the database and the object store that the configuration names; the schema must be current already."""
    database, objects = Database(config.database_url), open_store(config.objects_url)
    return Stores(
        database=database,
        objects=objects,
        studies=Studies(database),
        instances=Instances(database, same_content(objects)),
        jobs=Jobs(database),
        deadlines=Deadlines(database),
        outbox=Outbox(database),
        events=Events(database),
        usage=Usage(database),
        answers=Answers(database),
        history=History(database),
        announcements=Announcements(database),
        habits=Habits(database),
        performed_steps=PerformedSteps(database),
        rejection_notes=RejectionNotes(database),
        models=Models(database),
        shadows=Shadows(database),
        run_folder=config.node.data_folder / "run",
    )
