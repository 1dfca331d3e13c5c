"""The tables. Times are seconds since the epoch (UTC); JSON columns hold what only people or pure functions read."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

# Alembic needs stable names to change constraints later.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

association = Table(
    "association",
    metadata,
    Column("association_id", String(36), primary_key=True),
    Column("acceptor", String(64), nullable=False),
    Column("calling_ae_title", String(16), nullable=False),
    Column("called_ae_title", String(16), nullable=False),
    Column("address", String(64), nullable=False),
    Column("opened_at", Float, nullable=False),
    # Indexed for those that are open, which are few.
    Column("closed_at", Float, index=True),
    Column("ending", String(16)),
)

study = Table(
    "study",
    metadata,
    Column("study_instance_uid", String(64), primary_key=True),
    Column("patient_id", Text, nullable=False, index=True),
    Column("patient_name", Text, nullable=False),
    Column("accession_number", Text, nullable=False, index=True),
    Column("study_date", String(16), nullable=False),
    Column("study_description", Text, nullable=False),
    Column("first_received_at", Float, nullable=False),
)

series = Table(
    "series",
    metadata,
    Column("series_id", Integer, primary_key=True),
    Column("series_instance_uid", String(64), nullable=False),
    Column("study_instance_uid", ForeignKey("study.study_instance_uid"), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("revision", Integer, nullable=False),
    Column("instance_count", Integer, nullable=False),
    Column("first_received_at", Float, nullable=False),
    Column("last_received_at", Float, nullable=False),
    Column("judged_at", Float),
    Column("evidence", Text),
    # How many instances the evidence spoke of, where it gave a number.
    Column("expected_count", Integer),
    # Since when what was announced and what came contradict each other; no job starts before that is settled.
    Column("held_at", Float),
    UniqueConstraint("study_instance_uid", "series_instance_uid"),
    CheckConstraint("state in ('arriving', 'whole', 'incomplete')", name="state"),
)

instance = Table(
    "instance",
    metadata,
    Column("instance_id", Integer, primary_key=True),
    Column("series_id", ForeignKey("series.series_id"), nullable=False),
    Column("sop_class_uid", String(64), nullable=False),
    Column("sop_instance_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    # XXH3 of the data set, 128 bits in hex; of what an older version took in, SHA-256.
    Column("content_sum", String(64), nullable=False),
    # Indexed for the sweep, which asks of every object whether an instance names it.
    Column("object_key", Text, nullable=False, index=True),
    Column("size_bytes", Integer, nullable=False),
    Column("association_id", ForeignKey("association.association_id"), nullable=False),
    Column("received_at", Float, nullable=False),
    # The revision of the series that this instance arrived in: a job on revision r sees all instances up to r.
    Column("revision", Integer, nullable=False),
    # Another content under a SOP Instance UID that was already known: kept, never analysed.
    Column("conflict", Boolean, nullable=False),
    # From this revision on it is not analysed: a Key Object Selection rejected it, with this code (DCM).
    Column("rejected_revision", Integer),
    Column("rejected_code", String(16)),
    Column("facts", JSON, nullable=False),
    # Named when the sum was one by SHA-256; to make it anew would mean to copy the table.
    UniqueConstraint(
        "sop_instance_uid",
        "content_sum",
        "transfer_syntax_uid",
        name="uq_instance_sop_instance_uid_content_sha256_transfer_syntax_uid",
    ),
)
Index("ix_instance_series_id_revision", instance.c.series_id, instance.c.revision)

association_series = Table(
    "association_series",
    metadata,
    Column("association_id", ForeignKey("association.association_id"), primary_key=True),
    Column("series_id", ForeignKey("series.series_id"), primary_key=True, index=True),
    Column("stored", Integer, nullable=False),
    Column("repeated", Integer, nullable=False),
)

# What others say of a series, or of a study: performed procedure steps, availability notifications, C-FIND answers.
announcement = Table(
    "announcement",
    metadata,
    Column("announcement_id", Integer, primary_key=True),
    Column("kind", String(16), nullable=False),
    # What it replaces when it is said again: the object or peer that says it, and of which series.
    Column("key", String(160), nullable=False),
    Column("source", String(64), nullable=False),
    Column("study_instance_uid", String(64), nullable=False, index=True),
    # None: of the study as a whole.
    Column("series_instance_uid", String(64), index=True),
    Column("state", String(16), nullable=False),
    Column("instance_count", Integer),
    Column("sop_instance_uids", JSON),
    Column("at", Float, nullable=False),
    UniqueConstraint("kind", "key"),
    CheckConstraint("kind in ('mpps', 'ian', 'c-find')", name="kind"),
    CheckConstraint("state in ('in progress', 'completed', 'discontinued')", name="state"),
)

# Modality performed procedure steps (PS3.4 annex F) as their creators left them.
performed_step = Table(
    "performed_step",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("calling_ae_title", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
    Column("study_instance_uids", JSON, nullable=False),
)

# Key Object Selection documents that came. Some of them reject instances: each is read once, by its title.
key_object = Table(
    "key_object",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    # Indexed for those that are not read yet, which are few.
    Column("read_at", Float, index=True),
)

# Instances that a key object rejected (IHE RAD IOCM), whether they came before it, come after it, or never.
rejection = Table(
    "rejection",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    # Title of the key object (DCM).
    Column("code", String(16), nullable=False),
    Column("key_object_uid", ForeignKey("key_object.sop_instance_uid"), nullable=False),
)

# The longest silence inside each series that was judged, by who sent it: what a source is used to.
habit = Table(
    "habit",
    metadata,
    Column("series_id", ForeignKey("series.series_id"), primary_key=True),
    Column("calling_ae_title", String(16), nullable=False),
    # Between any two images; and while no association that brings the series was open.
    Column("longest_gap_s", Float, nullable=False),
    Column("longest_pause_s", Float, nullable=False),
    Column("longest_end_s", Float, nullable=False),
    Column("at", Float, nullable=False),
)
Index("ix_habit_calling_ae_title_at", habit.c.calling_ae_title, habit.c.at)

job = Table(
    "job",
    metadata,
    Column("job_id", Integer, primary_key=True),
    Column("series_id", ForeignKey("series.series_id"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("model", String(128), nullable=False),
    Column("route", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("priority", String(16), nullable=False),
    Column("destinations", JSON, nullable=False),
    Column("report_not_analysed", Boolean, nullable=False),
    Column("timeout_s", Float, nullable=False),
    Column("attempt", Integer, nullable=False),
    # Attempts up to this one ended before a person queued the job again: they no longer count against it.
    Column("forgiven", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    # Since when it stands in the queue, for its turn: a job that a person queues again stands behind the others.
    Column("queued_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("reason", Text),
    Column("give_up_reason", Text),
    # What every report of it must say besides, such as "analysed 410 of 412 images".
    Column("remark", Text),
    # Other series that the model reads: [{"name", "series_id", "revision", "absent"}]; empty where it reads none.
    Column("companions", JSON, nullable=False),
    # When its results should be with their destinations, when it was noticed that they are not, and since when nothing
    # of them is left to be delivered, which closes the matter.
    Column("deadline_at", Float),
    Column("deadline_missed_at", Float),
    Column("deadline_closed_at", Float),
    # The series had changed by the time it ended.
    Column("stale", Boolean, nullable=False),
    # As which version of its model it runs. What a shadow finds is sent to nobody: it is compared with another job.
    Column("role", String(16), nullable=False, default="active"),
    # The job that a shadow is compared with, and how their answers differ.
    Column("compared_with", Integer),
    Column("comparison", JSON(none_as_null=True)),
    # Object that holds what its results were made of and with.
    Column("provenance_key", Text),
    UniqueConstraint("series_id", "revision", "model"),
    CheckConstraint(
        "state in ('waiting', 'ready', 'running', 'done', 'failed', 'skipped', 'superseded')", name="state"
    ),
    CheckConstraint("priority in ('stat', 'routine')", name="priority"),
    CheckConstraint("role in ('active', 'canary', 'shadow')", name="role"),
)
Index("ix_job_state_priority_queued_at", job.c.state, job.c.priority, job.c.queued_at, job.c.job_id)
# Of the deadlines that are still to be watched, which are few among all that ever were.
_DEADLINE_OPEN = job.c.deadline_at.is_not(None) & job.c.deadline_closed_at.is_(None)
Index(
    "ix_job_open_deadline_at",
    job.c.deadline_at,
    job.c.deadline_missed_at,
    sqlite_where=_DEADLINE_OPEN,
    postgresql_where=_DEADLINE_OPEN,
)

_BESIDE = job.c.role != "active"
Index("ix_job_beside", job.c.role, job.c.model, sqlite_where=_BESIDE, postgresql_where=_BESIDE)

job_attempt = Table(
    "job_attempt",
    metadata,
    Column("job_id", ForeignKey("job.job_id"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("outcome", String(16), nullable=False),
    Column("reason", Text),
)

result = Table(
    "result",
    metadata,
    Column("sop_instance_uid", String(64), primary_key=True),
    Column("sop_class_uid", String(64), nullable=False),
    Column("series_instance_uid", String(64), nullable=False),
    Column("study_instance_uid", String(64), nullable=False),
    Column("transfer_syntax_uid", String(64), nullable=False),
    Column("job_id", ForeignKey("job.job_id"), nullable=False, index=True),
    # As ordered: a kind, and of a report the Segmentation that it refers to.
    Column("kind", String(48), nullable=False),
    Column("description", Text, nullable=False),
    Column("object_key", Text, nullable=False),
    Column("content_sha256", String(64), nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    # By a later result of the same model on the same series; the job that made that one.
    Column("superseded_at", Float),
    Column("superseded_by", Integer),
    # What our own checks found wrong with it: then it is in quarantine, and never has a row in the outbox.
    Column("faults", JSON(none_as_null=True)),
    # Object that holds what it was made of and with: of the run that made it, which may not be the last one of its job.
    Column("provenance_key", Text),
)
# Of the few that are superseded, to find those that somebody still holds.
_IS_SUPERSEDED = result.c.superseded_at.is_not(None)
Index("ix_result_superseded_at", result.c.superseded_at, sqlite_where=_IS_SUPERSEDED, postgresql_where=_IS_SUPERSEDED)
_IS_QUARANTINED = result.c.faults.is_not(None)
Index("ix_result_quarantined", result.c.job_id, sqlite_where=_IS_QUARANTINED, postgresql_where=_IS_QUARANTINED)

outbox = Table(
    "outbox",
    metadata,
    Column("delivery_id", Integer, primary_key=True),
    Column("sop_instance_uid", ForeignKey("result.sop_instance_uid"), nullable=False),
    Column("destination", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("delivered_at", Float),
    Column("last_error", Text),
    # The result that the destination did not take, where this one goes in its place and would not go there else.
    Column("in_place_of", String(64)),
    UniqueConstraint("sop_instance_uid", "destination"),
    CheckConstraint("state in ('waiting', 'delivered', 'refused', 'substituted', 'withdrawn')", name="state"),
)
Index("ix_outbox_state_next_at", outbox.c.state, outbox.c.next_at)

# What the stored objects take, kept up with the rows that name them: a sum over all of them would take too long.
usage = Table(
    "usage",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("total_bytes", BigInteger, nullable=False),
    CheckConstraint("kind in ('instances', 'results')", name="kind"),
)

# What peers were answered that was no success, and who was turned away.
answer = Table(
    "answer",
    metadata,
    Column("kind", String(32), primary_key=True),
    # A DIMSE status (PS3.7 annex C); of a rejection result, source and reason, of an abort source and reason, a byte each.
    Column("status", Integer, primary_key=True),
    Column("calling_ae_title", String(16), primary_key=True),
    Column("count", BigInteger, nullable=False),
    # Of these, those of the last day on which there was one.
    Column("day", String(10), nullable=False),
    Column("day_count", BigInteger, nullable=False),
    Column("last_at", Float, nullable=False),
)

event = Table(
    "event",
    metadata,
    Column("event_id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    Column("kind", String(48), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("study_instance_uid", String(64), index=True),
    Column("series_instance_uid", String(64)),
    Column("association_id", String(36), index=True),
    Column("job_id", Integer),
    Column("data", JSON, nullable=False),
)
