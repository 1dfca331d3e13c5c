"""Sources whose patient is written as their bytes say: names of real files, and bytes that no library of ours encoded."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from inference.series import read_series
from inference.volume import Volume
from tests.conformance.reports import SHAPES
from tests.inference.series_factory import make_series, received

STUDY_DESCRIPTIONS = {
    "chrArab.dcm": ("الصدر بلا تباين", "iso8859_6"),
    "chrFren.dcm": ("Thorax, coupe fine", "latin_1"),
    "chrGerm.dcm": ("Brustkorb für Prüfung", "latin_1"),
    "chrGreek.dcm": ("Αξονική θώρακος", "iso8859_7"),
    "chrHbrw.dcm": ("בית החזה", "iso8859_8"),
    "chrRuss.dcm": ("КТ грудной клетки", "iso8859_5"),
    "chrX1.dcm": ("胸部電腦斷層", "utf_8"),
    "chrX2.dcm": ("胸部平扫", "gb18030"),
}
"""Beside the names of the real files, a description in the same language, as Python's own codecs write it."""


@dataclass(frozen=True, eq=False)
class Named:
    """What a source says of its patient: terms of its Specific Character Set, bytes by keyword, and what they mean."""

    terms: str
    stored: Mapping[str, bytes]
    meant: Mapping[str, str] = field(default_factory=dict)

    def volume(self) -> tuple[list[Dataset], Volume]:
        """A small CT series of that patient."""
        datasets = [self._dressed(dataset) for dataset in make_series(SHAPES["axial"], seed=3).datasets]
        return datasets, read_series(datasets).volumes[0]

    def _dressed(self, dataset: Dataset) -> Dataset:
        dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex = "T-1", "19500203", "M"
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20260304", "101500", "7"
        dataset.AccessionNumber, dataset.ReferringPhysicianName, dataset.SeriesNumber = "ACC7", "", 4
        dataset.SpecificCharacterSet = "ISO_IR 100"
        with warnings.catch_warnings(
            action="ignore"
        ):  # bytes as they are, each as a character, are not valid in each VR
            for keyword, value in self.stored.items():
                setattr(dataset, keyword, value.decode("latin_1"))
            file = BytesIO()
            received(dataset).save_as(file)
        return dcmread(
            BytesIO(file.getvalue().replace(_character_set(b"ISO_IR 100"), _character_set(self.terms.encode())))
        )


def _character_set(terms: bytes) -> bytes:
    """The element (0008,0005) in Explicit VR Little Endian."""
    padded = terms + b" " * (len(terms) % 2)
    return b"\x08\x00\x05\x00CS" + len(padded).to_bytes(2, "little") + padded


def of_file(path: Path, name: str) -> Named:
    """The patient of a real file, known to be called so."""
    source = dcmread(path)
    terms = source.get("SpecificCharacterSet") or ""
    stored = {}
    for keyword in ("PatientName", "PatientID"):
        element = source.get_item(keyword)
        assert isinstance(element, RawDataElement)
        stored[keyword] = bytes(element.value or b"").rstrip(b" \0")
    meant = {"PatientName": name, "PatientID": stored["PatientID"].decode("ascii")}
    if path.name in STUDY_DESCRIPTIONS:
        meant["StudyDescription"], codec = STUDY_DESCRIPTIONS[path.name]
        stored["StudyDescription"] = meant["StudyDescription"].encode(codec)
    return Named(terms if isinstance(terms, str) else "\\".join(terms), stored, meant)


def written(terms: str, codec: str, **texts: str) -> Named:
    """Text as one of Python's codecs writes it."""
    return Named(terms, {keyword: text.encode(codec) for keyword, text in texts.items()}, texts)


