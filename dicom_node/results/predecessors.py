"""Which earlier report does a report take the place of? One that its receivers hold."""

from __future__ import annotations

from dicom_node.results import identity
from dicom_node.results.report import Report
from storage.records.results import Predecessor


def predecessor(report: Report, ordered: str) -> Predecessor | None:
    """Of an earlier run on the same images the report that was ordered likewise, where it said otherwise.

    Else of the latest revision before this one the report that was ordered likewise, or where there is none (other kinds
    were sent then) another one. Never another variant of this same report: it would be there the second time that a job is run.
    """
    own = identity.sop_instance_uid(report, ordered)
    again = [item for item in report.predecessors if item.revision >= report.revision and item.kind == ordered]
    earlier = [item for item in report.predecessors if item.revision < report.revision]
    latest = max((item.revision for item in earlier), default=0)
    earlier = [item for item in earlier if item.revision == latest]
    alike = [item for item in earlier if item.kind == ordered]
    return next((item for item in (*again, *alike, *earlier) if item.sop_instance_uid != own), None)
