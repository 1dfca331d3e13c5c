"""Which rules of completeness hold for the series of a source, from the configuration?"""

from __future__ import annotations

from collections.abc import Callable

from dicom_node.completeness import Rules
from dicom_node.config import Config


def rules_by_source(config: Config) -> Callable[[str], Rules]:
    """Calling AE title to rules."""
    given = config.completeness
    rules = Rules(
        settle_s=given.settle_s,
        quiet_s=given.quiet_s,
        held_s=given.held_s,
        in_progress_s=given.in_progress_s,
        habit_max_s=given.habit_max_s,
        on_missing=given.on_missing,
    )
    return lambda _calling_ae_title: rules
