"""Who Postgres runs as when root starts the platform, for it refuses to run as root itself."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

NOBODY_ID = 65534


@dataclass(frozen=True)
class SystemUser:
    uid: int
    gid: int
    reach_private_folders: bool = False
    """Whether the way to its files leads through folders that only root may pass."""

    def own(self, path: Path) -> None:
        """Give `path` itself, not what lies in it, to this user."""
        os.chown(path, self.uid, self.gid)


def unprivileged_user(folder: Path, needed: Path) -> SystemUser | None:
    """The user for `folder` when we are root, None when we are not.

    It is whoever owns `folder`, so that data stay theirs over restarts, and "nobody" where that is
    root or someone without a name. `needed` is what else the user has to read: the program's files.
    """
    if os.geteuid() != 0:
        return None
    owner = _nearest(folder).stat()
    usable = owner.st_uid != 0 and has_name(owner.st_uid)
    uid, gid = (owner.st_uid, owner.st_gid) if usable else _nobody()
    private = not (_open_to_others(folder.parent) and _open_to_others(needed))
    return SystemUser(uid, gid, reach_private_folders=private)


def borrowed_uid() -> int | None:
    """Whose name a program may borrow that has to find one, as ours is in no list of users."""
    return None if has_name(os.geteuid()) else _nobody()[0]


def has_name(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _nearest(path: Path) -> Path:
    """`path`, or the closest folder above it that exists."""
    return next(candidate for candidate in (path, *path.parents) if candidate.exists())


def _nobody() -> tuple[int, int]:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:  # a container may have no such line; the number is the convention
        return NOBODY_ID, NOBODY_ID
    return entry.pw_uid, entry.pw_gid


def _open_to_others(path: Path) -> bool:
    nearest = _nearest(path)
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (nearest, *nearest.parents))
