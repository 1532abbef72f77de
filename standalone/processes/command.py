"""What is to be run: a command line, its environment and where its output goes."""

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from standalone.machine.checkout import REPOSITORY_ROOT
from standalone.machine.system_user import SystemUser


@dataclass(frozen=True)
class Command:
    """`environment` is added to ours, or is all there is; `log_path` receives both outputs."""

    name: str
    arguments: Sequence[str]
    log_path: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    inherits_environment: bool = True
    working_directory: Path = REPOSITORY_ROOT
    run_as: SystemUser | None = None
    borrow_name_of_uid: int | None = None
    """Whose name the program finds when it looks up who runs it, where we have none ourselves."""
    stdin_text: str = ""
    death_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends when the supervisor dies: every part survives being killed."""