AS_DEFINED = {
    "Thai": written("ISO_IR 166", "iso8859_11", PatientName="นามสกุล^ชื่อ", StudyDescription="ทรวงอก"),
    "Turkish": written("ISO_IR 148", "iso8859_9", PatientName="Çavuşoğlu^Işıl", StudyDescription="Göğüs BT"),
    "Polish": written(
        "ISO_IR 101", "iso8859_2", PatientName="Wałęsa^Łucja", StudyDescription="Klatka piersiowa, żebra"
    ),
    "Maltese": written("ISO_IR 109", "iso8859_3", PatientName="Żammit^Ġorġ"),
    "Latvian": written("ISO_IR 110", "iso8859_4", PatientName="Bērziņš^Jānis"),
    "half-width Japanese": written("ISO_IR 13", "shift_jis", PatientName="ﾔﾏﾀﾞ^ﾀﾛｳ"),
    "simplified Chinese, GBK": written("GBK", "gbk", PatientName="Wang^XiaoDong=王^小东", StudyDescription="胸部平扫"),
    "traditional Chinese, GB18030": written("GB18030", "gb18030", PatientName="王^小東", StudyDescription="𠮷 胸部"),
    "Devanagari, Unicode": written("ISO_IR 192", "utf_8", PatientName="शर्मा^राम", StudyDescription="छाती 🫁"),
    "supplementary Japanese": Named(
        "\\ISO 2022 IR 87\\ISO 2022 IR 159",
        {"PatientName": b"Mori^Ougai=\x1b$B?9\x1b(B^\x1b$(Dl?\x1b$B30\x1b(B"},
        {"PatientName": "Mori^Ougai=森^鷗外"},
    ),
    "Greek and Cyrillic by code extension": Named(
        "ISO 2022 IR 100\\ISO 2022 IR 144\\ISO 2022 IR 126",
        {"PatientName": b"Buc^J\xe9r\xf4me=\x1b-L\xbb\xee\xda^\x1b-F\xc4\xe9\xef"},
        {"PatientName": "Buc^Jérôme=Люк^Διο"},
    ),
}
"""What the real files do not have. Examples of code extension after PS3.5 annexes H to K."""

FAULTY = {
    "no character set, German bytes": Named(
        "", {"PatientName": b"M\xfcller^J\xfcrgen"}, {"PatientName": "Müller^Jürgen"}
    ),
    "stated Unicode, German bytes": Named(
        "ISO_IR 192",
        {"PatientName": b"M\xfcller^J\xfcrgen", "StudyDescription": b"f\xfcr"},
        {"PatientName": "Müller^Jürgen", "StudyDescription": "für"},
    ),
    "a character set that does not exist": Named(
        "ISO_IR 999", {"PatientName": b"M\xfcller"}, {"PatientName": "Müller"}
    ),
    "misspelt Cyrillic": written("ISO IR 144", "iso8859_5", PatientName="Петрова", StudyDescription="КТ"),
    "Unicode by another name": written("UTF-8", "utf_8", PatientName="Müller^肺"),
    "Unicode with a code extension": written("ISO_IR 192\\ISO 2022 IR 87", "utf_8", PatientName="山田^太郎"),
    "a code extension that stands alone": Named(
        "ISO 2022 IR 87",
        {"PatientName": b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"},
        {"PatientName": "Yamada^Tarou=山田^太郎"},
    ),
    "Korean bytes that nothing announces": Named(
        "\\ISO 2022 IR 149", {"PatientName": b"\xb1\xe8\xc8\xf1"}, {"PatientName": "±èÈñ"}
    ),
    "default with German bytes": Named("ISO_IR 6", {"PatientName": b"M\xfcller"}, {"PatientName": "Müller"}),
    "Chinese with a backslash in its bytes": written("GBK", "gbk", PatientName="王^乗", StudyDescription="乗 胸部"),
    "Latin 9": written("ISO_IR 203", "iso8859_15", PatientName="Šœur^Žan", StudyDescription="5 €"),
    "Chinese with code extension": Named(
        "\\ISO 2022 IR 58",
        {"PatientName": b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="},
        {"PatientName": "Zhang^XiaoDong=张^小东"},
    ),
    "no character set": Named("", {"PatientName": b"Doe"}, {"PatientName": "Doe"}),
}
"""What devices write that the standard does not allow, or a library of ours does not know: a reading that loses nothing."""
