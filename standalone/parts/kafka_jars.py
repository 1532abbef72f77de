"""Java and Maven as found on this machine go in; a folder with Apache Kafka's jars comes out."""

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

from standalone.machine.checkout import REPOSITORY_ROOT
from standalone.processes.command import Command
from standalone.processes.steps import StartError, Steps

KAFKA_VERSION = "4.3.1"
LOWEST_JAVA = 17
PROBE_TIMEOUT_S = 20.0
DOWNLOAD_TIMEOUT_S = 300.0

POM = Path(__file__).parent / "apache_kafka" / "pom.xml"
COPY_JARS = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"

JARS = REPOSITORY_ROOT / ".kafka" / KAFKA_VERSION
"""In the checkout, not in the data folder: a second data folder downloads nothing."""


def why_not() -> str | None:
    """Why Apache Kafka cannot run here, or None when it can."""
    version = _java_version()
    if version is None:
        return f"Java {LOWEST_JAVA} or newer was not found"
    if version < LOWEST_JAVA:
        return f"Java {LOWEST_JAVA} or newer is needed, and this is Java {version}"
    if not are_here() and shutil.which("mvn") is None:
        return "mvn was not found, which downloads Apache Kafka"
    return None


def are_here() -> bool:
    return JARS.is_dir()


def download(steps: Steps, log_path: Path) -> None:
    """Once; the folder gets its name when it is complete. Raises StartError."""
    if are_here():
        return
    JARS.parent.mkdir(parents=True, exist_ok=True)
    with (JARS.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two copies that start for the first time at once
        if not are_here():
            _download(steps, log_path)


def _download(steps: Steps, log_path: Path) -> None:
    unfinished = JARS.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    arguments = ["mvn", "--batch-mode", "--strict-checksums", "--file", str(POM), COPY_JARS]
    options = ["-DincludeScope=runtime", f"-DoutputDirectory={unfinished}"]
    environment = {"MAVEN_OPTS": f"{os.environ.get('MAVEN_OPTS', '')} -Duser.home={Path.home()}"}
    command = Command("download Apache Kafka", [*arguments, *options], log_path, environment)
    steps.run(command, DOWNLOAD_TIMEOUT_S)
    if not any(unfinished.glob(f"kafka_*-{KAFKA_VERSION}.jar")):
        raise StartError(f"mvn ended well and brought no Apache Kafka {KAFKA_VERSION}")
    unfinished.rename(JARS)


def _java_version() -> int | None:
    java = shutil.which("java")
    if java is None:
        return None
    try:
        asked = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return major_version(asked.stderr)


def major_version(text: str) -> int | None:
    """17 of `openjdk version "17.0.15"`, 8 of `java version "1.8.0_402"`."""
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(found.group(1)) if found else None
