"""What is asked about the series that a node received, of whom, and what is written down of the answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from pydicom.uid import generate_uid

from dicom_node.config import Config
from dicom_node.config_sources import Find
from dicom_node.inquirer import Inquirer
from dicom_node.inquiry import Inquiry
from dicom_node.network.find import Answer, NotAsked, Question, SeriesCount
from dicom_node.stores import Stores
from storage.records.announced import Announcement
from storage.records.received import Association
from tests.dicom_node.finding import FindScp
from tests.dicom_node.peers import black_hole
from tests.made_rows import House, new_instance, open_house
from tests.ports import free_port
from tests.waiting import wait_until

STUDY, SERIES = "1.2.3", "1.2.3.1"
PLACE = {"ae_title": "PACS1", "address": "127.0.0.1", "port": 104}
WHOLE = Find.model_validate(PLACE | {"has_whole_series": True})
PARALLEL = Find.model_validate(PLACE)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = open_house(tmp_path)
    yield house
    house.database.close()


def opened(house: House, calling_ae_title: str = "CT1") -> Association:
    association = Association(generate_uid()[-36:], "a1", calling_ae_title, "NODE", "127.0.0.1", time.time())
    house.studies.open_association(association)
    return association


def bring(house: House, association: Association, count: int, series_uid: str = SERIES, study: str = STUDY) -> None:
    house.instances.add_all(
        [
            new_instance(
                series_instance_uid=series_uid, study_instance_uid=study, association_id=association.association_id
            )
            for _ in range(count)
        ]
    )


def received(house: House, count: int, *, source: str = "CT1", at: float | None = None, **more: Any) -> None:
    association = opened(house, source)
    bring(house, association, count, **more)
    house.end_association(association, "released", time.time() if at is None else at)


class Told:
    """A peer that has so many instances of each series, or cannot be asked, or says what it likes."""

    def __init__(self, has: dict[str, int | None] | NotAsked | Callable[[Question], Answer]) -> None:
        self.has = has
        self.questions: list[list[Question]] = []

    def ask(self, questions: Sequence[Question]) -> Iterator[Answer]:
        self.questions.append(list(questions))
        for question in questions:
            if isinstance(self.has, NotAsked):
                raise self.has
            if callable(self.has):
                yield self.has(question)
                continue
            known = {uid: self.has[uid] for uid in question.series_instance_uids if uid in self.has}
            yield Answer(question, {uid: SeriesCount(count) if count else None for uid, count in known.items()})


class Clock:
    def __init__(self) -> None:
        self.now = time.time() + 10

    def __call__(self) -> float:
        return self.now


def inquirer(house: House, peer: Told, clock: Clock, find: Find = WHOLE, titles: Sequence[str] = ("CT1",)) -> Inquirer:
    return Inquirer(
        find,
        titles,
        peer.ask,
        studies=house.studies,
        announcements=house.announcements,
        events=house.events,
        clock=clock,
        jitter=lambda: 0.5,
    )


def announced(house: House, study: str = STUDY) -> list[tuple[str | None, str, int | None]]:
    said = house.announcements.of_study(study)
    return [(one.series_instance_uid, one.state, one.instance_count) for one in said]


def test_what_the_peer_says_is_announced_in_its_name(house: House) -> None:
    received(house, 3)
    clock = Clock()
    assert inquirer(house, Told({SERIES: 3}), clock).step() == 1
    assert house.announcements.of_study(STUDY) == (
        Announcement("c-find", f"PACS1 {SERIES}", "PACS1", STUDY, SERIES, "completed", clock.now, 3),
    )


def test_it_is_not_asked_while_an_association_that_brought_the_series_is_open(house: House) -> None:
    peer, clock = Told({SERIES: 3}), Clock()
    asking = inquirer(house, peer, clock)
    first, second = opened(house), opened(house)
    bring(house, first, 2)
    bring(house, second, 1)
    house.end_association(first, "released", time.time())
    assert asking.step() == 0
    house.end_association(second, "aborted", time.time())
    assert asking.step() == 1


def test_all_series_that_are_due_go_on_one_association_those_of_a_study_in_one_question(house: House) -> None:
    for study, series in (("1.2.3", "1.2.3.1"), ("1.2.3", "1.2.3.2"), ("1.2.4", "1.2.4.1")):
        received(house, 1, study=study, series_uid=series)
    peer = Told({})
    assert inquirer(house, peer, Clock()).step() == 3
    (questions,) = peer.questions
    assert {one.study_instance_uid: set(one.series_instance_uids) for one in questions} == {
        "1.2.3": {"1.2.3.1", "1.2.3.2"},
        "1.2.4": {"1.2.4.1"},
    }


def test_series_of_requestors_that_are_in_no_source_are_not_asked_about(house: House) -> None:
    received(house, 3, source="MR9")
    assert inquirer(house, Told({SERIES: 3}), Clock()).step() == 0


def test_the_requestor_that_brought_a_series_last_decides_who_is_asked(house: House) -> None:
    received(house, 3, source="CT1", at=time.time() - 60)
    received(house, 1, source="MR9")
    assert inquirer(house, Told({SERIES: 4}), Clock()).step() == 0
    assert inquirer(house, Told({SERIES: 4}), Clock(), titles=["MR9"]).step() == 1


def test_it_is_asked_again_until_as_many_came_and_each_change_is_announced(house: House) -> None:
    received(house, 3)
    peer, clock = Told({SERIES: 2}), Clock()
    asking = inquirer(house, peer, clock)
    asking.step()
    assert announced(house) == [(SERIES, "in progress", 2)]
    assert asking.step() == 0
    peer.has = {SERIES: 5}
    clock.now += 0.31
    assert asking.step() == 1
    assert announced(house) == [(SERIES, "completed", 5)]
    received(house, 2)
    clock.now += 2
    assert asking.step() == 1
    clock.now += 300
    assert asking.step() == 0
    assert announced(house) == [(SERIES, "completed", 5)]


def test_a_peer_that_may_be_getting_images_itself_is_believed_at_the_second_answer(house: House) -> None:
    received(house, 3)
    peer, clock = Told({SERIES: 3}), Clock()
    asking = inquirer(house, peer, clock, PARALLEL)
    asking.step()
    assert announced(house) == [(SERIES, "in progress", 3)]
    clock.now += PARALLEL.stable_s
    assert asking.step() == 1
    assert announced(house) == [(SERIES, "completed", 3)]
    clock.now += 300
    assert asking.step() == 0


def test_a_listed_series_is_announced_with_its_instances(house: House) -> None:
    received(house, 2)
    listed = SeriesCount(2, ("1.5", "1.6"))
    inquirer(house, Told(lambda question: Answer(question, {SERIES: listed})), Clock()).step()
    (said,) = house.announcements.of_study(STUDY)
    assert said.sop_instance_uids == ("1.5", "1.6")


def test_the_count_of_a_study_is_announced_where_that_is_all_there_is(house: House) -> None:
    received(house, 2)
    peer = Told(lambda question: Answer(question, {SERIES: None}, study_instance_count=9))
    inquirer(house, peer, Clock()).step()
    assert announced(house) == [(None, "completed", 9)]


def test_a_series_that_is_whole_by_other_evidence_is_asked_about_no_more(house: House) -> None:
    received(house, 3)
    peer, clock = Told({SERIES: 5}), Clock()
    asking = inquirer(house, peer, clock)
    asking.step()
    (series,) = house.studies.series_of(STUDY)
    assert house.studies.settle(series, evidence="made", jobs=[], events=[])
    clock.now += 100
    assert asking.step() == 0
    received(house, 1)
    assert asking.step() == 1


def test_a_peer_that_is_down_is_told_of_once_and_left_alone(house: House) -> None:
    for number in range(9):
        received(house, 1, series_uid=f"1.2.3.{number}")
    peer, clock = Told(NotAsked("no connection to 127.0.0.1:104: connection refused")), Clock()
    asking = inquirer(house, peer, clock)
    for _ in range(200):
        asking.step()
        clock.now += 0.1
    assert len(peer.questions) == 3
    (event,) = house.events_of_kind("source_unreachable")
    assert event.text == "PACS1 could not be asked: no connection to 127.0.0.1:104: connection refused"
    assert (event.severity, asking.remark) == ("warning", event.text)
    peer.has = {f"1.2.3.{number}": 1 for number in range(9)}
    clock.now += 30
    assert asking.step() == 9
    assert asking.remark is None
    assert [event.text for event in house.events_of_kind("source_reachable")] == ["PACS1 answers again"]


def test_a_peer_that_does_not_know_the_node_is_an_alarm(house: House) -> None:
    received(house, 1)
    inquirer(house, Told(NotAsked("association rejected", needs_a_person=True)), Clock()).step()
    assert [event.severity for event in house.events_of_kind("source_unreachable")] == ["alarm"]


def test_what_was_answered_before_the_peer_aborted_stands(house: House) -> None:
    received(house, 1, study="1.2.4", series_uid="1.2.4.1")
    received(house, 1, study="1.2.3", series_uid="1.2.3.1", at=time.time() + 1)

    def answer(question: Question) -> Answer:
        if question.study_instance_uid == "1.2.4":
            raise NotAsked("association aborted by the peer")
        return Answer(question, {"1.2.3.1": SeriesCount(1)})

    peer, clock = Told(answer), Clock()
    asking = inquirer(house, peer, clock)
    assert asking.step() == 2
    assert announced(house) == [("1.2.3.1", "completed", 1)]
    clock.now += 1
    assert asking.step() == 1
    assert [one.study_instance_uid for one in peer.questions[-1]] == ["1.2.4"]


def test_a_refusal_is_told_and_the_question_is_put_again_later(house: House) -> None:
    received(house, 1)
    peer, clock = Told(lambda question: Answer(question, refusal="C-FIND answered 0xA700: out of resources")), Clock()
    asking = inquirer(house, peer, clock)
    asking.step()
    assert asking.remark == "PACS1 could not be asked: C-FIND answered 0xA700: out of resources"
    assert asking.step() == 0
    clock.now += 0.31
    assert asking.step() == 1
    assert len(house.events_of_kind("source_unreachable")) == 1


def configured(*sources: dict[str, Any]) -> Config:
    return Config.model_validate({"sources": list(sources)})


def test_a_peer_that_never_answers_keeps_no_other_from_being_asked(house: House) -> None:
    received(house, 2, source="CT1")
    received(house, 1, source="CT2", study="1.2.4", series_uid="1.2.4.1")
    archive = FindScp(free_port(), {STUDY: {SERIES: ["1.5", "1.6"]}})
    with black_hole() as dead, archive.running():
        config = configured(
            {"ae_titles": ["CT2"], "find": PLACE | {"port": dead, "acse_timeout_s": 3, "connect_timeout_s": 3}},
            {
                "ae_titles": ["CT1"],
                "find": PLACE | {"ae_title": "PACS2", "port": archive.port, "has_whole_series": True},
            },
        )
        inquiry = Inquiry(config, cast(Stores, house))
        inquiry.start()
        try:
            wait_until(lambda: announced(house) == [(SERIES, "completed", 2)])
            wait_until(lambda: inquiry.remarks("CT2"))
        finally:
            inquiry.stop()
    assert "could not be asked: no association with 127.0.0.1" in inquiry.remarks("CT2")[0]
    assert inquiry.remarks("CT1") == inquiry.remarks("MR9") == ()


def test_sources_that_name_the_same_peer_share_its_associations(house: House) -> None:
    archive = FindScp(free_port(), {STUDY: {SERIES: ["1.5"]}, "1.2.4": {"1.2.4.1": ["1.7"]}})
    find = PLACE | {"port": archive.port, "has_whole_series": True}
    received(house, 1, source="CT1")
    received(house, 1, source="CT2", study="1.2.4", series_uid="1.2.4.1")
    config = configured({"ae_titles": ["CT1"], "find": find}, {"ae_titles": ["CT2"], "find": find})
    with archive.running():
        inquiry = Inquiry(config, cast(Stores, house))
        inquiry.start()
        assert [thread.name for thread in threading.enumerate()].count("inquiry-PACS1") == 1
        try:
            wait_until(lambda: announced(house) and announced(house, "1.2.4"))
        finally:
            inquiry.stop()
    assert len(archive.calling) == 1


def test_another_configuration_holds_at_once_for_whom_is_asked_about_what(house: House) -> None:
    first = FindScp(free_port(), {STUDY: {SERIES: ["1.5"]}, "1.2.4": {"1.2.4.1": ["1.7"]}})
    second = FindScp(free_port(), {"1.2.5": {"1.2.5.1": ["1.8"]}})
    found, other = ({**PLACE, "port": scp.port, "has_whole_series": True} for scp in (first, second))
    with first.running(), second.running():
        inquiry = Inquiry(configured(), cast(Stores, house))
        inquiry.start()
        try:
            inquiry.use(configured({"ae_titles": ["CT1"], "find": found}))
            received(house, 1, source="CT1")
            wait_until(lambda: announced(house))
            inquiry.use(configured({"ae_titles": ["CT2"], "find": found}))
            received(house, 1, source="CT2", study="1.2.4", series_uid="1.2.4.1")
            wait_until(lambda: announced(house, "1.2.4"))
            inquiry.use(configured({"ae_titles": ["CT2"], "find": other}))
            asked = len(first.asked)
            received(house, 1, source="CT2", study="1.2.5", series_uid="1.2.5.1")
            wait_until(lambda: announced(house, "1.2.5"))
        finally:
            inquiry.stop()
    assert len(first.asked) == asked
