"""The dispatcher process: judges what arrived, routes it, has it analysed, and sends the results."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dicom_node import logs
from dicom_node.attempt import CompanionSpec, JobSpec, RecordedInput, run_attempt
from dicom_node.companion_watch import CompanionWatch
from dicom_node.completeness_rules import rules_by_source
from dicom_node.config import Config
from dicom_node.config_in_use import Follower, InUse
from dicom_node.deadlines import DeadlineWatch
from dicom_node.delivery import Delivery
from dicom_node.demands import demands_of
from dicom_node.dispatch import Dispatch, replaces_another
from dicom_node.engine import Engine, EngineLost
from dicom_node.errors import NodeError
from dicom_node.evidence import evidence_of
from dicom_node.golden_watch import GoldenWatch
from dicom_node.inquiry import Inquiry
from dicom_node.model_words import removed_words
from dicom_node.models import PackageOf, model_of, no_other
from dicom_node.patience import Patience
from dicom_node.profiles import orders, usual_demand
from dicom_node.reject import Reject
from dicom_node.rejection import nothing_left
from dicom_node.room_gauge import open_gauge
from dicom_node.room_watch import RoomWatch, last_level
from dicom_node.routing import RoutableModel, Routing, route, series_attributes
from dicom_node.series_facts import series_facts
from dicom_node.settle import Settle
from dicom_node.shadowing import KeptFindings, shadow_beside
from dicom_node.stores import Stores, open_stores
from dicom_node.supervisor import EXIT_CONFIG, stop_requested, write_state
from dicom_node.switches import switched
from dicom_node.versions import Versions, versions_of
from dicom_node.workers import engine_settings, most_in_a_place, this_machine
from inference.contract import InputContract
from inference.errors import PackageError
from inference.manifest import PythonRuntime
from storage.errors import StorageError
from storage.records.events import Event
from storage.records.jobs import Companion, Job
from storage.records.received import Instance, SeriesPart, StoredContent

ROUND_S = 0.1

log = logs.get("dispatcher")


def main(name: str, configuration: str, log_format: Literal["text", "json"]) -> int:
    in_use = InUse.told(configuration)
    config, taken_up = in_use.load()
    logs.configure(config.logging.level, log_format, process=name)
    stopping = stop_requested()
    stores = open_stores(config)
    versions = versions_of(config, stores)
    try:
        roles = stores.models.changes()
        models = versions.routable(config)
    except (PackageError, NodeError) as error:
        log.error("models cannot be used", error=error)
        stores.database.close()
        return EXIT_CONFIG
    engine = Engine(engine_settings(config, log_format, this_machine()), run_attempt)
    delivery = Delivery(config, stores)
    inquiry = Inquiry(config, stores)
    try:
        house = open_house(config, stores, versions, engine, inquiry)
        work = compose(config, house, models)
        interrupted = work.dispatch.recover()
        deadlines = DeadlineWatch(stores.deadlines)
        delivery.start()
        inquiry.start()
        write_state(stores.run_folder, name)
        log.info("dispatcher ready", jobs=interrupted, count=len(models))

        def take_up(then: Config) -> None:
            nonlocal work, config
            work = composed_again(work, then, house)
            config = then
            delivery.use(then)
            inquiry.use(then)
            logs.set_level(then.logging.level)

        follower = Follower(in_use, taken_up, take_up, stores.events, name)
        while not stopping.is_set():
            follower.step()
            if (now := stores.models.changes()) != roles:
                roles, work = now, with_roles_of_now(work, config, house)
            deadlines.step()
            work.step()
        work.dispatch.release()
    except StorageError as error:
        # Nothing is lost: the next start finds in the database all that was committed, and goes on from there.
        log.error("storage fails, the dispatcher starts again", error=error)
        return 1
    except EngineLost as error:
        log.error("workers are lost, the dispatcher starts again", error=error)
        return 1
    finally:
        inquiry.stop()
        delivery.stop()
        engine.close()
        stores.database.close()
    return 0


@dataclass(frozen=True, slots=True)
class Work:
    """What one configuration makes of series and jobs."""

    settle: Settle
    dispatch: Dispatch
    watch: RoomWatch
    reject: Reject
    companions: CompanionWatch
    kept: KeptFindings

    def step(self) -> None:
        self.watch.step()
        self.kept.step()
        if self.reject.step():  # also of what is announced and did not come
            self.settle.look_anew()
        judged = self.settle.step()
        self.companions.step(settled=judged > 0)
        self.dispatch.step(0.0 if judged else ROUND_S)  # what was queued just now starts at once


@dataclass(frozen=True, slots=True)
class House:
    """What stays the same whatever the configuration says, and whatever models do.

    patience: with all that runs in workers.
    """

    stores: Stores
    versions: Versions
    engine: Engine
    inquiry: Inquiry
    golden: GoldenWatch
    patience: Patience


def open_house(config: Config, stores: Stores, versions: Versions, engine: Engine, inquiry: Inquiry) -> House:
    patience = Patience(most_in_a_place(config, this_machine()) - 1)
    golden = GoldenWatch(engine, stores.jobs, stores.models, patience=patience)
    return House(stores, versions, engine, inquiry, golden, patience)


def composed_again(before: Work, config: Config, house: House) -> Work:
    """By another configuration, or other roles of models: for what is judged and started from now on. What runs goes on.

    Raises NodeError where its models cannot be used, and then nothing has changed.
    """
    try:
        models = house.versions.routable(config)
    except PackageError as error:
        raise NodeError(str(error)) from error
    work = compose(config, house, models)
    work.dispatch.go_on_from(before.dispatch)
    return work


def with_roles_of_now(before: Work, config: Config, house: House) -> Work:
    """By the roles that models have now; by those before, with an alarm, where a version that is to run cannot be used."""
    try:
        work = composed_again(before, config, house)
    except NodeError as error:
        log.error("a version of a model cannot be used, those before stay", error=error)
        text = f"a version that was activated cannot be used, and those before run on: {error}"
        house.stores.events.record(Event("model_not_taken_up", text, "alarm"))
        return before
    log.info("roles of models taken up")
    return work


def compose(config: Config, house: House, models: dict[str, RoutableModel]) -> Work:
    stores, versions = house.stores, house.versions
    roles = stores.models.roles()
    house.golden.use(config, models)
    told = last_level(stores.events)
    watch = RoomWatch(open_gauge(config, stores, told), stores.events, told)
    settle = Settle(
        evidence_of(stores, house.inquiry.remarks),
        lambda instances, part, study_instance_uid: route_series(config, models, instances, part, study_instance_uid),
        rules_by_source(config),
    )
    dispatch = Dispatch(
        stores.jobs,
        house.engine,
        attempts=config.engine.attempts,
        demands=demands_of(config),
        spec_of=lambda job: spec_of(config, stores, models, job, versions.package_of),
        routine_waits=lambda: watch.routine_waits,
        send_stale=config.completeness.send_stale,
        stat_head_start_s=config.engine.stat_head_start_s,
        switched=switched(config, stores.models, versions, models),
        shadow_of=lambda job: shadow_beside(job, roles, versions.package_of_content),
        beside=house.golden,
        patience=house.patience,
    )
    companions = CompanionWatch(
        stores.jobs, stores.studies, stores.instances, lambda key: contract_of(models, key, versions.package_of)
    )
    kept = KeptFindings(stores.objects, stores.jobs, stores.shadows)
    return Work(settle, dispatch, watch, open_reject(config, stores), companions, kept)


def open_reject(config: Config, stores: Stores) -> Reject:
    return Reject(
        stores.rejection_notes, stores.objects, stores.studies, stores.jobs, settle_s=config.completeness.settle_s
    )


def route_series(
    config: Config,
    models: dict[str, RoutableModel],
    instances: tuple[Instance, ...],
    part: SeriesPart,
    study_instance_uid: str,
) -> Routing:
    facts = [item.facts for item in instances]
    attributes = series_attributes(
        facts,
        calling_ae_title=part.association.calling_ae_title,
        called_ae_title=part.association.called_ae_title,
    )
    return route(
        attributes,
        series_facts(facts, {item.sop_class_uid for item in instances}),
        config.routes,
        models,
        last_received_at=max(item.received_at for item in instances),
        study_instance_uid=study_instance_uid,
    )


def contract_of(models: dict[str, RoutableModel], key: str, package_of: PackageOf = no_other) -> InputContract | None:
    """Of the version called name@version; None where its model is no longer configured. package_of: see `model_of`."""
    found = model_of(models, key, package_of)
    return None if found is None else found.package.manifest.input


def spec_of(
    config: Config, stores: Stores, models: dict[str, RoutableModel], job: Job, package_of: PackageOf = no_other
) -> JobSpec:
    """What the worker is told of a job. Raises NodeError where its model is no longer configured, or is switched off.

    What only reports why nothing is analysed runs no model, and may be told by one that is switched off. package_of: see
    `model_of`.
    """
    chosen = model_of(models, job.model, package_of)
    if chosen is None:
        removed = removed_words(stores.models.versions(), job.model)
        raise NodeError(
            removed or f"model {job.model} is no longer configured; add it under models, or requeue with another"
        )
    contents: Sequence[StoredContent | Instance] = stores.instances.contents(job.series_id, up_to_revision=job.revision)
    give_up_reason, rejected_as = job.give_up_reason, None
    if not contents:  # the report of that takes patient and study from what was rejected
        left_out = stores.rejection_notes.left_out(job.series_id, up_to_revision=job.revision)
        contents, rejected_as = left_out.instances, left_out.codes[0]
        give_up_reason = nothing_left(len(contents), left_out.codes)
    if not chosen.enabled and give_up_reason is None:
        raise NodeError(f"model {job.model} is switched off (models[].enabled); requeue once it is on again")
    predecessors = stores.jobs.predecessors(job)
    takes = demands_of(config)
    demands = tuple(takes.get(name) or usual_demand() for name in job.destinations)
    return JobSpec(
        study_instance_uid=job.study_instance_uid,
        series_instance_uid=job.series_instance_uid,
        revision=job.revision,
        created_at=job.created_at,
        objects_url=config.objects_url,
        object_keys=tuple(item.object_key for item in contents),
        package_folder=str(chosen.package.folder),
        package_sha256=chosen.package.content_sha256,
        device=chosen.device,
        kinds=tuple(sorted(orders(demands))),
        report_not_analysed=job.report_not_analysed or replaces_another(job, predecessors),
        give_up_reason=give_up_reason,
        is_withheld=rejected_as is not None,
        rejected_as=rejected_as,
        remark=None if give_up_reason else job.remark,
        companions=tuple(_companion_spec(stores, one) for one in job.companions),
        predecessors=predecessors,
        demands=demands,
        words=config.results.words,
        timeout_s=None if isinstance(chosen.package.manifest.runtime, PythonRuntime) else job.timeout_s,
        memory_bytes=config.engine.model_memory_bytes,
        recorded=_recorded(contents),
    )


def _companion_spec(stores: Stores, one: Companion) -> CompanionSpec:
    if one.series_id is None or one.revision is None:
        return CompanionSpec(one.name, 0, (), one.absent or "it was not looked for")
    contents = stores.instances.contents(one.series_id, up_to_revision=one.revision)
    keys = tuple(item.object_key for item in contents)
    return CompanionSpec(one.name, one.revision, keys, recorded=_recorded(contents))


def _recorded(contents: Sequence[StoredContent | Instance]) -> tuple[RecordedInput, ...]:
    return tuple(RecordedInput(item.sop_instance_uid, item.content_sum) for item in contents)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))  # type: ignore[arg-type]
