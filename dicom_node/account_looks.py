"""How the account of a study looks on a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dicom_node.completeness import Verdict
from dicom_node.history import JobAccount, SeriesAccount, StudyAccount
from dicom_node.result_kinds import in_words
from dicom_node.revisions import RevisionAccount
from dicom_node.terminal import STYLES, Entry, apart, count, listing, moment, table_of
from dicom_node.timeline import announced, brought_in_words, ending_in_words
from inference.monitor.paired import Paired, difference
from storage.records.announced import Announcement
from storage.records.events import Event
from storage.records.jobs import Attempt, Companion, Job
from storage.records.received import SeriesPart
from storage.records.rejected import Rejections
from storage.records.results import Delivery, KeptResult

_DAY_CHARACTERS = len("2026-01-31")
_DEEPER = 4
_VERDICTS = {"not_yet": "not yet", "whole": "whole at the next look", "never": "never whole"}


def account(item: StudyAccount) -> RenderableType:
    """One study, from its first association to its last delivery."""
    study = item.study
    title = Text(f"accession {study.accession_number or '(none)'}")
    head = Text.assemble(
        (f"{item.standing}\n", "bold"),
        f"patient {study.patient_id or '(none)'}\n",
        f"study {study.study_instance_uid}\n",
        f"{study.study_date} {study.study_description}".strip(),
    )
    parts: list[RenderableType] = [Panel(head, title=title, title_align="left", expand=False)]
    parts.append(timeline(item.timeline, since=study.first_received_at))
    if item.details:
        parts.append(listing("series", [_series(entry) for entry in item.details]))
    if item.announcements:
        parts.append(listing("said of the study", [Entry((_said(entry),), ()) for entry in item.announcements]))
    if item.jobs:
        parts.append(listing("jobs", [_job(entry) for entry in item.jobs]))
    if item.results:
        parts.append(_results(item))
    return apart(parts)


def timeline(events: Iterable[Event], *, since: float) -> Table:
    """Each day stands above its events."""
    table = table_of("timeline", "time", "after", "what happened")
    table.columns[1].justify = "right"
    day = ""
    for event in events:
        if day != (day := moment(event.at)[:_DAY_CHARACTERS]):
            table.add_row(day, "", "", style="dim")
        after = f"{event.at - since:+.1f} s"
        table.add_row(_clock(event.at), after, Text(event.text), style=STYLES[event.severity])
    return table


def _clock(at: float) -> str:
    """The time of the day."""
    return moment(at)[_DAY_CHARACTERS + 1 :]


def _series(item: SeriesAccount) -> Entry:
    series = item.series
    state = "held" if series.state == "arriving" and series.held_at is not None else series.state
    expected = f" of {series.expected_count}" if series.expected_count not in (None, series.instance_count) else ""
    words = (
        Text(state, STYLES[state]),
        Text(f"{series.instance_count}{expected} instance{'s' * (series.instance_count != 1)}"),
        Text(f"revision {series.revision}"),
    )
    below: list[RenderableType] = [Text(series.series_instance_uid)]
    for revision in item.revisions:
        below += _revision(revision)
    if item.verdict:
        below += _verdict(item.verdict)
    below += [_association(part) for part in item.parts]
    below += [_said(said) for said in item.announcements]
    below += [_rejected(rejected) for rejected in item.rejections]
    return Entry(words, tuple(below))


def _revision(item: RevisionAccount) -> list[RenderableType]:
    decided = moment(item.decided_at) if item.decided_at else f"since {moment(item.began_at)}"
    head = Text.assemble(
        f"revision {item.number}: ",
        (item.decision, STYLES[item.decision]),
        f", {count(item.instance_count, 'instance')}, {decided}",
    )
    return [head, *_deeper((item.evidence or "").split("; "))]


def _verdict(item: Verdict) -> list[RenderableType]:
    latest = f"; at the latest at {_clock(item.until)}" if item.until is not None else ""
    return [Text(f"{_VERDICTS[item.state]}{latest}", "bold"), *_deeper(item.evidence)]


def _deeper(lines: Sequence[str]) -> list[RenderableType]:
    return [Padding(Text(line), (0, 0, 0, _DEEPER)) for line in lines if line]


def _association(part: SeriesPart) -> Text:
    association = part.association
    until = f" to {_clock(association.closed_at)}" if association.closed_at else ""
    return Text(
        f"{association.calling_ae_title} at {association.address}, {moment(association.opened_at)}{until}, "
        f"{ending_in_words(association)}: {brought_in_words(part.stored, part.repeated)}"
    )


def _said(item: Announcement) -> Text:
    return Text(f"{moment(item.at)}: {announced(item).text}")


def _rejected(item: Rejections) -> Text:
    what = count(item.instance_count, "instance")
    return Text(f"rejected (DCM {item.code}), from revision {item.revision} on: {what}", "yellow")


def _job(entry: JobAccount) -> Entry:
    job = entry.job
    words = (
        Text(f"job {job.job_id}"),
        Text(job.model),
        Text(job.state, STYLES[job.state]),
        Text(job.priority),
        count(job.attempt, "attempt"),
        Text(f"revision {job.revision}"),
    )
    below = [
        Text(job.series_instance_uid),
        *(_companion(one) for one in job.companions),
        Text(f"shadow of job {job.compared_with}: it is compared, and nothing of it is sent", "dim")
        if job.role == "shadow"
        else Text(),
        Text(_difference(job), "dim"),
        Text(entry.queued or ""),
        Text(entry.waits or job.reason or ""),
        Text(f"every report says: {job.remark}" if job.remark else ""),
        Text("stale: the series had changed by the time it ended" if job.stale else "", "yellow"),
        _deadline(job),
        *(_attempt(attempt) for attempt in entry.attempts if attempt.outcome not in ("done", "running")),
    ]
    return Entry(words, tuple(below))


def _difference(job: Job) -> str:
    """Of a shadow that was compared."""
    if job.comparison is None:
        return ""
    return f"differs by {difference(Paired.of_document(job.comparison)):.1%} in what it differs most in"


def _companion(one: Companion) -> Text:
    if one.series_instance_uid is not None:
        return Text(f"with {one.name} {one.series_instance_uid}", "dim")
    return Text(f"without {one.name}: {one.absent}" if one.absent else f"reads {one.name} besides", "dim")


def _deadline(job: Job) -> Text:
    if job.deadline_missed_at is not None:
        return Text(f"missed its deadline, {moment(job.deadline_at)}", "bold red")
    return Text(f"deadline {moment(job.deadline_at)}" if job.deadline_at is not None else "")


def _attempt(attempt: Attempt) -> Text:
    return Text(f"attempt {attempt.number} {attempt.outcome}: {attempt.reason or ''}", "dim")


def _results(item: StudyAccount) -> RenderableType:
    """What is in reserve is named and no more."""
    reserve = _reserve(item)
    entries = [
        line for entry in item.results if entry not in reserve for line in _result(entry, item.deliveries, item.results)
    ]
    if not reserve:
        return listing("results", entries)
    kinds = dict.fromkeys(in_words(entry.result.kind) for entry in reserve)
    return Group(listing("results", entries), Text(f"in reserve for what is not taken: {', '.join(kinds)}", "dim"))


def _reserve(item: StudyAccount) -> list[KeptResult]:
    """Sound results that go nowhere, of jobs of which others do."""
    sent = {one.result.sop_instance_uid for one in item.deliveries}
    jobs = {one.job_id for one in item.deliveries}
    return [
        one
        for one in item.results
        if one.job_id in jobs and one.result.sop_instance_uid not in sent and not one.result.faults
    ]


def _result(item: KeptResult, deliveries: Iterable[Delivery], known: Iterable[KeptResult]) -> list[Entry]:
    """An entry for each destination; one where it goes nowhere."""
    own = [one for one in deliveries if one.result.sop_instance_uid == item.result.sop_instance_uid]
    kind, uid = Text(in_words(item.result.kind)), Text(item.result.sop_instance_uid)
    if item.result.faults:
        faults = [Text(fault, STYLES["quarantined"]) for fault in item.result.faults]
        state = Text("quarantined", STYLES["quarantined"])
        below = (uid, *faults, Text(f"kept under {item.result.object_key}"))
        return [Entry((kind, Text("(nowhere)"), state, Text(), Text()), below)]
    superseded = Text(
        f"superseded {moment(item.superseded_at)} by job {item.superseded_by}" if item.superseded_at else "", "yellow"
    )
    if not own:
        return [Entry((kind, Text("(nowhere)"), Text("not sent", "dim"), Text(), Text()), (uid, superseded))]
    return [
        Entry((kind, *_delivery(one)), (uid, superseded, Text(one.last_error or ""), _in_place(one, known)))
        for one in own
    ]


def _in_place(item: Delivery, known: Iterable[KeptResult]) -> Text:
    """Of what it is there, where the destination did not take that."""
    uids = {one.result.sop_instance_uid: one.result.kind for one in known}
    kind = uids.get(item.in_place_of or "")
    return Text(f"in place of {in_words(kind)}, which {item.destination} did not take" if kind else "", "yellow")


def _delivery(item: Delivery) -> tuple[Text, ...]:
    when = f"next {moment(item.next_at)}" if item.state == "waiting" else moment(item.delivered_at)
    state = Text(item.state, STYLES[item.state])
    return (Text(item.destination), state, count(item.attempts, "attempt"), Text(when))
