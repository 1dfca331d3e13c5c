"""What the configuration says of one who sends: how long to wait for more, and whom to ask what was sent. Pure."""

from __future__ import annotations

from typing import NamedTuple

from dicom_node.config import Completeness, Config
from dicom_node.config_sources import Find, Source
from dicom_node.network.connecting import Peer, Timeouts
from dicom_node.network.tls_channel import ClientTls


class Waits(NamedTuple):
    """`completeness.settle_s` and `quiet_s` as they hold for one source."""

    settle_s: float
    quiet_s: float


def waits_of(source: Source, general: Completeness) -> Waits:
    """Of the two, what a source does not say gives way to what it says: settle_s is never more than quiet_s."""
    settle_s, quiet_s = source.settle_s, source.quiet_s
    if settle_s is None:
        settle_s = general.settle_s if quiet_s is None else min(general.settle_s, quiet_s)
    if quiet_s is None:
        quiet_s = max(general.quiet_s, settle_s)
    return Waits(settle_s, quiet_s)


def asked_peers(config: Config) -> dict[Find, tuple[str, ...]]:
    """Whom to ask, each once, with the calling AE titles of those whose series it is asked about."""
    asked: dict[Find, tuple[str, ...]] = {}
    for source in config.sources:
        if source.find is not None:
            asked[source.find] = (*asked.get(source.find, ()), *source.ae_titles)
    return asked


def peer_of(find: Find, node_ae_title: str) -> Peer:
    """The peer that a section of config.yaml describes."""
    return Peer(
        ae_title=find.ae_title,
        address=find.address,
        port=find.port,
        calling_ae_title=find.calling_ae_title or node_ae_title,
        timeouts=Timeouts(
            connect_s=find.connect_timeout_s,
            acse_s=find.acse_timeout_s,
            dimse_s=find.dimse_timeout_s,
            network_s=find.dimse_timeout_s,
        ),
        tls=ClientTls(find.tls) if find.tls is not None else None,
    )
