"""What a worker runs, read top to bottom: fetch -> volume -> predict -> findings -> encode -> put.

A worker holds no database: objects in, objects out, and a small record back. Run twice, a job leaves the same objects, since
every UID and time in them derives from the job, so it does no harm that a lost attempt is run again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from dicom_node import companion_volumes, logs
from dicom_node.attempt import RESTART, JobOutcome, JobSpec
from dicom_node.provenance_gathered import gather, put_provenance, seed_for
from dicom_node.rejection import TITLES as REJECTION_TITLES
from dicom_node.result_objects import put_result
from dicom_node.results import zone
from dicom_node.results.make import make
from dicom_node.results.report import EncodedResult, ReadBesides, Report
from inference import kept
from inference.confined import pool
from inference.contract import InputContract
from inference.errors import InferenceError, ModelProcessEnded, NotAVolume
from inference.findings import Code, Findings, NotAnalysed
from inference.frames import Frame
from inference.instances import Headers, Instance, instance_of
from inference.monitor.paired import paired
from inference.package import Package, load_exactly
from inference.passes import PASSES
from inference.picture_series import read_each
from inference.series import SeriesReading, read_instances
from inference.turns import TURNS
from inference.volume import Volume
from storage.errors import StorageError, UnknownObject
from storage.objects import open_store
from storage.objects.protocol import ObjectStore
from storage.records.results import Result

# PS3.16 CID 7011 has no reason for "the images are no volume" or "the model failed": see docs/codes.md.
NOT_A_VOLUME = Code("NOTVOLUME", "99DICOMNODE", "Images do not form a volume")
NO_PICTURE = Code("NOPICTURE", "99DICOMNODE", "No image can be analysed")
PROCESSING_FAILED = Code("FAILED", "99DICOMNODE", "Processing failed")
NO_COMPANION = Code("NOCOMPANION", "99DICOMNODE", "Another series that the model needs is missing")
WITHHELD = Code("WITHHELD", "99DICOMNODE", "Images withheld from analysis")


def rejected_code(value: str | None) -> Code | None:
    """The title of a key object that rejects images, as the reason why they are not analysed (PS3.16 CID 7011)."""
    return None if value is None else Code(value, "DCM", REJECTION_TITLES[value])


log = logs.get("job")


class Stages:
    """How long each stage took, in seconds."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    @property
    def spent_s(self) -> float:
        """Since the attempt began."""
        return time.perf_counter() - self._began

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(time.perf_counter() - started, 3)

    def part(self, whole: str, name: str, seconds: float) -> None:
        """What is a stage of its own, and no part of the one that it ran in."""
        if seconds:
            self.seconds[name] = round(seconds, 3)
            self.seconds[whole] = round(self.seconds[whole] - self.seconds[name], 3)


def run(spec: JobSpec) -> JobOutcome:
    """Run one attempt. Never raises: whatever goes wrong comes back as words, since a lost error is a silent failure."""
    stages = Stages()
    try:
        return _run(spec, stages)
    except StorageError as error:
        return JobOutcome(storage_error=str(error), stage_s=stages.seconds)
    except ModelProcessEnded as error:
        return JobOutcome(error=str(error), ended=error.outcome, stage_s=stages.seconds)
    except Exception as error:  # noqa: BLE001 - a model may fail in any way, and each must be told
        return JobOutcome(error=f"{type(error).__name__}: {error}", stage_s=stages.seconds)


def _run(spec: JobSpec, stages: Stages) -> JobOutcome:
    objects = open_store(spec.objects_url)
    with stages.timed("fetch"):
        package = load_exactly(Path(spec.package_folder), spec.package_sha256, RESTART)
        instances = [instance_of(objects.part(key)) for key in spec.object_keys]
        besides = companion_volumes.fetch(objects, spec)
        sources = Headers(instances)
    volume, frames, companions, findings, left_out = _find(spec, package, instances, besides, stages)
    said_besides = left_out + (f"; {spec.remark}" if spec.remark else "")
    if spec.compare_with is not None:
        with stages.timed("compare"):
            comparison = _comparison(objects, spec.compare_with, volume, findings)
            provenance_key, provenance_bytes = put_provenance(objects, gather(spec, package))
        outcome = _outcome(package, findings, stages, said_besides)
        return replace(outcome, comparison=comparison, provenance_key=provenance_key, provenance_bytes=provenance_bytes)
    if spec.findings_key is not None:
        with stages.timed("keep"):
            objects.put(spec.findings_key, map(memoryview, kept.parts(findings, packed=True)))
    if findings.not_analysed and not spec.report_not_analysed:
        return _outcome(package, findings, stages, said_besides)
    remark = _with_what_is_missing(spec.remark, volume, len(sources))
    with stages.timed("encode"):
        made = make(
            Report(
                sources=sources,
                volume=volume,
                frames=frames,
                findings=findings,
                model=package.identity,
                revision=spec.revision,
                created_at=zone.of_study(spec.created_at, sources[0]),
                kinds=frozenset(spec.kinds),
                companions=companions,
                remark=remark,
                predecessors=spec.predecessors,
                words=spec.words,
            ),
            spec.demands,
            report_failure=spec.report_not_analysed,
        )
    with stages.timed("put"):
        to = objects if spec.results_url is None else open_store(spec.results_url)
        results, instead = (_put_all(to, spec, items) for items in (made.results, made.instead))
        provenance_key, provenance_bytes = put_provenance(to, gather(spec, package))
    outcome = _outcome(package, findings, stages, said_besides)
    not_made = _not_made((*made.results, *made.instead))
    return replace(
        outcome,
        results=results,
        instead=instead,
        not_made=not_made,
        provenance_key=provenance_key,
        provenance_bytes=provenance_bytes,
    )


