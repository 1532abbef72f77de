"""Has the server fall with a killed stub, so that whoever looks after it starts it again.

Triton never restarts a killed stub, and calls itself ready without it: every request for the model
fails from then on.
"""

import os
import subprocess

# Its input ends when the stub does, however that comes about. A stub that the server ended (or,
# where it was slow to answer, killed), as it does when a version is unloaded, is waited for by the
# server at once. One that anybody else killed stays a zombie. $0 is the server, $1 the stub.
SENTINEL = """
read -r _
sleep 2
grep -qs '^State:.Z' "/proc/$1/status" &&
    [ "$(cat /proc/$0/comm)" = tritonserver ] && kill -9 "$0"
"""

_kept = []  # its input stays open while this process lives


def start() -> None:
    command = ["/bin/sh", "-c", SENTINEL, str(os.getppid()), str(os.getpid())]
    _kept.append(subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL))
