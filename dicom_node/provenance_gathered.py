"""What a run was made of, as the worker that made it knows; kept beside its results."""

from __future__ import annotations

import hashlib

from dicom_node.attempt import JobSpec
from dicom_node.own_code import libraries, own_code
from dicom_node.provenance import Provenance, seed_of, without_places
from inference.circumstances import circumstances_of
from inference.errors import InferenceError
from inference.package import Package
from storage.objects.protocol import ObjectStore

# What a package of a kind is run by, wherever it is: that may be a process of its own.
_RUN_BY = {"onnx": ("onnxruntime",), "monai_bundle": ("monai",)}


def seed_for(spec: JobSpec, package: Package) -> int:
    return seed_of(spec.study_instance_uid, spec.series_instance_uid, spec.revision, package.manifest.name)


def gather(spec: JobSpec, package: Package) -> Provenance:
    """Of a run of the package in this process, on what the spec says."""
    manifest = package.manifest
    try:
        circumstances = circumstances_of(package, spec.device)
    except InferenceError:
        circumstances = {}  # nothing can run there, so that is what was reported
    return Provenance(
        spec=without_places(spec),
        model=package.key,
        weights={item.file: item.sha256 for item in manifest.weights},
        code=own_code(),
        libraries=libraries(_RUN_BY.get(manifest.runtime.kind, ())),
        circumstances=circumstances,
        seed=seed_for(spec, package),
    )


def put_provenance(objects: ObjectStore, record: Provenance) -> tuple[str, int]:
    """Keep it; durable when this returns its key, which no other record has, and its size in bytes."""
    content = record.to_bytes()
    study = hashlib.sha256(record.spec.study_instance_uid.encode()).hexdigest()
    key = f"provenance/{study[:2]}/{study[2:18]}/{hashlib.sha256(content).hexdigest()[:32]}.json"
    objects.put(key, [content])
    return key, len(content)
