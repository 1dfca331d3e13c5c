"""How the differences of a replay look on a terminal of 80 columns."""

from __future__ import annotations

from collections import Counter

from rich.console import RenderableType
from rich.text import Text

from dicom_node.replay import Judged
from dicom_node.replay_compare import Course, Difference, JobChange, Summary
from dicom_node.replay_run import Replay
from dicom_node.terminal import Entry, apart, count, listing, moment

_JOB_STYLES = {"queued": "green", "not queued": "yellow", "changed": "cyan"}
_SHOWN = 50
_WHEN = {"whole": "whole", "never": "incomplete"}


def replayed(item: Replay) -> RenderableType:
    """A line that sums it up, how jobs differ, then the series that differ, the most weighty first."""
    head = Text(in_words(item.summary), "bold")
    if not item.differences:
        return head
    parts: list[RenderableType] = [head]
    changes = Counter(job for one in item.differences for job in one.jobs)
    if changes:
        parts.append(listing("jobs that differ", [_change(job, times) for job, times in changes.most_common(_SHOWN)]))
    shown = sorted(item.differences, key=_weight)[:_SHOWN]
    parts.append(listing("series that differ", [_entry(one) for one in shown]))
    if len(shown) < len(item.differences):
        parts.append(Text(f"and {len(item.differences) - len(shown)} more series: --json has all of them"))
    return apart(parts)


def _weight(item: Difference) -> tuple[bool, bool, float]:
    """What sorts first is what an admin must see: too early, then jobs, then the longest shift."""
    return not item.newly_wrong, not item.jobs, -abs(item.earlier_s or 0.0)


def _change(item: JobChange, times: int) -> Entry:
    return Entry((Text(f"{times} x"), Text(item.model), Text(item.kind, _JOB_STYLES[item.kind])), (Text(item.words),))


def in_words(found: Summary) -> str:
    """In one line of text."""
    of_all = f"{count(found.studies, 'study', 'studies')}, {found.series} series"
    if not found.differing:
        return f"{of_all}: no difference"
    parts = [
        _times(found.earlier, "earlier", found.median_earlier_s),
        _times(found.later, "later", found.median_later_s),
        f"{found.newly_wrong} newly wrongly whole" if found.newly_wrong else "",
        f"{found.no_longer_wrong} no longer wrongly whole" if found.no_longer_wrong else "",
        f"{count(found.jobs_queued, 'job')} more" if found.jobs_queued else "",
        f"{count(found.jobs_not_queued, 'job')} fewer" if found.jobs_not_queued else "",
        f"{count(found.jobs_changed, 'job')} changed" if found.jobs_changed else "",
    ]
    return f"{of_all}, {found.differing} of them differ: {', '.join(part for part in parts if part)}"


def _times(number: int, how: str, median_s: float | None) -> str:
    if not number:
        return ""
    return f"{number} whole {how}" + (f" (median {median_s:.1f} s)" if median_s is not None else "")


def _entry(item: Difference) -> Entry:
    subject = item.subject
    words = (
        Text(subject.study.accession_number or "(no accession)"),
        Text(subject.calling_ae_title),
        count(subject.instance_count, "instance"),
        _shift(item),
        Text("wrongly whole" if item.newly_wrong else "", "bold red"),
    )
    below = [
        Text(subject.series_instance_uid),
        *_decisions("before", item.old, subject.instance_count),
        *_decisions("then", item.new, subject.instance_count),
        *(_job(job) for job in item.jobs),
    ]
    return Entry(words, tuple(below))


def _shift(item: Difference) -> Text:
    if item.earlier_s is None:
        return Text("decided only before" if item.new.last is None else "decided only then", "yellow")
    if item.is_earlier:
        return Text(f"{item.earlier_s:.1f} s earlier", "green")
    return Text(f"{-item.earlier_s:.1f} s later", "yellow") if item.is_later else Text()


def _decisions(name: str, course: Course, total: int) -> list[Text]:
    if course.last is None:
        return [Text(f"{name}: nothing decided yet")]
    return [_decision(name, judged, total) for judged in course.judgements]


def _decision(name: str, judged: Judged, total: int) -> Text:
    wrong = judged.came < total
    said = f"wrongly whole with {judged.came} of {total}" if wrong else _WHEN[judged.verdict.state]
    return Text.assemble(
        f"{name}: ", (said, "bold red" if wrong else ""), f" {moment(judged.at)}: {'; '.join(judged.verdict.evidence)}"
    )


def _job(item: JobChange) -> Text:
    return Text.assemble((f"{item.model} {item.kind}", _JOB_STYLES[item.kind]), f": {item.words}")
