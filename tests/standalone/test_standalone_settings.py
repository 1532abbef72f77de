"""Settings by variable and by option; a wrong one is named before anything starts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from standalone.__main__ import main
from standalone.settings import StandaloneSettings
from tests.standalone.stand_ins import environment_without

NAMES = ("DATA_DIR", "GATEWAY_PORT", "TRITON_GRPC_PORT", "KAFKA", "DISPATCHERS")


@pytest.fixture(autouse=True)
def _no_settings_of_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(f"STANDALONE_{name}", raising=False)


def test_defaults() -> None:
    assert StandaloneSettings() == StandaloneSettings(
        data_dir=Path(".data"),
        gateway_port=8080,
        triton_grpc_port=8001,
        kafka="auto",
        dispatchers=1,
    )


def test_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(NAMES, ("/d", "81", "82", "embedded", "3"), strict=True):
        monkeypatch.setenv(f"STANDALONE_{name}", value)
    assert StandaloneSettings() == StandaloneSettings(
        data_dir=Path("/d"), gateway_port=81, triton_grpc_port=82, kafka="embedded", dispatchers=3
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_PORT", "0"),
        ("GATEWAY_PORT", "65536"),
        ("GATEWAY_PORT", "http"),
        ("TRITON_GRPC_PORT", "-1"),
        ("KAFKA", "redpanda"),
        ("DISPATCHERS", "0"),
    ],
)
@pytest.mark.parametrize("command", ["up", "ps"])
def test_a_wrong_value_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    command: str,
) -> None:
    monkeypatch.setenv(f"STANDALONE_{name}", value)
    assert main([command]) == 2
    assert f"STANDALONE_{name} is '{value}'" in capsys.readouterr().err


def test_an_option_goes_before_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STANDALONE_GATEWAY_PORT", "8080")
    assert main(["up", "--gateway-port", "99999"]) == 2
    assert "STANDALONE_GATEWAY_PORT is '99999'" in capsys.readouterr().err


def test_two_ports_cannot_be_one() -> None:
    with pytest.raises(ValidationError, match="are the same"):
        StandaloneSettings(gateway_port=8001)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_ps_without_a_platform(tmp_path: Path, options: list[str]) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "standalone", "ps", "--data-dir", str(tmp_path), *options],
        capture_output=True,
        text=True,
        check=False,
        env=environment_without("STANDALONE_"),
    )
    assert shown.returncode == 3
    assert "No platform runs" in shown.stderr
    assert shown.stdout == ("[]\n" if options else "")
    if options:
        assert json.loads(shown.stdout) == []
