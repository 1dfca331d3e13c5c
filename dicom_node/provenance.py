"""What a job's results were made of, and with what: enough to run it again, and to say in what that would differ. Pure.

It is kept as JSON beside the results. It names images by their UIDs and holds no patient data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from dicom_node.attempt import CompanionSpec, JobSpec, RecordedInput
from dicom_node.errors import NodeError
from dicom_node.own_code import OwnCode
from dicom_node.profiles import Demand
from dicom_node.result_words import Words
from storage.records.results import Predecessor

DOCUMENT_VERSION = 1
# What the dispatcher tells a worker and what may change a result, beside images and model.
_SETTINGS = ("device", "report_not_analysed", "give_up_reason", "is_withheld", "rejected_as", "remark")


@dataclass(frozen=True, slots=True)
class Provenance:
    """spec: what the worker was told, but where things lay: no keys of objects, no folders, no URL.

    model: name@version. weights: SHA-256 by file. circumstances: see `inference.circumstances`; empty where no model ran.
    """

    spec: JobSpec
    model: str
    weights: Mapping[str, str]
    code: OwnCode
    libraries: Mapping[str, str]
    circumstances: Mapping[str, str]
    seed: int

    @property
    def configuration_sha256(self) -> str:
        """Of all that was configured and that may change a result."""
        return hashlib.sha256(_canonical(_settings(self.spec))).hexdigest()

    def to_bytes(self) -> bytes:
        """The same bytes for equal records."""
        return _canonical(self.document())

    def document(self) -> dict[str, Any]:
        spec = self.spec
        return {
            "version": DOCUMENT_VERSION,
            "study_instance_uid": spec.study_instance_uid,
            "series_instance_uid": spec.series_instance_uid,
            "revision": spec.revision,
            "created_at": spec.created_at,
            "inputs": [asdict(one) for one in spec.recorded],
            "companions": [
                {
                    "name": one.name,
                    "revision": one.revision,
                    "absent": one.absent,
                    "inputs": [asdict(item) for item in one.recorded],
                }
                for one in spec.companions
            ],
            "model": {"key": self.model, "content_sha256": spec.package_sha256, "weights": dict(self.weights)},
            "configuration": _settings(spec),
            "configuration_sha256": self.configuration_sha256,
            "code": asdict(self.code),
            "libraries": dict(self.libraries),
            "circumstances": dict(self.circumstances),
            "seed": self.seed,
        }


def from_bytes(content: bytes) -> Provenance:
    """Raises NodeError where this is no record that this version can read."""
    try:
        tree = json.loads(content)
        if tree["version"] != DOCUMENT_VERSION:
            raise NodeError(f"provenance record: version must be {DOCUMENT_VERSION}, but is {tree['version']}")
        return Provenance(
            spec=_spec(tree),
            model=tree["model"]["key"],
            weights=tree["model"]["weights"],
            code=OwnCode(**tree["code"]),
            libraries=tree["libraries"],
            circumstances=tree["circumstances"],
            seed=tree["seed"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise NodeError(f"provenance record: cannot be read ({type(error).__name__}: {error})") from error


def seed_of(study_instance_uid: str, series_instance_uid: str, revision: int, model_name: str) -> int:
    """Of what a model draws by chance: from 0 to below 2 to the 63rd. Versions of one model draw the same on one series."""
    text = "\0".join(("seed", study_instance_uid, series_instance_uid, str(revision), model_name))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def differences(then: Provenance, now: Provenance) -> dict[str, tuple[str, str]]:
    """What of code, libraries and circumstances is another one now: by name what was, and what is."""
    before, after = _surroundings(then), _surroundings(now)
    return {
        name: (before.get(name, "none"), after.get(name, "none"))
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    }


def _surroundings(of: Provenance) -> dict[str, str]:
    code = {"version of the node": of.code.version, "sources of the node": of.code.sources_sha256}
    return {**code, **of.libraries, **of.circumstances}


def _settings(spec: JobSpec) -> dict[str, Any]:
    return {
        **{name: getattr(spec, name) for name in _SETTINGS},
        "kinds": list(spec.kinds),
        "demands": [_demand(one) for one in spec.demands],
        "words": asdict(spec.words),
        "predecessors": [asdict(one) for one in spec.predecessors],
    }


def _demand(one: Demand) -> dict[str, Any]:
    next_best = {kind: list(kinds) for kind, kinds in one.next_best.items()}
    return {"kinds": list(one.kinds), "next_best": next_best, "may_refuse": one.may_refuse}


def _spec(tree: Mapping[str, Any]) -> JobSpec:
    settings = tree["configuration"]
    return JobSpec(
        study_instance_uid=tree["study_instance_uid"],
        series_instance_uid=tree["series_instance_uid"],
        revision=tree["revision"],
        created_at=tree["created_at"],
        objects_url="",
        object_keys=(),
        package_folder="",
        package_sha256=tree["model"]["content_sha256"],
        kinds=tuple(settings["kinds"]),
        companions=tuple(
            CompanionSpec(one["name"], one["revision"], (), one["absent"], _inputs(one["inputs"]))
            for one in tree["companions"]
        ),
        predecessors=tuple(Predecessor(**one) for one in settings["predecessors"]),
        demands=tuple(_demand_from(one) for one in settings["demands"]),
        words=Words(**settings["words"]),
        recorded=_inputs(tree["inputs"]),
        **{name: settings[name] for name in _SETTINGS},
    )


def _inputs(tree: Sequence[Mapping[str, str]]) -> tuple[RecordedInput, ...]:
    return tuple(RecordedInput(**one) for one in tree)


def _demand_from(tree: Mapping[str, Any]) -> Demand:
    next_best = {kind: tuple(kinds) for kind, kinds in tree["next_best"].items()}
    return Demand(tuple(tree["kinds"]), next_best, tree["may_refuse"])


def _canonical(tree: Mapping[str, Any]) -> bytes:
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()


def without_places(spec: JobSpec) -> JobSpec:
    """What a record keeps of it: another node, or this one elsewhere, would be told the same."""
    companions = tuple(replace(one, object_keys=()) for one in spec.companions)
    nowhere = {"objects_url": "", "object_keys": (), "package_folder": ""}
    unset = dict.fromkeys(("results_url", "findings_key", "compare_with"))
    return replace(spec, companions=companions, **nowhere, **unset)  # type: ignore[arg-type]
