"""What config.yaml names is taken up once; from there on the roles say which version runs, whatever its folder holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from dicom_node.config import Config
from dicom_node.errors import NodeError
from dicom_node.model_changes import Changes
from dicom_node.model_list import lines_of
from dicom_node.models import model_of
from dicom_node.requeue import analyse_again
from dicom_node.routing import version_for
from dicom_node.stores import Stores
from dicom_node.switches import switched
from dicom_node.versions import Versions
from inference.errors import PackageError
from inference.package import MANIFEST
from inference.registry import Registry
from inference.scaffold import WEIGHTS, write_package
from storage.errors import VersionNeeded, VersionTaken
from storage.records.events import Event
from tests.inference.made_versions import version_of
from tests.made_rows import open_house


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with demo_seg 1.0.0, 1.1.0, which is as good, and 2.0.0, which is worse."""
    folder = tmp_path_factory.mktemp("made")
    first = write_package(folder / "first", "demo_seg")
    version_of(first, folder / "equal", "1.1.0")
    version_of(first, folder / "worse", "2.0.0", window_low=-200.0)
    return folder


class Node:
    def __init__(self, folder: Path, package: Path, **model: Any) -> None:
        self.house = open_house(folder)
        self.models = self.house.models
        self.package = folder / "demo"
        shutil.copytree(package, self.package)
        entry = {"name": "demo_seg", "folder": str(self.package), "device": "cpu"} | model
        self.config = Config.model_validate({"models": [entry]})
        self.folder = folder / "models"
        self.versions = Versions(self.models, self.folder)

    @property
    def changes(self) -> Changes:
        return Changes(self.config, self.models, self.versions)

    def again(self) -> Versions:
        """As another process, or a later start, sees it."""
        return Versions(self.models, self.folder)

    def active(self) -> str:
        return self.again().routable(self.config)["demo_seg"].package.key


@pytest.fixture
def node(tmp_path: Path, made: Path) -> Iterator[Node]:
    found = Node(tmp_path, made / "first")
    assert found.versions.take_up(found.config) == ()
    yield found
    found.house.database.close()


def test_what_is_configured_is_active_and_runs_from_its_copy(node: Node) -> None:
    shutil.rmtree(node.package)
    package = node.again().routable(node.config)["demo_seg"].package
    assert package.key == "demo_seg@1.0.0"
    assert node.folder in package.folder.parents
    role = node.models.roles()["demo_seg"]
    assert (role.active_sha256, role.active_by) == (package.content_sha256, "configuration")


def test_another_version_in_the_folder_waits_until_it_is_activated(node: Node, made: Path) -> None:
    shutil.rmtree(node.package)
    shutil.copytree(made / "equal", node.package)
    (event,) = node.again().take_up(node.config)
    assert event.kind == "model_waits"
    assert "demo_seg@1.0.0 is active: dicom-node models activate demo_seg@1.1.0" in event.text
    assert node.active() == "demo_seg@1.0.0"
    node.changes.activate("demo_seg@1.1.0", without_golden_cases=False)
    assert node.active() == "demo_seg@1.1.0"
    assert node.again().take_up(node.config) == ()


def test_another_content_under_the_same_version_is_refused_and_harms_nothing(node: Node) -> None:
    (node.package / "README.md").write_text("added since")
    (event,) = node.again().take_up(node.config)
    assert (event.kind, event.severity) == ("model_not_taken_up", "alarm")
    assert "give it another version" in event.text
    with pytest.raises(VersionTaken, match="must have the content"):
        node.changes.activate(str(node.package), without_golden_cases=False)
    assert node.active() == "demo_seg@1.0.0"


def test_a_folder_that_is_broken_is_told_and_its_copy_runs(node: Node) -> None:
    (node.package / WEIGHTS).write_bytes(b"broken")
    (event,) = node.again().take_up(node.config)
    assert "SHA-256 must be" in event.text
    assert node.again().problem_of(node.config.models[0]) is None
    assert node.active() == "demo_seg@1.0.0"


def test_a_model_that_was_never_taken_up_and_is_broken_keeps_the_node_from_starting(tmp_path: Path, made: Path) -> None:
    node = Node(tmp_path, made / "first")
    (node.package / WEIGHTS).write_bytes(b"broken")
    with pytest.raises(NodeError, match="SHA-256 must be"):
        node.versions.take_up(node.config)
    assert "SHA-256 must be" in (node.versions.problem_of(node.config.models[0]) or "")
    node.house.database.close()


def test_a_copy_that_was_damaged_is_not_run(node: Node) -> None:
    (copy,) = node.folder.rglob(WEIGHTS)
    copy.chmod(0o644)
    copy.write_bytes(b"damaged")
    with pytest.raises(PackageError, match="SHA-256 must be"):
        node.again().routable(node.config)


