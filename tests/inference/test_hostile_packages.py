"""Packages made to do harm: each is refused with a reason, before what it holds is used, and leaves nothing behind."""

from __future__ import annotations

import os
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

from inference import archives
from inference import package as package_module
from inference.errors import PackageError
from inference.golden import run_golden_cases
from inference.network import network_of
from inference.package import MANIFEST, load_package
from inference.scaffold import CASE, write_package
from tests.inference.made_models import Above, package, torch_export, torchscript, written
from tests.inference.test_golden import replaced

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("sound") / "demo", "demo_seg")


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy of a sound package, to be spoiled."""
    for path in sound.rglob("*"):
        if path.is_file():
            copy = tmp_path / "demo" / path.relative_to(sound)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return tmp_path / "demo"


def refusal(folder: Path) -> str:
    with pytest.raises(PackageError) as refused:
        load_package(folder)
    return str(refused.value)


def test_an_alias_bomb_is_refused_before_it_goes_off(folder: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    (folder / MANIFEST).write_text("\n".join(lines))
    assert "there may be 100000 values, but its aliases stand for more" in refusal(folder)


def test_an_alias_of_what_it_lies_in_is_refused(folder: Path) -> None:
    (folder / MANIFEST).write_text("name: &a [1, *a]")
    assert "an alias stands within what it stands for" in refusal(folder)


def test_an_alias_that_stands_for_little_is_taken(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    category, kind = (
        'category: {value: "85756007", scheme: SCT, meaning: Tissue}',
        'type: {value: "85756007", scheme: SCT, meaning: Tissue}',
    )
    assert category in text
    assert kind in text
    shared = text.replace(category, category.replace(": {", ": &tissue {", 1)).replace(kind, "type: *tissue")
    (folder / MANIFEST).write_text(shared)
    assert load_package(folder).manifest.outputs.segments[0].type.meaning == "Tissue"


@pytest.mark.parametrize("opening", ["[", "{a: "])
def test_values_deep_within_each_other_are_refused(opening: str, folder: Path) -> None:
    (folder / MANIFEST).write_text("name: " + opening * 5000)
    assert "64 deep, and no deeper" in refusal(folder)


def test_a_manifest_larger_than_any_is_refused_unread(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"#" * 300_000)
    assert "must be at most 262144 bytes, but is 300000" in refusal(folder)


def test_weights_larger_than_those_of_any_model_are_refused_before_a_byte_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "more.pt").touch()
    os.truncate(folder / "more.pt", 2 * package_module.MAX_BYTES)  # a hole: it takes no room on the disk
    monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("a file was read"))
    assert f"of {package_module.MAX_BYTES} bytes together" in refusal(folder)


def test_what_is_neither_file_nor_folder_is_refused_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "network.pt")
    assert "is neither a file nor a folder" in refusal(folder)


def test_a_folder_that_is_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "golden" / "more").symlink_to("/etc")
    assert "is a symbolic link" in refusal(folder)


def test_one_flipped_bit_in_any_file_is_refused_or_is_another_package(sound: Path, folder: Path) -> None:
    """What is another package is not the one that a job was queued for, nor the one that is pinned."""
    whole = load_package(sound).content_sha256
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {MANIFEST, "network.pt2", Path(CASE).name}
    for path in files:
        content = path.read_bytes()
        for position in (0, len(content) // 2, len(content) - 2):
            for bit in (0, 7):
                changed = bytearray(content)
                changed[position] ^= 1 << bit
                path.write_bytes(changed)
                try:
                    assert load_package(folder).content_sha256 != whole
                    assert path.name == MANIFEST
                except PackageError as error:
                    assert str(folder) in str(error)  # noqa: PT017 - either may happen
        path.write_bytes(content)
    assert load_package(folder).content_sha256 == whole


def with_entries(archive: bytes, *names: str) -> bytes:
    out = BytesIO(archive)
    with zipfile.ZipFile(out, "a") as target:
        for name in names:
            target.writestr(name, b"harm")
    return out.getvalue()


@pytest.mark.parametrize("name", ["../../../../evil", "/tmp/evil", "network/../../evil", "..\\evil"])
@pytest.mark.parametrize("kind", ["torchscript", "torch_export"])
def test_an_archive_that_leads_out_of_its_folder_is_refused(kind: str, name: str, tmp_path: Path) -> None:
    sound = {
        "torchscript": lambda: torchscript(Above(0.0)),
        "torch_export": lambda: torch_export(Above(0.0), torch.rand(1, 1, 4, 4, 4), {}),
    }[kind]()
    runtime = {"kind": kind, "file": "network.pt"}
    assert network_of(package(tmp_path / "sound", sound, runtime=runtime), CPU)
    made = package(tmp_path / "a" / "b", with_entries(sound, name), runtime=runtime)
    with pytest.raises(PackageError, match="leads out of it: refused"):
        network_of(made, CPU)
    assert not list(tmp_path.rglob("evil"))
    assert not Path("/tmp/evil").exists()


def test_a_golden_case_that_leads_out_of_its_folder_is_refused(folder: Path) -> None:
    content = with_entries((folder / CASE).read_bytes(), "../../evil.npy")
    with pytest.raises(PackageError, match="leads out of it: refused"):
        run_golden_cases(load_package(replaced(folder, CASE, content)), "cpu")
    assert not list(folder.parent.rglob("evil*"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_an_entry_twice_is_refused(tmp_path: Path) -> None:
    """Readers differ in which of them they take: what was looked at must be what is loaded."""
    sound = torch_export(Above(0.0), torch.rand(1, 1, 4, 4, 4), {})
    with zipfile.ZipFile(BytesIO(sound)) as archive:
        name = archive.namelist()[0]
    made = package(tmp_path, with_entries(sound, name), runtime={"kind": "torch_export", "file": "network.pt"})
    with pytest.raises(PackageError, match="twice, so nobody knows which one is meant"):
        network_of(made, CPU)


def test_an_archive_that_unpacks_to_more_than_any_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_BYTES", 10_000_000)
    out = BytesIO(torchscript(Above(0.0)))
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as target:
        target.writestr("network/data/9", bytes(10_000_000))
    assert len(out.getvalue()) < 100_000
    with pytest.raises(PackageError, match="bytes unpacked, more than the 10000000"):
        network_of(package(tmp_path, out.getvalue()), CPU)


def test_a_manifest_that_names_a_file_of_another_package_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "other", torchscript(Above(0.0)))
    made = written(tmp_path / "made", torchscript(Above(0.0)))
    text = (made / MANIFEST).read_text().replace("network.pt", "../other/network.pt")
    (made / MANIFEST).write_text(text)
    assert "must be a path inside the package folder" in refusal(made)


def test_arrays_of_a_golden_case_are_numbers_or_refused(folder: Path) -> None:
    content = BytesIO()
    np.savez(content, voxels=np.array(["text"] * 8).reshape(2, 2, 2), affine_lps=np.eye(4))
    with pytest.raises((PackageError, ValueError)):
        run_golden_cases(load_package(replaced(folder, CASE, content.getvalue())), "cpu")
