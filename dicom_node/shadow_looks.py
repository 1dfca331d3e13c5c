"""How the comparison of two versions looks to people, on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from dicom_node.shadow_compare import Against, Case, ShadowComparison
from dicom_node.terminal import Entry, apart, listing, table_of
from inference.monitor.agreement import Agreement, ClassAgreement, NumberAgreement, SegmentAgreement
from inference.monitor.paired import DetectionPair, Paired

MOST_SHOWN = 10
_LEAST = 0.0005

_Counted = SegmentAgreement | NumberAgreement | ClassAgreement | DetectionPair


def compared(found: ShadowComparison) -> RenderableType:
    head = [f"{found.waiting} shadows wait to be compared" if found.waiting else ""]
    head += [f"{found.failed} shadows failed: dicom-node status says why" if found.failed else ""]
    if not found.against:
        head.append(f"no version ran beside {found.name} yet: dicom-node models shadow {found.name}@VERSION")
    lines = [Text(words, "yellow") for words in head if words]
    return apart([*([Group(*lines)] if lines else []), *(_against(one) for one in found.against)])


def _against(one: Against) -> RenderableType:
    parts: list[RenderableType] = [Text(f"{one.model} beside {one.beside}: {one.agreement.pairs} series", "bold")]
    parts += _tables(one.agreement)
    different = [case for case in one.cases if case.difference > _LEAST][:MOST_SHOWN]
    if different:
        parts.append(listing("where they differ most", [_case(case) for case in different]))
    else:
        parts.append(Text("they differ nowhere", "green"))
    return apart(parts)


def _tables(of: Agreement) -> Iterable[RenderableType]:
    yield from _table(
        "segments",
        ("segment", "Dice median", "least"),
        [(one, (_figure(one.median_dice, ".4f"), _figure(one.least_dice, ".4f"))) for one in of.segments],
    )
    yield from _table(
        "numbers",
        ("number", "mean difference", "95 % within", "unit"),
        [(one, (_figure(one.mean_difference, "+.4g"), _limits(one), one.unit)) for one in of.numbers],
    )
    yield from _table(
        "answers",
        ("question", "same", "kappa", "active → other"),
        [(one, (str(one.agreed), _figure(one.kappa, ".3f"), _answers(one))) for one in of.classes],
    )
    yield from _table("detections", ("what",), [(one, ()) for one in of.detections])
    if of.active_refused or of.other_refused:
        words = f"not analysed: by the active one alone {of.active_refused}, by the other one alone {of.other_refused}"
        yield Text(f"{words}, by both {of.both_refused}", "yellow")


def _table(
    title: str, columns: tuple[str, ...], rows: Sequence[tuple[_Counted, tuple[str, ...]]]
) -> Iterable[RenderableType]:
    """rows: an agreement each, and its figures besides the counts that all kinds have."""
    if not rows:
        return
    what, *figures = columns
    table = table_of(title, what, "both", "only active", "only other", *figures)
    for one, own in rows:
        table.add_row(*(Text(str(word)) for word in (one.label, one.both, one.active_only, one.other_only, *own)))
    yield table


def _limits(of: NumberAgreement) -> str:
    return "" if of.limits is None else f"{of.limits[0]:+.4g} to {of.limits[1]:+.4g}"


def _answers(of: ClassAgreement) -> str:
    return ", ".join(f"{active} → {other} {number}" for active, other, number in of.answers if active != other)


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _case(case: Case) -> Entry:
    job = case.job
    words = Text(f"{case.difference:.1%}", "bold"), Text(job.accession_number or "(no accession)")
    key, name = job.accession_number or job.study_instance_uid, job.model.partition("@")[0]
    look = f"dicom-node explain {key}; dicom-node models compare {name} --study {key} --write FOLDER"
    below = [
        Text(_what(case.paired)),
        Text(f"series {job.series_instance_uid}, jobs {job.compared_with}, {job.job_id}", "dim"),
    ]
    return Entry(words, (*below, Text(look, "dim")))


def _what(of: Paired) -> str:
    """That in which the two differ, in words."""
    said = [f"{one.label}: {_dice(one.dice, one.active_voxels)}" for one in of.segments if one.dice != 1]
    said += [
        f"{one.label}: {_figure(one.active, '.5g') or 'none'} → {_figure(one.other, '.5g') or 'none'} {one.unit}"
        for one in of.numbers
        if one.active != one.other
    ]
    said += [
        f"{one.label}: {one.active or 'not said'} → {one.other or 'not said'}"
        for one in of.classes
        if one.active != one.other
    ]
    said += [
        f"{one.label}: {one.active_only} only active, {one.other_only} only other"
        for one in of.detections
        if one.active_only or one.other_only
    ]
    refused = (("active", of.active_not_analysed), ("other", of.other_not_analysed))
    said += [f"not analysed by the {which} one: {reason}" for which, reason in refused if reason]
    return "; ".join(said)


def _dice(dice: float | None, active_voxels: int | None) -> str:
    if dice is not None:
        return f"Dice {dice:.4f}"
    return "only other" if active_voxels is None else "only active"
