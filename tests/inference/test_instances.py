"""A series read from its files, of which only what is needed is read, is what pydicom and `read_series` make of it."""

from __future__ import annotations

import random
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from dicom_node.phantom import chest_ct
from inference import elements
from inference.errors import NotAVolume
from inference.frames import Frame
from inference.instances import Headers, Instance, Parsed, Scanned, instance_of
from inference.series import SeriesReading, read_instances, read_series
from inference.volume import Volume
from tests.inference.series_factory import Shape, as_multi_frame, make_series, received, with_compressed
from tests.inference.test_pixels import LOSSLESS

TRAILING_PADDING = 0xFFFCFFFC
LENIENT = {"tilt": "keep", "spacing": "resample"}


class FileInMemory:
    """A file that counts what is read of it."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.read_bytes = 0

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    def read(self, start: int, length: int) -> bytes:
        assert 0 <= start <= start + length <= len(self.content)
        self.read_bytes += length
        return self.content[start : start + length]

    def read_into(self, start: int, buffer: memoryview) -> None:
        buffer[:] = self.read(start, len(buffer))


def stored(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def from_files(contents: Sequence[bytes]) -> list[Instance]:
    return [instance_of(FileInMemory(content)) for content in contents]


def parsed(contents: Sequence[bytes]) -> list[Instance]:
    return [Parsed(dcmread(BytesIO(content))) for content in contents]


def all_of(reading: SeriesReading) -> tuple[object, ...]:
    return tuple(map(of_volume, reading.volumes)), reading.set_aside, reading.frames


def of_volume(volume: Volume) -> tuple[object, ...]:
    acquired = volume.acquired
    return (
        *(volume.voxels.shape, sha256(volume.voxels).hexdigest(), volume.affine_lps.tolist(), volume.sources),
        *(volume.frame_of_reference_uid, volume.study_instance_uid, volume.series_instance_uid, volume.padding_value),
        *(volume.split_by, volume.gantry_tilt_deg, acquired and (acquired.sources, acquired.origins_lps.tolist())),
        {tag: str(volume.header.get_item(tag)) for tag in tuple(volume.header.keys()) if tag != TRAILING_PADDING},
    )


def outcome(contents: Sequence[bytes], read: Callable[[Sequence[bytes]], list[Instance]]) -> object:
    """All that comes of a series, or the error and its words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's complaints about real and damaged files
        try:
            return all_of(read_instances(read(contents), **LENIENT))
        except Exception as error:  # noqa: BLE001 - whatever pydicom raises must be raised from files, too
            return type(error).__name__, str(error)


def real_series(folder: Path) -> list[list[bytes]]:
    """The files of a folder, together where they are of one series; what is no DICOM file, alone."""
    groups: defaultdict[str, list[bytes]] = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.stat().st_size < 64 << 20:
                try:
                    series = str(dcmread(path, stop_before_pixels=True).get("SeriesInstanceUID", path))
                except Exception:  # noqa: BLE001
                    series = str(path)
                groups[f"{path.parent} {series}"].append(path.read_bytes())
    return list(groups.values())


def test_real_series_are_the_same_from_their_files(shared_data: Path) -> None:
    frames = volumes = 0
    for contents in real_series(shared_data):
        found = outcome(contents, from_files)
        assert found == outcome(contents, parsed)
        if not isinstance(found[0], str):
            volumes += len(found[0])
            frames += len(found[2])
    assert frames > 200
    assert volumes > 40


SYNTAXES = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.JPEGLSLossless, uid.RLELossless)


def encoded_series(syntax: str) -> list[bytes]:
    made = make_series(Shape(4, 24, 20, slope=1.5, bits_stored=16, is_signed=syntax == uid.ImplicitVRLittleEndian))
    datasets = []
    for dataset in made.datasets:
        nested = Dataset()
        nested.CodeValue, nested.PurposeOfReferenceCodeSequence = "1", [Dataset()]
        dataset.ProcedureCodeSequence = [nested, Dataset()]
        dataset["ProcedureCodeSequence"].is_undefined_length = True
        dataset.ReferencedImageSequence = [nested]
        dataset.ProcedureCodeSequence[0].is_undefined_length_sequence_item = True
        if syntax in LOSSLESS:
            pixels = np.frombuffer(dataset.PixelData, np.uint16).reshape(24, 20)
            datasets.append(with_compressed(dataset, [LOSSLESS[syntax](pixels)], syntax))
        else:
            datasets.append(received(dataset, syntax))
    return [stored(dataset) for dataset in datasets]


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: uid.UID(syntax).keyword)
def test_plain_files_are_scanned_and_give_the_same_volume(syntax: str) -> None:
    contents = encoded_series(syntax)
    assert {type(one) for one in from_files(contents)} == {Scanned}
    found = outcome(contents, from_files)
    assert found == outcome(contents, parsed)
    assert len(found[0]) == 1


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: uid.UID(syntax).keyword)
def test_damaged_files_have_the_same_outcome_in_the_same_words(syntax: str) -> None:
    contents = encoded_series(syntax)
    seen: set[str] = set()
    for seed in range(150):
        rng = random.Random(seed)
        broken = [damaged(content, rng) if rng.random() < 0.5 else content for content in contents]
        found = outcome(broken, from_files)
        assert found == outcome(broken, parsed), f"seed {seed}"
        seen.add(found[0] if isinstance(found[0], str) else "read")
    assert {"read", "NotAVolume"} <= seen


