"""Runs the job of a result again, from what is kept of it, and says whether the same comes out.

Nothing of it is written where the node keeps its data: the run has a process and a folder of its own.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from dicom_node import provenance
from dicom_node.attempt import JobOutcome, JobSpec, RecordedInput
from dicom_node.config import Config
from dicom_node.errors import NodeError
from dicom_node.provenance import Provenance
from dicom_node.results.compared import Compared, Tolerance, compare
from dicom_node.run_apart import run_apart
from dicom_node.stores import Stores
from inference.package import Package
from storage.errors import StorageError
from storage.objects import open_store
from storage.objects.pack import is_sum_of
from storage.objects.protocol import ObjectStore
from storage.records.jobs import Job
from storage.records.received import StoredContent
from storage.records.results import KeptResult, Result
from storage.results import REJECTION

Device = Literal["auto", "cpu", "cuda"]
Verdict = Literal["identical", "within tolerance", "differs"]
Told = Callable[[str, int, int | None], None]
"""Told what is being done, how much of it is done, and of how much; None where nobody knows."""


class CannotReproduce(NodeError):
    """The result cannot be made again."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """One result of the job: as it is kept, and what came of it this time. compared: None where the bytes are the same."""

    result: Result
    is_identical: bool
    compared: Compared | None = None
    lacking: str | None = None

    def holds(self, among: Iterable[Repeated]) -> bool:
        """Within the tolerance. What holds no finding of its own does where all findings of its job do."""
        if self.is_identical or self.lacking or self.compared is None:
            return self.is_identical
        if self.compared.pairs:
            return all(pair.holds for pair in self.compared.pairs)
        others = [one for one in among if one.is_identical or (one.compared and one.compared.pairs)]
        return bool(others) and all(one.holds(()) for one in others)


@dataclass(frozen=True, slots=True)
class Reproduction:
    """repeated: every result of the job, the one that was asked for first. then, now: what they were made of.

    changes: of code, libraries and machine, by name what was and what is. tolerance: that counts where there are changes.
    """

    job: Job
    repeated: tuple[Repeated, ...]
    then: Provenance
    now: Provenance
    tolerance: Tolerance
    seconds: float

    @property
    def changes(self) -> dict[str, tuple[str, str]]:
        return provenance.differences(self.then, self.now)

    @property
    def may_differ(self) -> bool:
        """Where another machine or another code runs it; and on a GPU, which takes as many windows at once as memory allows."""
        return bool(self.changes) or self.now.circumstances.get("device") == "cuda"

    @property
    def verdict(self) -> Verdict:
        """Of the result that was asked for."""
        asked = self.repeated[0]
        if asked.is_identical:
            return "identical"
        return "within tolerance" if self.may_differ and asked.holds(self.repeated) else "differs"


def reproduce(
    config: Config,
    stores: Stores,
    sop_instance_uid: str,
    package_of: Callable[[str, str], Package],
    told: Told,
    *,
    device: Device | None = None,
) -> Reproduction:
    """package_of: of a model, by name@version and the SHA-256 of its content; raises NodeError where it is not here.

    device: instead of that of the first run. Raises CannotReproduce with the reason.
    """
    kept, job, then = recorded(stores, sop_instance_uid)
    package = _package(package_of, then)
    contents = input_contents(stores, then.spec, told)
    spec = placed(then.spec, contents, package, config.objects_url)
    told("running the model", 0, None)
    with tempfile.TemporaryDirectory(prefix="dicom-node-reproduce-") as folder:
        timeout_s = max(job.timeout_s, package.manifest.resources.timeout_s)
        spec = replace(spec, results_url=Path(folder).as_uri(), device=device or spec.device, timeout_s=timeout_s)
        outcome, seconds = run_apart(spec, threads=then.circumstances.get("threads"))
        if reason := outcome.error or outcome.storage_error:
            raise CannotReproduce(f"the job of {sop_instance_uid} failed this time: {reason}")
        made = open_store(spec.results_url or "")
        now = provenance.from_bytes(made.get(outcome.provenance_key or ""))
        tolerance = tolerance_of(package)
        repeated = tuple(_repeated(stores.objects, made, kept, outcome, tolerance))
    return Reproduction(job, repeated, then, now, tolerance, seconds)


def recorded(stores: Stores, sop_instance_uid: str) -> tuple[tuple[KeptResult, ...], Job, Provenance]:
    """The results that were made together with this one, itself first, their job, and what they were made of."""
    found = stores.history.result(sop_instance_uid)
    if found is None:
        raise CannotReproduce(f"no result has the SOP Instance UID {sop_instance_uid}; explain shows those of a study")
    if found.result.kind == REJECTION:
        raise CannotReproduce(f"{sop_instance_uid} tells a destination to reject earlier results: no model made it")
    job = stores.jobs.get(found.job_id)
    if job is None or found.provenance_key is None:
        raise CannotReproduce(f"of {sop_instance_uid} no provenance is kept: it was made by a version that kept none")
    study = stores.history.results(found.result.study_instance_uid)
    together = [one for one in study if one.provenance_key == found.provenance_key and one != found]
    try:
        record = provenance.from_bytes(stores.objects.get(found.provenance_key))
    except StorageError as error:
        raise CannotReproduce(f"the provenance of {sop_instance_uid} cannot be read: {error}") from error
    return (found, *together), job, record


def _package(package_of: Callable[[str, str], Package], then: Provenance) -> Package:
    try:
        return package_of(then.model, then.spec.package_sha256)
    except NodeError as error:
        raise CannotReproduce(str(error)) from error


def placed(spec: JobSpec, contents: dict[RecordedInput, StoredContent], package: Package, objects_url: str) -> JobSpec:
    """What a worker is told, with where things lie now."""

    def keys(of: Sequence[RecordedInput]) -> tuple[str, ...]:
        return tuple(contents[one].object_key for one in of)

    return replace(
        spec,
        objects_url=objects_url,
        object_keys=keys(spec.recorded),
        package_folder=str(package.folder),
        companions=tuple(replace(one, object_keys=keys(one.recorded)) for one in spec.companions),
    )


def input_contents(stores: Stores, spec: JobSpec, told: Told) -> dict[RecordedInput, StoredContent]:
    """Each image that the job read, proven to be what it was. Raises CannotReproduce for one that is not."""
    wanted = dict.fromkeys((*spec.recorded, *(item for one in spec.companions for item in one.recorded)))
    rows = stores.instances.contents_of(one.sop_instance_uid for one in wanted)
    by_sum = {RecordedInput(row.sop_instance_uid, row.content_sum): row for row in rows}
    for done, one in enumerate(wanted):
        told("checking images", done, len(wanted))
        row = by_sum.get(one)
        if row is None:
            raise CannotReproduce(f"image {one.sop_instance_uid} is not kept any more as it was analysed")
        _check(stores.objects, row)
    told("checking images", len(wanted), len(wanted))
    return {one: by_sum[one] for one in wanted}


def _check(objects: ObjectStore, row: StoredContent) -> None:
    try:
        content = b"".join(objects.tail(row.object_key, row.size_bytes))
    except StorageError as error:
        raise CannotReproduce(f"image {row.sop_instance_uid} cannot be read: {error}") from error
    # Of two contents that somebody made to have one sum, the later is told by its key.
    if not is_sum_of(row.content_sum, content) and row.content_sum != _of_key(row.object_key):
        raise CannotReproduce(
            f"image {row.sop_instance_uid} is not what was received: its sum must be {row.content_sum}; its object"
            f" {row.object_key} was damaged or changed, so restore it"
        )


def _of_key(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def tolerance_of(package: Package) -> Tolerance:
    """What the golden cases allow that were recorded from the package, of each the widest; where there are none, what they would
    allow unsaid."""
    cases = [case for case in package.manifest.golden if case.expects == "recorded"]
    usual = Tolerance()
    return Tolerance(
        min((case.least_dice for case in cases), default=usual.least_dice),
        max((case.absolute for case in cases), default=usual.absolute),
        max((case.relative for case in cases), default=usual.relative),
    )


def _repeated(
    kept: ObjectStore, made: ObjectStore, results: Sequence[KeptResult], outcome: JobOutcome, tolerance: Tolerance
) -> Iterator[Repeated]:
    again = {item.sop_instance_uid: item for item in (*outcome.results, *outcome.instead)}
    for one in results:
        result, content = one.result, _kept(kept, one.result)
        found = again.get(result.sop_instance_uid)
        if found is None:
            why = outcome.not_made.get(result.kind) or outcome.not_analysed or "the run gave none"
            yield Repeated(result, is_identical=False, lacking=f"not made this time: {why}")
        elif found.content_sha256 == result.content_sha256:
            yield Repeated(result, is_identical=True)
        else:
            yield Repeated(result, False, compare(content, made.get(found.object_key), tolerance))


def _kept(objects: ObjectStore, result: Result) -> bytes:
    try:
        content = objects.get(result.object_key)
    except StorageError as error:
        raise CannotReproduce(f"result {result.sop_instance_uid} cannot be read: {error}") from error
    if hashlib.sha256(content).hexdigest() != result.content_sha256:
        raise CannotReproduce(
            f"result {result.sop_instance_uid} is not what was made: its SHA-256 must be {result.content_sha256}; its"
            f" object {result.object_key} was damaged or changed"
        )
    return content
