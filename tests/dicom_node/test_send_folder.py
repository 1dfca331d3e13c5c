from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from dicom_node.network.file_meta import NotPart10, read_file_meta, sop_uids_in
from dicom_node.send_folder import in_associations, send_folder, sop_uids
from tests.dicom_node.peers import AnsweringScp, data_set_bytes, data_sets_in, peer_at, storescp
from tests.made_rows import SOP_CLASSES, secondary_capture
from tests.ports import free_port


def fill(folder: Path, *kinds: str) -> dict[str, bytes]:
    """Write instances in nested folders; returns their data sets by SOP Instance UID."""
    data_sets = {}
    for number, kind in enumerate(kinds):
        uid = generate_uid()
        part10 = secondary_capture("1.2.3", uid, sop_class_uid=SOP_CLASSES[kind])
        place = folder / f"series{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"I{number}").write_bytes(part10)
        data_sets[uid] = data_set_bytes(part10)
    return data_sets


def test_every_instance_of_a_folder_arrives_bit_for_bit_and_progress_is_told(
    tmp_path: Path, peer: Callable[[str], str]
) -> None:
    inside, outside, port = tmp_path / "in", tmp_path / "out", free_port()
    outside.mkdir()
    data_sets = fill(inside, "seg", "sr", "sc", "sc")
    told: list[tuple[int, int]] = []
    with storescp(peer("storescp"), outside, port):
        report = send_folder(inside, peer_at(port), lambda done, total: told.append((done, total)))
    assert data_sets_in(outside) == data_sets
    assert told == [(done, 4) for done in range(5)]
    assert (report.delivered, report.failed, report.skipped) == (4, 0, 0)
    assert report.in_words().startswith("4 instances delivered, 0.0 MB in ")


def test_real_series_of_several_modalities_and_syntaxes_arrive_bit_for_bit(
    shared_data: Path, tmp_path: Path, peer: Callable[[str], str]
) -> None:
    """One small instance of each transfer syntax that the data hold."""
    chosen: dict[str, Path] = {}
    for path in sorted(path for path in shared_data.rglob("*") if path.is_file()):
        with path.open("rb") as file, suppress(NotPart10):
            syntax = read_file_meta(file.read(4096)).transfer_syntax_uid
            if path.stat().st_size < 4_000_000:
                chosen.setdefault(syntax, path)
    inside, outside, port = tmp_path / "in", tmp_path / "out", free_port()
    inside.mkdir()
    outside.mkdir()
    for number, path in enumerate(chosen.values()):
        (inside / str(number)).symlink_to(path)
    # +xa: all transfer syntaxes that it knows; +uf: a file each, for many of them are one image in several syntaxes.
    with storescp(peer("storescp"), outside, port, "+xa", "+uf"):
        report = send_folder(inside, peer_at(port), lambda _done, _total: None)
    refusals = [reason for reason, _ in report.reasons]
    assert all("PACS1 does not accept" in reason for reason in refusals)
    sent = {_padded_data_set(path.read_bytes()) for path in chosen.values()}
    arrived = {_padded_data_set(path.read_bytes()) for path in outside.iterdir()}
    assert arrived <= sent
    assert len(arrived) == report.delivered == len(chosen) - len(refusals)
    assert report.delivered > 5


def _padded_data_set(part10: bytes) -> bytes:
    """A deflated data set may be stored with an odd length; on the network it is even (PS3.5 section A.5)."""
    data_set = data_set_bytes(part10)
    return data_set + b"\0" * (len(data_set) % 2)


def test_what_is_no_dicom_instance_is_counted_and_left(tmp_path: Path) -> None:
    data_sets = fill(tmp_path, "sr")
    (tmp_path / "README.md").write_text("not DICOM")
    (tmp_path / "empty").touch()
    (tmp_path / "DICOMDIR").write_bytes(
        secondary_capture("1.2.3", generate_uid(), sop_class_uid="1.2.840.10008.1.3.10")
    )
    scp = AnsweringScp(free_port())
    with scp.running():
        report = send_folder(tmp_path, peer_at(scp.port), lambda _done, _total: None)
    assert scp.received == data_sets
    assert (report.delivered, report.skipped) == (1, 3)
    assert "3 files skipped: no DICOM instance" in report.in_words()


