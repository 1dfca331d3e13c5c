from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from dicom_node.facts import Header, read_header
from dicom_node.likeness import Likeness
from dicom_node.network.file_meta import NotPart10, read_file_meta
from dicom_node.refusals import Refused
from tests.encoded import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding, ct_image

HEAD_BYTES = 65536


def _series(count: int, transfer_syntax_uid: str = EXPLICIT_LITTLE, **more: object) -> list[bytes]:
    """Images that differ as those of a scanner do, lengths of values included."""
    encoding = Encoding(transfer_syntax_uid)
    item = encoding.data_set(ReferencedSOPInstanceUID="1.2.3.9")
    return [
        ct_image(
            f"1.2.3.4.{number}",
            transfer_syntax_uid=transfer_syntax_uid,
            **{
                "InstanceNumber": number,
                "ImagePositionPatient": [0, -12.5, 3.75 * number],
                "SliceLocation": 3.75 * number,
                "ContentTime": f"1015{number % 60:02d}",
                "SourceImageSequence": [item],
                "ReferencedImageSequence": [encoding.data_set(ReferencedSOPInstanceUID=f"1.2.3.{number}")],
                **more,
            },
        )
        for number in range(8, 8 + count)
    ]


# Without sequences that differ: where everything stands is known from the images before.
PLAIN: dict[str, object] = {"SourceImageSequence": None, "ReferencedImageSequence": None}


def test_an_image_like_the_last_ones_is_read_from_its_beginning_alone() -> None:
    payloads = _series(300, **PLAIN)
    likeness, at_once = Likeness(), 0
    for payload in payloads:
        like = likeness.at_once(memoryview(payload), EXPLICIT_LITTLE)
        whole = read_header(payload, EXPLICIT_LITTLE)
        if like is not None:
            at_once += 1
            assert (like.header, like.length, like.is_judged) == (whole, len(payload), True)
        elif likeness.read(payload, len(payload), EXPLICIT_LITTLE) is None:
            likeness.learn(payload, EXPLICIT_LITTLE, whole)
    assert at_once > 280


@pytest.mark.parametrize("change", [{"StudyInstanceUID": "1.2.9"}, {"Rows": 3}])
def test_what_differs_in_more_than_an_instance_may_is_judged_again(change: dict[str, object]) -> None:
    likeness = Likeness()
    payloads = _series(3, **PLAIN) + _series(3, **PLAIN, **change)
    for payload in payloads:
        likeness.learn(payload, EXPLICIT_LITTLE, read_header(payload, EXPLICIT_LITTLE))
    assert likeness.read(payloads[4], len(payloads[4]), EXPLICIT_LITTLE)
    like = likeness.at_once(payloads[4], EXPLICIT_LITTLE)
    assert like
    assert not like.is_judged


def test_a_beginning_that_ends_before_the_pixel_data_is_read_later() -> None:
    payloads = _series(4, **PLAIN)
    likeness = _learned(payloads)
    (last,) = payloads[3:]
    assert likeness.read(last, len(last), EXPLICIT_LITTLE)
    start = last.index(b"\xe0\x7f\x10\x00") + 12
    assert likeness.at_once(last[:start], EXPLICIT_LITTLE)
    assert likeness.at_once(last[: start - 1], EXPLICIT_LITTLE) is None


def _read_all(payloads: Iterable[bytes], transfer_syntax_uid: str) -> tuple[int, list[tuple[Header, Header]]]:
    """How many were read by likeness, and of all both readings."""
    likeness, hits, read = Likeness(), 0, []
    for payload in payloads:
        whole = read_header(payload, transfer_syntax_uid)
        like = likeness.read(payload[:HEAD_BYTES], len(payload), transfer_syntax_uid)
        if like is None:
            likeness.learn(payload, transfer_syntax_uid, whole)
        else:
            hits += 1
            read.append((like, whole))
    return hits, read


