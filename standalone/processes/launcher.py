"""What every child runs first: ties its life to its parent's, drops root, becomes the program.

Started as a script, with the standard library only: `launcher.py OPTIONS_JSON PROGRAM ARGUMENT...`.
A program of its own, because code between fork and exec is unsafe where threads run.
"""

import ctypes
import json
import os
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CLONE_NEWUSER = 0x10000000
CAPABILITY_VERSION_3 = 0x20080522

CANNOT_EXECUTE = 126
PARENT_IS_GONE = 125

_libc = ctypes.CDLL(None, use_errno=True)


def drop_root(uid: int, gid: int, *, reach_private_folders: bool) -> None:
    """Become `uid`; `reach_private_folders` keeps the one right to pass folders closed to others.

    Without it a checkout below root's own home (mode 700) could not be used by anyone but root.
    """
    if reach_private_folders:
        _libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
        # else access(2), by which programs look for their own files, would not honour the right
        _libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if reach_private_folders:
        _keep_capability(CAP_DAC_OVERRIDE)


def _keep_capability(capability: int) -> None:
    mask = 1 << capability
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)  # effective, permitted, inheritable
    _libc.capset(header, sets)
    _libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def borrow_name(named_uid: int) -> None:
    """Appear as `named_uid` to the program, which looks up a name, while files stay ours.

    Where user namespaces are not allowed this does nothing, and the program says what it misses.
    """
    uid, gid = os.geteuid(), os.getegid()
    if _libc.unshare(CLONE_NEWUSER) == 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{named_uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def die_with(parent_pid: int, death_signal: int) -> None:
    """Have the kernel send `death_signal` when the parent dies, or leave if it died already."""
    _libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit(PARENT_IS_GONE)


def main() -> None:
    options = json.loads(sys.argv[1])
    program = sys.argv[2:]
    if options["uid"] is not None:
        drop_root(
            options["uid"], options["gid"], reach_private_folders=options["reach_private_folders"]
        )
    if options["borrow_name_of_uid"] is not None:
        borrow_name(options["borrow_name_of_uid"])
    die_with(options["parent_pid"], options["death_signal"])  # last: the above would clear it
    try:
        os.execvp(program[0], program)  # noqa: S606 - the list was built by standalone itself
    except OSError as exc:
        print(f"cannot run {program[0]}: {exc.strerror}", file=sys.stderr)
        sys.exit(CANNOT_EXECUTE)


if __name__ == "__main__":
    main()
