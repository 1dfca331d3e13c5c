"""Results in fewer bytes: nothing is lost, peers take and read them, and who does not take them gets them as they are."""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Callable
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydantic import ValidationError
from pydicom import Dataset, dcmread

from dicom_node import compression
from dicom_node.backoff import Backoff
from dicom_node.breaker import Breaker
from dicom_node.compression import Compressed, NotTheSame, compressed
from dicom_node.config_destinations import DicomDestination as Settings
from dicom_node.courier import Courier
from dicom_node.destinations.dicom import DicomDestination, open_dicom
from dicom_node.destinations.folder import FolderDestination
from dicom_node.destinations.protocol import Parcel
from dicom_node.lossless import TRANSFER_SYNTAXES, Method
from dicom_node.profiles import usual_demand
from dicom_node.results.encode import encode
from dicom_node.results.report import EncodedResult
from storage.records.results import Result
from tests.conformance.kinds import findings_of_every_kind
from tests.conformance.readers import Values, dcmqi_values, highdicom_values
from tests.conformance.reports import made_volume, report_on
from tests.conformance.validators import dciodvfy_errors
from tests.dicom_node.peers import AnsweringScp, data_set_bytes, data_sets_in, peer_at, storescp
from tests.made_rows import EXPLICIT_VR_LITTLE_ENDIAN, open_house
from tests.orthanc import Orthanc
from tests.ports import free_port
from tests.segmented import apart, many, masks

FindPeer = Callable[[str], str]
RLE, JPEG_2000, DEFLATED = (TRANSFER_SYNTAXES[method] for method in ("rle", "jpeg2000", "deflated"))
PERMITTED: dict[str, tuple[Method, ...]] = {
    "seg": ("deflated",),
    "seg_fractional": ("rle", "jpeg2000", "deflated"),
    "seg_labelmap": ("rle", "jpeg2000", "deflated"),
    "sc": ("rle", "jpeg2000", "deflated"),
    "parametric_map": ("deflated",),
    "sr": (),
    "pdf": (),
}
FORMS = [(kind, method) for kind, methods in PERMITTED.items() for method in methods]


@cache
def made(kind: str) -> EncodedResult:
    datasets, volume = made_volume("axial")
    findings = {"seg_labelmap": apart, "parametric_map": findings_of_every_kind}.get(kind, masks)(volume)
    (result,) = encode(report_on(datasets, volume, findings, (kind,)))
    assert not result.faults
    return result


def form(kind: str, *methods: Method) -> Compressed:
    found = compressed(made(kind).payload, methods)
    assert found
    return found


def read(part10: bytes) -> Dataset:
    return dcmread(BytesIO(part10))


def parcel(kind: str) -> Parcel:
    one = made(kind)
    study = str(read(one.payload).StudyInstanceUID)
    result = Result(
        one.sop_instance_uid,
        one.sop_class_uid,
        one.series_instance_uid,
        study,
        EXPLICIT_VR_LITTLE_ENDIAN,
        kind,
        "made",
        "results/made",
        "",
        len(one.payload),
    )
    return Parcel(result, one.payload)


@pytest.mark.parametrize(("kind", "method"), FORMS)
def test_an_independent_decoder_reads_the_same_pixels_and_all_else_is_as_it_was(kind: str, method: Method) -> None:
    packed, plain = read(form(kind, method).part10), read(made(kind).payload)
    assert packed.file_meta.TransferSyntaxUID == TRANSFER_SYNTAXES[method]
    np.testing.assert_array_equal(packed.pixel_array, plain.pixel_array)
    for dataset in (packed, plain):
        dataset.pop("PixelData", None)
    assert packed == plain


@pytest.mark.parametrize("kind", PERMITTED)
def test_what_the_standard_has_no_such_form_for_is_left_as_it_is(kind: str) -> None:
    methods: tuple[Method, ...] = ("rle", "jpeg2000", "deflated")
    assert tuple(method for method in methods if compressed(made(kind).payload, [method])) == PERMITTED[kind]


def test_the_first_method_that_can_be_used_is() -> None:
    assert form("seg", "rle", "deflated").transfer_syntax_uid == DEFLATED
    assert form("seg_labelmap", "jpeg2000", "rle").transfer_syntax_uid == JPEG_2000
    assert compressed(made("seg_labelmap").payload, []) is None


def test_a_label_map_of_words_is_compressed_byte_by_byte() -> None:
    """From 256 segments on its pixels have 16 bits."""
    datasets, volume = made_volume("axial")
    (wide,) = encode(report_on(datasets, volume, many(volume, 300), ("seg_labelmap",)))
    for method in ("rle", "jpeg2000"):
        packed = compressed(wide.payload, [method])
        assert packed
        np.testing.assert_array_equal(read(packed.part10).pixel_array, read(wide.payload).pixel_array)


