"""What may come in, and what may not: one refusal for each way in which a data set can be wrong."""

from __future__ import annotations

import random
import struct

import pytest

from dicom_node.content import Received, judge
from dicom_node.refusals import NotAsCommanded, NotIdentified, Refused, Unparsable
from dicom_node.structure import MAX_NESTING, scan
from tests.encoded import (
    CT_IMAGE_STORAGE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG_BASELINE,
    UNDEFINED,
    Encoding,
    ct_image,
)

LITTLE = Encoding()
NATIVE = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG)
PRIVATE_SQ = 0x00091010


def _received(payload: bytes, transfer_syntax_uid: str = EXPLICIT_LITTLE, **changes: str) -> Received:
    command = {"sop_class_uid": CT_IMAGE_STORAGE, "sop_instance_uid": "1.2.3.4.5"} | changes
    return Received(payload, transfer_syntax_uid=transfer_syntax_uid, association_id="a", **command)


def _nested(depth: int, encoding: Encoding, *, delimited: bool) -> bytes:
    content = encoding.data_set(Modality="CT")
    for _ in range(depth):
        content = encoding.sequence(0x00081140, [encoding.item(content, delimited=delimited)], delimited=delimited)
    return content


@pytest.mark.parametrize("transfer_syntax_uid", NATIVE)
def test_a_whole_image_is_taken(transfer_syntax_uid: str) -> None:
    payload = ct_image(transfer_syntax_uid=transfer_syntax_uid)
    assert judge(_received(payload, transfer_syntax_uid)).sop_instance_uid == "1.2.3.4.5"


@pytest.mark.parametrize("transfer_syntax_uid", NATIVE)
def test_an_image_cut_anywhere_is_unparsable(transfer_syntax_uid: str) -> None:
    payload = ct_image(transfer_syntax_uid=transfer_syntax_uid, PixelData=None)
    payload += _nested(2, Encoding(transfer_syntax_uid), delimited=True)
    payload += Encoding(transfer_syntax_uid).data_set(PixelData=bytes(48))
    judge(_received(payload, transfer_syntax_uid))
    ends_of_elements = 0
    for cut in range(len(payload)):
        try:
            judge(_received(payload[:cut], transfer_syntax_uid))
        except Unparsable:
            continue
        except Refused:
            pass
        # What is left ends where an element does: shorter, but whole. Only there may it not be Unparsable.
        ends_of_elements += 1
        scan(payload[:cut], transfer_syntax_uid, frozenset())
    assert ends_of_elements == 20


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x08\x00",
        b"\xff" * 1000,
        bytes(1000),
        b"\x00" * 128 + b"DICM" + ct_image(),
        LITTLE.element(0x00020010, "UI", b"1.2.840.10008.1.2.1\0") + ct_image(),
        LITTLE.element(0x00000002, "UI", b"1.2\0") + ct_image(),
        b"GET / HTTP/1.1\r\nHost: example\r\n\r\n",
    ],
    ids=["nothing", "two bytes", "0xFF", "zeros", "a whole file", "file meta", "command", "another protocol"],
)
@pytest.mark.parametrize("transfer_syntax_uid", NATIVE)
def test_what_is_no_data_set_is_unparsable(payload: bytes, transfer_syntax_uid: str) -> None:
    with pytest.raises(Unparsable):
        judge(_received(payload, transfer_syntax_uid))


def test_random_bytes_are_refused_and_never_more_than_that() -> None:
    source = random.Random(1)
    image = ct_image()
    for _ in range(3000):
        mutated = bytearray(image)
        for _ in range(source.randint(1, 6)):
            mutated[source.randrange(len(mutated))] = source.randrange(256)
        for transfer_syntax_uid in NATIVE:
            try:
                judge(_received(bytes(mutated), transfer_syntax_uid))
            except Refused:
                continue


def test_implicit_vr_on_an_explicit_context_is_unparsable() -> None:
    with pytest.raises(Unparsable, match="no VR"):
        judge(_received(ct_image(transfer_syntax_uid=IMPLICIT_LITTLE)))


