"""How a reproduction looks to people, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.text import Text

from dicom_node.reproduce import Repeated, Reproduction
from dicom_node.result_kinds import in_words
from dicom_node.terminal import Entry, apart, listing, moment, table_of

_STYLES = {"identical": "green", "within tolerance": "yellow", "differs": "bold red"}
_SHORT = 12
_NAMED = 40


def reproduced(found: Reproduction) -> RenderableType:
    parts: list[RenderableType] = [_head(found), listing("results", [_result(one) for one in found.repeated])]
    if found.changes:
        parts.append(_changes(found))
    parts += [_pairs(one) for one in found.repeated if one.compared and one.compared.pairs]
    return apart(parts)


def _head(found: Reproduction) -> RenderableType:
    job, spec = found.job, found.then.spec
    count = len(spec.recorded) + sum(len(one.recorded) for one in spec.companions)
    lines = [
        Text.assemble((found.verdict, _STYLES[found.verdict]), f"  after {found.seconds:.1f} s"),
        Text(f"job {job.job_id}: {found.then.model} on revision {spec.revision} of {spec.series_instance_uid}"),
        Text(f"first made {moment(job.finished_at)} of {count} images; they and the model are what they were"),
    ]
    if found.verdict != "identical" and not found.may_differ:
        lines.append(Text("code, libraries and machine are the same, so nothing may differ", "bold red"))
    if found.verdict != "identical" and found.may_differ:
        close = found.tolerance
        words = f"Dice {close.least_dice:g}, numbers {close.absolute:g} + {close.relative:g} x their size"
        lines.append(Text(f"tolerance, by the golden cases of the model: {words}"))
    return Group(*lines)


def _result(one: Repeated) -> Entry:
    if one.is_identical:
        state = Text("identical", "green")
    else:
        state = Text(one.lacking or "other bytes", "bold red" if one.lacking else "yellow")
    below = [Text(one.result.sop_instance_uid)]
    if one.compared and one.compared.others:
        names = one.compared.others
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        below.append(Text(f"attributes that differ: {', '.join(names[:_NAMED])}{more}", "dim"))
    return Entry((Text(in_words(one.result.kind)), state), below)


def _changes(found: Reproduction) -> RenderableType:
    table = table_of("what is another thing now", "what", "then", "now")
    for name, (then, now) in found.changes.items():
        table.add_row(name, _shortened(then), _shortened(now))
    return table


def _shortened(value: str) -> str:
    """Digests by their beginning, as people compare them."""
    is_digest = len(value) == 64 and all(letter in "0123456789abcdef" for letter in value)
    return f"{value[:_SHORT]}..." if is_digest else value


def _pairs(one: Repeated) -> RenderableType:
    table = table_of(f"findings in the {in_words(one.result.kind)}", "finding", "then", "now", "difference", "")
    for row in _rows(one):
        table.add_row(*row)
    return table


def _rows(one: Repeated) -> Iterator[tuple[Text, ...]]:
    for pair in one.compared.pairs if one.compared else ():
        mark = Text("ok", "green") if pair.holds else Text("differs", "bold red")
        yield Text(pair.name), Text(pair.then), Text(pair.now), Text(pair.difference), mark
