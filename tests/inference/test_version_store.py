"""Copies of packages by their content: whole or not there, never changed, and found out where they are."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from inference.errors import PackageError
from inference.package import BUILT_IN, MANIFEST, Package, load_package
from inference.scaffold import WEIGHTS, write_package
from inference.version_store import VersionStore
from tests.inference.test_bundle import bundle


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return load_package(write_package(tmp_path_factory.mktemp("made") / "demo", "demo_seg"))


def test_a_package_is_run_from_its_copy_whatever_becomes_of_its_folder(tmp_path: Path) -> None:
    brought = load_package(write_package(tmp_path / "demo", "demo_seg"))
    kept = VersionStore(tmp_path / "models").add(brought)
    (brought.folder / WEIGHTS).write_bytes(b"changed since")
    again = VersionStore(tmp_path / "models").package(brought.content_sha256)
    assert (again.key, again.content_sha256) == (brought.key, brought.content_sha256)
    assert again.folder == kept.folder == tmp_path / "models" / brought.content_sha256 / "demo_seg"


def test_nobody_writes_to_a_copy_by_mistake(package: Package, tmp_path: Path) -> None:
    kept = VersionStore(tmp_path).add(package)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (kept.folder, *kept.folder.rglob("*"))}
    assert modes == {0o444, 0o555}


def test_a_copy_that_was_changed_is_refused_when_it_is_loaded(package: Package, tmp_path: Path) -> None:
    kept = VersionStore(tmp_path).add(package)
    (kept.folder / WEIGHTS).chmod(0o644)
    with (kept.folder / WEIGHTS).open("r+b") as file:
        file.write(b"\x00")
    with pytest.raises(PackageError, match="SHA-256 must be"):
        VersionStore(tmp_path).package(package.content_sha256)


def test_a_copy_to_which_a_file_was_added_is_refused(package: Package, tmp_path: Path) -> None:
    kept = VersionStore(tmp_path).add(package)
    kept.folder.chmod(0o755)
    (kept.folder / "README.md").write_text("added since")
    with pytest.raises(PackageError, match=f"its content must be {package.content_sha256}"):
        VersionStore(tmp_path).package(package.content_sha256)


def test_a_package_that_changes_while_it_is_copied_leaves_nothing(tmp_path: Path) -> None:
    brought = load_package(write_package(tmp_path / "demo", "demo_seg"))
    (brought.folder / "README.md").write_text("added since it was verified")
    with pytest.raises(PackageError, match="its content must be"):
        VersionStore(tmp_path / "models").add(brought)
    assert list((tmp_path / "models").iterdir()) == []


def test_what_an_interrupted_copy_left_is_no_version(package: Package, tmp_path: Path) -> None:
    (tmp_path / f".partial-{os.getpid()}-{package.content_sha256[:16]}" / "demo_seg").mkdir(parents=True)
    store = VersionStore(tmp_path)
    with pytest.raises(PackageError, match="but holds 0 folders"):
        store.package(package.content_sha256)
    assert store.add(package).content_sha256 == package.content_sha256
    assert [path.name for path in tmp_path.iterdir()] == [package.content_sha256]


def test_a_copy_is_removed_whole_and_may_come_again(package: Package, tmp_path: Path) -> None:
    store = VersionStore(tmp_path / "models")
    kept = store.add(package)
    size_bytes = sum(path.stat().st_size for path in kept.folder.rglob("*") if path.is_file())
    assert store.remove(package.content_sha256) == size_bytes
    assert list((tmp_path / "models").iterdir()) == []
    with pytest.raises(PackageError, match="but holds 0 folders"):
        store.package(package.content_sha256)
    assert store.remove(package.content_sha256) == 0
    assert store.add(package).content_sha256 == package.content_sha256


def test_what_an_interrupted_removal_left_goes_with_the_next(package: Package, tmp_path: Path) -> None:
    kept = VersionStore(tmp_path).add(package)
    kept.folder.parent.rename(tmp_path / f".removed-1-{package.content_sha256[:16]}")
    assert VersionStore(tmp_path).remove(package.content_sha256) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_built_in_model_stays_where_it_is(tmp_path: Path) -> None:
    lungs = load_package(BUILT_IN / "ct_lung_density")
    assert VersionStore(tmp_path / "models").add(lungs) is lungs
    assert not (tmp_path / "models").exists()


def test_a_bundle_keeps_the_name_that_its_folder_gives_it(tmp_path: Path) -> None:
    brought = load_package(bundle(tmp_path))
    kept = VersionStore(tmp_path / "models").add(brought)
    assert (kept.key, kept.manifest) == (brought.key, brought.manifest)
    assert not (kept.folder / MANIFEST).exists()