@pytest.mark.parametrize("delimited", [True, False])
@pytest.mark.parametrize("transfer_syntax_uid", NATIVE)
def test_sequences_may_nest_to_a_bound_and_no_deeper(transfer_syntax_uid: str, delimited: bool) -> None:
    encoding = Encoding(transfer_syntax_uid)
    scan(_nested(MAX_NESTING, encoding, delimited=delimited), transfer_syntax_uid, frozenset())
    for depth in (MAX_NESTING + 1, 200, 2000):
        with pytest.raises(Unparsable, match="nested"):
            scan(_nested(depth, encoding, delimited=delimited), transfer_syntax_uid, frozenset())


def test_a_private_sequence_of_unknown_vr_is_walked() -> None:
    implicit = Encoding(IMPLICIT_LITTLE)
    unknown = LITTLE.element(PRIVATE_SQ, "UN", implicit.item(implicit.data_set(Modality="CT")), length=UNDEFINED)
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    scan(unknown + end, EXPLICIT_LITTLE, frozenset())
    with pytest.raises(Unparsable):
        scan(unknown, EXPLICIT_LITTLE, frozenset())


def test_an_item_that_switches_to_implicit_vr_is_walked() -> None:
    switched = Encoding(IMPLICIT_LITTLE).data_set(Modality="CT", StudyDescription="x" * 20)
    scan(LITTLE.sequence(0x00081140, [LITTLE.item(switched)]), EXPLICIT_LITTLE, frozenset())


def test_a_length_that_leads_outside_its_item_is_unparsable() -> None:
    lying = LITTLE.item(LITTLE.element(0x00080060, "CS", b"CT", length=4))
    with pytest.raises(Unparsable, match="claims 4 bytes"):
        scan(LITTLE.sequence(0x00081140, [lying]) + LITTLE.data_set(PatientID="x"), EXPLICIT_LITTLE, frozenset())


@pytest.mark.parametrize("changes", [{"sop_class_uid": "1.2.840.10008.5.1.4.1.1.4"}, {"sop_instance_uid": "1.2.3.4.6"}])
def test_a_data_set_that_is_not_what_the_command_says_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(NotAsCommanded):
        judge(_received(ct_image(), **changes))


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID"])
def test_a_data_set_without_its_sop_uids_is_not_what_the_command_says(keyword: str) -> None:
    with pytest.raises(NotAsCommanded):
        judge(_received(ct_image(**{keyword: None})))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "uid", ["../../etc/passwd", "1." * 32 + "1", "1..2", "", "1.2 .3", "1.2.x", "1.2.", ".1", "一.2"]
)
def test_a_uid_that_is_none_is_refused_in_the_command_and_in_the_data_set(uid: str) -> None:
    with pytest.raises(NotIdentified, match="command"):
        judge(_received(ct_image(uid.encode("ascii", "replace").decode()), sop_instance_uid=uid))
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        with pytest.raises(NotIdentified, match="Instance UID"):
            judge(_received(ct_image(**{keyword: uid.encode()})))  # type: ignore[arg-type]


def test_leading_zeros_in_a_uid_are_forgiven() -> None:
    assert judge(_received(ct_image(StudyInstanceUID="1.2.003"))).study_instance_uid == "1.2.003"


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({}, 48),
        ({"NumberOfFrames": 2}, 96),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, 144),
        ({"SamplesPerPixel": 3, "BitsAllocated": 8, "PhotometricInterpretation": "YBR_FULL_422"}, 48),
        ({"BitsAllocated": 1, "NumberOfFrames": 3}, 9),
        ({"Rows": 65535, "Columns": 65535}, 65535 * 65535 * 2),
    ],
)
def test_native_pixel_data_must_be_all_there(changes: dict[str, object], due: int) -> None:
    if due < 1000:
        judge(_received(ct_image(**changes, PixelData=bytes(due))))  # type: ignore[arg-type]
    with pytest.raises(Unparsable, match=f"{due} bytes are due"):
        judge(_received(ct_image(**changes, PixelData=bytes(min(due, 10**6) - 1))))  # type: ignore[arg-type]


