"""A result is made again from what is kept of it, in a process of its own, and compared with what was sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from sqlalchemy import select, update

from storage.records import Result
from storage.schema import result
from tests.acceptance.node import NodeUnderTest, configuration
from tests.acceptance.pacs import storescu
from tests.acceptance.studies import made_study
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.timeout(PATIENCE_S)


@pytest.fixture(scope="module")
def analysed(
    tmp_path_factory: pytest.TempPathFactory, peer: Callable[[str], str]
) -> tuple[NodeUnderTest, dict[str, Result]]:
    """A node that analysed a study, and its results by their kind."""
    folder = tmp_path_factory.mktemp("node")
    node, study = NodeUnderTest(folder, configuration()), made_study(folder / "study", "again")
    with node.running():
        storescu(peer("storescu"), node.port, *study.files)
        wait_until(lambda: node.settled(study.uid))
    return node, {item.result.kind: item.result for item in node.stores.history.results(study.uid)}


def reproduced(node: NodeUnderTest, uid: str) -> tuple[int, dict[str, Any]]:
    """Exit code, and what was said for machines; nothing of the node's data has changed but what SQLite keeps beside it."""
    before = set(node.stores.objects.keys())
    done = node.cli("reproduce", uid, "--json")
    assert set(node.stores.objects.keys()) == before
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_each_kind_of_result_comes_out_the_same_again(analysed: tuple[NodeUnderTest, dict[str, Result]]) -> None:
    node, results = analysed
    code, told = reproduced(node, results["sr"].sop_instance_uid)
    assert (code, told["verdict"], told["changes"]) == (0, "identical", {})
    assert told["results"][0]["sop_instance_uid"] == results["sr"].sop_instance_uid
    assert {item["kind"]: item["identical"] for item in told["results"]} == dict.fromkeys(("seg", "sr", "sc"), True)
    assert len(told["then"]["inputs"]) == 40
    assert told["then"] == told["now"]


def test_a_result_that_is_not_what_comes_out_is_told_finding_by_finding(
    analysed: tuple[NodeUnderTest, dict[str, Result]],
) -> None:
    node, results = analysed
    seg = results["seg"]
    content = bytearray(node.stores.objects.get(seg.object_key))
    content[-600:] = bytes(600)
    with replaced(node, seg, bytes(content)):
        done = node.cli("reproduce", seg.sop_instance_uid)
        assert done.returncode == 1
        assert "differs" in done.stdout
        assert "Dice 0.9" in done.stdout
        assert "code, libraries and machine are the same, so nothing may differ" in done.stdout


def test_an_image_that_is_not_what_was_received_is_not_analysed_again(
    analysed: tuple[NodeUnderTest, dict[str, Result]],
) -> None:
    node, results = analysed
    (pack,) = [path for path in (node.folder / "data").rglob("*.pack") if path.stat().st_size > 100_000]
    content = bytearray(pack.read_bytes())
    place = len(content) // 2
    content[place] ^= 1
    pack.write_bytes(content)
    try:
        code, told = reproduced(node, results["seg"].sop_instance_uid)
    finally:
        content[place] ^= 1
        pack.write_bytes(content)
    assert (code, told["verdict"]) == (2, "cannot be run")
    assert told["reason"].startswith("image ")


def test_a_model_that_has_another_content_now_is_not_run(analysed: tuple[NodeUnderTest, dict[str, Result]]) -> None:
    node, results = analysed
    row = node.stores.history.result(results["seg"].sop_instance_uid)
    assert row
    record = json.loads(node.stores.objects.get(str(row.provenance_key)))
    record["model"]["content_sha256"] = "0" * 64
    node.stores.objects.put("provenance/other.json", [json.dumps(record).encode()])
    with changed(node, row.result, provenance_key="provenance/other.json"):
        code, told = reproduced(node, row.result.sop_instance_uid)
    assert code == 2
    assert "model ct_lung_density@1.0.0: must have the content 0000" in told["reason"]


def test_what_no_model_made_and_what_nobody_knows_is_said(analysed: tuple[NodeUnderTest, dict[str, Result]]) -> None:
    node, results = analysed
    code, told = reproduced(node, "1.2.3.4")
    assert (code, told["reason"].split(";")[0]) == (2, "no result has the SOP Instance UID 1.2.3.4")
    with changed(node, results["sc"], provenance_key=None):
        code, told = reproduced(node, results["sc"].sop_instance_uid)
    assert code == 2
    assert "no provenance is kept" in told["reason"]


@contextmanager
def changed(node: NodeUnderTest, of: Result, **values: Any) -> Iterator[None]:
    """The row of a result with other values, until the block ends."""
    row = result.c.sop_instance_uid == of.sop_instance_uid
    with node.stores.database.read() as connection:
        before = connection.execute(select(*(result.c[name] for name in values)).where(row)).one()._mapping
    write(node, of, values)
    try:
        yield
    finally:
        write(node, of, dict(before))


def write(node: NodeUnderTest, of: Result, values: dict[str, Any]) -> None:
    with node.stores.database.write() as connection:
        connection.execute(update(result).where(result.c.sop_instance_uid == of.sop_instance_uid).values(**values))


def replaced(node: NodeUnderTest, of: Result, content: bytes) -> AbstractContextManager[None]:
    """Another object in its place, as if that had been the result."""
    key = f"results/{hashlib.sha256(content).hexdigest()}.dcm"
    node.stores.objects.put(key, [content])
    return changed(node, of, object_key=key, content_sha256=hashlib.sha256(content).hexdigest())
