"""Findings to a Comprehensive 3D SR (PS3.3 A.35.13), root template TID 1500, Measurement Report (PS3.16).

What the model measured stands in measurement groups; who and what the model is, and what a reader must know before he
trusts a number, in Qualitative Evaluations. A report that nothing was analysed has no measurements, so it is not titled
as a measurement report; viewers then show its text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby

from highdicom import sr as hd
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from dicom_node.result_kinds import segmentation_of
from dicom_node.results import codes, context, identity
from dicom_node.results.check_sr import check_sr
from dicom_node.results.report import Report
from dicom_node.results.result_type import ResultType
from dicom_node.results.scene import Scene, Segmentation
from dicom_node.results.segments import Numbered
from dicom_node.results.source_text import items_of
from dicom_node.results.sources import Besides, Plane, Reference, instances_besides, instances_used, source_instances
from dicom_node.results.sr_groups import Images, measurement_groups
from dicom_node.results.writing import Written, written
from inference.findings import Code
from storage.records import Predecessor

CONTAINS = hd.RelationshipTypeValues.CONTAINS
HAS_CONCEPT_MOD = hd.RelationshipTypeValues.HAS_CONCEPT_MOD
HAS_ACQ_CONTEXT = hd.RelationshipTypeValues.HAS_ACQ_CONTEXT

MADE_BY_AI = "Result of an algorithm (AI), not verified by a physician."


def applies(_scene: Scene) -> bool:
    """A report is never silent: it says what was found, that nothing was, or why nothing was analysed."""
    return True


def encode_sr(scene: Scene, ordered: str) -> Written:
    """The report document. It refers to the Segmentation that is ordered with it, where that was made."""
    report, segmentation = scene.report, segmentation_for(scene, ordered)
    dataset = context.new_object(report, ordered, Comprehensive3DSRStorage, "SR")
    add_document(dataset, report, segmentation)
    root = document_root(report, title(report))
    if scene.segments:
        root.ContentSequence.append(imaging_measurements(report, scene.planes, scene.segments, segmentation))
    root.ContentSequence.append(evaluations(report))
    for element in root:
        dataset.add(element)
    return written(dataset)


def segmentation_for(scene: Scene, ordered: str) -> Segmentation | None:
    """The Segmentation that the ordered report refers to."""
    kind = segmentation_of(ordered)
    return None if kind is None else scene.segmentations.get(kind)


def check(scene: Scene, ordered: str, sr: Written) -> list[str]:
    segmentation = segmentation_for(scene, ordered)
    known = source_instances(scene.report)
    known |= {item.reference.sop_instance_uid for item in instances_besides(scene.report)}
    check_sr(sr.payload, known | ({segmentation.reference.sop_instance_uid} if segmentation else set()))
    return []


def title(report: Report) -> Code:
    """CID 7021, extended where there is nothing measured to report."""
    return codes.FAILED_ANALYSES if report.findings.not_analysed else codes.IMAGING_MEASUREMENT_REPORT


def add_document(dataset: Dataset, report: Report, segmentation: Segmentation | None) -> None:
    """SR Document General and SR Document Series (PS3.3 C.17.1 and C.17.2).

    A remark says that what was to be analysed was not all there, so the document is PARTIAL. What it says is never verified.
    """
    dataset.CompletionFlag = "PARTIAL" if report.remark else "COMPLETE"
    if report.remark:
        dataset.CompletionFlagDescription = identity.fitted(report.remark)
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.PreliminaryFlag = "PRELIMINARY"
    dataset.PerformedProcedureCodeSequence = []
    dataset.ReferencedPerformedProcedureStepSequence = []
    if replaced := predecessor(report):
        dataset.PredecessorDocumentsSequence = [predecessor_item(replaced)]
    source = report.first_source
    besides = instances_besides(report)
    evidence = [(str(source.SeriesInstanceUID), instance) for instance in instances_used(report)]
    evidence += [
        (item.series_instance_uid, item.reference)
        for item in besides
        if item.study_instance_uid == source.StudyInstanceUID
    ]
    if segmentation:
        evidence.append((segmentation.series_instance_uid, segmentation.reference))
    dataset.CurrentRequestedProcedureEvidenceSequence = [referenced_study(source.StudyInstanceUID, evidence)]
    others = [item for item in besides if item.study_instance_uid != source.StudyInstanceUID]
    if others:
        dataset.PertinentOtherEvidenceSequence = [
            referenced_study(uid, [(item.series_instance_uid, item.reference) for item in group])
            for uid, group in groupby(sorted(others, key=by_study), by_study)
        ]


def by_study(item: Besides) -> str:
    return item.study_instance_uid


def referenced_study(study_instance_uid: str, evidence: Iterable[tuple[str, Reference]]) -> Dataset:
    """An item of the sequences of evidence: of this study, and of others (PS3.3 C.17.2)."""
    study = Dataset()
    study.StudyInstanceUID = study_instance_uid
    study.ReferencedSeriesSequence = referenced_series(evidence)
    return study


def predecessor(report: Report) -> Predecessor | None:
    """The report that this one takes the place of."""
    own = identity.sop_instance_uid(report, "sr")
    return next((item for item in report.predecessors if item.sop_instance_uid != own), None)


def predecessor_item(replaced: Predecessor) -> Dataset:
    """Predecessor Documents Sequence (0040,A360): Hierarchical SOP Instance Reference of one document."""
    reference = Reference(replaced.sop_class_uid, replaced.sop_instance_uid)
    study = Dataset()
    study.StudyInstanceUID = replaced.study_instance_uid
    study.ReferencedSeriesSequence = referenced_series([(replaced.series_instance_uid, reference)])
    return study


def referenced_series(evidence: Iterable[tuple[str, Reference]]) -> list[Dataset]:
    """Hierarchical SOP Instance Reference (PS3.3 C.17.2.1), below the study."""
    by_series: dict[str, list[Dataset]] = defaultdict(list)
    for series_instance_uid, instance in evidence:
        by_series[series_instance_uid].append(instance.item())
    found = []
    for series_instance_uid, items in by_series.items():
        series = Dataset()
        series.SeriesInstanceUID = series_instance_uid
        series.ReferencedSOPSequence = items
        found.append(series)
    return found


def document_root(report: Report, name: Code) -> hd.ContainerContentItem:
    """TID 1500 rows 1 to 5: language, observer, procedure, image library."""
    root = hd.ContainerContentItem(name=codes.concept(name), is_content_continuous=False, template_id="1500")
    root.ContentSequence = hd.ContentSequence([], is_root=True)
    root.ContentSequence.extend(hd.LanguageOfContentItemAndDescendants(hd.CodedConcept("en", "RFC5646", "English")))
    root.ContentSequence.extend(hd.ObservationContext(observer_device_context=observer(report)))
    for procedure in procedures(report.first_source):
        root.ContentSequence.append(
            hd.CodeContentItem(codes.concept(codes.PROCEDURE_REPORTED), procedure, relationship_type=HAS_CONCEPT_MOD)
        )
    root.ContentSequence.append(image_library(report))
    return root


def observer(report: Report) -> hd.ObserverContext:
    """TID 1002 and 1004: the model observes, as a device."""
    model = report.model
    return hd.ObserverContext(
        observer_type=codes.concept(codes.DEVICE),
        observer_identifying_attributes=hd.DeviceObserverIdentifyingAttributes(
            uid=model.device_uid,
            name=f"{model.name}@{model.version}",
            manufacturer_name=model.manufacturer,
            model_name=model.title,
        ),
    )


def procedures(source: Dataset) -> list[hd.CodedConcept]:
    """The source's procedure codes, else that of the modality (CID 100)."""
    stated = [
        hd.CodedConcept(item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning)
        for item in items_of(source, "ProcedureCodeSequence")
        if item.get("CodeValue") and item.get("CodingSchemeDesignator") and item.get("CodeMeaning")
    ]
    return stated or [codes.concept(codes.PROCEDURES.get(source.get("Modality", ""), codes.XR_PROCEDURE))]