def test_padding_behind_the_pixels_is_forgiven() -> None:
    judge(_received(ct_image(PixelData=bytes(50))))


def test_encapsulated_pixel_data_need_a_fragment_for_each_frame() -> None:
    encoding = Encoding(JPEG_BASELINE)

    def image(frames: int, fragments: int) -> Received:
        head = ct_image(transfer_syntax_uid=JPEG_BASELINE, NumberOfFrames=frames, PixelData=None)
        return _received(head + encoding.encapsulated([b"\xff\xd8\xff\xd9"] * fragments), JPEG_BASELINE)

    judge(image(1, 1))
    judge(image(2, 5))
    for frames, fragments in ((1, 0), (3, 2)):
        with pytest.raises(Unparsable, match="fragments"):
            judge(image(frames, fragments))


def test_a_video_may_have_all_its_frames_in_one_fragment() -> None:
    mpeg = "1.2.840.10008.1.2.4.102"
    head = ct_image(transfer_syntax_uid=mpeg, NumberOfFrames=500, PixelData=None)
    judge(_received(head + Encoding(mpeg).encapsulated([b"video!"]), mpeg))


def test_encapsulated_pixel_data_under_a_native_syntax_are_unparsable() -> None:
    with pytest.raises(Unparsable, match="encapsulated"):
        judge(_received(ct_image(PixelData=None) + LITTLE.encapsulated([b"\xff\xd8"])))


def test_a_fragment_that_is_cut_short_is_unparsable() -> None:
    whole = ct_image(transfer_syntax_uid=JPEG_BASELINE, PixelData=None) + Encoding(JPEG_BASELINE).encapsulated(
        [bytes(20)]
    )
    for cut in (1, 8, 9, 20, 28):
        with pytest.raises(Unparsable):
            judge(_received(whole[:-cut], JPEG_BASELINE))


@pytest.mark.parametrize("keyword", ["SOPClassUID", "SOPInstanceUID"])
@pytest.mark.parametrize("value", [None, b""], ids=["absent", "empty"])
def test_a_sop_uid_that_is_missing_is_said_to_be_missing(keyword: str, value: bytes | None) -> None:
    with pytest.raises(NotAsCommanded, match=r"^SOP (Class|Instance) UID is missing in the data set$"):
        judge(_received(ct_image(**{keyword: value})))  # type: ignore[arg-type]


@pytest.mark.parametrize("delimited", [True, False])
@pytest.mark.parametrize("transfer_syntax_uid", NATIVE)
def test_a_smaller_depth_of_sequences_may_be_asked_for_but_no_larger_one(
    transfer_syntax_uid: str, delimited: bool
) -> None:
    encoding = Encoding(transfer_syntax_uid)
    scan(_nested(3, encoding, delimited=delimited), transfer_syntax_uid, frozenset(), 3)
    with pytest.raises(Unparsable, match=r"more than 3 deep \(node.limits.sequence_depth\)"):
        scan(_nested(4, encoding, delimited=delimited), transfer_syntax_uid, frozenset(), 3)
    with pytest.raises(Unparsable, match="nested"):
        scan(_nested(MAX_NESTING + 1, encoding, delimited=delimited), transfer_syntax_uid, frozenset(), 10**6)


@pytest.mark.parametrize(("keyword", "bits"), [("FloatPixelData", 32), ("DoubleFloatPixelData", 64)])
def test_pixel_data_of_floating_point_numbers_must_be_all_there_too(keyword: str, bits: int) -> None:
    due = 4 * 6 * bits // 8

    def image(count: int) -> Received:
        return _received(ct_image(PixelData=None, BitsAllocated=bits, **{keyword: bytes(count)}))

    assert judge(image(due)).facts["has_pixel_data"]
    with pytest.raises(Unparsable, match=f"{due} bytes are due"):
        judge(image(due - 2))
