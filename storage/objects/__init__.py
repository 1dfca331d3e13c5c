"""Where object bytes live; the backend is chosen by URL scheme."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

from storage.errors import StorageError
from storage.objects.file import FileStore
from storage.objects.protocol import PackStore


def open_store(url: str) -> PackStore:
    """The store that a URL names (file:///absolute/folder). StorageError where no backend has its scheme."""
    scheme = urlsplit(url).scheme
    if scheme not in _BACKENDS:
        raise StorageError(f"object store: the URL must begin with one of {', '.join(_BACKENDS)}, but has {scheme!r}")
    return _BACKENDS[scheme](url)


def _open_file_store(url: str) -> PackStore:
    parts = urlsplit(url)
    folder = Path(unquote(parts.path))
    if parts.netloc or not folder.is_absolute() or folder == Path("/"):
        raise StorageError(f"object store: a file URL must be file:///absolute/folder, but is {url}")
    store = FileStore(folder)
    store.sweep()
    return store


_BACKENDS: Mapping[str, Callable[[str], PackStore]] = MappingProxyType({"file": _open_file_store})
