"""Real objects from real senders: what is stored is what was sent, in every transfer syntax, and all are answered."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from dicom_node.network.file_meta import FileMeta, NotPart10, read_file_meta
from dicom_node.network.transfer_syntaxes import ALL
from tests.dicom_node.peers import storescp
from tests.dicom_node.raw_scu import associated
from tests.dicom_node.serving import Serving, serving
from tests.ports import free_port
from tests.waiting import LIMIT_S, eventually

MAX_CONTEXTS = 128
# The flag with which storescu proposes a transfer syntax.
STORESCU_FLAGS = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.5": "-xr",
}
# What cannot be parsed: two that are cut short, implicit VR under a JPEG syntax, and a data set with a group 0001.
UNPARSABLE = frozenset(("MR_truncated.dcm", "rtplan_truncated.dcm", "SC_rgb_jpeg.dcm", "nested_priv_SQ.dcm"))


@dataclass(frozen=True)
class RealFile:
    """The UIDs are those of the data set, as senders take them: in some files the meta header has others."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data_set: bytes
    is_identified: bool

    @property
    def context(self) -> tuple[str, str]:
        return (self.sop_class_uid, self.transfer_syntax_uid)


def _real_files(folder: Path) -> list[RealFile]:
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            file = path.read_bytes()
            try:
                meta = read_file_meta(file)
            except NotPart10:
                continue
            found.append(_real_file(path, file, meta))
    return found


def _real_file(path: Path, file: bytes, meta: FileMeta) -> RealFile:
    tags: list[int | str] = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of these files are there because they are wrong
        header = pydicom.dcmread(BytesIO(file), stop_before_pixels=True, specific_tags=tags)
        found = {str(tag): header.get(str(tag)) for tag in tags}
    return RealFile(
        path,
        found["SOPClassUID"] or meta.sop_class_uid,
        found["SOPInstanceUID"] or meta.sop_instance_uid,
        meta.transfer_syntax_uid,
        file[meta.data_set_at :],
        is_identified=all(found.values()),
    )


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path / "node") as running:
        yield running


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # the library's, of what some files hold
def test_every_real_object_is_answered_and_what_is_stored_is_what_was_sent(served: Serving, shared_data: Path) -> None:
    files = [file for file in _real_files(shared_data) if file.sop_class_uid != "1.2.840.10008.1.3.10"]
    contexts = list(dict.fromkeys(file.context for file in files if file.context[1] in ALL))
    stored: dict[str, set[bytes]] = {}
    answered: dict[Path, int | None] = {}
    for first in range(0, len(contexts), MAX_CONTEXTS):
        some = contexts[first : first + MAX_CONTEXTS]
        with associated(served.port, some) as scu:
            for file in files:
                if file.context not in some:
                    continue
                response = scu.store(file.data_set, file.context, sop_instance_uid=file.sop_instance_uid)
                assert response, file.path
                answered[file.path] = response.Status
                if response.Status == 0x0000:
                    stored.setdefault(file.sop_instance_uid, set()).add(file.data_set)
    assert len(files) > 440
    assert sum(file.is_identified for file in files) > 430
    assert {file.context[1] for file in files} - {*ALL} <= {"1.2.840.10008.1.2.1.99"}
    expected = {file.path: _expected_status(file) for file in files if file.context in contexts}
    assert answered == expected
    kept = {uid: set(data_sets) for uid, data_sets in served.data_sets().items()}
    assert kept == stored
    assert served.events("request_failed") == []
    assert len(served.events("instance_refused")) == sum(status != 0x0000 for status in expected.values())


def _expected_status(file: RealFile) -> int:
    if file.path.name in UNPARSABLE:
        return 0xC000
    return 0x0000 if file.is_identified else 0xA900


def test_storescu_in_every_syntax_it_knows_is_kept_as_another_acceptor_saw_it(
    served: Serving, shared_data: Path, peer: Callable[[str], str], tmp_path: Path
) -> None:
    # In the JPEG 2000 files of the first folder every VR is UN, which DCMTK cannot send.
    by_syntax = {
        file.transfer_syntax_uid: file
        for file in _real_files(shared_data / "pydicom_test_files")
        + _real_files(shared_data / "ct_one_slice_16_syntaxes")
        if (file.path.name.startswith("CTImage.dcm_") and "2000" not in file.path.name)
        or file.path.name in {"CT1_J2KR", "JPEG2000.dcm"}
    }
    files = [by_syntax[uid] for uid in STORESCU_FLAGS]
    # Another acceptor, which keeps data sets bit for bit: what a sender sends, as another program saw it.
    (tmp_path / "peer").mkdir()
    peer_port = free_port()
    with storescp(peer("storescp"), tmp_path / "peer", peer_port, "--accept-all"):
        for file in files:
            command = [peer("storescu"), STORESCU_FLAGS[file.context[1]], "--required", "127.0.0.1"]
            for port in (peer_port, served.port):
                subprocess.run([*command, str(port), str(file.path)], check=True, timeout=LIMIT_S)
            (seen,) = [path for path in (tmp_path / "peer").iterdir() if not path.name.startswith(".")]
            reference = seen.read_bytes()
            meta = read_file_meta(reference)
            assert meta.transfer_syntax_uid == file.context[1]
            assert reference[meta.data_set_at :] in served.data_sets()[file.sop_instance_uid], file.path.name
            seen.unlink()


@pytest.mark.parametrize("sender", ["storescu", "dcmsend"])
def test_a_whole_series_from_dcmtk_arrives_as_one(
    served: Serving, shared_data: Path, peer: Callable[[str], str], sender: str
) -> None:
    folder = shared_data / "ct_chest_siemens_A0002_B40f"
    command = [peer(sender), "--scan-directories", "-aet", "CT1", "127.0.0.1", str(served.port), str(folder)]
    subprocess.run(command, check=True, timeout=LIMIT_S)
    files = _real_files(folder)
    assert {*served.data_sets()} == {file.sop_instance_uid for file in files}
    # Rows follow in batches, all before the end of the association is recorded.
    study = str(pydicom.dcmread(files[0].path, stop_before_pixels=True).StudyInstanceUID)
    assert eventually(lambda: served.associations(study)[0].ending == "released")
    (series,) = served.house.studies.arriving()
    assert series.instance_count == len(files) == 30
    (association,) = served.associations(study)
    assert association.calling_ae_title == "CT1"
