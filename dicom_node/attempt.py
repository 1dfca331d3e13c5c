"""What goes to a worker and what comes back. Light to import: the dispatcher knows these, and never loads a model.

Only `run_attempt`, in the worker, loads what computes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, overload

from dicom_node import logs
from dicom_node.own_code import own_code
from dicom_node.profiles import Demand
from dicom_node.result_words import AS_DELIVERED, Words
from inference.golden_verdict import Verdict
from storage.records.results import Predecessor, Result

# How a worker of this machine is told to log; one elsewhere has its own environment.
LOG_LEVEL, LOG_FORMAT = "DICOM_NODE_LOG_LEVEL", "DICOM_NODE_LOG_FORMAT"
# And which of the machine's devices it is to compute on.
PLACES = "DICOM_NODE_PLACES"

# Of a package whose content is not any more what was decided to run.
RESTART = "restart the node to use what is there"

# Without it, products of matrices on CUDA need not be the same twice (cuBLAS, "Results reproducibility").
REPEATABLE: Mapping[str, str] = MappingProxyType({"CUBLAS_WORKSPACE_CONFIG": ":4096:8"})


@dataclass(frozen=True, slots=True)
class Places:
    """Where workers compute. Those that have the same place take turns there, by locks in the folder.

    cpu: how many compute on the cores at once. gpu: how many GPUs there are.
    """

    folder: str
    cpu: int
    gpu: int

    @property
    def text(self) -> str:
        return f"{self.cpu} {self.gpu} {self.folder}"

    @classmethod
    def told(cls, text: str) -> Places:
        cpu, gpu, folder = text.split(" ", 2)
        return cls(folder, int(cpu), int(gpu))


@dataclass(frozen=True, slots=True)
class RecordedInput:
    """An instance as it was taken in: content_sum is of its data set, as its row has it."""

    sop_instance_uid: str
    content_sum: str


@dataclass(frozen=True, slots=True)
class CompanionSpec:
    """Another series that the model reads, by its name in the input contract. absent: why there is none."""

    name: str
    revision: int
    object_keys: tuple[str, ...]
    absent: str | None = None
    recorded: tuple[RecordedInput, ...] = ()


@dataclass(frozen=True, slots=True)
class JobSpec:
    """All that a worker needs to know; plain values, no patient data.

    give_up_reason: set when the model must not be run (again), and only the report of that is wanted. is_withheld: it was
    never to be run on these images, so nothing failed.
    rejected_as: the code (DCM) with which somebody rejected every image of it, where that is why.
    remark: what every report must say besides. predecessors: the reports that this one's may take the place of, the latest
    first. kinds: what is to be made for the destinations; demands: what each of them takes. words: what the site decided about
    the words of results. timeout_s, memory_bytes: what a model from outside may take, which the attempt itself sees to; None
    where nothing is said.
    recorded: of the instances under object_keys, in their order. results_url: where results are put, if not beside the images.
    findings_key: the object that what was found is kept in, for a shadow; None where there is none. compare_with: of a shadow
    that object of the job that it is compared with; nothing is made of what a shadow finds.
    """

    study_instance_uid: str
    series_instance_uid: str
    revision: int
    created_at: float
    objects_url: str
    object_keys: tuple[str, ...]
    package_folder: str
    package_sha256: str
    device: Literal["auto", "cpu", "cuda"]
    kinds: tuple[str, ...]
    report_not_analysed: bool
    give_up_reason: str | None = None
    companions: tuple[CompanionSpec, ...] = ()
    is_withheld: bool = False
    rejected_as: str | None = None
    remark: str | None = None
    predecessors: tuple[Predecessor, ...] = ()
    demands: tuple[Demand, ...] = ()
    words: Words = AS_DELIVERED
    timeout_s: float | None = None
    memory_bytes: int | None = None
    recorded: tuple[RecordedInput, ...] = ()
    results_url: str | None = None
    findings_key: str | None = None
    compare_with: str | None = None


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """results: put and durable; those with faults go to nobody. not_analysed: why there are no findings.

    instead: "not analysed, since the result failed its checks", for destinations that nothing else is left for.
    not_made: of each kind that could not be made, as ordered, the reason. error: the model or the encoding failed.

    ended: with error, where the process that ran the model was killed or took too long; the attempt counts as such.

    storage_error: objects could not be read or written; the job itself is not to blame and is run again.
    provenance_key: the object of provenance_bytes that says what the results were made of, and with what. comparison: of a
    shadow, how what it found differs (see `inference.monitor.paired`).
    """

    summary: str = ""
    results: tuple[Result, ...] = ()
    not_analysed: str | None = None
    error: str | None = None
    storage_error: str | None = None
    ended: Literal["killed", "timeout"] | None = None
    instead: tuple[Result, ...] = ()
    not_made: Mapping[str, str] = field(default_factory=dict)
    stage_s: dict[str, float] = field(default_factory=dict)
    provenance_key: str | None = None
    provenance_bytes: int = 0
    comparison: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class GoldenSpec:
    """One golden case of a package, by its place in the manifest."""

    package_folder: str
    package_sha256: str
    case: int
    device: Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class GoldenOutcome:
    """verdict: what came of the case. device: where it ran."""

    verdict: Verdict
    device: str


@overload
def run_attempt(spec: JobSpec) -> JobOutcome: ...


@overload
def run_attempt(spec: GoldenSpec) -> GoldenOutcome: ...


def run_attempt(spec: JobSpec | GoldenSpec) -> JobOutcome | GoldenOutcome:
    """Run one attempt of a job, or one golden case; called in a worker process."""
    if isinstance(spec, GoldenSpec):
        from dicom_node.golden_attempt import run_case_of

        return run_case_of(spec)
    from dicom_node.job import run

    return run(spec)


def dask_setup(worker: Any) -> None:
    """Called where a worker starts with this module preloaded: logs as in the node, its place is taken, and what jobs need is
    imported."""
    log_format: Literal["text", "json"] = "json" if os.environ.get(LOG_FORMAT) == "json" else "text"
    logs.configure(os.environ.get(LOG_LEVEL, "info"), log_format, process="worker")
    if told := os.environ.get(PLACES):
        _take_place(int(worker.name), Places.told(told))
    import dicom_node.job  # noqa: F401

    own_code()  # before anybody changes what this process has read


def _take_place(number: int, places: Places) -> None:
    """number: of the worker, the same when it is started again."""
    from inference import turns

    if places.gpu:
        turns.show_gpu(number, places.gpu)
    turns.TURNS.share(Path(places.folder), cpu=number % places.cpu, gpu=number % max(1, places.gpu))