def test_what_the_peer_does_not_take_is_reported_by_reason(tmp_path: Path) -> None:
    fill(tmp_path, "seg", "sr", "sr", "sc")
    scp = AnsweringScp(free_port(), statuses=[0xC000, 0xC000, 0x0000])
    with scp.running(abstract_syntaxes=[SOP_CLASSES["sr"], SOP_CLASSES["sc"]]):
        report = send_folder(tmp_path, peer_at(scp.port), lambda _done, _total: None)
    assert (report.delivered, report.failed) == (1, 3)
    assert report.reasons[0] == ("cannot understand the data set (0xC000)", 2)
    assert "1 not delivered: PACS1 does not accept Segmentation Storage" in report.in_words()


def test_a_single_file_and_an_empty_folder_can_be_sent(tmp_path: Path) -> None:
    data_sets = fill(tmp_path / "one", "sr")
    (tmp_path / "none").mkdir()
    scp = AnsweringScp(free_port())
    with scp.running():
        one = send_folder(tmp_path / "one" / "series0" / "I0", peer_at(scp.port), lambda _done, _total: None)
        none = send_folder(tmp_path / "none", peer_at(scp.port), lambda _done, _total: None)
    assert (one.delivered, none.delivered, none.failed) == (1, 0, 0)
    assert scp.received == data_sets
    assert len(scp.contexts) == 1


@given(st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=600))
def test_runs_keep_the_order_and_never_need_more_contexts_than_an_association_holds(
    kinds: list[tuple[int, bool]],
) -> None:
    needed = [((f"1.2.{kind}", "1"), (f"1.2.{kind}", "2")) if both else ((f"1.2.{kind}", "1"),) for kind, both in kinds]
    runs = in_associations(needed)
    assert [position for run in runs for position in run] == list(range(len(kinds)))

    def count(positions: list[int]) -> int:
        return len({context for position in positions for context in needed[position]})

    assert all(1 <= count([*run]) <= 128 for run in runs)
    # None is cut for less: the next instance would have needed more.
    assert all(count([*run, following.start]) > 128 for run, following in pairwise(runs))


def test_the_command_names_the_instance_as_its_data_set_does_not_as_its_file_meta_header(tmp_path: Path) -> None:
    """Anonymizers leave old UIDs in the file meta header; a receiver compares the command with the data set."""
    uid, of_meta = generate_uid(), generate_uid()
    part10 = bytearray(secondary_capture("1.2.3", uid, sop_class_uid=SOP_CLASSES["sc"]))
    at = part10.index(uid.encode())
    assert at < read_file_meta(part10).data_set_at
    changed = of_meta[: len(uid)].ljust(len(uid), "1").encode()
    part10[at : at + len(uid)] = changed
    (tmp_path / "I1").write_bytes(part10)
    assert read_file_meta(part10).sop_instance_uid == changed.decode()
    scp = AnsweringScp(free_port())
    with scp.running():
        report = send_folder(tmp_path, peer_at(scp.port), lambda _done, _total: None)
    assert (report.delivered, list(scp.received)) == (1, [uid])


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
@pytest.mark.parametrize("language", [False, True])
def test_the_sop_uids_are_found_in_every_encoding_and_behind_a_sequence(
    syntax: str, language: bool, tmp_path: Path
) -> None:
    """(0008,0006) Language Code Sequence stands before them, of undefined length."""
    read = dcmread(BytesIO(secondary_capture("1.2.3", "1.2.3.4", sop_class_uid=SOP_CLASSES["sc"])))
    dataset = Dataset({tag: read[tag] for tag in read.keys()})  # noqa: SIM118 - of elements that are read
    dataset.file_meta = read.file_meta
    if language:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "en", "RFC5646", "English"
        dataset.LanguageCodeSequence = [item]
        dataset["LanguageCodeSequence"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    encoding = {"implicit_vr": syntax == "1.2.840.10008.1.2", "little_endian": not syntax.endswith(".2.2")}
    dataset.save_as(tmp_path / "I1", enforce_file_format=True, **encoding)
    whole = (tmp_path / "I1").read_bytes()
    expected = (SOP_CLASSES["sc"], "1.2.3.4")
    assert sop_uids(tmp_path / "I1") == expected
    plain = not language and encoding["little_endian"]
    assert sop_uids_in(whole, read_file_meta(whole)) == (expected if plain else None)


@given(st.integers(0, 600))
def test_sop_uids_beyond_the_bytes_at_hand_are_not_made_up(length: int) -> None:
    whole = secondary_capture("1.2.3", "1.2.3.4", sop_class_uid=SOP_CLASSES["sc"])
    meta = read_file_meta(whole)
    found = sop_uids_in(whole[: meta.data_set_at + length], meta)
    assert found in {None, (SOP_CLASSES["sc"], "1.2.3.4")}
