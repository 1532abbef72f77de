"""Postgres from a wheel, over TCP on the loopback: the gateway's rows, kept in the data folder."""

import contextlib
import secrets
import shutil
import signal
from pathlib import Path

import psycopg2

from standalone.machine.loopback import loopback
from standalone.machine.system_user import borrowed_uid, unprivileged_user
from standalone.processes.command import Command
from standalone.processes.part import Part
from standalone.processes.steps import Steps
from standalone.wheels import unpacked

USER = "platform"
DATABASE = "platform"
INITDB_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 2
PRIVATE_FILE_MODE = 0o600
PASSWORD_BYTES = 18


class EmbeddedPostgres(Part):
    """One database cluster in `data_dir / "postgres"`; `url` is the superuser's, with its password.

    `fsync` stays on: an upload that was acknowledged survives the machine losing power.
    """

    stop_signal = signal.SIGINT  # "fast": open transactions are rolled back, clients cut off

    def __init__(self, data_dir: Path, port: int) -> None:
        super().__init__("postgres", data_dir, loopback(port))
        self._cluster = data_dir / "postgres"
        self._user = unprivileged_user(self._cluster, unpacked.POSTGRES_BINARIES)

    @property
    def url(self) -> str:
        password = self._password_file.read_text()
        return f"postgresql://{USER}:{password}@{self.address}/{DATABASE}"

    @property
    def _password_file(self) -> Path:
        return self.data_dir / "postgres.password"

    def prepare(self, steps: Steps) -> None:
        if (self._cluster / "PG_VERSION").exists():
            self._forget_dead_postmaster()
        else:
            self._create_cluster(steps)

    def command(self) -> Command:
        settings = {
            "unix_socket_directories": "",
            "max_connections": "100",
            "shared_buffers": "128MB",
            "dynamic_shared_memory_type": "mmap",  # in its folder: a kill leaves nothing elsewhere
            "log_line_prefix": "%m [%p] ",
            "log_checkpoints": "off",
        }
        options = [option for item in settings.items() for option in ("-c", "=".join(item))]
        listen = ["-h", self.address.host, "-p", str(self.address.port)]
        postgres = str(unpacked.POSTGRES_BINARIES / "postgres")
        return Command(
            self.name,
            [postgres, "-D", str(self._cluster), *listen, *options],
            self.log_path,
            run_as=self._user,
            death_signal=signal.SIGQUIT,  # "immediate": its own children end with it
        )

    def is_ready(self) -> bool:
        try:
            connection = psycopg2.connect(self.url, connect_timeout=CONNECT_TIMEOUT_S)
        except (psycopg2.OperationalError, OSError):
            return False
        connection.close()
        return True

    def _create_cluster(self, steps: Steps) -> None:
        """Made beside its place and renamed at the end: an interrupted one is made anew."""
        unfinished = self._cluster.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True, mode=0o700)
        self._write_password()
        for path in (unfinished, self._password_file):
            if self._user:
                self._user.own(path)
        steps.run(self._initdb(unfinished), INITDB_TIMEOUT_S)
        steps.run(self._create_database(unfinished), INITDB_TIMEOUT_S)
        unfinished.rename(self._cluster)

    def _write_password(self) -> None:
        """Once: whatever else reads it has no need to be told again after a failed start."""
        if not self._password_file.exists():
            self._password_file.touch(mode=PRIVATE_FILE_MODE)
            self._password_file.write_text(secrets.token_urlsafe(PASSWORD_BYTES))

    def _initdb(self, folder: Path) -> Command:
        who = ["--username", USER, "--pwfile", str(self._password_file), "--auth", "scram-sha-256"]
        text = ["--encoding", "UTF8", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
        initdb = str(unpacked.POSTGRES_BINARIES / "initdb")
        arguments = [initdb, "--pgdata", str(folder), *who, *text, "--locale", "C"]
        return self._command_of_a_named_user("initdb", arguments)

    def _create_database(self, folder: Path) -> Command:
        postgres = str(unpacked.POSTGRES_BINARIES / "postgres")
        arguments = [postgres, "--single", "-D", str(folder), "template1"]
        statement = f"CREATE DATABASE {DATABASE};\n"
        return self._command_of_a_named_user("create-database", arguments, stdin_text=statement)

    def _command_of_a_named_user(
        self, name: str, arguments: list[str], stdin_text: str = ""
    ) -> Command:
        return Command(
            name,
            arguments,
            self.log_path,
            run_as=self._user,
            borrow_name_of_uid=borrowed_uid(),
            stdin_text=stdin_text,
        )

    def _forget_dead_postmaster(self) -> None:
        """A killed Postgres leaves its number behind, and does not start while anything has it.

        That is another process that got it, or the dead one where nobody has reaped it yet. Safe,
        because only the holder of the data folder's lock starts anything on it, after it ended
        what was left. A number that nobody has is left: Postgres cleans up by what stands beside.
        """
        lock_file = self._cluster / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
            pid = int(lock_file.read_text().split()[0])
            if Path(f"/proc/{pid}").exists() and not _is_postgres(pid):
                lock_file.unlink()


def _is_postgres(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name == "postgres"
    except OSError:
        return False
