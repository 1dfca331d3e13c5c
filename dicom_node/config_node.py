"""Keys of `node` and `access`: what the node is called, where it listens, who may come in, and what they may cost."""

from pathlib import Path
from typing import Self

from pydantic import ByteSize, Field, SecretStr, field_validator, model_validator

from dicom_node.config_section import AT_START, DAY_S, GIB, MIB, Section
from dicom_node.config_values import (
    AETitle,
    AutoOrCount,
    BindAddress,
    Bytes,
    Count,
    FilePath,
    Network,
    Seconds,
    Sha256,
)
from dicom_node.structure import MAX_NESTING

MOST_CONNECTIONS = 65536


class Limits(Section):
    """What one peer may cost. Who goes beyond a limit is cut off, and the log says which one it was."""

    connections: Count = Field(
        default=512,
        ge=1,
        le=MOST_CONNECTIONS,
        description="TCP connections held open at the same time, whatever they do.",
    )
    connections_per_address: Count = Field(
        default=32,
        ge=1,
        le=MOST_CONNECTIONS,
        description="Of these, those from one IP address. More are closed at once; raise it for peers behind a gateway.",
    )
    pdu_bytes: Bytes = Field(
        default=ByteSize(MIB),
        ge=64 * 1024,
        le=64 * MIB,
        description="Largest PDU that is read; the header of a larger one ends the connection. Not less than "
        "`node.max_pdu_bytes`, which peers are asked to keep to.",
    )
    pdu_timeout_s: Seconds = Field(
        default=10, gt=0, le=600, description="How long one PDU may take from its first byte to its last."
    )
    message_bytes: Bytes = Field(
        default=ByteSize(4 * GIB), ge=MIB, description="Largest DIMSE message, its data set included."
    )
    message_timeout_s: Seconds = Field(
        default=3600, gt=0, le=DAY_S, description="How long one DIMSE message may take from its first byte to its last."
    )
    min_bytes_per_s: Count = Field(
        default=4096,
        ge=0,
        description="Slowest that a message may come, counted from its first byte; judged once it has taken "
        "`pdu_timeout_s`.",
    )
    sequence_depth: Count = Field(
        default=MAX_NESTING,
        ge=1,
        le=MAX_NESTING,
        description="How deep sequences of a data set may nest; a deeper one is answered 0xC000. Real ones nest less "
        "than ten deep; beyond 64, readers of DICOM begin to fail.",
    )


class Tls(Section):
    """DICOM over TLS (PS3.15 B.12): TLS 1.3 where the peer can, 1.2 else, nothing older.

    The files are PEM. When they change, the next peer is met with the new ones; no restart is needed.
    """

    port: Count = Field(
        default=2762,
        ge=0,
        le=65535,
        description="TCP port for TLS; 0 takes any free one. 2762 is registered for it.",
        json_schema_extra=AT_START,
    )
    only: bool = Field(
        default=False,
        description="true: `node.port` is not opened, so nobody comes in without TLS.",
        json_schema_extra=AT_START,
    )
    certificate: FilePath = Field(description="Certificate of the node, and behind it those between it and its CA.")
    key: FilePath = Field(description="Private key of the certificate. For this user's eyes alone.")
    key_password: SecretStr | None = Field(
        default=None, description="Password of the key, best as `${NAME}`. Without it: the key has none."
    )
    ca: FilePath | None = Field(
        default=None,
        description="Certificates of the CAs whose clients are trusted. Without it: none is asked for one.",
    )
    require_certificate: bool = Field(
        default=True, description="true: a client without a certificate of `ca` is refused. false: it may come without."
    )

    @model_validator(mode="after")
    def _clients_can_be_known(self) -> Self:
        if self.require_certificate and self.ca is None:
            raise ValueError(
                "require_certificate needs ca, to tell whose certificates are trusted: name it, or set "
                "require_certificate: false"
            )
        return self


