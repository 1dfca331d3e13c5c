"""The doors in as the configuration has it: for a process that takes instances in, or looks after what others left."""

from __future__ import annotations

from dicom_node.config import Config
from dicom_node.intake import Intake
from dicom_node.notices import Notices
from dicom_node.room_gauge import open_gauge
from dicom_node.stores import Stores


def open_intake(config: Config, stores: Stores) -> Intake:
    return Intake(
        stores.objects,
        stores.instances,
        stores.studies,
        stores.events,
        gauge=open_gauge(config, stores),
        lock_file=stores.run_folder / "intake.lock",
        sequence_depth=config.node.limits.sequence_depth,
    )


def open_notices(config: Config, stores: Stores) -> Notices:
    return Notices(
        stores.performed_steps,
        stores.announcements,
        stores.events,
        sequence_depth=config.node.limits.sequence_depth,
    )
