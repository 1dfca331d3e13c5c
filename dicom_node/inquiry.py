"""Whom the dispatcher asks about what came: a thread for each peer that `sources` of config.yaml names."""

from __future__ import annotations

import time
from collections.abc import Collection

from dicom_node.config import Config
from dicom_node.config_sources import Find
from dicom_node.inquirer import Inquirer
from dicom_node.network.find import ask
from dicom_node.sources import asked_peers, peer_of
from dicom_node.stores import Stores

STOP_S = 5.0


class Inquiry:
    """All peers that are asked."""

    def __init__(self, config: Config, stores: Stores) -> None:
        self._inquirers = [
            _inquirer(find, titles, config.node.ae_title, stores) for find, titles in asked_peers(config).items()
        ]

    def start(self) -> None:
        for inquirer in self._inquirers:
            inquirer.start()

    def stop(self) -> None:
        """End after the question that is being asked; not later than STOP_S."""
        for inquirer in self._inquirers:
            inquirer.stop()
        deadline = time.monotonic() + STOP_S
        for inquirer in self._inquirers:
            inquirer.join(max(0.0, deadline - time.monotonic()))

    def remarks(self, calling_ae_title: str) -> tuple[str, ...]:
        """Why nothing can be learned now of the series of a requestor, in words; nothing where something can."""
        found = (inquirer.remark for inquirer in self._inquirers if calling_ae_title in inquirer.calling_ae_titles)
        return tuple(remark for remark in found if remark is not None)


def _inquirer(find: Find, titles: Collection[str], node_ae_title: str, stores: Stores) -> Inquirer:
    peer = peer_of(find, node_ae_title)
    return Inquirer(
        find,
        titles,
        lambda questions: ask(peer, questions),
        studies=stores.studies,
        announcements=stores.announcements,
        events=stores.events,
    )