class Node(Section):
    """The node itself: its name, where it listens, where its data lie, and the bounds it sets to every peer."""

    ae_title: AETitle = Field(default="DICOM-NODE", description="AE title of the node, as acceptor and as requestor.")
    address: BindAddress = Field(
        default="127.0.0.1",
        description="IP address to listen on. The default reaches this machine only; 0.0.0.0 is every interface: "
        "close `access` when you set it.",
        json_schema_extra=AT_START,
    )
    port: Count = Field(
        default=11112,
        ge=0,
        le=65535,
        description="TCP port to listen on; 0 takes any free one.",
        json_schema_extra=AT_START,
    )
    acceptors: AutoOrCount = Field(
        default="auto",
        description="Processes that receive, on the same ports; auto: one per core, at most 4. When one ends, the others "
        "go on, and it is started again. At most 32.",
        json_schema_extra=AT_START,
    )
    data_folder: FilePath = Field(
        default=Path("data"),
        description="Folder of the database, the received objects and the results. A relative path counts from the "
        "folder of this file.",
        json_schema_extra=AT_START,
    )
    max_pdu_bytes: Bytes = Field(
        default=ByteSize(256 * 1024),
        ge=4096,
        le=MIB,
        description="Largest PDU that peers are asked to send (PS3.8 section D.1).",
    )
    max_associations: Count = Field(default=64, ge=1, le=4096, description="Associations served at the same time.")
    acse_timeout_s: Seconds = Field(
        default=10, gt=0, le=600, description="How long a peer may take to request, accept or release an association."
    )
    dimse_timeout_s: Seconds = Field(
        default=60, gt=0, le=3600, description="How long a peer may take to answer a DIMSE message."
    )
    network_timeout_s: Seconds = Field(
        default=60, gt=0, le=3600, description="Silence after which an association is aborted."
    )
    tls: Tls | None = Field(default=None, description="DICOM over TLS, beside the plain port or instead of it.")
    limits: Limits = Field(default=Limits(), description="What one peer may cost.")

    @field_validator("acceptors")
    @classmethod
    def _no_more_than_help(cls, value: AutoOrCount) -> AutoOrCount:
        if value != "auto" and value > 32:
            raise ValueError("must be auto or a whole number from 1 to 32")
        return value

    @model_validator(mode="after")
    def _limits_fit_what_is_asked_for(self) -> Self:
        if self.limits.pdu_bytes < self.max_pdu_bytes:
            raise ValueError("must have max_pdu_bytes <= limits.pdu_bytes: peers would be cut off for what they may do")
        if self.tls and not self.tls.only and self.tls.port == self.port != 0:
            raise ValueError("must have another tls.port than port: one port speaks TLS, the other does not")
        return self


class Requestor(Section):
    """A peer that may associate: its calling AE title, and what proves it. All that is named here must fit."""

    ae_title: AETitle = Field(description="Calling AE title.")
    addresses: tuple[Network, ...] = Field(
        default=(),
        description="IP addresses or networks (10.1.2.0/24) it may come from. An AE title alone proves nothing: name "
        "these, or a certificate, or both.",
    )
    certificate_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="Common name (CN) of the subject of its certificate, which a CA of `node.tls.ca` has signed.",
    )
    certificate_sha256: Sha256 | None = Field(
        default=None,
        description="SHA-256 fingerprint of its certificate, in hexadecimal digits with or without colons: this one "
        "alone, and no other that the CA may sign.",
    )

    @model_validator(mode="after")
    def _something_proves_it(self) -> Self:
        if not (self.addresses or self.certificate_name or self.certificate_sha256):
            raise ValueError("must name addresses, certificate_name or certificate_sha256: an AE title proves nothing")
        return self


class Access(Section):
    """Who may associate with the node."""

    open: bool = Field(
        default=True,
        description="true: every peer may send, with a warning at start. false: only those of `requestors`.",
    )
    check_called_ae_title: bool = Field(
        default=False, description="Reject associations whose called AE title is not `node.ae_title`."
    )
    requestors: tuple[Requestor, ...] = Field(default=(), description="Peers that may associate when `open` is false.")

    @model_validator(mode="after")
    def _somebody_may_send(self) -> Self:
        if not self.open and not self.requestors:
            raise ValueError("is closed (open: false) and names no requestors, so nobody could send: add one")
        return self
