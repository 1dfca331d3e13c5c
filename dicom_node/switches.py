"""What the roles of models mean for jobs: which are held, which report that, and which go to another version."""

from __future__ import annotations

from collections.abc import Mapping

from dicom_node.config import Config
from dicom_node.dispatch import Switched
from dicom_node.model_words import disabled_words
from dicom_node.routing import RoutableModel
from dicom_node.versions import Versions
from storage.models import Models
from storage.records.jobs import Job


def switched(config: Config, rows: Models, versions: Versions, models: Mapping[str, RoutableModel]) -> Switched:
    """As they are now. models: the versions that are active, by the names of the configuration."""
    off = {name: disabled_words(role) for name, role in rows.roles().items() if role.disabled}
    reporting = {item.name.partition("@")[0] for item in config.models if item.when_disabled == "report"}

    def is_moved(job: Job) -> bool:
        """Also a job that was put back after another version had taken over, or queued in that moment; and one of a version that
        was removed meanwhile, or cannot be used any more."""
        name = job.model.partition("@")[0]
        entry = models.get(name)
        if job.role == "shadow" or job.give_up_reason is not None or entry is None or job.model in models:
            return False
        kept = [entry.canary.package.key] if entry.canary else []
        if job.model in (entry.package.key, *kept) or versions.keyed(job.model) is None:
            return False
        why = f"{entry.package.key} is the active version"
        configured = next((item for item in config.models if item.name == name), None)
        return rows.move(versions.move_to(entry.package, configured, why, kept=kept)) > 0

    return Switched(off, frozenset(reporting & off.keys()), is_moved)
