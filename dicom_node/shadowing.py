"""A version that runs beside the active one: on which jobs, and what is kept of these until it was compared with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from dicom_node.dispatch import KEPT_FINDINGS, kept_findings_key
from inference.package import Package
from storage.jobs import Jobs
from storage.objects.protocol import ObjectStore
from storage.records.jobs import Job, NewShadow
from storage.records.models import ModelRole
from storage.shadows import Shadows

SWEEP_S = 60.0


def shadow_beside(
    job: Job,
    roles: Mapping[str, ModelRole],
    package_of: Callable[[str], Package | None],
) -> NewShadow | None:
    """What is to run on the images of a job besides; None where nothing is, or where it would read other series than the job.

    roles: by the names of models. package_of: by the digest of its content, None where it cannot be used. It may take as long as
    the job, or as its package asks for, whichever is longer.
    """
    role = roles.get(job.model.partition("@")[0])
    if role is None or role.shadow_sha256 is None or role.disabled:
        return None
    package = package_of(role.shadow_sha256)
    if package is None or package.key == job.model:
        return None
    manifest = package.manifest
    if {one.name for one in job.companions} != {one.name for one in manifest.input.companions}:
        return None
    return NewShadow(package.key, max(job.timeout_s, manifest.resources.timeout_s))


class KeptFindings:
    """What jobs found is kept until their shadows were compared with it, and no longer."""

    def __init__(
        self, objects: ObjectStore, jobs: Jobs, shadows: Shadows, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._objects = objects
        self._jobs = jobs
        self._shadows = shadows
        self._clock = clock
        self._next = clock()

    def step(self) -> int:
        """Once a minute, remove what no shadow waits for; returns how many were removed."""
        if self._clock() < self._next:
            return 0
        self._next = self._clock() + SWEEP_S
        found = set(self._objects.keys(KEPT_FINDINGS))
        if not found:
            return 0
        # In this order: what a job kept a moment ago is that of one that runs, or that a shadow waits for by now.
        running = {job.job_id for job in self._jobs.running()}
        needed = {kept_findings_key(job_id) for job_id in running | self._shadows.waits_for()}
        for key in found - needed:
            self._objects.delete(key)
        return len(found - needed)
