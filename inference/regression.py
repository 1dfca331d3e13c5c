"""Is a version worse than the one whose place it is to take? Both are run on the golden cases of that one, figure by figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from inference.golden import Device, run_golden_cases
from inference.golden_case import Margin
from inference.golden_verdict import Verdict, auc_of
from inference.manifest import Manifest
from inference.package import Package


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of one case. bound: what `now` must reach, or stay below where `lower_is_better`.

    words: why there is no figure; else none.
    """

    case: str
    figure: str
    before: float
    now: float
    bound: float
    lower_is_better: bool = False
    words: str = ""

    @property
    def holds(self) -> bool:
        if self.words:
            return False
        return self.now <= self.bound if self.lower_is_better else self.now >= self.bound


def compare(active: Package, new: Package, device: Device) -> tuple[Compared, ...]:
    """What both make of the golden cases of the active version, as far as both tell it; nothing where that has no cases.

    Raises PackageError for a file that is no case, and what running a network may raise.
    """
    before = run_golden_cases(active, device)
    now = run_golden_cases(new, device, cases_of=active)
    return compared(active.manifest, new.manifest, before, now)


def compared(
    active: Manifest, new: Manifest, before: Sequence[Verdict], now: Sequence[Verdict]
) -> tuple[Compared, ...]:
    """Figure by figure. The margin is that of the active version: none may say of itself how much worse it may be."""
    margin, told = active.golden_limits.margin, keys_of(new)
    found: list[Compared] = []
    for old, fresh in zip(before, now, strict=True):
        found += _of_case(old, fresh, margin, told)
    labelled = {key for case in active.golden for key in case.labels}
    for key in sorted(labelled & told):
        was, value = auc_of(active, key, before), auc_of(active, key, now)
        if was is not None:
            bound = was - margin.auc
            words = "" if value is not None else "not answered"
            found.append(Compared("all that label it", f"AUC of {key}", was, _number(value), bound, words=words))
    return tuple(found)


def keys_of(manifest: Manifest) -> set[str]:
    """What a version may tell of."""
    outputs = manifest.outputs
    keys = {item.key for item in outputs.segments} | {item.key for item in outputs.classifications}
    keys |= {item.key for item in outputs.maps}
    return keys | {item.name.value for item in outputs.measurements}


def _of_case(old: Verdict, fresh: Verdict, margin: Margin, told: set[str]) -> list[Compared]:
    found = []
    for name, was in sorted(old.dices.items()):
        if _key(name) in told:
            value = fresh.dices.get(name)
            bound = was - margin.dice
            found.append(
                Compared(old.case, f"Dice of {_key(name)}", was, _number(value), bound, words=_why(fresh, value))
            )
    for name, (error, size) in sorted(old.errors.items()):
        if _key(name) in told:
            now = fresh.errors.get(name)
            value = None if now is None else now[0]
            bound = error + margin.relative * abs(size)
            what = f"error of {name.partition('/')[2]}"
            found.append(Compared(old.case, what, error, _number(value), bound, True, _why(fresh, value)))
    return found


def _key(name: str) -> str:
    """Of a segment, map or classification its key; of a measurement the code of its name: segment/KEY, measurement/CODE/KEY."""
    kind, _, rest = name.partition("/")
    return rest.split("/")[0].split(" ")[0] if kind == "measurement" else rest


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _why(fresh: Verdict, value: float | None) -> str:
    if value is not None:
        return "" if math.isfinite(value) else "no number"
    return next((words for words in fresh.differences if words.startswith("not analysed")), "not told")
