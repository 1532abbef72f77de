"""Finished files in, one model version of a Triton repository out, all of it or nothing.

A version is written beside its place and takes it by rename, so a reader sees the old version, or
the new one, never half of either. A digest of everything it was made from stands in its manifest:
the same digest again means there is nothing to do.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
DIGEST_FIELD = "inputs_sha256"
FILES_FIELD = "files_bytes"


def digest_of(files: Iterable[Path], facts: Mapping[str, Any]) -> str:
    """SHA-256 over the facts and the contents of the files, in order."""
    total = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for path in files:
        total.update(sha256_of(path).encode())
    return total.hexdigest()


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def only_one_builder(directory: Path) -> Iterator[None]:
    """Waits until no other process is in here with the same directory; the dead do not count."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_current(version: Path, digest: str) -> bool:
    """Whether it was made from inputs of this digest, and all of its files are still there."""
    try:
        manifest = json.loads((version / MANIFEST).read_text(encoding="utf-8"))
        sizes = {name: (version / name).stat().st_size for name in manifest[FILES_FIELD]}
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return bool(manifest[DIGEST_FIELD] == digest and manifest[FILES_FIELD] == sizes)


def install(version: Path, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> None:
    """Puts `files` (relative name to content) and the manifest in place of `version`.

    Raises OSError where the disk is full or not ours; then `version` is as it was.
    """
    staged = version.with_name(f".{version.name}.new")
    replaced = version.with_name(f".{version.name}.old")
    for leftover in (staged, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    sizes = {name: len(content) for name, content in files.items()}
    text = json.dumps({**manifest, FILES_FIELD: sizes}, indent=2, ensure_ascii=False) + "\n"
    for name, content in {**files, MANIFEST: text.encode()}.items():
        _write_through(staged / name, content)
    if version.exists():
        version.rename(replaced)
    staged.rename(version)
    shutil.rmtree(replaced, ignore_errors=True)


def _write_through(path: Path, content: bytes) -> None:
    """To the disk itself: a rename must not outlive a power cut that the content does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