def image_library(report: Report) -> hd.ContainerContentItem:
    """TID 1600: the images analysed, in one group with what they have in common (TID 1602).

    Where nothing was analysed the first image stands for all, which are listed as evidence: viewers that show such a
    report as text print a line for each image before the reason.
    """
    instances = instances_used(report)
    group = container(codes.IMAGE_LIBRARY_GROUP)
    source = report.first_source
    modality = codes.MODALITIES.get(source.get("Modality", ""))
    if modality:
        group.ContentSequence.append(
            hd.CodeContentItem(
                codes.concept(codes.MODALITY), codes.concept(modality), relationship_type=HAS_ACQ_CONTEXT
            )
        )
    if source.get("FrameOfReferenceUID"):
        group.ContentSequence.append(
            hd.UIDRefContentItem(
                codes.concept(codes.FRAME_OF_REFERENCE_UID),
                source.FrameOfReferenceUID,
                relationship_type=HAS_ACQ_CONTEXT,
            )
        )
    for instance in instances[:1] if report.findings.not_analysed else instances:
        group.ContentSequence.append(
            hd.ImageContentItem(
                codes.concept(codes.SOURCE),
                instance.sop_class_uid,
                instance.sop_instance_uid,
                relationship_type=CONTAINS,
            )
        )
    library = container(codes.IMAGE_LIBRARY)
    library.ContentSequence.append(group)
    library.ContentSequence.extend(groups_besides(report))
    return library


