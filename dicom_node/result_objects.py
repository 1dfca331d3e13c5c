"""Where the objects of results lie: under a key that holds the digest of the content, so none ever replaces another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pydicom.uid import ExplicitVRLittleEndian

from storage.objects.protocol import ObjectStore
from storage.records.results import Result


def put_result(
    objects: ObjectStore,
    file: Iterable[bytes | memoryview],
    *,
    kind: str,
    sop_class_uid: str,
    sop_instance_uid: str,
    series_instance_uid: str,
    study_instance_uid: str,
    description: str,
    faults: tuple[str, ...] = (),
) -> Result:
    """Keep a Part 10 file in Explicit VR Little Endian; it is durable when this returns. In quarantine where it has faults.

    file: its pieces, which are walked twice.
    """
    summing, size_bytes = hashlib.sha256(), 0
    for piece in file:
        summing.update(piece)
        size_bytes += len(piece)
    digest = summing.hexdigest()
    study = hashlib.sha256(study_instance_uid.encode()).hexdigest()
    key = f"{'quarantine' if faults else 'results'}/{study[:2]}/{study[2:18]}/{digest[:32]}.dcm"
    objects.put(key, file)
    return Result(
        sop_instance_uid=sop_instance_uid,
        sop_class_uid=sop_class_uid,
        series_instance_uid=series_instance_uid,
        study_instance_uid=study_instance_uid,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        kind=kind,
        description=description,
        object_key=key,
        content_sha256=digest,
        size_bytes=size_bytes,
        faults=faults,
    )
