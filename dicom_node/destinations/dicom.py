"""A storage SCP as destination: the results of a study on one association."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from dicom_node import logs
from dicom_node.compression import Compressed
from dicom_node.config_destinations import DicomDestination as Settings
from dicom_node.destinations.forms import form_for, in_words
from dicom_node.destinations.protocol import Outcome, Parcel
from dicom_node.errors import NodeError
from dicom_node.lossless import Method
from dicom_node.network.requestor import Outgoing, Peer, SendOutcome, Timeouts, send
from dicom_node.network.tls_channel import ClientTls

log = logs.get("delivery")


@dataclass(frozen=True, slots=True)
class DicomDestination:
    """compression: what is tried of it, the first rather, for each result."""

    name: str
    peer: Peer
    compression: Sequence[Method] = ()

    def deliver(self, parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        # Before the association: a peer would not wait long for what takes seconds.
        forms = [form_for(parcel, self.compression, self.name) for parcel in parcels]
        items = [_outgoing(parcel, form) for parcel, form in zip(parcels, forms, strict=True)]
        outcomes: list[Outcome] = []
        try:
            for sent in send(self.peer, items):
                outcomes.append(_outcome(sent, in_words(forms[len(outcomes)], sent.transfer_syntax_uid, self.name)))
        except Exception as error:  # noqa: BLE001 - a fault of ours at one result must not send the others twice
            log.error("destination failed", destination=self.name, error=error)
            reason = f"unexpected {type(error).__name__}"
            outcomes += [Outcome(item.sop_instance_uid, "failed", reason) for item in items[len(outcomes) :]]
        return tuple(outcomes)


def open_dicom(settings: Settings, node_ae_title: str) -> DicomDestination:
    return DicomDestination(settings.name, peer_of(settings, node_ae_title), settings.compression)


def peer_of(settings: Settings, node_ae_title: str) -> Peer:
    """The peer that a section of config.yaml describes."""
    return Peer(
        ae_title=settings.ae_title,
        address=settings.address,
        port=settings.port,
        calling_ae_title=settings.calling_ae_title or node_ae_title,
        max_pdu_bytes=int(settings.max_pdu_bytes),
        timeouts=Timeouts(
            connect_s=settings.connect_timeout_s,
            acse_s=settings.acse_timeout_s,
            dimse_s=settings.dimse_timeout_s,
            network_s=settings.network_timeout_s,
        ),
        tls=ClientTls(settings.tls) if settings.tls is not None else None,
    )


def destination_at(written: str) -> Settings:
    """A destination that is in no configuration, from "AE@host:port". Raises NodeError where it is not that."""
    ae_title, _, place = written.partition("@")
    address, _, port = place.rpartition(":")
    try:
        return Settings.model_validate(
            {"type": "dicom", "name": "given", "ae_title": ae_title, "address": address.strip("[]"), "port": port}
        )
    except ValidationError as error:
        faults = "; ".join(f"{fault['loc'][0]} {fault['msg']}" for fault in error.errors(include_url=False))
        raise NodeError(f"{written}: expected AE@host:port, as in PACS@10.0.0.5:104; {faults}") from None


def _outgoing(parcel: Parcel, form: Compressed | None) -> Outgoing:
    result = parcel.result
    return Outgoing(
        result.sop_class_uid,
        result.sop_instance_uid,
        result.transfer_syntax_uid,
        parcel.part10,
        parcel.refers_to,
        (form.transfer_syntax_uid, form.part10) if form else None,
    )


def _outcome(sent: SendOutcome, sent_as: str) -> Outcome:
    return Outcome(
        sop_instance_uid=sent.sop_instance_uid,
        verdict=sent.verdict,
        reason=sent.reason,
        comment=sent.comment,
        has_warning=sent.verdict == "delivered" and sent.status != 0,
        is_class_refused=sent.is_class_refused,
        is_held_back=sent.is_held_back,
        needs_a_person=sent.needs_a_person,
        is_unread=sent.is_unread,
        sent_as=sent_as if sent.verdict == "delivered" else "",
    )