@pytest.mark.parametrize("transfer_syntax_uid", [EXPLICIT_LITTLE, IMPLICIT_LITTLE])
def test_the_images_of_a_series_are_read_by_what_they_share(transfer_syntax_uid: str) -> None:
    hits, read = _read_all(_series(20, transfer_syntax_uid), transfer_syntax_uid)
    assert hits >= 17
    assert all(like == whole for like, whole in read)
    assert len({like.sop_instance_uid for like, _ in read}) == hits


def test_interleaved_series_are_each_like_themselves() -> None:
    first = _series(10)
    second = _series(10, SeriesInstanceUID="1.2.3.5", SeriesDescription="THIN")
    hits, read = _read_all([one for pair in zip(first, second, strict=True) for one in pair], EXPLICIT_LITTLE)
    assert hits >= 14
    assert all(like == whole for like, whole in read)


def test_a_value_that_goes_or_comes_is_seen() -> None:
    payloads = _series(4)
    payloads += [ct_image(f"1.2.3.7.{n}", InstanceNumber=n, ImagePositionPatient=None) for n in range(3)]
    payloads += _series(3, PatientComments="more")
    _, read = _read_all(payloads, EXPLICIT_LITTLE)
    assert all(like == whole for like, whole in read)


@pytest.mark.parametrize("change", [{"InstanceNumber": "nothing"}, {"ImagePositionPatient": ["a", 1, 2]}])
def test_a_value_that_breaks_its_vr_is_left_to_a_whole_reading(change: dict[str, object]) -> None:
    likeness = Likeness()
    for payload in _series(4):
        likeness.learn(payload, EXPLICIT_LITTLE, read_header(payload, EXPLICIT_LITTLE))
    (good,), (odd,) = _series(1), _series(1, **change)
    assert likeness.read(good, len(good), EXPLICIT_LITTLE)
    assert likeness.read(odd, len(odd), EXPLICIT_LITTLE) is None
    assert read_header(odd, EXPLICIT_LITTLE).facts["notes"]


def test_pixel_data_of_another_length_are_told() -> None:
    likeness = Likeness()
    for payload in _series(4):
        likeness.learn(payload, EXPLICIT_LITTLE, read_header(payload, EXPLICIT_LITTLE))
    (short,) = _series(1, PixelData=bytes(4))
    like = likeness.read(short, len(short), EXPLICIT_LITTLE)
    assert like
    assert like.pixel_data
    assert like.pixel_data.end - like.pixel_data.start == 4


def test_a_data_set_that_is_shorter_or_longer_than_it_says_is_not_alike() -> None:
    payloads = _series(5)
    likeness = Likeness()
    for payload in payloads[:4]:
        likeness.learn(payload, EXPLICIT_LITTLE, read_header(payload, EXPLICIT_LITTLE))
    last = payloads[4]
    assert likeness.read(last, len(last), EXPLICIT_LITTLE)
    assert likeness.read(last, len(last) - 1, EXPLICIT_LITTLE) is None
    assert likeness.read(last, len(last) + 2, EXPLICIT_LITTLE) is None
    assert likeness.read(last, len(last), IMPLICIT_LITTLE) is None
    assert likeness.read(last[:90], len(last), EXPLICIT_LITTLE) is None


@pytest.mark.parametrize("more", [{}, PLAIN], ids=["sequences differ", "values differ"])
@pytest.mark.parametrize("transfer_syntax_uid", [EXPLICIT_LITTLE, IMPLICIT_LITTLE])
def test_whatever_is_damaged_reads_as_if_it_were_read_whole_or_not_at_all(
    transfer_syntax_uid: str, more: dict[str, object]
) -> None:
    payloads = _series(6, transfer_syntax_uid, **more)
    likeness = Likeness()
    for payload in payloads[:5]:
        likeness.learn(payload, transfer_syntax_uid, read_header(payload, transfer_syntax_uid))
    for payload in payloads:
        assert likeness.read(payload, len(payload), transfer_syntax_uid)
    assert bool(likeness.at_once(payloads[5], transfer_syntax_uid)) == bool(more)
    dice, answered = random.Random(3), 0
    for _ in range(4000):
        damaged = bytearray(payloads[5])
        for _ in range(dice.choice([1, 1, 2, 8])):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        if dice.random() < 0.2:
            del damaged[dice.randrange(len(damaged)) :]
        like = likeness.read(bytes(damaged[:HEAD_BYTES]), len(damaged), transfer_syntax_uid)
        if like is not None:
            answered += 1
            assert like == read_header(bytes(damaged), transfer_syntax_uid)
    assert answered > 100