def test_a_version_that_is_worse_is_refused_with_figures_and_what_runs_stays(node: Node, made: Path) -> None:
    changed = node.changes.activate(str(made / "worse"), without_golden_cases=False)
    assert all(verdict.passed for verdict in changed.judgement.verdicts)
    (dice,) = [item for item in changed.judgement.compared if item.figure == "Dice of dense"]
    assert (dice.case, dice.before, dice.now, dice.bound) == ("A block of water in air", 1.0, 0.0, 0.98)
    assert not dice.holds
    assert "figures are worse than those of demo_seg@1.0.0" in changed.judgement.refusals[0]
    assert node.active() == "demo_seg@1.0.0"
    (event,) = node.house.events_of_kind("activation_refused")
    assert "demo_seg@2.0.0 was not activated" in event.text


def test_a_version_whose_golden_cases_fail_is_refused(node: Node, made: Path, tmp_path: Path) -> None:
    broken = version_of(made / "worse", tmp_path / "broken", "2.1.0")
    shutil.copy(made / "first" / "golden" / "block.npz", broken / "golden" / "block.npz")
    text = (broken / MANIFEST).read_text()
    old = next(line for line in text.splitlines() if "sha256" in line and "block" in text.split(line)[0][-200:])
    sha256 = next(line for line in (made / "first" / MANIFEST).read_text().splitlines()[::-1] if "sha256" in line)
    (broken / MANIFEST).write_text(text.replace(old.split()[-1], sha256.split()[-1]))
    changed = node.changes.activate(str(broken), without_golden_cases=True)
    assert changed.judgement.refusals[0] == "1 of 1 golden cases failed"
    assert node.active() == "demo_seg@1.0.0"
    assert not node.models.latest_checks()[changed.version.content_sha256].passed


def test_a_version_without_golden_cases_needs_that_somebody_says_so(node: Node, made: Path, tmp_path: Path) -> None:
    bare = version_of(made / "first", tmp_path / "bare", "1.2.0", golden=[])
    refused = node.changes.activate(str(bare), without_golden_cases=False)
    assert "say --without-golden-cases" in refused.judgement.refusals[0]
    assert node.changes.activate(str(bare), without_golden_cases=True).judgement.refusals == ()
    assert node.active() == "demo_seg@1.2.0"


def test_a_rollback_needs_a_version_that_was_active_before(node: Node, made: Path) -> None:
    with pytest.raises(NodeError, match="no version was active before"):
        node.changes.rollback("demo_seg")
    node.changes.activate(str(made / "equal"), without_golden_cases=False)
    version, former = node.changes.rollback("demo_seg")
    assert (version.key, former.key, node.active()) == ("demo_seg@1.0.0", "demo_seg@1.1.0", "demo_seg@1.0.0")


def test_a_canary_takes_its_share_of_the_studies_and_always_the_same_ones(node: Node, made: Path) -> None:
    node.changes.canary(str(made / "equal"), 0.25, without_golden_cases=False)
    model = node.again().routable(node.config)["demo_seg"]
    assert model.package.key == "demo_seg@1.0.0"
    studies = [f"1.2.{number}" for number in range(2000)]
    taken = [uid for uid in studies if version_for(model, uid).package.key == "demo_seg@1.1.0"]
    assert 400 < len(taken) < 600
    assert taken == [uid for uid in studies if version_for(model, uid).package.key == "demo_seg@1.1.0"]
    node.changes.end_canary("demo_seg")
    assert node.again().routable(node.config)["demo_seg"].canary is None


def test_a_worse_version_is_no_canary_either(node: Node, made: Path) -> None:
    refused = node.changes.canary(str(made / "worse"), 0.1, without_golden_cases=False)
    assert refused.judgement.refusals
    assert node.models.roles()["demo_seg"].canary_sha256 is None


def test_a_job_of_a_version_that_is_not_active_any_more_is_given_to_the_one_that_is(node: Node, made: Path) -> None:
    job = node.house.ready_job(model="demo_seg@1.1.0")
    node.changes.activate(str(made / "equal"), without_golden_cases=False)
    node.changes.rollback("demo_seg")
    late = node.house.ready_job(model="demo_seg@1.1.0")
    models = node.versions.routable(node.config)
    assert switched(node.config, node.models, node.versions, models).is_moved(late)
    assert {found.model for one in (job, late) if (found := node.house.jobs.get(one.job_id))} == {"demo_seg@1.0.0"}


def test_a_job_that_was_queued_for_a_version_while_it_was_removed_is_given_to_the_active_one(
    node: Node, made: Path
) -> None:
    node.versions.add(Registry([made / "equal"]).get("demo_seg"))
    node.changes.remove("demo_seg@1.1.0")
    late, unknown = (node.house.ready_job(model=f"demo_seg@{version}") for version in ("1.1.0", "7.0.0"))
    is_moved = switched(node.config, node.models, node.versions, node.versions.routable(node.config)).is_moved
    assert not is_moved(unknown)
    assert is_moved(late)
    moved = node.house.jobs.get(late.job_id)
    assert moved is not None
    assert (moved.model, moved.state) == ("demo_seg@1.0.0", "ready")


def test_a_version_is_found_by_its_key_when_it_is_not_active_any_more(node: Node, made: Path) -> None:
    node.changes.activate(str(made / "equal"), without_golden_cases=False)
    models = node.versions.routable(node.config)
    found = model_of(models, "demo_seg@1.0.0", node.versions.package_of)
    assert found is not None
    assert found.package.key == "demo_seg@1.0.0"
    assert model_of(models, "demo_seg@7.0.0", node.versions.package_of) is None
    assert model_of(models, "other@1.0.0", node.versions.package_of) is None


