"""Which rules of completeness hold for the series of a source, from the configuration?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dicom_node.completeness import Rules
from dicom_node.config import Config
from dicom_node.sources import waits_of


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
    special = {
        title: replace(rules, settle_s=waits.settle_s, quiet_s=waits.quiet_s)
        for source in config.sources
        for waits in [waits_of(source, given)]
        for title in source.ae_titles
    }
    return lambda calling_ae_title: special.get(calling_ae_title, rules)
