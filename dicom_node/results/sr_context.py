"""Rows 2 to 5 of TID 1500: language, observer, procedure, and the images that the report rests on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby

from pydicom.dataset import Dataset

from dicom_node.results import codes, sr_tree
from dicom_node.results.report import Report
from dicom_node.results.source_text import items_of
from dicom_node.results.sources import instances_besides, instances_used
from dicom_node.results.sr_tree import Item
from inference.findings import Code
from inference.sides import SIDES


def context_of(report: Report, *, names_all: bool) -> list[Item]:
    """What stands at the beginning of a measurement report, in the order of the template. names_all: of `image_library`."""
    return [*language(), *observer(report), *procedures(report), image_library(report, names_all=names_all)]


def language() -> list[Item]:
    """TID 1204."""
    return [sr_tree.code(codes.LANGUAGE, codes.ENGLISH, "HAS CONCEPT MOD")]


def observer(report: Report) -> list[Item]:
    """TID 1002 and 1004: the model observes, as a device."""
    model = report.model
    return [
        sr_tree.code(codes.OBSERVER_TYPE, codes.DEVICE, "HAS OBS CONTEXT"),
        sr_tree.uid(codes.DEVICE_OBSERVER_UID, model.device_uid, "HAS OBS CONTEXT"),
        sr_tree.text(codes.DEVICE_OBSERVER_NAME, f"{model.name}@{model.version}", "HAS OBS CONTEXT"),
        sr_tree.text(codes.DEVICE_OBSERVER_MANUFACTURER, model.manufacturer, "HAS OBS CONTEXT"),
        sr_tree.text(codes.DEVICE_OBSERVER_MODEL_NAME, model.title, "HAS OBS CONTEXT"),
    ]


def procedures(report: Report) -> list[Item]:
    """The imaging procedure that was analysed: the source's codes, else that of the modality (CID 100)."""
    source = report.first_source
    stated = [
        Code(str(item.CodeValue), str(item.CodingSchemeDesignator), str(item.CodeMeaning))
        for item in items_of(source, "ProcedureCodeSequence")
        if item.get("CodeValue") and item.get("CodingSchemeDesignator") and item.get("CodeMeaning")
    ]
    of_modality = codes.PROCEDURES.get(source.get("Modality", ""), codes.ANY_PROCEDURE)
    return [sr_tree.code(codes.PROCEDURE_REPORTED, code, "HAS CONCEPT MOD") for code in stated or [of_modality]]


def algorithm(report: Report) -> list[Item]:
    """TID 4019, with the values that stand in Contributing Equipment too (IHE AI Results)."""
    model = report.model
    said = [(codes.ALGORITHM_NAME, model.title), (codes.ALGORITHM_VERSION, model.version)]
    said += [(codes.ALGORITHM_PARAMETERS, f"{key}={value}") for key, value in report.findings.parameters.items()]
    return [sr_tree.text(name, value, "HAS CONCEPT MOD") for name, value in said]


def image_library(report: Report, *, names_all: bool) -> Item:
    """TID 1600: the images analysed, in one group with what they have in common (TID 1602).

    names_all: else the first image stands for all, which are listed as evidence; for viewers that show a report as text
    print a line for each image before what it says.
    """
    instances = instances_used(report)
    sides = laterality_of_images(report)
    images = [
        replace(sr_tree.image(codes.SOURCE, instance), children=sides.get(instance.sop_instance_uid, ()))
        for instance in (instances if names_all else instances[:1])
    ]
    group = sr_tree.container(codes.IMAGE_LIBRARY_GROUP, [*in_common(report.first_source), *images])
    return sr_tree.container(codes.IMAGE_LIBRARY, [group, *groups_besides(report)])


def laterality_of_images(report: Report) -> dict[str, tuple[Item, ...]]:
    """TID 1602 of images that are taken one by one: the side that each shows, by its SOP Instance UID."""
    pictures = report.volume.pictures if report.volume else ()
    return {
        picture.source.sop_instance_uid: (
            sr_tree.code(codes.IMAGE_LATERALITY, SIDES[picture.laterality], "HAS ACQ CONTEXT"),
        )
        for picture in pictures
        if picture.laterality in SIDES
    }


def in_common(source: Dataset) -> Iterator[Item]:
    """TID 1602, as far as it helps to find the images."""
    modality = codes.MODALITIES.get(source.get("Modality", ""))
    if modality:
        yield sr_tree.code(codes.MODALITY, modality, "HAS ACQ CONTEXT")
    if frame_of_reference := source.get("FrameOfReferenceUID"):
        yield sr_tree.uid(codes.FRAME_OF_REFERENCE_UID, str(frame_of_reference), "HAS ACQ CONTEXT")


def groups_besides(report: Report) -> list[Item]:
    """A group of the images of each other series that was read."""
    return [
        sr_tree.container(
            codes.IMAGE_LIBRARY_GROUP, [sr_tree.image(codes.SOURCE, item.reference) for item in instances]
        )
        for _, instances in groupby(instances_besides(report), key=lambda item: item.name)
    ]
