from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from dicom_node import config
from dicom_node.destinations import destination_at, dicom, folder, open_destination, peer_of
from dicom_node.destinations.dicom import DicomDestination
from dicom_node.destinations.folder import FolderDestination
from dicom_node.destinations.protocol import Parcel
from dicom_node.errors import NodeError
from dicom_node.network.requestor import SendOutcome
from storage.records.results import Result
from tests.dicom_node.peers import AnsweringScp, data_sets_in, peer_at, storescp
from tests.made_rows import EXPLICIT_VR_LITTLE_ENDIAN, SOP_CLASSES, secondary_capture
from tests.ports import free_port

STUDY = "1.2.826.0.1.3680043.8.498.1"


def parcel(kind: str = "sr", study_uid: str = STUDY) -> Parcel:
    uid = generate_uid()
    part10 = secondary_capture(study_uid, uid, sop_class_uid=SOP_CLASSES[kind])
    sha256, key = "", f"results/{uid}"
    series = f"{STUDY}.1"
    result = Result(
        uid,
        SOP_CLASSES[kind],
        series,
        study_uid,
        EXPLICIT_VR_LITTLE_ENDIAN,
        kind,
        "made",
        key,
        sha256,
        len(part10),
    )
    return Parcel(result, part10)


def test_a_folder_gets_each_result_as_a_file_named_by_uids_alone(tmp_path: Path) -> None:
    parcels = [parcel("seg"), parcel("sr")]
    outcomes = FolderDestination("OUT", tmp_path / "made" / "when absent").deliver(parcels)
    assert [(one.sop_instance_uid, one.verdict) for one in outcomes] == [
        (one.result.sop_instance_uid, "delivered") for one in parcels
    ]
    found = {
        path.relative_to(tmp_path / "made" / "when absent").as_posix(): path.read_bytes()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert found == {f"{STUDY}/{one.result.kind}-{one.result.sop_instance_uid}.dcm": one.part10 for one in parcels}


def test_what_was_answered_stands_when_a_fault_of_ours_ends_the_association(monkeypatch: pytest.MonkeyPatch) -> None:
    parcels = [parcel("seg"), parcel("sr"), parcel("sc")]

    def chokes(*_: object) -> Iterator[SendOutcome]:
        yield SendOutcome(parcels[0].result.sop_instance_uid, "delivered", "stored", status=0)
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(dicom, "send", chokes)
    outcomes = DicomDestination("PACS1", peer_at(104)).deliver(parcels)
    assert [(one.verdict, one.reason) for one in outcomes] == [
        ("delivered", "stored"),
        ("failed", "unexpected RuntimeError"),
        ("failed", "unexpected RuntimeError"),
    ]
    assert [one.sop_instance_uid for one in outcomes] == [one.result.sop_instance_uid for one in parcels]


def test_delivering_to_a_folder_twice_leaves_one_file(tmp_path: Path) -> None:
    destination, one = FolderDestination("OUT", tmp_path), parcel()
    destination.deliver([one])
    assert destination.deliver([one])[0].verdict == "delivered"
    assert [path.read_bytes() for path in tmp_path.rglob("*.dcm")] == [one.part10]


@pytest.mark.parametrize("study_uid", ["../escape", "..", "1.2/3", "1..2", "", "1" * 65, "1.2\n"])
def test_a_study_uid_that_is_none_never_becomes_a_path(tmp_path: Path, study_uid: str) -> None:
    (tmp_path / "out").mkdir()
    (outcome,) = FolderDestination("OUT", tmp_path / "out").deliver([parcel(study_uid=study_uid)])
    assert outcome.verdict == "refused"
    assert "Study Instance UID is no UID" in outcome.reason
    assert [path for path in tmp_path.rglob("*") if path != tmp_path / "out"] == []


def test_a_kind_that_is_no_word_never_becomes_a_path(tmp_path: Path) -> None:
    one = parcel()
    bad = Parcel(replace(one.result, kind="../sr"), one.part10)
    assert FolderDestination("OUT", tmp_path).deliver([bad])[0].verdict == "refused"


def test_a_folder_that_cannot_be_written_is_a_failure_and_leaves_no_whole_file(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_bytes(b"a file where the folder should be")
    (outcome,) = FolderDestination("OUT", blocked).deliver([parcel()])
    assert outcome.verdict == "failed"
    assert str(blocked) in outcome.reason


def test_no_file_appears_before_its_bytes_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync fails, as a full or broken disk makes it: the name of the result must not be there."""

    def fails(_descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    FolderDestination("OUT", tmp_path).deliver([parcel()])
    monkeypatch.setattr(folder.os, "fsync", fails)
    one = parcel()
    (outcome,) = FolderDestination("OUT", tmp_path).deliver([one])
    assert outcome.verdict == "failed"
    assert not (tmp_path / STUDY / f"sr-{one.result.sop_instance_uid}.dcm").exists()


def test_file_and_folder_are_synced_in_this_order_around_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = FolderDestination("OUT", tmp_path)
    destination.deliver([parcel()])
    done: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        done.append("sync " + Path(f"/proc/self/fd/{descriptor}").readlink().name.split("-")[0])
        real_fsync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        done.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(folder.os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    destination.deliver([parcel()])
    assert done == ["sync .sr", "rename", f"sync {STUDY}"]


def test_a_dicom_destination_is_opened_from_its_section_and_delivers(
    tmp_path: Path, peer: Callable[[str], str]
) -> None:
    port = free_port()
    settings = config.DicomDestination(type="dicom", name="PACS1", ae_title="PACS1", address="127.0.0.1", port=port)
    parcels = [parcel("seg"), parcel("sr"), parcel("sc")]
    with storescp(peer("storescp"), tmp_path, port):
        outcomes = open_destination(settings, "DICOM-NODE").deliver(parcels)
    assert [one.verdict for one in outcomes] == ["delivered"] * 3
    assert set(data_sets_in(tmp_path)) == {one.result.sop_instance_uid for one in parcels}


def test_a_warning_of_the_peer_is_delivered_with_its_words() -> None:
    scp = AnsweringScp(free_port(), statuses=[0xB000], comment="name coerced")
    settings = config.DicomDestination(type="dicom", name="PACS1", ae_title="A", address="127.0.0.1", port=scp.port)
    with scp.running():
        (outcome,) = open_destination(settings, "DICOM-NODE").deliver([parcel()])
    assert (outcome.verdict, outcome.has_warning, outcome.comment) == ("delivered", True, "name coerced")


def test_the_calling_ae_title_is_the_nodes_unless_the_destination_has_its_own() -> None:
    settings = config.DicomDestination(type="dicom", name="P", ae_title="A", address="127.0.0.1", port=104)
    own = settings.model_copy(update={"calling_ae_title": "OWN"})
    assert peer_of(settings, "DICOM-NODE").calling_ae_title == "DICOM-NODE"
    assert peer_of(own, "DICOM-NODE").calling_ae_title == "OWN"
    assert peer_of(settings, "DICOM-NODE").timeouts.dimse_s == settings.dimse_timeout_s


def test_a_folder_destination_is_opened_from_its_section(tmp_path: Path) -> None:
    settings = config.FolderDestination(type="folder", name="OUT", path=tmp_path)
    destination = open_destination(settings, "DICOM-NODE")
    assert destination.name == "OUT"
    assert destination.deliver([parcel()])[0].verdict == "delivered"


def test_a_peer_can_be_written_in_one_word() -> None:
    given = destination_at("PACS@10.0.0.5:104")
    assert (given.ae_title, given.address, given.port) == ("PACS", "10.0.0.5", 104)
    assert destination_at("PACS@[::1]:104").address == "::1"


@pytest.mark.parametrize("written", ["PACS@host", "PACS@host:0", "PACS@:104", "@host:104", "PACS@host:many"])
def test_a_peer_that_is_written_wrongly_is_refused_with_the_form_that_is_wanted(written: str) -> None:
    with pytest.raises(NodeError, match="expected AE@host:port"):
        destination_at(written)