def test_big_endian_encapsulated_and_noted_images_are_read_whole() -> None:
    encapsulated = [
        payload[: payload.index(b"\xe0\x7f\x10\x00")] + Encoding().encapsulated([b"1234"]) for payload in _series(4)
    ]
    for syntax, payloads in (
        (EXPLICIT_BIG, _series(4, EXPLICIT_BIG)),
        (EXPLICIT_LITTLE, encapsulated),
        (EXPLICIT_LITTLE, _series(4, SliceThickness="thin")),
    ):
        hits, _ = _read_all(payloads, syntax)
        assert not hits


def test_what_is_never_alike_is_no_longer_learned() -> None:
    likeness = Likeness()
    for number in range(40):
        payload = ct_image(f"1.2.{number}", SeriesInstanceUID=f"1.9.{number}", StudyDescription=f"of {number}")
        likeness.learn(payload, EXPLICIT_LITTLE, read_header(payload, EXPLICIT_LITTLE))
    assert likeness.read(payload, len(payload), EXPLICIT_LITTLE) is None


def test_real_series_read_as_they_do_whole(shared_data: Path) -> None:
    hits = 0
    for folder in sorted(path for path in shared_data.iterdir() if path.is_dir()):
        by_syntax: dict[str, list[bytes]] = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            content = path.read_bytes()
            try:
                meta = read_file_meta(content)
                payload = content[meta.data_set_at :]
                read_header(payload, meta.transfer_syntax_uid)
            except (NotPart10, Refused):
                continue
            by_syntax.setdefault(meta.transfer_syntax_uid, []).append(payload)
        for transfer_syntax_uid, payloads in by_syntax.items():
            found, read = _read_all(payloads, transfer_syntax_uid)
            assert all(like == whole for like, whole in read), folder
            hits += found
    assert hits > 50


def test_a_sequence_that_differs_may_nest_as_deep_as_is_configured_and_no_deeper() -> None:
    def image(number: int, depth: int) -> bytes:
        encoding = Encoding()
        content = encoding.data_set(ReferencedSOPInstanceUID=f"1.2.3.{number}")
        for _ in range(depth - 1):
            content = encoding.sequence(0x00081140, [encoding.item(content)])
        (payload,) = _series(1, InstanceNumber=number, ReferencedImageSequence=[content])
        return payload

    likeness = Likeness(max_depth=3)
    for number in range(8, 12):
        payload = image(number, 3)
        likeness.learn(payload, EXPLICIT_LITTLE, read_header(payload, EXPLICIT_LITTLE, 3))
    allowed, deeper = image(12, 3), image(13, 4)
    assert likeness.read(allowed, len(allowed), EXPLICIT_LITTLE)
    assert likeness.read(deeper, len(deeper), EXPLICIT_LITTLE) is None


def test_pixels_of_floating_point_numbers_are_left_to_a_whole_reading() -> None:
    likeness = Likeness()
    payload = ct_image(PixelData=None, FloatPixelData=bytes(96), BitsAllocated=32)
    for _ in range(3):
        likeness.learn(payload, EXPLICIT_LITTLE, read_header(payload, EXPLICIT_LITTLE))
    assert likeness._patterns == {}
    assert likeness.read(payload, len(payload), EXPLICIT_LITTLE) is None