@pytest.mark.parametrize("kind", ["seg_fractional", "seg_labelmap", "sc"])
def test_the_decoder_of_dcmtk_reads_rle(peer: FindPeer, tmp_path: Path, kind: str) -> None:
    packed, plain = tmp_path / "packed.dcm", tmp_path / "plain.dcm"
    packed.write_bytes(form(kind, "rle").part10)
    subprocess.run([peer("dcmdrle"), str(packed), str(plain)], check=True, capture_output=True)
    np.testing.assert_array_equal(read(plain.read_bytes()).pixel_array, read(made(kind).payload).pixel_array)


@pytest.mark.parametrize(("kind", "method"), [one for one in FORMS if one[0].startswith("seg")])
def test_readers_of_segmentations_find_the_same_masks(
    peer: FindPeer, tmp_path: Path, kind: str, method: Method
) -> None:
    """dcmqi takes whatever is JPEG 2000 for lossy, which Segmentations must not be, and refuses it."""
    packed, plain = tmp_path / "packed.dcm", tmp_path / "plain.dcm"
    packed.write_bytes(form(kind, method).part10)
    plain.write_bytes(made(kind).payload)
    _, volume = made_volume("axial")
    readers: list[Callable[[Path], Values]] = [partial(highdicom_values, volume=volume)]
    if method != "jpeg2000":
        program = peer("segimage2itkimage")
        readers.append(lambda path: dcmqi_values(program, path, kind, volume, tmp_path / path.stem))
    for reader in readers:
        found, wanted = reader(packed), reader(plain)
        assert found.keys() == wanted.keys()
        for number, values in wanted.items():
            np.testing.assert_array_equal(found[number], values)


@pytest.mark.parametrize(("kind", "method"), [one for one in FORMS if one[1] != "deflated"])
def test_a_validator_finds_no_error(peer: FindPeer, tmp_path: Path, kind: str, method: Method) -> None:
    """It cannot read what is deflated; that is what it was, once inflated."""
    path = tmp_path / "packed.dcm"
    path.write_bytes(form(kind, method).part10)
    assert dciodvfy_errors(peer("dciodvfy"), path) == []


def test_a_data_set_that_does_not_inflate_to_what_it_was_is_never_used() -> None:
    part10 = made("sc").payload
    assert len(part10) > 2 * compression._PIECE_BYTES
    plain, packed = part10[132:], zlib.compress(part10[132:], wbits=-zlib.MAX_WBITS)
    assert compression._inflates_to(packed, memoryview(plain))
    for other in (plain[:-1], plain + b"x", plain[:-9] + b"changed.."):
        assert not compression._inflates_to(packed, memoryview(other))
    assert not compression._inflates_to(packed[:-40], memoryview(plain))


@pytest.mark.parametrize("method", ["rle", "jpeg2000"])
def test_a_frame_that_does_not_come_back_as_it_was_is_never_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, method: Method
) -> None:
    decoder = {"rle": "packbits_decode", "jpeg2000": "jpeg2k_decode"}[method]
    right = getattr(imagecodecs, decoder)

    def wrong(data: bytes) -> object:
        decoded = right(data)
        return bytes(len(decoded)) if isinstance(decoded, bytes) else np.zeros_like(decoded)

    monkeypatch.setattr(imagecodecs, decoder, wrong)
    with pytest.raises(NotTheSame):
        compressed(made("seg_labelmap").payload, [method])
    (outcome,) = FolderDestination("OUT", tmp_path, (method,)).deliver([parcel("seg_labelmap")])
    assert (outcome.verdict, outcome.sent_as) == ("delivered", "")
    (file,) = tmp_path.rglob("*.dcm")
    assert file.read_bytes() == made("seg_labelmap").payload


def test_storescp_that_takes_rle_gets_it_and_one_that_does_not_gets_the_same_instance_as_it_is(
    peer: FindPeer, tmp_path: Path
) -> None:
    parcels = [parcel("seg_fractional"), parcel("sr")]
    uids = [one.result.sop_instance_uid for one in parcels]
    told = {}
    for name, options in (("takes", ["+xr"]), ("refuses", [])):
        folder, port = tmp_path / name, free_port()
        folder.mkdir()
        with storescp(peer("storescp"), folder, port, *options):
            outcomes = DicomDestination("PACS1", peer_at(port), ("rle",)).deliver(parcels)
        assert [one.verdict for one in outcomes] == ["delivered", "delivered"]
        told[name] = [one.sent_as for one in outcomes]
        held = data_sets_in(folder)
        packed = form("seg_fractional", "rle").part10 if name == "takes" else made("seg_fractional").payload
        assert held == {uids[0]: data_set_bytes(packed), uids[1]: data_set_bytes(made("sr").payload)}
    assert told == {
        "takes": ["in RLE Lossless", ""],
        "refuses": ["uncompressed, since PACS1 does not take it in RLE Lossless", ""],
    }


