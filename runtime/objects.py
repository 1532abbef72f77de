"""The object store: immutable bytes under a key, in a directory or in S3."""

import contextlib
import errno
import os
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from runtime.errors import ObjectNotFound, StorageFull, Unavailable

# The library's own patience is three minutes; our callers have retries of their own.
S3_RETRIES = 2
S3_RETRY_TIMEOUT = timedelta(seconds=10)
S3_BACKOFF = timedelta(milliseconds=50)
S3_BACKOFF_CAP = timedelta(seconds=1)
_FULL = (errno.ENOSPC, errno.EDQUOT)


class ObjectStore:
    """Puts, gets and deletes whole objects; every failure is one of runtime.errors.

    A put returns only after the bytes are durable: S3 promises that itself, in a directory the
    file and its folder are synced to disk.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._directory: Path | None = None
        self._known_folders: set[Path] = set()
        if parts.scheme == "file":
            self._directory = Path(url2pathname(parts.path))
            self._directory.mkdir(parents=True, exist_ok=True)
            self._store: obstore.store.ObjectStore = LocalStore(self._directory)
        elif parts.scheme == "s3":
            self._store = _s3(url)
        else:
            raise ValueError(f"object store {url!r}: use file:///directory or s3://bucket/prefix")

    def put(self, key: str, data: bytes) -> None:
        """Raises StorageFull or Unavailable; whether the object is there is then unknown."""
        try:
            obstore.put(self._store, key, data, use_multipart=False)
            self._sync(key)
        except (BaseError, OSError) as exc:
            raise self._translated(exc, key) from exc

    def get(self, key: str) -> bytes:
        """Raises ObjectNotFound or Unavailable."""
        try:
            return obstore.get(self._store, key).bytes().to_bytes()
        except FileNotFoundError as exc:
            raise ObjectNotFound(key) from exc
        except (BaseError, OSError) as exc:
            raise self._translated(exc, key) from exc

    def delete(self, key: str) -> None:
        """Deleting what is not there is fine. Raises Unavailable."""
        try:
            with contextlib.suppress(FileNotFoundError):
                obstore.delete(self._store, key)
        except (BaseError, OSError) as exc:
            raise self._translated(exc, key) from exc

    def _sync(self, key: str) -> None:
        if self._directory is None:
            return
        path = self._directory / key
        for target in (path, path.parent):
            _fsync(target)
        if path.parent not in self._known_folders:  # it may be new: its own name must last too
            for above in path.parent.parents:
                _fsync(above)
                if above == self._directory:
                    break
            self._known_folders.add(path.parent)

    def _translated(self, exc: Exception, key: str) -> StorageFull | Unavailable:
        full = isinstance(exc, OSError) and exc.errno in _FULL
        if full or "No space left" in str(exc) or "quota" in str(exc).lower():
            return StorageFull(f"no room left to store {key}")
        return Unavailable(f"object store failed for {key}: {type(exc).__name__}")


def _fsync(target: Path) -> None:
    descriptor = os.open(target, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _s3(url: str) -> obstore.store.ObjectStore:
    return from_url(
        url,
        retry_config={
            "max_retries": S3_RETRIES,
            "retry_timeout": S3_RETRY_TIMEOUT,
            "backoff": {"init_backoff": S3_BACKOFF, "max_backoff": S3_BACKOFF_CAP},
        },
    )
