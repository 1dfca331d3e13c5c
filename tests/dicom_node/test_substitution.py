"""A destination that does not take a class of results gets the next best of the same job, and people are told."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicom_node.backoff import Backoff
from dicom_node.breaker import Breaker
from dicom_node.courier import Courier
from dicom_node.destinations.dicom import DicomDestination
from dicom_node.destinations.protocol import Destination, Outcome, Parcel
from dicom_node.profiles import PROFILES, Demand, Profile, demand, orders, usual_demand
from storage.records.results import Delivery
from tests.dicom_node.peers import AnsweringScp, data_sets_in, peer_at
from tests.made_rows import SOP_CLASSES, House, open_house
from tests.orthanc import Orthanc
from tests.ports import free_port, listens
from tests.waiting import wait_until

FindPeer = Callable[[str], str]
GENERIC = usual_demand()
RESERVE = ("sr-alone", "sr_comprehensive", "sr_comprehensive-alone", "sr_text")
LABELMAP = demand(Profile(("seg_labelmap", "sr")), None, may_refuse=True)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = open_house(tmp_path / "house")
    yield house
    house.database.close()


class Choosy:
    """A destination that does not take some kinds, as it says at negotiation, and takes all others."""

    name = "PACS1"

    def __init__(self, *not_taken: str, verdict: str = "class") -> None:
        self.not_taken = set(not_taken)
        self.verdict = verdict
        self.took: list[str] = []

    def deliver(self, parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        outcomes: list[Outcome] = []
        for one in parcels:
            uid, kind = one.result.sop_instance_uid, one.result.kind
            turned_down = {item.sop_instance_uid for item in outcomes if item.verdict == "refused"}
            if one.refers_to & turned_down:
                outcomes.append(Outcome(uid, "failed", "not sent", is_held_back=True))
            elif kind.partition("-")[0] in self.not_taken:
                outcomes.append(Outcome(uid, "refused", "no such class", is_class_refused=self.verdict == "class"))
            else:
                self.took.append(kind)
                outcomes.append(Outcome(uid, "delivered", "stored"))
        return tuple(outcomes)


def courier_to(house: House, destination: Destination, of: Demand = GENERIC) -> Courier:
    backoff, breaker = Backoff(first_s=5, max_s=900, for_s=86400), Breaker(1000, pause_s=60)
    return Courier(destination, house.outbox, house.events, house.objects, backoff=backoff, breaker=breaker, demand=of)


def send_all(house: House, destination: Destination, of: Demand = GENERIC) -> None:
    courier = courier_to(house, destination, of)
    for _ in range(10):
        if not courier.step():
            return
    pytest.fail("it never comes to an end")


def rows(house: House, study: tuple[Delivery, ...]) -> dict[str, str]:
    return {row.result.kind: row.state for row in house.outbox.of_study(study[0].result.study_instance_uid)}


def test_a_report_class_that_is_not_taken_goes_as_the_next_one_down_to_text(house: House) -> None:
    study = house.analysed_study(reserve=RESERVE)
    pacs = Choosy("sr", "sr_comprehensive")
    send_all(house, pacs)
    assert sorted(pacs.took) == ["sc", "seg", "sr_text"]
    assert rows(house, study) == {
        "seg": "delivered",
        "sc": "delivered",
        "sr": "substituted",
        "sr_comprehensive": "substituted",
        "sr_text": "delivered",
    }
    events = house.events_of_kind("result_substituted")
    assert [event.text for event in events] == [
        "SR refused by PACS1: no such class; Comprehensive SR goes in its place",
        "Comprehensive SR refused by PACS1: no such class; Basic Text SR goes in its place",
    ]
    assert {event.severity for event in events} == {"warning"}
    assert house.events_of_kind("delivery_refused") == []


def test_without_the_segmentation_goes_the_report_that_does_not_refer_to_it_and_never_the_one_that_does(
    house: House,
) -> None:
    study = house.analysed_study(reserve=RESERVE)
    pacs = Choosy("seg")
    send_all(house, pacs)
    assert sorted(pacs.took) == ["sc", "sr-alone"]
    assert rows(house, study)["sr"] == "substituted"
    (event,) = house.events_of_kind("result_substituted")
    assert event.text == (
        "SEG refused by PACS1: no such class; SC, which goes there as well, stands in its place; "
        "SR goes as SR alone, since PACS1 does not have what it refers to"
    )
    assert house.states() == {"delivered": 2, "substituted": 2}


def test_a_segmentation_that_is_refused_for_what_it_holds_is_an_alarm_and_the_report_goes_alone(house: House) -> None:
    study = house.analysed_study(reserve=RESERVE)
    pacs = Choosy("seg", verdict="content")
    send_all(house, pacs)
    assert sorted(pacs.took) == ["sc", "sr-alone"]
    assert rows(house, study) | {"sc": ""} == {
        "seg": "refused",
        "sr": "substituted",
        "sr-alone": "delivered",
        "sc": "",
    }
    (event,) = house.events_of_kind("delivery_refused")
    assert event.severity == "alarm"


def test_a_label_map_that_is_not_taken_goes_as_segmentation_with_the_report_on_that(house: House) -> None:
    kinds = ("seg_labelmap", "sr-seg_labelmap")
    study = house.analysed_study(kinds=kinds, reserve=sorted(orders([LABELMAP]) - {*kinds}))
    pacs = Choosy("seg_labelmap")
    send_all(house, pacs, LABELMAP)
    assert pacs.took == ["seg", "sr"]
    assert rows(house, study) == {
        "seg_labelmap": "substituted",
        "sr-seg_labelmap": "substituted",
        "seg": "delivered",
        "sr": "delivered",
    }


def test_where_nothing_is_left_it_is_refused_with_an_alarm(house: House) -> None:
    study = house.analysed_study(reserve=RESERVE)
    pacs = Choosy("seg", "sr", "sr_comprehensive", "sr_text", "sc")
    send_all(house, pacs)
    assert pacs.took == []
    states = rows(house, study)
    assert states["sc"] == states["sr_text"] == "refused"
    assert {event.severity for event in house.events_of_kind("delivery_refused")} == {"alarm"}
    assert house.outbox.next_study("PACS1", due_at=None) == ()


def test_results_of_before_that_have_no_reserve_are_sent_as_they_always_were(house: House) -> None:
    study = house.analysed_study()
    pacs = Choosy("seg", verdict="class")
    send_all(house, pacs, demand(PROFILES["ohif"], None, may_refuse=True))
    assert sorted(pacs.took) == ["sc", "sr"]
    assert rows(house, study) == {"seg": "substituted", "sr": "delivered", "sc": "delivered"}


def test_a_pacs_that_was_upgraded_gets_the_first_choice_when_it_is_sent_again(house: House) -> None:
    study = house.analysed_study(reserve=RESERVE)
    send_all(house, Choosy("seg", "sr"))
    assert rows(house, study)["sr_comprehensive-alone"] == "delivered"
    uid = study[0].result.study_instance_uid
    assert house.outbox.send_again(uid, destination="PACS1") == 3
    upgraded = Choosy()
    send_all(house, upgraded)
    assert sorted(upgraded.took) == ["sc", "seg", "sr"]
    assert rows(house, study) == {
        "seg": "delivered",
        "sr": "delivered",
        "sc": "delivered",
        "sr-alone": "withdrawn",
        "sr_comprehensive-alone": "withdrawn",
    }


def test_what_stood_in_goes_again_where_the_first_choice_is_refused_again(house: House) -> None:
    study = house.analysed_study(reserve=RESERVE)
    send_all(house, Choosy("sr"))
    uid = study[0].result.study_instance_uid
    house.outbox.send_again(uid, destination=None)
    again = Choosy("sr")
    send_all(house, again)
    assert sorted(again.took) == ["sc", "seg", "sr_comprehensive"]
    assert rows(house, study)["sr_comprehensive"] == "delivered"


def test_what_is_superseded_while_it_is_refused_has_nothing_go_in_its_place(house: House) -> None:
    job = house.ready_job()
    first = house.analysed_study(study_uid=job.study_instance_uid, reserve=RESERVE)
    old = house.jobs.get(first[0].job_id)
    assert old

    class Supersedes(Choosy):
        def deliver(self, parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
            then = house.next_revision(old)
            house.jobs.start(then.job_id)
            running = house.jobs.get(then.job_id)
            assert running
            result = house.result(then.study_instance_uid, "sr")
            to = {result.sop_instance_uid: ("PACS1",)}
            assert house.jobs.finish(
                running, state="done", outcome="done", reason=None, results=[result], recipients=to
            )
            return super().deliver(parcels)

    courier = courier_to(house, Supersedes("sr"))
    assert courier.step()
    states = {(row.job_id, row.result.kind): row.state for row in house.outbox.of_study(old.study_instance_uid)}
    assert (old.job_id, "sr_comprehensive") not in states
    assert states[old.job_id, "sr"] == "withdrawn"
    assert house.events_of_kind("result_substituted") == []


def profile_file(folder: Path, *sop_classes: str) -> Path:
    """A configuration of storescp that accepts these abstract syntaxes alone."""
    contexts = [f"PresentationContext{i} = {uid}\\\\Uncompressed" for i, uid in enumerate(sop_classes, start=1)]
    path = folder / "storescp.cfg"
    path.write_text(
        "[[TransferSyntaxes]]\n[Uncompressed]\n"
        "TransferSyntax1 = LittleEndianExplicit\nTransferSyntax2 = LittleEndianImplicit\n"
        "[[PresentationContexts]]\n[Taken]\n" + "\n".join(contexts).replace("\\\\", "\\") + "\n"
        "[[Profiles]]\n[Default]\nPresentationContexts = Taken\n"
    )
    return path


@contextmanager
def choosy_storescp(program: str, folder: Path, port: int, *sop_classes: str) -> Iterator[Path]:
    taken = folder / "taken"
    taken.mkdir(parents=True)
    command = [program, "+B", "-od", str(taken), "-xf", str(profile_file(folder, *sop_classes)), "Default", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: listens(port))
            yield taken
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("taken", "arrive"),
    [
        (("seg", "sr", "sc"), {"seg", "sr", "sc"}),
        (("seg", "sr_comprehensive", "sc"), {"seg", "sr_comprehensive", "sc"}),
        (("sr", "sc"), {"sr-alone", "sc"}),
        (("sr_comprehensive", "sc"), {"sr_comprehensive-alone", "sc"}),
        (("sr_text", "sc"), {"sr_text", "sc"}),
        (("sc",), {"sc"}),
    ],
)
def test_storescp_that_accepts_these_classes_gets_the_best_of_them(
    peer: FindPeer, house: House, tmp_path: Path, taken: tuple[str, ...], arrive: set[str]
) -> None:
    study, port = house.analysed_study(reserve=RESERVE), free_port()
    classes = [SOP_CLASSES[kind] for kind in taken]
    with choosy_storescp(peer("storescp"), tmp_path / "scp", port, *classes) as folder:
        send_all(house, DicomDestination("PACS1", peer_at(port)))
        held = set(data_sets_in(folder))
    results = house.outbox.results_of_study(study[0].result.study_instance_uid)
    assert {item.kind for item in results if item.sop_instance_uid in held} == arrive
    assert house.events_of_kind("delivery_refused") == []


def test_orthanc_as_it_comes_takes_no_label_map_and_gets_the_segmentation_with_the_report_on_it(
    peer: FindPeer, house: House, tmp_path: Path
) -> None:
    """Its DCMTK does not know the SOP class, and it takes only those that it knows."""
    kinds = ("seg_labelmap", "sr-seg_labelmap")
    study = house.analysed_study(kinds=kinds, reserve=sorted(orders([LABELMAP]) - {*kinds}))
    orthanc = Orthanc(peer("Orthanc"), tmp_path / "orthanc", more={"UnknownSopClassAccepted": False})
    with orthanc.running():
        send_all(house, DicomDestination("PACS1", peer_at(orthanc.dicom_port)), LABELMAP)
        held = orthanc.held()
    results = house.outbox.results_of_study(study[0].result.study_instance_uid)
    assert sorted(item.kind for item in results if item.sop_instance_uid in held) == ["seg", "sr"]
    (event,) = house.events_of_kind("result_substituted")
    assert event.text == (
        "label map SEG refused by PACS1: PACS1 does not accept Label Map Segmentation Storage in Explicit VR Little Endian;"
        " SEG goes in its place; SR on label map SEG goes as SR, since PACS1 does not have what it refers to"
    )
    assert house.events_of_kind("delivery_refused") == []


def test_a_class_that_is_refused_by_status_is_one_that_is_not_taken(house: House) -> None:
    house.analysed_study(kinds=("sr-alone",), reserve=("sr_comprehensive-alone",))
    scp = AnsweringScp(free_port(), statuses=[0x0122, 0x0000])
    with scp.running():
        send_all(house, DicomDestination("PACS1", peer_at(scp.port)), demand(Profile(("sr",)), None, may_refuse=True))
    assert house.states() == {"substituted": 1, "delivered": 1}


def test_every_object_of_a_kind_gives_way_and_the_next_best_goes_once(house: House) -> None:
    study = house.analysed_study(kinds=("gsps", "gsps", "sr"), reserve=("sc",))
    pacs = Choosy("gsps")
    send_all(house, pacs, demand(Profile(("gsps", "sr")), None, may_refuse=True))
    assert sorted(pacs.took) == ["sc", "sr"]
    assert house.states() == {"substituted": 2, "delivered": 2}
    assert rows(house, study)["sc"] == "delivered"
