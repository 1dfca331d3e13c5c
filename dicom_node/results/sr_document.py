"""What surrounds the content of any report: what it rests on, what it takes the place of, how far it may be trusted.

SR Document General and SR Document Series (PS3.3 C.17.1 and C.17.2).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset

from dicom_node.result_kinds import names_maps, segmentation_of
from dicom_node.results import context, identity
from dicom_node.results.codes import concept
from dicom_node.results.dicom_file import DicomFile
from dicom_node.results.predecessors import predecessor
from dicom_node.results.report import Report
from dicom_node.results.scene import ParametricMap, Scene, Segmentation
from dicom_node.results.sources import Besides, Reference, instances_besides, instances_used
from dicom_node.results.sr_bytes import content_element
from dicom_node.results.sr_tree import Item, codes_of, texts_of
from dicom_node.results.writing import Written, choose_character_set, name_private_coding_schemes, whole_file
from storage.records.results import Predecessor


def document(scene: Scene, ordered: str, sop_class_uid: str, content: Item) -> Written:
    """The report with its content; the data set that is handed back beside the file holds all but the Content Sequence."""
    dataset = context.new_object(scene.report, ordered, sop_class_uid, "SR")
    add_document(dataset, scene.report, referred(scene, ordered), predecessor(scene.report, ordered))
    dataset.ValueType = content.value_type
    dataset.ConceptNameCodeSequence = [concept(content.name)]
    dataset.ContinuityOfContent = "SEPARATE"
    dataset.ObservationDateTime = context.local_time(scene.report).strftime("%Y%m%d%H%M%S%z")
    if content.template:
        template = Dataset()
        template.MappingResource, template.TemplateIdentifier = "DCMR", content.template
        dataset.ContentTemplateSequence = [template]
    dataset.ContentSequence = [_vocabulary(content)]
    name_private_coding_schemes(dataset)
    choose_character_set(dataset)
    del dataset.ContentSequence
    encodings = convert_encodings(dataset.get("SpecificCharacterSet") or "ISO_IR 6")
    return Written(dataset, DicomFile(whole_file(dataset, content_element(content.children, encodings))))


def _vocabulary(content: Item) -> Dataset:
    """Every code of the content, and every text that is not ASCII, once: they decide on the character set."""
    words = Dataset()
    words.ConceptCodeSequence = [concept(code) for code in sorted(codes_of(content), key=str)]
    words.ContentSequence = []
    for text in sorted(set(texts_of(content))):
        if not text.isascii():
            item = Dataset()
            item.TextValue = text
            words.ContentSequence.append(item)
    return words


def segmentation_for(scene: Scene, ordered: str) -> Segmentation | None:
    """The Segmentation that the ordered report refers to."""
    kind = segmentation_of(ordered)
    return None if kind is None else scene.segmentations.get(kind)


def maps_for(scene: Scene, ordered: str) -> Mapping[str, ParametricMap]:
    """The Parametric Maps that the ordered report refers to, by the keys of their heat maps."""
    return scene.maps if names_maps(ordered) else {}


def referred(scene: Scene, ordered: str) -> list[Segmentation | ParametricMap]:
    """All objects of the same job that the ordered report refers to."""
    segmentation = segmentation_for(scene, ordered)
    return [*([segmentation] if segmentation else []), *maps_for(scene, ordered).values()]


def add_document(
    dataset: Dataset,
    report: Report,
    made: Sequence[Segmentation | ParametricMap],
    replaced: Predecessor | None,
) -> None:
    """made: objects of the same job that it refers to.

    A remark says that what was to be analysed was not all there, so the document is PARTIAL. What it says is never verified.
    """
    dataset.CompletionFlag = "PARTIAL" if report.remark else "COMPLETE"
    if report.remark:
        dataset.CompletionFlagDescription = identity.fitted(report.remark)
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.PreliminaryFlag = "PRELIMINARY"
    dataset.PerformedProcedureCodeSequence = []
    dataset.ReferencedPerformedProcedureStepSequence = []
    if replaced:
        dataset.PredecessorDocumentsSequence = [predecessor_item(replaced)]
    source = report.first_source
    besides = instances_besides(report)
    evidence = [(str(source.SeriesInstanceUID), instance) for instance in instances_used(report)]
    evidence += [
        (item.series_instance_uid, item.reference)
        for item in besides
        if item.study_instance_uid == source.StudyInstanceUID
    ]
    evidence += [(one.series_instance_uid, one.reference) for one in made]
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