def test_a_pacs_that_accepts_a_form_and_then_turns_it_down_gets_the_object_as_it_is_on_the_same_association() -> None:
    scp, one = AnsweringScp(free_port(), statuses=[0xC000, 0x0000]), parcel("seg_fractional")
    syntaxes = (RLE, EXPLICIT_VR_LITTLE_ENDIAN)
    with scp.running(transfer_syntaxes=syntaxes):
        (outcome,) = DicomDestination("PACS1", peer_at(scp.port), ("rle",)).deliver([one])
    assert outcome.verdict == "delivered"
    assert outcome.sent_as == "uncompressed, since PACS1 does not take it in RLE Lossless"
    assert scp.received == {one.result.sop_instance_uid: data_set_bytes(one.part10)}
    assert len(scp.contexts) == 1


def test_a_pacs_that_knows_the_compressed_form_alone_gets_it() -> None:
    scp, one = AnsweringScp(free_port()), parcel("seg")
    with scp.running(transfer_syntaxes=(DEFLATED,)):
        (outcome,) = DicomDestination("PACS1", peer_at(scp.port), ("rle", "deflated")).deliver([one])
    assert (outcome.verdict, outcome.sent_as) == ("delivered", "in Deflated Explicit VR Little Endian")
    assert scp.received == {one.result.sop_instance_uid: data_set_bytes(form("seg", "deflated").part10)}


def test_orthanc_takes_every_form_and_gives_back_the_same_pixels(peer: FindPeer, tmp_path: Path) -> None:
    orthanc = Orthanc(peer("Orthanc"), tmp_path / "orthanc")
    with orthanc.running():
        forms: list[tuple[str, Method]] = [("seg_fractional", "jpeg2000"), ("sc", "rle"), ("seg", "deflated")]
        for kind, method in forms:
            one = parcel(kind)
            destination = DicomDestination("PACS1", peer_at(orthanc.dicom_port), (method,))
            (outcome,) = destination.deliver([one])
            assert outcome.sent_as.startswith("in "), (kind, outcome)
            held = read(orthanc.held()[one.result.sop_instance_uid])
            assert held.file_meta.TransferSyntaxUID == TRANSFER_SYNTAXES[method]
            np.testing.assert_array_equal(held.pixel_array, read(one.part10).pixel_array)


def test_the_history_says_in_which_form_what_was_delivered_went(tmp_path: Path) -> None:
    house, scp = open_house(tmp_path / "house"), AnsweringScp(free_port())
    study = house.analysed_study()
    pauses: dict[str, Any] = {
        "backoff": Backoff(first_s=5, max_s=900, for_s=86400),
        "breaker": Breaker(1000, pause_s=60),
    }
    for syntaxes in ((DEFLATED, EXPLICIT_VR_LITTLE_ENDIAN), (EXPLICIT_VR_LITTLE_ENDIAN,)):
        with scp.running(transfer_syntaxes=syntaxes):
            pacs = DicomDestination("PACS1", peer_at(scp.port), ("deflated",))
            courier = Courier(pacs, house.outbox, house.events, house.objects, demand=usual_demand(), **pauses)
            assert courier.step()
        house.outbox.send_again(study[0].result.study_instance_uid, destination=None)
    texts = [event.text for event in house.events_of_kind("delivered")]
    house.database.close()
    assert texts == [
        "SEG, SR and SC at PACS1 in Deflated Explicit VR Little Endian",
        "SEG, SR and SC at PACS1 uncompressed, since PACS1 does not take it in Deflated Explicit VR Little Endian",
    ]


def test_config_yaml_says_it_for_each_destination() -> None:
    place = {"type": "dicom", "name": "pacs", "ae_title": "PACS1", "address": "127.0.0.1", "port": 104}
    assert open_dicom(Settings.model_validate(place), "NODE").compression == ()
    compression = ["rle", "deflated"]
    assert open_dicom(Settings.model_validate(place | {"compression": compression}), "NODE").compression == (
        "rle",
        "deflated",
    )
    for wrong in (["zip"], ["rle", "rle"]):
        with pytest.raises(ValidationError, match="compression"):
            Settings.model_validate(place | {"compression": wrong})
