"""The report of detections as highdicom's users write it: the peer that ours is measured against and compared with."""

from __future__ import annotations

from io import BytesIO

from highdicom import sr as hd
from pydicom.uid import Comprehensive3DSRStorage, generate_uid

from dicom_node.results import codes, identity
from dicom_node.results.places import first_pixels, shapes
from dicom_node.results.report import Report
from dicom_node.results.scene import scene_of
from inference.findings import Code, Detection, Measurement


def document(report: Report) -> bytes:
    """A Comprehensive 3D SR with a planar group for each detection, as a file."""
    model, source = report.model, report.first_source
    observer = hd.ObserverContext(
        observer_type=codes.concept(codes.DEVICE),
        observer_identifying_attributes=hd.DeviceObserverIdentifyingAttributes(
            uid=model.device_uid, name=f"{model.name}@{model.version}", manufacturer_name=model.manufacturer
        ),
    )
    content = hd.MeasurementReport(
        observation_context=hd.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.concept(codes.PROCEDURES["CT"]),
        imaging_measurements=groups(report),
        title=codes.concept(codes.IMAGING_MEASUREMENT_REPORT),
    )
    dataset = hd.Comprehensive3DSR(
        evidence=list(report.sources),
        content=content[0],
        series_instance_uid=generate_uid(entropy_srcs=["series"]),
        series_number=1,
        sop_instance_uid=generate_uid(entropy_srcs=["instance"]),
        instance_number=1,
        manufacturer=model.manufacturer,
        is_complete=True,
        is_final=False,
    )
    assert dataset.SOPClassUID == Comprehensive3DSRStorage
    assert dataset.StudyInstanceUID == source.StudyInstanceUID
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def groups(report: Report) -> list[hd.PlanarROIMeasurementsAndQualitativeEvaluations]:
    """One for each detection; all of them must lie on one image each."""
    scene = scene_of(report)
    first = first_pixels(scene.volume)
    numbers: dict[str | None, list[Measurement]] = {}
    for measurement in report.findings.measurements:
        numbers.setdefault(measurement.finding_key, []).append(measurement)
    found = []
    for item in report.findings.detections:
        (place,) = shapes(item.place, scene.volume, first)
        reference = scene.planes[place.plane].reference
        frames = None if reference.frame_number is None else [reference.frame_number]
        region = hd.ImageRegion(
            hd.GraphicTypeValues.POINT if len(place.points) == 1 else hd.GraphicTypeValues.POLYLINE,
            place.points,
            hd.SourceImageForRegion(reference.sop_class_uid, reference.sop_instance_uid, frames),
        )
        found.append(group(report, item, region, numbers.get(item.key, [])))
    return found


def group(
    report: Report, item: Detection, region: hd.ImageRegion, numbers: list[Measurement]
) -> hd.PlanarROIMeasurementsAndQualitativeEvaluations:
    laterality = codes.concept(item.laterality) if item.laterality else None
    sites = [hd.FindingSite(codes.concept(item.finding_site), laterality)] if item.finding_site else None
    score = [] if item.score is None else [Measurement(codes.CERTAINTY, 100 * item.score, codes.PERCENT, item.key)]
    return hd.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.TrackingIdentifier(identity.tracking_uid(report, item), item.label),
        referenced_region=region,
        finding_category=codes.concept(item.category),
        finding_type=codes.concept(item.type),
        finding_sites=sites,
        measurements=[measurement_of(one) for one in (*score, *numbers)],
    )


def measurement_of(one: Measurement) -> hd.Measurement:
    return hd.Measurement(
        name=codes.concept(one.name),
        value=float(f"{one.value:.6g}"),
        unit=codes.concept(one.unit),
        derivation=_concept(one.derivation),
        method=_concept(one.method),
    )


def _concept(code: Code | None) -> hd.CodedConcept | None:
    return codes.concept(code) if code else None