def test_a_model_that_the_configuration_holds_to_a_version_is_not_changed_by_command(
    tmp_path: Path, made: Path
) -> None:
    node = Node(tmp_path, made / "first", name="demo_seg@1.0.0")
    node.versions.take_up(node.config)
    with pytest.raises(NodeError, match=r"config\.yaml holds it to demo_seg@1\.0\.0"):
        node.changes.activate(str(made / "equal"), without_golden_cases=False)
    node.house.database.close()


def test_a_version_that_nothing_needs_is_removed_and_may_be_added_again(node: Node, made: Path, tmp_path: Path) -> None:
    third = version_of(made / "first", tmp_path / "third", "1.2.0")
    shutil.move(node.package, tmp_path / "aside")
    with pytest.raises(VersionNeeded, match=r"demo_seg@1\.0\.0 cannot be removed: it is the active version"):
        node.changes.remove("demo_seg@1.0.0")
    for folder in (made / "equal", third):
        node.changes.activate(str(folder), without_golden_cases=False)
    with pytest.raises(VersionNeeded, match="is what a rollback returns to"):
        node.changes.remove("demo_seg@1.1.0")
    analysed = node.house.ready_job(model="demo_seg@1.0.0", state="skipped")
    copies = {path.name for path in node.folder.iterdir() if not path.name.startswith(".")}
    removed, freed_bytes = node.changes.remove("demo_seg@1.0.0")
    assert copies - {path.name for path in node.folder.iterdir()} == {removed.content_sha256}
    assert freed_bytes > 1000
    assert node.active() == "demo_seg@1.2.0"
    assert node.versions.package_of("demo_seg@1.0.0") is None
    (line,) = [item for item in lines_of(node.config, node.models, node.versions) if item.key == "demo_seg@1.0.0"]
    assert line.does.startswith("removed 20")
    with pytest.raises(NodeError, match=r"model demo_seg@1\.0\.0: was removed .*dicom-node models add FOLDER"):
        analyse_again(cast(Stores, node.house), analysed.study_instance_uid, "demo_seg")
    for change in (node.changes.remove, partial(node.changes.activate, without_golden_cases=True)):
        with pytest.raises(NodeError, match=r"model demo_seg@1\.0\.0: was removed"):
            change("demo_seg@1.0.0")
    assert node.changes.add(str(tmp_path / "aside")).key == "demo_seg@1.0.0"
    again = node.again().package_of("demo_seg@1.0.0")
    assert again is not None
    assert again.content_sha256 == removed.content_sha256
    assert node.active() == "demo_seg@1.2.0"
    assert analyse_again(cast(Stores, node.house), analysed.study_instance_uid, "demo_seg") == 1
    assert [event.kind for event in node.house.events_of_kind("model_removed", "model_restored")] == [
        "model_removed",
        "model_restored",
    ]


def test_a_version_that_the_configuration_names_is_not_removed(node: Node, made: Path) -> None:
    node.changes.activate(str(made / "equal"), without_golden_cases=False)
    with pytest.raises(NodeError, match=r"which config\.yaml names, holds it, so that the next start"):
        node.changes.remove("demo_seg@1.0.0")
    held = Config.model_validate({"models": [{"name": "demo_seg@1.0.0"}]})
    with pytest.raises(NodeError, match=r"config\.yaml holds demo_seg to it"):
        Changes(held, node.models, node.versions).remove("demo_seg@1.0.0")
    for key, words in (("ct_lung_density@1.0.0", "no version is called so"), ("demo_seg@9", "no version is called so")):
        with pytest.raises(NodeError, match=words):
            node.changes.remove(key)
    lungs = node.versions.add(Registry().get("ct_lung_density"))
    with pytest.raises(NodeError, match="belongs to the installation"):
        node.changes.remove(lungs.key)


def test_what_a_removal_left_since_it_was_interrupted_goes_when_it_is_asked_for_again(
    node: Node, made: Path, tmp_path: Path
) -> None:
    node.changes.add(str(made / "equal"))
    version = node.versions.keyed("demo_seg@1.1.0")
    assert version is not None
    node.models.remove(version.content_sha256, Event("model_removed", "as if the process had ended here"))
    assert (node.folder / version.content_sha256).is_dir()
    assert node.changes.remove("demo_seg@1.1.0")[1] > 1000
    assert not (node.folder / version.content_sha256).exists()


def test_nobody_disables_a_model_that_there_is_not(node: Node) -> None:
    with pytest.raises(NodeError, match="demo_sec: no model is called so; known: demo_seg"):
        node.changes.disable("demo_sec", "a slip")
    node.changes.disable("demo_seg", "mirrored")
    with pytest.raises(NodeError, match="disabled already"):
        node.changes.disable("demo_seg", "mirrored")
    node.changes.enable("demo_seg")
    with pytest.raises(NodeError, match="is not disabled"):
        node.changes.enable("demo_seg")
