"""Which keys may config.yaml hold, and what does each one mean?

Keys are defined here and in the modules `config_*` that this one takes its sections from, and nowhere else: name, type,
default, bounds and help. The unit stands last in the name (`quiet_s` seconds, `max_pdu_bytes` bytes). `config_file` reads
a file into this tree, `config_docs` prints it. The tree is frozen and passed in, never imported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import ByteSize, Field, SecretStr, field_validator, model_validator

from dicom_node.conditions import Condition
from dicom_node.config_destinations import Destination, DicomDestination, FolderDestination
from dicom_node.config_node import Access, Node
from dicom_node.config_profiles import Profile
from dicom_node.config_references import MAX_NAMES, reference_problems
from dicom_node.config_results import Results
from dicom_node.config_section import AT_START, DAY_S, GIB, MIB, Section
from dicom_node.config_sources import Source
from dicom_node.config_values import (
    AutoOrCount,
    Bytes,
    Count,
    FilePath,
    ModelName,
    Name,
    Seconds,
    Sha256,
    When,
)
from dicom_node.room import marks_from


class Signature(Section):
    """Whose signature a package must carry: `model.sig` in its folder, in the OpenSSF model signing format."""

    public_key: FilePath | None = Field(
        default=None, description="File of the public key (PEM, elliptic curve) of whoever signs."
    )
    certificates: tuple[FilePath, ...] = Field(
        default=(),
        max_length=16,
        description="Files of certificates (PEM): the root, and those between it and whoever signs.",
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.public_key is None) == (not self.certificates):
            raise ValueError("must name public_key or certificates, and not both")
        return self


class Model(Section):
    """A model that this node may run."""

    name: ModelName = Field(description="Name of the model, or name@version to hold it to one version.")
    folder: FilePath | None = Field(
        default=None,
        description="Folder of the model package (model.yaml and weights), or of a MONAI bundle. Without it: a model of the "
        "installation.",
    )
    sha256: Sha256 | None = Field(
        default=None,
        description="Digest of all of the package, as `dicom-node models check` shows it: any other content is refused. Without "
        "it: whatever lies in the folder, as far as its own digests hold.",
    )
    signature: Signature | None = Field(
        default=None,
        description="Whose signature the package must carry; it is verified, on this machine alone, before anything else is "
        "read of the package. Needs pip install 'dicom-node[signing]'.",
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
    on_golden_failure: Literal["alarm", "disable"] = Field(
        default="alarm",
        description="When its golden cases fail, which are run at start and daily: raise an alarm; or disable the model as "
        "well, as `dicom-node models disable` does.",
    )
    when_disabled: Literal["wait", "report"] = Field(
        default="wait",
        description="While it is disabled by `dicom-node models disable`: jobs wait until it is enabled; or they report "
        '"not analysed", with the reason, where their route has that reported.',
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
    priority: Literal["from_data", "routine", "stat"] = Field(
        default="from_data",
        description="stat jobs run before routine ones. from_data: stat where the images say so, by Requested Procedure "
        "Priority or Scheduled Procedure Step Priority STAT or HIGH, also within Request Attributes. routine: never, for "
        "scanners that mark everything.",
    )
    deadline_s: Seconds | None = Field(
        default=None,
        gt=0,
        le=30 * DAY_S,
        description="Longest time from the last image of a series to its results at every destination. It changes no "
        "order; when it is missed there is an alarm. Without it: no deadline.",
    )
    report_not_analysed: bool = Field(
        default=True, description='Send a report "not analysed, because ..." when a model could compute nothing.'
    )


class Completeness(Section):
    """When a series counts as whole."""

    settle_s: Seconds = Field(
        default=2,
        ge=0,
        le=3600,
        description="Quiet time that is enough when the association was released and the geometry closes.",
    )
    quiet_s: Seconds = Field(default=60, gt=0, le=DAY_S, description="Quiet time that is enough without that evidence.")
    send_stale: bool = Field(
        default=False,
        description="true: results of a series that changed while its job ran are sent, and superseded once the series "
        "was analysed again. false: only the later ones are sent.",
    )
    habit_max_s: Seconds = Field(
        default=300,
        ge=0,
        le=DAY_S,
        description="Longest quiet time that a source may make necessary which is used to pause inside a series.",
    )
    in_progress_s: Seconds = Field(
        default=3600,
        ge=0,
        le=DAY_S,
        description="Quiet time that is enough while a performed procedure step (MPPS) of the study is still in progress.",
    )
    held_s: Seconds = Field(
        default=900,
        ge=0,
        le=7 * DAY_S,
        description="How long a series is held, after the alarm, whose announced images did not all come.",
    )
    on_missing: Literal["analyse", "not_analysed"] = Field(
        default="analyse",
        description='What becomes of it then, and where a modality discontinued it: analyse what came, and say "analysed '
        '410 of 412 images" in the report; or not_analysed, with the reason.',
    )

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
        json_schema_extra=AT_START,
    )
    objects_url: str | None = Field(
        default=None,
        description="Object store (file:///folder). Without it: the folder objects in `node.data_folder`.",
        json_schema_extra=AT_START,
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
        json_schema_extra=AT_START,
    )
    workers: AutoOrCount = Field(
        default="auto",
        description="Worker processes; auto: two per GPU, or two without GPU, as far as 4 GiB of memory are there for each. "
        "These take turns: while one computes, the other reads, encodes and writes. A number: so many compute at once on the "
        "cores; on a GPU they take turns, too.",
        json_schema_extra=AT_START,
    )
    threads_per_worker: AutoOrCount = Field(
        default="auto",
        description="Threads a model may use in one worker; auto: all cores where workers take turns, else its part of them. "
        "As many workers compute at once as there are cores for.",
        json_schema_extra=AT_START,
    )
    memory_limit_bytes: Bytes | None = Field(
        default=None,
        ge=256 * MIB,
        description="Memory above which a worker is restarted. Without it: no limit.",
        json_schema_extra=AT_START,
    )
    model_memory_bytes: Bytes | None = Field(
        default=None,
        ge=256 * MIB,
        description="Memory that the process of a model from outside may take, beside the images; the package may ask for less. "
        "One that takes more is ended, and its job tried again. Without it: three quarters of the machine's.",
    )
    attempts: Count = Field(
        default=3, ge=1, le=100, description="Runs of a job that kill its worker before it counts as failed."
    )
    stat_head_start_s: Seconds = Field(
        default=3600,
        ge=0,
        le=30 * DAY_S,
        description="A stat job runs before all routine ones that have not waited this much longer. Those that have are "
        "not overtaken any more, so that they run at all where stat jobs never end.",
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
    format: Literal["text", "json"] = Field(
        default="text", description="text for people, json for machines.", json_schema_extra=AT_START
    )


class Config(Section):
    """config.yaml as one frozen tree."""

    node: Node = Field(default=Node(), description="The node itself.")
    access: Access = Field(default=Access(), description="Who may associate.")
    models: tuple[Model, ...] = Field(default=(), max_length=256, description="Models that may run.")
    routes: tuple[Route, ...] = Field(default=(), max_length=1024, description="Which models run on which series.")
    destinations: tuple[Destination, ...] = Field(default=(), max_length=256, description="Where results go.")
    profiles: tuple[Profile, ...] = Field(
        default=(), max_length=64, description="What destinations can show, beside the profiles that are built in."
    )
    sources: tuple[Source, ...] = Field(
        default=(), max_length=256, description="What is known of those who send, and whom to ask what they sent."
    )
    completeness: Completeness = Field(default=Completeness(), description="When a series counts as whole.")
    results: Results = Field(default=Results(), description="What the results say besides the findings.")
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
        named: dict[str, tuple[Section, ...]] = {
            "models": self.models,
            "routes": self.routes,
            "destinations": self.destinations,
            "profiles": self.profiles,
            "sources": self.sources,
        }
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

    @property
    def versions_folder(self) -> Path:
        """Where versions of models that were ever taken up are kept, by the digests of their contents."""
        return self.node.data_folder / "models"

    def destination(self, name: str) -> DicomDestination | FolderDestination:
        """The destination of that name; KeyError where there is none."""
        return {destination.name: destination for destination in self.destinations}[name]

    def model(self, name: str) -> Model:
        """The model of that name, as routes write it; KeyError where there is none."""
        return {model.name: model for model in self.models}[name]
