"""What `explain --json` prints is one object that docs/explain.schema.json describes wholly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dicom_node.account_document import document, iso
from dicom_node.completeness import Verdict
from dicom_node.history import account_of
from tests.dicom_node.told_study import HEART, LUNG, MODEL, NOON, STUDY, told_study

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "explain.schema.json").read_text())


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The document of a study that met everything that may happen to one, as a machine reads it."""
    waiting = Verdict("not_yet", ("association from CT1 is still open",), until=NOON + 260)
    with told_study(tmp_path_factory.mktemp("told")) as house:
        accounts = account_of(house, "A1", judge_now=lambda _series: waiting)  # type: ignore[arg-type]
    read: dict[str, Any] = json.loads(json.dumps(document("A1", accounts, NOON + 300)))
    return read


def closed(schema: Any) -> Any:
    """The same schema, by which every object may hold nothing but what is described."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(part) for key, part in schema.items()}
    return made | {"additionalProperties": False} if "required" in made else made


def objects(tree: Any) -> Iterator[dict[str, Any]]:
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    if isinstance(tree, dict):
        yield tree
    for part in parts:
        yield from objects(part)


def test_the_schema_is_one_and_the_document_is_as_it_says_with_nothing_besides(told: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    Draft202012Validator(closed(SCHEMA)).validate(told)
    Draft202012Validator(closed(SCHEMA)).validate(document("none", (), NOON))


def test_every_object_that_the_schema_describes_is_in_the_document_but_companions_and_attempts(
    told: dict[str, Any],
) -> None:
    """So that a key which the program misspells, or leaves out, cannot hide in an empty list."""
    described = {frozenset(part["properties"]) for part in SCHEMA["$defs"].values() if "properties" in part}
    shown = {frozenset(part) for part in objects(told)}
    missing = described - shown
    assert missing == {frozenset({"name", "series_instance_uid", "study_instance_uid", "revision", "absent"})}


def test_times_are_utc_and_those_that_did_not_come_are_null(told: dict[str, Any]) -> None:
    assert told["at"] == "2026-01-31T12:05:00.000Z"
    assert iso(None) is None
    (study,) = told["studies"]
    assert study["first_received_at"] == "2026-01-31T12:00:01.000Z"
    heart = study["series"][1]
    assert heart["series_instance_uid"] == HEART
    assert heart["associations"][0]["closed_at"] is None
    assert heart["verdict"]["until"] == "2026-01-31T12:04:20.000Z"


def test_a_machine_finds_revisions_results_and_their_reasons(told: dict[str, Any]) -> None:
    (study,) = told["studies"]
    lungs = study["series"][0]
    assert lungs["series_instance_uid"] == LUNG
    assert [(one["revision"], one["decision"], one["instance_count"]) for one in lungs["revisions"]] == [
        (1, "whole", 4),
        (2, "whole", 4),
    ]
    assert [one["repeated"] for one in lungs["associations"]] == [0, 4, 0]
    assert [one["superseded_by_job_id"] for one in study["results"]] == [2, 2, None, None]
    assert [job["model"] for job in study["jobs"]] == [MODEL, MODEL]
    assert all("STAT" in job["queued"] for job in study["jobs"])
    assert [line["at"] for line in study["timeline"]] == sorted(line["at"] for line in study["timeline"])


def test_standing_counts_only_what_nothing_newer_replaced(tmp_path: Path) -> None:
    with told_study(tmp_path) as house:
        (account,) = account_of(house, STUDY)  # type: ignore[arg-type]
    assert account.standing == "arriving"
    whole = replace(account, series=tuple(replace(one, state="whole") for one in account.series))
    assert whole.standing == "analysed, results on their way"
    assert not whole.is_settled
    sent = tuple(replace(one, state="delivered") if one.state == "waiting" else one for one in whole.deliveries)
    assert replace(whole, deliveries=sent).standing == "results delivered"
    assert replace(whole, deliveries=sent).is_settled
