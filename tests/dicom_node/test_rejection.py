"""Key objects that reject images: what they say, what it does to what came and what comes, and what is left to report."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import FileDataset

from dicom_node.refusals import Unparsable
from dicom_node.reject import STORAGE_PAUSE_S, Reject
from dicom_node.rejection import TITLES, Rejection, read_rejection
from storage.errors import StorageUnavailable
from storage.records.events import Event
from storage.records.jobs import Companion, NewJob
from storage.records.received import Association, NewInstance, Series
from tests.dicom_node.raw_scu import associated
from tests.dicom_node.serving import serving
from tests.encoded import CT_IMAGE_STORAGE, EXPLICIT_LITTLE, ct_image
from tests.key_objects import KEY_OBJECT_SELECTION, OF_INTEREST, QUALITY, SAFETY, encoded, key_object
from tests.made_rows import House, new_instance, open_house
from tests.waiting import LIMIT_S, eventually

STUDY, SERIES = "1.2.3", "1.2.3.4"
IMAGES = [f"1.2.3.4.{number}" for number in range(10)]
SETTLE_S = 2.0


# --- what a key object says ---------------------------------------------------------------------------------------


def _read(document: FileDataset) -> Rejection | None:
    return read_rejection(encoded(document), EXPLICIT_LITTLE)


@pytest.mark.parametrize("code", TITLES)
def test_each_rejection_title_rejects_what_the_document_refers_to(code: str) -> None:
    document = key_object({SERIES: IMAGES[:2], "1.2.3.5": ["1.2.3.5.1"]}, study_instance_uid=STUDY, title=(code, "x"))
    assert _read(document) == Rejection(code, (*IMAGES[:2], "1.2.3.5.1"))


@pytest.mark.parametrize(("title", "scheme"), [(OF_INTEREST, "DCM"), (QUALITY, "99LOCAL")])
def test_another_title_rejects_nothing(title: tuple[str, str], scheme: str) -> None:
    assert _read(key_object({SERIES: IMAGES}, study_instance_uid=STUDY, title=title, scheme=scheme)) is None


def _damaged(how: str) -> bytes:
    document = key_object({SERIES: IMAGES}, study_instance_uid=STUDY)
    if how == "no title":
        document.ConceptNameCodeSequence = []
    elif how == "no references":
        document = key_object({}, study_instance_uid=STUDY)
    elif how == "content and evidence differ":
        document = key_object({SERIES: IMAGES}, study_instance_uid=STUDY, shown=IMAGES[:3])
    elif how == "a reference without a UID":
        item = document.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = ""
    content = encoded(document)
    return content[:-10] if how == "cut short" else content


@pytest.mark.parametrize(
    "how", ["no title", "no references", "content and evidence differ", "a reference without a UID", "cut short"]
)
def test_a_key_object_that_does_not_say_for_certain_what_it_rejects_is_unparsable(how: str) -> None:
    with pytest.raises(Unparsable):
        read_rejection(_damaged(how), EXPLICIT_LITTLE)


# --- what it does to the rows -------------------------------------------------------------------------------------


class Bench:
    """Real stores, a clock that the test turns, and series that are judged when the test says so."""

    def __init__(self, folder: Path) -> None:
        self.house: House = open_house(folder)
        self.now = 1000.0
        self.reject = Reject(
            self.house.rejection_notes,
            self.house.objects,
            self.house.studies,
            self.house.jobs,
            settle_s=SETTLE_S,
            clock=lambda: self.now,
        )
        self.house.studies.open_association(Association("a1", "acceptor", "PACS1", "NODE", "127.0.0.1", self.now))

    def send(self, uids: Sequence[str], series: str = SERIES) -> None:
        self.house.instances.add_all([self._new(uid, series, CT_IMAGE_STORAGE, f"{uid} content") for uid in uids])

    def send_key_object(self, document: FileDataset, *, stored: bytes | None = None) -> None:
        content = encoded(document)
        uid = str(document.SOPInstanceUID)
        new = self._new(uid, str(document.SeriesInstanceUID), KEY_OBJECT_SELECTION, content)
        self.house.objects.put(new.object_key, [b"meta", content if stored is None else stored])
        self.house.instances.add(new)

    def _new(self, uid: str, series: str, sop_class_uid: str, content: str | bytes) -> NewInstance:
        payload = content.encode() if isinstance(content, str) else content
        return new_instance(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=uid,
            series_instance_uid=series,
            study_instance_uid=STUDY,
            content_sum=hashlib.sha256(payload).hexdigest(),
            object_key=f"instances/{uid}",
            size_bytes=len(payload),
            association_id="a1",
            received_at=self.now,
            patient_id="P1",
            patient_name="Doe^Jane",
            study_description="Chest",
        )

    def series(self, uid: str = SERIES) -> Series:
        return next(one for one in self.house.studies.series_of(STUDY) if one.series_instance_uid == uid)

    def judge(self, *models: str, uid: str = SERIES, state: Any = "ready") -> None:
        jobs = [NewJob(model, "chest", state, "stat", ("pacs",), True, 60.0) for model in models]
        assert self.house.studies.settle(self.series(uid), evidence="made", jobs=jobs, events=[])

    def analysed(self) -> list[str]:
        """What a job on the series as it is now would see."""
        series = self.series()
        seen = self.house.instances.of_series(series.series_id, up_to_revision=series.revision)
        return [item.sop_instance_uid for item in seen]

    def events(self, *kinds: str) -> list[Event]:
        return self.house.events_of_kind(*kinds)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.house.database.close()


def test_a_series_that_was_judged_is_judged_anew_without_what_is_rejected(bench: Bench) -> None:
    bench.send(IMAGES)
    bench.judge("m@1")
    bench.send_key_object(key_object({SERIES: IMAGES[:3]}, study_instance_uid=STUDY))
    assert bench.reject.step() == 1
    series = bench.series()
    assert (series.state, series.revision, series.instance_count, series.evidence) == ("arriving", 2, 7, None)
    assert bench.analysed() == IMAGES[3:]
    before = bench.house.instances.of_series(series.series_id, up_to_revision=1)
    assert [item.sop_instance_uid for item in before] == IMAGES
    (event,) = bench.events("instances_rejected")
    assert event.text == (
        "3 of 10 images rejected by a key object of PACS1 (113001, Rejected for Quality Reasons): "
        "revision 2 begins without them"
    )
    assert (event.severity, event.series_instance_uid) == ("warning", SERIES)


def test_a_series_that_still_arrives_loses_what_is_rejected_without_a_new_revision(bench: Bench) -> None:
    bench.send(IMAGES[:5])
    bench.send_key_object(key_object({SERIES: IMAGES[:2]}, study_instance_uid=STUDY))
    bench.reject.step()
    bench.send(IMAGES[5:])
    assert (bench.series().revision, bench.series().instance_count) == (1, 8)
    assert bench.analysed() == IMAGES[2:]


def test_what_was_rejected_before_it_came_is_kept_and_never_analysed(bench: Bench) -> None:
    bench.send(IMAGES[:1])
    bench.send_key_object(key_object({SERIES: IMAGES[1:4]}, study_instance_uid=STUDY, title=SAFETY))
    bench.reject.step()
    bench.judge("m@1")
    bench.send(IMAGES[1:4])
    assert (bench.series().state, bench.series().revision) == ("whole", 1)
    assert bench.analysed() == IMAGES[:1]
    bench.send(IMAGES[4:5])
    assert (bench.series().state, bench.series().revision) == ("arriving", 2)
    assert bench.analysed() == [IMAGES[0], IMAGES[4]]
    assert [event.text for event in bench.events("instances_rejected")] == [
        "3 instances came that were rejected before (DCM 113037): kept, and not analysed"
    ]


def test_a_key_object_that_comes_again_changes_nothing(bench: Bench) -> None:
    bench.send(IMAGES)
    bench.judge("m@1")
    document = key_object({SERIES: IMAGES[:3]}, study_instance_uid=STUDY)
    bench.send_key_object(document)
    bench.reject.step()
    bench.judge("m@1")
    bench.send_key_object(document)
    bench.send_key_object(key_object({SERIES: IMAGES[:3]}, study_instance_uid=STUDY, title=SAFETY))
    bench.reject.step()
    assert (bench.series().state, bench.series().revision) == ("whole", 2)
    assert len(bench.events("instances_rejected")) == 1
    assert [event.text.rpartition(": ")[2] for event in bench.events("rejection_note")] == [
        "3 of them are here and were not rejected before",
        "0 of them are here and were not rejected before",
    ]


def test_an_ordinary_key_object_changes_nothing(bench: Bench) -> None:
    bench.send(IMAGES)
    bench.judge("m@1")
    bench.send_key_object(key_object({SERIES: IMAGES}, study_instance_uid=STUDY, title=OF_INTEREST))
    assert bench.reject.step() == 0
    assert bench.house.rejection_notes.unread(1) == ()
    assert (bench.series().state, bench.series().revision, bench.analysed()) == ("whole", 1, IMAGES)
    assert bench.events("instances_rejected", "rejection_note", "key_object_unreadable") == []


def test_a_key_object_that_is_damaged_rejects_nothing_and_says_so_once(bench: Bench) -> None:
    bench.send(IMAGES)
    bench.judge("m@1")
    document = key_object({SERIES: IMAGES}, study_instance_uid=STUDY)
    bench.send_key_object(document, stored=encoded(document)[::-1])
    for _ in range(3):
        assert bench.reject.step() == 0
    assert (bench.series().revision, bench.analysed()) == (1, IMAGES)
    (event,) = bench.events("key_object_unreadable")
    assert (event.severity, event.text.rpartition(": ")[2]) == ("alarm", "the stored key object is damaged")


def test_a_key_object_whose_object_is_gone_says_so(bench: Bench) -> None:
    document = key_object({SERIES: IMAGES}, study_instance_uid=STUDY)
    bench.send_key_object(document)
    bench.house.objects.delete(f"instances/{document.SOPInstanceUID}")
    bench.reject.step()
    assert [event.text.rpartition(": ")[2] for event in bench.events("key_object_unreadable")] == [
        "its stored object is gone"
    ]


def test_a_key_object_that_cannot_be_read_now_is_read_later_and_holds_up_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (key_object({SERIES: [uid]}, study_instance_uid=STUDY) for uid in IMAGES[:2])
    bench.send(IMAGES)
    bench.send_key_object(first)
    bench.send_key_object(second)
    get = bench.house.objects.get

    def fail(key: str) -> bytes:
        if key.endswith(str(first.SOPInstanceUID)):
            raise StorageUnavailable("input/output error")
        return get(key)

    with monkeypatch.context() as failing:
        failing.setattr(bench.house.objects, "get", fail)
        assert bench.reject.step() == 1
    assert bench.reject.step() == 0
    assert bench.analysed() == [IMAGES[0], *IMAGES[2:]]
    bench.now += STORAGE_PAUSE_S
    assert bench.reject.step() == 1
    assert bench.analysed() == IMAGES[2:]


def test_where_nothing_is_left_each_model_that_had_a_job_reports_that(bench: Bench) -> None:
    bench.send(IMAGES)
    bench.judge("m@1", "n@2")
    bench.send_key_object(key_object({SERIES: IMAGES}, study_instance_uid=STUDY, title=SAFETY))
    bench.reject.step()
    assert bench.series().state == "arriving"
    bench.now += SETTLE_S
    bench.reject.step()
    series = bench.series()
    words = "all 10 images were rejected (113037, Rejected for Patient Safety Reasons)"
    assert (series.state, series.revision, series.instance_count, series.evidence) == ("whole", 2, 0, words)
    told = [job for job in bench.house.jobs.of_study(STUDY) if job.revision == 2]
    assert [(job.model, job.route, job.state, job.priority, job.destinations) for job in told] == [
        ("m@1", "chest", "ready", "stat", ("pacs",)),
        ("n@2", "chest", "ready", "stat", ("pacs",)),
    ]
    assert {job.give_up_reason for job in told} == {words}
    left_out = bench.house.rejection_notes.left_out(series.series_id, up_to_revision=2)
    assert ([item.sop_instance_uid for item in left_out.instances], left_out.codes) == (IMAGES, ("113037",))
    bench.reject.step()
    assert len(bench.house.jobs.of_study(STUDY)) == 4


def test_where_nothing_is_left_of_what_no_model_applied_to_nothing_is_reported(bench: Bench) -> None:
    bench.send(IMAGES)
    bench.judge("m@1", state="skipped")
    bench.send_key_object(key_object({SERIES: IMAGES}, study_instance_uid=STUDY))
    bench.now += SETTLE_S
    bench.reject.step()
    assert bench.series().state == "whole"
    assert [job.revision for job in bench.house.jobs.of_study(STUDY)] == [1]


def test_results_from_images_that_were_rejected_meanwhile_are_not_sent_even_where_stale_ones_are(bench: Bench) -> None:
    bench.send(IMAGES)
    bench.judge("m@1")
    (job,) = bench.house.jobs.of_study(STUDY)
    bench.house.jobs.start(job.job_id)
    bench.send_key_object(key_object({SERIES: IMAGES[:3]}, study_instance_uid=STUDY))
    bench.reject.step()
    (running,) = bench.house.jobs.running()
    result = bench.house.result(STUDY, "sr")
    assert bench.house.jobs.finish(
        running,
        state="done",
        outcome="done",
        reason=None,
        results=[result],
        recipients={result.sop_instance_uid: ("pacs",)},
        send_stale=True,
    )
    assert bench.house.outbox.of_study(STUDY) == ()
    assert "kept but not sent" in bench.events("job_stale")[0].text


def test_a_series_that_was_compared_with_images_that_are_rejected_is_analysed_anew(bench: Bench) -> None:
    bench.send(IMAGES)
    bench.judge()
    bench.send(["1.2.3.5.1"], "1.2.3.5")
    bench.send(["1.2.3.6.1"], "1.2.3.6")
    bench.judge("alone@1", uid="1.2.3.6")
    series = bench.series()
    prior = Companion("prior", series.series_id, 1, SERIES, STUDY)
    new = NewJob("two@1", "r", "ready", "routine", ("pacs",), True, 60.0, companions=(prior,))
    assert bench.house.studies.settle(bench.series("1.2.3.5"), evidence="made", jobs=[new], events=[])
    for job in bench.house.jobs.ready(10):
        bench.house.jobs.start(job.job_id)
    for job in bench.house.jobs.running():
        bench.house.jobs.finish(job, state="done", outcome="done", reason=None)
    bench.send_key_object(key_object({SERIES: IMAGES[:1]}, study_instance_uid=STUDY))
    bench.reject.step()
    (told,) = bench.events("companion_rejected")
    assert told.text == "images of the prior that two@1 read were rejected: revision 2 begins without them"
    assert (bench.series("1.2.3.5").state, bench.series("1.2.3.5").revision) == ("arriving", 2)
    assert (bench.series("1.2.3.6").state, bench.series("1.2.3.6").revision) == ("whole", 1)


def test_what_comes_after_everything_was_rejected_is_analysed_in_a_revision_of_its_own(bench: Bench) -> None:
    bench.send(IMAGES[:5])
    bench.judge("m@1")
    bench.send_key_object(key_object({SERIES: IMAGES[:5]}, study_instance_uid=STUDY))
    bench.now += SETTLE_S
    bench.reject.step()
    bench.send(IMAGES[:5])  # the same again
    assert (bench.series().state, bench.series().revision) == ("whole", 2)
    bench.send(IMAGES[5:])
    assert (bench.series().state, bench.series().revision, bench.analysed()) == ("arriving", 3, IMAGES[5:])


def test_one_key_object_of_many_references_changes_every_series_that_it_names(bench: Bench) -> None:
    others = [f"1.2.3.5.{number}" for number in range(1200)]
    bench.send(IMAGES)
    bench.send(others, series="1.2.3.5")
    bench.judge("m@1")
    bench.judge("m@1", uid="1.2.3.5")
    unknown = [f"1.9.{number}" for number in range(600)]
    references = {SERIES: IMAGES[:1], "1.2.3.5": others[:1100], "1.9": unknown}
    bench.send_key_object(key_object(references, study_instance_uid=STUDY))
    bench.reject.step()
    assert [(one.revision, one.instance_count) for one in (bench.series(), bench.series("1.2.3.5"))] == [
        (2, 9),
        (2, 100),
    ]
    bench.send(unknown[:3], series="1.9")
    assert bench.series("1.9").instance_count == 0


# --- over the network ---------------------------------------------------------------------------------------------


def test_a_key_object_that_storescu_sends_rejects_images_that_came_over_the_network(
    tmp_path: Path, peer: Callable[[str], str]
) -> None:
    document = key_object({SERIES: IMAGES[:4]}, study_instance_uid=STUDY, title=SAFETY)
    path = tmp_path / "note.dcm"
    document.save_as(path, enforce_file_format=True)
    with serving(tmp_path / "node") as served:
        house = served.house
        context = (CT_IMAGE_STORAGE, EXPLICIT_LITTLE)
        with associated(served.port, [context]) as scu:
            for uid in IMAGES:
                response = scu.store(ct_image(uid), context, sop_instance_uid=uid)
                assert response
                assert response.Status == 0x0000
        command = [peer("storescu"), "-aet", "PACS1", "-aec", "DICOM-NODE", "127.0.0.1", str(served.port), str(path)]
        subprocess.run(command, check=True, timeout=LIMIT_S)
        assert eventually(lambda: house.rejection_notes.unread(1))
        assert eventually(lambda: [one.instance_count for one in house.studies.series_of(STUDY)] == [10, 1])
        reject = Reject(house.rejection_notes, served.objects, house.studies, house.jobs, settle_s=SETTLE_S)
        assert reject.step() == 1
        (series, _) = house.studies.series_of(STUDY)
        left = house.instances.of_series(series.series_id, up_to_revision=series.revision)
        assert [item.sop_instance_uid for item in left] == IMAGES[4:]
        assert house.events_of_kind("instances_rejected")[0].text.startswith(
            "4 of 10 images rejected by a key object of"
        )
