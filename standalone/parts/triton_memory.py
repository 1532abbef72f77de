"""Triton's shared memory: the names of a data folder's regions, of which none is left over."""

import hashlib
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where the Python backend keeps its regions


def shared_memory_prefix(data_directory: Path) -> str:
    """The start of the names of a data folder's regions: two platforms never share one."""
    digest = hashlib.sha256(str(data_directory.resolve()).encode()).hexdigest()
    return f"triton_{digest[:16]}_"


def remove_shared_memory(prefix: str, directory: Path = SHARED_MEMORY) -> list[Path]:
    """Unlinks what a killed Triton left behind. Only while none with this prefix runs."""
    leftovers = sorted(directory.glob(f"{prefix}*"))
    for region in leftovers:
        region.unlink(missing_ok=True)
    return leftovers
