"""All that is made of a report: what is ordered, the next best of what is not sound, and what is said where nothing is left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dicom_node.profiles import Demand, first_choice, orders_besides, reserve, share
from dicom_node.results.encode import encode
from dicom_node.results.report import EncodedResult, Report
from inference.findings import Code, Findings, NotAnalysed

CHECKS_FAILED = Code("CHECKSFAILED", "99DICOMNODE", "Result failed its checks")
WHY = "the result failed its checks before sending, so it is kept back"


@dataclass(frozen=True, slots=True)
class Made:
    """instead: the report that nothing was analysed, for destinations that nothing sound is left for."""

    results: tuple[EncodedResult, ...]
    instead: tuple[EncodedResult, ...] = ()


def make(report: Report, demands: Sequence[Demand], *, report_failure: bool) -> Made:
    """demands: of the destinations. report_failure: whether one that nothing is left for is told so.

    Raises ResultRefused where no object could be right, as `encode` does.
    """
    is_analysed = report.findings.not_analysed is None
    results = encode(report)
    if is_analysed or _lost(results):
        besides = orders_besides(demands, _sound(results), _lost(results)) - report.kinds
        if besides:
            # Anew as a whole, since reports may refer to what is made besides: equal reports give equal bytes.
            results = encode(replace(report, kinds=report.kinds | besides))
    left = [one for one in demands if share(one, _sound(results), _lost(results)).is_lost]
    if not (left and is_analysed and report_failure):
        return Made(results)
    kinds = frozenset(kind for one in left for kind in (*first_choice(one), *reserve(one)))
    failure = Findings(not_analysed=NotAnalysed(CHECKS_FAILED, WHY))
    return Made(results, encode(replace(report, volume=None, findings=failure, kinds=kinds)))


def _sound(results: Iterable[EncodedResult]) -> frozenset[str]:
    return frozenset(item.kind for item in results if not item.faults)


def _lost(results: Iterable[EncodedResult]) -> frozenset[str]:
    return frozenset(item.kind for item in results if item.faults)
