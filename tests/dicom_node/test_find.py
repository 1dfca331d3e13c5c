"""Asking peers how many instances a series has: those that know, those that know in part, and those that misbehave."""

from __future__ import annotations

import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt

from dicom_node.config_sources import Find
from dicom_node.network import query
from dicom_node.network.connecting import Timeouts
from dicom_node.network.find import Answer, NotAsked, Question, SeriesCount, ask
from dicom_node.network.framing import BadPdu, fragments
from dicom_node.sources import peer_of
from tests.dicom_node.certificates import Authority
from tests.dicom_node.finding import FIND, FindScp, dcmqrscp
from tests.dicom_node.peers import LONG, SHORT, AnsweringScp, black_hole, drip_an_acceptance, peer_at, scp_at, served
from tests.made_rows import SOP_CLASSES, secondary_capture
from tests.orthanc import Orthanc
from tests.ports import free_port

FindPeer = Callable[[str], str]
STUDY, SERIES, OTHER = "1.2.3", "1.2.3.1", "1.2.3.2"
INSTANCES = [f"1.2.3.1.{number}" for number in range(1, 8)]
ONE = Question(STUDY, (SERIES,))
HOLDS = {STUDY: {SERIES: INSTANCES, OTHER: ["1.2.3.2.1"]}}


def asked(port: int, *questions: Question, **more: Any) -> list[Answer]:
    return list(ask(peer_at(port, **more), questions or [ONE]))


def scp(**more: Any) -> FindScp:
    return FindScp(free_port(), HOLDS, **more)


def test_a_peer_that_gives_the_count_is_asked_once_for_one_series() -> None:
    peer = scp()
    with peer.running():
        (answer,) = asked(peer.port)
    assert answer == Answer(ONE, {SERIES: SeriesCount(7)})
    assert peer.asked == [("SERIES", STUDY, SERIES)]
    assert peer.calling == ["DICOM-NODE"]


def test_several_series_of_a_study_are_asked_for_in_one_query_and_studies_on_one_association() -> None:
    peer = scp()
    both = Question(STUDY, (SERIES, OTHER))
    with peer.running():
        first, second = asked(peer.port, both, Question("9.9", ("9.9.1",)))
    assert first.series == {SERIES: SeriesCount(7), OTHER: SeriesCount(1)}
    assert second == Answer(Question("9.9", ("9.9.1",)))
    assert peer.asked == [("SERIES", STUDY, ""), ("SERIES", "9.9", "9.9.1")]
    assert len(peer.calling) == 1


def test_a_peer_that_gives_no_count_lists_the_instances_of_that_series_alone() -> None:
    peer = scp(counts=frozenset())
    with peer.running():
        (answer,) = asked(peer.port)
    assert answer.series == {SERIES: SeriesCount(7, tuple(INSTANCES))}
    assert peer.asked == [("SERIES", STUDY, SERIES), ("IMAGE", STUDY, SERIES)]


def test_a_peer_that_neither_counts_nor_lists_the_instances_of_a_series_is_asked_for_the_study() -> None:
    peer = scp(counts=frozenset({"NumberOfStudyRelatedInstances"}), levels=frozenset({"STUDY", "SERIES"}))
    with peer.running():
        (answer,) = asked(peer.port)
    assert (answer.series, answer.study_instance_count) == ({SERIES: None}, 8)


def test_a_series_that_the_peer_does_not_know_is_no_part_of_its_answer() -> None:
    peer = FindScp(free_port(), {STUDY: {OTHER: ["1.2.3.2.1"]}})
    with peer.running():
        assert asked(peer.port) == [Answer(ONE)]


@pytest.mark.parametrize("instead", ["0", "-7", "7.0", "seven", "99999999999", "1234567890123"])
def test_a_count_that_can_be_none_is_not_believed(instead: str) -> None:
    peer = scp(instead=instead)
    with peer.running():
        (answer,) = asked(peer.port)
    assert answer.series == {SERIES: SeriesCount(7, tuple(INSTANCES))}


