"""Keys of `sources`: what is known of those who send, and whom to ask what they sent."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from dicom_node.config_destinations import DestinationTls
from dicom_node.config_section import DAY_S, Section
from dicom_node.config_values import AETitle, Host, Port, Seconds

MAX_AE_TITLES = 256


class Find(Section):
    """The Query/Retrieve SCP that is asked, with C-FIND, how many instances a series has: the source, or the PACS that
    holds the study. Asked when an association that brought the series has ended; until as many have come, again and again."""

    ae_title: AETitle = Field(description="Called AE title.")
    address: Host = Field(description="Host name or IP address.")
    port: Port = Field(description="TCP port.")
    tls: DestinationTls | None = Field(default=None, description="DICOM over TLS. Without it: plain DICOM.")
    calling_ae_title: AETitle | None = Field(default=None, description="Calling AE title. Without it: `node.ae_title`.")
    has_whole_series: bool = Field(
        default=False,
        description="Whether it has all of a series before the first of it comes here, as a PACS has that forwards what is "
        "complete: as many as it has are then all there are, at once. false: it may still be getting them itself, as a "
        "PACS that forwards each image as it comes, or that the scanner sends to in parallel; its count is believed once "
        "it was the same for `stable_s`.",
    )
    stable_s: Seconds = Field(
        default=5,
        gt=0,
        le=3600,
        description="Time between the two answers that must agree where `has_whole_series` is false. Make it longer than "
        "the pauses of those who send to it.",
    )
    for_s: Seconds = Field(
        default=3600,
        gt=0,
        le=7 * DAY_S,
        description="How long after the end of the last association it is asked about a series that is not whole.",
    )
    connect_timeout_s: Seconds = Field(
        default=5, gt=0, le=600, description="How long the TCP connection may take, with its TLS handshake."
    )
    acse_timeout_s: Seconds = Field(default=10, gt=0, le=600, description="How long it may take to accept or release.")
    dimse_timeout_s: Seconds = Field(
        default=30, gt=0, le=3600, description="How long all answers to one C-FIND may take."
    )


class Source(Section):
    """One who sends, or several alike, by calling AE title: what holds for their series in place of `completeness`."""

    ae_titles: tuple[AETitle, ...] = Field(
        min_length=1, max_length=MAX_AE_TITLES, description="Calling AE titles, each in one source alone."
    )
    find: Find | None = Field(
        default=None, description="Whom to ask how many instances a series has. Without it: nobody is asked."
    )
    settle_s: Seconds | None = Field(
        default=None,
        ge=0,
        le=3600,
        description="In place of `completeness.settle_s`, and of `completeness.quiet_s` if that is less.",
    )
    quiet_s: Seconds | None = Field(
        default=None,
        gt=0,
        le=DAY_S,
        description="In place of `completeness.quiet_s`, and of `completeness.settle_s` if that is more.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.settle_s is not None and self.quiet_s is not None and self.settle_s > self.quiet_s:
            raise ValueError("must have settle_s <= quiet_s: less evidence takes the longer wait")
        return self
