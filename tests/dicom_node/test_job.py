"""What a worker does with a job: objects in, objects out, and words for whatever goes wrong."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_node import provenance
from dicom_node.attempt import CompanionSpec, JobSpec, RecordedInput, run_attempt
from dicom_node.job import Stages
from dicom_node.own_code import own_code
from dicom_node.phantom import chest_ct
from dicom_node.results.reading import comments_of, numbers_of, tracking_uids, walk
from inference import memory
from inference.monitor.paired import Paired, difference
from inference.registry import Registry
from inference.turns import TURNS, Turns
from storage.errors import StorageUnavailable
from storage.objects import open_store
from storage.objects.file import FileStore
from storage.records.results import Predecessor
from tests.poisoned_rooms import PoisonedRooms
from tests.processes import waiting_for
from tests.waiting import LIMIT_S, eventually

PACKAGE = Registry().get("ct_lung_density")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    """A small chest phantom in an object store, and the job on it."""
    folder = tmp_path_factory.mktemp("objects")
    objects = open_store(folder.as_uri())
    phantom = chest_ct(slices=40, rows=128, identity="job")
    keys = []
    for number, path in enumerate(phantom.write(folder / "sent")):
        keys.append(f"instances/{number}.dcm")
        objects.put(keys[-1], [path.read_bytes()])
    header = phantom.datasets[0]
    return JobSpec(
        study_instance_uid=header.StudyInstanceUID,
        series_instance_uid=header.SeriesInstanceUID,
        revision=1,
        created_at=1_790_000_000.0,
        objects_url=folder.as_uri(),
        object_keys=tuple(keys),
        package_folder=str(PACKAGE.folder),
        package_sha256=PACKAGE.content_sha256,
        device="cpu",
        kinds=("seg", "sr", "sc"),
        report_not_analysed=True,
    )


def payloads(spec: JobSpec) -> dict[str, bytes]:
    objects = open_store(spec.objects_url)
    return {item.kind: objects.get(item.object_key) for item in run_attempt(spec).results}


def test_results_are_stored_and_described_as_they_are(stored: JobSpec) -> None:
    outcome = run_attempt(stored)
    assert outcome.error is None
    assert [item.kind for item in outcome.results] == ["seg", "sr", "sc"]
    objects = open_store(stored.objects_url)
    for item in outcome.results:
        content = objects.get(item.object_key)
        header = dcmread(BytesIO(content), stop_before_pixels=True)
        assert item.content_sha256 == hashlib.sha256(content).hexdigest()
        assert (item.size_bytes, item.sop_instance_uid) == (len(content), header.SOPInstanceUID)
        assert header.file_meta.TransferSyntaxUID == item.transfer_syntax_uid
        assert header.StudyInstanceUID == stored.study_instance_uid
    assert set(outcome.stage_s) == {"fetch", "volume", "predict", "encode", "put"}


def test_what_a_job_waits_for_its_turn_is_a_stage_and_no_part_of_computing(
    stored: JobSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Turns()
    for turns in (other, TURNS):
        monkeypatch.setattr(turns, "_files", {})
        turns.share(tmp_path / "turns", cpu=0, gpu=0)
    computes, waits = threading.Event(), threading.Event()

    def compute() -> None:
        with other.at("cpu"):
            computes.set()
            eventually(lambda: waiting_for(tmp_path / "turns" / "turn-cpu-0") == 1)
            waits.wait(0.5)

    thread = threading.Thread(target=compute)
    thread.start()
    assert computes.wait(LIMIT_S)
    outcome = run_attempt(dataclasses.replace(stored, revision=2))
    thread.join()
    assert outcome.stage_s["turn"] >= 0.5
    stages = Stages()
    stages.seconds["predict"] = 5.0
    stages.part("predict", "turn", 2.0)
    assert stages.seconds == {"predict": 3.0, "turn": 2.0}


def test_what_results_were_made_of_is_kept_beside_them(stored: JobSpec) -> None:
    recorded = tuple(RecordedInput(f"1.2.{number}", f"{number:032x}") for number in range(len(stored.object_keys)))
    outcome = run_attempt(dataclasses.replace(stored, recorded=recorded))
    content = open_store(stored.objects_url).get(str(outcome.provenance_key))
    assert outcome.provenance_bytes == len(content)
    record = provenance.from_bytes(content)
    assert (record.model, record.spec.package_sha256) == (PACKAGE.key, PACKAGE.content_sha256)
    assert record.spec.recorded == recorded
    assert record.code == own_code()
    assert {"torch", "numpy", "pydicom", "highdicom", "python"} <= set(record.libraries)
    assert record.circumstances["device"] == "cpu"
    header = dcmread(BytesIO(open_store(stored.objects_url).get(stored.object_keys[0])), stop_before_pixels=True)
    for said in (header.PatientName, header.PatientID, header.AccessionNumber):
        assert str(said).encode() not in content


def test_results_may_be_put_elsewhere_than_the_images_lie(stored: JobSpec, tmp_path: Path) -> None:
    outcome = run_attempt(dataclasses.replace(stored, results_url=tmp_path.as_uri(), revision=9))
    keys = {*(item.object_key for item in outcome.results), str(outcome.provenance_key)}
    assert set(open_store(tmp_path.as_uri()).keys()) == keys
    assert not keys & set(open_store(stored.objects_url).keys())


def test_a_shadow_is_compared_with_what_was_kept_of_its_job_and_makes_no_results(stored: JobSpec) -> None:
    key = "findings/1.kept"
    active = run_attempt(dataclasses.replace(stored, findings_key=key, kinds=("sr",)))
    shadow = run_attempt(dataclasses.replace(stored, compare_with=key, kinds=()))
    assert (active.comparison, shadow.results, shadow.error) == (None, (), None)
    found = Paired.of_document(shadow.comparison or {})
    assert {pair.dice for pair in found.segments} == {1.0}
    assert len(found.segments) == len({pair.key for pair in found.segments}) > 1
    assert difference(found) == 0
    assert provenance.from_bytes(open_store(stored.objects_url).get(str(shadow.provenance_key))).model == PACKAGE.key
    gone = run_attempt(dataclasses.replace(stored, compare_with="findings/2.kept", kinds=()))
    assert "not kept any more" in str(gone.error)


def test_a_job_that_is_run_twice_leaves_the_same_bytes(stored: JobSpec) -> None:
    assert payloads(stored) == payloads(stored)


def test_memory_that_another_patients_job_left_shows_in_no_result(
    stored: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = payloads(stored)
    monkeypatch.setattr(memory, "VOXELS", PoisonedRooms())
    assert payloads(stored) == alone


def test_the_order_of_the_instances_changes_nothing(stored: JobSpec) -> None:
    turned = dataclasses.replace(stored, object_keys=stored.object_keys[::-1])
    numbers = [numbers_of(dcmread(BytesIO(payloads(spec)["sr"]))) for spec in (stored, turned)]
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) > 10


def test_another_revision_has_other_instances(stored: JobSpec) -> None:
    first, second = (
        {item.sop_instance_uid for item in run_attempt(spec).results}
        for spec in (stored, dataclasses.replace(stored, revision=2))
    )
    assert not first & second


def test_images_that_are_no_volume_are_reported_as_not_analysed(stored: JobSpec) -> None:
    gap = dataclasses.replace(stored, object_keys=stored.object_keys[:10] + stored.object_keys[11:])
    outcome = run_attempt(gap)
    assert [item.kind for item in outcome.results] == ["sr", "sc"]
    assert "no image between" in str(outcome.not_analysed)
    report = dcmread(BytesIO(open_store(gap.objects_url).get(outcome.results[0].object_key)))
    assert any("no image between" in text for text in comments_of(report))


def test_a_route_may_want_no_report_of_what_was_not_analysed(stored: JobSpec) -> None:
    gap = dataclasses.replace(stored, object_keys=stored.object_keys[:10] + stored.object_keys[11:])
    outcome = run_attempt(dataclasses.replace(gap, report_not_analysed=False))
    assert outcome.results == ()
    assert "no image between" in str(outcome.not_analysed)


def test_a_job_that_was_given_up_only_reports_why(stored: JobSpec) -> None:
    outcome = run_attempt(dataclasses.replace(stored, give_up_reason="the worker ended, 3 times"))
    assert [item.kind for item in outcome.results] == ["sr", "sc"]
    assert outcome.not_analysed == "the worker ended, 3 times"
    assert "predict" not in outcome.stage_s


def test_a_package_that_changed_since_it_was_routed_to_is_not_run(stored: JobSpec) -> None:
    outcome = run_attempt(dataclasses.replace(stored, package_sha256="0" * 64))
    assert "its content must be" in str(outcome.error)
    assert outcome.results == ()


def test_an_object_that_is_missing_is_storages_fault_and_not_the_jobs(stored: JobSpec) -> None:
    outcome = run_attempt(dataclasses.replace(stored, object_keys=("instances/none.dcm",)))
    assert outcome.storage_error
    assert outcome.error is None


def test_results_that_cannot_be_stored_are_storages_fault(stored: JobSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> None:
        raise StorageUnavailable("no space left")

    monkeypatch.setattr(FileStore, "put", no_room)
    assert run_attempt(stored).storage_error == "no space left"


def test_what_was_left_out_of_the_volume_is_said(stored: JobSpec) -> None:
    twice = dataclasses.replace(stored, object_keys=(*stored.object_keys, stored.object_keys[0]))
    outcome = run_attempt(twice)
    assert len(outcome.results) == 3
    assert "1 images set aside" in outcome.summary


def test_the_report_of_a_failure_does_not_hide_the_findings_of_a_later_run(stored: JobSpec) -> None:
    given_up = run_attempt(dataclasses.replace(stored, give_up_reason="the worker ended, 3 times"))
    found = run_attempt(stored)
    assert not {item.sop_instance_uid for item in given_up.results} & {item.sop_instance_uid for item in found.results}


def test_a_remark_is_in_every_result_and_in_the_summary(stored: JobSpec) -> None:
    remarked = dataclasses.replace(stored, remark="analysed 40 of 42 images", kinds=("sr",))
    outcome = run_attempt(remarked)
    assert outcome.summary.endswith("; analysed 40 of 42 images")
    assert outcome.results[0].description == "AI: CT lung density 1.0.0, analysed 40 of 42 images"
    assert "analysed 40 of 42 images" in comments_of(dcmread(BytesIO(payloads(remarked)["sr"])))


def test_what_was_withheld_from_analysis_is_not_told_as_a_failure(stored: JobSpec) -> None:
    withheld = dataclasses.replace(stored, give_up_reason="all images were rejected", is_withheld=True)
    codes = {}
    for spec in (withheld, dataclasses.replace(withheld, is_withheld=False)):
        report = dcmread(BytesIO(payloads(spec)["sr"]))
        said = [item for item in walk(report) if item.get("ConceptCodeSequence")]
        codes[spec.is_withheld] = {item.ConceptCodeSequence[0].CodeValue for item in said}
    assert "WITHHELD" in codes[True]
    assert "FAILED" in codes[False]
    assert not {"FAILED"} & codes[True]


def test_a_later_report_names_the_latest_predecessor_that_is_not_itself(stored: JobSpec) -> None:
    (first,) = run_attempt(dataclasses.replace(stored, kinds=("sr",))).results
    before = [
        Predecessor(first.study_instance_uid, item.series_instance_uid, item.sop_class_uid, item.sop_instance_uid, 1)
        for item in (first, dataclasses.replace(first, sop_instance_uid="1.2.3.4"))
    ]
    for revision, named in ((2, first.sop_instance_uid), (1, "1.2.3.4")):
        spec = dataclasses.replace(stored, kinds=("sr",), revision=revision, predecessors=tuple(before))
        report = dcmread(BytesIO(payloads(spec)["sr"]))
        (study,) = report.PredecessorDocumentsSequence
        (reference,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
        assert reference.ReferencedSOPInstanceUID == named


def test_findings_keep_their_tracking_uids_in_the_next_revision(stored: JobSpec) -> None:
    tracked = []
    for revision in (1, 2):
        spec = dataclasses.replace(stored, kinds=("sr",), revision=revision)
        tracked.append(tracking_uids(dcmread(BytesIO(payloads(spec)["sr"])))[1])
    assert tracked[0] == tracked[1]
    assert len(tracked[0]) > 3


CHANGE = Registry().get("ct_lung_density_change")


@pytest.fixture(scope="module")
def compared(stored: JobSpec, tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    """The job that compares the phantom with an earlier examination, which is the same pictures."""
    folder = tmp_path_factory.mktemp("prior")
    objects = open_store(stored.objects_url)
    keys = []
    for number, path in enumerate(chest_ct(slices=40, rows=128, identity="prior").write(folder)):
        keys.append(f"instances/prior-{number}.dcm")
        objects.put(keys[-1], [path.read_bytes()])
    return dataclasses.replace(
        stored,
        package_folder=str(CHANGE.folder),
        package_sha256=CHANGE.content_sha256,
        companions=(CompanionSpec("prior", 1, tuple(keys)),),
    )


def test_a_model_that_compares_is_given_the_prior_and_its_report_lists_it_as_evidence_of_another_study(
    compared: JobSpec,
) -> None:
    contents = payloads(compared)
    assert set(contents) == {"seg", "sr", "sc"}
    report = dcmread(BytesIO(contents["sr"]))
    assert report.StudyInstanceUID == compared.study_instance_uid
    changes = {number.value for number in numbers_of(report) if number.name.startswith("Change of")}
    assert changes == {0.0}
    (other,) = report.PertinentOtherEvidenceSequence
    prior = chest_ct(slices=40, rows=128, identity="prior").datasets
    assert other.StudyInstanceUID == prior[0].StudyInstanceUID
    (series,) = other.ReferencedSeriesSequence
    listed = {item.ReferencedSOPInstanceUID for item in series.ReferencedSOPSequence}
    assert listed == {dataset.SOPInstanceUID for dataset in prior}
    (own,) = report.CurrentRequestedProcedureEvidenceSequence
    assert own.StudyInstanceUID == compared.study_instance_uid


def test_another_prior_makes_other_instances_and_the_same_findings_keep_their_tracking_uids(compared: JobSpec) -> None:
    later = dataclasses.replace(compared.companions[0], revision=2)
    one, other = (
        dcmread(BytesIO(payloads(spec)["sr"]))
        for spec in (compared, dataclasses.replace(compared, companions=(later,)))
    )
    assert one.SOPInstanceUID != other.SOPInstanceUID
    assert tracking_uids(one) == tracking_uids(other)


def test_without_the_series_that_a_model_needs_it_reports_why_it_did_not_analyse(compared: JobSpec) -> None:
    absent = CompanionSpec("prior", 0, (), absent="no earlier study of the patient is here")
    outcome = run_attempt(dataclasses.replace(compared, companions=(absent,)))
    assert outcome.not_analysed == "no prior: no earlier study of the patient is here"
    assert [item.kind for item in outcome.results] == ["sr", "sc"]
    assert "predict" not in outcome.stage_s
    assert run_attempt(dataclasses.replace(compared, companions=())).not_analysed == "no prior: it was not looked for"


def test_a_prior_whose_images_are_no_volume_is_named_in_the_reason(compared: JobSpec) -> None:
    keys = compared.companions[0].object_keys
    gap = dataclasses.replace(compared.companions[0], object_keys=keys[:10] + keys[11:])
    outcome = run_attempt(dataclasses.replace(compared, companions=(gap,)))
    assert str(outcome.not_analysed).startswith("prior: ")
    assert "no image between" in str(outcome.not_analysed)
