"""What two versions found on one study, as objects to be looked at beside its images: made anew, for nothing was made of one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from dicom_node import provenance
from dicom_node.config import Config
from dicom_node.errors import NodeError
from dicom_node.reproduce import Told, input_contents, placed
from dicom_node.result_kinds import ResultKind
from dicom_node.run_apart import run_apart
from dicom_node.shadow_compare import ShadowComparison
from dicom_node.stores import Stores
from inference.package import Package
from storage.objects import open_store

KINDS: tuple[ResultKind, ...] = ("seg", "sr")
REMARK = "made to compare two versions of the model, and not sent"


def jobs_on(found: ShadowComparison, study: str) -> tuple[int, ...]:
    """The jobs of every pair on a study, by its Accession Number or Study Instance UID; of each pair the active one first.

    Raises NodeError where there is none.
    """
    cases = [case.job for one in found.against for case in one.cases]
    chosen = [job for job in cases if study in (job.accession_number, job.study_instance_uid)]
    if not chosen:
        raise NodeError(f"{study}: no version of {found.name} ran beside another on that study")
    return tuple(dict.fromkeys(job_id for job in chosen for job_id in (job.compared_with, job.job_id)))


def write_results(
    config: Config,
    stores: Stores,
    job_id: int,
    folder: Path,
    *,
    package_of: Callable[[str, str], Package],
    told: Told,
) -> Iterator[Path]:
    """SEG and SR of a job that is run again, as files in the folder. Raises NodeError where it cannot be."""
    job = stores.jobs.get(job_id)
    if job is None or job.provenance_key is None:
        raise NodeError(f"job {job_id}: nothing is kept of what it read, so it cannot be run again")
    then = provenance.from_bytes(stores.objects.get(job.provenance_key))
    package = package_of(then.model, then.spec.package_sha256)
    spec = placed(then.spec, input_contents(stores, then.spec, told), package, config.objects_url)
    folder.mkdir(parents=True, exist_ok=True)
    told(f"running {then.model}", 0, None)
    with tempfile.TemporaryDirectory(prefix="dicom-node-compare-") as aside:
        spec = replace(
            spec,
            results_url=Path(aside).as_uri(),
            kinds=KINDS,
            demands=(),
            predecessors=(),
            report_not_analysed=True,
            remark=REMARK,
        )
        outcome, _ = run_apart(spec, threads=then.circumstances.get("threads"))
        if reason := outcome.error or outcome.storage_error:
            raise NodeError(f"job {job_id} ({then.model}) failed this time: {reason}")
        made = open_store(spec.results_url or "")
        for item in outcome.results:
            path = folder / f"{job_id}-{then.model}-{item.kind}.dcm"
            path.write_bytes(made.get(item.object_key))
            yield path
