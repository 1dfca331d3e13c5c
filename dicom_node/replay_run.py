"""Runs recorded studies through two configurations: reads, and writes nothing; no object is opened, only headers are used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dicom_node.completeness_rules import rules_by_source
from dicom_node.config import Config, Route
from dicom_node.config_file import load_config
from dicom_node.config_in_use import config_of_node
from dicom_node.errors import NodeError
from dicom_node.evidence import HABIT_SERIES
from dicom_node.models import routable_models
from dicom_node.replay import Judged, RecordedSeries, Waiting, judgements
from dicom_node.replay_compare import Course, Difference, Summary, difference, summary
from dicom_node.routing import RoutableModel, route, series_attributes
from dicom_node.series_facts import series_facts
from dicom_node.settle import of_incomplete
from dicom_node.sources import asked_peers
from dicom_node.versions import versions_in
from inference.contract import SeriesFacts
from inference.errors import PackageError
from storage.announcements import Announcements
from storage.database import Database
from storage.habits import Habits
from storage.recorded import Recorded
from storage.records.announced import Announcement, PerformedStep
from storage.records.arriving import Silence
from storage.records.received import Association, Instance, SeriesPart, Study


@dataclass(frozen=True, slots=True)
class Policy:
    """What a configuration says of waiting and of routing."""

    waiting: Waiting
    routes: tuple[Route, ...]
    models: dict[str, RoutableModel]


@dataclass(frozen=True, slots=True)
class Period:
    """Studies whose first image came from `since` to `until`, with what is recorded of them up to `now`."""

    since: float
    until: float
    now: float


@dataclass(frozen=True, slots=True)
class Replay:
    period: Period
    summary: Summary
    differences: tuple[Difference, ...]


def policy_of(
    config: Config, path: Path, routable: Callable[[Config], dict[str, RoutableModel]] = routable_models
) -> Policy:
    """Raises NodeError where a model of it cannot be used: what its input contract says decides about jobs.

    routable: the models of a configuration, as they run now.
    """
    try:
        models = routable(config)
    except PackageError as error:
        raise NodeError(f"{path}: {error}") from error
    return Policy(Waiting(rules_by_source(config), _asked_for(config)), config.routes, models)


def _asked_for(config: Config) -> Callable[[str], frozenset[str]]:
    asked = [(find.ae_title, titles) for find, titles in asked_peers(config).items()]
    return lambda source: frozenset(peer for peer, titles in asked if source in titles)


def replay_files(running: Path, new: Path, period: Period, progress: Callable[[int, int], None]) -> Replay:
    """`replay` of two configuration files, on the database of the first, which is opened for reading alone."""
    config = config_of_node(running)
    tried = load_config(new)
    database = Database(config.database_url, read_only=True)
    try:
        database.assert_current()
        versions = versions_in(config, database)
        policies = policy_of(config, running, versions.routable), policy_of(tried, new, versions.routable)
        return replay(Reader(database), policies, period, progress)
    finally:
        database.close()


def replay(
    reader: Reader, policies: tuple[Policy, Policy], period: Period, progress: Callable[[int, int], None]
) -> Replay:
    """What the second of two policies would have made otherwise of the studies of a period.

    progress: told how many studies are done, of how many.
    """
    studies = reader.studies(period.since, period.until)
    wrong, differences = [], []
    for done, study in enumerate(studies):
        progress(done, len(studies))
        for series in reader.series(study):
            old, new = courses(series, policies, period.now)
            wrong.append((bool(old.wrong), bool(new.wrong)))
            found = difference(series, old, new)
            differences += [found] if found else []
    progress(len(studies), len(studies))
    return Replay(period, summary(len(studies), wrong, differences), tuple(differences))


def courses(series: RecordedSeries, policies: tuple[Policy, Policy], now: float) -> tuple[Course, Course]:
    """What each policy makes of a series; what both would judge alike is judged once."""
    old, new = policies
    before = judgements(series, old.waiting, now)
    after = before if new.waiting.is_like(old.waiting, series) else judgements(series, new.waiting, now)
    ends = {judged.came: judged for judged in (*before[-1:], *after[-1:])}
    described = {came: _describe(series, judged) for came, judged in ends.items()}
    study_instance_uid = series.study.study_instance_uid
    return (
        _course(before, old, described, study_instance_uid),
        _course(after, new, described, study_instance_uid),
    )


def _describe(series: RecordedSeries, judged: Judged) -> tuple[dict[str, Any], SeriesFacts, float]:
    """What routing is asked about: attributes, facts for input contracts, and when the last image came."""
    came = series.instances[: judged.came]
    facts = [item.facts for item in came]
    part = series.part_at(judged.at)
    attributes = series_attributes(
        facts,
        calling_ae_title=part.association.calling_ae_title if part else "",
        called_ae_title=part.association.called_ae_title if part else "",
    )
    return attributes, series_facts(facts, {item.sop_class_uid for item in came}), came[-1].received_at


def _course(
    found: tuple[Judged, ...],
    policy: Policy,
    described: Mapping[int, tuple[dict[str, Any], SeriesFacts, float]],
    study_instance_uid: str,
) -> Course:
    if not found:
        return Course((), None)
    last = found[-1]
    attributes, facts, last_received_at = described[last.came]
    routing = route(
        attributes,
        facts,
        policy.routes,
        policy.models,
        last_received_at=last_received_at,
        study_instance_uid=study_instance_uid,
    )
    if last.verdict.state == "never":
        jobs = tuple(of_incomplete(job, last.verdict, last.rules) for job in routing.jobs)
        routing = replace(routing, jobs=jobs)
    return Course(found, routing)


class Reader:
    """Reads how studies came from a database that a node may be writing to."""

    def __init__(self, database: Database) -> None:
        self._recorded = Recorded(database)
        self._announcements = Announcements(database)
        self._habits = Habits(database)
        self._steps = self._recorded.performed_steps()

    def studies(self, since: float, until: float) -> tuple[Study, ...]:
        return self._recorded.studies(since, until)

    def series(self, study: Study) -> Iterator[RecordedSeries]:
        """Each series of a study that holds an image."""
        uid = study.study_instance_uid
        instances, parts = self._recorded.instances(uid), self._recorded.parts(uid)
        others = _associations(instances, parts)
        refused = self._recorded.refused(frozenset(one.association_id for one, _ in others))
        said = (*self._announcements.of_study(uid), *self._begun_steps(uid))
        arrivals = tuple(sorted(item.received_at for found in instances.values() for item in found))
        for series in self._recorded.series(uid):
            if series.series_id not in instances:
                continue
            of_series = (None, series.series_instance_uid)
            recorded = RecordedSeries(
                study=study,
                series_instance_uid=series.series_instance_uid,
                instances=instances[series.series_id],
                parts=parts.get(series.series_id, ()),
                announcements=tuple(item for item in said if item.series_instance_uid in of_series),
                others=others,
                refused=refused,
                study_arrivals=arrivals,
                turned=_turned(series.series_id, instances),
            )
            yield replace(recorded, habit=self._habit(recorded))

    def _begun_steps(self, study_instance_uid: str) -> Iterator[Announcement]:
        """That performed procedure steps had begun: what is kept of them as announced is how they ended."""
        for step in self._steps:
            if study_instance_uid in step.study_instance_uids and step.changed_at > step.created_at:
                yield _in_progress(step, study_instance_uid)

    def _habit(self, series: RecordedSeries) -> tuple[Silence, ...]:
        return self._habits.of(series.calling_ae_title, limit=HABIT_SERIES, before=series.instances[0].received_at)


def _associations(
    instances: Mapping[int, Sequence[Instance]], parts: Mapping[int, Sequence[SeriesPart]]
) -> tuple[tuple[Association, float], ...]:
    """Those that brought a study, with when they brought the first image of it."""
    first: dict[str, float] = {}
    for item in (item for found in instances.values() for item in found):
        first[item.association_id] = min(item.received_at, first.get(item.association_id, item.received_at))
    known = {part.association.association_id: part.association for found in parts.values() for part in found}
    return tuple((one, first.get(name, one.opened_at)) for name, one in known.items())


def _turned(series_id: int, instances: Mapping[int, Sequence[Instance]]) -> dict[str, tuple[float, ...]]:
    """When each association that brought a series brought images of other series of its study."""
    times: dict[str, list[float]] = {item.association_id: [] for item in instances[series_id]}
    for item in (item for other, found in instances.items() if other != series_id for item in found):
        if item.association_id in times:
            times[item.association_id].append(item.received_at)
    return {name: tuple(sorted(found)) for name, found in times.items() if found}


def _in_progress(step: PerformedStep, study_instance_uid: str) -> Announcement:
    key = f"{step.sop_instance_uid} -"
    return Announcement("mpps", key, step.calling_ae_title, study_instance_uid, None, "in progress", step.created_at)
