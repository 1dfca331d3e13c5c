"""A result is made again from what is kept of it, in a process of its own, and compared with what was sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from typing import Any

import pytest
from pydicom import dcmread
from sqlalchemy import func, select, update

from dicom_node.kept_packages import package_with
from dicom_node.reproduce import CannotReproduce, Reproduction, reproduce
from storage.records.results import Result
from storage.schema import instance, result
from tests.acceptance.node import NodeUnderTest, configuration
from tests.acceptance.pacs import storescu
from tests.acceptance.studies import SLICES, made_study
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


def again(node: NodeUnderTest, uid: str) -> Reproduction:
    """As the command does it, in this process as far as it does not run the model."""
    return reproduce(node.config, node.stores, uid, package_with(node.config), lambda _what, _done, _of: None)


def test_all_that_is_kept_counts_against_the_quota(analysed: tuple[NodeUnderTest, dict[str, Result]]) -> None:
    node, _ = analysed
    with node.stores.database.read() as connection:
        rows = sum(
            connection.execute(select(func.sum(table.c.size_bytes))).scalar_one() for table in (instance, result)
        )
    (record,) = [len(node.stores.objects.get(key)) for key in node.stores.objects.keys("provenance/")]
    assert record > 1000
    assert node.stores.usage.total_bytes() == rows + record


def test_each_kind_of_result_comes_out_the_same_again_and_nothing_is_written_for_it(
    analysed: tuple[NodeUnderTest, dict[str, Result]],
) -> None:
    node, results = analysed
    before = set(node.stores.objects.keys())
    done = node.cli("reproduce", results["sr"].sop_instance_uid, "--json")
    assert (done.returncode, set(node.stores.objects.keys())) == (0, before), done.stderr
    told = json.loads(done.stdout)
    assert (told["verdict"], told["changes"]) == ("identical", {})
    assert told["results"][0]["sop_instance_uid"] == results["sr"].sop_instance_uid
    assert {item["kind"]: item["identical"] for item in told["results"]} == dict.fromkeys(("seg", "sr", "sc"), True)
    assert len(told["then"]["inputs"]) == SLICES
    assert told["then"] == told["now"]


@pytest.mark.long
def test_a_result_that_is_not_what_comes_out_is_told_finding_by_finding(
    analysed: tuple[NodeUnderTest, dict[str, Result]],
) -> None:
    node, results = analysed
    seg = dcmread(BytesIO(node.stores.objects.get(results["seg"].object_key)))
    half = len(seg.PixelData) // 2
    seg.PixelData = seg.PixelData[:half] + bytes(len(seg.PixelData) - half)
    content = BytesIO()
    seg.save_as(content)
    with replaced(node, results["seg"], content.getvalue()):
        done = node.cli("reproduce", results["seg"].sop_instance_uid)
    assert done.returncode == 1, done.stderr
    assert "Dice 0." in done.stdout
    assert "code, libraries and machine are the same, so nothing may differ" in done.stdout


def test_an_image_that_is_not_what_was_received_is_not_analysed_again(
    analysed: tuple[NodeUnderTest, dict[str, Result]],
) -> None:
    node, results = analysed
    (pack,) = [path for path in (node.folder / "data").rglob("*.pack") if path.stat().st_size > 100_000]
    whole = pack.read_bytes()
    place = len(whole) // 2
    pack.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    try:
        with pytest.raises(CannotReproduce, match=r"^image [0-9.]+ (is not what was received|cannot be read)"):
            again(node, results["seg"].sop_instance_uid)
    finally:
        pack.write_bytes(whole)


def test_a_model_that_has_another_content_now_is_not_run(analysed: tuple[NodeUnderTest, dict[str, Result]]) -> None:
    node, results = analysed
    row = node.stores.history.result(results["seg"].sop_instance_uid)
    assert row
    record = json.loads(node.stores.objects.get(str(row.provenance_key)))
    record["model"]["content_sha256"] = "0" * 64
    node.stores.objects.put("provenance/other.json", [json.dumps(record).encode()])
    with (
        changed(node, row.result, provenance_key="provenance/other.json"),
        pytest.raises(CannotReproduce, match=r"model ct_lung_density@1\.0\.0: must have the content 0000"),
    ):
        again(node, row.result.sop_instance_uid)


def test_what_nobody_knows_and_what_nothing_is_kept_of_is_said(
    analysed: tuple[NodeUnderTest, dict[str, Result]],
) -> None:
    node, results = analysed
    with pytest.raises(CannotReproduce, match="no result has the SOP Instance UID"):
        again(node, "1.2.3.4")
    with changed(node, results["sc"], provenance_key=None):
        done = node.cli("reproduce", results["sc"].sop_instance_uid, "--json")
    assert done.returncode == 2
    assert "no provenance is kept" in json.loads(done.stdout)["reason"]


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