def groups_besides(report: Report) -> list[hd.ContainerContentItem]:
    """A group of the images of each other series that was read."""
    groups = []
    for _, instances in groupby(instances_besides(report), key=lambda item: item.name):
        group = container(codes.IMAGE_LIBRARY_GROUP)
        for item in instances:
            uids = item.reference.sop_class_uid, item.reference.sop_instance_uid
            group.ContentSequence.append(
                hd.ImageContentItem(codes.concept(codes.SOURCE), *uids, relationship_type=CONTAINS)
            )
        groups.append(group)
    return groups


def imaging_measurements(
    report: Report, planes: Sequence[Plane], segments: Sequence[Numbered], segmentation: Segmentation | None
) -> hd.ContainerContentItem:
    """TID 1500 row 6: the algorithm (TID 4019) and a group for each segment."""
    images = Images(planes, str(report.first_source.SeriesInstanceUID), segmentation)
    measured = container(codes.IMAGING_MEASUREMENTS)
    measured.ContentSequence.extend(algorithm(report))
    measured.ContentSequence.extend(measurement_groups(report, images, segments))
    return measured


def algorithm(report: Report) -> hd.AlgorithmIdentification:
    """TID 4019, with the values that stand in Contributing Equipment too."""
    model, parameters = report.model, report.findings.parameters
    return hd.AlgorithmIdentification(
        name=model.title,
        version=model.version,
        parameters=[f"{key}={value}" for key, value in parameters.items()] or None,
    )


def evaluations(report: Report) -> hd.ContainerContentItem:
    """TID 1500 rows 12 to 14: why nothing was analysed, or what limits the numbers; then what the model is for."""
    findings, model = report.findings, report.model
    found = container(codes.QUALITATIVE_EVALUATIONS)
    if findings.not_analysed:
        found.ContentSequence.append(statement(codes.SUMMARY_OF_ANALYSES, codes.NOT_ATTEMPTED))
        found.ContentSequence.append(statement(codes.REASON, findings.not_analysed.code))
        found.ContentSequence.append(text(codes.COMMENT, f"Not analysed, because {findings.not_analysed.text}"))
    for words in (report.remark, replaces(report)):
        if words:
            found.ContentSequence.append(text(codes.COMMENT, words))
    for remark in findings.remarks:
        found.ContentSequence.append(text(remark.code, remark.text))
    for comment in (MADE_BY_AI, f"Intended use: {model.intended_use}", *(f"Limit: {limit}" for limit in model.limits)):
        found.ContentSequence.append(text(codes.COMMENT, comment))
    return found


def replaces(report: Report) -> str:
    """Which revision of the series this is about, and what it takes the place of; nothing for a first report."""
    replaced = predecessor(report)
    if replaced is None:
        return f"Revision {report.revision} of the series." if report.revision > 1 else ""
    if replaced.revision == report.revision:
        return "This report replaces an earlier one on the same images."
    return (
        f"Revision {report.revision} of the series: its images changed after revision {replaced.revision} was analysed, and"
        " this report replaces that one."
    )


def statement(name: Code, value: Code) -> hd.CodeContentItem:
    return hd.CodeContentItem(codes.concept(name), codes.concept(value), relationship_type=CONTAINS)


def text(name: Code, value: str) -> hd.TextContentItem:
    return hd.TextContentItem(codes.concept(name), value, relationship_type=CONTAINS)


def container(name: Code) -> hd.ContainerContentItem:
    item = hd.ContainerContentItem(codes.concept(name), is_content_continuous=False, relationship_type=CONTAINS)
    item.ContentSequence = hd.ContentSequence()
    return item


RESULT = ResultType("sr", applies, encode_sr, check)