def damaged(content: bytes, rng: random.Random) -> bytes:
    """A few bytes changed, lost or too many, or the end cut off."""
    broken = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(128, len(broken))
        kind = rng.randrange(6)
        if kind == 0:
            del broken[at : at + rng.randint(1, 8)]
        elif kind == 1:
            broken[at:at] = rng.randbytes(rng.randint(1, 8))
        elif kind == 2:
            del broken[max(at, len(broken) - 60) :]
        else:
            broken[at] = rng.choice([0, 255, broken[at] ^ (1 << rng.randrange(8)), ord("9"), ord("-"), ord("\\")])
    return bytes(broken)


def unusual(what: str) -> bytes:  # noqa: PLR0911 - a case each
    dataset = make_series().datasets[0]
    match what:
        case "deflated":
            return stored(received(dataset, uid.DeflatedExplicitVRLittleEndian))
        case "big endian":
            other = Dataset()
            other.update({element.tag: element for element in dataset})
            other.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
            return stored(received(other, uid.ExplicitVRBigEndian))
        case "several frames":
            return stored(as_multi_frame(make_series().datasets))
        case "frames without groups":
            dataset.NumberOfFrames, dataset.PixelData = 2, dataset.PixelData * 2
            return stored(dataset)
        case "a table of values":
            dataset.ModalityLUTSequence = [Dataset()]
            return stored(dataset)
        case "no pixels":
            del dataset.PixelData
            return stored(dataset)
        case "something behind the pixels":
            return stored(dataset) + b"\x00\x01\x02\x03"
        case "pixels cut short":
            return stored(dataset)[:-3]
        case "no prefix":
            return stored(dataset)[132:]
        case "a VR that does not exist":
            return stored(dataset).replace(b"\x20\x00\x13\x00IS", b"\x20\x00\x13\x00QQ")
        case "elements out of order":
            content = stored(dataset)
            at, end = content.index(b"\x28\x00\x10\x00US"), content.index(b"\x28\x00\x11\x00US")
            return content[:at] + content[end : end + 10] + content[at:end] + content[end + 10 :]
    raise ValueError(what)


@pytest.mark.parametrize(
    "what",
    [
        *("deflated", "big endian", "several frames", "frames without groups", "a table of values", "no pixels"),
        *("something behind the pixels", "pixels cut short", "a VR that does not exist", "elements out of order"),
    ],
)
def test_what_is_unusual_is_left_to_pydicom(what: str) -> None:
    contents = [unusual(what)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert isinstance(instance_of(FileInMemory(contents[0])), Parsed)
    assert outcome(contents, from_files) == outcome(contents, parsed)


def test_what_is_no_dicom_file_is_refused_as_pydicom_refuses_it() -> None:
    with pytest.raises(InvalidDicomError, match="DICM"):
        instance_of(FileInMemory(unusual("no prefix")))


def test_an_image_whose_header_is_damaged_is_named_with_the_reason() -> None:
    contents = [stored(dataset) for dataset in make_series().datasets]
    at = contents[2].index(b"\x28\x00\x53\x10DS") + 8
    contents[2] = contents[2][:at] + b"x" + contents[2][at + 1 :]
    name = dcmread(BytesIO(contents[2])).SOPInstanceUID
    with pytest.raises(NotAVolume, match="no image between"):
        read_instances(from_files(contents))
    (aside,) = read_instances(from_files(contents[:3])).set_aside
    assert (aside.sop_instance_uid, "Rescale Slope" in aside.reason) == (name, True)


def test_padding_behind_the_pixels_is_no_reason_to_parse() -> None:
    content = stored(make_series().datasets[0]) + b"\xfc\xff\xfc\xffOB\0\0\x04\0\0\0\0\0\0\0"
    assert isinstance(instance_of(FileInMemory(content)), Scanned)


def test_a_long_header_is_read_as_far_as_it_goes_and_no_pixel_before_it_is_wanted() -> None:
    dataset = make_series(Shape(rows=512, columns=512)).datasets[0]
    dataset.add_new(0x00290010, "LO", "MAKER")
    dataset.add_new(0x00291010, "OB", bytes(100_000))
    file = FileInMemory(stored(dataset))
    instance = instance_of(file)
    assert isinstance(instance, Scanned)
    assert file.read_bytes < 200_000
    assert elements.unsigned(instance.attributes, elements.tag_of("Rows")) == 512


def test_files_of_one_uid_and_other_content_are_refused() -> None:
    made = make_series()
    other = dcmread(BytesIO(stored(made.datasets[0])))
    other.PixelData = bytes(len(other.PixelData))
    with pytest.raises(NotAVolume, match=r"instances of different content carry one SOP Instance UID.*PixelData"):
        read_instances(from_files([*map(stored, made.datasets), stored(other)]))


def test_headers_are_whole_but_for_the_pixels_whatever_they_come_from() -> None:
    files = [stored(dataset) for dataset in make_series().datasets] + [unusual("elements out of order")]
    headers = Headers(from_files(files))
    assert len(headers) == len(files)
    for header, content in zip(headers, files, strict=True):
        wanted = dcmread(BytesIO(content), stop_before_pixels=True)
        assert header == wanted
    assert headers[0] is headers[0]
    assert [one.SOPInstanceUID for one in headers[1:3]] == [dcmread(BytesIO(one)).SOPInstanceUID for one in files[1:3]]


def test_the_phantom_is_the_same_from_its_files(tmp_path: Path) -> None:
    contents = [path.read_bytes() for path in chest_ct(slices=8, rows=64).write(tmp_path)]
    reading = read_instances(from_files(contents))
    assert all_of(reading) == all_of(read_series([dcmread(BytesIO(content)) for content in contents]))
    assert all(isinstance(frame, Frame) for frame in reading.frames)
    assert len(reading.frames) == 8
