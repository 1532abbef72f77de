"""Finished files in, their places in a Triton repository filled out: all of them or none.

What belongs together is staged beside its places and takes them by rename:

    .NAME.part -> .NAME.ready -> NAME

All parts become ready before the first takes its place. So a builder that was killed has left
parts, and nothing of it is wanted, or has left none, and what is ready only needs its place.
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

PART, READY, OLD = "part", "ready", "old"
CHUNK_BYTES = 1 << 20

Folder = Mapping[str, bytes | Path]  # relative name to content, or to a file that holds it

_held: ContextVar[frozenset[Path]] = ContextVar("_held", default=frozenset())


def digest_of(files: Iterable[Path], facts: Mapping[str, Any]) -> str:
    """SHA-256 over the facts and the contents of the files, in order."""
    total = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for path in files:
        total.update(sha256_of(path).encode())
    return total.hexdigest()


def sha256_of(path: Path) -> str:
    """In chunks: weights, graphs and plans may be gigabytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def only_one_builder(directory: Path) -> Iterator[None]:
    """Waits until no other process is in here with the same directory; the dead do not count.

    Inside of itself it does not wait: a builder's steps work under the lock that it holds.
    """
    directory.mkdir(parents=True, exist_ok=True)
    held = _held.get()
    if directory.resolve() in held:
        yield
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        token = _held.set(held | {directory.resolve()})
        try:
            yield
        finally:
            _held.reset(token)
    finally:
        os.close(descriptor)


def place(contents: Mapping[Path, bytes | Folder]) -> None:
    """Puts each file or folder in place of what was there; under the lock of its builder.

    Raises OSError where the disk is full or not ours; then everything is as it was.
    """
    try:
        for target, content in contents.items():
            _stage(_beside(target, PART), content)
    except BaseException:
        for target in contents:
            _remove(_beside(target, PART))
        raise
    for target in contents:
        _beside(target, PART).rename(_beside(target, READY))
    for target in contents:
        _sync_directory(target.parent)
    for target in contents:
        _take_place(target)


def recover(folders: Iterable[Path]) -> None:
    """Ends what a killed builder began in these folders: see above; under the builders' lock."""
    left = [path for folder in folders for path in folder.glob(".*.*") if _is_staged(path)]
    were_all_ready = not any(_state_of(path) == PART for path in left)
    for path in left:
        if _state_of(path) == READY and were_all_ready:
            _take_place(_target_of(path))
    for path in left:
        _remove(path)


def _stage(staged: Path, content: bytes | Folder) -> None:
    _remove(staged)
    if isinstance(content, bytes):
        _write_through(staged, content)
        return
    for name, part in content.items():
        _write_through(staged / name, part)


def _take_place(target: Path) -> None:
    replaced = _beside(target, OLD)
    if target.is_dir():  # a file is replaced by the rename itself
        _remove(replaced)
        target.rename(replaced)
    _beside(target, READY).rename(target)
    _remove(replaced)


def _write_through(path: Path, content: bytes | Path) -> None:
    """To the disk itself: a rename must not outlive a power cut that the content does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        if isinstance(content, bytes):
            file.write(content)
        else:
            with content.open("rb") as source:
                shutil.copyfileobj(source, file)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(target: Path, state: str) -> Path:
    return target.with_name(f".{target.name}.{state}")


def _state_of(staged: Path) -> str:
    return staged.name.rpartition(".")[2]


def _is_staged(path: Path) -> bool:
    return _state_of(path) in {PART, READY, OLD}


def _target_of(staged: Path) -> Path:
    return staged.with_name(staged.name[1:].rpartition(".")[0])


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
