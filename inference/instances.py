"""The instances of a series as reading meets them: as data sets, or as files of which only what is needed is read.

Of a file the attributes that a volume is made of are read, and of its pixels nothing until they are wanted. A file that is
out of the ordinary (deflated or big endian, several frames, elements out of order, lengths that do not close) is parsed
whole by pydicom, which knows best what is meant by it, or why nothing can be.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, overload

from pydicom import dcmread
from pydicom.dataset import Dataset

from inference import elements, frames, pixel_format
from inference.layout import Layout, Unusual, closes, is_end, is_padding, layout_of, lone_fragment

_PIXEL_DATA = elements.tag_of("PixelData")
_PIXELS = frozenset((_PIXEL_DATA, elements.tag_of("FloatPixelData"), elements.tag_of("DoubleFloatPixelData")))
_SERIES = (elements.tag_of("StudyInstanceUID"), elements.tag_of("SeriesInstanceUID"))
_TAGS = {int(tag): tag for tag in (*frames.READ, *pixel_format.READ, *_SERIES)}
_WANTED = frozenset(_TAGS)
_FIRST_READ_BYTES = 16 << 10
_LONGEST_PADDING_BYTES = 64 << 10
_END_BYTES = 8
_OFFSET_TABLE_BYTES = 64
"""More than that of one frame, and the head of its fragment."""


class InstanceFile(Protocol):
    """A DICOM file (PS3.10), wherever it lies. What its readings raise is not caught here."""

    @property
    def size_bytes(self) -> int: ...

    def read(self, start: int, length: int) -> bytes:
        """So many bytes from `start` on."""
        ...

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill the buffer with the bytes from `start` on."""
        ...


@dataclass(frozen=True, slots=True)
class Unread:
    """Bytes of a file that have not been read."""

    file: InstanceFile
    start: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, part: slice) -> Unread:
        start, stop, _ = part.indices(self.length)
        return Unread(self.file, self.start + start, max(0, stop - start))


class Instance(Protocol):
    """attributes: at least those in `frames.READ` and `pixel_format.READ`, and the UIDs of study and series."""

    @property
    def attributes(self) -> elements.Attributes: ...

    def described(self) -> Dataset:
        """All attributes; pixel data may be among them or not."""
        ...

    def header(self) -> Dataset:
        """All attributes but pixel data, in a data set of its own; elements stay unparsed where they were."""
        ...

    def whole(self) -> Dataset:
        """Everything."""
        ...

    def pixel_data(self) -> bytes | Unread:
        """The value of Pixel Data, which must be there."""
        ...

    def lone_fragment(self) -> Unread | None:
        """The compressed frame, where there is one, in one fragment, and it need not be read to know that."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """An instance that is there as a data set."""

    attributes: Dataset

    def described(self) -> Dataset:
        return self.attributes

    def header(self) -> Dataset:
        dataset = self.attributes
        tags = dataset.keys() - _PIXELS
        header = Dataset({tag: dataset.get_item(tag) for tag in sorted(tags)})
        is_implicit_vr, is_little_endian = dataset.original_encoding
        header.set_original_encoding(is_implicit_vr, is_little_endian, dataset.original_character_set)
        return header

    def whole(self) -> Dataset:
        return self.attributes

    def pixel_data(self) -> bytes:
        element = self.attributes.get_item(_PIXEL_DATA)
        value = None if element is None else element.value
        return value if isinstance(value, bytes) else bytes(self.attributes.PixelData)

    def lone_fragment(self) -> None:
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Scanned:
    """A file of the plain form: one frame, little endian, and its pixels the last thing in it."""

    attributes: elements.Encoded
    _file: InstanceFile
    _layout: Layout

    def described(self) -> Dataset:
        return self.header()

    def header(self) -> Dataset:
        return dcmread(io.BytesIO(self._file.read(0, self._layout.header_bytes)))

    def whole(self) -> Dataset:
        return _parsed(self._file)

    def pixel_data(self) -> bytes | Unread:
        if self._layout.pixels_bytes is not None:
            return Unread(self._file, self._layout.pixels_at, self._layout.pixels_bytes)
        items = self._items()
        value = self._file.read(items.start, items.length)
        return value if closes(value) else Parsed(self.whole()).pixel_data()

    def lone_fragment(self) -> Unread | None:
        if self._layout.pixels_bytes is not None:
            return None
        items = self._items()
        found = lone_fragment(self._file.read(items.start, min(items.length, _OFFSET_TABLE_BYTES)), items.length)
        return None if found is None else items[found]

    def _items(self) -> Unread:
        at = self._layout.pixels_at
        return Unread(self._file, at, self._file.size_bytes - _END_BYTES - at)


def instance_of(file: InstanceFile) -> Instance:
    """Raises what pydicom raises for what is no DICOM file."""
    length = min(file.size_bytes, _FIRST_READ_BYTES)
    while True:
        try:
            return _scanned(file, layout_of(file.read(0, length), _WANTED))
        except struct.error:
            if length == file.size_bytes:
                return Parsed(_parsed(file))
            length = min(file.size_bytes, 8 * length)
        except Unusual:
            return Parsed(_parsed(file))


class Headers(Sequence[Dataset]):
    """The data sets of instances without pixel data, each read when it is asked for, the first one only once."""

    def __init__(self, instances: Iterable[Instance]) -> None:
        # What is there as a data set is kept without its pixels, which would take room as long as these are needed.
        self._kept = [one if isinstance(one, Scanned) else one.header() for one in instances]

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, index: int) -> Dataset: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Dataset]: ...

    def __getitem__(self, index: int | slice) -> Dataset | Sequence[Dataset]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        found = self._kept[index]
        if isinstance(found, Dataset):
            return found
        header = found.header()
        if index == 0:
            self._kept[0] = header
        return header


def _parsed(file: InstanceFile) -> Dataset:
    return dcmread(io.BytesIO(file.read(0, file.size_bytes)))


def _scanned(file: InstanceFile, layout: Layout) -> Scanned:
    """Raises Unusual where there are several frames, or anything but padding behind the pixels."""
    values = {_TAGS[tag]: value for tag, value in layout.values.items()}
    values[_PIXEL_DATA] = b""
    attributes = elements.Encoded(values, layout.transfer_syntax_uid)
    if frames.is_multi_frame(attributes) or frames.frame_count(attributes) > 1:
        raise Unusual("several frames")
    behind = file.size_bytes - layout.pixels_at
    if layout.pixels_bytes is None:
        if behind < _END_BYTES or not is_end(file.read(file.size_bytes - _END_BYTES, _END_BYTES)):
            raise Unusual("encapsulated pixels do not end with the file")
        return Scanned(attributes, file, layout)
    behind -= layout.pixels_bytes
    if behind and not (
        0 < behind <= _LONGEST_PADDING_BYTES and is_padding(file.read(file.size_bytes - behind, behind))
    ):
        raise Unusual(f"{behind} bytes behind Pixel Data")
    return Scanned(attributes, file, layout)
