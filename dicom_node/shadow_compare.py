"""How a version that runs beside the active one compares with it, from what is recorded of every pair of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dicom_node.account_document import iso
from inference.monitor.agreement import Agreement, agreement
from inference.monitor.paired import Paired, difference
from storage.records.jobs import ComparedJob
from storage.shadows import Shadows

# Grows by one where a key is taken away or gets another meaning; new keys may come without.
SCHEMA_VERSION = 1
_WAIT = ("waiting", "ready", "running")


@dataclass(frozen=True, slots=True)
class Case:
    """One series that both analysed. difference: 0 to 1, by the output in which they differ most."""

    job: ComparedJob
    paired: Paired
    difference: float


@dataclass(frozen=True, slots=True)
class Against:
    """All series on which one version ran beside another. cases: those that differ most first."""

    model: str
    beside: str
    agreement: Agreement
    cases: tuple[Case, ...]


@dataclass(frozen=True, slots=True)
class ShadowComparison:
    """against: of each pair of versions, the latest first. waiting, failed: how many shadows were not compared."""

    name: str
    against: tuple[Against, ...]
    waiting: int
    failed: int


def comparison_of(shadows: Shadows, name: str) -> ShadowComparison:
    counts = shadows.counts(name)
    groups: dict[tuple[str, str], list[Case]] = {}
    for job in reversed(shadows.compared(name)):
        found = Paired.of_document(job.comparison)
        groups.setdefault((job.model, job.beside_model), []).append(Case(job, found, difference(found)))
    return ShadowComparison(
        name,
        tuple(_against(*key, cases) for key, cases in groups.items()),
        waiting=sum(number for (_, state), number in counts.items() if state in _WAIT),
        failed=sum(number for (_, state), number in counts.items() if state == "failed"),
    )


def _against(model: str, beside: str, cases: Sequence[Case]) -> Against:
    ordered = sorted(cases, key=lambda case: (-case.difference, case.job.job_id))
    return Against(model, beside, agreement([case.paired for case in reversed(cases)]), tuple(ordered))


def document(found: ShadowComparison) -> dict[str, Any]:
    """What `models compare --json` prints: one object."""
    return {
        "version": SCHEMA_VERSION,
        "name": found.name,
        "waiting": found.waiting,
        "failed": found.failed,
        "against": [
            {
                "model": one.model,
                "beside": one.beside,
                "agreement": asdict(one.agreement),
                "cases": [_case(case) for case in one.cases],
            }
            for one in found.against
        ],
    }


def _case(case: Case) -> dict[str, Any]:
    job = case.job
    return {
        "study_instance_uid": job.study_instance_uid,
        "accession_number": job.accession_number,
        "series_instance_uid": job.series_instance_uid,
        "revision": job.revision,
        "job_id": job.job_id,
        "compared_with_job_id": job.compared_with,
        "finished_at": iso(job.finished_at),
        "difference": round(case.difference, 6),
        "findings": case.paired.document(),
    }
