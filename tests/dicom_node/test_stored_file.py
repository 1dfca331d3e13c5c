"""Results that are read while they are sent: the same bytes arrive, and no more than a piece of them is in memory."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.uid import generate_uid

from dicom_node.destinations.dicom import DicomDestination
from dicom_node.destinations.folder import FolderDestination
from dicom_node.destinations.protocol import Parcel
from dicom_node.stored_file import PIECE_BYTES, StoredFile, pieces_of, whole
from storage.objects import open_store
from storage.objects.part import FilePart
from storage.records.results import Result
from tests.dicom_node.peers import AnsweringScp, data_set_bytes, peer_at
from tests.made_rows import EXPLICIT_VR_LITTLE_ENDIAN, SOP_CLASSES, secondary_capture
from tests.ports import free_port

STUDY = "1.2.826.0.1.3680043.8.498.2"
LARGE_BYTES = 24 * PIECE_BYTES


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> FilePart:
    path = tmp_path_factory.mktemp("kept") / "object"
    path.write_bytes(bytes(range(251)) * 40_000)
    return FilePart(path, 7, 2_500_001)


@given(
    slices=st.lists(st.tuples(st.integers(-9, 2_600_000), st.integers(0, 1_300_000)), max_size=6),
    begin=st.integers(0, 2_500_001),
)
def test_slices_are_those_of_the_bytes(kept: FilePart, slices: list[tuple[int, int]], begin: int) -> None:
    expected, file = kept.read(0, kept.size_bytes)[begin:], StoredFile(kept).behind(begin)
    assert len(file) == len(expected)
    for first, length in slices:
        assert file[first : first + length] == expected[first : first + length]
    assert file.sha256() == hashlib.sha256(kept.read(0, kept.size_bytes)).hexdigest()
    assert file[:] == expected == whole(file) == b"".join(pieces_of(file))


def parcel(folder: Path, side: int = 16) -> tuple[Parcel, Path, bytes]:
    """A result that stays in its store, the file that it is there, and its bytes."""
    uid = generate_uid()
    part10 = secondary_capture(STUDY, uid, sop_class_uid=SOP_CLASSES["sc"], side=side)
    key, objects = f"results/{uid}.dcm", open_store(folder.as_uri())
    objects.put(key, [part10])
    series = f"{STUDY}.1"
    result = Result(
        uid, SOP_CLASSES["sc"], series, STUDY, EXPLICIT_VR_LITTLE_ENDIAN, "sc", "made", key, "", len(part10)
    )
    file = StoredFile(objects.part(key))
    assert file.sha256() == hashlib.sha256(part10).hexdigest()
    return Parcel(result, file), folder / key, part10


def test_the_bytes_that_are_stored_arrive(tmp_path: Path) -> None:
    scp, (one, _, part10) = AnsweringScp(free_port()), parcel(tmp_path, side=1500)
    assert len(part10) > 2 * PIECE_BYTES
    with scp.running(transfer_syntaxes=[EXPLICIT_VR_LITTLE_ENDIAN]):
        (outcome,) = DicomDestination("PACS1", peer_at(scp.port)).deliver([one])
    assert outcome.verdict == "delivered"
    assert scp.received == {one.result.sop_instance_uid: data_set_bytes(part10)}
    assert FolderDestination("OUT", tmp_path / "out").deliver([one])[0].verdict == "delivered"
    assert [path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")] == [part10]


def test_a_peer_that_takes_implicit_vr_alone_gets_it_so(tmp_path: Path) -> None:
    scp, (one, path, _) = AnsweringScp(free_port()), parcel(tmp_path)
    with scp.running(transfer_syntaxes=["1.2.840.10008.1.2"]):
        (outcome,) = DicomDestination("PACS1", peer_at(scp.port)).deliver([one])
    assert outcome.verdict == "delivered"
    assert bytes(dcmread(path).PixelData) in scp.received[one.result.sop_instance_uid]


@pytest.mark.parametrize("damage", ["cut short", "changed"])
def test_what_is_damaged_while_it_is_sent_is_tried_again_and_takes_no_other_with_it(
    tmp_path: Path, damage: str
) -> None:
    scp, (gone, path, part10), (other, _, _) = AnsweringScp(free_port()), parcel(tmp_path, 1500), parcel(tmp_path)
    with path.open("r+b") as file:
        if damage == "cut short":
            file.truncate(len(part10) - 1000)
        else:
            file.seek(len(part10) - 1000)
            file.write(bytes([part10[-1000] ^ 1]))
    with scp.running():
        outcomes = DicomDestination("PACS1", peer_at(scp.port)).deliver([gone, other])
    assert (outcomes[0].verdict, outcomes[0].reason) == ("failed", "its stored object cannot be read now")
    assert outcomes[0].is_unread
    assert outcomes[1].verdict == "delivered"
    assert set(scp.received) == {other.result.sop_instance_uid}
    (outcome,) = FolderDestination("OUT", tmp_path / "out").deliver([gone])
    assert (outcome.verdict, outcome.reason) == ("failed", "its stored object cannot be read now")
    assert outcome.is_unread
    assert list((tmp_path / "out").rglob("*.dcm")) == []


def test_a_large_result_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    one, _, part10 = parcel(tmp_path, side=round(LARGE_BYTES**0.5) + 2)
    assert len(part10) > LARGE_BYTES
    del part10
    tracemalloc.start()
    (outcome,) = FolderDestination("OUT", tmp_path / "out").deliver([one])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert outcome.verdict == "delivered"
    assert peak < 4 * PIECE_BYTES