def test_a_peer_that_refuses_says_why_and_is_asked_the_next_question() -> None:
    peer = scp(levels=frozenset())
    with peer.running():
        first, second = asked(peer.port, ONE, Question("9.9", ("9.9.1",)))
    assert first.refusal == "C-FIND answered 0xC000: cannot understand the data set"
    assert second.refusal


Handler = Callable[[evt.Event], Iterator[tuple[int, Dataset | None]]]


@contextmanager
def answering(handler: Handler) -> Iterator[int]:
    """A peer whose answers to every C-FIND are these; yields its port."""
    ae, port = AE(ae_title="PACS1"), free_port()
    ae.add_supported_context(FIND)
    with scp_at(port, ae, [(evt.EVT_C_FIND, handler)]):
        yield port


def match(**values: str) -> Dataset:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return made


def test_matches_of_other_studies_and_series_are_passed_over() -> None:
    def wrong(event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        count = {"NumberOfSeriesRelatedInstances": "99"}
        yield 0xFF00, match(StudyInstanceUID="9.9", SeriesInstanceUID=SERIES, **count)
        yield 0xFF00, match(StudyInstanceUID=STUDY, SeriesInstanceUID=OTHER, **count)
        yield 0xFF00, match(StudyInstanceUID=STUDY, **count)
        yield 0xFF00, match(**count)

    with answering(wrong) as port:
        assert asked(port) == [Answer(ONE)]


def test_a_series_that_is_matched_twice_with_two_counts_is_counted_by_its_instances() -> None:
    def torn(event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        of_series = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES}
        if event.identifier.QueryRetrieveLevel == "SERIES":
            yield 0xFF00, match(**of_series, NumberOfSeriesRelatedInstances="3")
            yield 0xFF01, match(**of_series, NumberOfSeriesRelatedInstances="4")
        for uid in [*INSTANCES, *INSTANCES] if event.identifier.QueryRetrieveLevel == "IMAGE" else []:
            yield 0xFF01, match(**of_series, SOPInstanceUID=uid)

    with answering(torn) as port:
        (answer,) = asked(port)
    assert answer.series == {SERIES: SeriesCount(7, tuple(INSTANCES))}


def reason_of(port: int, timeouts: Timeouts = LONG) -> str:
    with pytest.raises(NotAsked) as caught:
        asked(port, timeouts=timeouts)
    return str(caught.value)


def test_a_peer_that_aborts_amid_its_answers_has_not_answered() -> None:
    def aborting(event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        yield 0xFF00, match(StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, NumberOfSeriesRelatedInstances="7")
        event.assoc.abort()

    with answering(aborting) as port:
        assert "association aborted by the peer" in reason_of(port)


def test_a_peer_that_never_answers_costs_its_time_and_no_more() -> None:
    def silent(event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        while event.assoc.is_established:
            time.sleep(0.01)
        yield 0x0000, match()

    with answering(silent) as port:
        assert "no end of the answers to C-FIND within 1 s" in reason_of(port, SHORT)


def test_a_peer_whose_answers_never_end_is_cut_off_by_the_time_they_take() -> None:
    def endless(event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        while event.assoc.is_established:
            yield 0xFF00, match(StudyInstanceUID=STUDY, SeriesInstanceUID=OTHER)

    with answering(endless) as port:
        assert "no end of the answers to C-FIND within 1 s" in reason_of(port, SHORT)


def test_a_peer_whose_answers_never_end_is_cut_off_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "MOST_ANSWERS", 3)

    def endless(event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        while event.assoc.is_established:
            yield 0xFF00, match(StudyInstanceUID=STUDY, SeriesInstanceUID=OTHER)

    with answering(endless) as port:
        assert "more than 3 answers to one C-FIND" in reason_of(port)


def test_an_instance_without_a_uid_makes_the_list_of_instances_worthless() -> None:
    def nameless(event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        yield 0xFF00, match(StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES)

    with answering(nameless) as port:
        assert "without a SOP Instance UID" in reason_of(port)


def test_an_identifier_that_is_too_large_is_not_read_to_its_end() -> None:
    def large(event: evt.Event) -> Iterator[tuple[int, Dataset]]:
        yield 0xFF00, match(StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, TextValue="x" * 300_000)

    with answering(large) as port:
        assert "bytes in one answer to C-FIND" in reason_of(port)


def test_a_peer_that_does_not_know_the_node_is_a_matter_for_a_person() -> None:
    peer = scp()
    with peer.running(called="OTHER"), pytest.raises(NotAsked) as caught:
        asked(peer.port)
    assert "called AE title not recognised" in str(caught.value)
    assert caught.value.needs_a_person


def test_a_peer_that_offers_no_c_find_is_a_matter_for_a_person() -> None:
    store = AnsweringScp(free_port())
    with store.running(), pytest.raises(NotAsked) as caught:
        asked(store.port)
    assert str(caught.value) == "PACS1 does not accept C-FIND in the Study Root information model"
    assert caught.value.needs_a_person


def test_a_port_where_nothing_listens_or_nobody_answers_is_told_in_words() -> None:
    assert "connection refused" in reason_of(free_port())
    with black_hole() as port:
        assert "no answer to the association request within 1 s" in reason_of(port, SHORT)
    with served(drip_an_acceptance) as port:
        assert "no answer to the association request within 1 s" in reason_of(port, SHORT)


def test_a_peer_is_asked_over_tls_as_it_is_configured_and_never_in_plain(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    identity = authority.signs("pacs")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    peer = scp()
    place = {"ae_title": "PACS1", "address": "127.0.0.1", "port": peer.port, "calling_ae_title": "ASKS"}
    find = Find.model_validate(place | {"tls": {"ca": str(authority.certificate)}})
    with peer.running(tls=context):
        (answer,) = ask(peer_of(find, "DICOM-NODE"), [ONE])
        with pytest.raises(NotAsked):
            list(ask(peer_of(Find.model_validate(place | {"acse_timeout_s": 1}), "DICOM-NODE"), [ONE]))
    assert answer.series == {SERIES: SeriesCount(7)}
    assert peer.calling == ["ASKS"]
    with peer.running(), pytest.raises(NotAsked, match="speaks no TLS"):
        list(ask(peer_of(find, "DICOM-NODE"), [ONE]))


@given(st.binary(max_size=60))
def test_what_is_no_list_of_fragments_is_refused_and_nothing_else_happens(pdu: bytes) -> None:
    try:
        found = list(fragments(memoryview(pdu)))
    except BadPdu:
        return
    assert sum(len(one.value) + 6 for one in found) == len(pdu)


def made_study(folder: Path) -> tuple[Question, list[str], list[Path]]:
    """Three instances of one series, as files."""
    study, uids, files = str(generate_uid())[:50], [str(generate_uid()) for _ in range(3)], list[Path]()
    for number, uid in enumerate(uids):
        files.append(folder / f"{number}.dcm")
        files[-1].write_bytes(secondary_capture(study, uid, sop_class_uid=SOP_CLASSES["sc"]))
    return Question(study, (f"{study}.1",)), uids, files


def test_orthanc_counts_the_instances_of_a_series(peer: FindPeer, tmp_path: Path) -> None:
    question, _, files = made_study(tmp_path)
    archive = Orthanc(peer("Orthanc"), tmp_path / "orthanc", more={"DicomAlwaysAllowFind": True})
    with archive.running():
        archive.store(peer("dcmsend"), files[:2])
        (first,) = asked(archive.dicom_port, question)
        archive.store(peer("dcmsend"), files)
        (second,) = asked(archive.dicom_port, question)
    (uid,) = question.series_instance_uids
    assert (first.series, second.series) == ({uid: SeriesCount(2)}, {uid: SeriesCount(3)})


def test_dcmqrscp_gives_no_count_and_lists_the_instances(peer: FindPeer, tmp_path: Path) -> None:
    question, uids, files = made_study(tmp_path)
    port = free_port()
    with dcmqrscp(peer("dcmqrscp"), tmp_path, port):
        command = [peer("dcmsend"), "--call", "PACS1", "127.0.0.1", str(port), *map(str, files)]
        subprocess.run(command, check=True, capture_output=True)
        (answer,) = asked(port, question)
    (counted,) = answer.series.values()
    assert counted
    assert (counted.instance_count, set(counted.sop_instance_uids or ())) == (3, set(uids))