def _learned(payloads: Iterable[bytes]) -> Likeness:
    likeness = Likeness()
    for payload in payloads:
        likeness.learn(payload, EXPLICIT_LITTLE, read_header(payload, EXPLICIT_LITTLE))
    return likeness


def test_pixel_data_that_are_encapsulated_where_others_were_not_are_read_whole() -> None:
    likeness = _learned(_series(4, BitsAllocated=8, PixelData=bytes(24)))
    last = _series(5, BitsAllocated=8, PixelData=bytes(24))[4]
    assert likeness.read(last, len(last), EXPLICIT_LITTLE)
    at = last.index(b"\xe0\x7f\x10\x00")
    native, wrapped = last[at:], Encoding().encapsulated([bytes(24)])
    other = last[:at] + wrapped[:4] + native[4:6] + wrapped[6:]
    assert likeness.read(other, len(other), EXPLICIT_LITTLE) is None


def test_a_first_element_without_a_vr_is_read_whole() -> None:
    differing = [_series(1, SpecificCharacterSet=None, ImageType=["ORIGINAL", f"N{n}"])[0] for n in range(4)]
    likeness = _learned(differing)
    first = differing[3]
    odd = first[:4] + b"ZZ" + first[6:]
    with pytest.raises(Refused):
        read_header(odd, EXPLICIT_LITTLE)
    assert likeness.read(odd, len(odd), EXPLICIT_LITTLE) is None


def test_a_sequence_of_undefined_length_is_walked_whatever_its_tag() -> None:
    """Of a private one in implicit VR nothing but its length says that it is one."""

    def image(number: int, content: bytes) -> bytes:
        (payload,) = _series(1, IMPLICIT_LITTLE, InstanceNumber=number, **PLAIN)
        at = payload.index(b"\x28\x00\x02\x00")
        return payload[:at] + encoding.sequence(0x00211001, [content], delimited=True) + payload[at:]

    encoding, likeness = Encoding(IMPLICIT_LITTLE), Likeness()
    for number in range(1, 6):
        payload = image(number, encoding.item(encoding.element(0x00211002, "LO", b"%06d" % number)))
        if likeness.read(payload, len(payload), IMPLICIT_LITTLE) is None:
            likeness.learn(payload, IMPLICIT_LITTLE, read_header(payload, IMPLICIT_LITTLE))
    torn = image(6, encoding.item(encoding.element(0x00211002, "LO", b"%06d" % 6, length=9000)))
    with pytest.raises(Refused):
        read_header(torn, IMPLICIT_LITTLE)
    assert likeness.read(payload, len(payload), IMPLICIT_LITTLE)
    assert likeness.read(torn, len(torn), IMPLICIT_LITTLE) is None
    assert likeness.at_once(torn, IMPLICIT_LITTLE) is None


def test_a_priority_that_goes_leaves_that_of_the_request() -> None:
    item = Encoding().data_set(RequestedProcedurePriority="STAT")
    changes: list[dict[str, object]] = [
        {"RequestedProcedurePriority": text} for text in ("HIGH", "", "LOW", "", "", "")
    ]
    payloads = [
        _series(1, InstanceNumber=number, RequestAttributesSequence=[item], **PLAIN, **change)[0]
        for number, change in enumerate(changes)
    ]
    _, read = _read_all(payloads, EXPLICIT_LITTLE)
    assert all(like == whole for like, whole in read)


def test_of_a_header_that_is_too_long_to_be_at_hand_nothing_is_kept() -> None:
    likeness = _learned(
        _series(3, PatientComments="x" * 10_000, ImageComments="y" * 10_000, StudyComments="z" * 60_000)
    )
    assert not likeness._patterns


def test_pixel_data_that_stand_first_and_again_at_the_end_are_nothing_to_learn_from() -> None:
    payload = Encoding().encapsulated([b"12"]) + _series(1)[0]
    likeness = _learned([payload, payload])
    assert likeness.read(payload, len(payload), EXPLICIT_LITTLE) is None
