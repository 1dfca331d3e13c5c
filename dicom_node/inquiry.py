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
        self._stores = stores
        self._is_started = False
        # By whom is asked, and in whose name.
        self._inquirers: dict[tuple[Find, str], Inquirer] = {}
        self.use(config)

    def use(self, config: Config) -> None:
        """Go by this configuration from now on: who is asked no more is left alone, others are taken up."""
        wanted = {(find, config.node.ae_title): titles for find, titles in asked_peers(config).items()}
        for key in self._inquirers.keys() - wanted.keys():
            self._inquirers.pop(key).stop()
        for key, titles in wanted.items():
            if key in self._inquirers:
                self._inquirers[key].calling_ae_titles = frozenset(titles)
                continue
            self._inquirers[key] = _inquirer(*key, titles, self._stores)
            if self._is_started:
                self._inquirers[key].start()

    def start(self) -> None:
        self._is_started = True
        for inquirer in self._inquirers.values():
            inquirer.start()

    def stop(self) -> None:
        """End after the question that is being asked; not later than STOP_S."""
        for inquirer in self._inquirers.values():
            inquirer.stop()
        deadline = time.monotonic() + STOP_S
        for inquirer in self._inquirers.values():
            inquirer.join(max(0.0, deadline - time.monotonic()))

    def remarks(self, calling_ae_title: str) -> tuple[str, ...]:
        """Why nothing can be learned now of the series of a requestor, in words; nothing where something can."""
        found = (one.remark for one in self._inquirers.values() if calling_ae_title in one.calling_ae_titles)
        return tuple(remark for remark in found if remark is not None)


def _inquirer(find: Find, node_ae_title: str, titles: Collection[str], stores: Stores) -> Inquirer:
    peer = peer_of(find, node_ae_title)
    return Inquirer(
        find,
        titles,
        lambda questions: ask(peer, questions),
        studies=stores.studies,
        announcements=stores.announcements,
        events=stores.events,
    )
