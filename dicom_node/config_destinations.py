"""Keys of `destinations`: where results go, and how patiently."""

from typing import Annotated, Literal, Self

from pydantic import ByteSize, Field, SecretStr, model_validator

from dicom_node.config_section import DAY_S, MIB, Section
from dicom_node.config_values import (
    AETitle,
    Bytes,
    Compression,
    Count,
    FilePath,
    Host,
    Kinds,
    Name,
    Port,
    Seconds,
)
from dicom_node.profiles import DEFAULT_PROFILE, PROFILES


class Retry(Section):
    """When a delivery that failed is tried again: the wait doubles from `first_s` to `max_s`, with jitter."""

    first_s: Seconds = Field(default=5, gt=0, le=3600, description="Wait after the first failure.")
    max_s: Seconds = Field(default=900, gt=0, le=DAY_S, description="Longest wait between two attempts.")
    for_s: Seconds = Field(
        default=7 * DAY_S, gt=0, le=365 * DAY_S, description="Age at which a delivery is given up as failed."
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.first_s <= self.max_s <= self.for_s:
            raise ValueError("must have first_s <= max_s <= for_s")
        return self


class Breaker(Section):
    """When a destination counts as down: it is then left alone for a while and delays no other."""

    failures: Count = Field(
        default=5, ge=1, le=1000, description="Failures in a row after which the destination is paused."
    )
    pause_s: Seconds = Field(default=60, gt=0, le=DAY_S, description="Pause before one delivery tries it again.")


class _Destination(Section):
    name: Name = Field(description="Name of the destination, as routes refer to it.")
    profile: Name = Field(
        default=DEFAULT_PROFILE,
        description=f"What it can show: {', '.join(PROFILES)}, or the name of one of `profiles`. It says which kinds of result "
        "are sent, and what goes instead of one that is not accepted; see docs/results.md.",
    )
    results: Kinds | None = Field(
        default=None, description="Kinds of result that are sent. Without it: those of the profile."
    )
    compression: Compression = Field(
        default=(),
        description="How objects with pixels are compressed for it, without loss: `rle`, `jpeg2000`, `deflated`, or several, of "
        "which the first that can be used for the object is. `rle` and `jpeg2000` are for `seg_fractional`, `seg_labelmap` and "
        "`sc`; `deflated`, the whole object, for these, `seg` and `parametric_map`. A PACS that does not take that form gets "
        "the object uncompressed; see docs/results.md. `[]`: nothing is compressed.",
    )
    reject_superseded: bool = Field(
        default=False,
        description="true: once later results supersede what was delivered here, a Key Object Selection that rejects it is "
        'sent after them (113001, DCM, "Rejected for Quality Reasons"; IHE IOCM). false: both stand side by side, and the '
        "later report names the earlier one.",
    )
    retry: Retry = Field(default=Retry(), description="When a failed delivery is tried again.")
    breaker: Breaker = Field(default=Breaker(), description="When it counts as down.")


class DestinationTls(Section):
    """DICOM over TLS to a destination (PS3.15 B.12): TLS 1.3 where it can, 1.2 else; nothing older, and never plain.

    The files are PEM. When they change, the next association uses the new ones; no restart is needed.
    """

    ca: FilePath = Field(description="Certificates of the CAs that may have signed the destination's, or this itself.")
    certificate: FilePath | None = Field(
        default=None,
        description="Certificate that the node shows as client, and behind it those between it and its CA. Without it: "
        "none is shown.",
    )
    key: FilePath | None = Field(
        default=None, description="Private key of the certificate. For this user's eyes alone."
    )
    key_password: SecretStr | None = Field(
        default=None, description="Password of the key, best as `${NAME}`. Without it: the key has none."
    )
    check_host_name: bool = Field(
        default=True,
        description="true: the certificate must be for the destination's `address`, or `host_name`. false: any that a "
        "CA of `ca` has signed will do.",
    )
    host_name: Host | None = Field(
        default=None,
        description="Host name or IP address that the certificate is for. Without it: `address` of the destination.",
    )

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("must name certificate and key together, or neither")
        if self.key_password is not None and self.key is None:
            raise ValueError("must name the key that key_password is for")
        return self


class DicomDestination(_Destination):
    """A PACS or other storage SCP; results go by C-STORE, those of a study on one association."""

    type: Literal["dicom"] = Field(description="dicom")
    ae_title: AETitle = Field(description="Called AE title.")
    address: Host = Field(description="Host name or IP address.")
    port: Port = Field(description="TCP port.")
    tls: DestinationTls | None = Field(default=None, description="DICOM over TLS. Without it: plain DICOM.")
    calling_ae_title: AETitle | None = Field(default=None, description="Calling AE title. Without it: `node.ae_title`.")
    max_pdu_bytes: Bytes = Field(
        default=ByteSize(128 * 1024), ge=4096, le=MIB, description="Largest PDU to accept from it."
    )
    connect_timeout_s: Seconds = Field(
        default=10, gt=0, le=600, description="How long the TCP connection may take, with its TLS handshake."
    )
    acse_timeout_s: Seconds = Field(default=30, gt=0, le=600, description="How long it may take to accept or release.")
    dimse_timeout_s: Seconds = Field(default=60, gt=0, le=3600, description="How long it may take to answer a C-STORE.")
    network_timeout_s: Seconds = Field(
        default=60,
        gt=0,
        le=3600,
        description="Silence after which the association is aborted, and so is one on which it reads less "
        "than 1 KiB/s.",
    )


class FolderDestination(_Destination):
    """A folder; results are written as DICOM files, each whole or not at all."""

    type: Literal["folder"] = Field(description="folder")
    path: FilePath = Field(
        description="The folder; made when absent. A relative path counts from the folder of this file."
    )


Destination = Annotated[DicomDestination | FolderDestination, Field(discriminator="type")]
