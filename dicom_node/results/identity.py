"""How results are named: UIDs, series numbers and descriptions that depend on what is reported, never on when or where.

A job that runs twice, or a result that is sent twice, therefore changes nothing at the receiver.
"""

from __future__ import annotations

import hashlib

from dicom_node.result_kinds import ResultKind, kind_of
from dicom_node.result_words import AS_DELIVERED
from dicom_node.results.report import Report
from inference.findings import Classification, Detection, Landmark, Segment

Tracked = Segment | Classification | Detection | Landmark

SERIES_OFFSETS: dict[ResultKind, int] = {
    "seg": 901,
    "seg_fractional": 901,
    "seg_labelmap": 901,
    "sr": 902,
    "sr_comprehensive": 902,
    "sr_text": 902,
    "sc": 903,
    "gsps": 904,
    "key_images": 905,
    "parametric_map": 906,
    "pdf": 907,
}
"""Series 2 of the scanner gives 2901 (SEG), 2902 (SR), 2903 (SC) and so on: results sort beside their source.

Those of revision 2 are 2911, 2912 and 2913: a viewer lists them after what they supersede, and a person can tell them apart.
"""

LAST_NUMBERED_REVISION = 10
"""Later ones share its numbers, which would else run into those of the next series."""

LARGEST_SOURCE_SERIES_NUMBER = 999_999
LO_LENGTH = 64


def derived_uid(*parts: object) -> str:
    """A UID under 2.25 (PS3.5 B.2) from a digest of the parts, in the form of a version 8 UUID (RFC 9562)."""
    text = "\0".join(str(part) for part in parts)
    digest = bytearray(hashlib.sha256(text.encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(digest, 'big')}"


def series_instance_uid(report: Report, ordered: str) -> str:
    """A result has a series of its own: kinds differ in modality, revisions must not be mixed."""
    return derived_uid("series", *_origin(report), ordered)


def sop_instance_uid(report: Report, ordered: str) -> str:
    """One instance a kind; a report that says "not analysed" is another one than the report of findings.

    Otherwise the findings of a job that failed once, and was run again, would hide behind the report of its failure.
    """
    said = "not analysed" if report.findings.not_analysed else "analysed"
    return derived_uid("instance", *_origin(report), ordered, said, *_words(report, ordered))


def of_part(sop_instance_uid: str, part: str | None) -> str:
    """Of the object about one finding (its key), where a kind has one for each."""
    return sop_instance_uid if part is None else derived_uid("part", sop_instance_uid, part)


def dimension_organization_uid(report: Report, ordered: str) -> str:
    """Of the one instance of its kind."""
    return derived_uid("dimension organization", *_origin(report), ordered)


def tracking_uid(report: Report, finding: Tracked | None) -> str:
    """Of a finding; of all that was analysed, where it is None. It outlives revisions and versions, so that viewers follow
    one lung through both."""
    source = report.first_source
    key = (finding.key,) if finding else ()
    parts = (source.StudyInstanceUID, source.SeriesInstanceUID, report.model.name, *key)
    return derived_uid("tracking", *parts, *_part_of_series(report))


def series_number(report: Report, ordered: str) -> int:
    """1000 x the source's series number + 901 to 907, and 10 for each revision after the first.

    A source without a usable number counts as 0.
    """
    try:
        number = int(report.first_source.get("SeriesNumber") or 0)
    except (TypeError, ValueError):
        number = 0
    if not 0 <= number <= LARGEST_SOURCE_SERIES_NUMBER:
        number = 0
    return 1000 * number + SERIES_OFFSETS[kind_of(ordered)] + 10 * (min(report.revision, LAST_NUMBERED_REVISION) - 1)


def series_description(report: Report) -> str:
    """ "AI: CT lung density 1.0.0, revision 2", the same for every kind; the modality tells them apart.

    A remark follows where there is room for it.
    """
    revision = f", revision {report.revision}" if report.revision > 1 else ""
    prefix, rest = "AI: ", f" {report.model.version}{revision}"
    description = f"{prefix}{fitted(report.model.title, LO_LENGTH - len(prefix) - len(rest)).rstrip()}{rest}"
    with_remark = f"{description}, {report.remark}"
    return with_remark if report.remark and fitted(with_remark) == with_remark else description


def fitted(text: str, most: int = LO_LENGTH) -> str:
    """The beginning of the text that no receiver finds too long.

    PS3.5 6.2 counts characters; there are validators and databases that count bytes, and Unicode has up to four a character.
    """
    return text.encode()[:most].decode(errors="ignore")


def _words(report: Report, ordered: str) -> tuple[str, ...]:
    """A picture or page that a job makes again, after the site chose other words for it, is another one."""
    if kind_of(ordered) not in ("sc", "pdf") or report.words == AS_DELIVERED:
        return ()
    return report.words.disclaimer, str(report.words.pdf_names_patient)


def _origin(report: Report) -> tuple[str, ...]:
    source, model = report.first_source, report.model
    return (
        str(source.StudyInstanceUID),
        str(source.SeriesInstanceUID),
        str(report.revision),
        f"{model.name}@{model.version}",
        *_part_of_series(report),
        *(f"{one.name}={one.volume.series_instance_uid} {one.revision}" for one in report.companions),
    )


def _part_of_series(report: Report) -> tuple[str, ...]:
    """What tells this volume from others of the same series: time points, echoes. Nothing, where there is one."""
    split_by = report.volume.split_by if report.volume else ()
    return tuple(f"{attribute}={value}" for attribute, value in split_by)
