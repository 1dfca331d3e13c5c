"""The node as Query/Retrieve SCU: how many instances does a peer have of a series? C-FIND in the Study Root information
model (PS3.4 sections C.4.1 and C.6.2).

At SERIES level a peer may return Number of Series Related Instances (0020,1209), an optional key. Where it does not, the
instances are listed at IMAGE level and counted. Where it cannot do that either, Number of Study Related Instances
(0020,1208) is what is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dicom_node.content import is_uid
from dicom_node.network.connecting import NoAssociation, Peer
from dicom_node.network.framing import BadPdu
from dicom_node.network.query import CONTEXT, Identifier, Queries, Refused
from dicom_node.network.requested import associated
from dicom_node.network.wire import Broken, Late

_STUDY, _SERIES, _INSTANCE = "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"
_OF_SERIES, _OF_STUDY = "NumberOfSeriesRelatedInstances", "NumberOfStudyRelatedInstances"
_MOST_COUNT, _MOST_DIGITS = 2**31 - 1, 12  # of an IS (PS3.5 section 6.2)


@dataclass(frozen=True, slots=True)
class Question:
    """How many instances do these series of a study have?"""

    study_instance_uid: str
    series_instance_uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SeriesCount:
    """sop_instance_uids: the instances themselves, where the peer had to list them."""

    instance_count: int
    sop_instance_uids: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a peer says to a question. series: those it knows, by Series Instance UID; None where it gives no count.

    study_instance_count: asked for only where the count of a series is missing. refusal: why it says nothing, in words.
    """

    question: Question
    series: Mapping[str, SeriesCount | None] = field(default_factory=dict)
    study_instance_count: int | None = None
    refusal: str | None = None


class NotAsked(Exception):
    """A peer could not be asked; the reason, in words. needs_a_person: nor will it, before somebody changes something."""

    def __init__(self, reason: str, *, needs_a_person: bool = False) -> None:
        super().__init__(reason)
        self.needs_a_person = needs_a_person


def ask(peer: Peer, questions: Sequence[Question]) -> Iterator[Answer]:
    """Ask on one association, and yield each answer as soon as it is there.

    All answers to one query must be there within `peer.timeouts.dimse_s`. Raises NotAsked; what was answered stands.
    """
    try:
        with associated(peer, [CONTEXT]) as association:
            if CONTEXT not in association.accepted:
                reason = f"{peer.ae_title} does not accept C-FIND in the Study Root information model"
                raise NotAsked(reason, needs_a_person=True)
            queries = Queries(association, peer.timeouts.dimse_s)
            for question in questions:
                yield _answer(queries, question)
    except NoAssociation as none:
        raise NotAsked(str(none), needs_a_person=none.needs_a_person) from none
    except (Broken, Late, BadPdu) as error:
        raise NotAsked(f"{peer.where}: {error}") from error


def _answer(queries: Queries, question: Question) -> Answer:
    study = question.study_instance_uid
    try:
        listed = _listed(queries, question)
        wanted = [uid for uid in question.series_instance_uids if uid in listed]
        series = {uid: listed[uid] or _counted(queries, study, uid) for uid in wanted}
        of_study = None if all(series.values()) else _study_count(queries, study)
    except Refused as refusal:
        return Answer(question, refusal=str(refusal))
    return Answer(question, series, of_study)


def _listed(queries: Queries, question: Question) -> Mapping[str, SeriesCount | None]:
    """The series that the peer knows of the study, and their counts where it gives one."""
    uids = question.series_instance_uids
    keys = {_STUDY: question.study_instance_uid, _SERIES: uids[0] if len(uids) == 1 else "", _OF_SERIES: ""}
    listed: dict[str, SeriesCount | None] = {}
    for found in queries.query("SERIES", keys):
        uid = found.get(_SERIES)
        if uid is None or not _is_of(found, _STUDY, question.study_instance_uid):
            continue
        number = _count_in(found, _OF_SERIES)
        told = SeriesCount(number) if number else None
        # Two parts of an archive, say, that each have some of it: which of them to believe is not for us to say.
        listed[uid] = told if listed.get(uid, told) == told else None
    return listed


def _counted(queries: Queries, study_instance_uid: str, series_instance_uid: str) -> SeriesCount | None:
    """The instances of a series one by one; None where the peer lists none."""
    keys = {_STUDY: study_instance_uid, _SERIES: series_instance_uid, _INSTANCE: ""}
    uids: dict[str, None] = {}
    try:
        for found in queries.query("IMAGE", keys):
            if not is_uid(found.get(_INSTANCE, "")):
                raise BadPdu("an answer to C-FIND at IMAGE level without a SOP Instance UID")
            if _is_of(found, _STUDY, study_instance_uid) and _is_of(found, _SERIES, series_instance_uid):
                uids[found[_INSTANCE]] = None
    except Refused:
        return None
    return SeriesCount(len(uids), tuple(uids)) if uids else None


def _study_count(queries: Queries, study_instance_uid: str) -> int | None:
    matches = queries.query("STUDY", {_STUDY: study_instance_uid, _OF_STUDY: ""})
    counts = {_count_in(found, _OF_STUDY) for found in matches if _is_of(found, _STUDY, study_instance_uid)}
    return counts.pop() if len(counts) == 1 else None


def _is_of(found: Identifier, keyword: str, uid: str) -> bool:
    """Some peers leave out what they were asked for; none that gives another one has understood the question."""
    return found.get(keyword, uid) == uid


def _count_in(found: Identifier, keyword: str) -> int | None:
    """A count of instances; None where it is none, or 0: of what is found there is one at least."""
    text = found.get(keyword, "").strip().removeprefix("+")
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else 0
    return number if 0 < number <= _MOST_COUNT else None
