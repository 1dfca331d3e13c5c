"""What storage cannot do, and why. The message names the thing, the rule and the value."""

from __future__ import annotations


class StorageError(Exception):
    """Storage cannot go on."""


class StorageUnavailable(StorageError):
    """Storage could not take or give what was asked, for now: disk full, input/output error, database locked."""


class UnsafeDatabase(StorageError):
    """The database could lose what it has acknowledged."""


class OutdatedDatabase(StorageError):
    """The database is not as this version leaves it."""


class UnknownObject(StorageError):
    """No object is kept under this key."""


class NewerRevision(StorageError):
    """A job is on a revision of its series that is not the newest, so there is nothing to run it again for."""


class VersionTaken(StorageError):
    """A model of this name and version is known with another content."""


class VersionNeeded(StorageError):
    """A version of a model has a role, or jobs that did not end, so it must be kept."""


class VersionRemoved(StorageError):
    """The files of a version of a model are not kept any more, so it cannot do anything."""