def _comparison(objects: ObjectStore, key: str, volume: Volume | None, findings: Findings) -> dict[str, Any]:
    """Of a shadow: how what it found differs from what the job found whose findings are kept under the key."""
    try:
        active = kept.from_bytes(objects.get(key))
    except UnknownObject as error:
        raise InferenceError("what it is to be compared with is not kept any more") from error
    return paired(active, findings, volume.spacing_mm if volume else (1.0, 1.0, 1.0)).document()


def _find(
    spec: JobSpec,
    package: Package,
    instances: list[Instance],
    besides: dict[str, list[Instance]],
    stages: Stages,
) -> tuple[Volume | None, tuple[Frame, ...], tuple[ReadBesides, ...], Findings, str]:
    """The volume that was analysed, the frames of its series, others read for it, what was found, and what else there was in
    the series, in words.

    The instances are gone when it returns: what came with their pixels is not to take room beside the volume.
    """
    contract = package.manifest.input
    if spec.give_up_reason:
        code = rejected_code(spec.rejected_as) or (WITHHELD if spec.is_withheld else PROCESSING_FAILED)
        return None, (), (), Findings(not_analysed=NotAnalysed(code, spec.give_up_reason)), ""
    if missing := companion_volumes.why_missing(contract, spec):
        return None, (), (), Findings(not_analysed=NotAnalysed(NO_COMPANION, missing)), ""
    try:
        with stages.timed("volume"), pool.room_for(package):
            reading = _read(instances, contract)
            companions, without = companion_volumes.read(contract, spec, besides)
    except NotAVolume as reason:
        code = NOT_A_VOLUME if contract.images == "volume" else NO_PICTURE
        return None, (), (), Findings(not_analysed=NotAnalysed(code, str(reason))), ""
    volume, frames, left_out = reading.volumes[0], reading.frames, _left_out(reading) + without
    del reading
    instances.clear()
    besides.clear()
    with stages.timed("predict"):
        PASSES.taken()
        TURNS.waited_s()
        besides_read = {one.name: one.volume for one in companions}
        bounds = pool.bounds_of(
            package, timeout_s=spec.timeout_s, spent_s=stages.spent_s, memory_bytes=spec.memory_bytes
        )
        findings = pool.predict(volume, package, spec.device, besides_read, seed=seed_for(spec, package), bounds=bounds)
    stages.part("predict", "turn", TURNS.waited_s())
    stages.part("predict", "network", PASSES.taken().seconds)
    for words in pool.POOL.untold():
        log.warning("model processes lack a wall", reason=words.lower())
    return volume, frames, companions, findings, left_out


def _with_what_is_missing(remark: str | None, volume: Volume | None, instances: int) -> str | None:
    """Of images taken one by one each counts: one that was set aside must be missed by nobody who reads of the others."""
    analysed = {picture.source.sop_instance_uid for picture in volume.pictures} if volume else set()
    if not analysed or len(analysed) >= instances:
        return remark
    said = f"{instances - len(analysed)} of {instances} images of the series were not analysed"
    return f"{remark}; {said}" if remark else said


def _read(instances: Sequence[Instance], contract: InputContract) -> SeriesReading:
    """As a volume, or image by image. Raises NotAVolume."""
    if contract.images == "volume":
        return read_instances(instances, tilt=contract.gantry_tilt)
    return read_each(instances, contract)


def _left_out(reading: SeriesReading) -> str:
    words = ""
    if len(reading.volumes) > 1:
        which = ", ".join(f"{attribute} {value}" for attribute, value in reading.volumes[0].split_by)
        words += f"; the first of {len(reading.volumes)} volumes in the series was analysed ({which})"
    if reading.set_aside:
        words += f"; {len(reading.set_aside)} images set aside, the first because: {reading.set_aside[0].reason}"
    return words


def _not_made(items: Iterable[EncodedResult]) -> dict[str, str]:
    """Why, by kind as ordered; of some kinds there are several objects."""
    why: dict[str, list[str]] = {}
    for item in items:
        if not item.file.size_bytes:
            why.setdefault(item.kind, []).extend(item.faults)
    return {kind: "; ".join(dict.fromkeys(faults)) for kind, faults in why.items()}


def _put_all(objects: ObjectStore, spec: JobSpec, items: Iterable[EncodedResult]) -> tuple[Result, ...]:
    """Those that could be made; what is not sound is kept, too."""
    return tuple(_put(objects, spec, item) for item in items if item.file.size_bytes)


def _put(objects: ObjectStore, spec: JobSpec, item: EncodedResult) -> Result:
    return put_result(
        objects,
        item.file,
        kind=item.kind,
        sop_class_uid=item.sop_class_uid,
        sop_instance_uid=item.sop_instance_uid,
        series_instance_uid=item.series_instance_uid,
        study_instance_uid=spec.study_instance_uid,
        description=item.description,
        faults=item.faults,
    )


def _outcome(package: Package, findings: Findings, stages: Stages, said_besides: str) -> JobOutcome:
    if findings.not_analysed:
        reason = findings.not_analysed.text
        summary = f"{package.key}: not analysed: {reason}{said_besides}"
        return JobOutcome(summary, not_analysed=reason, stage_s=stages.seconds)
    found = f"{len(findings.segments)} segments, {len(findings.measurements)} measurements"
    return JobOutcome(f"{package.key}: {found}{said_besides}", stage_s=stages.seconds)
