"""Servers that these tests alone use: a Kafka to kill, and S3 from versitygw, built with Go."""

import itertools
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from standalone.machine.loopback import loopback
from standalone.machine.ports import free_port
from standalone.processes.command import Command
from standalone.processes.part import Part
from tests.conftest import ROOT, running, unavailable

VERSION = "v1.8.0"
MODULE = "github.com/versity/versitygw/cmd/versitygw"
TOOLS = ROOT / ".tools"
BUILD_TIMEOUT_S = 600
ACCESS_KEY, SECRET_KEY = "tests", "tests-secret"

_bucket_numbers = itertools.count(1)


class VersityGateway(Part):
    """Buckets are the folders of `data_dir / "buckets"`."""

    def __init__(self, data_dir: Path, port: int, binary: Path) -> None:
        super().__init__("s3", data_dir, loopback(port))
        self._binary = binary
        self.buckets = data_dir / "buckets"
        self.buckets.mkdir()

    def command(self) -> Command:
        backend = ["posix", "--nometa", str(self.buckets)]
        return Command(
            self.name,
            [str(self._binary), "--port", str(self.address), *backend],
            self.log_path,
            environment={"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY},
        )

    def is_ready(self) -> bool:
        try:
            urllib.request.urlopen(f"http://{self.address}/", timeout=1)
        except urllib.error.HTTPError:  # it answers, and refuses who has no key
            return True
        except OSError:
            return False
        return True


@pytest.fixture(scope="session")
def versitygw() -> Path:
    """The binary, built once into the checkout."""
    binary = TOOLS / f"versitygw-{VERSION}"
    if binary.exists():
        return binary
    if shutil.which("go") is None:
        unavailable("there is no Go to build an S3 server with")
    subprocess.run(
        ["go", "install", f"{MODULE}@{VERSION}"],
        env={**os.environ, "GOBIN": str(TOOLS)},
        check=True,
        timeout=BUILD_TIMEOUT_S,
    )
    return (TOOLS / "versitygw").rename(binary)


@pytest.fixture(scope="session")
def s3(versitygw: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Part]:
    part = VersityGateway(tmp_path_factory.mktemp("s3"), free_port(), versitygw)
    for _ in running(part):
        yield part


@pytest.fixture
def s3_url(s3: VersityGateway, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket and, in the environment, what obstore needs to use it."""
    bucket = f"bucket-{next(_bucket_numbers)}"
    (s3.buckets / bucket).mkdir()
    for name, value in {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_ENDPOINT": f"http://{s3.address}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    return f"s3://{bucket}/some/prefix"
