"""A version runs beside the active one on a real node: nothing of it is sent, and how the two differ is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom import dcmread

from inference.package import MANIFEST
from inference.scaffold import write_package
from tests.acceptance.node import NodeUnderTest, configuration
from tests.acceptance.pacs import storescu
from tests.acceptance.studies import Study, made_study
from tests.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(PATIENCE_S)]

NAME = "demo_seg"


def other_version(of: Path, folder: Path) -> Path:
    """The same network on another scale: on images of the chest it finds lungs dense, on its golden case it says the same."""
    shutil.copytree(of, folder)
    manifest = (folder / MANIFEST).read_text()
    changed = manifest.replace("version: 1.0.0", "version: 1.1.0").replace("high: 800.0", "high: -550.0")
    (folder / MANIFEST).write_text(changed)
    return folder


@dataclass(frozen=True)
class Shadowed:
    """A node that analysed a study with a version beside the active one. told: what explain said of it then."""

    node: NodeUnderTest
    study: Study
    told: str


@pytest.fixture(scope="module")
def shadowed(tmp_path_factory: pytest.TempPathFactory, peer: Callable[[str], str]) -> Shadowed:
    folder = tmp_path_factory.mktemp("node")
    package = write_package(folder / "demo-seg", NAME)
    other = other_version(package, folder / "demo-seg-2")
    study = made_study(folder / "study", "beside")
    routes = [{"name": "demo", "when": {"Modality": "CT"}, "models": [NAME], "destinations": ["results"]}]
    node = NodeUnderTest(folder, configuration(models=[{"name": NAME, "folder": str(package)}], routes=routes))
    with node.running():
        begun = node.cli("models", "shadow", str(other))
        assert begun.returncode == 0, begun.stdout + begun.stderr
        assert "demo_seg@1.1.0 runs beside demo_seg@1.0.0" in begun.stdout
        storescu(peer("storescu"), node.port, *study.files)
        wait_until(lambda: node.job_states(study.uid) == ["done", "done"])
        wait_until(lambda: node.settled(study.uid))
        told = node.cli("explain", study.uid).stdout
        ended = node.cli("models", "shadow", NAME, "--off")
        assert ended.returncode == 0, ended.stderr
    return Shadowed(node, study, told)


def test_nothing_of_a_shadow_is_sent_and_explain_says_what_it_is(shadowed: Shadowed) -> None:
    account = shadowed.node.account(shadowed.study.uid)
    assert account
    active, shadow = (entry.job for entry in account.jobs)
    assert (active.role, shadow.role, shadow.compared_with) == ("active", "shadow", active.job_id)
    assert {item.job_id for item in account.results} == {active.job_id}
    assert {item.job_id for item in account.deliveries} == {active.job_id}
    sent = [dcmread(path) for path in (shadowed.node.folder / "results").rglob("*.dcm")]
    assert {str(item.SeriesDescription) for item in sent} == {"AI: Demo seg 1.0.0"}
    assert f"shadow of job {active.job_id}: it is compared, and nothing of it is sent" in shadowed.told


def test_two_versions_are_compared_output_by_output_and_the_study_is_named(shadowed: Shadowed) -> None:
    node, study = shadowed.node, shadowed.study
    (against,) = json.loads(node.cli("models", "compare", NAME, "--json").stdout)["against"]
    assert (against["model"], against["beside"]) == ("demo_seg@1.1.0", "demo_seg@1.0.0")
    (segment,) = against["agreement"]["segments"]
    assert 0 < segment["least_dice"] < 1
    (case,) = against["cases"]
    assert case["study_instance_uid"] == study.uid
    numbers = {one["label"]: one for one in case["findings"]["numbers"]}
    assert numbers["Dense tissue: Volume"]["other"] > numbers["Dense tissue: Volume"]["active"]


def test_both_answers_are_written_as_objects_to_be_looked_at(shadowed: Shadowed, tmp_path: Path) -> None:
    node, study = shadowed.node, shadowed.study
    done = node.cli("models", "compare", NAME, "--study", study.accession_number, "--write", str(tmp_path))
    assert done.returncode == 0, done.stderr
    written = [dcmread(path) for path in sorted(tmp_path.iterdir())]
    said = [(str(item.Modality), str(item.SeriesDescription)[:18]) for item in written]
    assert said == [
        ("SEG", "AI: Demo seg 1.0.0"),
        ("SR", "AI: Demo seg 1.0.0"),
        ("SEG", "AI: Demo seg 1.1.0"),
        ("SR", "AI: Demo seg 1.1.0"),
    ]
    assert len({item.SOPInstanceUID for item in written}) == 4
