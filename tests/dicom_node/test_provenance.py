"""What a result was made of is kept whole, can be read again, and says what is another thing now."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.attempt import CompanionSpec, JobSpec, RecordedInput
from dicom_node.errors import NodeError
from dicom_node.own_code import OwnCode, digest_of, libraries
from dicom_node.profiles import PROFILES, demand
from dicom_node.provenance import Provenance, differences, from_bytes, seed_of, without_places
from dicom_node.result_words import Words
from storage.records.results import Predecessor

SPEC = JobSpec(
    study_instance_uid="1.2.3",
    series_instance_uid="1.2.3.1",
    revision=2,
    created_at=1_790_000_000.25,
    objects_url="file:///data/objects",
    object_keys=("instances/a", "instances/b"),
    package_folder="/models/lung",
    package_sha256="a" * 64,
    device="auto",
    kinds=("seg", "sr-seg_labelmap"),
    report_not_analysed=True,
    companions=(CompanionSpec("prior", 1, ("instances/c",), None, (RecordedInput("1.9", "c" * 32),)),),
    remark="analysed 40 of 42 images",
    predecessors=(Predecessor("1.2.3", "1.2.3.8", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.3.9", 1),),
    demands=(demand(PROFILES["ohif"], None, may_refuse=True),),
    words=Words(disclaimer="Not for diagnosis"),
    recorded=(RecordedInput("1.2.3.1.1", "a" * 32), RecordedInput("1.2.3.1.2", "b" * 32)),
)
RECORD = Provenance(
    spec=without_places(SPEC),
    model="lung@1.0.0",
    weights={"network.pt2": "b" * 64},
    code=OwnCode("0.4.0", "c" * 64),
    libraries={"torch": "2.13.0"},
    circumstances={"device": "cpu", "threads": "2"},
    seed=seed_of("1.2.3", "1.2.3.1", 2, "lung"),
)


def test_a_record_is_read_as_it_was_written() -> None:
    assert from_bytes(RECORD.to_bytes()) == RECORD


def test_a_record_says_nothing_of_where_things_lay() -> None:
    elsewhere = replace(SPEC, objects_url="file:///other", package_folder="/other", object_keys=("x", "y"))
    assert replace(RECORD, spec=without_places(elsewhere)).to_bytes() == RECORD.to_bytes()
    assert b"instances/" not in RECORD.to_bytes()


@pytest.mark.parametrize(
    "changed",
    [
        {"kinds": ("seg",)},
        {"device": "cpu"},
        {"words": Words()},
        {"remark": None},
        {"demands": ()},
        {"predecessors": ()},
    ],
)
def test_whatever_is_configured_and_changes_a_result_changes_the_hash_of_the_configuration(
    changed: dict[str, object],
) -> None:
    other = replace(RECORD, spec=replace(RECORD.spec, **changed))  # type: ignore[arg-type]
    assert other.configuration_sha256 != RECORD.configuration_sha256


def test_other_images_are_no_other_configuration() -> None:
    other = replace(RECORD, spec=replace(RECORD.spec, recorded=(), revision=3))
    assert other.configuration_sha256 == RECORD.configuration_sha256


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        json.dumps(RECORD.document() | {"version": 2}).encode(),
        json.dumps({name: value for name, value in RECORD.document().items() if name != "seed"}).encode(),
    ],
)
def test_what_is_no_record_is_refused_in_words(content: bytes) -> None:
    with pytest.raises(NodeError, match="provenance record: "):
        from_bytes(content)


def test_what_is_another_thing_now_is_named() -> None:
    now = replace(RECORD, code=OwnCode("0.5.0", "c" * 64), libraries={"torch": "2.13.0", "onnxruntime": "1.20"})
    assert differences(RECORD, now) == {
        "version of the node": ("0.4.0", "0.5.0"),
        "onnxruntime": ("none", "1.20"),
    }
    assert differences(RECORD, RECORD) == {}


def test_a_seed_belongs_to_series_revision_and_model_and_not_to_its_version() -> None:
    told = ("1.2.3", "1.2.3.1", 2, "lung")
    others = [("1.2.4", *told[1:]), ("1.2.3", "1.2.3.2", 2, "lung"), (*told[:2], 3, "lung"), (*told[:3], "liver")]
    assert len({seed_of(*told), *(seed_of(*one) for one in others)}) == 5
    assert 0 <= seed_of(*told) < 2**63


def test_the_digest_of_sources_changes_with_any_of_them_and_not_with_where_they_lie(tmp_path: Path) -> None:
    digests = []
    for place, content in (("one", "x = 1"), ("two", "x = 1"), ("three", "x = 2")):
        folder = tmp_path / place / "package"
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "module.py").write_text(content)
        (folder / "module.pyc").write_text(place)
        digests.append(digest_of([folder]))
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_libraries_are_those_that_are_loaded_and_those_that_another_process_ran() -> None:
    found = libraries(besides=["onnxruntime"])
    assert {"python", "numpy", "onnxruntime"} <= set(found)
