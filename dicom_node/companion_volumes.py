"""The other series that a model reads, in the worker: fetched and made volumes, or why that is not possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dicom_node.attempt import JobSpec
from dicom_node.results.report import ReadBesides
from inference.contract import InputContract
from inference.errors import NotAVolume
from inference.instances import Instance, instance_of
from inference.series import read_instances
from storage.objects.protocol import ObjectStore


def fetch(objects: ObjectStore, spec: JobSpec) -> dict[str, list[Instance]]:
    """The instances of each companion that there is, by its name."""
    return {
        one.name: [instance_of(objects.part(key)) for key in one.object_keys]
        for one in spec.companions
        if one.absent is None
    }


def why_missing(contract: InputContract, spec: JobSpec) -> str | None:
    """What of the series that the model cannot do without is missing, in words; None where nothing is."""
    absent = {one.name: one.absent for one in spec.companions if one.absent is not None}
    told = {one.name for one in spec.companions}
    reasons = [
        f"no {rule.name}: {absent.get(rule.name, 'it was not looked for')}"
        for rule in contract.companions
        if rule.required and (rule.name in absent or rule.name not in told)
    ]
    return "; ".join(reasons) or None


def read(
    contract: InputContract, spec: JobSpec, instances: Mapping[str, Sequence[Instance]]
) -> tuple[tuple[ReadBesides, ...], str]:
    """The volume of each companion, and what was left out, in words.

    Raises NotAVolume for one that the model requires and whose images are none.
    """
    found, left_out = [], ""
    for one in spec.companions:
        if one.name not in instances:
            continue
        rule = contract.companion(one.name)
        try:
            reading = read_instances(instances[one.name], tilt=rule.series.gantry_tilt)
        except NotAVolume as reason:
            if rule.required:
                raise NotAVolume(f"{one.name}: {reason}") from reason
            left_out += f"; {one.name} was left out: {reason}"
            continue
        found.append(ReadBesides(one.name, one.revision, reading.volumes[0]))
    return tuple(found), left_out
