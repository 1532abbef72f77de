"""The object store: immutable bytes under a key, in a directory or in S3."""

import contextlib
import errno
import os
import re
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from runtime.errors import ObjectNotFound, Permanent, StorageFull, Unavailable

# The library's own patience is three minutes; our callers have retries of their own.
S3_RETRIES = 2
S3_RETRY_TIMEOUT = timedelta(seconds=10)
S3_BACKOFF = timedelta(milliseconds=50)
S3_BACKOFF_CAP = timedelta(seconds=1)
_FULL = (errno.ENOSPC, errno.EDQUOT)

MAX_KEY_BYTES = 1_024  # S3's limit
MAX_NAME_BYTES = 250  # a file system's 255, less the suffix `#1` of a file still being written
SHOWN_CHARACTERS = 100
# Empty, dots that climb, characters that no store takes, and the suffix of files being written.
_BAD_NAME = re.compile(r"\.{0,2}|.*[\x00-\x1f\x7f].*|.*#[0-9]+", re.DOTALL)


class ObjectStore:
    """Puts, gets and deletes whole objects; every failure is one of runtime.errors.

    What can be a key in no store or only in some is refused: Permanent, `bad_object_key`.

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
        _check(key)
        try:
            obstore.put(self._store, key, data, use_multipart=False)
            self._sync(key)
        except (BaseError, OSError) as exc:
            raise self._translated(exc, key) from exc

    def get(self, key: str) -> bytes:
        """Raises ObjectNotFound or Unavailable."""
        _check(key)
        try:
            return obstore.get(self._store, key).bytes().to_bytes()
        except FileNotFoundError as exc:
            raise ObjectNotFound(key) from exc
        except (BaseError, OSError) as exc:
            raise self._translated(exc, key) from exc

    def delete(self, key: str) -> None:
        """Deleting what is not there is fine. Raises Unavailable."""
        _check(key)
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


def _check(key: str) -> None:
    if not _is_key(key):
        shown = key[:SHOWN_CHARACTERS]
        raise Permanent("bad_object_key", f"No object can have the key {shown!r}.")


def _is_key(key: str) -> bool:
    """Whether every store takes it: names with a slash between them, none of which climbs."""
    encoded = key.encode(errors="replace")
    return (
        len(encoded) <= MAX_KEY_BYTES
        and encoded.decode() == key  # no lone surrogates
        and not any(_is_bad_name(name) for name in key.split("/"))
    )


def _is_bad_name(name: str) -> bool:
    return len(name.encode()) > MAX_NAME_BYTES or _BAD_NAME.fullmatch(name) is not None


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
