"""Which keys may config.yaml hold, and what does each one mean?

The only place where a key is defined: name, type, default, bounds and help. The unit stands last in the name
(`quiet_s` seconds, `max_pdu_bytes` bytes). `config_file` reads a file into this tree, `config_docs` prints it. The
tree is frozen and passed in, never imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ByteSize, ConfigDict, Field, SecretStr, field_validator, model_validator

from dicom_node.conditions import Condition
from dicom_node.config_references import MAX_NAMES, reference_problems
from dicom_node.config_values import (
    AETitle,
    AutoOrCount,
    BindAddress,
    Bytes,
    Count,
    FilePath,
    Host,
    ModelName,
    Name,
    Network,
    Port,
    ResultKind,
    Seconds,
    Sha256,
    When,
)
from dicom_node.room import marks_from
from dicom_node.structure import MAX_NESTING

MIB = 1024**2
GIB = 1024**3
DAY_S = 86400.0


class Section(BaseModel):
    """A part of the tree: unknown keys are refused, values do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True, hide_input_in_errors=True
    )


class Limits(Section):
    """What one peer may cost. Who goes beyond a limit is cut off, and the log says which one it was."""

    connections: Count = Field(
        default=512, ge=1, le=65536, description="TCP connections held open at the same time, whatever they do."
    )
    connections_per_address: Count = Field(
        default=32,
        ge=1,
        le=65536,
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
        default=2762, ge=0, le=65535, description="TCP port for TLS; 0 takes any free one. 2762 is registered for it."
    )
    only: bool = Field(default=False, description="true: `node.port` is not opened, so nobody comes in without TLS.")
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
    )
    port: Count = Field(default=11112, ge=0, le=65535, description="TCP port to listen on; 0 takes any free one.")
    acceptors: AutoOrCount = Field(
        default="auto",
        description="Processes that receive, on the same ports; auto: one per core, at most 4. When one ends, the others "
        "go on, and it is started again. At most 32.",
    )
    data_folder: FilePath = Field(
        default=Path("data"),
        description="Folder of the database, the received objects and the results. A relative path counts from the "
        "folder of this file.",
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


class Model(Section):
    """A model that this node may run."""

    name: ModelName = Field(description="Name of the model, or name@version to hold it to one version.")
    folder: FilePath | None = Field(
        default=None,
        description="Folder of the model package (model.yaml and weights). Without it: a model of the installation.",
    )
    enabled: bool = Field(default=True, description="false: routes pass this model over, and say so.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where it computes; auto takes a GPU if there is one."
    )
    timeout_s: Seconds | None = Field(
        default=None,
        gt=0,
        le=DAY_S,
        description="Longest run of one job; its worker is then restarted. Without it: the package's own.",
    )


class Route(Section):
    """Which models run on which series, and where the results go. Every route that fits applies."""

    name: Name = Field(description="Name of the route, as `dicom-node explain` shows it.")
    when: When = Field(
        default=Condition(),
        description="Attributes that a series must have; all must fit, see below. Empty: every series.",
    )
    models: tuple[ModelName, ...] = Field(min_length=1, max_length=MAX_NAMES, description="Names of `models` to run.")
    destinations: tuple[Name, ...] = Field(
        min_length=1, max_length=MAX_NAMES, description="Names of `destinations` for the results."
    )
    priority: Literal["routine", "stat"] = Field(default="routine", description="stat jobs run before routine ones.")
    report_not_analysed: bool = Field(
        default=True, description='Send a report "not analysed, because ..." when a model could compute nothing.'
    )


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
    results: tuple[ResultKind, ...] = Field(
        default=("seg", "sr", "sc"),
        min_length=1,
        description="Kinds of result it takes: segmentation, report, summary picture.",
    )
    retry: Retry = Field(default=Retry(), description="When a failed delivery is tried again.")
    breaker: Breaker = Field(default=Breaker(), description="When it counts as down.")

    @field_validator("results")
    @classmethod
    def _no_kind_twice(cls, value: tuple[ResultKind, ...]) -> tuple[ResultKind, ...]:
        if len(set(value)) < len(value):
            raise ValueError("must name no kind twice")
        return value


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


class Completeness(Section):
    """When a series counts as whole."""

    settle_s: Seconds = Field(
        default=2,
        ge=0,
        le=3600,
        description="Quiet time that is enough when the association was released and the geometry closes.",
    )
    quiet_s: Seconds = Field(default=60, gt=0, le=DAY_S, description="Quiet time that is enough without that evidence.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.settle_s > self.quiet_s:
            raise ValueError("must have settle_s <= quiet_s: less evidence takes the longer wait")
        return self


class Storage(Section):
    """Where rows and objects are kept."""

    database_url: SecretStr | None = Field(
        default=None,
        description="Database. Without it: SQLite in `node.data_folder`. Never printed, it may hold a password.",
    )
    objects_url: str | None = Field(
        default=None,
        description="Object store (file:///folder). Without it: the folder objects in `node.data_folder`.",
    )
    min_free_bytes: Bytes = Field(
        default=ByteSize(GIB),
        ge=0,
        description="Free bytes, at the object store or the database, below which C-STORE is answered 0xA700, out of "
        "resources. They are kept for results and the database.",
    )
    pause_free_bytes: Bytes | None = Field(
        default=None,
        ge=0,
        description="Free bytes below which routine jobs wait; STAT jobs and deliveries go on. Without it: twice "
        "`min_free_bytes`.",
    )
    warn_free_bytes: Bytes | None = Field(
        default=None,
        ge=0,
        description="Free bytes below which a warning is raised. Without it: twice `pause_free_bytes`.",
    )
    quota_bytes: Bytes | None = Field(
        default=None,
        ge=MIB,
        description="What instances and results may take together, as if the object store were a disk of that size: "
        "the marks above hold for what is left of it. Without it: no bound but the disk.",
    )
    prepared_packs: int = Field(
        default=4,
        ge=0,
        le=64,
        description="Files of 64 MiB that each acceptor process writes zeros to while nothing comes in, so that the next "
        "images are synced twice as fast. 0 for none; none are made on a disk with less than 4 GiB free.",
    )

    @field_validator("database_url")
    @classmethod
    def _is_database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.match(r"sqlite(\+\w+)?:///.", value.get_secret_value()):
            raise ValueError("must be sqlite:///path (four slashes before an absolute path)")
        return value

    @field_validator("objects_url")
    @classmethod
    def _is_store(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"file:///.", value):
            raise ValueError("must be file:///absolute/folder")
        return value

    @model_validator(mode="after")
    def _marks_in_order(self) -> Self:
        marks = marks_from(self.min_free_bytes, self.pause_free_bytes, self.warn_free_bytes)
        if not marks.min_bytes <= marks.pause_bytes <= marks.warn_bytes:
            raise ValueError("must have min_free_bytes <= pause_free_bytes <= warn_free_bytes: images are refused last")
        if self.quota_bytes is not None and self.quota_bytes <= marks.warn_bytes:
            raise ValueError("must have quota_bytes > warn_free_bytes: the warning would stand from the first image on")
        return self


class Engine(Section):
    """Where models compute: worker processes of this machine, or a Dask scheduler's."""

    scheduler: str = Field(
        default="local",
        description="local: workers started by the node. tls://host:port or tcp://host:port: a Dask scheduler; "
        "certificates are named in Dask's own configuration.",
    )
    workers: AutoOrCount = Field(default="auto", description="Worker processes; auto: one per GPU, one without GPU.")
    threads_per_worker: AutoOrCount = Field(
        default="auto",
        description="Threads a model may use in one worker; auto: the cores divided among the workers.",
    )
    memory_limit_bytes: Bytes | None = Field(
        default=None, ge=256 * MIB, description="Memory above which a worker is restarted. Without it: no limit."
    )
    attempts: Count = Field(
        default=3, ge=1, le=100, description="Runs of a job that kill its worker before it counts as failed."
    )

    @field_validator("scheduler")
    @classmethod
    def _is_scheduler(cls, value: str) -> str:
        rule = "must be local, tls://host:port or tcp://host:port"
        try:
            url = urlsplit(value)
            if value != "local" and not (url.scheme in {"tls", "tcp"} and url.hostname and url.port):
                raise ValueError(rule)
        except ValueError:
            raise ValueError(rule) from None
        return value


class Logging(Section):
    """One line an event on standard error, without patient data."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe level to write."
    )
    format: Literal["text", "json"] = Field(default="text", description="text for people, json for machines.")


class Config(Section):
    """config.yaml as one frozen tree."""

    node: Node = Field(default=Node(), description="The node itself.")
    access: Access = Field(default=Access(), description="Who may associate.")
    models: tuple[Model, ...] = Field(default=(), max_length=256, description="Models that may run.")
    routes: tuple[Route, ...] = Field(default=(), max_length=1024, description="Which models run on which series.")
    destinations: tuple[Destination, ...] = Field(default=(), max_length=256, description="Where results go.")
    completeness: Completeness = Field(default=Completeness(), description="When a series counts as whole.")
    storage: Storage = Field(default=Storage(), description="Where rows and objects are kept.")
    engine: Engine = Field(default=Engine(), description="Where models compute.")
    logging: Logging = Field(default=Logging(), description="What is logged, and how.")

    @model_validator(mode="before")
    @classmethod
    def _sections_may_be_empty(cls, value: Any) -> Any:
        """`routes:` with nothing but comments under it is null in YAML and means the default.

        A section left out is validated as an empty one, so that its default paths count from the file too.
        """
        if not isinstance(value, Mapping):
            return value
        given = {key: part for key, part in value.items() if part is not None or key not in cls.model_fields}
        empty: dict[str, Any] = {
            key: {} for key, field in cls.model_fields.items() if isinstance(field.default, Section)
        }
        return empty | given

    @model_validator(mode="after")
    def _names_fit_together(self) -> Self:
        named = {"models": self.models, "routes": self.routes, "destinations": self.destinations}
        tree: dict[str, object] = {key: [vars(entry) for entry in part] for key, part in named.items()}
        tree["access"] = {"requestors": [vars(entry) for entry in self.access.requestors]}
        tree["node"] = {"tls": vars(self.node.tls) if self.node.tls else None}
        problems = reference_problems(tree)
        if problems:
            raise ValueError("; ".join(f"{problem.path} {problem.rule}" for problem in problems))
        return self

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the database; may hold a password."""
        given = self.storage.database_url
        return given.get_secret_value() if given else f"sqlite:///{self.node.data_folder / 'node.sqlite3'}"

    @property
    def objects_url(self) -> str:
        """URL of the object store."""
        return self.storage.objects_url or (self.node.data_folder / "objects").absolute().as_uri()

    def destination(self, name: str) -> DicomDestination | FolderDestination:
        """The destination of that name; KeyError where there is none."""
        return {destination.name: destination for destination in self.destinations}[name]

    def model(self, name: str) -> Model:
        """The model of that name, as routes write it; KeyError where there is none."""
        return {model.name: model for model in self.models}[name]
